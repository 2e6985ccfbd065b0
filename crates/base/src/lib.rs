//! The foundation: what every other crate may depend on, and which depends on none of them.
//!
//! Units, statistics, the clock, the events that engines report, a parser for untrusted JSON, what is known or not and why (`known`), redaction of secrets, text
//! formatting, kinds of failures, and the only access to environment variables and the operating system.

// The derives of `known` write whole paths, in the tests of this crate as well.
#[cfg(test)]
extern crate self as infercost_base;

pub mod clock;
pub mod env;
pub mod event;
pub mod exhausted;
pub mod failure;
pub mod json;
pub mod known;
pub mod memory;
pub mod random;
pub mod redact;
pub mod requests;
pub mod stats;
pub mod sys;
pub mod text;
pub mod undo;
pub mod units;
