//! Models known by name: the network's shape, where its weights are, which API rows sell the same model.
//!
//! Owns the row and nothing else: what a file really contains is read from its header by `model`.
//! Shapes come from each model repository's `config.json`; `source` names the page that was read.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::checked::{count, date, positive};

/// One model of `configs/models.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    /// What `--model` takes before the colon: `llama-3.1-8b`.
    pub id: String,
    /// The model's name in prose.
    pub name: String,
    /// Other names that `--model` takes.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// GGUF files on the hub.
    #[serde(default)]
    pub hub: Option<Hub>,
    /// Repository of the unquantized weights on the hub.
    #[serde(default)]
    pub original: Option<String>,
    /// The value of `model` in the API price rows that sell this model.
    #[serde(default)]
    pub api_model: Option<String>,
    /// Licence of the weights, as the hub names it.
    #[serde(default)]
    pub license: Option<String>,
    /// The network's dimensions.
    pub shape: Shape,
    /// Where the shape was read.
    pub source: String,
    /// When it was read.
    #[serde(deserialize_with = "date")]
    pub checked: Date,
    /// Anything else a reader should know.
    #[serde(default)]
    pub note: Option<String>,
}

/// A repository of GGUF files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hub {
    /// `organisation/name`.
    pub repo: String,
    /// File name by lower-case quantization (`q4_k_m`); a quantization not listed is looked up in the repository.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// The dimensions of a transformer, enough to lay out every tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own, named as in config.json")]
pub struct Shape {
    /// GGUF's name for it: `llama`, `qwen2`, `qwen3`, `qwen3moe`, `gemma3`, `phi3`, `gpt-oss`, `smollm3`.
    pub architecture: String,
    /// Transformer blocks.
    #[serde(deserialize_with = "count")]
    pub layers: u32,
    /// Width of the residual stream.
    #[serde(deserialize_with = "count")]
    pub width: u32,
    /// Width of the feed-forward layer.
    #[serde(deserialize_with = "count")]
    pub feed_forward: u32,
    /// Query heads.
    #[serde(deserialize_with = "count")]
    pub heads: u32,
    /// Key and value heads.
    #[serde(deserialize_with = "count")]
    pub kv_heads: u32,
    /// Width of one head.
    #[serde(deserialize_with = "count")]
    pub head_size: u32,
    /// Elements of a head that are rotated by position; absent where all are.
    #[serde(default)]
    pub rotated: Option<u32>,
    /// Rows of the embedding.
    #[serde(deserialize_with = "count")]
    pub vocabulary: u32,
    /// Longest context, in tokens.
    #[serde(deserialize_with = "count")]
    pub context_length: u32,
    /// Whether the output head shares the embedding's weights.
    pub tied_head: bool,
    /// Base of the rotary position embedding.
    #[serde(deserialize_with = "positive")]
    pub rope_theta: f64,
    /// Epsilon of the RMS norms.
    #[serde(deserialize_with = "positive")]
    pub norm_epsilon: f64,
    /// Whether the query, key and value projections have a bias (Qwen2, gpt-oss).
    pub qkv_bias: bool,
    /// Whether queries and keys are normalised per head (Qwen3, Gemma 3).
    pub qk_norm: bool,
    /// Whether a GGUF carries `rope_freqs.weight` (Llama 3.1 and later).
    pub rope_factors: bool,
    /// Positions that a local layer attends to; absent if every layer attends to all.
    #[serde(default)]
    pub sliding_window: Option<u32>,
    /// Experts that replace the feed-forward layer; absent in a dense model.
    #[serde(default)]
    pub experts: Option<ExpertShape>,
}

/// The experts of a block, of which a router chooses some for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertShape {
    /// How many there are.
    #[serde(deserialize_with = "count")]
    pub count: u32,
    /// How many experts each token is routed to.
    #[serde(deserialize_with = "count")]
    pub used: u32,
    /// Width of one.
    #[serde(deserialize_with = "count")]
    pub feed_forward: u32,
}

impl Shape {
    /// Weights in the matrices: embedding, output head unless tied, attention and feed-forward.
    ///
    /// Norms and biases are left out; they are under a thousandth of any row here.
    pub fn matrix_parameters(&self) -> u64 {
        let [width, feed_forward, head_size] = [self.width, self.feed_forward, self.head_size].map(u64::from);
        let embeddings = u64::from(self.vocabulary) * width * if self.tied_head { 1 } else { 2 };
        let attention = width * head_size * 2 * (u64::from(self.heads) + u64::from(self.kv_heads));
        let feed = self.experts.map_or(3 * width * feed_forward, |experts| {
            // The router has a row for each.
            u64::from(experts.count) * (3 * width * u64::from(experts.feed_forward) + width)
        });
        embeddings + u64::from(self.layers) * (attention + feed)
    }
}
