//! Dollars: from a record's rates and the price of an hour to dollars per million tokens.
//!
//! Sees record types, catalog prices and nothing else, so any record can be priced again without the
//! machine it came from. The formulas are those of `docs/cost.md`: a pure step's time goes wholly to
//! its kind, so `input $ + output $ = rent × time` exactly.

mod api_price;
mod assess;
pub mod assumption;
mod cells;
pub mod compare_api;
pub mod compare_records;
pub mod curve;
mod electricity;
pub mod hour;
pub mod margin;
pub mod month;
pub mod owned;
mod part;
mod price;
pub mod quality;
pub mod scenario;
pub mod sensitivity;
pub mod separate;
mod separate_cached;
mod serving;
pub mod target;
mod too_large;
pub mod verdict;
pub mod view;
#[cfg(test)]
mod whole_records;

pub use assess::{assess, assess_hour, at_mix, headline_cell, mix};
pub use cells::Assumptions;
pub use electricity::{KwhPrice, electricity, electricity_at, kwh_price};
pub use price::{TOO_LARGE, cpu_price, given_price, gpu_price, of_gpus};
pub use scenario::Scenario;
pub use too_large::too_large;

use crate::base::failure::{Class, Classed, Usage};

/// Why a cost cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value is wrong whatever the machine (exit code 2).
    #[error(transparent)]
    Usage(#[from] Usage),
    /// Two things that cannot stand side by side (exit code 12).
    #[error("{0}")]
    Incomparable(String),
    /// A price is older than it may be (exit code 1).
    #[error(
        "{what} was seen {age}, and --max-age allows {days} days; give a price of your own, or update the catalog"
    )]
    Stale {
        /// Which price.
        what: String,
        /// How old it is: `on 2026-05-22 (185 days ago)`, or that it is unknown.
        age: String,
        /// What is allowed.
        days: i64,
    },
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Usage(error) => error.class(),
            Self::Incomparable(_) => Class::Incomparable,
            Self::Stale { .. } => Class::Unusable,
        }
    }
}

/// Refuses a price that was seen more than `days` ago; what was given on the command line is of today.
///
/// # Errors
/// [`Error::Stale`]; a price without a day counts as stale.
pub fn check_age(
    what: &str,
    observed: Option<&str>,
    days: Option<i64>,
    today: jiff::civil::Date,
) -> Result<(), Error> {
    let Some(days) = days else { return Ok(()) };
    let stale = |age: String| Err(Error::Stale { what: what.to_owned(), age, days });
    match observed.map(str::parse::<jiff::civil::Date>) {
        Some(Ok(day)) => match crate::catalog::age_days(day, today) {
            age if age > days => stale(format!("on {day} ({age} days ago)")),
            _ => Ok(()),
        },
        _ => stale("on an unknown day".to_owned()),
    }
}
