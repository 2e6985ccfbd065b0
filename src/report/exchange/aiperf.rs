//! AIPerf's `profile_export_aiperf.json`, and GenAI-Perf's before it: a block for each metric, with its unit.
//!
//! Their ITL is what vLLM calls TPOT, and goes there. The report of AIPerf names the run's length; GenAI-Perf's does
//! not, and a rate it lacks is computed from the requests' rate and mean length.

use std::path::Path;

use crate::record::{Cell, Measurement};

use super::Error;
use super::fields::{At, Row};
use super::foreign::{Foreign, ForeignModel, ForeignWorkload, Kept, Metric, each, serving_cell, serving_row};
use super::rows::Rows;

const INPUT: Metric = Metric::rate("input_tokens_per_second", "aiperf.input_token_throughput");
const OUTPUT: Metric = Metric::rate("output_tokens_per_second", "aiperf.output_token_throughput");
const TOTAL: Metric = Metric::rate("total_tokens_per_second", "aiperf.total_token_throughput");
const REQUESTS: Metric = Metric::requests("requests_per_second", "aiperf.request_throughput");
const GOODPUT: Metric = Metric::requests("goodput_requests_per_second", "aiperf.goodput");
const DURATION: Metric = Metric::duration("aiperf.benchmark_duration");
const INPUT_LENGTH: Metric = Metric::tokens("request_input_tokens", "aiperf.input_sequence_length");
const OUTPUT_LENGTH: Metric = Metric::tokens("request_output_tokens", "aiperf.output_sequence_length");
const TIMES: [(&str, Metric); 4] = [
    ("time_to_first_token", Metric::time("time_to_first_token_seconds", "aiperf.time_to_first_token")),
    ("inter_token_latency", Metric::time("time_per_output_token_seconds", "aiperf.inter_token_latency")),
    ("inter_chunk_latency", Metric::time("inter_token_latency_seconds", "aiperf.inter_chunk_latency")),
    ("request_latency", Metric::time("end_to_end_latency_seconds", "aiperf.request_latency")),
];

/// The records in these reports.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>, tool: &'static str) -> Result<Vec<Foreign>, Error> {
    let one = |row: Result<Row, Error>| report(&At::new(path, &row?), tool);
    each(path, rows.map(one))
}

fn report(at: &At<'_>, tool: &'static str) -> Result<Foreign, Error> {
    let requests = average(at, "request_throughput")?;
    let requests = at.need("request_throughput", requests)?;
    let input = average(at, "input_sequence_length")?.unwrap_or(0.0);
    let output = average(at, "output_sequence_length")?.unwrap_or(0.0);
    let config = at.inner("input_config")?;
    let concurrency = match &config {
        Some(config) => concurrency(config)?,
        None => None,
    };
    let model = match &config {
        Some(config) => model(config)?,
        None => None,
    };
    let cell = serving_cell(input, output, concurrency.unwrap_or(0));

    let rate = |field: &str, mean: f64| -> Result<Option<f64>, Error> {
        Ok(average(at, field)?.or(Some(requests * mean)).filter(|rate| *rate > 0.0 && rate.is_finite()))
    };
    let (input_rate, output_rate) =
        (rate("input_token_throughput", input)?, rate("output_token_throughput", output)?);
    let total = average(at, "total_token_throughput")?.or(input_rate.zip(output_rate).map(|(i, o)| i + o));
    let mut measurements: Vec<Measurement> = [(INPUT, input_rate), (OUTPUT, output_rate), (TOTAL, total)]
        .into_iter()
        .filter_map(|(metric, rate)| Some(metric.single(&cell, rate?)))
        .collect();
    measurements.push(REQUESTS.single(&cell, requests));
    for (metric, field) in [(GOODPUT, "goodput"), (DURATION, "benchmark_duration")] {
        measurements.extend(average(at, field)?.map(|value| metric.single(&cell, value)));
    }
    for (metric, value) in [(INPUT_LENGTH, input), (OUTPUT_LENGTH, output)] {
        measurements.push(metric.single(&cell, value));
    }
    for (field, metric) in TIMES {
        measurements.extend(time(at, field, metric, &cell)?);
    }

    let completed = match average(at, "completed_request_count")? {
        None => average(at, "request_count")?,
        count => count,
    };
    let failed = average(at, "error_request_count")?.or(at.get("aiperf_version").map(|_| 0.0));
    let mut kept = Kept::default();
    kept.row(at.fields());
    let start = at.text("start_time")?.and_then(utc);
    let mut notes: Vec<String> =
        start.map(|_| "its date names no time zone and is taken as UTC".to_owned()).into_iter().collect();
    if at.truth("is_complete")? == Some(false) || at.truth("was_cancelled")? == Some(true) {
        notes.push("the run did not come to its end".to_owned());
    }
    Ok(Foreign {
        tool,
        tool_version: at.text("aiperf_version")?.map(str::to_owned),
        measured: start,
        model: ForeignModel { name: model.map(str::to_owned), ..ForeignModel::default() },
        workload: ForeignWorkload {
            kind: "serving",
            rows: vec![serving_row(&cell, "")],
            ..ForeignWorkload::default()
        },
        completed: completed.map(whole),
        failed: failed.map(whole),
        measurements,
        notes,
        kept,
        ..Foreign::default()
    })
}

/// The number of a block: `{"unit": "requests/sec", "avg": 1.5}`.
fn average(at: &At<'_>, field: &str) -> Result<Option<f64>, Error> {
    at.inner(field)?.map_or(Ok(None), |block| block.amount("avg"))
}

/// A count that a report gives as `8.0`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "finite and zero or more; saturates"
)]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// The greatest concurrency of the phases that count; in older reports of the load generator.
fn concurrency(config: &At<'_>) -> Result<Option<u32>, Error> {
    let mut found = None;
    if config.get("phases").is_some() {
        for phase in config.objects("phases")? {
            if phase.text("kind")? != Some("warmup") {
                found = found.max(phase.small_count("concurrency")?);
            }
        }
    }
    if let (None, Some(load)) = (found, config.inner("loadgen")?) {
        found = load.small_count("concurrency")?;
    }
    if let (None, Some(analyze)) = (found, config.inner("perf_analyzer")?) {
        let stimulus = analyze.inner("stimulus")?;
        found = stimulus.map_or(Ok(None), |stimulus| stimulus.small_count("concurrency"))?;
    }
    Ok(found)
}

/// The first model: of `models.items`, `endpoint.model_names`, or GenAI-Perf's `model_names`.
fn model<'a>(config: &At<'a>) -> Result<Option<&'a str>, Error> {
    use super::json::Node;
    let first = |at: &At<'a>| match at.get("model_names") {
        Some(Node::List(names)) => match names.first() {
            Some(Node::Text(name)) => Some(&**name),
            _ => None,
        },
        _ => None,
    };
    if let Some(Node::Object(_)) = config.get("models")
        && let Some(models) = config.inner("models")?
        && let Some(item) = models.objects("items")?.first()
    {
        return item.text("name");
    }
    if let Some(name) = config.inner("endpoint")?.as_ref().and_then(first) {
        return Ok(Some(name));
    }
    Ok(first(config))
}

fn time(
    at: &At<'_>,
    field: &str,
    metric: Metric,
    cell: &Result<Cell, String>,
) -> Result<Option<Measurement>, Error> {
    let Some(block) = at.inner(field)? else { return Ok(None) };
    let unit = match block.text("unit")? {
        None | Some("ms") => 1e-3,
        Some("sec" | "s") => 1.0,
        Some("us") => 1e-6,
        Some("ns") => 1e-9,
        Some(other) => {
            return Err(block.error(
                "unit",
                format!("is `{}`, no unit of time that is known", super::json::shown(other)),
            ));
        }
    };
    let Some(mean) = block.amount("avg")? else { return Ok(None) };
    let mut found = metric.single(cell, mean * unit);
    for name in ["p50", "p90", "p95", "p99", "std"] {
        if let Some(value) = block.amount(name)? {
            found.unknown.insert(name.to_owned(), (value * unit).into());
        }
    }
    Ok(Some(found))
}

/// `2026-11-24T01:46:16.164529`, with or without a time zone.
fn utc(text: &str) -> Option<jiff::Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let date: jiff::civil::DateTime = text.parse().ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}
