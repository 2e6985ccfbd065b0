//! Exports a record with the key names of `vllm bench serve`, one object per cell of a server or of joint rows.
//!
//! Its readers convert every value to a number, so a key without a value in the record is omitted. Nothing is made up: a
//! total is present if its requests were counted, a list if it has an entry for each of them, a date if the run is dated.

use serde_json::{Map, Value, json};

use crate::base::stats;
use crate::record::{Cell, Measurement, Metric, Phase, Record};

use super::Error;
use super::exported::{self, Exported};
use super::json::number_value;

/// A metric and its name in vLLM's keys.
const TIMES: [(Metric, &str, Option<&str>); 4] = [
    (Metric::TimeToFirstTokenSeconds, "ttft", Some("ttfts")),
    (Metric::TimePerOutputTokenSeconds, "tpot", None),
    (Metric::InterTokenLatencySeconds, "itl", None),
    (Metric::EndToEndLatencySeconds, "e2el", Some("latencies")),
];
/// Minimum number of requests for a meaningful tail.
const ENOUGH: usize = 100;

/// The objects of a record.
///
/// # Errors
/// [`Error::Export`] if no cell has requests with input and output.
pub fn vllm_objects(record: &Record) -> Result<Exported, Error> {
    let (mut objects, mut left_out) = (Vec::new(), Vec::new());
    for cell in exported::cells(record) {
        match object(record, cell) {
            Ok(object) => objects.push(object),
            Err(reason) => left_out.push((cell.clone(), reason)),
        }
    }
    let exported = Exported::new(objects, left_out);
    if exported.rows.is_empty() {
        return Err(Error::Export {
            id: record.id.clone(),
            format: "an object of vllm bench serve",
            reason: exported.reasons(),
        });
    }
    Ok(exported)
}

/// The object of a cell, or why it has none.
fn object(record: &Record, cell: &Cell) -> Result<Value, String> {
    if !matches!(cell.phase, Phase::Serving | Phase::Joint) {
        return Err(
            "vllm bench serve has only rows with both prompt and output (`bench run --pg P,N`); --format llama-bench has the others"
                .to_owned(),
        );
    }
    let find = |metric: Metric| {
        record.measurements.iter().find(|m| m.metric == metric && m.cell.as_ref() == Some(cell))
    };
    let value = |metric: Metric| find(metric).and_then(|m| *m.value).filter(|value| *value > 0.0);
    let needed = |metric: Metric| {
        let why = || find(metric.clone()).and_then(|m| m.value.reason()).unwrap_or("it was not measured");
        value(metric.clone()).ok_or_else(|| format!("no {metric}, which vLLM's object has: {}", why()))
    };
    let total = needed(Metric::TotalTokensPerSecond)?;
    let output = needed(Metric::OutputTokensPerSecond)?;
    let run = Run::of(record, cell, value, find(Metric::EndToEndLatencySeconds));
    let date = created(record).map(|text| {
        let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
        format!("{}-{}", digits.get(..8).unwrap_or_default(), digits.get(8..).unwrap_or_default())
    });
    let request_rate = value(Metric::RequestsPerSecond).or_else(|| Some(run.completed? / run.duration?));
    let tokens = |length: Option<f64>| Some((length? * run.completed?).round());
    let mut out: Map<String, Value> = Map::new();
    for (name, value) in [
        ("date", date.map(Value::from)),
        ("backend", record.engine.name.as_deref().map(Value::from)),
        ("model_id", Some(json!(record.model.id))),
        ("num_prompts", run.asked().map(number_value)),
        ("request_rate", request_rate_asked(record, cell)),
        ("max_concurrency", (cell.batch > 0).then(|| json!(cell.batch))),
        ("duration", run.duration.map(Value::from)),
        ("completed", run.completed.map(number_value)),
        ("failed", run.failed.map(number_value)),
        ("total_input_tokens", tokens(run.input_length).map(number_value)),
        ("total_output_tokens", tokens(run.output_length).map(number_value)),
        ("request_throughput", request_rate.map(Value::from)),
        ("request_goodput", find(Metric::GoodputRequestsPerSecond).and_then(|m| *m.value).map(Value::from)),
        ("input_throughput", value(Metric::InputTokensPerSecond).map(Value::from)),
        ("output_throughput", Some(json!(output))),
        ("total_token_throughput", Some(json!(total))),
    ] {
        out.extend(value.map(|value| (name.to_owned(), value)));
    }
    for (metric, word, list) in TIMES {
        if let Some(measured) = find(metric) {
            times(&mut out, measured, word, list.filter(|_| run.has_entry_each(measured)));
        }
    }
    Ok(Value::Object(out))
}

/// What is known about a cell's run.
struct Run {
    completed: Option<f64>,
    failed: Option<f64>,
    duration: Option<f64>,
    /// Actual tokens of a request.
    input_length: Option<f64>,
    output_length: Option<f64>,
}

impl Run {
    fn of(
        record: &Record,
        cell: &Cell,
        value: impl Fn(Metric) -> Option<f64>,
        latency: Option<&Measurement>,
    ) -> Self {
        if cell.phase == Phase::Joint {
            // The run consists of its trials in sequence, and every sequence of a trial is a request of these lengths.
            let trials = latency.and_then(|m| m.samples.values.as_deref()).unwrap_or_default();
            let seconds: f64 = trials.iter().sum();
            let requests = trials.len() as f64 * f64::from(cell.batch);
            return Self {
                completed: Some(requests).filter(|requests| *requests > 0.0),
                failed: None,
                duration: Some(seconds).filter(|seconds| *seconds > 0.0),
                input_length: Some(f64::from(cell.prompt_tokens)),
                output_length: Some(f64::from(cell.output_tokens)),
            };
        }
        let duration = value(Metric::DurationSeconds);
        // A record counts the requests of all its cells in total.
        let imported = record.imported.as_ref().filter(|_| record.workload.rows.len() == 1);
        let of_the_cell = || {
            let requests = value(Metric::RequestsPerSecond)? * duration?;
            let whole = requests.round();
            ((requests - whole).abs() < 1e-6 * whole).then_some(whole)
        };
        Self {
            completed: match imported {
                Some(imported) => imported.requests_completed.map(|requests| requests as f64),
                None => of_the_cell(),
            },
            failed: imported.and_then(|imported| *imported.requests_failed).map(|requests| requests as f64),
            duration,
            input_length: value(Metric::RequestInputTokens),
            output_length: value(Metric::RequestOutputTokens),
        }
    }

    /// The number of requests sent.
    fn asked(&self) -> Option<f64> {
        Some(self.completed? + self.failed.unwrap_or(0.0))
    }

    /// Whether a figure has a sample for each completed request.
    #[allow(clippy::float_cmp, reason = "two counts")]
    fn has_entry_each(&self, measured: &Measurement) -> bool {
        let samples = measured.samples.values.as_deref().unwrap_or_default();
        !samples.is_empty() && self.completed == Some(samples.len() as f64)
    }
}

/// When the run took place: for an import, according to its file, which may not state it.
pub(super) fn created(record: &Record) -> Option<&str> {
    match &record.imported {
        Some(imported) => imported.measured.as_deref(),
        None => Some(&record.created),
    }
}

/// The request rate: of our own runs the schedule's, or all at once; according to its file for an imported client.
fn request_rate_asked(record: &Record, cell: &Cell) -> Option<Value> {
    let Some(imported) = &record.imported else {
        return Some(cell.requests_per_second.map_or_else(|| json!("inf"), Value::from));
    };
    let [row] = imported.rows.as_slice() else { return None };
    let rate = row.get("request_rate").filter(|rate| !rate.is_null()).cloned()?;
    Some(match rate.as_str() {
        Some(word) if word.eq_ignore_ascii_case("infinity") => json!("inf"),
        _ => rate,
    })
}

/// Mean, median, deviation and p99 in milliseconds, from the record or computed from its samples.
fn times(out: &mut Map<String, Value>, measured: &Measurement, word: &str, list: Option<&str>) {
    let samples = measured.samples.values.as_deref().unwrap_or_default();
    let kept = |name: &str| measured.unknown.get(name).and_then(Value::as_f64);
    // Our latency between tokens is a median, but of a load; vLLM's first figure is the mean.
    let median = word == "itl" && measured.formula == Metric::InterTokenLatencySeconds.formula();
    let value = measured.value.filter(|_| !median);
    let tail = || (samples.len() >= ENOUGH).then(|| stats::quantile(samples, 0.99)).flatten();
    for (name, seconds) in [
        ("mean", value.or_else(|| stats::mean(samples))),
        (
            "median",
            kept("median")
                .or(measured.percentiles.p50.as_deref().copied().flatten())
                .or_else(|| stats::median(samples)),
        ),
        ("std", kept("std").or_else(|| kept("std_dev")).or_else(|| stats::sample_sd(samples))),
        ("p99", measured.percentiles.p99.as_deref().copied().flatten().or_else(tail)),
    ] {
        if let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) {
            out.insert(format!("{name}_{word}_ms"), json!(seconds * 1e3));
        }
    }
    if let Some(list) = list.filter(|_| !samples.is_empty()) {
        out.insert(list.to_owned(), json!(samples));
    }
}
