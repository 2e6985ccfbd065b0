//! What a history reads from a file: the figures of a record, the ratios of a gate, the times of micro-benchmarks.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::base::text::shown;
use crate::record::{Cell, Metric, Unknown, Verdict};
use crate::regress::label;

/// One figure of one file.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When it was measured, according to its file (RFC 3339).
    pub created: String,
    /// Which program: a commit or a version.
    pub label: String,
    /// The figure.
    pub value: f64,
    /// Its 95% interval, if it has one.
    pub interval: Option<[f64; 2]>,
}

/// A file's content for the index.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// `record`, `gate` or `micro`.
    pub(super) kind: &'static str,
    pub(super) series: String,
    /// What was measured on which device, for a reader.
    pub(super) about: Option<String>,
    /// Whether the time is that of an import, since the imported file has none.
    pub(super) undated: bool,
    /// Name with cell, and the point.
    pub(super) points: Vec<(String, Point)>,
}

/// A record's metrics that have a history.
const METRICS: [Metric; 6] = [
    Metric::PrefillTokensPerSecond,
    Metric::DecodeTokensPerSecond,
    Metric::OutputTokensPerSecond,
    Metric::TotalTokensPerSecond,
    Metric::JoulesPerInputToken,
    Metric::JoulesPerOutputToken,
];

#[derive(Deserialize)]
struct Schema {
    schema: String,
}

#[derive(Deserialize)]
struct RecordFile {
    created: String,
    tool: Tool,
    fingerprint: Fingerprint,
    #[serde(default)]
    model: Option<Model>,
    validity: Validity,
    #[serde(default)]
    imported: Option<Imported>,
    measurements: Vec<Measured>,
}

#[derive(Deserialize)]
struct Imported {
    #[serde(default)]
    measured: Option<String>,
    tool_version: Option<String>,
    file: String,
    #[serde(default)]
    fields: Unknown,
}

#[derive(Deserialize)]
struct Tool {
    version: String,
    commit: Option<String>,
    binary_blake3: Option<String>,
}

#[derive(Deserialize)]
struct Fingerprint {
    series_key: String,
    #[serde(default)]
    series_fields: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    #[serde(default)]
    quantization: Option<String>,
}

#[derive(Deserialize)]
struct Validity {
    verdict: Verdict,
}

#[derive(Deserialize)]
struct Measured {
    metric: Metric,
    value: Option<f64>,
    ci95: Option<[f64; 2]>,
    cell: Option<Cell>,
}

#[derive(Deserialize)]
struct GateFile {
    created: String,
    label: String,
    series_key: Option<String>,
    #[serde(default)]
    about: Option<String>,
    decision: Option<Decision>,
}

#[derive(Deserialize)]
struct Decision {
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Finding {
    metric: String,
    slowdown: f64,
    interval: [f64; 2],
}

#[derive(Deserialize)]
struct MicroFile {
    created: String,
    label: String,
    series_key: String,
    #[serde(default)]
    processor: Option<String>,
    points: Vec<MicroPoint>,
}

#[derive(Deserialize)]
struct MicroPoint {
    name: String,
    seconds: f64,
    interval: [f64; 2],
}

/// A file's role in a history.
pub(super) enum Found {
    /// It contributes points.
    Entry(Entry),
    /// A record with a failed check.
    Invalid,
    /// A gate without a decision.
    Nothing,
}

/// Reads a file's text.
///
/// # Errors
/// A sentence if it is not one of our files, or is but cannot be read.
pub(super) fn read(text: &str) -> Result<Found, String> {
    let Schema { schema } = serde_json::from_str(text).map_err(|error| {
        let what = if error.is_data() { "it has no `schema`" } else { "it is not JSON" };
        format!("{what} ({error})")
    })?;
    match schema.as_str() {
        "infercost.record/1" => {
            let file: RecordFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(if file.validity.verdict == Verdict::Invalid {
                Found::Invalid
            } else {
                Found::Entry(record(file))
            })
        }
        "infercost.gate/1" => {
            let file: GateFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(gate(file).map_or(Found::Nothing, Found::Entry))
        }
        "infercost.micro/1" => {
            let file: MicroFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
            Ok(Found::Entry(micro(file)))
        }
        other => Err(format!("its schema is `{}`", shown(other))),
    }
}

/// Identifies a file: the record's id if it has one, and a hash of its content independent of formatting. For an imported
/// record, only the measurement is hashed: importing the same file again is not a new measurement.
pub(super) fn identity(text: &str) -> Option<(String, String)> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let id = value.get("id").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let mut hash = blake3::Hasher::new();
    match value.pointer("/imported/tool").filter(|tool| tool.is_string()) {
        Some(_) => {
            for place in ["/imported/tool", "/imported/rows", "/measurements", "/fingerprint/series_key"] {
                sorted(value.pointer(place).unwrap_or(&serde_json::Value::Null), &mut hash);
            }
        }
        None => sorted(&value, &mut hash),
    }
    Some((id, hash.finalize().to_hex().to_string()))
}

/// Hashes a value with the members of its objects sorted by name.
fn sorted(value: &serde_json::Value, hash: &mut blake3::Hasher) {
    match value {
        serde_json::Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            hash.update(b"{");
            for (name, value) in members {
                hash.update(&name.len().to_le_bytes()).update(name.as_bytes());
                sorted(value, hash);
            }
            hash.update(b"}");
        }
        serde_json::Value::Array(items) => {
            hash.update(b"[");
            for item in items {
                sorted(item, hash);
            }
            hash.update(b"]");
        }
        other => {
            let text = other.to_string();
            hash.update(&text.len().to_le_bytes()).update(text.as_bytes());
        }
    }
}

fn record(file: RecordFile) -> Entry {
    let label = match (&file.imported, &file.tool.commit, &file.tool.binary_blake3) {
        // The program that wrote the record is not the one that was measured.
        (Some(of), _, _) => label::imported(of.tool_version.as_deref(), &of.fields, &of.file),
        (None, Some(commit), _) => label::short(commit),
        (None, None, Some(hash)) => format!("{}+{}", file.tool.version, label::short(hash)),
        (None, None, None) => file.tool.version.clone(),
    };
    let points = file.measurements.into_iter().filter_map(|m| {
        let (cell, value) = (m.cell?, m.value.filter(|value| value.is_finite() && *value > 0.0)?);
        let wanted = METRICS.contains(&m.metric);
        let point = Point { created: file.created.clone(), label: label.clone(), value, interval: m.ci95 };
        wanted.then(|| (format!("{} {}", m.metric, cell.label()), point))
    });
    let points = points.collect();
    let about = file.model.map(|model| {
        label::about(&model.name, model.quantization.as_deref(), &file.fingerprint.series_fields)
    });
    let undated = file.imported.is_some_and(|imported| imported.measured.is_none());
    Entry { kind: "record", series: file.fingerprint.series_key, about, undated, points }
}

fn micro(file: MicroFile) -> Entry {
    let points = file.points.into_iter().map(|point| {
        let (created, label) = (file.created.clone(), file.label.clone());
        (point.name, Point { created, label, value: point.seconds, interval: Some(point.interval) })
    });
    let points = points.collect();
    Entry { kind: "micro", series: file.series_key, about: file.processor, undated: false, points }
}

/// A gate's points are ratios of the candidate's time to the baseline's, independent of the machine's daily state.
fn gate(file: GateFile) -> Option<Entry> {
    let points = file.decision?.findings.into_iter().map(|finding| {
        let point = Point {
            created: file.created.clone(),
            label: file.label.clone(),
            value: 1.0 + finding.slowdown,
            interval: Some(finding.interval.map(|end| 1.0 + end)),
        };
        (finding.metric, point)
    });
    let points = points.collect();
    Some(Entry { kind: "gate", series: file.series_key?, about: file.about, undated: false, points })
}
