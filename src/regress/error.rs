//! Why a gate or a check could not be made at all.

use std::path::PathBuf;

use crate::base::failure::{Class, Classed, Usage};

/// What stands between the user and a verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something named is not there (exit code 13).
    #[error("{flag} {}: there is no such {what}", .path.display())]
    Missing {
        /// The flag or argument.
        flag: &'static str,
        /// Its value.
        path: PathBuf,
        /// `program`, `file`, `folder`.
        what: &'static str,
    },
    /// There is no such folder of records and gates (exit code 13).
    #[error(
        "{}: there is no such folder; bench run writes records under results/, bench regress gate and criterion write theirs there too",
        .path.display()
    )]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// A flag's value is wrong whatever the machine (exit code 2).
    #[error(transparent)]
    Usage(#[from] Usage),
    /// Another gate runs on this box (exit code 1).
    #[error(
        "another gate runs on this box ({holder}); two at once would disturb each other. Wait for it, or stop it"
    )]
    Locked {
        /// Who holds the lock.
        holder: String,
    },
    /// A file cannot be read or written (exit code 1).
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk under the gate's folder is full (exit code 1); what was measured is kept.
    #[error(
        "{}: {source}; the replicates so far are kept, and the same command goes on from there once there is room",
        .folder.display()
    )]
    Full {
        /// The gate's folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there and is not what it should be (exit code 1).
    #[error("{}: {reason}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An object store did not do what was asked (exit code 1).
    #[error("{url}: {reason}")]
    Remote {
        /// Its URL.
        url: String,
        /// What it said.
        reason: String,
    },
    /// There is no record at a URL (exit code 13).
    #[error("{url}: there is no record here; bench regress push puts a folder's there")]
    Nothing {
        /// The URL.
        url: String,
    },
    /// This program has no code for object stores (exit code 13).
    #[error(
        "{url}: this program was built without object stores; cargo build --release --features object-store"
    )]
    NotBuilt {
        /// The URL.
        url: String,
    },
    /// The user stopped it (exit code 130 or 143); what was measured is kept.
    #[error("stopped; the replicates so far are kept in {}, and the same command goes on from there", .folder.display())]
    Interrupted {
        /// The gate's folder.
        folder: PathBuf,
        /// Exit code of the signal.
        code: u8,
    },
    /// A file that was to be checked is neither a record nor a known result of another tool (exit code 1).
    #[error("{0}")]
    Unread(String),
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] crate::record::Error),
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Missing { .. } | Self::NoStore { .. } | Self::Nothing { .. } | Self::NotBuilt { .. } => {
                Class::Missing
            }
            Self::Usage(error) => error.class(),
            Self::Interrupted { code, .. } => Class::Interrupted(Some(*code)),
            Self::Record(error) => error.class(),
            Self::Locked { .. }
            | Self::Io { .. }
            | Self::Full { .. }
            | Self::Unusable { .. }
            | Self::Remote { .. }
            | Self::Unread(_) => Class::Unusable,
        }
    }
}

impl Error {
    /// An I/O error of `path`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
