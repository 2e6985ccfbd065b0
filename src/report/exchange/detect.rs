//! From bytes to rows, and which tool wrote them.
//!
//! The text's form is told by its first sign, the tool by fields that it alone writes together. What is not known is
//! refused with what was seen; nothing is guessed.

use std::path::Path;

use super::fields::Row;
use super::json::{self, Node, get, shown};
use super::{Error, table};

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

/// A file as rows.
#[derive(Debug)]
pub(super) struct Document {
    /// `json`, `jsonl`, `csv` or `sql`.
    pub(super) form: &'static str,
    pub(super) rows: Vec<Row>,
}

/// Reads `text` as rows.
pub(super) fn rows(path: &Path, text: &str) -> Result<Document, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let (form, rows) = if first.starts_with(['{', '[']) {
        json_rows(path, &json::quote_not_numbers(text))?
    } else if first.starts_with('|') || first.starts_with("main: n_kv_max") || first.contains("n_kv_max =") {
        return Err(Error::Refused { path: path.to_owned(), reason: MARKDOWN.to_owned() });
    } else if starts_statement(first) {
        ("sql", table::sql(path, text)?)
    } else if first.contains("n_prompt,") || first.contains("\"n_prompt\",") {
        ("csv", table::csv(path, text)?)
    } else {
        let seen = if first.is_empty() {
            "the file is empty".to_owned()
        } else {
            format!("it begins with `{}`, which no known format does", shown(first))
        };
        return Err(unrecognised(path, seen));
    };
    if rows.is_empty() {
        return Err(unrecognised(path, "it has no rows".to_owned()));
    }
    Ok(Document { form, rows })
}

const MARKDOWN: &str = "a Markdown table has rounded figures and no samples; let llama-bench write them with `-o jsonl`, llama-batched-bench with `--output-format jsonl`";

fn starts_statement(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.starts_with("create table") || line.starts_with("insert into")
}

/// One JSON value or several, one behind the other; lists of objects are rows as well.
fn json_rows(path: &Path, text: &str) -> Result<(&'static str, Vec<Row>), Error> {
    let mut rows = Vec::new();
    let values = json::values(path, text);
    let mut count = 0;
    for value in values {
        let (line, node) = value?;
        count += 1;
        match node {
            Node::Object(fields) => {
                rows.push(Row { place: format!("line {line}"), quoted: false, fields });
            }
            Node::List(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    let Node::Object(fields) = item else {
                        return Err(unrecognised(path, format!("row {} is no object", index + 1)));
                    };
                    rows.push(Row { place: format!("row {}", index + 1), quoted: false, fields });
                }
            }
            _ => {
                return Err(unrecognised(
                    path,
                    format!("line {line} is neither an object nor a list of objects"),
                ));
            }
        }
    }
    if let ([row], 1) = (rows.as_mut_slice(), count)
        && row.place.starts_with("line")
    {
        row.place.clear();
    }
    Ok((if count > 1 { "jsonl" } else { "json" }, rows))
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

fn unrecognised(path: &Path, seen: String) -> Error {
    let known: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
    Error::Unrecognised { path: path.to_owned(), seen, known: known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(text: &str) -> Result<(&'static str, Format), String> {
        let path = Path::new("f");
        let found = rows(path, text).and_then(|document| Ok((document.form, format(path, &document.rows)?)));
        found.map_err(|error| error.to_string())
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
            ("[1, 2]", "line 1 is neither an object nor a list"),
            ("[]", "line 1 is neither"),
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
