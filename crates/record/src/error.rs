//! Why a record cannot be read or written.

use std::path::PathBuf;

use crate::base::failure::{Class, Classed};

/// A failure to read or write a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file or folder (exit code 13).
    #[error("{} does not exist; `bench run` writes records under results/", path.display())]
    Missing {
        /// The path that was named.
        path: PathBuf,
    },
    /// It is there and is no record this version can read (exit code 1).
    #[error("{} is not a readable record: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        reason: String,
    },
    /// A file that a flag names could not be written (exit code 1).
    #[error("cannot write {}: {source}; name another file with `{flag} FILE`", path.display())]
    WriteTo {
        /// The flag.
        flag: &'static str,
        /// Its value.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It could not be written (exit code 1).
    #[error("cannot write {}: {source}; choose another folder with `--output DIR`, or `--output -` for stdout", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Missing { .. } => Class::Missing,
            Self::Unreadable { .. } | Self::WriteTo { .. } | Self::Write { .. } => Class::Unusable,
        }
    }
}
