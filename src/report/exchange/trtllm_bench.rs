//! `trtllm-bench throughput|latency --report_json`: one object per run.

use std::path::Path;

use super::Error;
use super::cells;
use super::fields::At;
use super::foreign::{
    Foreign, ForeignEngine, ForeignModel, ForeignWorkload, Formula, Kept, no_second_token, serving_cell,
    serving_row,
};
use super::left_out::NoCell;
use super::rows::Rows;
use crate::record::Metric;

const OUTPUT: Formula =
    Formula::of_run(Metric::OutputTokensPerSecond, "trtllm-bench.system_output_throughput");
const TOTAL: Formula = Formula::of_run(Metric::TotalTokensPerSecond, "trtllm-bench.system_total_throughput");
const INPUT: Formula = Formula::of_run(Metric::InputTokensPerSecond, "trtllm-bench.input_throughput");
const REQUESTS: Formula = Formula::of_run(Metric::RequestsPerSecond, "trtllm-bench.request_throughput");
const DURATION: Formula = Formula::of_run(Metric::DurationSeconds, "trtllm-bench.total_latency");
const INPUT_LENGTH: Formula =
    Formula::of_requests(Metric::RequestInputTokens, "trtllm-bench.avg_input_length");
const OUTPUT_LENGTH: Formula =
    Formula::of_requests(Metric::RequestOutputTokens, "trtllm-bench.avg_output_length");
const LATENCY: Formula =
    Formula::of_requests(Metric::EndToEndLatencySeconds, "trtllm-bench.avg_request_latency");
const FIRST: Formula = Formula::of_requests(Metric::TimeToFirstTokenSeconds, "trtllm-bench.avg_ttft");
const EACH: Formula = Formula::of_requests(Metric::TimePerOutputTokenSeconds, "trtllm-bench.avg_tpot");

/// The records in these reports.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    cells::separate(path, rows, report)
}

fn report(at: &At<'_>) -> Result<Foreign, NoCell> {
    let engine = at.required("engine", at.inner("engine")?)?;
    let requests = at.required("request_info", at.inner("request_info")?)?;
    let performance = at.required("performance", at.inner("performance")?)?;
    let world = at.inner("world_info")?;

    let input = requests.required("avg_input_length", requests.amount("avg_input_length")?)?;
    let output = requests.needed("avg_output_length")?;
    // The concurrency it reports is the actual mean, not the configured limit.
    let cell = serving_cell(input, output, 0);
    let rate = |field: &str| -> Result<Option<f64>, Error> {
        Ok(performance.figure(field)?.and_then(|figure| figure.value()))
    };
    let output_rate = performance.needed("system_output_throughput_tok_s")?;
    let request_rate = rate("request_throughput_req_s")?;
    let total = rate("system_total_throughput_tok_s")?;
    let input_rate = total
        .map(|total| total - output_rate)
        .or(request_rate.map(|rate| rate * input))
        .filter(|rate| *rate > 0.0);
    let mut measurements = vec![OUTPUT.single(&cell, output_rate)];
    measurements.extend(total.map(|rate| TOTAL.single(&cell, rate)));
    measurements.extend(input_rate.map(|rate| INPUT.single(&cell, rate)));
    measurements.extend(request_rate.map(|rate| REQUESTS.single(&cell, rate)));
    measurements.push(INPUT_LENGTH.single(&cell, input));
    measurements.push(OUTPUT_LENGTH.single(&cell, output));
    let streaming = at.inner("streaming_metrics")?;
    for (metric, block, field) in [
        (DURATION, Some(&performance), "total_latency_ms"),
        (LATENCY, Some(&performance), "avg_request_latency_ms"),
        (FIRST, streaming.as_ref(), "avg_ttft_ms"),
        (EACH, streaming.as_ref(), "avg_tpot_ms"),
    ] {
        let figure = block.map_or(Ok(None), |block| block.figure(field))?;
        let why = no_second_token(output).filter(|_| field == "avg_tpot_ms");
        measurements
            .extend(figure.map(|figure| metric.figure(&cell, figure.map(|ms| ms / 1e3).because(why))));
    }

    let machine = at.inner("machine")?;
    let gpu = machine.map_or(Ok(None), |machine| machine.text("name"))?;
    let said = world.as_ref().map_or(Ok(None), boards)?;
    if said == Some(0) {
        return Err(at.no_cell("without a number of GPUs", "world_info", "has a size of 0"));
    }
    let boards = said.unwrap_or(1);
    if boards > 4096 {
        let reason = format!("makes {boards} GPUs, more than any deployment has");
        return Err(at.error("world_info", reason).into());
    }
    let text = |field: &str| engine.text(field).map(|text| text.map(str::to_owned));
    let mut kept = Kept::default();
    kept.row(at.fields());
    Ok(Foreign {
        tool: "trtllm-bench",
        tool_version: text("version")?,
        model: ForeignModel {
            name: text("model")?,
            quantization: text("quantization")?.or(text("dtype")?),
            ..ForeignModel::default()
        },
        engine: ForeignEngine {
            name: Some("tensorrt-llm".to_owned()),
            version: text("version")?,
            kv_type: text("kv_cache_dtype")?.filter(|kind| kind != "auto"),
            ..ForeignEngine::default()
        },
        gpu_count: said.map(|_| boards as usize),
        gpus: gpu.map_or(Vec::new(), |name| vec![name.to_owned(); boards as usize]),
        workload: ForeignWorkload {
            kind: "serving",
            rows: vec![serving_row(&cell, "")],
            ..ForeignWorkload::default()
        },
        completed: requests.count("num_requests")?,
        measurements,
        kept,
        ..Foreign::default()
    })
}

/// The number of GPUs: the world size, else the product of the parallel sizes.
fn boards(world: &At<'_>) -> Result<Option<u32>, Error> {
    if let Some(size) = world.small_count("world_size")? {
        return Ok(Some(size));
    }
    let sizes = [world.small_count("tp_size")?, world.small_count("pp_size")?];
    Ok(sizes.into_iter().flatten().reduce(u32::saturating_mul))
}
