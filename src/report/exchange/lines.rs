//! Lines of a file: the longest that is read, the skipped ones, and errors on the way.

use std::io;
use std::path::Path;

use super::Error;

/// Longest line of CSV or SQL, in bytes.
pub(super) const LINE_BYTES: usize = 16 << 20;

/// Skipped content.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// Lines, where a log object counts as one.
    pub(super) lines: u64,
    /// The first one, for a message.
    pub(super) first: Option<String>,
    /// The prefix of each line.
    pub(super) prefix: Option<String>,
}

impl Skipped {
    pub(super) fn take(&mut self, line: &[u8]) {
        self.lines += 1;
        if self.first.is_none() {
            self.first = Some(String::from_utf8_lossy(line).trim().to_owned());
        }
    }

    /// The notes for the record.
    pub(super) fn notes(&self) -> Vec<String> {
        let prefix = self
            .prefix
            .as_ref()
            .map(|prefix| format!("left out before each line: the log prefix `{prefix}`"));
        let lines = match self.lines {
            0 => None,
            1 => Some("skipped: 1 line that is not a row".to_owned()),
            lines => Some(format!("skipped: {lines} lines that are not rows")),
        };
        prefix.into_iter().chain(lines).collect()
    }
}

/// Converts an I/O error, or an error of this module wrapped in one.
pub(super) fn io_error(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidData => {
            Error::Refused { path: path.to_owned(), reason: error.to_string() }
        }
        _ => Error::Io { path: path.to_owned(), source: error },
    }
}
