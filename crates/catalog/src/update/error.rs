//! Why a price file cannot be read. Each message names file, place and how to fix it.

use std::path::PathBuf;

use crate::base::failure::{Class, Classed};
use crate::base::text::count;

/// A failure to read or to write prices.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file (exit code 13).
    #[error("{}: no such file", path.display())]
    Missing {
        /// The path that was named.
        path: PathBuf,
    },
    /// It cannot be read or written (exit code 1).
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is not valid text, or not in a known format (exit code 1).
    #[error("{}{}: {reason}", path.display(), line.map_or(String::new(), |line| format!(":{line}")))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, if a specific line is at fault.
        line: Option<usize>,
        /// What is wrong, and how to fix it.
        reason: String,
    },
    /// Every row is invalid or not a price (exit code 1).
    #[error("{}: none of its {} can be used; {first}", path.display(), count(*rows, "row"))]
    NoneUsable {
        /// The file.
        path: PathBuf,
        /// How many rows it has.
        rows: usize,
        /// What is wrong with the first row, or why most were skipped.
        first: String,
    },
    /// No price matches the flags, or a flag is missing (exit code 2).
    #[error("{}: {reason}", path.display())]
    Usage {
        /// The file.
        path: PathBuf,
        /// What it has instead, and how to fix it.
        reason: String,
    },
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Missing { .. } => Class::Missing,
            Self::Usage { .. } => Class::Usage,
            Self::Io { .. } | Self::Unreadable { .. } | Self::NoneUsable { .. } => Class::Unusable,
        }
    }
}
