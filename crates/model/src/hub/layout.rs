//! The shared cache on disk: which file is where, and how a finished one gets its place.
//!
//! `models--ORG--REPO/blobs/ETAG` holds bytes, `snapshots/COMMIT/FILE` is a relative link to them,
//! `refs/REVISION` names the commit a branch pointed to. Everything arrives by rename, so another
//! process sees a file whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo};

use super::{Fetched, Listing, cache_error, create_folder};
use crate::Error;

/// One repository's part of the cache.
pub(super) struct Layout<'a> {
    cache: &'a Path,
    repo: &'a Repo,
    paths: CacheRepo,
}

/// Whether a name from a server can be one component of a path.
pub(super) fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.chars().all(plain)
}

impl<'a> Layout<'a> {
    pub(super) fn new(cache: &'a Path, repo: &'a Repo) -> Self {
        Self { cache, repo, paths: Cache::new(cache.to_owned()).repo(repo.clone()) }
    }

    /// The file, if it is here at the revision wanted.
    pub(super) fn find(&self, file: &str) -> Option<Fetched> {
        let commit = self.commit()?;
        let path = self.paths.pointer_path(&commit).join(file);
        path.is_file().then_some(Fetched { path, commit })
    }

    /// What is here of the revision wanted.
    pub(super) fn listing(&self) -> Option<Listing> {
        let commit = self.commit()?;
        let root = self.paths.pointer_path(&commit);
        let mut files = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(root.join(&folder)).ok()?.flatten() {
                let name = folder.join(entry.file_name());
                // Not `entry.file_type()`: a link counts as what it points to.
                match fs::metadata(entry.path()) {
                    Ok(found) if found.is_file() => files.extend(name.to_str().map(str::to_owned)),
                    Ok(found) if found.is_dir() && name.components().count() < 8 => folders.push(name),
                    _ => {}
                }
            }
        }
        files.sort();
        (!files.is_empty()).then_some(Listing { commit, files })
    }

    /// Where the bytes with this etag belong.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.paths.blob_path(etag)
    }

    /// Where they grow until they are complete.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.paths.blob_path(&format!("{etag}.incomplete"))
    }

    /// The file whose lock is held while these bytes are fetched.
    pub(super) fn lock(&self, etag: &str) -> PathBuf {
        self.cache.join(".locks").join(self.repo.folder_name()).join(format!("{etag}.lock"))
    }

    /// Gives a complete blob its name in the snapshot, and remembers the commit.
    pub(super) fn link(&self, file: &str, etag: &str, commit: &str) -> Result<Fetched, Error> {
        let path = self.paths.pointer_path(commit).join(file);
        let folder = path.parent().unwrap_or(&path);
        create_folder(folder)?;
        // From snapshots/COMMIT/a/b to blobs/: one step up for each component of the file, and one for the commit.
        let up = "../".repeat(file.split('/').count() + 1);
        let target = format!("{up}blobs/{etag}");
        let temporary = folder.join(temporary_name(etag));
        place(&target, &self.blob(etag), &temporary).map_err(|source| cache_error(&temporary, source))?;
        fs::rename(&temporary, &path).map_err(|source| cache_error(&path, source))?;
        self.refer(commit)?;
        Ok(Fetched { path, commit: commit.to_owned() })
    }

    /// Remembers which commit the revision pointed to; a commit points to itself.
    pub(super) fn refer(&self, commit: &str) -> Result<(), Error> {
        if self.repo.revision() == commit {
            return Ok(());
        }
        let reference = self.reference();
        let folder = reference.parent().unwrap_or(&reference);
        create_folder(folder)?;
        let temporary = folder.join(temporary_name(commit));
        fs::write(&temporary, commit).map_err(|source| cache_error(&temporary, source))?;
        fs::rename(&temporary, &reference).map_err(|source| cache_error(&reference, source))
    }

    fn reference(&self) -> PathBuf {
        self.cache.join(self.repo.folder_name()).join("refs").join(self.repo.revision())
    }

    /// The commit that the revision points to, as far as the cache knows.
    fn commit(&self) -> Option<String> {
        let revision = self.repo.revision();
        match fs::read_to_string(self.reference()) {
            Ok(commit) => Some(commit.trim().to_owned()).filter(|commit| is_plain(commit)),
            // A commit is its own name.
            Err(_) => is_plain(revision).then(|| revision.to_owned()),
        }
    }
}

/// A name that no other process and no other thread of this one uses.
fn temporary_name(stem: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(".{stem}.{}-{}.new", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Makes `place` another name for `blob`: a relative link where there are links, else a second name or a copy.
fn place(target: &str, blob: &Path, place: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(target, place);
    #[cfg(not(unix))]
    let linked: std::io::Result<()> = Err(std::io::Error::other(format!("no links to {target} here")));
    linked.or_else(|_| fs::hard_link(blob, place)).or_else(|_| fs::copy(blob, place).map(|_| ()))
}
