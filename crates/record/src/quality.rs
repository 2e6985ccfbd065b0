//! Whether the output is what the model should say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Unknown;
use crate::base::known::{self, Known};

/// Evidence that the load was not broken.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Quality {
    /// The greedy continuation of a fixed prompt.
    pub greedy: Known<Greedy>,
    /// Perplexity of a text.
    pub perplexity: Known<f64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The greedy continuation of a fixed prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Greedy {
    /// The prompt.
    pub prompt: String,
    /// Its tokens, with the model's beginning-of-sequence token when the model wants one.
    pub prompt_tokens: Vec<u32>,
    /// Tokens of the continuation.
    pub tokens: Vec<u32>,
    /// The continuation as text.
    pub text: String,
    /// blake3 of the continuation's tokens, each as four little-endian bytes.
    pub tokens_blake3: String,
}
