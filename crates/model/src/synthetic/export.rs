//! A virtual file made real, so that other programs load the same bytes.
//!
//! It is written next to its final name and linked there when it is complete: an existing file is never replaced, and
//! nothing is left if writing is stopped, by any signal but SIGKILL.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Synthetic;
use crate::Error;
use crate::base::sys::{self, Interrupt};
use crate::base::undo::Undo;
use crate::base::units::Bytes;

/// Bytes that are made at a time: enough for all cores to have a share.
const PIECE: usize = 8 << 20;

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its length.
    pub bytes: Bytes,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

impl Synthetic {
    /// Writes the whole virtual file to `path`, telling `advance` of bytes as they are written.
    ///
    /// # Errors
    /// [`Error::Unusable`] when there is something at `path` already or its disk is too small, [`Error::Missing`] when
    /// its folder is not there, [`Error::Write`] when the system refuses, [`Error::Interrupted`] when the user asked to
    /// stop. Nothing is left over then.
    pub fn export(
        &self,
        path: &Path,
        interrupt: &Interrupt,
        advance: &dyn Fn(Bytes),
    ) -> Result<Exported, Error> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.check_place(path, folder)?;
        let failed = |source| Error::Write { path: path.to_owned(), source };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = folder.join(format!(".{name}.{}.part", std::process::id()));
        let mut created = None;
        let leftover = temporary.clone();
        let undo = Undo::after(
            || File::create_new(&temporary).map(|file| created = Some(file)),
            move || drop(fs::remove_file(leftover)),
        )
        .map_err(failed)?;
        let mut file = created.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let sha256 = self.copy(&mut file, interrupt, advance, &failed)?;
        file.sync_all().map_err(failed)?;
        undo.again(|| publish(&temporary, path)).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => taken(path),
            _ => failed(source),
        })?;
        Ok(Exported { bytes: Bytes::new(self.length()), sha256 })
    }

    fn check_place(&self, path: &Path, folder: &Path) -> Result<(), Error> {
        // A link that leads nowhere is something, too.
        if fs::symlink_metadata(path).is_ok() {
            return Err(taken(path));
        }
        if !folder.is_dir() {
            let reason = "its folder does not exist; create it first".to_owned();
            return Err(Error::Missing { what: folder.display().to_string(), reason });
        }
        let needed = Bytes::new(self.length());
        match sys::disk_free(folder) {
            Some(free) if free < needed => Err(Error::unusable(
                folder,
                format!("its disk has {free} left, but the file needs {needed}; choose another place"),
            )),
            _ => Ok(()),
        }
    }

    /// Copies every byte and returns their hash.
    fn copy(
        &self,
        file: &mut File,
        interrupt: &Interrupt,
        advance: &dyn Fn(Bytes),
        failed: &dyn Fn(io::Error) -> Error,
    ) -> Result<String, Error> {
        let mut reader = self.reader();
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE];
        loop {
            if interrupt.requested() {
                return Err(Error::Interrupted);
            }
            match reader.read(&mut piece).map_err(failed)? {
                0 => return Ok(format!("{:x}", hash.finalize())),
                count => {
                    hash.update(&piece[..count]);
                    file.write_all(&piece[..count]).map_err(failed)?;
                    advance(Bytes::new(count as u64));
                }
            }
        }
    }
}

fn taken(path: &Path) -> Error {
    Error::unusable(path, "it already exists and is not overwritten; delete it, or choose another file")
}

/// Gives a whole file its name, which must not be taken; its temporary one goes with the [`Undo`].
fn publish(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        // A file system without links (FAT, some network ones) has no step that is both safe and whole.
        Err(error) if error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(1) => {
            if path.exists() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(temporary, path)
        }
        other => other,
    }
}
