//! The SHA-256 of a model's files, computed once.
//!
//! A 40 GB file takes a minute or two, so the result is kept under the cache folder, by the file's path,
//! size and time of last change: when one of them differs, the file is read again. A cache that cannot be
//! read or written costs that time and nothing else.
//!
//! For a safetensors folder it is the SHA-256 of the text that `sha256sum` prints for the files with weights
//! in the order of their names. With no other safetensors in the folder a person gets the same from
//! `cd FOLDER && LC_ALL=C sha256sum *.safetensors | sha256sum`.

use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Error, Model, Source, safetensors};
use crate::base::sys::Interrupt;
use crate::base::units::Bytes;

/// Computes hashes, and remembers them in a folder.
pub struct Hasher<'a> {
    /// Where results are kept: [`default_folder`] for all but tests.
    pub folder: &'a Path,
    /// Looked at while reading.
    pub interrupt: &'a Interrupt,
    /// Told of bytes as they are read; not of those whose hash is remembered.
    pub advance: &'a dyn Fn(Bytes),
}

/// `hashes` in the program's own cache folder.
pub fn default_folder() -> PathBuf {
    crate::base::env::cache_folder().join("hashes")
}

/// What is known of a file whose hash was computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    path: PathBuf,
    size: u64,
    modified_ns: u128,
    sha256: String,
}

impl Hasher<'_> {
    /// The SHA-256 of what `model` is loaded from, in hexadecimal; `None` for a synthetic one, which has no bytes
    /// of its own: its recipe says all.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Interrupted`]; for a folder also what [`safetensors::files`] says.
    pub fn model(&self, model: &Model) -> Result<Option<String>, Error> {
        match &model.source {
            Source::Gguf(path) => self.file(path).map(Some),
            Source::Safetensors(folder) => self.folder(folder).map(Some),
            Source::Synthetic(_) => Ok(None),
        }
    }

    /// The SHA-256 of one file, in hexadecimal.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Interrupted`].
    pub fn file(&self, path: &Path) -> Result<String, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let path = path.canonicalize().map_err(io)?;
        let before = fs::metadata(&path).map_err(io)?;
        if let Some(known) = self.recall(&path, &before) {
            return Ok(known);
        }
        let sha256 = self.compute(&path)?;
        // A file that changed while it was read has no one hash to remember.
        let after = fs::metadata(&path).map_err(io)?;
        if modified_ns(&before).is_some() && modified_ns(&before) == modified_ns(&after) {
            self.remember(&path, &before, &sha256);
        }
        Ok(sha256)
    }

    fn folder(&self, folder: &Path) -> Result<String, Error> {
        let mut whole = Sha256::new();
        for path in safetensors::files(folder)? {
            let name = path.strip_prefix(folder).unwrap_or(&path);
            whole.update(format!("{}  {}\n", self.file(&path)?, name.display()));
        }
        Ok(format!("{:x}", whole.finalize()))
    }

    fn compute(&self, path: &Path) -> Result<String, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            if self.interrupt.requested() {
                return Err(Error::Interrupted);
            }
            match file.read(&mut buffer) {
                Ok(0) => return Ok(format!("{:x}", hash.finalize())),
                Ok(count) => {
                    hash.update(&buffer[..count]);
                    (self.advance)(Bytes::new(count as u64));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(io(source)),
            }
        }
    }

    fn recall(&self, path: &Path, about: &Metadata) -> Option<String> {
        let text = fs::read_to_string(self.place(path)).ok()?;
        let known: Remembered = serde_json::from_str(&text).ok()?;
        let same =
            known.path == path && known.size == about.len() && Some(known.modified_ns) == modified_ns(about);
        let sound = known.sha256.len() == 64 && known.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (same && sound).then_some(known.sha256)
    }

    fn remember(&self, path: &Path, about: &Metadata, sha256: &str) {
        let Some(modified_ns) = modified_ns(about) else { return };
        let entry =
            Remembered { path: path.to_owned(), size: about.len(), modified_ns, sha256: sha256.to_owned() };
        let place = self.place(path);
        let temporary = place.with_extension(format!("{}.new", std::process::id()));
        // A path that is no UTF-8 cannot be written as JSON; it is hashed each time.
        let Ok(text) = serde_json::to_string(&entry) else { return };
        let written = fs::create_dir_all(self.folder)
            .and_then(|()| fs::write(&temporary, text))
            .and_then(|()| fs::rename(&temporary, &place));
        if written.is_err() {
            // A full disk or a folder that cannot be written: nothing is remembered, and nothing half-written stays.
            _ = fs::remove_file(&temporary);
        }
    }

    fn place(&self, path: &Path) -> PathBuf {
        let key = Sha256::digest(path.as_os_str().as_encoded_bytes());
        self.folder.join(format!("{key:x}.json"))
    }
}

fn modified_ns(about: &Metadata) -> Option<u128> {
    Some(about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    /// SHA-256 of "abc", from FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// Hashes with the cache in `folder`, and says how many bytes were read for it.
    fn hash(folder: &Path, path: &Path) -> (Result<String, Error>, u64) {
        let read = Cell::new(0);
        let advance = |bytes: Bytes| read.set(read.get() + bytes.get());
        let hasher = Hasher { folder, interrupt: &Interrupt::default(), advance: &advance };
        (hasher.file(path), read.get())
    }

    #[test]
    fn a_file_is_read_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, path) = (folder.path().join("hashes"), folder.path().join("m.gguf"));
        fs::write(&path, "abc").unwrap();
        let check = |expected: &str, read| {
            let (found, count) = hash(&cache, &path);
            assert_eq!((found.unwrap().as_str(), count), (expected, read));
        };
        check(ABC, 3);
        check(ABC, 0);
        // Same size, other bytes, other time.
        fs::write(&path, "abd").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000)).unwrap();
        let other = "a52d159f262b2c6ddb724a61840befc36eb30c88877a4030b65cbe86298449c9";
        check(other, 3);
        check(other, 0);
        // What cannot be understood is ignored and replaced.
        let entry = fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
        fs::write(&entry, "{").unwrap();
        check(other, 3);
        check(other, 0);
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1, "nothing temporary stays");
    }

    #[test]
    fn without_a_cache_it_is_only_slower() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        fs::write(&path, "abc").unwrap();
        let (found, read) = hash(&path.join("no-folder"), &path);
        assert_eq!((found.unwrap().as_str(), read), (ABC, 3));
    }

    #[test]
    fn an_interrupt_stops_the_reading() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        fs::write(&path, "abc").unwrap();
        let interrupt = Interrupt::default();
        interrupt.request();
        let hasher = Hasher { folder: folder.path(), interrupt: &interrupt, advance: &|_| {} };
        assert!(matches!(hasher.file(&path), Err(Error::Interrupted)));
    }

    #[test]
    fn a_folder_s_hash_is_that_of_its_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let index = r#"{"weight_map":{"x":"b.safetensors","y":"a.safetensors"}}"#;
        fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
        fs::write(folder.path().join("a.safetensors"), "abc").unwrap();
        fs::write(folder.path().join("b.safetensors"), "abd").unwrap();
        let interrupt = Interrupt::default();
        let cache = folder.path().join("hashes");
        let hasher = Hasher { folder: &cache, interrupt: &interrupt, advance: &|_| {} };
        // printf abc > a.safetensors; printf abd > b.safetensors; sha256sum *.safetensors | sha256sum
        let expected = "0439f1b8bc7bc105339c1e9afbb3308f7e6c49869631cdb1c17d09331622a551";
        assert_eq!(hasher.folder(folder.path()).unwrap(), expected);
    }
}
