//! The ground floor: what every other room may stand on and that stands on nothing of ours.
//!
//! Units, statistics, the clock, the events that engines report, strangers' JSON, secrets taken out of their words, text for a person, the kinds of failures, and the two doors to the outside
//! (environment variables and the operating system).

pub mod clock;
pub mod env;
pub mod event;
pub mod exhausted;
pub mod failure;
pub mod json;
pub mod memory;
pub mod random;
pub mod redact;
pub mod requests;
pub mod stats;
pub mod sys;
pub mod text;
pub mod undo;
pub mod units;
