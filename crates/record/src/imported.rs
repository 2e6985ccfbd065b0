//! Where figures came from that another tool measured.

use super::Unknown;
use crate::base::known::{self, Known};

/// The file that was imported, and what of it has no place elsewhere in the record.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Imported {
    /// The tool that measured: `llama-bench`, `vllm bench serve`.
    pub tool: String,
    /// Its version, as far as the file says.
    pub tool_version: Known<String>,
    /// Format of the file: `llama-bench-jsonl`.
    pub format: String,
    /// The file's name, without its folder.
    pub file: String,
    /// sha256 of the whole file.
    pub sha256: String,
    /// When it was measured (RFC 3339); `created` repeats it.
    #[reason = "Why it is `null`; `created` is then the time of the import."]
    pub measured: Known<String>,
    /// Requests that came to their end.
    pub requests_completed: Known<u64>,
    /// Requests that did not.
    pub requests_failed: Known<u64>,
    /// The file's own fields under their own names, those that are not too long.
    pub fields: Unknown,
    /// The same of each row, for a file of rows that share `fields`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Unknown>,
    /// Fields that are not kept as they were: too long, their samples then under the figures, or with a secret in them,
    /// which is dropped or stands as `[redacted]`.
    pub left_out: Vec<String>,
    /// Rows of the file that are no benchmark cell, such as dead runs of a sweep: where, and what says so. The first
    /// twenty are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows_left_out: Vec<String>,
    /// How many they are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_left_out_count: usize,
    /// What a reader should know of how the file was read: which GPUs were counted, what was not taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}
