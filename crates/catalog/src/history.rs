//! What managed APIs charged for tokens in the past: the points that a price curve is drawn through.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::checked::{date, money, money_or_free};
use super::provenance::Trust;

/// One price of `configs/prices/history.toml`: USD per million tokens on a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PricePoint {
    /// The model, as in `scores.toml`.
    pub model: String,
    /// Who charged the price.
    pub provider: String,
    /// The day.
    #[serde(deserialize_with = "date")]
    pub date: Date,
    /// How reliable the day is.
    pub date_kind: DateKind,
    /// Where the day comes from.
    pub date_basis: String,
    /// Input, USD per million tokens.
    #[serde(deserialize_with = "money_or_free", serialize_with = "rust_decimal::serde::float::serialize")]
    pub input_usd_per_mtok: Decimal,
    /// Output, USD per million tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub output_usd_per_mtok: Decimal,
    /// Whether the weights are openly available.
    #[serde(default)]
    pub open_weights: Option<bool>,
    /// What happened on the day: launch, cut, rise.
    #[serde(default)]
    pub change: Option<String>,
    /// Anything else a reader should know.
    #[serde(default)]
    pub note: Option<String>,
    /// Where the price was read.
    pub source: String,
    /// How far the row can be believed.
    #[serde(default)]
    pub trust: Trust,
}

/// How reliable the date of a price is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DateKind {
    /// The price took effect on this day.
    Exact,
    /// The month is known, the day is not.
    Month,
    /// The price was in force on this day and took effect on it or earlier.
    OnOrBefore,
}

impl DateKind {
    /// Whether the price took effect on that day, give or take a month.
    pub fn is_dated(self) -> bool {
        self != Self::OnOrBefore
    }
}

impl PricePoint {
    /// `provider/model@date`, what a row of a user replaces.
    pub fn id(&self) -> String {
        format!("{}/{}@{}", self.provider, self.model, self.date)
    }
}
