//! Figures and the raw samples under them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Metric, Phase, Unknown};
use crate::base::known::{self, Known};
use crate::base::stats::Interval;

/// One figure with everything needed to judge it.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Measurement {
    /// Name of the metric: `decode_tokens_per_second`.
    #[schemars(with = "String")]
    pub metric: Metric,
    /// Id of the formula, explained in `docs/metrics.md`: tools share names and not formulas.
    pub formula: String,
    /// Unit of `value`: `tokens/s`, `s`, `bytes`.
    pub unit: String,
    /// The figure.
    #[reason = "Why `value` is `null`."]
    pub value: Known<f64>,
    /// 95% confidence interval, low and high.
    #[reason = "Why `ci95` is `null`."]
    pub ci95: Known<[f64; 2]>,
    /// Percentiles of the samples, where the figure is a distribution.
    #[serde(flatten)]
    pub percentiles: Percentiles,
    /// Number of samples.
    pub n: usize,
    /// How `value` and `ci95` come from the samples.
    pub method: String,
    /// What was being run; `null` for figures of the whole process.
    #[reason = "Why `cell` is `null`."]
    pub cell: Known<Cell>,
    /// The raw samples.
    pub samples: Samples,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Percentiles of a figure's samples; each absent in a figure that is no distribution.
#[derive(Debug, Clone, PartialEq, Default, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Percentiles {
    /// Median of the samples; `null` when there are none.
    pub p50: Option<Known<f64>>,
    /// 90th percentile of the samples; `null` when they are too few.
    pub p90: Option<Known<f64>>,
    /// 95th percentile of the samples, as `p90`.
    pub p95: Option<Known<f64>>,
    /// 99th percentile of the samples, as `p90`.
    pub p99: Option<Known<f64>>,
    /// 95% interval of `p50` by order statistics, low and high; absent in figures that never have one.
    pub p50_ci95: Option<Known<[f64; 2]>>,
    /// The same of `p90`.
    pub p90_ci95: Option<Known<[f64; 2]>>,
    /// The same of `p95`.
    pub p95_ci95: Option<Known<[f64; 2]>>,
    /// The same of `p99`.
    pub p99_ci95: Option<Known<[f64; 2]>>,
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
    #[schemars(with = "String")]
    pub phase: Phase,
    /// Requests due a second, where they come by a schedule; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
}

/// Raw samples: in place when few, else in a file next to the record, named by its hash.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Samples {
    /// What one sample is, with its unit: `seconds per trial`.
    pub unit: String,
    /// The samples in the order they were taken; `null` when they are in `file`.
    #[reason = "Why `values` is `null`."]
    pub values: Known<Vec<f64>>,
    /// Name of the file next to the record that holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Samples taken before the row was steady, not used for `value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warmup: Vec<f64>,
}

impl Cell {
    /// Its name in every view, in llama-bench's words: `pp512`, `tg128 @ d4096 b8`. `pp512+tg128` is one row, `pp512 and
    /// tg128` are two rows priced as a pair. A load has the name of its row: `512+128 c8`, `512+128 @ d256 2/s c64`.
    pub fn label(&self) -> String {
        let Self { prompt_tokens, output_tokens, batch, depth, .. } = self;
        let row = match (&self.phase, prompt_tokens, output_tokens) {
            (Phase::Serving, prompt, output) => format!("{prompt}+{output}"),
            (Phase::Pair, prompt, output) => format!("pp{prompt} and tg{output}"),
            (Phase::Prefill, prompt, _) | (_, prompt, 0) => format!("pp{prompt}"),
            (Phase::Decode, _, output) | (_, 0, output) => format!("tg{output}"),
            (_, prompt, output) => format!("pp{prompt}+tg{output}"),
        };
        let depth = if *depth > 0 { format!(" @ d{depth}") } else { String::new() };
        let rate = self.requests_per_second.map_or(String::new(), |rate| format!(" {rate}/s"));
        let batch = match (&self.phase, batch) {
            (_, 0) => String::new(),
            (Phase::Serving, in_flight) => format!(" c{in_flight}"),
            (_, 1) => String::new(),
            (_, batch) => format!(" b{batch}"),
        };
        format!("{row}{depth}{rate}{batch}")
    }
}

impl Samples {
    /// Samples kept in place.
    pub fn inline(unit: impl Into<String>, values: Vec<f64>) -> Self {
        Self { unit: unit.into(), values: Known::new(values), file: None, warmup: Vec::new() }
    }
}

impl Measurement {
    /// A figure by this program's formula that is its own only sample; what differs is set after it.
    pub fn new(metric: Metric, cell: Known<Cell>, value: Known<f64>, method: &str) -> Self {
        Self {
            formula: metric.formula(),
            unit: metric.unit().to_owned(),
            ci95: Known::unknown("one sample"),
            percentiles: Percentiles::default(),
            n: usize::from(value.is_some()),
            method: method.to_owned(),
            cell,
            samples: Samples::inline(metric.unit(), value.iter().copied().collect()),
            metric,
            value,
            unknown: Unknown::new(),
        }
    }

    /// The same figure over other samples; its own, which may be very many, are not copied.
    pub(super) fn with_samples(&self, samples: Samples) -> Self {
        Self {
            metric: self.metric.clone(),
            formula: self.formula.clone(),
            unit: self.unit.clone(),
            value: self.value.clone(),
            ci95: self.ci95.clone(),
            percentiles: self.percentiles.clone(),
            n: self.n,
            method: self.method.clone(),
            cell: self.cell.clone(),
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
                *field = Some(Known::new(value));
            }
        }
        self
    }

    /// The interval as a pair of numbers, when there is one.
    pub fn interval(&self) -> Option<Interval> {
        self.ci95.map(|[low, high]| Interval { low, high })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A newer program's metric and phase, a percentile of each kind, and a field that this version does not know.
    #[test]
    fn a_measurement_of_a_newer_program_is_written_as_it_was_read() {
        let text = concat!(
            r#"{"metric":"accepted_tokens_per_second","formula":"newer/1","unit":"tokens/s","value":null,"#,
            r#""value_reason":"no draft","ci95":[1.0,2.0],"p50":1.5,"p90":null,"p90_reason":"9 gaps; it takes 20","n":9,"#,
            r#""method":"mean","cell":{"prompt_tokens":0,"output_tokens":8,"batch":1,"depth":0,"phase":"speculate"},"#,
            r#""samples":{"unit":"s","values":null,"values_reason":"not kept"},"drafts":3}"#
        );
        let read: Measurement = serde_json::from_str(text).expect("a measurement");
        assert!(matches!(read.metric, Metric::Other(_)) && read.value.is_none());
        assert!(matches!(&*read.cell, Some(Cell { phase: Phase::Other(_), .. })));
        assert_eq!(read.percentiles.p90, Some(Known::unknown("9 gaps; it takes 20")));
        assert_eq!((&read.percentiles.p99, read.unknown.len()), (&None, 1));
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
    }

    #[test]
    fn a_cell_is_named_by_its_phase() {
        let cell = |phase, depth, batch| Cell {
            prompt_tokens: 128,
            output_tokens: 32,
            batch,
            depth,
            phase,
            requests_per_second: None,
        };
        for (cell, name) in [
            (cell(Phase::Prefill, 0, 1), "pp128"),
            (cell(Phase::Decode, 4096, 8), "tg32 @ d4096 b8"),
            (cell(Phase::Joint, 0, 1), "pp128+tg32"),
            (Cell { output_tokens: 0, ..cell(Phase::Joint, 0, 2) }, "pp128 b2"),
            (cell(Phase::Pair, 0, 8), "pp128 and tg32 b8"),
            (cell(Phase::Serving, 0, 1), "128+32 c1"),
            (cell(Phase::Serving, 256, 16), "128+32 @ d256 c16"),
            (Cell { requests_per_second: Some(0.5), ..cell(Phase::Serving, 0, 0) }, "128+32 0.5/s"),
            (Cell { requests_per_second: Some(2.0), ..cell(Phase::Serving, 0, 64) }, "128+32 2/s c64"),
        ] {
            assert_eq!(cell.label(), name);
        }
    }

    #[test]
    fn a_new_figure_is_its_own_only_sample() {
        let known = Measurement::new(
            Metric::PowerWatts,
            Known::unknown("it belongs to the whole process"),
            Known::new(7.0),
            "mean",
        );
        assert_eq!(
            (known.unit.as_str(), known.formula.as_str(), known.n),
            ("W", "infercost.power_watts/1", 1)
        );
        assert_eq!(known.samples.values, Some(vec![7.0]));
        let unknown =
            Measurement::new(Metric::PowerWatts, Known::unknown(""), Known::unknown("no sensor"), "");
        assert_eq!((unknown.n, unknown.samples.values.as_deref()), (0, Some(&[][..])));
    }
}
