//! The folders that a run writes to: results, and the cache.

use std::fs;
use std::path::{Path, PathBuf};

use super::line::{Area, Line};
use crate::base::units::Bytes;
use crate::base::{sys, text};

/// Below this a record with its samples may not fit.
const MIN_FREE: Bytes = Bytes::new(100 << 20);
/// Below this a small model does not fit into the cache.
const LOW_FREE: Bytes = Bytes::new(2 << 30);

/// Checks `folder` without creating it: its nearest existing ancestor must be writable.
pub(super) fn check(name: &'static str, folder: &Path) -> Line {
    let there = nearest(folder);
    let free = sys::disk_free(&there);
    let writable = writable(&there);
    let made = if folder.exists() { "" } else { " (will be created)" };
    let state = match (&free, &writable) {
        (_, Err(error)) => format!("not writable: {error}"),
        (Some(free), Ok(())) => format!("{free} free"),
        (None, Ok(())) => "free space unknown".to_owned(),
    };
    let found = format!("{}{made}, {state}", text::path(folder));
    let line = Line::ok(Area::Disk, name, found).fact("bytes_free", free.map(Bytes::get));
    if writable.is_err() {
        let path = there.display();
        return line.fail(format!("sudo chown -R $(id -u) {path}, or use a writable folder"));
    }
    match free {
        Some(free) if free < MIN_FREE => {
            line.fail(format!("free space: du -xh {} | sort -h | tail", there.display()))
        }
        Some(free) if free < LOW_FREE => {
            line.warn(format!("free space: du -xh {} | sort -h | tail", there.display()))
        }
        _ => line,
    }
}

fn nearest(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = absolute.ancestors().find(|path| path.exists()).map(Path::to_owned);
    there.unwrap_or_else(|| PathBuf::from("/"))
}

/// Only creating a file proves it: permission bits say nothing about read-only mounts and quotas.
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
        let line = check("results", &folder);
        assert_ne!(line.status, Status::Fail, "{line:?}");
        assert!(line.found.contains("will be created") && line.found.contains("free"), "{line:?}");
        assert!(!root.path().join("a").exists());
        assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 0, "nothing is left behind");
    }

    #[test]
    fn a_file_where_the_folder_should_be_fails_with_a_command() {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("results");
        fs::write(&file, "").expect("a file");
        let line = check("results", &file);
        assert_eq!(line.status, Status::Fail);
        assert!(line.fix.expect("a command").contains("chown"));
    }
}
