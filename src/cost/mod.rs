//! Dollars: from a record's rates and the price of an hour to dollars per million tokens.
//!
//! Sees record types, catalog prices and nothing else, so any record can be priced again without the
//! machine it came from. The formulas are those of `docs/cost.md`: a pure step's time goes wholly to
//! its kind, so `input $ + output $ = rent × time` exactly.

mod cells;
mod compare;
pub mod curve;
mod electricity;
mod price;

pub use cells::{Assumptions, assess, price_cells};
pub use compare::api_comparison;
pub use electricity::electricity;
pub use price::{cpu_price, given_price, gpu_price};

/// Why a cost cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value is wrong whatever the machine (exit code 2).
    #[error("{flag}: {reason}")]
    Usage {
        /// The flag with its value.
        flag: String,
        /// What would be right.
        reason: String,
    },
}
