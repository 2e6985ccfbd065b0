//! What managed APIs charge for tokens.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::checked::{date, money, money_or_free, optional_date, optional_money};

/// Days after which an API price counts as stale.
pub const API_PRICE_STALE_AFTER_DAYS: i64 = 180;

/// One price of `configs/prices/api.toml`: USD per million tokens, standard tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiPrice {
    /// Who serves it: `openai`, `together`.
    pub provider: String,
    /// The model; hosts of the same weights share the name.
    pub model: String,
    /// The model's name in the source.
    pub source_model_id: String,
    /// Whether the weights are openly available.
    #[serde(default)]
    pub open_weights: Option<bool>,
    /// Input, USD per million tokens.
    #[serde(deserialize_with = "money_or_free", serialize_with = "rust_decimal::serde::float::serialize")]
    pub input_usd_per_mtok: Decimal,
    /// Input found in the provider's cache.
    #[serde(
        default,
        deserialize_with = "optional_money",
        serialize_with = "rust_decimal::serde::float_option::serialize"
    )]
    pub cached_input_usd_per_mtok: Option<Decimal>,
    /// Input written to the provider's cache.
    #[serde(
        default,
        deserialize_with = "optional_money",
        serialize_with = "rust_decimal::serde::float_option::serialize"
    )]
    pub cache_write_usd_per_mtok: Option<Decimal>,
    /// Output, USD per million tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub output_usd_per_mtok: Decimal,
    /// Output that is hidden reasoning, where it has a price of its own.
    #[serde(
        default,
        deserialize_with = "optional_money",
        serialize_with = "rust_decimal::serde::float_option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub reasoning_usd_per_mtok: Option<Decimal>,
    /// What each request costs besides its tokens, USD.
    #[serde(
        default,
        deserialize_with = "optional_money",
        serialize_with = "rust_decimal::serde::float_option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub usd_per_request: Option<Decimal>,
    /// Other prices for long inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub long_context_tiers: Vec<LongContextTier>,
    /// The price of the batch tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<InputOutput>,
    /// Different prices during these hours.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub time_of_day: Vec<TimeOfDay>,
    /// A change already announced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_change: Option<ScheduledChange>,
    /// The day on which the price took effect, where the source says so.
    #[serde(default, deserialize_with = "optional_date")]
    pub effective_from: Option<Date>,
    /// Whether the provider is withdrawing the model.
    #[serde(default)]
    pub deprecated: bool,
    /// The latest day on which the price may have been checked.
    #[serde(deserialize_with = "date")]
    pub as_of: Date,
    /// The page that the source names.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Anything else a reader should know.
    #[serde(default)]
    pub note: Option<String>,
    /// What a second source says.
    #[serde(default)]
    pub cross_check: Option<String>,
    /// Where it was read.
    pub source: String,
    /// Fields of the source file that have no counterpart here, as JSON text; serialized as a JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "super::checked::json_text")]
    pub kept: Option<String>,
}

/// A price for inputs longer than a threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongContextTier {
    /// The threshold, tokens.
    pub above_input_tokens: u64,
    /// USD per million input tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub input: Decimal,
    /// USD per million output tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub output: Decimal,
    /// Input found in the provider's cache; absent when no price of it is known at this length.
    #[serde(
        default,
        deserialize_with = "optional_money",
        serialize_with = "rust_decimal::serde::float_option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub cached_input: Option<Decimal>,
    /// Input written to the provider's cache.
    #[serde(
        default,
        deserialize_with = "optional_money",
        serialize_with = "rust_decimal::serde::float_option::serialize",
        skip_serializing_if = "Option::is_none"
    )]
    pub cache_write: Option<Decimal>,
    /// The price of the batch tier; absent when none is known at this length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<InputOutput>,
}

/// A pair of prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputOutput {
    /// USD per million input tokens.
    #[serde(deserialize_with = "money_or_free", serialize_with = "rust_decimal::serde::float::serialize")]
    pub input: Decimal,
    /// USD per million output tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub output: Decimal,
}

/// Prices within a window of the day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeOfDay {
    /// Start, UTC, `01:00`.
    pub from_utc: String,
    /// End, UTC.
    pub to_utc: String,
    /// USD per million input tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub input: Decimal,
    /// USD per million output tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub output: Decimal,
}

/// A change already announced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledChange {
    /// From this day.
    #[serde(deserialize_with = "date")]
    pub date: Date,
    /// USD per million input tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub input: Decimal,
    /// USD per million output tokens.
    #[serde(deserialize_with = "money", serialize_with = "rust_decimal::serde::float::serialize")]
    pub output: Decimal,
}

impl ApiPrice {
    /// `provider/model`, what `--api` takes.
    pub fn id(&self) -> String {
        format!("{}/{}", self.provider, self.model)
    }

    /// The prices of a prompt of `input_tokens` tokens, where they differ from those of a short prompt.
    pub fn tier_at(&self, input_tokens: u64) -> Option<&LongContextTier> {
        let tiers = self.long_context_tiers.iter().filter(|tier| input_tokens > tier.above_input_tokens);
        tiers.max_by_key(|tier| tier.above_input_tokens)
    }

    /// Whether the price is older than [`API_PRICE_STALE_AFTER_DAYS`] on the day `today`.
    pub fn is_stale(&self, today: Date) -> bool {
        super::age_days(self.as_of, today) > API_PRICE_STALE_AFTER_DAYS
    }
}
