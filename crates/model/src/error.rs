//! Why a model is absent or unusable. Each message names the file or id, the field, the value found
//! and the way out.

use std::path::PathBuf;

use crate::base::failure::{Class, Classed};

/// A failure to find, fetch or understand a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be a model's name, whatever the machine (exit code 2).
    #[error("`{name}` is not a model: {reason}")]
    BadName {
        /// As typed.
        name: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// Something named is not there: file, folder, repository, file in a repository (exit code 13).
    #[error("{what} does not exist: {reason}")]
    Missing {
        /// The path, repository or URL.
        what: String,
        /// What was looked for, and the way out.
        reason: String,
    },
    /// The hub did not send it, which does not mean that it lacks it (exit code 13).
    #[error("cannot get {what}: {reason}")]
    Unreachable {
        /// The repository or file.
        what: String,
        /// What happened, and the way out.
        reason: String,
    },
    /// The file is there and cannot be used: corrupt, truncated, of an unknown version or type (exit code 1).
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// The field, the value, what was expected and the way out.
        reason: String,
    },
    /// A file could not be read (exit code 1, or 13 when it vanished).
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written (exit code 1).
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The user asked to stop (exit code 130 or 143).
    #[error("interrupted")]
    Interrupted,
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::BadName { .. } => Class::Usage,
            Self::Missing { .. } | Self::Unreachable { .. } => Class::Missing,
            Self::Unusable { .. } | Self::Io { .. } | Self::Write { .. } => Class::Unusable,
            Self::Interrupted => Class::Interrupted(None),
        }
    }
}

/// Whether a read failed because the user asked to stop: [`Error::Interrupted`] is its cause, not a text.
pub fn is_interruption(error: &std::io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    cause.is_some_and(|cause| matches!(cause, Error::Interrupted))
}

impl Error {
    /// Whether the user asked to stop, however far up that comes from.
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Io { source, .. } | Self::Write { source, .. } => is_interruption(source),
            _ => false,
        }
    }

    /// An [`Error::Unusable`] about `path`.
    pub fn unusable(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Unusable { path: path.into(), reason: reason.into() }
    }
}
