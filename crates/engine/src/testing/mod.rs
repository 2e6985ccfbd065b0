//! What tests share: tiny models of each architecture, llama.cpp on the same files, and an engine that fails.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests alone"
)]

mod failing;
mod server;
mod tiny;

pub use failing::Failing;
pub use server::Server;
pub use tiny::{Tiny, VOCABULARY};
