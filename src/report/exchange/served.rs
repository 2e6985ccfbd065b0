//! What the clients of a server have in common: `vllm bench serve` and `sglang.bench_serving` write the same names.
//!
//! Tokens and time are of the whole run, so the rates are tokens ÷ its wall time, ramp-up and drain included; the
//! cell bears the mean lengths of a request, as they came out, not as they were asked.

use crate::record::{Cell, Measurement, Unknown};

use super::Error;
use super::fields::At;
use super::foreign::{Metric, mean, serving_cell};

/// Formulas of one tool.
pub(super) struct Formulas {
    pub(super) input: Metric,
    pub(super) output: Metric,
    pub(super) total: Metric,
    pub(super) requests: Metric,
    pub(super) duration: Metric,
    pub(super) input_length: Metric,
    pub(super) output_length: Metric,
    /// The word in the field's name, such as `ttft`, the field with the requests' own figures, and the metric.
    pub(super) times: &'static [(&'static str, Option<Samples>, Metric)],
    /// The field with the total rate.
    pub(super) total_field: &'static str,
}

/// Where the requests' own figures are, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Samples {
    /// A list of numbers.
    List(&'static str),
    /// Lists of numbers, one a request.
    Lists(&'static str),
}

/// Totals of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) cell: Result<Cell, String>,
    pub(super) completed: u64,
    pub(super) measurements: Vec<Measurement>,
}

/// Reads the totals of a run.
pub(super) fn read(at: &At<'_>, formulas: &Formulas) -> Result<Run, Error> {
    let duration = at.need("duration", at.positive("duration")?)?;
    let completed = at.need("completed", at.count("completed")?)?;
    if completed == 0 {
        return Err(at.error("completed", "is 0: no request came to its end, so there is nothing to import"));
    }
    let input = at.need("total_input_tokens", at.amount("total_input_tokens")?)?;
    let output = at.need("total_output_tokens", at.amount("total_output_tokens")?)?;
    if output == 0.0 {
        let reason = "is 0: no token came out, so there is no price of one";
        return Err(at.error("total_output_tokens", reason));
    }
    let concurrency = at.small_count("max_concurrency")?.unwrap_or(0);
    let requests = completed as f64;
    let (mean_input, mean_output) = (input / requests, output / requests);
    let cell = serving_cell(mean_input, mean_output, concurrency);
    let rate = |field: &str, computed: f64| Ok(at.positive(field)?.unwrap_or(computed));

    let mut found = Vec::new();
    if input > 0.0 {
        found.push(formulas.input.single(&cell, rate("input_throughput", input / duration)?));
    }
    // Both tools have always written these two; without them it is another file, or half of one.
    let output_rate = at.need("output_throughput", at.positive("output_throughput")?)?;
    let request_rate = at.need("request_throughput", at.positive("request_throughput")?)?;
    found.push(formulas.output.single(&cell, output_rate));
    found.push(formulas.total.single(&cell, rate(formulas.total_field, (input + output) / duration)?));
    found.push(formulas.requests.single(&cell, request_rate));
    found.push(formulas.duration.single(&cell, duration));
    for (metric, field, mean) in [
        (formulas.input_length, "input_lens", mean_input),
        (formulas.output_length, "output_lens", mean_output),
    ] {
        let lengths = at.list(field)?.unwrap_or_default();
        found.push(metric.sampled(&cell, mean, "tokens per request", lengths.to_vec()));
    }
    for (word, samples, metric) in formulas.times {
        found.extend(time(at, word, *samples, *metric, &cell)?);
    }
    Ok(Run { cell, completed, measurements: found })
}

/// A time over requests: the tool's mean, its percentiles beside it, the requests' own under it.
fn time(
    at: &At<'_>,
    word: &str,
    samples: Option<Samples>,
    metric: Metric,
    cell: &Result<Cell, String>,
) -> Result<Option<Measurement>, Error> {
    let samples = match samples {
        None => Vec::new(),
        Some(Samples::List(field)) => at.list(field)?.unwrap_or_default().to_vec(),
        Some(Samples::Lists(field)) => at.pooled(field)?.unwrap_or_default(),
    };
    let milliseconds = at.amount(&format!("mean_{word}_ms"))?;
    let Some(value) = milliseconds.map(|ms| ms / 1e3).or_else(|| mean(&samples)) else { return Ok(None) };
    let mut found = metric.sampled(cell, value, "seconds", samples);
    found.unknown = percentiles(at, word)?;
    Ok(Some(found))
}

/// `median_ttft_ms`, `p99_ttft_ms` as `median` and `p99`, in seconds.
fn percentiles(at: &At<'_>, word: &str) -> Result<Unknown, Error> {
    let mut found = Unknown::new();
    for name in ["median", "std", "p25", "p50", "p75", "p90", "p95", "p99", "p99.9"] {
        if let Some(milliseconds) = at.amount(&format!("{name}_{word}_ms"))? {
            found.insert(name.to_owned(), (milliseconds / 1e3).into());
        }
    }
    Ok(found)
}
