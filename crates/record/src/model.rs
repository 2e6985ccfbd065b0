//! Which model ran, and in which engine.

use super::Unknown;
use crate::base::known::{self, Known};

/// The model that was measured.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct ModelInfo {
    /// As asked for: catalog id, path or hub name.
    pub id: String,
    /// Name the file gives itself.
    pub name: String,
    /// Where the bytes came from: path, hub address with revision, or the recipe of a synthetic model.
    pub source: String,
    /// True shapes and formats with random values: speed is real, text and quality are not.
    pub synthetic: Known<bool>,
    /// Architecture in GGUF's words.
    pub architecture: Known<String>,
    /// Number of weights, shared ones counted once.
    pub parameters: Known<u64>,
    /// Format of the weights.
    pub quantization: Known<String>,
    /// What the file, its name or the report says instead, where the weights are something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization_note: Option<String>,
    /// Bytes of all tensors as stored.
    pub weight_bytes: Known<u64>,
    /// Longest context the model was made for.
    pub context_length: Known<u32>,
    /// Transformer blocks.
    pub layers: Known<u32>,
    /// Entries in the vocabulary.
    pub vocabulary: Known<u32>,
    /// sha256 of the file; of the files' hashes in name order for a folder.
    pub sha256: Known<String>,
    /// Row of the catalog whose API prices are this model's.
    pub catalog_id: Known<String>,
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
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct EngineInfo {
    /// Its name: `candle`.
    pub name: Known<String>,
    /// Its version.
    pub version: Known<String>,
    /// Device it computed on: `cpu`, `cuda:0`.
    pub device: Known<String>,
    /// Threads that computed.
    pub threads: Known<usize>,
    /// Format of the KV cache.
    pub kv_type: Known<String>,
    /// Memory estimated before loading, by part.
    pub foreseen_memory_bytes: Known<u64>,
    /// What the engine does wrong or differently on this model.
    pub caveats: Vec<String>,
    /// What the engine chose on this machine by trying, with what the trial gave. Results do not depend on it, speed does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}
