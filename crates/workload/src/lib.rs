//! What a server is asked, and when: lengths, arrivals, prompts, and [`Load`], the driver of all requests.
//!
//! Nothing here reads a clock, opens a connection or knows a tokenizer. What serves the requests ([`Serving`]: an
//! HTTP client, our own engine) asks [`Load::next`] what to do now. The seed fixes the schedule and the lengths; the
//! salt alone decides what the prompts say, so that the same schedule twice does not find its prompts in a server's
//! prefix cache.

mod arrivals;
mod lengths;
mod load;
mod prompts;
mod serving;
mod words;

// Rooms go by their own names here: `crate::base::event`, not `infercost_base::event`.
use infercost_base as base;

use crate::base::failure::{Class, Classed};

pub use arrivals::{Arrivals, Process};
pub use lengths::{Asked, Lengths};
pub use load::{Extent, Load, Next, NotInFlight, Over, Pace, Send};
pub use prompts::Prompts;
pub use serving::{Questions, Report, Serving, Stats, Stopped, Work};

/// A workload that can't be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A number outside of what it may be.
    #[error("{name} is {value}; it must be {expected}")]
    OutOfRange {
        /// The flag or field.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// A load without an end.
    #[error("a load needs an end: a number of requests or a time")]
    Endless,
    /// A line of a file of lengths.
    #[error(
        "{file}, line {line}: {problem}; expected an object such as {{\"prompt_tokens\": 512, \"output_tokens\": 128}}"
    )]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A file of lengths without any.
    #[error("{file} is empty; expected one JSON object per request")]
    Empty {
        /// The file.
        file: String,
    },
    /// A file that can't be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::OutOfRange { .. } | Self::Endless => Class::Usage,
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Class::Missing,
            Self::Line { .. } | Self::Empty { .. } | Self::Read { .. } => Class::Unusable,
        }
    }
}

/// What the parts of a seed are for, so that no two streams of random numbers are the same.
mod stream {
    pub(crate) const ARRIVALS: u64 = 1;
    pub(crate) const LENGTHS: u64 = 2;
    pub(crate) const OPENING: u64 = 3;
    pub(crate) const SHARED: u64 = 4;
    pub(crate) const BODY: u64 = 5;
}
