//! InferenceX's (formerly InferenceMAX's) aggregated rows: throughput per GPU by lengths and concurrency.
//!
//! Rows of one deployment become one record, so that several mixes are shown side by side. Rows of disaggregated
//! deployments are skipped and counted, since their per-GPU figures refer to different GPUs for input and output; so are
//! agentic traces, whose requests have no common length, evaluations, and dead runs.

use std::path::Path;

use crate::record::{Cell, Metric, Phase};

use super::cells;
use super::dates::{self, When};
use super::fields::At;
use super::foreign::{
    Foreign, ForeignEngine, ForeignModel, ForeignWorkload, Formula, Kept, no_second_token, serving_row,
};
use super::json::{Node, shown};
use super::left_out::{DEAD, NoCell};
use super::rows::Rows;
use super::{Error, power};

const INPUT: Formula = Formula::of_run(Metric::InputTokensPerSecond, "inferencex.input_tput_per_gpu");
const OUTPUT: Formula = Formula::of_run(Metric::OutputTokensPerSecond, "inferencex.output_tput_per_gpu");
const TOTAL: Formula = Formula::of_run(Metric::TotalTokensPerSecond, "inferencex.tput_per_gpu");
const TIMES: [(&str, Formula); 4] = [
    ("ttft", Formula::of_requests(Metric::TimeToFirstTokenSeconds, "inferencex.ttft")),
    ("tpot", Formula::of_requests(Metric::TimePerOutputTokenSeconds, "inferencex.tpot")),
    ("itl", Formula::of_requests(Metric::InterTokenLatencySeconds, "inferencex.itl")),
    ("e2el", Formula::of_requests(Metric::EndToEndLatencySeconds, "inferencex.e2el")),
];
/// Fields that identify a deployment; rows that agree in them become one record.
const DEPLOYMENT: [&str; 14] = [
    "hw",
    "model",
    "framework",
    "precision",
    "spec_decoding",
    "mtp",
    "image",
    "tp",
    "pp",
    "ep",
    "dp_attention",
    "dcp_size",
    "pcp_size",
    "router",
];

/// Sizes whose product is the number of GPUs. Expert, data-attention and decode-context parallelism distribute work among
/// these GPUs and add none.
const PARALLEL: [&str; 3] = ["tp", "pp", "pcp_size"];
/// A deployment without a known number of GPUs.
const NO_GPU: &str = "without a number of GPUs";

/// The records in these rows.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    cells::records(path, rows, |at| {
        other_kind(at)?;
        let deployment: Vec<_> =
            at.fields().iter().filter(|(name, _)| DEPLOYMENT.contains(&&**name)).collect();
        Ok((format!("{deployment:?}"), one(at)?))
    })
}

/// Skips anything that is not a run of fixed lengths on one set of GPUs.
fn other_kind(at: &At<'_>) -> Result<(), NoCell> {
    const APART: &str = "of disaggregated deployments";
    for field in ["disagg", "is_multinode"] {
        if is_true(at, field) {
            let reason = "is true; per-GPU figures then refer to different GPUs for input and output";
            return Err(at.no_cell(APART, field, reason));
        }
    }
    let scenario = ["scenario_type", "benchmark_type"];
    for field in scenario {
        if let Some(Node::Text(kind)) = at.get(field)
            && kind.to_ascii_lowercase().contains("agentic")
        {
            let reason = format!("is `{}`; its requests have no common length", shown(kind));
            return Err(at.no_cell("of agentic traces", field, reason));
        }
    }
    let no_rate = at.get("tput_per_gpu").is_none();
    if no_rate && at.get("request_metrics").is_some() {
        return Err(at.no_cell("of agentic traces", "request_metrics", "has the figures of a trace"));
    }
    if no_rate && at.get("task").is_some() {
        return Err(at.no_cell("of evaluations", "task", "names an evaluation, which has no speed"));
    }
    if at.get("num_requests_successful").and_then(|node| at.number(node)) == Some(0.0) {
        return Err(at.no_cell(DEAD, "num_requests_successful", "is 0; no request completed"));
    }
    for field in ["isl", "osl"] {
        match at.get(field) {
            None => {
                return Err(at.no_cell("without lengths", field, "is missing, so the row has no cell"));
            }
            Some(node) if at.number(node) == Some(0.0) => {
                return Err(at.no_cell(
                    "without lengths",
                    field,
                    "is 0, but every request has a prompt and output",
                ));
            }
            _ => {}
        }
    }
    for field in PARALLEL {
        if at.get(field).and_then(|node| at.number(node)) == Some(0.0) {
            return Err(at.no_cell(NO_GPU, field, "is 0, so the number of GPUs is unknown"));
        }
    }
    Ok(())
}

/// `true`, or the text `"true"`.
fn is_true(at: &At<'_>, field: &str) -> bool {
    match at.get(field) {
        Some(Node::Bool(truth)) => *truth,
        Some(Node::Text(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn one(at: &At<'_>) -> Result<Foreign, NoCell> {
    let mut gpus = 1_u64;
    for field in PARALLEL {
        gpus = gpus.saturating_mul(u64::from(at.small_count(field)?.unwrap_or(1)));
    }
    if gpus > 4096 {
        let reason = format!("and `pp` make {gpus} GPUs, more than any deployment has");
        return Err(at.error("tp", reason).into());
    }
    let cell = Cell {
        prompt_tokens: at.required("isl", at.small_count("isl")?)?,
        output_tokens: at.required("osl", at.small_count("osl")?)?,
        batch: at.small_count("conc")?.unwrap_or(0),
        depth: 0,
        phase: Phase::Serving,
        requests_per_second: None,
    };
    let output_tokens = f64::from(cell.output_tokens);
    let cell = Ok(cell);
    let all = |field: &str| -> Result<Option<f64>, Error> {
        Ok(at.figure(field)?.and_then(|figure| figure.value()).map(|rate| rate * gpus as f64))
    };
    let total = at.needed("tput_per_gpu")? * gpus as f64;
    let output = all("output_tput_per_gpu")?;
    let input = all("input_tput_per_gpu")?.or(output.map(|output| total - output)).filter(|rate| *rate > 0.0);
    let mut measurements = vec![TOTAL.single(&cell, total)];
    measurements.extend(output.map(|rate| OUTPUT.single(&cell, rate)));
    measurements.extend(input.map(|rate| INPUT.single(&cell, rate)));
    for (word, metric) in TIMES {
        let why = no_second_token(output_tokens).filter(|_| ["tpot", "itl"].contains(&word));
        let Some(mean) = at.figure(&format!("mean_{word}"))? else { continue };
        let mut found = metric.figure(&cell, mean.because(why));
        for name in ["median", "p90", "p99", "std"] {
            if let Some(value) = at.optional_figure(&format!("{name}_{word}"))?
                && found.value.is_some()
            {
                found.unknown.insert(name.to_owned(), value.into());
            }
        }
        measurements.push(found);
    }
    let text = |field: &str| at.text(field).map(|text| text.map(str::to_owned));
    // `b200-trt`, `mi355x-amd_3`, `h200-nb`: the GPU, then the runner.
    let hardware = at.text("hw")?.and_then(|name| name.split(['-', '_']).next());
    let power = power::read(at, &cell, gpus, output)?;
    measurements.extend(power.measurements);
    let measured = dates::date(at, &["date", "timestamp"])?;
    let mut kept = Kept::default();
    kept.row(at.fields());
    Ok(Foreign {
        tool: "inferencex",
        measured: measured.map(|when| when.time),
        notes: measured.and_then(When::note).into_iter().chain(power.note).collect(),
        model: ForeignModel {
            name: text("model")?,
            quantization: text("precision")?,
            ..ForeignModel::default()
        },
        engine: ForeignEngine { name: text("framework")?, ..ForeignEngine::default() },
        gpu_count: at.get("tp").and_then(|_| usize::try_from(gpus).ok()),
        gpus: hardware.map_or(Vec::new(), |name| vec![name.to_owned(); usize::try_from(gpus).unwrap_or(1)]),
        workload: ForeignWorkload {
            kind: "serving",
            rows: vec![serving_row(&cell, "")],
            tokens: Some("random; lengths as requested".to_owned()),
            ..ForeignWorkload::default()
        },
        measurements,
        energy: power.window.into_iter().collect(),
        kept,
        ..Foreign::default()
    })
}
