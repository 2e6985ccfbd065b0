//! The folders that a run writes to: results, and the cache.

use std::fs;
use std::path::{Path, PathBuf};

use super::line::{Area, Line};
use crate::base::units::Bytes;
use crate::base::{sys, text};

/// Under this a record with its samples may not fit.
const LEAST: Bytes = Bytes::new(100 << 20);
/// Under this a small model does not fit into the cache.
const LITTLE: Bytes = Bytes::new(2 << 30);

/// Looks at `folder` without making it: its nearest ancestor that is there must be writable.
pub(super) fn look(name: &'static str, folder: &Path) -> Line {
    let there = nearest(folder);
    let free = sys::disk_free(&there);
    let writable = writable(&there);
    let made = if folder.exists() { "" } else { " (will be made)" };
    let state = match (&free, &writable) {
        (_, Err(error)) => format!("not writable: {error}"),
        (Some(free), Ok(())) => format!("{free} free"),
        (None, Ok(())) => "the system does not say how much is free".to_owned(),
    };
    let found = format!("{}{made}, {state}", text::path(folder));
    let line = Line::ok(Area::Disk, name, found).fact("bytes_free", free.map(Bytes::get));
    if writable.is_err() {
        let path = there.display();
        return line.fail(format!("sudo chown -R $(id -u) {path}, or work where you may write"));
    }
    match free {
        Some(free) if free < LEAST => {
            line.fail(format!("make room: du -xh {} | sort -h | tail", there.display()))
        }
        Some(free) if free < LITTLE => {
            line.warn(format!("make room: du -xh {} | sort -h | tail", there.display()))
        }
        _ => line,
    }
}

fn nearest(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find(|path| path.exists()).map(Path::to_owned);
    there.unwrap_or_else(|| PathBuf::from("/"))
}

/// A file is the only proof: permission bits know nothing of read-only mounts and quotas.
fn writable(folder: &Path) -> Result<(), String> {
    let probe = folder.join(format!(".infercost-doctor-{}", std::process::id()));
    fs::write(&probe, "").and_then(|()| fs::remove_file(&probe)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_fine_and_stays_away() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("a/b");
        let line = look("results", &folder);
        assert_ne!(line.status, Status::Fail, "{line:?}");
        assert!(line.found.contains("will be made") && line.found.contains("free"), "{line:?}");
        assert!(!root.path().join("a").exists());
        assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_file_where_the_folder_should_be_fails_with_a_command() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("results");
        fs::write(&file, "").expect("a file");
        let line = look("results", &file);
        assert_eq!(line.status, Status::Fail);
        assert!(line.mend.expect("a command").contains("chown"));
    }
}
