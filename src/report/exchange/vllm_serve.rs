//! `vllm bench serve --save-result`: one object per run, with per-request figures if `--save-detailed` is given.
//!
//! The client works with any OpenAI-compatible server, and `backend` is the interface: the engine is unknown.

use std::path::Path;

use super::Error;
use super::cells;
use super::dates::{self, When};
use super::fields::At;
use super::foreign::{Foreign, ForeignModel, ForeignWorkload, Formula, Kept, serving_row};
use super::json::Node;
use super::rows::Rows;
use super::served::{self, Formulas, Samples};
use crate::record::Metric;

const FORMULAS: Formulas = Formulas {
    input: Formula::of_run(Metric::InputTokensPerSecond, "vllm.serve.input_throughput"),
    output: Formula::of_run(Metric::OutputTokensPerSecond, "vllm.serve.output_throughput"),
    total: Formula::of_run(Metric::TotalTokensPerSecond, "vllm.serve.total_token_throughput"),
    requests: Formula::of_run(Metric::RequestsPerSecond, "vllm.serve.request_throughput"),
    duration: Formula::of_run(Metric::DurationSeconds, "vllm.serve.duration"),
    input_length: Formula::of_requests(Metric::RequestInputTokens, "vllm.serve.input_lens"),
    output_length: Formula::of_requests(Metric::RequestOutputTokens, "vllm.serve.output_lens"),
    times: &[
        (
            &["ttft"],
            Some(Samples::List("ttfts")),
            Formula::of_requests(Metric::TimeToFirstTokenSeconds, "vllm.serve.ttft"),
        ),
        (&["tpot"], None, Formula::of_requests(Metric::TimePerOutputTokenSeconds, "vllm.serve.tpot")),
        (
            &["itl"],
            Some(Samples::Lists("itls")),
            Formula::of_requests(Metric::InterTokenLatencySeconds, "vllm.serve.itl"),
        ),
        (
            &["e2el"],
            Some(Samples::List("latencies")),
            Formula::of_requests(Metric::EndToEndLatencySeconds, "vllm.serve.e2el"),
        ),
    ],
    total_field: "total_token_throughput",
};
const GOODPUT: Formula = Formula::of_run(Metric::GoodputRequestsPerSecond, "vllm.serve.request_goodput");

/// The records in these rows.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    cells::records(path, rows, |at| {
        let mut run = served::read(at, &FORMULAS)?;
        if let Some(goodput) = at.optional_figure("request_goodput")? {
            run.measurements.push(GOODPUT.single(&run.cell, goodput));
        }
        let model = at.text("model_id")?;
        let backend = at.text("backend")?.or(at.text("endpoint_type")?);
        let label = at.text("label")?;
        let measured = dates::date(at, &["date", "timestamp", "start_time"])?;
        let asked = request_rate(at)?;
        let mut kept = Kept::default();
        kept.row(at.fields());
        let found = Foreign {
            tool: "vllm bench serve",
            notes: measured.and_then(When::note).into_iter().chain(run.notes).collect(),
            measured: measured.map(|when| when.time),
            model: ForeignModel { name: model.map(str::to_owned), ..ForeignModel::default() },
            workload: ForeignWorkload {
                kind: "serving",
                rows: vec![serving_row(&run.cell, &asked)],
                ..ForeignWorkload::default()
            },
            completed: Some(run.completed),
            failed: failed(at, run.completed)?,
            measurements: run.measurements,
            kept,
            ..Foreign::default()
        };
        Ok((format!("{model:?} {backend:?} {label:?}"), found))
    })
}

/// Failed requests: as stated, or the requested ones that did not complete.
pub(super) fn failed(at: &At<'_>, completed: u64) -> Result<Option<u64>, Error> {
    Ok(match at.count("failed")? {
        Some(failed) => Some(failed),
        None => at.count("num_prompts")?.and_then(|asked| asked.checked_sub(completed)),
    })
}

/// `at 4/s`, if the client used a rate; empty if it sent all at once.
pub(super) fn request_rate(at: &At<'_>) -> Result<String, Error> {
    Ok(match at.get("request_rate") {
        Some(Node::Number(_)) => {
            let rate = at.figure("request_rate")?.and_then(|figure| figure.value());
            rate.map_or(String::new(), |rate| format!("at {rate}/s"))
        }
        // `inf`, and SGLang's `trace`.
        Some(Node::Text(word)) if super::json::not_finite(&Node::Text(word.clone())).is_none() => {
            format!("at {}", super::json::shown(word))
        }
        _ => String::new(),
    })
}
