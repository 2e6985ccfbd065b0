//! The metadata keys of a model, and what is in its tensors, from a preset's shape.
//!
//! The architecture's table says which tensors there are ([`architecture`]). Weights of a matrix with rows of n elements
//! have the deviation 1/√n, so that its outputs are as large as its inputs; norm weights are near 1.
#![allow(clippy::cast_possible_truncation, reason = "GGUF's keys and the weights are single precision")]

use super::mixture::{Mixture, Whole};
use crate::TensorType;
use crate::architecture::{self, Architecture, Kind, Presence, Role, Sizes, Tensor, Variant};
use crate::catalog::{ModelRow, Shape};
use crate::gguf::Value;
use crate::gguf::write::Planned;
use crate::header::SYNTHETIC_MARK;
use crate::quantize::Distribution;

/// Elements of the largest model that is not a typo.
const MAX_PARAMETERS: u128 = 10_000_000_000_000;
/// Largest width, vocabulary and so on; the GGUF reader has the same limit.
const MAX_DIMENSION: u32 = 1 << 24;
const MAX_LAYERS: u32 = 1 << 12;
/// Most experts of a block that llama.cpp loads.
const MAX_EXPERTS: u32 = 512;

/// What to write: keys, tensors, and what is in them.
pub(super) struct Network {
    pub metadata: Vec<(String, Value)>,
    pub planned: Vec<Planned>,
    pub contents: Vec<Content>,
}

/// What is in a tensor.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// Random weights.
    Random(Distribution),
    /// These numbers.
    Given(Vec<f32>),
}

/// Norm weights: near 1, and different enough to show when two are mixed up.
const NORM: Content = Content::Random(Distribution { mean: 1.0, deviation: 0.05 });
/// Biases: small compared with activations of about 1.
const BIAS: Content = Content::Random(Distribution { mean: 0.0, deviation: 0.1 });

impl Network {
    pub(super) fn new(row: &ModelRow, mixture: Mixture, seed: u64) -> Result<Self, String> {
        let shape = &row.shape;
        let architecture = check(shape)?;
        if mixture.is_for_experts() && shape.experts.is_none() {
            return Err(format!(
                "{} is a format for mixtures of experts, but its shape has no experts; use another one (such as q4_k_m or q8_0)",
                mixture.label()
            ));
        }
        let mut network =
            Self { metadata: metadata(row, mixture, seed), planned: Vec::new(), contents: Vec::new() };
        let mut builder = Builder {
            network: &mut network,
            mixture,
            whole: whole(shape),
            shape,
            sizes: sizes(shape),
            variant: variant(shape),
        };
        builder.model(architecture);
        let parameters: u128 = network
            .planned
            .iter()
            .map(|tensor| tensor.shape.iter().map(|size| u128::from(*size)).product::<u128>())
            .sum();
        if parameters > MAX_PARAMETERS {
            return Err(format!(
                "its shape has {parameters} weights, more than any model; correct its catalog row"
            ));
        }
        Ok(network)
    }
}

/// Refuses shapes whose arithmetic would overflow; the rest is checked when the header is read back.
fn check(shape: &Shape) -> Result<&'static Architecture, String> {
    let architecture = architecture::named(&shape.architecture).ok_or_else(|| {
        format!(
            "synthetic weights do not support its architecture `{}`; supported: {}",
            shape.architecture.escape_debug(),
            architecture::names(|_| true)
        )
    })?;
    let sizes = [
        ("layers", shape.layers, MAX_LAYERS),
        ("width", shape.width, MAX_DIMENSION),
        ("feed_forward", shape.feed_forward, MAX_DIMENSION),
        ("heads", shape.heads, MAX_DIMENSION),
        ("kv_heads", shape.kv_heads, shape.heads),
        ("head_size", shape.head_size, MAX_DIMENSION / shape.heads.max(1)),
        ("vocabulary", shape.vocabulary, MAX_DIMENSION),
        ("context_length", shape.context_length, u32::MAX),
    ];
    for (field, value, most) in sizes {
        if value == 0 || value > most {
            return Err(format!(
                "its shape has {field} = {value}, expected 1 to {most}; correct its catalog row"
            ));
        }
    }
    if !shape.heads.is_multiple_of(shape.kv_heads) {
        return Err(format!(
            "its shape has kv_heads = {}, which does not divide {} heads; correct its catalog row",
            shape.kv_heads, shape.heads
        ));
    }
    let rotated = rotated(shape);
    for (field, value) in [("head_size", shape.head_size), ("rotated", rotated)] {
        if !value.is_multiple_of(2) {
            return Err(format!(
                "its shape has {field} = {value}, but rotary positions rotate pairs; correct its catalog row"
            ));
        }
    }
    if rotated == 0 || rotated > shape.head_size || (rotated < shape.head_size && !architecture.rope.partial)
    {
        return Err(format!(
            "its shape has rotated = {rotated} of a head's {} elements, which {} does not do; correct its catalog row",
            shape.head_size, architecture.name
        ));
    }
    if architecture.windows.is_some() && shape.sliding_window.is_none_or(|positions| positions == 0) {
        return Err(format!(
            "its shape has no sliding_window, which {} needs; correct its catalog row",
            architecture.name
        ));
    }
    check_experts(architecture, shape)?;
    for (field, asked, role) in [
        ("qkv_bias", shape.qkv_bias, Role::QueryBias),
        ("qk_norm", shape.qk_norm, Role::QueryNorm),
        ("rope_factors", shape.rope_factors, Role::RopeFactors),
    ] {
        if asked && architecture.tensor(role).is_none() {
            return Err(format!(
                "its shape has {field} = true, and {} has no tensors for it; correct its catalog row",
                architecture.name
            ));
        }
    }
    for (field, value) in [("rope_theta", shape.rope_theta), ("norm_epsilon", shape.norm_epsilon)] {
        let single = value as f32;
        if !(single.is_finite() && single > 0.0) {
            return Err(format!(
                "its shape has {field} = {value}, expected a number above 0; correct its catalog row"
            ));
        }
    }
    Ok(architecture)
}

fn check_experts(architecture: &Architecture, shape: &Shape) -> Result<(), String> {
    let name = architecture.name;
    let Some(experts) = shape.experts else {
        return if architecture.experts == Presence::Always {
            Err(format!("its shape has no experts, which {name} needs; correct its catalog row"))
        } else {
            Ok(())
        };
    };
    if architecture.experts == Presence::Never {
        return Err(format!(
            "its shape has experts, but {name} has none; supported: {}",
            architecture::names(|one| one.experts != Presence::Never)
        ));
    }
    for (field, value, most) in [
        ("experts.count", experts.count, MAX_EXPERTS),
        ("experts.used", experts.used, experts.count),
        ("experts.feed_forward", experts.feed_forward, MAX_DIMENSION),
    ] {
        if value == 0 || value > most {
            return Err(format!(
                "its shape has {field} = {value}, expected 1 to {most}; correct its catalog row"
            ));
        }
    }
    if has_one_width(architecture) && experts.feed_forward != shape.feed_forward {
        return Err(format!(
            "its shape has experts.feed_forward = {}, and feed_forward = {}: in a {name} they are the same; correct its catalog row",
            experts.feed_forward, shape.feed_forward
        ));
    }
    Ok(())
}

/// Whether a file has one number for the width of a feed-forward layer and of an expert.
fn has_one_width(architecture: &Architecture) -> bool {
    architecture.experts == Presence::Optional
}

/// Elements of a head that are rotated.
fn rotated(shape: &Shape) -> u32 {
    shape.rotated.unwrap_or(shape.head_size)
}

fn sizes(shape: &Shape) -> Sizes {
    let experts = shape.experts.map_or((0, 0), |experts| (experts.count, experts.feed_forward));
    Sizes {
        width: u64::from(shape.width),
        vocabulary: u64::from(shape.vocabulary),
        heads: u64::from(shape.heads),
        kv_heads: u64::from(shape.kv_heads),
        head: u64::from(shape.head_size),
        feed_forward: u64::from(shape.feed_forward),
        experts: u64::from(experts.0),
        expert: u64::from(experts.1),
        rotated: u64::from(rotated(shape)),
    }
}

fn variant(shape: &Shape) -> Variant {
    Variant {
        experts: shape.experts.is_some(),
        qkv_bias: shape.qkv_bias,
        own_head: !shape.tied_head,
        rope_factors: shape.rope_factors,
    }
}

/// llama.cpp counts Llamas of 80 blocks with grouped heads, and Qwen2 of 80 blocks, as "70B".
fn whole(shape: &Shape) -> Whole {
    let seventy_billion = shape.layers == 80
        && match shape.architecture.as_str() {
            "llama" => shape.heads != shape.kv_heads,
            "qwen2" => true,
            _ => false,
        };
    let experts = shape.experts.map_or(0, |experts| experts.count);
    let four_grouped = shape.heads / shape.kv_heads.max(1) >= 4;
    Whole { layers: shape.layers, tied_head: shape.tied_head, experts, seventy_billion, four_grouped }
}

fn metadata(row: &ModelRow, mixture: Mixture, seed: u64) -> Vec<(String, Value)> {
    let shape = &row.shape;
    let mut pairs = vec![
        ("general.architecture".to_owned(), Value::string(&shape.architecture)),
        ("general.type".to_owned(), Value::string("model")),
        ("general.name".to_owned(), Value::string(format!("{}{SYNTHETIC_MARK}{seed})", row.name))),
        ("general.file_type".to_owned(), Value::U32(mixture.file_type())),
        ("general.quantization_version".to_owned(), Value::U32(2)),
        // llama.cpp then makes as many nameless tokens as `vocab_size` says.
        ("tokenizer.ggml.model".to_owned(), Value::string("no_vocab")),
    ];
    let mut put = |key: &str, value: Value| pairs.push((format!("{}.{key}", shape.architecture), value));
    put("block_count", Value::U32(shape.layers));
    put("context_length", Value::U32(shape.context_length));
    put("embedding_length", Value::U32(shape.width));
    put("feed_forward_length", Value::U32(shape.feed_forward));
    put("attention.head_count", Value::U32(shape.heads));
    put("attention.head_count_kv", Value::U32(shape.kv_heads));
    put("attention.key_length", Value::U32(shape.head_size));
    put("attention.value_length", Value::U32(shape.head_size));
    put("attention.layer_norm_rms_epsilon", Value::F32(shape.norm_epsilon as f32));
    put("rope.dimension_count", Value::U32(rotated(shape)));
    put("rope.freq_base", Value::F32(shape.rope_theta as f32));
    put("vocab_size", Value::U32(shape.vocabulary));
    if let Some(experts) = shape.experts {
        put("expert_count", Value::U32(experts.count));
        put("expert_used_count", Value::U32(experts.used));
        if !architecture::named(&shape.architecture).is_some_and(has_one_width) {
            put("expert_feed_forward_length", Value::U32(experts.feed_forward));
        }
    }
    if let Some(positions) = shape.sliding_window {
        put("attention.sliding_window", Value::U32(positions));
    }
    if shape.architecture == "gpt-oss" {
        // `rope_scaling` of both published configurations.
        put("rope.scaling.type", Value::string("yarn"));
        put("rope.scaling.factor", Value::F32(32.0));
        put("rope.scaling.original_context_length", Value::U32(4096));
        put("rope.scaling.yarn_beta_fast", Value::F32(32.0));
        put("rope.scaling.yarn_beta_slow", Value::F32(1.0));
    }
    pairs
}

/// The factors by which Llama 3.1 and later divide rotary frequencies, [head size / 2].
///
/// Scaling of the published configurations (`rope_scaling` in config.json): the first training had 8,192
/// positions; wavelengths shorter than a quarter of that stay, longer than all of it are stretched by the
/// factor, and between the two it is blended. The factor is 32 for Llama 3.2 (the ones with a tied head)
/// and 8 for 3.1 and 3.3.
pub(super) fn rope_factors(shape: &Shape) -> Vec<f32> {
    const POSITIONS: f64 = 8192.0;
    const LOW: f64 = 1.0;
    const HIGH: f64 = 4.0;
    let factor = if shape.tied_head { 32.0 } else { 8.0 };
    (0..shape.head_size / 2)
        .map(|pair| {
            let exponent = 2.0 * f64::from(pair) / f64::from(shape.head_size);
            let wavelength = 2.0 * std::f64::consts::PI * shape.rope_theta.powf(exponent);
            let turns = POSITIONS / wavelength;
            let blend = ((turns - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - blend) / factor + blend)) as f32
        })
        .collect()
}

/// Adds tensors in the order of the file.
struct Builder<'a> {
    network: &'a mut Network,
    mixture: Mixture,
    whole: Whole,
    shape: &'a Shape,
    sizes: Sizes,
    variant: Variant,
}

impl Builder<'_> {
    fn model(&mut self, architecture: &Architecture) {
        for tensor in architecture.input {
            self.add(tensor, tensor.name.to_owned(), 0);
        }
        for layer in 0..self.shape.layers {
            for tensor in architecture.block {
                self.add(tensor, tensor.in_block(layer), layer);
            }
        }
        for tensor in architecture.output {
            self.add(tensor, tensor.name.to_owned(), 0);
        }
    }

    fn add(&mut self, tensor: &Tensor, name: String, layer: u32) {
        if !tensor.when.holds(self.variant) {
            return;
        }
        let shape = tensor.shape(&self.sizes);
        let row = shape.last().copied().unwrap_or(1);
        let (dtype, content) = match tensor.role.kind() {
            Kind::Matrix | Kind::Router => {
                let dtype = self.mixture.choose(tensor.role, layer, row, self.whole);
                let deviation = 1.0 / (row as f32).sqrt();
                (dtype, Content::Random(Distribution { mean: 0.0, deviation }))
            }
            Kind::Norm => (TensorType::F32, NORM),
            Kind::Bias => (TensorType::F32, BIAS),
            Kind::Factors => (TensorType::F32, Content::Given(rope_factors(self.shape))),
        };
        self.network.planned.push(Planned { name, dtype, shape });
        self.network.contents.push(content);
    }
}
