//! Why a price file cannot be read. Each message names file, place and the way out.

use std::path::PathBuf;

use crate::base::failure::{Class, Classed};
use crate::base::text::count;

/// A failure to read or to write prices.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file (exit code 13).
    #[error("{} is not there", path.display())]
    Missing {
        /// The path that was named.
        path: PathBuf,
    },
    /// The system does not give or take it (exit code 1).
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not the text that it should be, or of no format that is known (exit code 1).
    #[error("{}{}: {reason}", path.display(), line.map_or(String::new(), |line| format!(":{line}")))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, where one is to blame.
        line: Option<usize>,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// Every row is bad or no price (exit code 1).
    #[error("{}: none of its {} can be used; {first}", path.display(), count(*rows, "row"))]
    NoneUsable {
        /// The file.
        path: PathBuf,
        /// How many rows it has.
        rows: usize,
        /// What is wrong with the first, or why most were passed over.
        first: String,
    },
    /// No price is of what the flags ask for, or a flag is missing (exit code 2).
    #[error("{}: {reason}", path.display())]
    Usage {
        /// The file.
        path: PathBuf,
        /// What it has instead, and the way out.
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
