//! candle's networks, and what of a header decides how they are loaded.

use crate::engine::Error;
use crate::model::{Header, ModelSpec, TensorInfo, TensorType};

use super::unsupported;

/// candle's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama,
    Qwen2,
    Qwen3,
    Gemma3,
    Phi3,
}

/// Names as GGUF writes them in `general.architecture`.
const FAMILIES: [(&str, Family); 5] = [
    ("llama", Family::Llama),
    ("qwen2", Family::Qwen2),
    ("qwen3", Family::Qwen3),
    ("gemma3", Family::Gemma3),
    ("phi3", Family::Phi3),
];

/// The family of the model that `header` describes.
pub(super) fn family_of(header: &Header) -> Result<Family, Error> {
    let architecture = header.spec.architecture.as_str();
    if let Some((_, family)) = FAMILIES.iter().find(|(name, _)| *name == architecture) {
        return Ok(*family);
    }
    let known = FAMILIES.map(|(name, _)| name).join(", ");
    let reason = match architecture {
        "qwen3moe" => {
            "candle computes its experts on CUDA only, one sequence at a time, and cannot empty its cache"
                .to_owned()
        }
        "gemma" | "gemma2" => {
            "candle reads it as Gemma 3, without the soft caps of its attention and logits".to_owned()
        }
        _ => "candle-transformers has no quantized network for it here".to_owned(),
    };
    Err(unsupported(format!("run the architecture `{architecture}`"), format!("{reason}; known: {known}")))
}

/// Whether candle takes the head's width for `width / heads`, whatever the file says.
pub(super) fn divides_width_by_heads(family: Family) -> bool {
    matches!(family, Family::Llama | Family::Qwen2 | Family::Phi3)
}

/// Whether a head is as wide as `width / heads`.
pub(super) fn plain_heads(spec: &ModelSpec) -> bool {
    u64::from(spec.head_size) * u64::from(spec.heads) == u64::from(spec.width)
}

/// Whether the header describes a GGUF file (or a synthetic one) and not a safetensors folder.
pub(super) fn is_gguf(header: &Header) -> bool {
    header.tensor("token_embd.weight").is_some()
}

/// Whether the output head keeps its blocks.
pub(super) fn quantized_head(header: &Header) -> bool {
    header.tensor("output.weight").or_else(|| header.tensor("token_embd.weight")).is_some_and(is_blocks)
}

/// Whether the tensor is stored in quantized blocks; candle turns every other format into plain floats.
pub(super) fn is_blocks(tensor: &TensorInfo) -> bool {
    !matches!(tensor.dtype, TensorType::F16 | TensorType::BF16 | TensorType::F32)
}
