//! What electricity costs. Shown next to a rent, never added to it.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::checked::{date, money};
use super::provenance::Trust;

/// One price of `configs/prices/electricity.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Electricity {
    /// `us-commercial`.
    pub id: String,
    /// Country, ISO 3166, or `EU`.
    pub country: String,
    /// Part of the country, or `average`.
    pub region: String,
    /// Kind of customer, as the statistic names it.
    pub sector: String,
    /// USD per kWh.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub usd_per_kwh: Decimal,
    /// End of the period that the statistic covers, else the day of the page.
    #[serde(deserialize_with = "date")]
    pub observed: Date,
    /// How it was converted, and which taxes it contains.
    #[serde(default)]
    pub note: Option<String>,
    /// Where it was read; a key of the file's `[sources]` is resolved.
    pub source: String,
    /// How far the row can be believed.
    #[serde(default)]
    pub trust: Trust,
}
