//! Without a record: the speed that a cost needs, and the cost that a published speed has.
//!
//! Which tokens are counted is the caller's to say: input and output alike, or output alone, whose price then
//! includes the input.

use serde::Serialize;

use crate::record::Price;

use super::assumption::Assumption;
use super::sensitivity::UTILIZATIONS;

/// Tokens per second that reach a cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Target {
    /// USD per million tokens that is to be reached.
    pub usd_per_million: f64,
    /// USD per hour.
    pub usd_per_hour: f64,
    /// Utilization it is reached at.
    pub utilization: f64,
    /// Tokens per second, while busy, that reach it.
    pub tokens_per_second: f64,
    /// Million tokens in an hour of the clock that reach it.
    pub million_tokens_per_hour: f64,
    /// The same at other utilizations.
    pub by_utilization: Vec<TargetAt>,
}

/// Tokens per second at one utilization.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TargetAt {
    /// Share of the hour in which the engine is busy.
    pub utilization: f64,
    /// Tokens per second, while busy.
    pub tokens_per_second: f64,
}

/// The speed that makes a million tokens cost `usd_per_million`.
pub fn target(usd_per_million: f64, usd_per_hour: f64, utilization: f64) -> Target {
    let tokens_per_second = |utilization: f64| usd_per_hour * 1e6 / (3600.0 * utilization * usd_per_million);
    Target {
        usd_per_million,
        usd_per_hour,
        utilization,
        tokens_per_second: tokens_per_second(utilization),
        million_tokens_per_hour: usd_per_hour / usd_per_million,
        by_utilization: UTILIZATIONS
            .map(|utilization| TargetAt { utilization, tokens_per_second: tokens_per_second(utilization) })
            .into(),
    }
}

/// What a published speed costs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// Tokens per second, as published.
    pub tokens_per_second: f64,
    /// USD per hour.
    pub usd_per_hour: f64,
    /// Share of the hour in which the engine is busy.
    pub utilization: f64,
    /// USD per million of the tokens that were counted.
    pub usd_per_million: f64,
}

/// Prices a published speed.
pub fn published(tokens_per_second: f64, usd_per_hour: f64, utilization: f64) -> Published {
    let usd_per_million = usd_per_hour * 1e6 / (3600.0 * tokens_per_second * utilization);
    Published { tokens_per_second, usd_per_hour, utilization, usd_per_million }
}

/// How far a measured speed is from a target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distance {
    /// Input and output tokens per second of the headline cell.
    pub measured_tokens_per_second: f64,
    /// Measured ÷ needed: at 1 or above the target is met.
    pub reached: f64,
}

/// One price of the hour with what was asked about it: `bench cost` without a record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HourView {
    /// The price of the hour.
    pub price: Price,
    /// The speed that a cost needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The cost of a published speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
    /// Every assumption with its value and where it came from.
    pub assumptions: Vec<Assumption>,
    /// What to keep in mind about these figures.
    pub notes: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2.00, 2.49 and 2.99 USD an hour: 10, 12.45 and 14.95 million tokens an hour, over 3,600 seconds.
    #[test]
    fn twenty_cents_a_million_on_an_h100() {
        for (usd_per_hour, at_full, at_70, at_40, at_25) in [
            (2.00, 2777.8, 3968.3, 6944.4, 11_111.1),
            (2.49, 3458.3, 4940.5, 8645.8, 13_833.3),
            (2.99, 4152.8, 5932.5, 10_381.9, 16_611.1),
        ] {
            let found = target(0.20, usd_per_hour, 1.0);
            assert!((found.tokens_per_second - at_full).abs() < 0.05, "{found:?}");
            assert!((found.million_tokens_per_hour - usd_per_hour / 0.2).abs() < 1e-12);
            for (point, expected) in found.by_utilization.iter().zip([at_full, at_70, at_40, at_25]) {
                assert!((point.tokens_per_second - expected).abs() < 0.06, "{point:?}");
            }
        }
    }

    /// 3,378 output tokens a second for 2.49 USD: 12.16 million an hour.
    #[test]
    fn a_published_figure_has_a_price() {
        let found = published(3378.0, 2.49, 1.0);
        assert!((found.usd_per_million - 0.204_756).abs() < 1e-6, "{found:?}");
        assert!((published(3378.0, 2.49, 0.5).usd_per_million / found.usd_per_million - 2.0).abs() < 1e-12);
    }
}
