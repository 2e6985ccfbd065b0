//! Figures and the raw samples under them.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::Unknown;
use crate::base::stats::Interval;

/// One figure with everything needed to judge it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measurement {
    /// Name of the metric: `decode_tokens_per_second`.
    pub metric: String,
    /// Id of the formula, explained in `docs/metrics.md`: tools share names and not formulas.
    pub formula: String,
    /// Unit of `value`: `tokens/s`, `s`, `bytes`.
    pub unit: String,
    /// The figure.
    pub value: Option<f64>,
    /// Why `value` is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_reason: Option<String>,
    /// 95% confidence interval, low and high.
    pub ci95: Option<[f64; 2]>,
    /// Why `ci95` is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci95_reason: Option<String>,
    /// Percentiles of the samples, where the figure is a distribution.
    #[serde(flatten)]
    pub percentiles: Percentiles,
    /// Number of samples.
    pub n: usize,
    /// How `value` and `ci95` come from the samples.
    pub method: String,
    /// What was being run; `null` for figures of the whole process.
    pub cell: Option<Cell>,
    /// Why `cell` is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_reason: Option<String>,
    /// The raw samples.
    pub samples: Samples,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Percentiles of a figure's samples; each absent in a figure that is no distribution.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// Median of the samples; `null` when there are none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub p50: Percentile,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_reason: Option<String>,
    /// 90th percentile of the samples; `null` when they are too few.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub p90: Percentile,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90_reason: Option<String>,
    /// 95th percentile of the samples, as `p90`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub p95: Percentile,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_reason: Option<String>,
    /// 99th percentile of the samples, as `p90`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub p99: Percentile,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_reason: Option<String>,
    /// 95% interval of `p50` by order statistics, low and high; absent in figures that never have one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub p50_ci95: PercentileInterval,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ci95_reason: Option<String>,
    /// The same of `p90`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub p90_ci95: PercentileInterval,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90_ci95_reason: Option<String>,
    /// The same of `p95`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub p95_ci95: PercentileInterval,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ci95_reason: Option<String>,
    /// The same of `p99`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub p99_ci95: PercentileInterval,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ci95_reason: Option<String>,
}

/// A percentile: absent in a figure that is no distribution, `null` where it is not known.
#[allow(
    clippy::option_option,
    reason = "a field may be absent, null or a number, and each says something else"
)]
pub type Percentile = Option<Option<f64>>;

/// The interval of a percentile, as [`Percentile`].
#[allow(clippy::option_option, reason = "as above")]
pub type PercentileInterval = Option<Option<[f64; 2]>>;

/// A field that is there, `null` or not.
#[allow(clippy::option_option, reason = "as above")]
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The corner of the workload a figure belongs to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// Prompt tokens of each sequence; 0 in a pure decode row.
    pub prompt_tokens: u32,
    /// Output tokens of each sequence; 0 in a pure prefill row.
    pub output_tokens: u32,
    /// Parallel sequences; of a server the most requests in flight, 0 without such a limit.
    pub batch: u32,
    /// Tokens already in the context before the row.
    pub depth: u32,
    /// `prefill`, `decode`, `joint` or `serving`.
    pub phase: String,
    /// Requests due a second, where they come by a schedule; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
}

/// Raw samples: in place when few, else in a file beside the record that is named by its hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Samples {
    /// What one sample is, with its unit: `seconds per trial`.
    pub unit: String,
    /// The samples in the order they were taken; `null` when they are in `file`.
    pub values: Option<Vec<f64>>,
    /// Why `values` is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_reason: Option<String>,
    /// Name of the file beside the record that holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Samples taken before the row was steady, not used for `value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warmup: Vec<f64>,
}

impl Cell {
    /// The cell in llama-bench's words: `pp512`, `tg128 @ d4096 b8`.
    pub fn label(&self) -> String {
        let row = match (self.prompt_tokens, self.output_tokens) {
            (prompt, 0) => format!("pp{prompt}"),
            (0, output) => format!("tg{output}"),
            (prompt, output) => format!("pp{prompt}+tg{output}"),
        };
        self.at(&row)
    }

    /// `row` with this depth and batch: `tg128 @ d4096 b8`.
    pub fn at(&self, row: &str) -> String {
        let depth = if self.depth > 0 { format!(" @ d{}", self.depth) } else { String::new() };
        let batch = if self.batch > 1 { format!(" b{}", self.batch) } else { String::new() };
        let rate = self.requests_per_second.map_or(String::new(), |rate| format!(" at {rate}/s"));
        format!("{row}{depth}{batch}{rate}")
    }
}

impl Samples {
    /// Samples kept in place.
    pub fn inline(unit: impl Into<String>, values: Vec<f64>) -> Self {
        Self { unit: unit.into(), values: Some(values), values_reason: None, file: None, warmup: Vec::new() }
    }
}

impl Measurement {
    /// The same figure over other samples; its own, which may be very many, are not copied.
    pub(super) fn with_samples(&self, samples: Samples) -> Self {
        Self {
            metric: self.metric.clone(),
            formula: self.formula.clone(),
            unit: self.unit.clone(),
            value: self.value,
            value_reason: self.value_reason.clone(),
            ci95: self.ci95,
            ci95_reason: self.ci95_reason.clone(),
            percentiles: self.percentiles.clone(),
            n: self.n,
            method: self.method.clone(),
            cell: self.cell.clone(),
            cell_reason: self.cell_reason.clone(),
            samples,
            unknown: self.unknown.clone(),
        }
    }

    /// Moves percentiles that stand among the fields of a tool's own to their fields.
    pub fn with_own_percentiles(mut self) -> Self {
        let Percentiles { p50, p90, p95, p99, .. } = &mut self.percentiles;
        for (name, field) in [("p50", p50), ("p90", p90), ("p95", p95), ("p99", p99)] {
            if let Some(value) = self.unknown.get(name).and_then(serde_json::Value::as_f64) {
                self.unknown.remove(name);
                *field = Some(Some(value));
            }
        }
        self
    }

    /// The interval as a pair of numbers, when there is one.
    pub fn interval(&self) -> Option<Interval> {
        self.ci95.map(|[low, high]| Interval { low, high })
    }
}
