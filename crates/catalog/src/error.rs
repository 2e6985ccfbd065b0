//! Why the catalog cannot be read or a row not found. Each message names file, line, field, value and how to fix it.

use std::path::PathBuf;

use crate::base::failure::{Class, Classed};

/// A failure to read a catalog file or to find a row.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No row has this id or alias (exit code 2).
    #[error("unknown {kind} `{id}`{}; `bench catalog {listing}` lists them", did_you_mean(nearest))]
    Unknown {
        /// What was looked for: `gpu`, `model`, `API price`.
        kind: &'static str,
        /// Subcommand of `bench catalog` that lists them.
        listing: &'static str,
        /// As typed.
        id: String,
        /// Up to three ids or aliases that look alike, nearest first.
        nearest: Vec<String>,
    },
    /// No API sells this model of the catalog (exit code 2).
    #[error(
        "no API in the catalog sells {0}; name another model, or an API as `provider/model`; `bench catalog prices api` lists them"
    )]
    NotSold(String),
    /// A catalog file is invalid (exit code 1).
    #[error("{file}:{line}: {reason}")]
    Invalid {
        /// The file, or `bundled configs/…`.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// Field, value, what was expected and how to fix it.
        reason: String,
    },
    /// Two rows claim the same name (exit code 1).
    #[error(
        "{kind} `{first}` and {kind} `{second}` both claim the name `{name}`; rename one of them, or give your row the id `{first}` to replace it"
    )]
    Collision {
        /// `gpu` or `model`.
        kind: &'static str,
        /// The row that had the name.
        first: String,
        /// The other row that claims it.
        second: String,
        /// The name.
        name: String,
    },
    /// The folder given as `--config` does not exist or contains no catalog file (exit code 13).
    #[error("{}: {reason}", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What was expected, and how to fix it.
        reason: String,
    },
    /// A catalog file could not be read (exit code 1).
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } | Self::NotSold(_) => Class::Usage,
            Self::Missing { .. } => Class::Missing,
            Self::Invalid { .. } | Self::Collision { .. } | Self::Io { .. } => Class::Unusable,
        }
    }
}

impl Error {
    /// A suggestion of similar names, ` (did you mean `h100`?)`; empty when there are none.
    pub fn nearest(&self) -> String {
        if let Self::Unknown { nearest, .. } = self { did_you_mean(nearest) } else { String::new() }
    }
}

fn did_you_mean(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        [only] => format!(" (did you mean `{only}`?)"),
        [init @ .., last] => format!(" (did you mean `{}` or `{last}`?)", init.join("`, `")),
    }
}
