//! A record under the key names of `vllm bench serve`, an object for each cell of a server or of joint rows.
//!
//! Its readers turn every value into a number, so a key that the record cannot fill is left out.

use serde_json::{Map, Value, json};

use crate::base::stats;
use crate::record::{Cell, Measurement, Record};

use super::Error;
use super::json::number_value;

/// A metric of ours and the word for it in vLLM's keys.
const TIMES: [(&str, &str, Option<&str>); 4] = [
    ("time_to_first_token_seconds", "ttft", Some("ttfts")),
    ("time_per_output_token_seconds", "tpot", None),
    ("inter_token_latency_seconds", "itl", None),
    ("end_to_end_latency_seconds", "e2el", Some("latencies")),
];
/// Requests from which a tail is worth its name.
const ENOUGH: usize = 100;

/// The objects of a record.
///
/// # Errors
/// [`Error::Export`] when no cell has requests with input and output.
pub fn vllm_objects(record: &Record) -> Result<Vec<Value>, Error> {
    let mut cells: Vec<&Cell> = Vec::new();
    for cell in record.measurements.iter().filter_map(|measured| measured.cell.as_ref()) {
        if matches!(cell.phase.as_str(), "serving" | "joint") && !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    let objects: Vec<Value> = cells.into_iter().filter_map(|cell| object(record, cell)).collect();
    if objects.is_empty() {
        return Err(Error::Export {
            id: record.id.clone(),
            format: "an object of vllm bench serve",
            reason: "it has no row of prompt and output together (`bench run --pg P,N`); `--format llama-bench` writes rows that have only one of them".to_owned(),
        });
    }
    Ok(objects)
}

fn object(record: &Record, cell: &Cell) -> Option<Value> {
    let find = |metric: &str| {
        record.measurements.iter().find(|m| m.metric == metric && m.cell.as_ref() == Some(cell))
    };
    let value = |metric: &str| find(metric).and_then(|m| m.value).filter(|value| *value > 0.0);
    let total = value("total_tokens_per_second")?;
    let output = value("output_tokens_per_second")?;
    let length = |metric: &str, asked: u32| value(metric).unwrap_or_else(|| f64::from(asked));
    let input_length = length("request_input_tokens", cell.prompt_tokens);
    let output_length = length("request_output_tokens", cell.output_tokens);
    let request_rate = value("requests_per_second").unwrap_or(total / (input_length + output_length));
    // A joint row's run is its trials, one behind the other.
    let joint = || find("end_to_end_latency_seconds").map(|m| m.value.unwrap_or(0.0) * m.n.max(1) as f64);
    let duration = value("duration_seconds").or_else(joint).filter(|seconds| *seconds > 0.0)?;
    let said = record.imported.as_ref().and_then(|imported| imported.requests_completed);
    let one_cell = record.workload.rows.len() == 1;
    let completed = said
        .filter(|_| one_cell)
        .map_or_else(|| (request_rate * duration).round().max(1.0), |completed| completed as f64);
    // Tools differ by a little in what they call the run's length; here rates and totals must agree.
    let duration = if value("requests_per_second").is_some() { completed / request_rate } else { duration };
    let mut out: Map<String, Value> = Map::new();
    let date: String = record.created.chars().filter(char::is_ascii_digit).take(14).collect();
    for (name, value) in [
        (
            "date",
            json!(format!("{}-{}", date.get(..8).unwrap_or_default(), date.get(8..).unwrap_or_default())),
        ),
        ("backend", json!(record.engine.name.as_deref().unwrap_or("unknown"))),
        ("model_id", json!(record.model.id)),
        ("num_prompts", number_value(completed)),
        ("request_rate", json!("inf")),
        ("duration", json!(duration)),
        ("completed", number_value(completed)),
        ("total_input_tokens", number_value((input_length * completed).round())),
        ("total_output_tokens", number_value((output_length * completed).round())),
        ("request_throughput", json!(request_rate)),
        ("output_throughput", json!(output)),
        ("total_token_throughput", json!(total)),
    ] {
        out.insert(name.to_owned(), value);
    }
    if cell.batch > 0 {
        out.insert("max_concurrency".to_owned(), json!(cell.batch));
    }
    if let Some(goodput) = find("goodput_requests_per_second").and_then(|m| m.value) {
        out.insert("request_goodput".to_owned(), json!(goodput));
    }
    for (metric, word, list) in TIMES {
        if let Some(measured) = find(metric) {
            times(&mut out, measured, word, list);
        }
    }
    Some(Value::Object(out))
}

/// Mean, median, deviation and p99 in milliseconds, as far as the record has them or its samples give them.
fn times(out: &mut Map<String, Value>, measured: &Measurement, word: &str, list: Option<&str>) {
    let samples = measured.samples.values.as_deref().unwrap_or_default();
    let kept = |name: &str| measured.unknown.get(name).and_then(Value::as_f64);
    // Our own latency between tokens is a median; vLLM's first figure is the mean.
    let ours = measured.formula.starts_with("infercost.");
    let value = measured.value.filter(|_| !ours || word != "itl");
    let tail = || (samples.len() >= ENOUGH).then(|| stats::quantile(samples, 0.99)).flatten();
    for (name, seconds) in [
        ("mean", value.or_else(|| stats::mean(samples))),
        ("median", kept("median").or(measured.percentiles.p50.flatten()).or_else(|| stats::median(samples))),
        ("std", kept("std").or_else(|| kept("std_dev")).or_else(|| stats::sample_sd(samples))),
        ("p99", measured.percentiles.p99.flatten().or_else(tail)),
    ] {
        if let Some(seconds) = seconds.filter(|seconds| seconds.is_finite()) {
            out.insert(format!("{name}_{word}_ms"), json!(seconds * 1e3));
        }
    }
    if let Some(list) = list.filter(|_| !samples.is_empty()) {
        out.insert(list.to_owned(), json!(samples));
    }
}
