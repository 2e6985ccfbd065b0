//! A load, from what was typed to a sealed record: plan → server or engine → rows → measures → checks → seal.
//!
//! Each row is one load: lengths at a number of requests in flight or at a rate. Whatever answers implements
//! [`Serving`](crate::workload::Serving): a server through the client ([`find`]), or an engine in this process
//! ([`Local`]). What differs in their records is a [`Subject`]; all other code is shared.

mod checks;
mod energy;
mod local;
mod measures;
mod plan;
mod prompting;
mod remote;
mod row;
mod rows;
mod seal;
mod search;
mod server;
mod start;
mod subject;

pub use local::Local;
pub use plan::{Asked, Level, Plan, PlannedRow};
pub use prompting::Prompting;
pub use remote::{Hardware, price, subject};
pub use row::{Driven, Job, Told};
pub use rows::{Finished, run};
pub use seal::{Sealing, seal};
pub use search::{Probe, Search, Verdict};
pub use server::{Named, Server, find};
pub use start::{ColdStart, Started, address_of, start};
pub use subject::{InProcess, Subject};

use crate::base::failure::{Class, Classed, Usage};
use crate::base::requests::Failure;
use crate::{catalog, endpoint, engine, workload};

use super::{plan as planning, session};

/// Why a load cannot be put on a server or an engine.
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
    /// No request of the load was answered, the last of them so.
    #[error(transparent)]
    Failed(Failure),
    /// The engine in this process.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// What the machine or the model cannot hold.
    #[error(transparent)]
    Plan(#[from] planning::Error),
    /// The choice of engine.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// An API that was named.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The server has no such model, or several and none was named (exit code 13 or 2).
    #[error("{reason}")]
    Model {
        /// What it has, and the way out.
        reason: String,
        /// Whether the model that was named is not there.
        is_missing: bool,
    },
    /// The server that was to be started (exit code 1).
    #[error("--serve `{command}`: {reason}")]
    Started {
        /// Its command, without secrets.
        command: String,
        /// Why it does not serve.
        reason: String,
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
            Self::Failed(failure) => failure.class(),
            Self::Engine(error) => error.class(),
            Self::Plan(error) => error.class(),
            Self::Session(error) => error.class(),
            Self::Catalog(error) => error.class(),
            Self::Model { is_missing: false, .. } => Class::Usage,
            Self::Model { is_missing: true, .. } | Self::Absent(_) => Class::Missing,
            Self::Started { .. } => Class::Unusable,
            Self::Interrupted => Class::Interrupted(None),
        }
    }
}
