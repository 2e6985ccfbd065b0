//! Shared by serving clients: `vllm bench serve` and `sglang.bench_serving` use the same field names.
//!
//! Tokens and time cover the whole run, so the rates are tokens ÷ its wall time, including ramp-up and drain; the cell has
//! the actual mean lengths of a request, not the requested ones.

use crate::base::units::significant;
use crate::record::{Cell, Measurement, Unknown};

use super::Error;
use super::fields::At;
use super::foreign::{Formula, mean, no_second_token, serving_cell};
use super::left_out::{DEAD, NoCell};
use super::requests::Requests;
use super::unmeasured::Figure;

/// The formulas of one tool.
pub(super) struct Formulas {
    pub(super) input: Formula,
    pub(super) output: Formula,
    pub(super) total: Formula,
    pub(super) requests: Formula,
    pub(super) duration: Formula,
    pub(super) input_length: Formula,
    pub(super) output_length: Formula,
    /// The names used by different versions, such as `ttft`, the field with per-request figures, and the metric.
    pub(super) times: &'static [(&'static [&'static str], Option<Samples>, Formula)],
    /// The field with the total rate.
    pub(super) total_field: &'static str,
}

/// The form of per-request figures, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Samples {
    /// A list of numbers.
    List(&'static str),
    /// Lists of numbers, one per request.
    Lists(&'static str),
}

/// Totals of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) cell: Result<Cell, String>,
    pub(super) completed: u64,
    pub(super) measurements: Vec<Measurement>,
    /// What a reader should know about the figures and samples.
    pub(super) notes: Vec<String>,
}

/// Reads the totals of a run.
pub(super) fn read(at: &At<'_>, formulas: &Formulas) -> Result<Run, NoCell> {
    let completed = at.required("completed", at.count("completed")?)?;
    if completed == 0 {
        let reason = "is 0: no request completed, so there is nothing to import";
        return Err(at.no_cell(DEAD, "completed", reason));
    }
    let duration = at.needed("duration")?;
    let input = at.required("total_input_tokens", at.amount("total_input_tokens")?)?;
    let output = at.required("total_output_tokens", at.amount("total_output_tokens")?)?;
    if output == 0.0 {
        let reason = "is 0: no token was generated, so there is no price per token";
        return Err(at.no_cell(DEAD, "total_output_tokens", reason));
    }
    let concurrency = at.small_count("max_concurrency")?.unwrap_or(0);
    let requests = completed as f64;
    let (mean_input, mean_output) = (input / requests, output / requests);
    let cell = serving_cell(mean_input, mean_output, concurrency);
    // The tools compute totals over the run's duration, so a missing or NaN rate is derived the same way.
    let mut notes = Vec::new();
    let mut rate = |field: &str, computed: f64, of: &str| rate(at, field, computed, of, &mut notes);

    let mut found = Vec::new();
    if input > 0.0 {
        found.push(
            formulas
                .input
                .single(&cell, rate("input_throughput", input / duration, "total_input_tokens ÷ duration")?),
        );
    }
    // Both tools have always written this field; without it, the file is a different one, or truncated.
    at.needed("output_throughput")?;
    let output_rate = rate("output_throughput", output / duration, "total_output_tokens ÷ duration")?;
    found.push(formulas.output.single(&cell, output_rate));
    let all = "(total_input_tokens + total_output_tokens) ÷ duration";
    found.push(formulas.total.single(&cell, rate(formulas.total_field, (input + output) / duration, all)?));
    let request_rate = rate("request_throughput", requests / duration, "completed ÷ duration")?;
    found.push(formulas.requests.single(&cell, request_rate));
    found.push(formulas.duration.single(&cell, duration));
    let own = Requests::of(at, completed);
    for (metric, field, mean) in [
        (&formulas.input_length, "input_lens", mean_input),
        (&formulas.output_length, "output_lens", mean_output),
    ] {
        found.push(metric.sampled(&cell, mean, "tokens per request", own.list(at, field)?));
    }
    for (words, samples, formula) in formulas.times {
        let samples = match samples {
            None => Vec::new(),
            Some(Samples::List(field)) => own.list(at, field)?,
            Some(Samples::Lists(field)) => own.lists(at, field)?,
        };
        let between = ["tpot", "itl"].contains(&words[0]);
        let why = no_second_token(mean_output).filter(|_| between);
        found.extend(time(at, words, samples, formula, &cell, why)?);
    }
    notes.extend(own.note);
    Ok(Run { cell, completed, measurements: found, notes })
}

/// A rate of the file, or `computed` from its totals `of` where it is missing or NaN; a note where the two contradict each
/// other.
pub(super) fn rate(
    at: &At<'_>,
    field: &str,
    computed: f64,
    of: &str,
    notes: &mut Vec<String>,
) -> Result<f64, Error> {
    /// Relative difference that rounding and a slightly different window may cause.
    const ALLOWED: f64 = 0.02;
    let Some(stated) = at.figure(field)?.and_then(|figure| figure.value()) else { return Ok(computed) };
    if (stated - computed).abs() > ALLOWED * computed.max(stated) {
        let [stated, computed] = [stated, computed].map(|rate| significant(rate, 3));
        notes.push(format!(
            "the file contradicts itself: `{field}` is {stated}, but {of} is {computed}; priced by `{field}`"
        ));
    }
    Ok(stated)
}

/// A time over requests: the tool's mean and percentiles, with the per-request samples.
fn time(
    at: &At<'_>,
    words: &[&str],
    samples: Vec<f64>,
    formula: &Formula,
    cell: &Result<Cell, String>,
    why: Option<&str>,
) -> Result<Option<Measurement>, Error> {
    let mut figure = None;
    let mut word = words.first().copied().unwrap_or_default();
    for name in words {
        if let Some(found) = at.figure(&format!("mean_{name}_ms"))? {
            (figure, word) = (Some(found.map(|ms| ms / 1e3)), *name);
            break;
        }
    }
    let value = figure.as_ref().and_then(Figure::value).or_else(|| mean(&samples).filter(|mean| *mean > 0.0));
    let mut found = match (value, figure) {
        (Some(value), _) => formula.sampled(cell, value, "seconds", samples),
        (None, Some(figure)) => formula.figure(cell, figure.because(why)),
        (None, None) => return Ok(None),
    };
    found.unknown = percentiles(at, word)?;
    Ok(Some(found))
}

/// `median_ttft_ms`, `p99_ttft_ms` as `median` and `p99`, in seconds.
fn percentiles(at: &At<'_>, word: &str) -> Result<Unknown, Error> {
    let mut found = Unknown::new();
    for name in ["median", "std", "p25", "p50", "p75", "p90", "p95", "p99", "p99.9"] {
        if let Some(milliseconds) = at.optional_figure(&format!("{name}_{word}_ms"))? {
            found.insert(name.to_owned(), (milliseconds / 1e3).into());
        }
    }
    Ok(found)
}
