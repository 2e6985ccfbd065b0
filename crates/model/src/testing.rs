//! What this crate's tests share: small GGUF files made on the spot.

use std::path::Path;

use super::gguf::write::{Planned, head};
use super::gguf::{Gguf, Value, parse};
use super::{Error, TensorType};

/// A small GGUF file to be written: one llama block of width 32, changed by tests as they need.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Planned>,
}

impl Draft {
    pub(crate) fn new() -> Self {
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
    pub(crate) fn with(mut self, key: &str, value: impl Into<Option<Value>>) -> Self {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata.extend(value.into().map(|value| (key.to_owned(), value)));
        self
    }

    /// Adds a tensor.
    pub(crate) fn tensor(mut self, name: &str, dtype: TensorType, shape: &[u64]) -> Self {
        self.tensors.push(Planned { name: name.to_owned(), dtype, shape: shape.to_vec() });
        self
    }

    /// Takes a tensor away.
    pub(crate) fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    /// The whole file, its data zero.
    pub(crate) fn file(&self) -> Vec<u8> {
        let head = head(&self.metadata, &self.tensors);
        let mut bytes = head.bytes;
        bytes.resize(usize::try_from(head.length).unwrap(), 0);
        bytes
    }

    pub(crate) fn parse(&self) -> Result<Gguf, Error> {
        parse_bytes(&self.file())
    }
}

/// Parses bytes as if they were the file `tiny.gguf`.
pub(crate) fn parse_bytes(bytes: &[u8]) -> Result<Gguf, Error> {
    parse(bytes, bytes.len() as u64, Path::new("tiny.gguf"))
}
