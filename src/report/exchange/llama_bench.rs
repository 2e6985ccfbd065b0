//! llama-bench: rows of `pp`, `tg` and `pg` tests as JSON, JSONL, CSV or SQL.
//!
//! Rows that agree in everything but the test belong together; a repeated test starts another record. The rate is
//! tokens ÷ the mean of the trials' times: llama-bench prints the mean of the rates, which a single fast trial inflates;
//! that figure is among the kept fields.

use std::path::Path;

use crate::catalog::format_in_name;
use crate::record::{Cell, Measurement, Metric, Phase};

use super::cells;
use super::dates::{self, When};
use super::fields::At;
use super::foreign::{Foreign, ForeignEngine, ForeignModel, ForeignWorkload, Formula, Kept, mean};
use super::json::{Node, shown};
use super::left_out::{DEAD, NoCell};
use super::physical::{self, SHORTEST};
use super::rows::Rows;
use super::{Error, devices, llama_names};

/// Fields of a row that describe its test, not the setup.
const OF_THE_TEST: [&str; 10] = [
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
];

const RATE: &str = "tokens ÷ mean of the trials' seconds; t interval of the log of seconds";
const PREFILL: Formula = Formula::new(Metric::PrefillTokensPerSecond, "llama-bench.pp", RATE);
const DECODE: Formula = Formula::new(Metric::DecodeTokensPerSecond, "llama-bench.tg", RATE);
const JOINT_TOTAL: Formula = Formula::new(Metric::TotalTokensPerSecond, "llama-bench.pg", RATE);
const JOINT_OUTPUT: Formula = Formula::new(Metric::OutputTokensPerSecond, "llama-bench.pg_output", RATE);
const JOINT_TIME: Formula = Formula::new(
    Metric::EndToEndLatencySeconds,
    "llama-bench.pg_time",
    "mean of the trials' seconds; t interval of the log",
);

/// The records in these rows.
pub(super) fn read(path: &Path, rows: &mut Rows<'_>) -> Result<Vec<Foreign>, Error> {
    cells::records(path, rows, |at| {
        let (cell, figures) = figures(at)?;
        let mut found = setup(at)?;
        found.workload.rows.push(cell.label());
        found.measurements = figures;
        let of_the_test =
            |(name, _): &&(Box<str>, Node)| OF_THE_TEST.contains(&&**name) && !name.starts_with("samples");
        found.kept.row(at.fields().iter().filter(of_the_test));
        Ok((setup_text(at.fields()), found))
    })
}

/// The setup, with program and settings, as one text.
fn setup_text(fields: &[(Box<str>, Node)]) -> String {
    let setup: Vec<_> = fields.iter().filter(|(name, _)| !OF_THE_TEST.contains(&&**name)).collect();
    format!("{setup:?}")
}

/// The figures of one row, and its cell.
fn figures(at: &At<'_>) -> Result<(Cell, Vec<Measurement>), NoCell> {
    let prompt_tokens = at.required("n_prompt", at.small_count("n_prompt")?)?;
    let output_tokens = at.required("n_gen", at.small_count("n_gen")?)?;
    let depth = at.small_count("n_depth")?.unwrap_or(0);
    let samples = at.list("samples_ns")?.unwrap_or_default();
    if let Some(index) = samples.iter().position(|nanoseconds| *nanoseconds == 0.0) {
        return Err(at.no_cell(DEAD, &format!("samples_ns[{index}]"), "is 0, but no test takes zero time"));
    }
    let trials: Vec<f64> = samples.iter().map(|nanoseconds| nanoseconds / 1e9).collect();
    let mean_seconds = match mean(&trials) {
        Some(mean) => mean,
        None => at.needed("avg_ns")? / 1e9,
    };
    if mean_seconds < SHORTEST {
        let (field, value) = match samples.first() {
            Some(first) => ("samples_ns", *first),
            None => ("avg_ns", mean_seconds * 1e9),
        };
        let reason = format!("is {value}, but no test takes less than a microsecond; wrong unit?");
        return Err(at.no_cell(physical::KIND, field, reason));
    }
    let phase = match (prompt_tokens, output_tokens) {
        (0, 0) => {
            return Err(at.error("n_prompt", "and `n_gen` are both 0, which is not a valid test").into());
        }
        (_, 0) => Phase::Prefill,
        (0, _) => Phase::Decode,
        _ => Phase::Joint,
    };
    let cell = Cell {
        prompt_tokens,
        output_tokens,
        batch: 1,
        depth,
        phase: phase.clone(),
        requests_per_second: None,
    };
    let (input, output) = (f64::from(prompt_tokens), f64::from(output_tokens));
    let in_cell = Ok(cell.clone());
    let rate =
        |formula: &Formula, tokens| formula.rate_of_trials(&in_cell, tokens, mean_seconds, trials.clone());
    let figures = match phase {
        Phase::Prefill => vec![rate(&PREFILL, input)],
        Phase::Decode => vec![rate(&DECODE, output)],
        _ => vec![
            rate(&JOINT_TOTAL, input + output),
            rate(&JOINT_OUTPUT, output),
            JOINT_TIME.time_of_trials(&in_cell, mean_seconds, trials.clone()),
        ],
    };
    Ok((cell, figures))
}

/// What the rows of a group have in common.
fn setup(at: &At<'_>) -> Result<Foreign, Error> {
    let version = match (at.get("build_number"), at.text("build_commit")?) {
        (Some(_), commit) => {
            let number = at.count("build_number")?.unwrap_or_default();
            Some(commit.map_or(number.to_string(), |commit| format!("{number} ({commit})")))
        }
        (None, commit) => commit.map(str::to_owned),
    };
    let owned = |field: &str| at.text(field).map(|text| text.map(str::to_owned));
    let mut notes = Vec::new();
    let kind = at.text("model_type")?;
    let parts = kind.and_then(llama_names::model_string);
    notes.extend(kind.filter(|_| parts.is_none()).map(|kind| {
        format!("its model string `{}` does not match any llama.cpp format and is not parsed", shown(kind))
    }));
    if parts.as_ref().is_some_and(|parts| parts.guessed) {
        notes.push("llama.cpp guessed the file type of its weights".to_owned());
    }
    let label = at.text("model_filename")?.and_then(format_in_name);
    let format = parts.as_ref().and_then(|parts| parts.format);
    if let (Some(label), Some(format)) = (label, format)
        && !format.to_ascii_uppercase().starts_with(&label.to_ascii_uppercase())
    {
        notes.push(format!("the file's name says {}, but llama.cpp says {format}", shown(label)));
    }
    let key = at.text("type_k")?;
    let value = at.text("type_v")?;
    let kv_type = match (key, value) {
        (Some(key), Some(value)) if key != value => Some(format!("{key} and {value}")),
        (key, _) => key.map(str::to_owned),
    };
    let used = devices::used(at)?;
    notes.extend(used.notes);
    let measured = dates::date(at, &["test_time"])?;
    notes.extend(measured.and_then(When::note));
    Ok(Foreign {
        tool: "llama-bench",
        tool_version: version.clone(),
        measured: measured.map(|when| when.time),
        model: ForeignModel {
            name: owned("model_filename")?,
            architecture: parts.as_ref().map(|parts| parts.architecture.to_owned()),
            quantization: format.map(str::to_owned),
            parameters: at.count("model_n_params")?,
            weight_bytes: at.count("model_size")?,
            synthetic: Some(false),
        },
        engine: ForeignEngine {
            name: Some("llama.cpp".to_owned()),
            version,
            device: used.device,
            threads: at.count("n_threads")?.and_then(|count| usize::try_from(count).ok()),
            kv_type,
        },
        cpu: owned("cpu_info")?,
        gpus: used.gpus,
        gpu_count: used.count,
        workload: ForeignWorkload {
            kind: "shapes",
            rows: Vec::new(),
            tokens: Some("random".to_owned()),
            sampling: Some("none: a test feeds random tokens and samples nothing".to_owned()),
            prefix_cache: Some(false),
        },
        notes,
        kept: Kept::of(at.fields().iter().filter(|(name, _)| !OF_THE_TEST.contains(&&**name))),
        ..Foreign::default()
    })
}
