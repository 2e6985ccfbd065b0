//! AIPerf's `profile_export_aiperf.json`, and its predecessor GenAI-Perf's: a block for each metric, with its unit.
//!
//! Their ITL is what vLLM calls TPOT, and is imported as such. AIPerf's report states the run's duration; GenAI-Perf's does
//! not, and a missing rate is computed from the request rate and mean length.

use std::path::Path;

use crate::record::{Cell, Measurement, Metric};

use super::Error;
use super::cells;
use super::dates::{self, When};
use super::fields::At;
use super::foreign::{
    Foreign, ForeignModel, ForeignWorkload, Formula, Kept, no_second_token, serving_cell, serving_row,
};
use super::left_out::{DEAD, NoCell};
use super::rows::Rows;
use super::unmeasured::Figure;

const INPUT: Formula = Formula::of_run(Metric::InputTokensPerSecond, "aiperf.input_token_throughput");
const OUTPUT: Formula = Formula::of_run(Metric::OutputTokensPerSecond, "aiperf.output_token_throughput");
const TOTAL: Formula = Formula::of_run(Metric::TotalTokensPerSecond, "aiperf.total_token_throughput");
const REQUESTS: Formula = Formula::of_run(Metric::RequestsPerSecond, "aiperf.request_throughput");
const GOODPUT: Formula = Formula::of_run(Metric::GoodputRequestsPerSecond, "aiperf.goodput");
const DURATION: Formula = Formula::of_run(Metric::DurationSeconds, "aiperf.benchmark_duration");
const INPUT_LENGTH: Formula =
    Formula::of_requests(Metric::RequestInputTokens, "aiperf.input_sequence_length");
const OUTPUT_LENGTH: Formula =
    Formula::of_requests(Metric::RequestOutputTokens, "aiperf.output_sequence_length");
const TIMES: [(&str, Formula); 4] = [
    (
        "time_to_first_token",
        Formula::of_requests(Metric::TimeToFirstTokenSeconds, "aiperf.time_to_first_token"),
    ),
    (
        "inter_token_latency",
        Formula::of_requests(Metric::TimePerOutputTokenSeconds, "aiperf.inter_token_latency"),
    ),
    (
        "inter_chunk_latency",
        Formula::of_requests(Metric::InterTokenLatencySeconds, "aiperf.inter_chunk_latency"),
    ),
    ("request_latency", Formula::of_requests(Metric::EndToEndLatencySeconds, "aiperf.request_latency")),
];

/// The records in these reports.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>, tool: &'static str) -> Result<Vec<Foreign>, Error> {
    cells::separate(path, rows, |at| report(at, tool))
}

fn report(at: &At<'_>, tool: &'static str) -> Result<Foreign, NoCell> {
    // AIPerf's first releases have the metrics in a separate object.
    let metrics = &at.inner("records")?.unwrap_or_else(|| at.clone());
    let completed = match average(metrics, "completed_request_count")? {
        None => average(metrics, "request_count")?,
        count => count,
    };
    if completed == Some(0.0) {
        return Err(metrics.no_cell(DEAD, "request_count", "is 0: no request completed"));
    }
    let requests = match metrics.inner("request_throughput")? {
        Some(block) => block.needed("avg")?,
        None => metrics.needed("request_throughput")?,
    };
    let value = |field: &str| -> Result<Option<f64>, Error> {
        Ok(figure(metrics, field)?.and_then(|figure| figure.value()))
    };
    let input = value("input_sequence_length")?.unwrap_or(0.0);
    let output = value("output_sequence_length")?.unwrap_or(0.0);
    let config = at.inner("input_config")?;
    let concurrency = config.as_ref().map_or(Ok(None), concurrency)?;
    let model = config.as_ref().map_or(Ok(None), model)?;
    let cell = serving_cell(input, output, concurrency.unwrap_or(0));

    let rate = |field: &str, mean: f64| -> Result<Option<f64>, Error> {
        Ok(value(field)?.or(Some(requests * mean)).filter(|rate| *rate > 0.0 && rate.is_finite()))
    };
    let (input_rate, output_rate) =
        (rate("input_token_throughput", input)?, rate("output_token_throughput", output)?);
    let total = value("total_token_throughput")?.or(input_rate.zip(output_rate).map(|(i, o)| i + o));
    let mut measurements: Vec<Measurement> = [(INPUT, input_rate), (OUTPUT, output_rate), (TOTAL, total)]
        .into_iter()
        .filter_map(|(metric, rate)| Some(metric.single(&cell, rate?)))
        .collect();
    measurements.push(REQUESTS.single(&cell, requests));
    measurements.extend(average(metrics, "goodput")?.map(|value| GOODPUT.single(&cell, value)));
    measurements.extend(figure(metrics, "benchmark_duration")?.map(|value| DURATION.figure(&cell, value)));
    for (metric, value) in [(INPUT_LENGTH, input), (OUTPUT_LENGTH, output)] {
        measurements.push(metric.single(&cell, value));
    }
    for (field, formula) in TIMES {
        let why = no_second_token(output).filter(|_| field.starts_with("inter_"));
        measurements.extend(time(metrics, field, &formula, &cell, why)?);
    }

    let failed = average(metrics, "error_request_count")?.map(whole);
    let failed = match failed {
        // Without failures the count is omitted; otherwise a summary lists them.
        None => summed_up(at)?.or(at.get("aiperf_version").map(|_| 0)),
        count => count,
    };
    let mut kept = Kept::default();
    kept.row(at.fields());
    let start = dates::date(at, &["start_time"])?;
    let mut notes: Vec<String> = start.and_then(When::note).into_iter().collect();
    if at.boolean("is_complete")? == Some(false) || at.boolean("was_cancelled")? == Some(true) {
        notes.push("the run did not complete".to_owned());
    }
    Ok(Foreign {
        tool,
        tool_version: at.text("aiperf_version")?.map(str::to_owned),
        measured: start.map(|when| when.time),
        model: ForeignModel { name: model.map(str::to_owned), ..ForeignModel::default() },
        workload: ForeignWorkload {
            kind: "serving",
            rows: vec![serving_row(&cell, "")],
            ..ForeignWorkload::default()
        },
        completed: completed.map(whole),
        failed,
        measurements,
        notes,
        kept,
        ..Foreign::default()
    })
}

/// The failures in AIPerf's `error_summary`; none if it is empty.
fn summed_up(at: &At<'_>) -> Result<Option<u64>, Error> {
    if at.get("error_summary").is_none() {
        return Ok(None);
    }
    let mut all = 0_u64;
    for kind in at.objects("error_summary")? {
        all = all.saturating_add(kind.count("count")?.unwrap_or(1));
    }
    Ok(Some(all))
}

/// The value of a block, `{"unit": "requests/sec", "avg": 1.5}`, if it was measured.
fn average(at: &At<'_>, field: &str) -> Result<Option<f64>, Error> {
    at.inner(field)?.map_or(Ok(None), |block| block.optional_figure("avg"))
}

/// The same for a figure that is never 0, or why it was not measured.
fn figure(at: &At<'_>, field: &str) -> Result<Option<Figure>, Error> {
    at.inner(field)?.map_or(Ok(None), |block| block.figure("avg"))
}

/// A count written as `8.0`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "finite and zero or more; saturates"
)]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// The highest concurrency of the measured phases; in older reports, that of the load generator.
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
    if found.is_none() {
        found = config.small_count("concurrency")?;
    }
    Ok(found)
}

/// The first model in `models.items`, `endpoint.model_names`, or GenAI-Perf's `model_names`.
fn model<'a>(config: &At<'a>) -> Result<Option<&'a str>, Error> {
    use super::json::Node;
    let named = |at: &At<'a>, field: &str| match at.get(field) {
        Some(Node::List(names)) => match names.first() {
            Some(Node::Text(name)) => Some(&**name),
            _ => None,
        },
        Some(Node::Text(name)) if !name.is_empty() => Some(&**name),
        _ => None,
    };
    // GenAI-Perf's first releases write its arguments, including `model`.
    let first = |at: &At<'a>| named(at, "model_names").or_else(|| named(at, "model"));
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
    formula: &Formula,
    cell: &Result<Cell, String>,
    why: Option<&str>,
) -> Result<Option<Measurement>, Error> {
    let Some(block) = at.inner(field)? else { return Ok(None) };
    let unit = match block.text("unit")? {
        None | Some("ms") => 1e-3,
        Some("sec" | "s") => 1.0,
        Some("us") => 1e-6,
        Some("ns") => 1e-9,
        Some(other) => {
            return Err(
                block.error("unit", format!("is `{}`, an unknown unit of time", super::json::shown(other)))
            );
        }
    };
    let Some(figure) = block.figure("avg")? else { return Ok(None) };
    let figure = figure.map(|mean| mean * unit).because(why);
    if figure.value().is_none() {
        return Ok(Some(formula.figure(cell, figure)));
    }
    let mut found = formula.figure(cell, figure);
    for name in ["p50", "p90", "p95", "p99", "std"] {
        if let Some(value) = block.optional_figure(name)? {
            found.unknown.insert(name.to_owned(), (value * unit).into());
        }
    }
    Ok(Some(found))
}
