//! `vllm bench serve --save-result`: one object a run, with `--save-detailed` each request's figures in it.
//!
//! The client speaks to any server with OpenAI's interface, and `backend` is the interface: the engine stays unknown.

use std::path::Path;

use super::Error;
use super::fields::{At, Row};
use super::foreign::{Foreign, ForeignModel, ForeignWorkload, Kept, Metric, merge, serving_row};
use super::json::Node;
use super::rows::Rows;
use super::served::{self, Formulas, Samples};

const FORMULAS: Formulas = Formulas {
    input: Metric::rate("input_tokens_per_second", "vllm.serve.input_throughput"),
    output: Metric::rate("output_tokens_per_second", "vllm.serve.output_throughput"),
    total: Metric::rate("total_tokens_per_second", "vllm.serve.total_token_throughput"),
    requests: Metric::requests("requests_per_second", "vllm.serve.request_throughput"),
    duration: Metric::duration("vllm.serve.duration"),
    input_length: Metric::tokens("request_input_tokens", "vllm.serve.input_lens"),
    output_length: Metric::tokens("request_output_tokens", "vllm.serve.output_lens"),
    times: &[
        (
            "ttft",
            Some(Samples::List("ttfts")),
            Metric::time("time_to_first_token_seconds", "vllm.serve.ttft"),
        ),
        ("tpot", None, Metric::time("time_per_output_token_seconds", "vllm.serve.tpot")),
        ("itl", Some(Samples::Lists("itls")), Metric::time("inter_token_latency_seconds", "vllm.serve.itl")),
        (
            "e2el",
            Some(Samples::List("latencies")),
            Metric::time("end_to_end_latency_seconds", "vllm.serve.e2el"),
        ),
    ],
    total_field: "total_token_throughput",
};
const GOODPUT: Metric = Metric::requests("goodput_requests_per_second", "vllm.serve.request_goodput");

/// The records in these rows.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    let one = |row: Result<Row, Error>| {
        let row = row?;
        let at = At::new(path, &row);
        let mut run = served::read(&at, &FORMULAS)?;
        if let Some(goodput) = at.amount("request_goodput")? {
            run.measurements.push(GOODPUT.single(&run.cell, goodput));
        }
        let model = at.text("model_id")?;
        let backend = at.text("backend")?.or(at.text("endpoint_type")?);
        let label = at.text("label")?;
        let date = |text: &str| {
            let reason = || format!("is `{}`, not a time such as 20261124-013502", super::json::shown(text));
            local_date(text).ok_or_else(|| at.error("date", reason()))
        };
        let measured = at.text("date")?.map(date).transpose()?;
        let asked = request_rate(&at)?;
        let mut kept = Kept::default();
        kept.row(at.fields());
        let found = Foreign {
            tool: "vllm bench serve",
            notes: measured
                .map(|_| "its date names no time zone and is taken as UTC".to_owned())
                .into_iter()
                .collect(),
            measured,
            model: ForeignModel { name: model.map(str::to_owned), ..ForeignModel::default() },
            workload: ForeignWorkload {
                kind: "serving",
                rows: vec![serving_row(&run.cell, &asked)],
                ..ForeignWorkload::default()
            },
            completed: Some(run.completed),
            failed: failed(&at, run.completed)?,
            measurements: run.measurements,
            kept,
            ..Foreign::default()
        };
        Ok((format!("{model:?} {backend:?} {label:?}"), found))
    };
    merge(path, rows.map(one))
}

/// Requests that failed: said, or those that were asked for and did not come to their end.
pub(super) fn failed(at: &At<'_>, completed: u64) -> Result<Option<u64>, Error> {
    Ok(match at.count("failed")? {
        Some(failed) => Some(failed),
        None => at.count("num_prompts")?.and_then(|asked| asked.checked_sub(completed)),
    })
}

/// `at 4/s`, where the client held a rate; nothing where it sent all at once.
pub(super) fn request_rate(at: &At<'_>) -> Result<String, Error> {
    Ok(match at.get("request_rate") {
        Some(Node::Number(_)) => {
            at.positive("request_rate")?.map_or(String::new(), |rate| format!("at {rate}/s"))
        }
        // `inf`, and SGLang's `trace`.
        Some(Node::Text(word)) if !["inf", "Infinity"].contains(&&**word) => {
            format!("at {}", super::json::shown(word))
        }
        _ => String::new(),
    })
}

/// `20261124-013502`, in a time zone that the file does not name: taken as UTC, half a day off at most.
fn local_date(text: &str) -> Option<jiff::Timestamp> {
    let date = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", text).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}
