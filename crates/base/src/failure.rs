//! What kind of failure an error is. Each room classifies its own errors; the command line maps the kinds to exit codes.

/// The kind of a failure, as far as a script cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It is there and cannot be used: corrupt, unsupported, too large, not writable.
    Unusable,
    /// A flag's value is wrong whatever the machine.
    Usage,
    /// Something named is not there: a file, a URL, a library, a device.
    Missing,
    /// Figures that are invalid, or that cannot stand side by side.
    Incomparable,
    /// The user stopped it, by the signal with this exit code where that is known.
    Interrupted(Option<u8>),
}

/// An error that says of which kind it is.
pub trait Classed: std::error::Error {
    /// The kind.
    fn class(&self) -> Class;
}

/// A flag's value is wrong whatever the machine: the one error that every room may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {reason}")]
pub struct Usage {
    /// The flag, with its value where that says more.
    pub flag: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Usage {
    /// Of this flag, for this reason.
    pub fn new(flag: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { flag: flag.into(), reason: reason.into() }
    }
}

impl Classed for Usage {
    fn class(&self) -> Class {
        Class::Usage
    }
}
