//! Load on any OpenAI-compatible server, by a client that measures itself.
//!
//! [`drive()`] sends the requests of a load to a [`Target`] and logs in a [`RequestLog`] what arrived when. One
//! thread, or as many as a target says, each a poll loop over sockets that never block; the bytes of a stream are
//! split into events ([`sse`]) and read ([`scan`]) where they lie, without allocation. What the client itself adds is
//! measured: how late it sent (in the log: `started` against `released`), and how long bytes lay in the socket before
//! it read them ([`Stats::receive_lag`](workload::Stats::receive_lag)).
//!
//! It speaks HTTP/1.1 with or without TLS. There is no proxy, no HTTP/2 and no retry: a request that fails is counted
//! by its kind. Only a connection that the server closed while it was idle is reopened, which is counted too.
//!
//! [`RequestLog`]: base::requests::RequestLog

mod client;
mod connection;
mod drive;
mod exchange;
mod http;
mod metrics;
mod models;
pub mod scan;
pub mod sse;
mod target;
#[cfg(test)]
mod tests;
mod tls;

// Rooms go by their own names here: `crate::base::text`, not `infercost_base::text`.
use infercost_base as base;
use infercost_workload as workload;

use crate::base::failure::{Class, Classed};
use crate::base::requests::Failure;

pub use drive::drive;
pub use metrics::is_healthy;
pub use models::{Model, models};
pub use target::{Api, Invalid, Patience, Prompt, Secret, Target, Url};

/// Why a load could not be driven at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting (exit code 2, or 13 for a file that is not there).
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The server, before any request of the load (exit code 13 or 1).
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The system.
    #[error("the system cannot provide what a client needs ({0})")]
    System(std::io::Error),
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Invalid(error) => error.class(),
            Self::Failed(failure) => failure.class(),
            Self::System(_) => Class::Unusable,
        }
    }
}
