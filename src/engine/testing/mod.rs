//! What the engines' tests share: tiny models of each architecture, and llama.cpp on the same files.

mod server;
mod tiny;

pub(crate) use server::Server;
pub(crate) use tiny::{Tiny, VOCABULARY};
