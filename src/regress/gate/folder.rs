//! A gate's folder: its identity, its lock, and its complete replicates.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::record::{self, Record};
use crate::regress::Error;

/// The file whose presence marks a gate as finished.
pub(super) const VERDICT: &str = "verdict.json";

/// The lock that ensures one gate at a time on this machine.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "held, not read")] File);

impl Lock {
    /// Takes the lock in `cache`, or reports its holder. The system releases it when the process ends, however it ends.
    ///
    /// # Errors
    /// [`Error::Locked`] and [`Error::Io`].
    pub(super) fn take(cache: &Path) -> Result<Self, Error> {
        fs::create_dir_all(cache).map_err(Error::io(cache))?;
        let path = cache.join("gate.lock");
        let open = File::options().create(true).read(true).write(true).truncate(false).open(&path);
        let mut file = open.map_err(Error::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder's name is a courtesy; what matters is that the lock is held.
                let read = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if read.is_ok() && !holder.is_empty() { holder } else { "unknown process" };
                return Err(Error::Locked { holder: holder.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Io { path, source }),
        }
        let name = format!("process {}\n", std::process::id());
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(name.as_bytes()))
            .map_err(Error::io(&path))?;
        Ok(Self(file))
    }
}

/// The folder of one gate.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// The folder for a gate of this identity in `parent`: an unfinished one if there is one, else a new one.
    ///
    /// # Errors
    /// [`Error::Unusable`] if no folder can be created there.
    pub(super) fn open(parent: &Path, identity: &str) -> Result<Self, Error> {
        let stem = format!("gate-{}", &identity[..12.min(identity.len())]);
        for number in 1.. {
            let name = if number == 1 { stem.clone() } else { format!("{stem}-{number}") };
            let path = parent.join(name);
            if !path.join(VERDICT).exists() {
                fs::create_dir_all(&path).map_err(|error| Error::Unusable {
                    path: parent.to_owned(),
                    reason: format!(
                        "cannot create a folder for the gate here ({error}); choose another place with --output DIR"
                    ),
                })?;
                return Ok(Self(path));
            }
        }
        unreachable!("the numbers do not end")
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The file of a replicate's record.
    pub(super) fn replicate(&self, pair: usize, program: char) -> PathBuf {
        self.0.join(format!("{:02}-{program}.json", pair + 1))
    }

    /// The replicate's record, if it exists and is complete; an invalid file is removed.
    ///
    /// # Errors
    /// [`Error::Io`] if a broken file cannot be removed.
    pub(super) fn read(&self, pair: usize, program: char) -> Result<Option<Record>, Error> {
        let path = self.replicate(pair, program);
        match record::read::read(&path) {
            Ok(record) => Ok(Some(record)),
            Err(record::Error::Missing { .. }) => Ok(None),
            Err(_) => {
                fs::remove_file(&path).map_err(Error::io(&path))?;
                Ok(None)
            }
        }
    }

    /// Writes the verdict atomically, as the last step.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn finish(&self, text: &str) -> Result<(), Error> {
        write_whole(&self.0.join(VERDICT), text)
    }
}

/// Writes `text` to a temporary file next to `path` and renames it, so that a reader never sees half of it.
pub(in crate::regress) fn write_whole(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Error> {
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(text.as_ref())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_is_over_is_never_reopened() {
        let parent = tempfile::tempdir().expect("a folder");
        let first = Folder::open(parent.path(), "0123456789abcdef").expect("made");
        let again = Folder::open(parent.path(), "0123456789abcdef").expect("the same");
        assert_eq!(first.path(), again.path());
        assert!(first.path().ends_with("gate-0123456789ab"));
        first.finish("{}").expect("written");
        let next = Folder::open(parent.path(), "0123456789abcdef").expect("a new one");
        assert!(next.path().ends_with("gate-0123456789ab-2"));
    }

    #[test]
    fn half_a_record_is_no_replicate() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(parent.path(), "0123456789abcdef").expect("made");
        assert!(folder.read(0, 'A').expect("nothing there").is_none());
        fs::write(folder.replicate(0, 'A'), "{\"schema\": \"infercost.rec").expect("half");
        assert!(folder.read(0, 'A').expect("removed").is_none());
        assert!(!folder.replicate(0, 'A').exists());
    }

    #[test]
    fn one_gate_at_a_time() {
        let cache = tempfile::tempdir().expect("a folder");
        let held = Lock::take(cache.path()).expect("free");
        let refused = Lock::take(cache.path()).expect_err("held");
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
        drop(held);
        assert!(Lock::take(cache.path()).is_ok());
    }
}
