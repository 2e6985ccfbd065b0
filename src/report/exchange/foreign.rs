//! Another tool's result in this program's terms: the intermediate step between a format and a record.
//!
//! A format's reader fills in what its file states and leaves the rest `None`; `seal` supplies the reason for each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use crate::base::known::Known;
use crate::base::redact;
use crate::base::stats::{self, t_interval_positive};
use crate::record::{Cell, EnergyWindow, Measurement, Metric, Phase, Samples, Unknown};

use super::Error;
use super::json::Node;
use super::left_out::LeftOut;
use super::unmeasured::Figure;

/// Maximum number of records from one file.
const MOST_RECORDS: usize = 1000;
/// Confidence of the intervals computed from another tool's trials.
const CONFIDENCE: f64 = 0.95;
/// Largest field to keep, in bytes.
const FIELD_BYTES: usize = 2 << 10;
/// Total bytes of a record's kept fields.
const ALL_BYTES: usize = 64 << 10;
/// Dropped fields that are listed; the rest is counted.
const NAMED: usize = 50;

/// One comparable group of a file's rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Foreign {
    /// The tool: `llama-bench`.
    pub(super) tool: &'static str,
    pub(super) tool_version: Option<String>,
    /// When the measurement took place.
    pub(super) measured: Option<jiff::Timestamp>,
    pub(super) model: ForeignModel,
    pub(super) engine: ForeignEngine,
    pub(super) cpu: Option<String>,
    /// Names of the GPUs used, one per board.
    pub(super) gpus: Vec<String>,
    /// How many there were, as far as the file states; it may not state which.
    pub(super) gpu_count: Option<usize>,
    pub(super) workload: ForeignWorkload,
    pub(super) seed: Option<u64>,
    /// Requests that completed, and those that failed.
    pub(super) completed: Option<u64>,
    pub(super) failed: Option<u64>,
    pub(super) measurements: Vec<Measurement>,
    /// Anything else a reader should know about the figures.
    pub(super) notes: Vec<String>,
    pub(super) kept: Kept,
    /// The file's rows that are not benchmark cells.
    pub(super) left_out: LeftOut,
    /// Energy measured by the tool, one window per cell.
    pub(super) energy: Vec<EnergyWindow>,
}

/// The model, as far as the file states.
#[derive(Debug, Clone, Default)]
pub(super) struct ForeignModel {
    /// Name, path or hub address.
    pub(super) name: Option<String>,
    pub(super) architecture: Option<String>,
    pub(super) quantization: Option<String>,
    pub(super) parameters: Option<u64>,
    pub(super) weight_bytes: Option<u64>,
    pub(super) synthetic: Option<bool>,
}

/// The engine, as far as the file states.
#[derive(Debug, Clone, Default)]
pub(super) struct ForeignEngine {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) device: Option<String>,
    pub(super) threads: Option<usize>,
    pub(super) kv_type: Option<String>,
}

/// The workload.
#[derive(Debug, Clone, Default)]
pub(super) struct ForeignWorkload {
    /// `shapes` or `serving`.
    pub(super) kind: &'static str,
    pub(super) rows: Vec<String>,
    pub(super) tokens: Option<String>,
    pub(super) sampling: Option<String>,
    pub(super) prefix_cache: Option<bool>,
}

/// Groups rows by `key`, the text of everything they have in common. A repeated cell starts another group: a second run of
/// the same setup is another record.
///
/// # Errors
/// The first row's error, or [`Error::Refused`] if there are too many groups.
pub(super) fn merge(
    path: &Path,
    rows: impl Iterator<Item = Result<(String, Foreign), Error>>,
) -> Result<Vec<Foreign>, Error> {
    let mut groups: Vec<Foreign> = Vec::new();
    // Hashed, since an untrusted file may have many rows.
    let mut keys: HashMap<String, usize> = HashMap::new();
    let mut times: HashMap<(usize, String), usize> = HashMap::new();
    let mut found: HashMap<(usize, usize), usize> = HashMap::new();
    for row in rows {
        let (key, row) = row?;
        let next = keys.len();
        let key = *keys.entry(key).or_insert(next);
        let before = times.entry((key, row.workload.rows.join(","))).or_default();
        match found.entry((key, *before)) {
            Entry::Occupied(known) => {
                if let Some(group) = groups.get_mut(*known.get()) {
                    group.take(row);
                }
            }
            Entry::Vacant(new) => {
                new.insert(groups.len());
                groups.push(row);
            }
        }
        *before += 1;
        check_record_count(path, groups.len())?;
    }
    Ok(groups)
}

/// Each row as a separate record.
///
/// # Errors
/// As [`merge`].
pub(super) fn each(
    path: &Path,
    rows: impl Iterator<Item = Result<Foreign, Error>>,
) -> Result<Vec<Foreign>, Error> {
    let mut found = Vec::new();
    for row in rows {
        found.push(row?);
        check_record_count(path, found.len())?;
    }
    Ok(found)
}

/// Rejects a file that would become too many records.
fn check_record_count(path: &Path, records: usize) -> Result<(), Error> {
    if records <= MOST_RECORDS {
        return Ok(());
    }
    let reason = format!("it has more than {MOST_RECORDS} different setups; split it");
    Err(Error::Refused { path: path.to_owned(), reason })
}

impl Foreign {
    /// Merges another row of the same group.
    fn take(&mut self, row: Foreign) {
        let sum = |a: Option<u64>, b: Option<u64>| a.zip(b).and_then(|(a, b)| a.checked_add(b));
        self.completed = sum(self.completed, row.completed);
        self.failed = sum(self.failed, row.failed);
        self.measured = self.measured.min(row.measured).or(self.measured);
        self.measurements.extend(row.measurements);
        self.energy.extend(row.energy);
        self.workload.rows.extend(row.workload.rows);
        for note in row.notes {
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        self.kept.take(row.kept);
    }
}

/// The file's own fields, up to a size limit.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) fields: Unknown,
    pub(super) rows: Vec<Unknown>,
    pub(super) left_out: Vec<String>,
    spent: usize,
    more: usize,
}

impl Kept {
    /// Keeps the fields of an object shared by all rows.
    pub(super) fn of<'a>(fields: impl IntoIterator<Item = &'a (Box<str>, Node)>) -> Self {
        let mut kept = Self::default();
        kept.fields = kept.short(fields);
        kept
    }

    /// Keeps the fields of one row.
    pub(super) fn row<'a>(&mut self, fields: impl IntoIterator<Item = &'a (Box<str>, Node)>) {
        let row = self.short(fields);
        self.rows.push(row);
    }

    fn short<'a>(&mut self, fields: impl IntoIterator<Item = &'a (Box<str>, Node)>) -> Unknown {
        let mut short = Unknown::new();
        for (name, node) in fields {
            let left = ALL_BYTES.saturating_sub(self.spent).min(FIELD_BYTES);
            let mut budget = left.saturating_sub(name.len());
            match node.bounded(&mut budget) {
                Some(value) => {
                    self.spent += left - budget;
                    let mut secret = Vec::new();
                    let member = Unknown::from_iter([(name.to_string(), value)]);
                    short.extend(redact::object("", member, &mut secret));
                    for path in secret {
                        self.leave_out(path);
                    }
                }
                None => self.leave_out(super::json::shown(name)),
            }
        }
        short
    }

    fn leave_out(&mut self, name: String) {
        if self.left_out.contains(&name) {
            return;
        }
        if self.left_out.len() < NAMED {
            self.left_out.push(name);
        } else {
            self.more += 1;
        }
    }

    /// Merges another row's kept fields, up to the size limit.
    fn take(&mut self, other: Kept) {
        for name in other.left_out {
            self.leave_out(name);
        }
        self.more += other.more;
        if self.spent + other.spent <= ALL_BYTES {
            self.spent += other.spent;
            self.rows.extend(other.rows);
        } else {
            self.more += other.rows.len();
        }
    }

    /// The names of fields that were too long or contained a secret, with a count of those not listed.
    pub(super) fn left_out(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.left_out.iter().cloned().chain(more).collect()
    }
}

/// What a tool's figure is of, the id of the tool's formula, and the method.
#[derive(Debug, Clone)]
pub(super) struct Formula {
    pub(super) metric: Metric,
    /// `vllm.serve.mean_ttft`; the record's formula id is this with its version.
    id: &'static str,
    method: &'static str,
}

/// The method of a figure over the whole run.
const OVER_THE_RUN: &str = "over the whole run, ramp-up and drain included; the tool's own figure";
/// The method of a mean over requests.
const OVER_REQUESTS: &str = "mean over the requests that completed; the tool's own figure";

impl Formula {
    pub(super) const fn new(metric: Metric, id: &'static str, method: &'static str) -> Self {
        Self { metric, id, method }
    }

    /// A total, or a rate, over a whole run.
    pub(super) const fn of_run(metric: Metric, id: &'static str) -> Self {
        Self::new(metric, id, OVER_THE_RUN)
    }

    /// A mean over requests.
    pub(super) const fn of_requests(metric: Metric, id: &'static str) -> Self {
        Self::new(metric, id, OVER_REQUESTS)
    }

    /// A figure that the tool reports as one number, which is a mean or a total and not a sample.
    pub(super) fn single(&self, cell: &Result<Cell, String>, value: f64) -> Measurement {
        let ci95 = Known::unknown("the tool reports a single number");
        self.of(cell, Known::new(value), ci95, Samples::inline(self.metric.unit(), Vec::new()))
    }

    /// The figure of a single run, which is its only sample.
    pub(super) fn one_run(&self, cell: &Result<Cell, String>, value: f64) -> Measurement {
        let ci95 = Known::unknown("one run; an interval needs at least two");
        self.of(cell, Known::new(value), ci95, Samples::inline(self.metric.unit(), vec![value]))
    }

    /// The tool's figure with the requests' samples, which are sequential and yield no interval.
    pub(super) fn sampled(
        &self,
        cell: &Result<Cell, String>,
        value: f64,
        unit: &str,
        samples: Vec<f64>,
    ) -> Measurement {
        let ci95 = Known::unknown("requests of one run are not independent");
        self.of(cell, Known::new(value), ci95, Samples::inline(unit, samples))
    }

    /// A figure that the tool reports as one number, or the reason why it has none.
    pub(super) fn figure(&self, cell: &Result<Cell, String>, figure: Figure) -> Measurement {
        match figure {
            Figure::Value(value) => self.single(cell, value),
            Figure::Unmeasured(reason) => self.unmeasured(cell, reason),
        }
    }

    /// A figure that the tool writes although nothing was measured.
    pub(super) fn unmeasured(&self, cell: &Result<Cell, String>, reason: String) -> Measurement {
        let samples = Samples::inline(self.metric.unit(), Vec::new());
        self.of(cell, Known::unknown(reason.clone()), Known::unknown(reason), samples)
    }

    /// The rate of `tokens` per trial, from the tool's seconds: tokens ÷ mean seconds.
    pub(super) fn rate_of_trials(
        &self,
        cell: &Result<Cell, String>,
        tokens: f64,
        mean_seconds: f64,
        trials: Vec<f64>,
    ) -> Measurement {
        let map = |seconds: f64| tokens / seconds;
        self.of_trials(cell, mean_seconds, trials, map)
    }

    /// The mean seconds of trials.
    pub(super) fn time_of_trials(
        &self,
        cell: &Result<Cell, String>,
        mean_seconds: f64,
        trials: Vec<f64>,
    ) -> Measurement {
        self.of_trials(cell, mean_seconds, trials, |seconds| seconds)
    }

    fn of_trials(
        &self,
        cell: &Result<Cell, String>,
        mean_seconds: f64,
        trials: Vec<f64>,
        map: impl Fn(f64) -> f64,
    ) -> Measurement {
        let interval = t_interval_positive(&trials, CONFIDENCE).map(|interval| interval.map(&map));
        let ends = interval.map(|interval| [interval.low, interval.high]).filter(|ends| ends[1].is_finite());
        let ci95 = ends.ok_or(match trials.len() {
            0 => "the file has no samples",
            1 => "one trial; an interval needs at least two",
            _ => "the trials vary too much for an interval",
        });
        let value = Known::new(map(mean_seconds));
        self.of(cell, value, ci95.into(), Samples::inline("seconds per trial", trials))
    }

    fn of(
        &self,
        cell: &Result<Cell, String>,
        value: Known<f64>,
        ci95: Known<[f64; 2]>,
        mut samples: Samples,
    ) -> Measurement {
        let n = samples.values.as_ref().map_or(0, Vec::len);
        if n == 0 {
            samples.values = Known::unknown("not in the file");
        }
        Measurement {
            formula: format!("{}/1", self.id),
            ci95,
            n,
            samples,
            ..Measurement::new(self.metric.clone(), cell.clone().into(), value, self.method)
        }
    }
}

/// The name of a server's row: `40+8 c2`, followed by the request rate.
pub(super) fn serving_row(cell: &Result<Cell, String>, asked: &str) -> String {
    let concurrency = |cell: &Cell| match cell.batch {
        0 => "not bounded".to_owned(),
        batch => format!("c{batch}"),
    };
    let row = cell.as_ref().map_or_else(
        |_| "lengths unknown".to_owned(),
        |cell| format!("{}+{} {}", cell.prompt_tokens, cell.output_tokens, concurrency(cell)),
    );
    if asked.is_empty() { row } else { format!("{row} {asked}") }
}

/// Why there is no time between tokens if requests have a single output token.
pub(super) fn no_second_token(output_tokens: f64) -> Option<&'static str> {
    (output_tokens <= 1.0).then_some("a request has one output token, and a time between tokens needs two")
}

/// The mean of a list that is not empty.
pub(super) fn mean(samples: &[f64]) -> Option<f64> {
    stats::mean(samples).filter(|mean| mean.is_finite())
}

/// A server's cell: rounded mean lengths of a request, and the concurrency, 0 if unbounded.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just before")]
pub(super) fn serving_cell(input: f64, output: f64, concurrency: u32) -> Result<Cell, String> {
    let fits = |mean: f64| (0.0..=f64::from(u32::MAX)).contains(&mean).then(|| mean.round() as u32);
    match (fits(input), fits(output)) {
        (Some(prompt_tokens), Some(output_tokens)) => Ok(Cell {
            prompt_tokens,
            output_tokens,
            batch: concurrency,
            depth: 0,
            phase: Phase::Serving,
            requests_per_second: None,
        }),
        _ => Err("its requests are longer than any model's context".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    #[test]
    fn long_fields_are_named_and_left_out() {
        let text = format!(r#"{{"short": 1, "long": "{}", "other": [1, 2]}}"#, "x".repeat(FIELD_BYTES));
        let node = parse(&text).expect("JSON");
        let kept = Kept::of(node.fields().expect("an object"));
        assert_eq!(
            serde_json::Value::from(kept.fields.clone()),
            serde_json::json!({"short": 1, "other": [1, 2]})
        );
        assert_eq!(kept.left_out(), ["long"]);
    }

    #[test]
    fn many_fields_are_bounded_together() {
        let fields: Vec<String> = (0..2000).map(|n| format!(r#""f{n}": "{}""#, "x".repeat(100))).collect();
        let text = format!("{{{}}}", fields.join(","));
        let node = parse(&text).expect("JSON");
        let kept = Kept::of(node.fields().expect("an object"));
        let bytes = serde_json::to_string(&kept.fields).expect("JSON").len();
        assert!((ALL_BYTES / 2..ALL_BYTES * 2).contains(&bytes), "{bytes}");
        assert_eq!(kept.left_out().len(), NAMED + 1);
    }
}
