//! Which model ran, and in which engine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Unknown;

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelInfo {
    /// As asked for: catalog id, path or hub name.
    pub id: String,
    /// Name the file gives itself.
    pub name: String,
    /// Where the bytes came from: path, hub address with revision, or the recipe of a synthetic model.
    pub source: String,
    /// True shapes and formats with random values: speed is real, text and quality are not.
    pub synthetic: Option<bool>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic_reason: Option<String>,
    /// Architecture in GGUF's words.
    pub architecture: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture_reason: Option<String>,
    /// Number of weights, shared ones counted once.
    pub parameters: Option<u64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_reason: Option<String>,
    /// Format of the weights.
    pub quantization: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_reason: Option<String>,
    /// What the file, its name or the report says instead, where the weights are something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_note: Option<String>,
    /// Bytes of all tensors as stored.
    pub weight_bytes: Option<u64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_bytes_reason: Option<String>,
    /// Longest context the model was made for.
    pub context_length: Option<u32>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length_reason: Option<String>,
    /// Transformer blocks.
    pub layers: Option<u32>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers_reason: Option<String>,
    /// Entries in the vocabulary.
    pub vocabulary: Option<u32>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary_reason: Option<String>,
    /// sha256 of the file; of the files' hashes in name order for a folder.
    pub sha256: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_reason: Option<String>,
    /// Row of the catalog whose API prices are this model's.
    pub catalog_id: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog_id_reason: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl ModelInfo {
    /// Name and format of the weights, for a heading.
    pub fn label(&self) -> String {
        format!("{} · {}", self.name, self.quantization.as_deref().unwrap_or("format unknown"))
    }
}

/// The engine that ran the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInfo {
    /// Its name: `candle`.
    pub name: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_reason: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_reason: Option<String>,
    /// Device it computed on: `cpu`, `cuda:0`.
    pub device: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_reason: Option<String>,
    /// Threads that computed.
    pub threads: Option<usize>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads_reason: Option<String>,
    /// Format of the KV cache.
    pub kv_type: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_type_reason: Option<String>,
    /// Memory foreseen before loading, by part.
    pub foreseen_memory_bytes: Option<u64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreseen_memory_bytes_reason: Option<String>,
    /// What the engine does wrong or differently on this model.
    pub caveats: Vec<String>,
    /// What the engine chose on this machine by trying, with what the trial gave. Results do not depend on it, speed does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}
