//! `vllm bench throughput` and `vllm bench latency`, both in-process without a server.
//!
//! Neither records the lengths of its requests, so its figures have no cell and cannot be priced by input and output. The
//! throughput file counts prompt and output tokens together, so all of them together have a price.

use std::path::Path;

use crate::record::{Cell, Metric, Unknown};

use super::Error;
use super::cells;
use super::dates::{self, When};
use super::fields::At;
use super::foreign::{Foreign, ForeignEngine, ForeignModel, ForeignWorkload, Formula, Kept, mean};
use super::json::Node;
use super::left_out::DEAD;
use super::rows::Rows;
use super::served;

const TOTAL: Formula = Formula::of_run(Metric::TotalTokensPerSecond, "vllm.throughput.tokens_per_second");
const REQUESTS: Formula = Formula::of_run(Metric::RequestsPerSecond, "vllm.throughput.requests_per_second");
const DURATION: Formula = Formula::of_run(Metric::DurationSeconds, "vllm.throughput.elapsed_time");
const LATENCY: Formula = Formula::new(
    Metric::EndToEndLatencySeconds,
    "vllm.latency.avg_latency",
    "mean of the iterations' seconds; t interval of the log",
);

/// The records in the rows of `vllm bench throughput`.
pub(super) fn throughput(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    cells::separate(path, rows, |at| {
        let seconds = at.needed("elapsed_time")?;
        let requests = at.required("num_requests", at.count("num_requests")?)?;
        let tokens = at.needed("total_num_tokens")?;
        let mut notes = Vec::new();
        let mut rate =
            |field: &str, computed: f64, of: &str| served::rate(at, field, computed, of, &mut notes);
        let token_rate = rate("tokens_per_second", tokens / seconds, "total_num_tokens ÷ elapsed_time")?;
        let request_rate =
            rate("requests_per_second", requests as f64 / seconds, "num_requests ÷ elapsed_time")?;
        let cell = no_cell("vllm bench throughput");
        let mut found = offline(at, "vllm bench throughput", "serving", "lengths unknown, all at once")?;
        found.completed = Some(requests);
        found.notes.extend(notes);
        found.measurements = vec![
            TOTAL.single(&cell, token_rate),
            REQUESTS.single(&cell, request_rate),
            DURATION.single(&cell, seconds),
        ];
        Ok(found)
    })
}

/// The records in the rows of `vllm bench latency`.
pub(super) fn latency(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    cells::separate(path, rows, |at| {
        let samples = at.list("latencies")?.unwrap_or_default();
        if let Some(index) = samples.iter().position(|seconds| *seconds == 0.0) {
            let field = format!("latencies[{index}]");
            return Err(at.no_cell(DEAD, &field, "is 0, but no iteration takes zero time"));
        }
        let seconds = match mean(&samples) {
            Some(mean) => mean,
            None => at.needed("avg_latency")?,
        };
        let cell = no_cell("vllm bench latency");
        let mut measured = LATENCY.time_of_trials(&cell, seconds, samples.into_owned());
        measured.unknown = percentiles(at)?;
        let mut found = offline(at, "vllm bench latency", "shapes", "batch and lengths unknown")?;
        found.measurements = vec![measured];
        Ok(found)
    })
}

fn offline(at: &At<'_>, tool: &'static str, kind: &'static str, row: &str) -> Result<Foreign, Error> {
    let mut kept = Kept::default();
    kept.row(at.fields());
    let measured = dates::date(at, &["date", "timestamp"])?;
    Ok(Foreign {
        tool,
        measured: measured.map(|when| when.time),
        notes: measured.and_then(When::note).into_iter().collect(),
        model: ForeignModel { name: at.text("model_id")?.map(str::to_owned), ..ForeignModel::default() },
        engine: ForeignEngine { name: Some("vllm".to_owned()), ..ForeignEngine::default() },
        workload: ForeignWorkload { kind, rows: vec![row.to_owned()], ..ForeignWorkload::default() },
        kept,
        ..Foreign::default()
    })
}

fn no_cell(tool: &str) -> Result<Cell, String> {
    Err(format!("{tool} does not record the lengths of its prompts and outputs"))
}

/// `{"10": 1.9, "50": 2.0}` as `p10` and `p50`.
fn percentiles(at: &At<'_>) -> Result<Unknown, Error> {
    let mut found = Unknown::new();
    if let Some(inner) = at.inner("percentiles")? {
        for (name, _) in inner.fields().iter().take(20).filter(|(_, node)| matches!(node, Node::Number(_))) {
            if let (Ok(percent), Some(seconds)) = (name.parse::<u8>(), inner.optional_figure(name)?) {
                found.insert(format!("p{percent}"), seconds.into());
            }
        }
    }
    Ok(found)
}
