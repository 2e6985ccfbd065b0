//! What stock candle knows, by name, judged from the header before anything is loaded.

use std::collections::HashSet;

use crate::model::architecture::{self, Tensor, Variant};
use crate::model::{Header, TensorType};

use super::facts::{Facts, Shape};
use super::family::{Family, divides_width_by_heads, family_of, is_gguf, plain_heads};
use super::{not_loaded, unsupported};
use crate::engine::{Demand, Device, Error};

/// Says whether this engine can run the model that `header` describes.
///
/// # Errors
/// [`Error::Unsupported`] with what is not known and what is, or [`Error::Load`] naming a tensor that
/// candle needs and the file lacks.
pub fn supports(header: &Header) -> Result<(), Error> {
    let family = family_of(header)?;
    let spec = &header.spec;
    if let Some(expert) = header
        .tensors
        .iter()
        .find(|tensor| tensor.name.contains("_exps.") || tensor.name.contains("ffn_gate_inp"))
    {
        return Err(unsupported(
            format!("run a mixture of experts (`{}`)", expert.name),
            "candle's quantized networks support only dense feed-forward layers in current files; use a model of another architecture",
        ));
    }
    // Of safetensors candle's Mistral is a Llama with heads of any size, untied and without scaled angles.
    let any_head = family == Family::Llama && !is_gguf(header) && !spec.tied_head && !header.has_rope_factors;
    let unknown = [TensorType::MXFP4, TensorType::IQ4_NL, TensorType::IQ4_XS];
    if let Some(tensor) = header.tensors.iter().find(|tensor| unknown.contains(&tensor.dtype)) {
        return Err(unsupported(
            format!("read tensor `{}` of type {}", tensor.name, tensor.dtype),
            "candle does not support this type; use a file in another one (such as Q4_K_M or Q8_0)",
        ));
    }
    if divides_width_by_heads(family) && !any_head && !plain_heads(spec) {
        return Err(unsupported(
            format!(
                "run heads of {} in a model of width {} with {} heads",
                spec.head_size, spec.width, spec.heads
            ),
            format!(
                "candle's {} assumes a head size of width / heads; use a model of another architecture",
                spec.architecture
            ),
        ));
    }
    if spec.kv_heads == 0 || !spec.heads.is_multiple_of(spec.kv_heads) {
        return Err(unsupported(
            format!("share {} key/value heads among {} query heads", spec.kv_heads, spec.heads),
            "the second must be a multiple of the first; the file is probably corrupted",
        ));
    }
    if family == Family::Gemma3 && !is_gguf(header) && spec.kv_heads > 1 {
        return Err(unsupported(
            format!("run unquantized Gemma 3 with {} key/value heads", spec.kv_heads),
            "candle stores the values of a prompt as a strided view there, which its own cache refuses; use a GGUF file of the model",
        ));
    }
    if is_gguf(header) {
        let names: HashSet<&str> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        if let Some(missing) =
            used_tensors(family, header).into_iter().find(|name| !names.contains(name.as_str()))
        {
            return Err(not_loaded(format!(
                "tensor `{missing}` is missing, and candle's {} needs it; convert the model again, or use another engine",
                spec.architecture
            )));
        }
    }
    Ok(())
}

/// Says whether this engine can run rows like `demand` on the model, as far as the header tells.
///
/// A model's sliding window is not in the header; [`Engine::run`](crate::engine::Engine::run) judges again.
///
/// # Errors
/// As [`supports`], and [`Error::Unsupported`] with the number that is too large and the way out.
pub fn can_run(header: &Header, demand: Demand) -> Result<(), Error> {
    supports(header)?;
    let facts = Facts::of(family_of(header)?, header, demand.device == Device::Cpu);
    facts.check_shape(Shape {
        batch: demand.batch as usize,
        context: demand.context as usize,
        prompt: demand.prompt as usize,
        output: demand.output as usize,
    })
}

/// Every tensor that candle reads of a GGUF file and cannot do without: those of the dense model, without biases that only
/// some models of the architecture have.
fn used_tensors(family: Family, header: &Header) -> Vec<String> {
    let Some(architecture) = architecture::named(&header.spec.architecture) else { return Vec::new() };
    let own_head = family == Family::Phi3;
    let variant = Variant { experts: false, qkv_bias: false, own_head, rope_factors: false };
    let used = |tensor: &&Tensor| tensor.when.holds(variant);
    let outside = architecture.input.iter().chain(architecture.output).filter(used);
    let blocks = (0..header.spec.layers)
        .flat_map(|layer| architecture.block.iter().filter(used).map(move |tensor| tensor.in_block(layer)));
    outside.map(|tensor| tensor.name.to_owned()).chain(blocks).collect()
}

/// Tensors of a GGUF file that candle does not read; `rope_freqs.weight` has its own caveat.
pub(super) fn ignored_tensors(family: Family, header: &Header) -> Vec<String> {
    let used: HashSet<String> = used_tensors(family, header).into_iter().collect();
    let optional = ["output.weight", "rope_freqs.weight"];
    let mut ignored: Vec<String> = header.tensors.iter().map(|tensor| tensor.name.clone()).collect();
    ignored.retain(|name| !used.contains(name) && !optional.contains(&name.as_str()));
    ignored
}
