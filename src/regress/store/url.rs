//! A store that lies elsewhere: an object store by its URL, mirrored into the cache and added to, never changed.
//!
//! Built with the feature `object-store` alone, since it brings some fifty crates; without it a URL is an error that says
//! so. Bytes are what counts here: what a record means is the index's business.

use std::path::{Path, PathBuf};

use crate::regress::Error;

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Files that were copied.
    pub copied: usize,
    /// Files that were there already.
    pub there: usize,
    /// Files of the mirror whose object is gone.
    pub gone: usize,
}

/// Whether this names an object store and no folder.
pub fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// The folder under `cache` that mirrors `url`.
pub fn mirror(url: &str, cache: &Path) -> PathBuf {
    let name = blake3::hash(url.trim_end_matches('/').as_bytes()).to_hex();
    cache.join("mirror").join(&name[..16])
}

/// Brings the mirror of `url` up to date: what is new or changed is fetched, what is gone is removed.
///
/// `settings` are the provider's variables (`AWS_REGION` and the like).
///
/// # Errors
/// [`Error::Remote`] with what the store said, [`Error::NotBuilt`], [`Error::Io`] for the mirror.
pub fn pull(url: &str, mirror: &Path, settings: Vec<(String, String)>) -> Result<Moved, Error> {
    #[cfg(feature = "object-store")]
    return super::remote::Remote::open(url, settings)?.pull(mirror);
    #[cfg(not(feature = "object-store"))]
    {
        let _ = (mirror, settings);
        Err(Error::NotBuilt { url: url.to_owned() })
    }
}

/// Puts the records, gates and notes of `folder` under `url`. A file that is there already is never written again.
///
/// # Errors
/// As [`pull`], and [`Error::Unusable`] when a file of that name and another length is there.
pub fn push(folder: &Path, url: &str, settings: Vec<(String, String)>) -> Result<Moved, Error> {
    if !folder.is_dir() {
        return Err(Error::Missing { flag: "the store", path: folder.to_owned(), what: "folder" });
    }
    #[cfg(feature = "object-store")]
    return super::remote::Remote::open(url, settings)?.push(folder);
    #[cfg(not(feature = "object-store"))]
    {
        drop(settings);
        Err(Error::NotBuilt { url: url.to_owned() })
    }
}

/// Puts one file of `folder` under `url`, over the one that is there: for the notes, which grow.
///
/// # Errors
/// As [`pull`].
pub fn replace(folder: &Path, name: &str, url: &str, settings: Vec<(String, String)>) -> Result<(), Error> {
    #[cfg(feature = "object-store")]
    return super::remote::Remote::open(url, settings)?.replace(folder, name);
    #[cfg(not(feature = "object-store"))]
    {
        let _ = (folder, name, settings);
        Err(Error::NotBuilt { url: url.to_owned() })
    }
}
