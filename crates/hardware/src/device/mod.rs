//! What this machine is.

mod choose;
mod discover;
pub(crate) mod facts;
mod order;
pub mod peaks;

pub use choose::{Choice, DeviceRequest, Order, choose};
pub use discover::{Found, discover, discover_through, environment, on_the_bus, row};
pub use facts::Facts;
pub use order::{cuda_in_nvml, cuda_to_compute};

use crate::base::failure::{Class, Classed};

/// Why the requested device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such device on this machine, or no engine for it in this program (exit code 13).
    #[error("{0}")]
    Absent(String),
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Absent(_) => Class::Missing,
        }
    }
}
