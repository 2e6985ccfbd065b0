//! Labels of a history's points: short names of the measured programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Fields in which tools write the commit they measured.
const COMMITS: [&str; 4] = ["build_commit", "git_commit", "commit", "git_sha"];
/// Minimum number of digits of a commit; fewer are more likely a version or a year.
pub(super) const LEAST_DIGITS: usize = 7;
/// Number of digits that identify a hash.
const DIGITS: usize = 12;

/// The first digits of a hash.
pub(super) fn short(hash: &str) -> String {
    hash.chars().take(DIGITS).collect()
}

/// Label of another tool's run: its commit with its build number, else its version, else the file.
pub(super) fn imported(version: Option<&str>, fields: &Map<String, Value>, file: &str) -> String {
    let text = |name: &&str| fields.get(*name).and_then(Value::as_str);
    let commit = COMMITS.iter().find_map(text).filter(|commit| is_commit(commit));
    match (commit, fields.get("build_number").and_then(Value::as_u64)) {
        // The format of llama.cpp's build tags.
        (Some(commit), Some(number)) => format!("{} b{number}", short(commit)),
        (Some(commit), None) => short(commit),
        (None, _) => version.unwrap_or(file).to_owned(),
    }
}

/// What a record measured, for a reader: model, format, device, and the tool if it was another one.
pub(super) fn about(model: &str, quantization: Option<&str>, series: &BTreeMap<String, String>) -> String {
    let field = |name: &str| series.get(name).map(String::as_str).filter(|value| *value != "unknown");
    let format = quantization.filter(|format| !model.to_lowercase().contains(&format.to_lowercase()));
    let model = [Some(model), format].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let device = match (field("gpu"), field("cpu")) {
        (Some(gpu), _) => {
            let number = field("gpus").filter(|number| *number != "1");
            Some(number.map_or_else(|| gpu.to_owned(), |number| format!("{number} × {gpu}")))
        }
        (None, Some(cpu)) => Some(field("threads").map_or_else(
            || cpu.to_owned(),
            |threads| {
                let s = if threads == "1" { "" } else { "s" };
                format!("{cpu}, {threads} thread{s}")
            },
        )),
        (None, None) => None,
    };
    let by = field("measured_by").or_else(|| field("engine")).map(str::to_owned);
    [Some(model), device, by].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// Whether a text looks like a commit hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() >= LEAST_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_names_model_device_and_engine() {
        let series = |fields: &[(&str, &str)]| {
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            about("SmolLM2-135M", Some("Q4_1"), &fields.collect())
        };
        let cpu = series(&[("cpu", "AMD EPYC"), ("threads", "2"), ("engine", "fused")]);
        assert_eq!(cpu, "SmolLM2-135M Q4_1 · AMD EPYC, 2 threads · fused");
        let gpus = series(&[
            ("gpu", "NVIDIA H100"),
            ("gpus", "2"),
            ("measured_by", "llama-bench"),
            ("engine", "llama.cpp"),
        ]);
        assert_eq!(gpus, "SmolLM2-135M Q4_1 · 2 × NVIDIA H100 · llama-bench");
        assert_eq!(about("m-q4_1", Some("Q4_1"), &BTreeMap::new()), "m-q4_1");
    }

    #[test]
    fn another_tools_commit_names_its_run() {
        let fields = |value: Value| value.as_object().cloned().expect("an object");
        let llama = fields(serde_json::json!({ "build_commit": "4d3b1f2a9", "build_number": 6123 }));
        assert_eq!(imported(Some("6123 (4d3b1f2a9)"), &llama, "a.json"), "4d3b1f2a9 b6123");
        let packaged = fields(serde_json::json!({ "build_commit": "sdist", "build_number": 11434 }));
        assert_eq!(imported(Some("11434 (sdist)"), &packaged, "a.json"), "11434 (sdist)");
        assert_eq!(imported(Some("0.11.2"), &Map::new(), "a.json"), "0.11.2");
        assert_eq!(imported(None, &Map::new(), "a.json"), "a.json");
        let long = fields(serde_json::json!({ "git_sha": "0123456789abcdef0123" }));
        assert_eq!(imported(None, &long, "a.json"), "0123456789ab");
    }
}
