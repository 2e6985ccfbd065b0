//! guidellm's JSON report: one benchmark per strategy of the run, all of one model on one server.
//!
//! Of its figures by outcome, those of successful requests are used. Its TPOT includes the time to the first token, so it is
//! imported under a separate name; its ITL is what vLLM calls TPOT, and is imported as such.

use std::path::Path;

use crate::record::{Cell, Measurement, Metric};

use super::Error;
use super::cells::RowFilter;
use super::dates::{self, When};
use super::fields::At;
use super::foreign::{
    Foreign, ForeignModel, ForeignWorkload, Formula, Kept, merge, no_second_token, serving_cell, serving_row,
};
use super::json::Node;
use super::left_out::{DEAD, NoCell};
use super::rows::Rows;
use super::unmeasured::Figure;

const RATES: [(&str, Formula); 3] = [
    (
        "prompt_tokens_per_second",
        Formula::of_run(Metric::InputTokensPerSecond, "guidellm.prompt_tokens_per_second"),
    ),
    (
        "output_tokens_per_second",
        Formula::of_run(Metric::OutputTokensPerSecond, "guidellm.output_tokens_per_second"),
    ),
    ("tokens_per_second", Formula::of_run(Metric::TotalTokensPerSecond, "guidellm.tokens_per_second")),
];
const REQUESTS: Formula = Formula::of_run(Metric::RequestsPerSecond, "guidellm.requests_per_second");
const GOODPUT: Formula = Formula::of_run(Metric::GoodputRequestsPerSecond, "guidellm.request_goodput");
const DURATION: Formula = Formula::of_run(Metric::DurationSeconds, "guidellm.duration");
const INPUT_LENGTH: Formula = Formula::of_requests(Metric::RequestInputTokens, "guidellm.prompt_token_count");
const OUTPUT_LENGTH: Formula =
    Formula::of_requests(Metric::RequestOutputTokens, "guidellm.output_token_count");
/// The block, a request's own field, its unit in seconds, and the metric.
const TIMES: [(&str, &str, f64, Formula); 4] = [
    (
        "time_to_first_token_ms",
        "time_to_first_token_ms",
        1e-3,
        Formula::of_requests(Metric::TimeToFirstTokenSeconds, "guidellm.time_to_first_token"),
    ),
    (
        "inter_token_latency_ms",
        "inter_token_latency_ms",
        1e-3,
        Formula::of_requests(Metric::TimePerOutputTokenSeconds, "guidellm.inter_token_latency"),
    ),
    (
        "time_per_output_token_ms",
        "time_per_output_token_ms",
        1e-3,
        Formula::of_requests(Metric::LatencyPerOutputTokenSeconds, "guidellm.time_per_output_token"),
    ),
    (
        "request_latency",
        "request_latency",
        1.0,
        Formula::of_requests(Metric::EndToEndLatencySeconds, "guidellm.request_latency"),
    ),
];

/// Why an old report's TPOT is skipped: its formula matches no other tool's, nor guidellm's later one.
const OLD_TPOT: &str = "left out: TPOT, which guidellm before 0.4 computed as the time after the first token ÷ all tokens; its ITL divides by one token less";

/// What all benchmarks of a report have in common.
struct Report<'a> {
    at: At<'a>,
    version: Option<&'a str>,
    seed: Option<u64>,
    model: Option<&'a str>,
}

/// The records in a report.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    let mut filter = RowFilter::default();
    let mut found = Vec::new();
    for row in rows {
        let row = row?;
        let at = At::new(path, &row);
        let benchmarks = at.objects("benchmarks")?;
        if benchmarks.is_empty() {
            return Err(at.error("benchmarks", "is empty; nothing was measured"));
        }
        let report = report(at)?;
        for benchmark in benchmarks {
            found.extend(filter.object(&benchmark, |benchmark| one(benchmark, &report)));
        }
    }
    let groups = merge(path, found.into_iter())?;
    filter.done(path, groups)
}

fn one(benchmark: &At<'_>, report: &Report<'_>) -> Result<(String, Foreign), NoCell> {
    let shared = report.at.fields().iter().filter(|(name, _)| !matches!(&**name, "benchmarks"));
    let mut kept = Kept::of(shared);
    let short = benchmark.fields().iter();
    kept.row(short.filter(|(name, _)| !matches!(&**name, "requests" | "request_samples" | "metrics")));
    let mut one = self::benchmark(benchmark)?;
    one.kept = kept;
    one.model.name = one.model.name.or_else(|| report.model.map(str::to_owned));
    one.tool_version = report.version.map(str::to_owned);
    one.seed = report.seed;
    Ok((format!("{:?} {:?}", one.model.name, report.version), one))
}

/// Since 0.5 a report has `metadata`, and before it `args`; 0.3 and older have neither.
fn report(at: At<'_>) -> Result<Report<'_>, Error> {
    let version = at.inner("metadata")?.map_or(Ok(None), |metadata| metadata.text("guidellm_version"))?;
    let spec = at.inner("config")?.map_or(Ok(None), |config| config.inner("spec"))?;
    let args = at.inner("args")?;
    let seed = match (&spec, &args) {
        (Some(spec), _) => spec.inner("seed")?.map_or(Ok(None), |seed| seed.count("value"))?,
        (None, Some(args)) => args.count("random_seed")?,
        (None, None) => None,
    };
    let model = match args.as_ref().map(|args| args.get("model")) {
        Some(Some(Node::Text(model))) => Some(&**model),
        _ => None,
    };
    Ok(Report { at, version, seed, model })
}

fn benchmark(at: &At<'_>) -> Result<Foreign, NoCell> {
    let Some(metrics) = at.inner("metrics")? else {
        return Err(at.no_cell(DEAD, "metrics", "is missing; nothing was measured"));
    };
    // 0.3 and older have the totals next to the metrics.
    let totals = match metrics.inner("request_totals")? {
        Some(totals) => totals,
        None => metrics.required("request_totals", at.inner("request_totals")?)?,
    };
    let completed = totals.required("successful", totals.count("successful")?)?;
    if completed == 0 {
        let reason = "is 0: no request completed, so there is nothing to import";
        return Err(totals.no_cell(DEAD, "successful", reason));
    }
    let [errored, incomplete] = ["errored", "incomplete"].map(|name| totals.count(name));
    // `config` since 0.4, `args` before, with the server under `worker`.
    let config = match at.inner("config")? {
        Some(config) => Some(config),
        None => at.inner("args")?,
    };
    let strategy = config.as_ref().map_or(Ok(None), |config| config.inner("strategy"))?;
    let streams = match &strategy {
        Some(strategy) => strategy.small_count("streams")?.or(strategy.small_count("max_concurrency")?),
        None => None,
    };
    let kind = strategy.as_ref().map_or(Ok(None), |strategy| strategy.text("type_"))?.unwrap_or_default();
    let backend = config.as_ref().map_or(Ok(None), |config| match config.get("backend") {
        Some(Node::Object(_)) => config.inner("backend"),
        _ => Ok(None),
    })?;
    let model = match (&backend, at.inner("worker")?) {
        (Some(backend), _) => backend.text("model")?,
        (None, Some(worker)) => worker.text("backend_model")?,
        (None, None) => None,
    };

    let mean = |name: &str| -> Result<Option<f64>, Error> {
        Ok(mean_of(&metrics, name)?.and_then(|figure| figure.value()))
    };
    let input = mean("prompt_token_count")?.unwrap_or(0.0);
    let output = mean("output_token_count")?.unwrap_or(0.0);
    let concurrency = if kind == "synchronous" { 1 } else { streams.unwrap_or(0) };
    let cell = serving_cell(input, output, concurrency);
    let requests = at.inner("requests")?;
    let requests = requests.as_ref();
    let mut measurements = Vec::new();
    for (field, metric) in RATES {
        let rate = mean_of(&metrics, field)?;
        measurements.extend(rate.map(|rate| metric.figure(&cell, rate)));
    }
    let rate = mean_of(&metrics, "requests_per_second")?;
    measurements.extend(rate.map(|rate| REQUESTS.figure(&cell, rate)));
    if let Some(goodput) = metrics.get("request_goodput").and_then(|node| metrics.number(node))
        && goodput.is_finite()
    {
        measurements.push(GOODPUT.single(&cell, goodput.max(0.0)));
    }
    let seconds = match at.figure("duration")? {
        Some(figure) => Some(figure),
        None => span(at)?.map(Figure::Value),
    };
    measurements.extend(seconds.map(|seconds| DURATION.figure(&cell, seconds)));
    for (metric, field, value) in
        [(INPUT_LENGTH, "prompt_tokens", input), (OUTPUT_LENGTH, "output_tokens", output)]
    {
        measurements.push(metric.sampled(&cell, value, "tokens per request", samples(requests, field, 1.0)?));
    }
    let before_0_4 = at.get("run_stats").is_some() && at.get("worker").is_some();
    for (block, field, unit, formula) in TIMES {
        if before_0_4 && block == "time_per_output_token_ms" {
            continue;
        }
        let why = no_second_token(output).filter(|_| block == "inter_token_latency_ms");
        let samples = samples(requests, field, unit)?;
        measurements.extend(time(&metrics, block, samples, unit, &formula, &cell, why)?);
    }
    let stats = ["run_stats", "scheduler_metrics"].map(|name| at.inner(name));
    let mut measured = dates::date(at, &["start_time"])?;
    for stats in stats {
        if let (None, Some(stats)) = (measured, stats?) {
            measured = dates::date(&stats, &["start_time"])?;
        }
    }
    Ok(Foreign {
        tool: "guidellm",
        measured: measured.map(|when| when.time),
        notes: measured
            .and_then(When::note)
            .into_iter()
            .chain(before_0_4.then(|| OLD_TPOT.to_owned()))
            .collect(),
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

/// From the first start to the last end, if a report has no duration.
fn span(at: &At<'_>) -> Result<Option<f64>, Error> {
    let (start, end) = (at.optional_figure("start_time")?, at.optional_figure("end_time")?);
    Ok(start.zip(end).map(|(start, end)| end - start).filter(|seconds| *seconds > 0.0))
}

/// A metric's block for successful requests; older reports do not separate outcomes.
fn successful<'a>(metrics: &At<'a>, name: &str) -> Result<Option<At<'a>>, Error> {
    let Some(block) = metrics.inner(name)? else { return Ok(None) };
    Ok(block.inner("successful")?.or(block.get("mean").is_some().then_some(block)))
}

fn mean_of(metrics: &At<'_>, name: &str) -> Result<Option<Figure>, Error> {
    successful(metrics, name)?.map_or(Ok(None), |block| block.figure("mean"))
}

/// The values of completed requests, if the report has them; 0 means not measured.
fn samples(requests: Option<&At<'_>>, field: &str, unit: f64) -> Result<Vec<f64>, Error> {
    let column = requests.map_or(Ok(Vec::new()), |requests| requests.column("successful", field))?;
    Ok(column.into_iter().filter(|value| *value > 0.0).map(|value| value * unit).collect())
}

fn time(
    metrics: &At<'_>,
    block: &str,
    samples: Vec<f64>,
    unit: f64,
    formula: &Formula,
    cell: &Result<Cell, String>,
    why: Option<&str>,
) -> Result<Option<Measurement>, Error> {
    let Some(block) = successful(metrics, block)? else { return Ok(None) };
    let Some(figure) = block.figure("mean")? else { return Ok(None) };
    let mut found = match figure.map(|mean| mean * unit).because(why) {
        Figure::Value(mean) => formula.sampled(cell, mean, "seconds", samples),
        unmeasured @ Figure::Unmeasured(_) => return Ok(Some(formula.figure(cell, unmeasured))),
    };
    let percentiles = block.inner("percentiles")?;
    for (at, name) in [(Some(&block), "median"), (Some(&block), "std_dev")]
        .into_iter()
        .chain(["p90", "p95", "p99"].map(|name| (percentiles.as_ref(), name)))
    {
        if let Some(value) = at.map_or(Ok(None), |at| at.optional_figure(name))? {
            found.unknown.insert(name.to_owned(), (value * unit).into());
        }
    }
    Ok(Some(found))
}
