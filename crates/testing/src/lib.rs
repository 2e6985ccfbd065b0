//! What the tests of several crates share: tiny models of each architecture, the real model, llama.cpp on the same files,
//! and what tests do to other tools' files. Only `dev-dependencies` name this crate.
//!
//! It depends on `base` and `model`; tests of those two may use what has no type of theirs, since Cargo builds them
//! twice.

#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests alone"
)]

mod files;
mod texts;
mod server;
mod tiny;

pub use files::{llama_cpp, real_model};
pub use server::Server;
pub use texts::{json, with_number};
pub use tiny::{Tiny, VOCABULARY};
