//! InferenceX's (formerly InferenceMAX's) aggregated rows: throughput per GPU for each lengths and concurrency.
//!
//! Rows of one deployment become one record, so that several mixes stand side by side. Rows of disaggregated
//! deployments are left out and counted: their figures per GPU are over different GPUs for input and output.

use std::path::Path;

use crate::record::Cell;

use super::Error;
use super::fields::At;
use super::foreign::{
    Foreign, ForeignEngine, ForeignModel, ForeignWorkload, Kept, Metric, merge, serving_row,
};
use super::json::Node;
use super::rows::Rows;

const INPUT: Metric = Metric::rate("input_tokens_per_second", "inferencex.input_tput_per_gpu");
const OUTPUT: Metric = Metric::rate("output_tokens_per_second", "inferencex.output_tput_per_gpu");
const TOTAL: Metric = Metric::rate("total_tokens_per_second", "inferencex.tput_per_gpu");
const TIMES: [(&str, Metric); 4] = [
    ("ttft", Metric::time("time_to_first_token_seconds", "inferencex.ttft")),
    ("tpot", Metric::time("time_per_output_token_seconds", "inferencex.tpot")),
    ("itl", Metric::time("inter_token_latency_seconds", "inferencex.itl")),
    ("e2el", Metric::time("end_to_end_latency_seconds", "inferencex.e2el")),
];
/// What a deployment is; rows that agree in these are of one record.
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

/// The records in these rows.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    let mut found = Vec::new();
    let mut left_out = 0_usize;
    let mut refused = None;
    for row in rows {
        let row = row?;
        let at = At::new(path, &row);
        if yes(&at, "disagg") || yes(&at, "is_multinode") {
            left_out += 1;
            let reason =
                "is true in every row; figures per GPU are then over different GPUs for input and output";
            refused = refused.or_else(|| Some(at.error("disagg", reason)));
            continue;
        }
        let deployment: Vec<_> =
            at.fields().iter().filter(|(name, _)| DEPLOYMENT.contains(&&**name)).collect();
        found.push((format!("{deployment:?}"), one(&at)?));
    }
    if found.is_empty() {
        let none = || Error::Refused { path: path.to_owned(), reason: "it has no rows".to_owned() };
        return Err(refused.unwrap_or_else(none));
    }
    let mut groups = merge(path, found.into_iter().map(Ok))?;
    if left_out > 0 {
        for group in &mut groups {
            let rows = if left_out == 1 { "row" } else { "rows" };
            group.notes.push(format!("left out: {left_out} {rows} of disaggregated deployments"));
        }
    }
    Ok(groups)
}

/// `true`, or the text `"true"`.
fn yes(at: &At<'_>, field: &str) -> bool {
    match at.get(field) {
        Some(Node::Bool(truth)) => *truth,
        Some(Node::Text(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

fn one(at: &At<'_>) -> Result<Foreign, Error> {
    let factor = |field: &str| at.small_count(field).map(|count| u64::from(count.unwrap_or(1).max(1)));
    let gpus = factor("tp")?.saturating_mul(factor("pp")?).saturating_mul(factor("pcp_size")?);
    if gpus > 4096 {
        return Err(at.error("tp", format!("and `pp` make {gpus} GPUs, more than any deployment has")));
    }
    let cell = Cell {
        prompt_tokens: at.need("isl", at.small_count("isl")?)?,
        output_tokens: at.need("osl", at.small_count("osl")?)?,
        batch: at.small_count("conc")?.unwrap_or(0),
        depth: 0,
        phase: "serving".to_owned(),
    };
    let cell = Ok(cell);
    let all = |field: &str| at.positive(field).map(|rate| rate.map(|rate| rate * gpus as f64));
    let total = all("tput_per_gpu")?;
    let total = at.need("tput_per_gpu", total)?;
    let output = all("output_tput_per_gpu")?;
    let input = all("input_tput_per_gpu")?.or(output.map(|output| total - output)).filter(|rate| *rate > 0.0);
    let mut measurements = vec![TOTAL.single(&cell, total)];
    measurements.extend(output.map(|rate| OUTPUT.single(&cell, rate)));
    measurements.extend(input.map(|rate| INPUT.single(&cell, rate)));
    for (word, metric) in TIMES {
        let Some(mean) = at.amount(&format!("mean_{word}"))? else { continue };
        let mut found = metric.single(&cell, mean);
        for name in ["median", "p90", "p99", "std"] {
            if let Some(value) = at.amount(&format!("{name}_{word}"))? {
                found.unknown.insert(name.to_owned(), value.into());
            }
        }
        measurements.push(found);
    }
    let text = |field: &str| at.text(field).map(|text| text.map(str::to_owned));
    // `b200-trt`, `mi355x-amd_3`, `h200-nb`: the GPU, then the runner.
    let hardware = at.text("hw")?.and_then(|name| name.split(['-', '_']).next());
    let mut kept = Kept::default();
    kept.row(at.fields());
    Ok(Foreign {
        tool: "inferencex",
        model: ForeignModel {
            name: text("model")?,
            quantization: text("precision")?,
            ..ForeignModel::default()
        },
        engine: ForeignEngine { name: text("framework")?, ..ForeignEngine::default() },
        gpus_counted: at.get("tp").is_some(),
        gpus: hardware.map_or(Vec::new(), |name| vec![name.to_owned(); usize::try_from(gpus).unwrap_or(1)]),
        workload: ForeignWorkload {
            kind: "serving",
            rows: vec![serving_row(&cell, "")],
            tokens: Some("random; lengths as asked for".to_owned()),
            ..ForeignWorkload::default()
        },
        measurements,
        kept,
        ..Foreign::default()
    })
}
