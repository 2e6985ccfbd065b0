//! Detects which tool wrote the rows.
//!
//! A tool is recognized by a combination of fields that only it writes. Anything else is rejected with what was found;
//! nothing is guessed.

use std::path::Path;

use super::Error;
use super::fields::Row;
use super::json::{Node, get, shown};
use crate::catalog::update;

/// A tool's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// llama-bench's rows: JSON, JSONL, CSV or SQL.
    LlamaBench,
    /// llama-batched-bench's rows: JSONL.
    LlamaBatchedBench,
    /// `vllm bench serve`.
    VllmServe,
    /// `vllm bench throughput`.
    VllmThroughput,
    /// `vllm bench latency`.
    VllmLatency,
    /// `sglang.bench_serving`.
    SglangServing,
    /// guidellm's JSON report.
    Guidellm,
    /// AIPerf's `profile_export_aiperf.json`.
    Aiperf,
    /// GenAI-Perf's `profile_export_genai_perf.json`.
    GenaiPerf,
    /// `trtllm-bench throughput|latency --report_json`.
    TrtllmBench,
    /// InferenceX's (InferenceMAX's) aggregated rows.
    Inferencex,
}

impl Format {
    /// Every format, in the order of detection.
    pub const ALL: [Self; 11] = [
        Self::LlamaBench,
        Self::LlamaBatchedBench,
        Self::Inferencex,
        Self::Guidellm,
        Self::Aiperf,
        Self::GenaiPerf,
        Self::TrtllmBench,
        Self::SglangServing,
        Self::VllmServe,
        Self::VllmThroughput,
        Self::VllmLatency,
    ];

    /// The value for `--input-format`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LlamaBench => "llama-bench",
            Self::LlamaBatchedBench => "llama-batched-bench",
            Self::VllmServe => "vllm-serve",
            Self::VllmThroughput => "vllm-throughput",
            Self::VllmLatency => "vllm-latency",
            Self::SglangServing => "sglang-serving",
            Self::Guidellm => "guidellm",
            Self::Aiperf => "aiperf",
            Self::GenaiPerf => "genai-perf",
            Self::TrtllmBench => "trtllm-bench",
            Self::Inferencex => "inferencex",
        }
    }

    /// The format with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether a row has the fields that only this tool writes.
    fn wrote(self, row: &Row) -> bool {
        let has = |name: &str| get(&row.fields, name).is_some();
        let all = |names: &[&str]| names.iter().all(|name| has(name));
        let any = |names: &[&str]| names.iter().any(|name| has(name));
        // NVIDIA's two clients: AIPerf writes GenAI-Perf's blocks, plus how the run ended.
        let nvidia = || {
            (has("input_config") || has("aiperf_version")) && (has("request_throughput") || has("records"))
        };
        let aiperf = || any(&["aiperf_version", "was_cancelled", "error_summary", "start_time", "records"]);
        // vLLM's and SGLang's clients share their origin: SGLang's also recounts tokens, and has its own names for totals.
        let client = || all(&["duration", "completed", "output_throughput"]);
        let sglang = || {
            any(&[
                "total_output_tokens_retokenized",
                "mean_e2e_latency_ms",
                "median_e2e_latency_ms",
                "total_throughput",
                "server_info",
            ])
        };
        let vllm = || {
            any(&["tokenizer_id", "total_token_throughput", "request_inthroughput", "best_of", "burstiness"])
        };
        match self {
            Self::LlamaBench => all(&["n_prompt", "n_gen", "avg_ns"]),
            Self::LlamaBatchedBench => all(&["pp", "tg", "pl", "t_pp", "t_tg"]),
            Self::VllmServe => client() && vllm() && !sglang(),
            Self::VllmThroughput => all(&["elapsed_time", "num_requests", "total_num_tokens"]),
            Self::VllmLatency => all(&["avg_latency", "latencies", "percentiles"]),
            Self::SglangServing => client() && sglang() && !vllm(),
            Self::Guidellm => guidellm(row),
            Self::Aiperf => nvidia() && aiperf(),
            Self::GenaiPerf => nvidia() && !aiperf(),
            Self::TrtllmBench => all(&["engine", "world_info", "performance"]),
            Self::Inferencex => has("hw") && any(&["tput_per_gpu", "infmax_model_prefix", "spec_decoding"]),
        }
    }
}

/// guidellm states its type in each benchmark, and since 0.5 its version in the report.
fn guidellm(row: &Row) -> bool {
    let versioned = get(&row.fields, "metadata").and_then(Node::fields);
    let versioned = versioned.is_some_and(|fields| get(fields, "guidellm_version").is_some());
    let Some(Node::List(benchmarks)) = get(&row.fields, "benchmarks") else {
        return versioned && get(&row.fields, "benchmarks").is_some();
    };
    versioned
        || benchmarks.iter().filter_map(Node::fields).any(|fields| {
            matches!(get(fields, "type_"), Some(Node::Text(kind)) if kind.starts_with("generative_"))
        })
}

/// The tool that wrote the rows: by the first recognizable row, since rows of a failed run may not be.
pub(super) fn format(path: &Path, rows: &[Row]) -> Result<Format, Error> {
    let Some(first) = rows.first() else { return Err(unrecognised(path, "it has no rows".to_owned())) };
    let written_by = |row: &Row| Format::ALL.into_iter().find(|format| format.wrote(row));
    let mut found: Option<(Format, &Row)> = None;
    for row in rows {
        match (written_by(row), found) {
            (Some(format), None) => found = Some((format, row)),
            (Some(other), Some((format, before))) if other != format => {
                let place =
                    |row: &Row| if row.place.is_empty() { "the file".to_owned() } else { row.place.clone() };
                let reason = format!(
                    "{} is from {}, but {} from {}; split them into separate files",
                    place(before),
                    format.name(),
                    place(row),
                    other.name()
                );
                return Err(Error::Refused { path: path.to_owned(), reason });
            }
            _ => {}
        }
    }
    found.map(|(format, _)| format).ok_or_else(|| {
        if let Some(reason) = of_another_command(rows) {
            return Error::Refused { path: path.to_owned(), reason };
        }
        let names: Vec<String> =
            first.fields.iter().take(8).map(|(name, _)| format!("`{}`", shown(name))).collect();
        let more = if first.fields.len() > 8 { " …" } else { "" };
        let seen = match names.as_slice() {
            [] => "its first object is empty".to_owned(),
            _ => format!("its first object has {}{more}, which matches no known format", names.join(", ")),
        };
        unrecognised(path, seen)
    })
}

/// Why a price file is not a result.
pub(super) const PRICES: &str =
    "it is a price file, not a benchmark result; import it with `bench catalog update --from FILE`";

/// Recognizes a file for another command of this program.
fn of_another_command(rows: &[Row]) -> Option<String> {
    let schema = rows.iter().find_map(|row| match get(&row.fields, "schema") {
        Some(Node::Text(schema)) if schema.starts_with("infercost.") => Some(schema),
        _ => None,
    });
    if let Some(schema) = schema {
        return Some(match schema.strip_prefix("infercost.record/") {
            Some(_) => {
                "it is already a record of this program; use it with `bench cost`, `compare` or `export`"
                    .to_owned()
            }
            None => {
                format!("it is a file of this program ({}), not a result of another tool", shown(schema))
            }
        });
    }
    rows.iter().any(|row| update::is_of_prices(&row.fields)).then(|| PRICES.to_owned())
}

pub(super) fn unrecognised(path: &Path, seen: String) -> Error {
    let known: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
    Error::Unrecognised { path: path.to_owned(), seen, known: known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::rows::Rows;
    use super::*;

    fn detected(text: &str) -> Result<(&'static str, Format), String> {
        let path = Path::new("f");
        let read = || {
            let mut rows = Rows::open(path, text.as_bytes(), 1 << 20)?;
            let format = format(path, rows.first())?;
            Ok((rows.finish()?.form, format))
        };
        read().map_err(|error: Error| error.to_string())
    }

    #[test]
    fn form_and_tool_are_told_apart() {
        let row = r#"{"n_prompt": 1, "n_gen": 0, "avg_ns": 1}"#;
        assert_eq!(detected(row), Ok(("json", Format::LlamaBench)));
        assert_eq!(detected(&format!("[{row}, {row}]")), Ok(("json", Format::LlamaBench)));
        assert_eq!(detected(&format!("\u{feff}{row}\n\n{row}\n")), Ok(("jsonl", Format::LlamaBench)));
        let csv = "build,n_prompt,n_gen,avg_ns\n1,2,3,4\n";
        assert_eq!(detected(csv), Ok(("csv", Format::LlamaBench)));
        let sql = "INSERT INTO t (n_prompt, n_gen, avg_ns) VALUES ('1', '2', '3');";
        assert_eq!(detected(sql), Ok(("sql", Format::LlamaBench)));
    }

    #[test]
    fn what_is_not_known_says_what_was_seen_and_what_is_known() {
        for (text, expected) in [
            ("", "the file is empty; supported: llama-bench, "),
            ("hello\nworld", "it begins with `hello`"),
            (r#"{"speed": 5}"#, "its first object has `speed`, which matches no known"),
            ("{}", "its first object is empty"),
            ("[1, 2]", "it begins with `[1, 2]`, which matches no known format"),
            ("[]", "it begins with `[]`"),
            ("[{}, 1]", "row 2 is not an object"),
            ("| model | size |", "a Markdown table has rounded figures and no samples; run llama-bench"),
        ] {
            let message = detected(text).expect_err(text);
            assert!(message.starts_with(&format!("f: {expected}")), "{text}: {message}");
        }
    }

    #[test]
    fn what_another_command_reads_is_named() {
        for (text, expected) in [
            (r#"{"schema": "infercost.record/1", "id": "x"}"#, "it is already a record of this program"),
            (r#"{"schema": "infercost.gate/1"}"#, "it is a file of this program (infercost.gate/1)"),
            (r#"{"sample_spec": {}, "m": {"litellm_provider": "x", "input_cost_per_token": 1}}"#, PRICES),
            (r#"{"data": [{"id": "a/b", "pricing": {}}]}"#, PRICES),
            (r#"[{"id": "a", "models": []}]"#, PRICES),
        ] {
            let message = detected(text).expect_err(text);
            assert!(message.starts_with(&format!("f: {expected}")), "{text}: {message}");
        }
    }

    #[test]
    fn every_name_leads_back() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(format));
        }
    }
}
