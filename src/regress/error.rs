//! Why a gate or a check could not be run at all.

use std::path::PathBuf;

use crate::base::failure::{Class, Classed, Usage};

/// A failure that prevents a verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something named does not exist (exit code 13).
    #[error("{flag} {}: no such {what}", .path.display())]
    Missing {
        /// The flag or argument.
        flag: &'static str,
        /// Its value.
        path: PathBuf,
        /// `program`, `file`, `folder`.
        what: &'static str,
    },
    /// The folder of records and gates does not exist (exit code 13).
    #[error(
        "{}: no such folder; bench run, bench regress gate and bench regress criterion write under results/",
        .path.display()
    )]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// A flag's value is invalid on any machine (exit code 2).
    #[error(transparent)]
    Usage(#[from] Usage),
    /// Another gate is running on this machine (exit code 1).
    #[error(
        "another gate is running on this machine ({holder}), and the two would disturb each other; wait for it, or stop it"
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
        /// The system's error.
        source: std::io::Error,
    },
    /// The disk under the gate's folder is full (exit code 1); what was measured is kept.
    #[error(
        "{}: {source}; the replicates so far are kept, and the same command resumes from there once there is space",
        .folder.display()
    )]
    Full {
        /// The gate's folder.
        folder: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file exists but is invalid (exit code 1).
    #[error("{}: {reason}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An object store request failed (exit code 1).
    #[error("{url}: {reason}")]
    Remote {
        /// Its URL.
        url: String,
        /// The object store's error.
        reason: String,
    },
    /// There is no record at a URL (exit code 13).
    #[error("{url}: no records here; upload a folder with bench regress push")]
    Nothing {
        /// The URL.
        url: String,
    },
    /// This program was built without support for object stores (exit code 13).
    #[error(
        "{url}: this program was built without object store support; cargo build --release --features object-store"
    )]
    NotBuilt {
        /// The URL.
        url: String,
    },
    /// The user stopped it (exit code 130 or 143); what was measured is kept.
    #[error("stopped; the replicates so far are kept in {}, and the same command resumes from there", .folder.display())]
    Interrupted {
        /// The gate's folder.
        folder: PathBuf,
        /// Exit code of the signal.
        code: u8,
    },
    /// A file to be checked is neither a record nor a known result of another tool (exit code 1).
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
    /// Wraps an I/O error for `path`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}
