//! `sglang.bench_serving --output-file`: a line a run, with `--output-details` each request's figures in it.

use std::path::Path;

use super::Error;
use super::cells;
use super::dates::{self, When};
use super::fields::At;
use super::foreign::{Foreign, ForeignEngine, ForeignModel, ForeignWorkload, Kept, Metric, serving_row};
use super::rows::Rows;
use super::served::{self, Formulas, Samples};
use super::vllm_serve::{failed, request_rate};

const FORMULAS: Formulas = Formulas {
    input: Metric::rate("input_tokens_per_second", "sglang.serving.input_throughput"),
    output: Metric::rate("output_tokens_per_second", "sglang.serving.output_throughput"),
    total: Metric::rate("total_tokens_per_second", "sglang.serving.total_throughput"),
    requests: Metric::requests("requests_per_second", "sglang.serving.request_throughput"),
    duration: Metric::duration("sglang.serving.duration"),
    input_length: Metric::tokens("request_input_tokens", "sglang.serving.input_lens"),
    output_length: Metric::tokens("request_output_tokens", "sglang.serving.output_lens"),
    times: &[
        (
            &["ttft"],
            Some(Samples::List("ttfts")),
            Metric::time("time_to_first_token_seconds", "sglang.serving.ttft"),
        ),
        (&["tpot"], None, Metric::time("time_per_output_token_seconds", "sglang.serving.tpot")),
        (
            &["itl"],
            Some(Samples::Lists("itls")),
            Metric::time("inter_token_latency_seconds", "sglang.serving.itl"),
        ),
        (&["e2e_latency"], None, Metric::time("end_to_end_latency_seconds", "sglang.serving.e2e_latency")),
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
        let gpu_count = server.as_ref().map_or(Ok(None), gpus)?;
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
                // `backend` is the interface; only a server of SGLang tells its settings.
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
            notes: measured.and_then(When::note).into_iter().chain(run.note).collect(),
            completed: Some(run.completed),
            failed: failed(at, run.completed)?,
            measurements: run.measurements,
            kept,
            ..Foreign::default()
        };
        Ok((format!("{model:?} {backend:?} {version:?} {gpu_count:?} {:?}", at.get("tag")), found))
    })
}

/// The GPUs of a server that tells its settings: attention shared out by data is within the tensor-parallel group.
fn gpus(server: &At<'_>) -> Result<Option<usize>, Error> {
    let Some(tensor) = server.small_count("tp_size")?.or(server.small_count("tp")?) else { return Ok(None) };
    let factor = |field: &str| server.small_count(field).map(|count| u64::from(count.unwrap_or(1).max(1)));
    let within = server.truth("enable_dp_attention")?.unwrap_or(false);
    let replicas = if within { 1 } else { factor("dp_size")? };
    let all = u64::from(tensor.max(1)).saturating_mul(factor("pp_size")?).saturating_mul(replicas);
    if all > 4096 {
        return Err(server
            .error("tp_size", format!("and the other sizes make {all} GPUs, more than any deployment has")));
    }
    Ok(usize::try_from(all).ok())
}
