//! Serde deserializers that reject invalid numbers and dates in catalog files.
//!
//! Rejecting here keeps the value's position in the file, which a check after parsing would have lost.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, Error};
use serde::ser::{Serialize as _, Serializer};

/// An amount of money above zero.
pub(super) fn money<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let amount = <Decimal as Deserialize>::deserialize(deserializer)?;
    if amount > Decimal::ZERO {
        Ok(amount)
    } else {
        Err(D::Error::custom(format!("a price must be above zero, found {amount}")))
    }
}

/// An amount of money of zero or above: some hosts charge nothing for input, or for cached input.
pub(super) fn money_or_free<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Decimal, D::Error> {
    let amount = <Decimal as Deserialize>::deserialize(deserializer)?;
    if amount >= Decimal::ZERO {
        Ok(amount)
    } else {
        Err(D::Error::custom(format!("a price must not be negative, found {amount}")))
    }
}

/// [`money_or_free`], if the field is present.
pub(super) fn optional_money<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Decimal>, D::Error> {
    money_or_free(deserializer).map(Some)
}

/// A finite number above zero.
pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number.is_finite() && number > 0.0 {
        Ok(number)
    } else {
        Err(D::Error::custom(format!("expected a number above zero, found {number}")))
    }
}

/// [`positive`], if the field is present.
pub(super) fn optional_positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    positive(deserializer).map(Some)
}

/// A whole number above zero.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        0 => Err(D::Error::custom("expected a whole number above zero, found 0")),
        number => Ok(number),
    }
}

/// A date, as text (`"2026-11-23"`) or as TOML's own date (`2026-11-23`).
pub(super) fn date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let value = toml::Value::deserialize(deserializer)?;
    let text = match &value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.parse().map_err(|_| D::Error::custom(format!("expected a date like \"2026-11-23\", found {value}")))
}

/// [`date`], if the field is present.
pub(super) fn optional_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Date>, D::Error> {
    date(deserializer).map(Some)
}

/// Serializes JSON that is kept as text as a JSON value.
#[allow(clippy::ref_option, reason = "serde hands it over like that")]
pub(super) fn json_text<S: Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(text) = text else { return serializer.serialize_none() };
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => value.serialize(serializer),
        Err(_) => serializer.serialize_str(text),
    }
}
