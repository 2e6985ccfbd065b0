//! What the tests of this room share: the real model, and tiny GGUF files made on the spot.
#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests alone"
)]

use std::path::{Path, PathBuf};

use super::gguf::write::{Planned, head};
use super::gguf::{Gguf, Value, parse};
use super::{Error, TensorType};
use crate::base::env;

/// The real SmolLM2-135M-Instruct in `Q4_1`, or `None` after saying how to get it.
///
/// # Panics
/// Under `CI=true` when the file is not there.
pub fn real_model() -> Option<PathBuf> {
    let path = env::test_model()
        .unwrap_or_else(|| env::cache_folder().join("models/SmolLM2-135M-Instruct.Q4_1.gguf"));
    there_or_skipped(path, "scripts/fetch-test-model")
}

/// A program of llama.cpp, or `None` after saying how to get it.
///
/// # Panics
/// Under `CI=true` when it is not there.
pub fn llama_cpp(program: &str) -> Option<PathBuf> {
    there_or_skipped(env::llama_cpp_folder().join(program), "scripts/peer/llama-cpp")
}

#[allow(clippy::print_stderr, reason = "a skipped test says so where the test runner shows it")]
fn there_or_skipped(path: PathBuf, command: &str) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    let message = format!("skipped: {} is not there; get it with {command}", path.display());
    assert!(!env::is_ci(), "{message}");
    eprintln!("{message}");
    None
}

/// A small GGUF file to be written: one llama block of width 32, changed by tests as they need.
#[derive(Debug, Clone)]
pub struct Draft {
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<Planned>,
}

impl Draft {
    pub fn new() -> Self {
        let metadata = [
            ("general.architecture", Value::string("llama")),
            ("general.name", Value::string("Tiny")),
            ("general.file_type", Value::U32(2)),
            ("llama.block_count", Value::U32(1)),
            ("llama.context_length", Value::U32(128)),
            ("llama.embedding_length", Value::U32(32)),
            ("llama.feed_forward_length", Value::U32(64)),
            ("llama.attention.head_count", Value::U32(4)),
            ("llama.attention.head_count_kv", Value::U32(2)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", Value::U32(8)),
        ];
        let tensors: [(&str, TensorType, &[u64]); 4] = [
            ("token_embd.weight", TensorType::Q8_0, &[10, 32]),
            ("blk.0.attn_q.weight", TensorType::Q8_0, &[32, 32]),
            ("blk.0.ffn_down.weight", TensorType::Q4_0, &[32, 64]),
            ("output_norm.weight", TensorType::F32, &[32]),
        ];
        Self {
            metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
            tensors: tensors
                .map(|(name, dtype, shape)| Planned { name: name.to_owned(), dtype, shape: shape.to_vec() })
                .into(),
        }
    }

    /// Puts `value` under `key`, or takes the key away.
    pub fn with(mut self, key: &str, value: impl Into<Option<Value>>) -> Self {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata.extend(value.into().map(|value| (key.to_owned(), value)));
        self
    }

    /// Adds a tensor.
    pub fn tensor(mut self, name: &str, dtype: TensorType, shape: &[u64]) -> Self {
        self.tensors.push(Planned { name: name.to_owned(), dtype, shape: shape.to_vec() });
        self
    }

    /// Takes a tensor away.
    pub fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    /// The whole file, its data zero.
    pub fn file(&self) -> Vec<u8> {
        let head = head(&self.metadata, &self.tensors);
        let mut bytes = head.bytes;
        bytes.resize(usize::try_from(head.length).unwrap(), 0);
        bytes
    }

    pub fn parse(&self) -> Result<Gguf, Error> {
        parse_bytes(&self.file())
    }
}

/// Parses bytes as if they were the file `tiny.gguf`.
pub fn parse_bytes(bytes: &[u8]) -> Result<Gguf, Error> {
    parse(bytes, bytes.len() as u64, Path::new("tiny.gguf"))
}
