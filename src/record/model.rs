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
    pub synthetic: bool,
    /// Architecture in GGUF's words.
    pub architecture: String,
    /// Number of weights, shared ones counted once.
    pub parameters: u64,
    /// Format of the weights.
    pub quantization: String,
    /// Bytes of all tensors as stored.
    pub weight_bytes: u64,
    /// Longest context the model was made for.
    pub context_length: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Entries in the vocabulary.
    pub vocabulary: u32,
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

/// The engine that ran the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EngineInfo {
    /// Its name: `candle`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Device it computed on: `cpu`, `cuda:0`.
    pub device: String,
    /// Threads that computed.
    pub threads: Option<usize>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads_reason: Option<String>,
    /// Format of the KV cache.
    pub kv_type: String,
    /// Memory foreseen before loading, by part.
    pub foreseen_memory_bytes: u64,
    /// What the engine does wrong or differently on this model.
    pub caveats: Vec<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}
