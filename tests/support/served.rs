//! A record of a server's totals, as an importer writes it: the record of a short run with its measurements replaced.

use serde_json::{Value, json};

use super::{Bench, quick};

/// One workload that was served.
pub(crate) struct Served {
    pub(crate) input: u32,
    pub(crate) output: u32,
    pub(crate) batch: u32,
    pub(crate) requests_per_second: f64,
}

/// Writes such a record of the 70B model of the catalog; its path.
pub(crate) fn served(bench: &Bench, name: &str, cells: &[Served]) -> String {
    let mut record = bench.json(&quick(&["--json", "--output", "-"]));
    record["measurements"] = cells.iter().flat_map(measurements).collect();
    record["model"]["catalog_id"] = "llama-3.3-70b".into();
    record["workload"]["kind"] = "serving".into();
    record["engine"]["device"] = "cuda:0".into();
    let path = bench.file(name, record.to_string().as_bytes());
    path.to_str().expect("a path").to_owned()
}

/// The record at `path` as one that nothing speaks against, each figure within `relative` of its value; its path.
pub(crate) fn believed(bench: &Bench, path: &str, relative: f64) -> String {
    let text = std::fs::read_to_string(bench.folder().join(path)).expect("a record");
    let mut record: Value = serde_json::from_str(&text).expect("a record");
    record["validity"] = json!({ "verdict": "valid", "not_checked": [], "checks": [] });
    for measured in record["measurements"].as_array_mut().expect("measurements") {
        if let Some(value) = measured["value"].as_f64() {
            measured["ci95"] = json!([value * (1.0 - relative), value * (1.0 + relative)]);
            measured["ci95_reason"] = Value::Null;
            measured["n"] = 5.into();
        }
    }
    let path = bench.file("believed.json", record.to_string().as_bytes());
    path.to_str().expect("a path").to_owned()
}

fn measurements(cell: &Served) -> Vec<Value> {
    let (input, output) = (f64::from(cell.input), f64::from(cell.output));
    let rate = cell.requests_per_second;
    [
        ("requests_per_second", "requests/s", rate),
        ("request_input_tokens", "tokens", input),
        ("request_output_tokens", "tokens", output),
        ("input_tokens_per_second", "tokens/s", rate * input),
        ("output_tokens_per_second", "tokens/s", rate * output),
        ("total_tokens_per_second", "tokens/s", rate * (input + output)),
        ("duration_seconds", "s", 1000.0 / rate),
    ]
    .map(|(metric, unit, value)| {
        json!({
            "metric": metric, "formula": "test/1", "unit": unit, "value": value,
            "ci95": null, "ci95_reason": "one run", "n": 1, "method": "as given",
            "cell": {
                "prompt_tokens": cell.input, "output_tokens": cell.output, "batch": cell.batch, "depth": 0,
                "phase": "serving",
            },
            "samples": { "unit": unit, "values": [value] },
        })
    })
    .into()
}
