//! What tests share: tiny models of each architecture, llama.cpp on the same files, and an engine that fails.

mod failing;
mod server;
mod tiny;

pub(crate) use failing::Failing;
pub(crate) use server::Server;
pub(crate) use tiny::{Tiny, VOCABULARY};
