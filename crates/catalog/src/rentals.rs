//! What renting a GPU costs.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::checked::{money, optional_date};
use super::provenance::Trust;

/// One price of `configs/prices/rental.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rental {
    /// Who rents it out: `lambda`.
    pub provider: String,
    /// The GPU's id in the catalog; an alias in a file is resolved.
    pub gpu: String,
    /// The terms.
    pub kind: RentalKind,
    /// USD per GPU-hour: the instance's price divided by its number of GPUs.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub usd_per_gpu_hour: Decimal,
    /// The provider's name of the instance.
    #[serde(default)]
    pub instance: Option<String>,
    /// The day on which the source itself fetched the price, else the day on which its file last changed.
    #[serde(default, deserialize_with = "optional_date")]
    pub observed: Option<Date>,
    /// `Month` when only the month is known and `observed` is its middle or first day.
    #[serde(default)]
    pub observed_precision: Option<Precision>,
    /// For a price seen on more than one day, the first of them …
    #[serde(default, deserialize_with = "optional_date")]
    pub observed_from: Option<Date>,
    /// … and the last.
    #[serde(default, deserialize_with = "optional_date")]
    pub observed_to: Option<Date>,
    /// Anything else a reader should know.
    #[serde(default)]
    pub note: Option<String>,
    /// Where it was read; a key of the file's `[sources]` is resolved.
    pub source: String,
    /// How far the row can be trusted.
    #[serde(default)]
    pub trust: Trust,
    /// Fields of the source file that have no counterpart here, as JSON text; serialized as a JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "super::checked::json_text")]
    pub kept: Option<String>,
}

impl Rental {
    /// The day from which the price's age is counted: the last one on which it was seen.
    pub fn dated(&self) -> Option<Date> {
        self.observed_to.max(self.observed).or(self.observed_from)
    }
}

/// The terms of a rent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RentalKind {
    /// By the hour, without commitment.
    OnDemand,
    /// Interruptible.
    Spot,
    /// By the hour, hosted by third parties.
    Community,
    /// By the second of use.
    ServerlessFlex,
    /// Committed for a year.
    #[serde(rename = "reserved_1y")]
    Reserved1y,
    /// Committed for three years.
    #[serde(rename = "reserved_3y")]
    Reserved3y,
    /// A market index.
    Index,
    /// A cost model's output.
    TcoModel,
}

impl RentalKind {
    /// All terms.
    pub const ALL: [Self; 8] = [
        Self::OnDemand,
        Self::Spot,
        Self::Community,
        Self::ServerlessFlex,
        Self::Reserved1y,
        Self::Reserved3y,
        Self::Index,
        Self::TcoModel,
    ];

    /// The name in files and tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::OnDemand => "on_demand",
            Self::Spot => "spot",
            Self::Community => "community",
            Self::ServerlessFlex => "serverless_flex",
            Self::Reserved1y => "reserved_1y",
            Self::Reserved3y => "reserved_3y",
            Self::Index => "index",
            Self::TcoModel => "tco_model",
        }
    }
}

/// How exactly a date is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// To the day.
    Day,
    /// To the month.
    Month,
}
