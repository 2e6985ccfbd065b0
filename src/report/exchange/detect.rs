//! Which tool wrote the rows.
//!
//! It is told by fields that it alone writes together. What is not known is refused with what was seen; nothing is
//! guessed.

use std::path::Path;

use super::Error;
use super::fields::Row;
use super::json::{get, shown};

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
    /// Every format, in the order in which a file is compared with them.
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

    /// What `--input-format` takes.
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

    /// The fields that only this tool writes together.
    fn marks(self) -> &'static [&'static str] {
        match self {
            Self::LlamaBench => &["n_prompt", "n_gen", "avg_ns"],
            Self::LlamaBatchedBench => &["pp", "tg", "pl", "t_pp", "t_tg"],
            Self::VllmServe => &["duration", "request_throughput", "total_token_throughput"],
            Self::VllmThroughput => &["elapsed_time", "num_requests", "total_num_tokens"],
            Self::VllmLatency => &["avg_latency", "latencies", "percentiles"],
            Self::SglangServing => &["duration", "input_throughput", "output_throughput"],
            Self::Guidellm => &["metadata", "benchmarks"],
            Self::Aiperf => &["aiperf_version", "request_throughput"],
            Self::GenaiPerf => &["input_config", "request_throughput", "request_latency"],
            Self::TrtllmBench => &["engine", "world_info", "performance"],
            Self::Inferencex => &["hw", "isl", "osl", "tput_per_gpu"],
        }
    }
}

/// The tool that wrote the rows.
pub(super) fn format(path: &Path, rows: &[Row]) -> Result<Format, Error> {
    let Some(row) = rows.first() else { return Err(unrecognised(path, "it has no rows".to_owned())) };
    let has = |name: &&str| get(&row.fields, name).is_some();
    Format::ALL.into_iter().find(|format| format.marks().iter().all(has)).ok_or_else(|| {
        let names: Vec<String> =
            row.fields.iter().take(8).map(|(name, _)| format!("`{}`", shown(name))).collect();
        let more = if row.fields.len() > 8 { " …" } else { "" };
        let seen = match names.as_slice() {
            [] => "its first object is empty".to_owned(),
            _ => format!("its first object has {}{more}, and no known format is like that", names.join(", ")),
        };
        unrecognised(path, seen)
    })
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
            ("", "the file is empty; known are llama-bench, "),
            ("hello\nworld", "it begins with `hello`"),
            (r#"{"speed": 5}"#, "its first object has `speed`, and no known"),
            ("{}", "its first object is empty"),
            ("[1, 2]", "it begins with `[1, 2]`, which no known format does"),
            ("[]", "it begins with `[]`"),
            ("[{}, 1]", "row 2 is no object"),
            ("| model | size |", "a Markdown table has rounded figures and no samples; let llama-bench"),
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
