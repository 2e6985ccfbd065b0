//! A load on a server, from what was typed to a sealed record: plan → server → rows → measures → checks → seal.
//!
//! Each row is one load: lengths at a number of requests in flight or at a rate. The engine room has no part in it: a
//! server's answers come over a socket, with no logits and no steps to look at.

mod checks;
mod energy;
mod measures;
mod plan;
mod rows;
mod seal;
mod server;

pub use plan::{Asked, Level, Plan, PlannedRow};
pub use rows::{Driven, Finished, Told, run};
pub use seal::{ELSEWHERE, Hardware, Sealing, price, seal};
pub use server::{Named, Server, find};

use crate::base::failure::{Class, Classed, Usage};
use crate::{endpoint, workload};

/// Why a load cannot be put on a server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag's value.
    #[error(transparent)]
    Usage(#[from] Usage),
    /// The lengths or arrivals.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// The server, or how it is asked.
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    /// The server has no such model, or several and none was named (exit code 13 or 2).
    #[error("{reason}")]
    Model {
        /// What it has, and the way out.
        reason: String,
        /// Whether the model that was named is not there.
        is_missing: bool,
    },
    /// Something that a flag names is not there (exit code 13).
    #[error("{0}")]
    Absent(String),
    /// A signal came before anything was measured.
    #[error("interrupted before anything was measured")]
    Interrupted,
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Usage(error) => error.class(),
            Self::Workload(error) => error.class(),
            Self::Endpoint(error) => error.class(),
            Self::Model { is_missing: false, .. } => Class::Usage,
            Self::Model { is_missing: true, .. } | Self::Absent(_) => Class::Missing,
            Self::Interrupted => Class::Interrupted(None),
        }
    }
}
