//! guidellm's JSON report: a benchmark for each strategy of the run, all of one model on one server.
//!
//! Of its figures by outcome the successful requests' count. Its TPOT has the first token's time in it, so it goes
//! under a name of its own; its ITL is what vLLM calls TPOT, and goes there.

use std::path::Path;

use crate::record::{Cell, Measurement};

use super::Error;
use super::fields::At;
use super::foreign::{
    Foreign, ForeignModel, ForeignWorkload, Kept, Metric, merge, serving_cell, serving_row,
};
use super::json::Node;
use super::rows::Rows;

const RATES: [(&str, Metric); 3] = [
    (
        "prompt_tokens_per_second",
        Metric::rate("input_tokens_per_second", "guidellm.prompt_tokens_per_second"),
    ),
    (
        "output_tokens_per_second",
        Metric::rate("output_tokens_per_second", "guidellm.output_tokens_per_second"),
    ),
    ("tokens_per_second", Metric::rate("total_tokens_per_second", "guidellm.tokens_per_second")),
];
const REQUESTS: Metric = Metric::requests("requests_per_second", "guidellm.requests_per_second");
const GOODPUT: Metric = Metric::requests("goodput_requests_per_second", "guidellm.request_goodput");
const DURATION: Metric = Metric::duration("guidellm.duration");
const INPUT_LENGTH: Metric = Metric::tokens("request_input_tokens", "guidellm.prompt_token_count");
const OUTPUT_LENGTH: Metric = Metric::tokens("request_output_tokens", "guidellm.output_token_count");
/// The block, a request's own field, what one of its units is in seconds, and the metric.
const TIMES: [(&str, &str, f64, Metric); 4] = [
    (
        "time_to_first_token_ms",
        "time_to_first_token_ms",
        1e-3,
        Metric::time("time_to_first_token_seconds", "guidellm.time_to_first_token"),
    ),
    (
        "inter_token_latency_ms",
        "inter_token_latency_ms",
        1e-3,
        Metric::time("time_per_output_token_seconds", "guidellm.inter_token_latency"),
    ),
    (
        "time_per_output_token_ms",
        "time_per_output_token_ms",
        1e-3,
        Metric::time("latency_per_output_token_seconds", "guidellm.time_per_output_token"),
    ),
    (
        "request_latency",
        "request_latency",
        1.0,
        Metric::time("end_to_end_latency_seconds", "guidellm.request_latency"),
    ),
];

/// The records in a report.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    let mut found = Vec::new();
    for row in rows {
        let row = row?;
        let at = At::new(path, &row);
        let metadata = at.inner("metadata")?;
        let version = match &metadata {
            Some(metadata) => metadata.text("guidellm_version")?,
            None => None,
        };
        let spec = match at.inner("config")? {
            Some(config) => config.inner("spec")?,
            None => None,
        };
        let seed = match &spec {
            Some(spec) => spec.inner("seed")?.map_or(Ok(None), |seed| seed.count("value"))?,
            None => None,
        };
        let benchmarks = at.objects("benchmarks")?;
        if benchmarks.is_empty() {
            return Err(at.error("benchmarks", "is empty; nothing was measured"));
        }
        let shared = || at.fields().iter().filter(|(name, _)| !matches!(&**name, "benchmarks"));
        for benchmark in benchmarks {
            let mut kept = Kept::of(shared());
            kept.row(
                benchmark.fields().iter().filter(|(name, _)| !matches!(&**name, "requests" | "metrics")),
            );
            let mut one = self::benchmark(&benchmark)?;
            one.kept = kept;
            one.tool_version = version.map(str::to_owned);
            one.seed = seed;
            found.push((format!("{:?} {version:?}", one.model.name), one));
        }
    }
    merge(path, found.into_iter().map(Ok))
}

fn benchmark(at: &At<'_>) -> Result<Foreign, Error> {
    let metrics = at.need("metrics", at.inner("metrics")?)?;
    let totals = metrics.need("request_totals", metrics.inner("request_totals")?)?;
    let completed = totals.need("successful", totals.count("successful")?)?;
    if completed == 0 {
        return Err(
            totals.error("successful", "is 0: no request came to its end, so there is nothing to import")
        );
    }
    let lost = ["errored", "incomplete"].map(|name| totals.count(name));
    let [errored, incomplete] = lost;
    let config = at.need("config", at.inner("config")?)?;
    let strategy = config.inner("strategy")?;
    let streams = match &strategy {
        Some(strategy) => strategy.small_count("streams")?.or(strategy.small_count("max_concurrency")?),
        None => None,
    };
    let kind = match &strategy {
        Some(strategy) => strategy.text("type_")?.unwrap_or_default(),
        None => "",
    };
    let backend = config.inner("backend")?;
    let model = match &backend {
        Some(backend) => backend.text("model")?,
        None => None,
    };

    let input = mean_of(&metrics, "prompt_token_count")?.unwrap_or(0.0);
    let output = mean_of(&metrics, "output_token_count")?.unwrap_or(0.0);
    let concurrency = if kind == "synchronous" { 1 } else { streams.unwrap_or(0) };
    let cell = serving_cell(input, output, concurrency);
    let requests = at.inner("requests")?;
    let requests = requests.as_ref();
    let mut measurements = Vec::new();
    for (field, metric) in RATES {
        let rate = mean_of(&metrics, field)?.filter(|rate| *rate > 0.0);
        measurements.extend(rate.map(|rate| metric.single(&cell, rate)));
    }
    let rate = mean_of(&metrics, "requests_per_second")?.filter(|rate| *rate > 0.0);
    measurements.extend(rate.map(|rate| REQUESTS.single(&cell, rate)));
    if let Some(goodput) = metrics.get("request_goodput").and_then(|node| metrics.number(node)) {
        measurements.push(GOODPUT.single(&cell, goodput.max(0.0)));
    }
    measurements.extend(at.positive("duration")?.map(|seconds| DURATION.single(&cell, seconds)));
    for (metric, field, value) in
        [(INPUT_LENGTH, "prompt_tokens", input), (OUTPUT_LENGTH, "output_tokens", output)]
    {
        measurements.push(metric.sampled(&cell, value, "tokens per request", samples(requests, field, 1.0)?));
    }
    for (block, field, unit, metric) in TIMES {
        measurements.extend(time(&metrics, block, samples(requests, field, unit)?, unit, metric, &cell)?);
    }
    let start = at.amount("start_time")?;
    Ok(Foreign {
        tool: "guidellm",
        #[allow(clippy::cast_possible_truncation, reason = "microseconds of a time, saturating")]
        measured: start.and_then(|seconds| jiff::Timestamp::from_microsecond((seconds * 1e6) as i64).ok()),
        model: ForeignModel { name: model.map(str::to_owned), ..ForeignModel::default() },
        workload: ForeignWorkload {
            kind: "serving",
            rows: vec![serving_row(&cell, kind)],
            ..ForeignWorkload::default()
        },
        completed: Some(completed),
        failed: errored?.zip(incomplete?).and_then(|(errored, incomplete)| errored.checked_add(incomplete)),
        measurements,
        ..Foreign::default()
    })
}

/// The successful requests' block of a metric; an older report has no outcomes.
fn successful<'a>(metrics: &At<'a>, name: &str) -> Result<Option<At<'a>>, Error> {
    let Some(block) = metrics.inner(name)? else { return Ok(None) };
    Ok(block.inner("successful")?.or(block.get("mean").is_some().then_some(block)))
}

fn mean_of(metrics: &At<'_>, name: &str) -> Result<Option<f64>, Error> {
    successful(metrics, name)?.map_or(Ok(None), |block| block.amount("mean"))
}

/// What the requests that came to their end have under a name, when the report has them.
fn samples(requests: Option<&At<'_>>, field: &str, unit: f64) -> Result<Vec<f64>, Error> {
    let column = requests.map_or(Ok(Vec::new()), |requests| requests.column("successful", field))?;
    Ok(column.into_iter().map(|value| value * unit).collect())
}

fn time(
    metrics: &At<'_>,
    block: &str,
    samples: Vec<f64>,
    unit: f64,
    metric: Metric,
    cell: &Result<Cell, String>,
) -> Result<Option<Measurement>, Error> {
    let Some(block) = successful(metrics, block)? else { return Ok(None) };
    let Some(mean) = block.amount("mean")? else { return Ok(None) };
    let mut found = metric.sampled(cell, mean * unit, "seconds", samples);
    let percentiles = block.inner("percentiles")?;
    for (at, name) in [(Some(&block), "median"), (Some(&block), "std_dev")]
        .into_iter()
        .chain(["p90", "p95", "p99"].map(|name| (percentiles.as_ref(), name)))
    {
        let value = at.map_or(Ok(None), |at| match at.get(name) {
            Some(Node::Number(_)) => at.amount(name),
            _ => Ok(None),
        })?;
        if let Some(value) = value {
            found.unknown.insert(name.to_owned(), (value * unit).into());
        }
    }
    Ok(Some(found))
}
