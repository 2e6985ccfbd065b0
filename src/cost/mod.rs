//! Dollars: from a record's rates and the price of an hour to dollars per million tokens.
//!
//! Sees record types, catalog prices and nothing else, so any record can be priced again without the
//! machine it came from. The formulas are those of `docs/cost.md`: a pure step's time goes wholly to
//! its kind, so `input $ + output $ = rent × time` exactly.

mod assess;
mod cells;
mod compare;
mod electricity;
pub mod hour;
pub mod owned;
mod part;
mod price;
pub mod separate;
mod serving;
#[cfg(test)]
mod whole_records;

pub use assess::{assess, assess_hour, at_mix, headline_cell, mix};
pub use cells::Assumptions;
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
