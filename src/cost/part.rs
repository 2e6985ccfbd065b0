//! One part of a cell, input or output: its seconds, its tokens, and what they cost.

use crate::record::{Figure, Measurement};

use super::hour::Rate;

/// The seconds of a part with their interval, and its tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) seconds: f64,
    pub(super) ci95: Option<[f64; 2]>,
    pub(super) tokens: f64,
    /// Power of the device while it worked on this part, where it was measured.
    pub(super) watts: Option<f64>,
}

impl Part {
    /// From a rate: the seconds that `tokens` take, the interval turned round with them.
    pub(super) fn at_rate(rate: &Measurement, tokens: f64) -> Option<Self> {
        let value = rate.value.filter(|value| *value > 0.0)?;
        let ci95 = rate.ci95.filter(|ci| ci[0] > 0.0).map(|[low, high]| [tokens / high, tokens / low]);
        Some(Self { seconds: tokens / value, ci95, tokens, watts: None })
    }

    /// From measured seconds.
    pub(super) fn in_seconds(seconds: &Measurement, tokens: f64) -> Option<Self> {
        let value = seconds.value.filter(|value| *value > 0.0)?;
        Some(Self { seconds: value, ci95: *seconds.ci95, tokens, watts: None })
    }

    /// The same part with a power.
    pub(super) fn drawing(self, watts: Option<f64>) -> Self {
        Self { watts, ..self }
    }

    /// The same tokens in `factor` of the time.
    pub(super) fn scaled(self, factor: f64) -> Self {
        let ci95 = self.ci95.map(|ci| ci.map(|end| end * factor));
        Self { seconds: self.seconds * factor, ci95, ..self }
    }

    /// USD per million of its tokens.
    pub(super) fn figure(self, rate: &Rate) -> Figure {
        let usd_per_second = rate.usd_per_second(self.watts);
        let usd = |seconds: f64| 1e6 * usd_per_second * seconds / self.tokens;
        Figure { value: usd(self.seconds), ci95: self.ci95.map(|[low, high]| [usd(low), usd(high)]) }
    }
}

/// `a · x + b · y` of two figures whose errors are independent: the half widths add in quadrature, each
/// side by itself.
pub(super) fn combine(x: Figure, a: f64, y: Figure, b: f64) -> Figure {
    let value = a * x.value + b * y.value;
    let ci95 = x.ci95.zip(y.ci95).map(|(cx, cy)| {
        let below = (a * (x.value - cx[0])).hypot(b * (y.value - cy[0]));
        let above = (a * (cx[1] - x.value)).hypot(b * (cy[1] - y.value));
        [value - below, value + above]
    });
    Figure { value, ci95 }
}

/// A figure times an exact factor.
pub(super) fn times(figure: Figure, factor: f64) -> Figure {
    Figure { value: figure.value * factor, ci95: figure.ci95.map(|ci| ci.map(|end| end * factor)) }
}
