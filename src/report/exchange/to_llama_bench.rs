//! Exports a record as llama-bench's JSON rows.
//!
//! llama.cpp's compare script requires every column and accepts `null` for unknown values, so none is omitted. llama-bench
//! runs one sequence at a time: rows of larger batches do not fit its format.

use serde_json::{Map, Value, json};

use crate::base::stats;
use crate::record::{Cell, Measurement, Metric, Phase, Record};

use super::Error;
use super::exported::{self, Exported};
use super::json::number_value;
use super::to_vllm::created;

/// Columns that readers expect, from older and newer versions, in llama-bench's order; those of the test are appended.
pub(super) const COLUMNS: [&str; 35] = [
    "build_commit",
    "build_number",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "cpu_mask",
    "cpu_strict",
    "poll",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "n_cpu_moe",
    "split_mode",
    "main_gpu",
    "no_kv_offload",
    "flash_attn",
    "devices",
    "tensor_split",
    "tensor_buft_overrides",
    "use_mmap",
    "load_mode",
    "lazy_mode",
    "embeddings",
    "no_op_offload",
    "no_host",
    "repack",
    "fit_target",
    "fit_min_ctx",
];

/// The rows of a record.
///
/// # Errors
/// [`Error::Export`] if it has no row of one sequence.
pub fn llama_bench_rows(record: &Record) -> Result<Exported, Error> {
    let setup = setup(record);
    let (mut rows, mut left_out) = (Vec::new(), Vec::new());
    for cell in exported::cells(record) {
        let of_the_cell = record.measurements.iter().filter(|m| m.cell.as_ref() == Some(cell));
        let before = rows.len();
        rows.extend(of_the_cell.filter_map(|measured| row(record, &setup, measured)));
        if rows.len() == before {
            left_out.push((cell.clone(), no_row(record, cell)));
        }
    }
    let exported = Exported::new(rows, left_out);
    if exported.rows.is_empty() {
        return Err(Error::Export {
            id: record.id.clone(),
            format: "llama-bench rows",
            reason: exported.reasons(),
        });
    }
    Ok(exported)
}

/// Why a cell has no row.
fn no_row(record: &Record, cell: &Cell) -> String {
    if cell.phase == Phase::Serving {
        return "llama-bench has no rows of a server's load; --format vllm has them".to_owned();
    }
    if cell.batch != 1 {
        return "llama-bench's rows have one sequence (batch 1)".to_owned();
    }
    let mut of_the_cell = record.measurements.iter().filter(|m| m.cell.as_ref() == Some(cell));
    let rate = of_the_cell.find(|m| tokens(&m.metric, cell).is_some());
    rate.and_then(|m| m.value.reason()).unwrap_or("it has no rate known to llama-bench").to_owned()
}

/// What all rows have in common: the original fields if the record was imported from llama-bench, else the record's.
fn setup(record: &Record) -> Map<String, Value> {
    let mut setup: Map<String, Value> =
        COLUMNS.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
    let (model, engine) = (&record.model, &record.engine);
    let used: Vec<&str> =
        record.environment.gpus.iter().filter(|gpu| gpu.used).filter_map(|gpu| gpu.name.as_deref()).collect();
    let device = engine.device.as_deref().map(|name| name.split(':').next().unwrap_or(name).to_uppercase());
    let kind = model.architecture.as_ref().zip(*model.parameters).zip(model.quantization.as_ref());
    let kv = engine.kv_type.as_deref().map(|kind| kind.split_once(" and ").unwrap_or((kind, kind)));
    // The program that measured: for an import another one, whose version may be unknown.
    let build = match &record.imported {
        Some(imported) => imported.tool_version.as_deref(),
        None => Some(record.tool.commit.as_deref().unwrap_or(&record.tool.version)),
    };
    let on_cpu = record.imported.is_none() || engine.device.as_deref() == Some("cpu");
    let said = [
        ("build_commit", build.map(Value::from)),
        ("cpu_info", record.environment.cpu.as_deref().map(Value::from)),
        ("gpu_info", (on_cpu || !used.is_empty()).then(|| json!(used.join(", ")))),
        ("backends", device.map(Value::from)),
        ("model_filename", Some(json!(model.id))),
        (
            "model_type",
            kind.map(|((architecture, count), format)| {
                json!(format!("{architecture} {} {format}", size_class(count)))
            }),
        ),
        ("model_size", model.weight_bytes.map(Value::from)),
        ("model_n_params", model.parameters.map(Value::from)),
        ("n_threads", engine.threads.map(Value::from)),
        ("type_k", kv.map(|(key, _)| json!(key))),
        ("type_v", kv.map(|(_, value)| json!(value))),
    ];
    for (name, value) in said {
        setup.insert(name.to_owned(), value.unwrap_or(Value::Null));
    }
    let own = record.imported.iter().filter(|imported| imported.tool == "llama-bench");
    for (name, value) in own.flat_map(|imported| &imported.fields) {
        setup.insert(name.clone(), value.clone());
    }
    setup
}

/// `135M`, `8B`: llama.cpp's size names.
fn size_class(parameters: u64) -> String {
    let count = parameters as f64;
    if count >= 1e9 { format!("{:.0}B", count / 1e9) } else { format!("{:.0}M", count / 1e6) }
}

/// The row of a rate, if llama-bench has it.
fn row(record: &Record, setup: &Map<String, Value>, measured: &Measurement) -> Option<Value> {
    let cell = measured.cell.as_ref().filter(|cell| cell.batch == 1)?;
    let tokens = tokens(&measured.metric, cell)?;
    let rate = measured.value.filter(|value| *value > 0.0 && value.is_finite())?;
    let trials: &[f64] = match measured.samples.values.as_deref() {
        Some(values) if measured.samples.unit == "seconds per trial" => values,
        _ => &[],
    };
    let nanoseconds = |seconds: f64| number_value((seconds * 1e9).round());
    let rates: Vec<f64> = trials.iter().map(|seconds| tokens / seconds).collect();
    // For a single trial llama-bench writes a deviation of 0; without trials it is unknown.
    let deviation = |samples: &[f64]| (!samples.is_empty()).then(|| stats::sample_sd(samples).unwrap_or(0.0));
    let mut row = setup.clone();
    for (name, value) in [
        ("n_prompt", json!(cell.prompt_tokens)),
        ("n_gen", json!(cell.output_tokens)),
        ("n_depth", json!(cell.depth)),
        ("test_time", json!(created(record))),
        ("avg_ns", nanoseconds(tokens / rate)),
        ("stddev_ns", json!(deviation(trials).map(nanoseconds))),
        ("avg_ts", json!(stats::mean(&rates).unwrap_or(rate))),
        ("stddev_ts", json!(deviation(&rates))),
        ("samples_ns", known(trials.iter().map(|seconds| nanoseconds(*seconds)).collect())),
        ("samples_ts", known(rates.iter().map(|rate| json!(rate)).collect())),
    ] {
        row.insert(name.to_owned(), value);
    }
    Some(Value::Object(row))
}

/// A non-empty list.
fn known(list: Vec<Value>) -> Value {
    if list.is_empty() { Value::Null } else { Value::Array(list) }
}

/// The tokens that a test of this metric counts.
fn tokens(metric: &Metric, cell: &Cell) -> Option<f64> {
    let (input, output) = (f64::from(cell.prompt_tokens), f64::from(cell.output_tokens));
    let tokens = match (metric, &cell.phase) {
        (Metric::PrefillTokensPerSecond, Phase::Prefill) => input,
        (Metric::DecodeTokensPerSecond, Phase::Decode) => output,
        (Metric::TotalTokensPerSecond, Phase::Joint) => input + output,
        _ => return None,
    };
    Some(tokens).filter(|tokens| *tokens > 0.0)
}
