//! `sglang.bench_serving --output-file`: one line per run, with per-request figures if `--output-details` is given.

use std::path::Path;

use crate::base::text;
use crate::record::Metric;

use super::Error;
use super::cells;
use super::dates::{self, When};
use super::fields::At;
use super::foreign::{Foreign, ForeignEngine, ForeignModel, ForeignWorkload, Formula, Kept, serving_row};
use super::rows::Rows;
use super::served::{self, Formulas, Samples};
use super::vllm_serve::{failed, request_rate};

const FORMULAS: Formulas = Formulas {
    input: Formula::of_run(Metric::InputTokensPerSecond, "sglang.serving.input_throughput"),
    output: Formula::of_run(Metric::OutputTokensPerSecond, "sglang.serving.output_throughput"),
    total: Formula::of_run(Metric::TotalTokensPerSecond, "sglang.serving.total_throughput"),
    requests: Formula::of_run(Metric::RequestsPerSecond, "sglang.serving.request_throughput"),
    duration: Formula::of_run(Metric::DurationSeconds, "sglang.serving.duration"),
    input_length: Formula::of_requests(Metric::RequestInputTokens, "sglang.serving.input_lens"),
    output_length: Formula::of_requests(Metric::RequestOutputTokens, "sglang.serving.output_lens"),
    times: &[
        (
            &["ttft"],
            Some(Samples::List("ttfts")),
            Formula::of_requests(Metric::TimeToFirstTokenSeconds, "sglang.serving.ttft"),
        ),
        (&["tpot"], None, Formula::of_requests(Metric::TimePerOutputTokenSeconds, "sglang.serving.tpot")),
        (
            &["itl"],
            Some(Samples::Lists("itls")),
            Formula::of_requests(Metric::InterTokenLatencySeconds, "sglang.serving.itl"),
        ),
        (
            &["e2e_latency"],
            None,
            Formula::of_requests(Metric::EndToEndLatencySeconds, "sglang.serving.e2e_latency"),
        ),
    ],
    total_field: "total_throughput",
};

/// The records in these rows.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    cells::records(path, rows, |at| {
        let run = served::read(at, &FORMULAS)?;
        let server = at.inner("server_info")?;
        let said = |field: &str| -> Result<Option<&str>, Error> {
            server.as_ref().map_or(Ok(None), |server| server.text(field))
        };
        let model = said("model_path")?.or(at.text("model_id")?).or(at.text("model")?);
        let version = said("version")?;
        let backend = at.text("backend")?;
        let asked = request_rate(at)?;
        let measured = dates::date(at, &["date", "timestamp", "start_time"])?;
        let (gpu_count, of_gpus) = server.as_ref().map_or(Ok((None, None)), gpus)?;
        let mut kept = Kept::default();
        kept.row(at.fields());
        let found = Foreign {
            tool: "sglang.bench_serving",
            model: ForeignModel {
                name: model.map(str::to_owned),
                quantization: said("quantization")?.map(str::to_owned),
                ..ForeignModel::default()
            },
            engine: ForeignEngine {
                // `backend` is the interface; only an SGLang server reports its settings.
                name: server.as_ref().map(|_| "sglang".to_owned()),
                version: version.map(str::to_owned),
                kv_type: said("kv_cache_dtype")?.filter(|kind| *kind != "auto").map(str::to_owned),
                ..ForeignEngine::default()
            },
            workload: ForeignWorkload {
                kind: "serving",
                rows: vec![serving_row(&run.cell, &asked)],
                tokens: at.text("dataset_name")?.map(|name| format!("data set {name}")),
                ..ForeignWorkload::default()
            },
            gpu_count,
            measured: measured.map(|when| when.time),
            notes: measured.and_then(When::note).into_iter().chain(run.notes).chain(of_gpus).collect(),
            completed: Some(run.completed),
            failed: failed(at, run.completed)?,
            measurements: run.measurements,
            kept,
            ..Foreign::default()
        };
        Ok((format!("{model:?} {backend:?} {version:?} {gpu_count:?} {:?}", at.get("tag")), found))
    })
}

/// The GPUs of a server that reports its settings, and what a reader should know about their number.
///
/// Data-parallel attention is within the tensor-parallel group. `tp_size` and `pp_size` count the GPUs of all nodes
/// together: SGLang refuses to start if `nnodes` does not divide their product.
fn gpus(server: &At<'_>) -> Result<(Option<usize>, Option<String>), Error> {
    let field = if server.get("tp_size").is_some() { "tp_size" } else { "tp" };
    let Some(tensor) = server.small_count(field)? else { return Ok((None, None)) };
    let size = |field: &str| server.small_count(field).map(|count| u64::from(count.unwrap_or(1)));
    let pipeline = size("pp_size")?;
    let within = server.boolean("enable_dp_attention")?.unwrap_or(false);
    let replicas = if within { 1 } else { size("dp_size")? };
    let group = u64::from(tensor).saturating_mul(pipeline);
    let all = group.saturating_mul(replicas);
    if all == 0 {
        let note =
            format!("`{field}` or another of the server's sizes is 0, so the number of GPUs is unknown");
        return Ok((None, Some(note)));
    }
    if all > 4096 {
        let reason = format!("and the other sizes make {all} GPUs, more than any deployment has");
        return Err(server.error(field, reason));
    }
    let nodes = size("nnodes")?;
    let count = usize::try_from(all).ok();
    let text = text::count(count.unwrap_or(0), "GPU");
    match nodes {
        0 | 1 => Ok((count, None)),
        nodes if group.is_multiple_of(nodes) => {
            Ok((count, Some(format!("the server ran on {nodes} nodes, {text} in total"))))
        }
        nodes => {
            let note =
                format!("{text} cannot be divided among `nnodes` {nodes}; give the number with --gpus N");
            Ok((None, Some(note)))
        }
    }
}
