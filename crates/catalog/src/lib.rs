//! What is known before measuring: GPUs, prices and models, each row with its source and its date.
//!
//! The rows live in `configs/` and are embedded in the program; a user's own files replace them row by row
//! ([`Catalog::load`]). Nothing is read before a catalog is asked for, and all of it is read then. Prices are data
//! with an age: what a run costs when no price is given is decided in [`default_price`], always as of a stated day.

pub mod api_prices;
pub mod capability;
mod checked;
pub mod default_price;
pub mod electricity;
pub mod error;
mod file;
mod find;
pub mod gpus;
pub mod history;
mod model_names;
pub mod models;
mod overlay;
pub mod provenance;
pub mod rentals;
pub mod update;
pub mod vms;

// Other crates are imported under their short names: `crate::base::text`, not `infercost_base::text`.
use infercost_base as base;

pub use api_prices::ApiPrice;
pub use capability::{Class, Score};
pub use default_price::RentalPrice;
pub use electricity::Electricity;
pub use error::Error;
pub use gpus::Gpu;
pub use history::{DateKind, PricePoint};
pub use model_names::format_in_name;
pub use models::{ExpertShape, Hub, ModelRow, Shape};
pub use provenance::Trust;
pub use rentals::{Rental, RentalKind};
pub use vms::{Vm, VmClass};

/// All rows.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// GPUs.
    pub gpus: Vec<Gpu>,
    /// What renting a GPU costs.
    pub rentals: Vec<Rental>,
    /// What managed APIs charge.
    pub api_prices: Vec<ApiPrice>,
    /// What renting a machine without a GPU costs.
    pub vms: Vec<Vm>,
    /// What electricity costs.
    pub electricity: Vec<Electricity>,
    /// Models known by name.
    pub models: Vec<ModelRow>,
    /// What managed APIs charged on past days.
    pub price_history: Vec<PricePoint>,
    /// Classes of capability.
    pub classes: Vec<Class>,
    /// Published scores, which put models into classes.
    pub scores: Vec<Score>,
}

/// Days from `observed` to `today`; a date in the future counts as today.
pub fn age_days(observed: jiff::civil::Date, today: jiff::civil::Date) -> i64 {
    today.duration_since(observed).as_hours().max(0) / 24
}

#[cfg(test)]
mod tests;
