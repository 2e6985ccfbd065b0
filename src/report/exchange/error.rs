//! Why another tool's file cannot be read, or a record cannot be exported.
//!
//! Each message names file, place, field and value, and how to fix it.

use std::path::PathBuf;

use crate::base::failure::{Class, Classed};

/// A failure to import or to export.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such file (exit code 13).
    #[error("{}: no such file", path.display())]
    Missing {
        /// The given path.
        path: PathBuf,
    },
    /// It cannot be read (exit code 1).
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is not valid text of its format (exit code 1).
    #[error("{}{}: {reason}", path.display(), line.map_or(String::new(), |line| format!(":{line}")))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, if a specific line is at fault.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// A field is missing or has an impossible value (exit code 1).
    #[error("{}{}: `{field}` {reason}", path.display(), if place.is_empty() { String::new() } else { format!(", {place}") })]
    Field {
        /// The file.
        path: PathBuf,
        /// The line or row.
        place: String,
        /// The field's name.
        field: String,
        /// The value and what it should be.
        reason: String,
    },
    /// An unknown format (exit code 1).
    #[error("{}: {seen}; supported: {known}. If it is one of these, name it with --input-format NAME", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What it contains.
        seen: String,
        /// Names of all formats.
        known: String,
    },
    /// A known format that cannot be imported (exit code 1).
    #[error("{}: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, and what to do instead.
        reason: String,
    },
    /// The file does not name its model, and no flag does (exit code 2).
    #[error("{}: {tool} does not record which model it measured; give it with --model ID (`bench catalog models` lists them; hf:ORGANISATION/NAME names any other)", path.display())]
    NoModel {
        /// The file.
        path: PathBuf,
        /// The tool.
        tool: String,
    },
    /// A flag contradicts the file (exit code 2).
    #[error("{}: the file says {said}, but {flag} says {given}; {flag} is for what a file does not state: omit it (--price-per-hour USD sets the rent), or fix the file if it is wrong", path.display())]
    Contradicted {
        /// The file.
        path: PathBuf,
        /// What the file says.
        said: String,
        /// The flag.
        flag: &'static str,
        /// What the flag says.
        given: String,
    },
    /// A record has nothing that the other tool's format can express (exit code 12).
    #[error("record {id} cannot be written as {format}: {reason}")]
    Export {
        /// The record's id.
        id: String,
        /// The format's name.
        format: &'static str,
        /// What is missing.
        reason: String,
    },
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Missing { .. } => Class::Missing,
            Self::NoModel { .. } | Self::Contradicted { .. } => Class::Usage,
            Self::Export { .. } => Class::Incomparable,
            Self::Io { .. }
            | Self::Syntax { .. }
            | Self::Field { .. }
            | Self::Unrecognised { .. }
            | Self::Refused { .. } => Class::Unusable,
        }
    }
}
