//! A remote store: an object store given by its URL, mirrored into the cache; objects are added, never changed.
//!
//! Only with the feature `object-store`, since it adds some fifty crates; without it a URL is an error that says so. This
//! module only copies bytes; the index interprets them.

use std::path::{Path, PathBuf};

use crate::regress::Error;

use super::moved::Moved;

/// Whether this is the URL of an object store and not a folder.
pub fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// The folder under `cache` that mirrors `url`.
pub fn mirror(url: &str, cache: &Path) -> PathBuf {
    let name = blake3::hash(url.trim_end_matches('/').as_bytes()).to_hex();
    cache.join("mirror").join(&name[..16])
}

/// Updates the mirror of `url`: fetches what is new or changed, removes what is gone.
///
/// `settings` are the provider's variables (`AWS_REGION` and the like).
///
/// # Errors
/// [`Error::Remote`] with the store's error, [`Error::NotBuilt`], [`Error::Io`] for the mirror.
pub fn pull(url: &str, mirror: &Path, settings: Vec<(String, String)>) -> Result<Moved, Error> {
    #[cfg(feature = "object-store")]
    return super::remote::Remote::open(url, settings)?.pull(mirror);
    #[cfg(not(feature = "object-store"))]
    {
        let _ = (mirror, settings);
        Err(Error::NotBuilt { url: url.to_owned() })
    }
}

/// Uploads the records, gates and notes of `folder` to `url`. An existing file is never overwritten.
///
/// # Errors
/// As [`pull`], and [`Error::Unusable`] if a file of that name with a different length exists.
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

/// Uploads one file of `folder` to `url`, overwriting an existing one: for the notes, which grow.
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
