//! The tensors and metadata keys of each architecture, from a preset's shape.
//!
//! Names and shapes are those that llama.cpp's converter writes and that both llama.cpp (src/models/*.cpp) and
//! candle-transformers (`quantized_*.rs`) load. Weights of a matrix with rows of n elements have the deviation
//! 1/√n, so that its outputs are as large as its inputs; norm weights are near 1.
#![allow(clippy::cast_possible_truncation, reason = "GGUF's keys and the weights are single precision")]

use super::mixture::{Mixture, Role, Whole};
use crate::TensorType;
use crate::catalog::{ModelRow, Shape};
use crate::gguf::Value;
use crate::gguf::write::Planned;
use crate::header::SYNTHETIC_MARK;
use crate::quantize::Distribution;

/// Architectures whose tensors are known here.
const ARCHITECTURES: &[&str] = &["llama", "qwen2", "qwen3", "qwen3moe", "gemma3", "phi3", "gpt-oss"];
/// Of these, the ones that may have experts.
const WITH_EXPERTS: &[&str] = &["llama", "qwen3moe", "gpt-oss"];
/// And those that are nothing without.
const ALL_EXPERTS: &[&str] = &["qwen3moe", "gpt-oss"];
/// Those with a sliding window in some of their blocks.
const WITH_WINDOW: &[&str] = &["gemma3", "gpt-oss"];
/// Elements of the largest model that is not a slip of the pen.
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
/// Biases: small beside activations of about 1.
const BIAS: Content = Content::Random(Distribution { mean: 0.0, deviation: 0.1 });

impl Network {
    pub(super) fn new(row: &ModelRow, mixture: Mixture, seed: u64) -> Result<Self, String> {
        let shape = &row.shape;
        check(shape)?;
        if mixture.is_for_experts() && shape.experts.is_none() {
            return Err(format!(
                "{} is a format of mixtures of experts, and its shape has none; take another one (q4_k_m or q8_0, say)",
                mixture.label()
            ));
        }
        let mut network =
            Self { metadata: metadata(row, mixture, seed), planned: Vec::new(), contents: Vec::new() };
        let mut builder = Builder { network: &mut network, mixture, whole: whole(shape) };
        builder.model(shape);
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
fn check(shape: &Shape) -> Result<(), String> {
    if !ARCHITECTURES.contains(&shape.architecture.as_str()) {
        return Err(format!(
            "its architecture `{}` has no synthetic weights; known are {}",
            shape.architecture.escape_debug(),
            ARCHITECTURES.join(", ")
        ));
    }
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
    if !shape.head_size.is_multiple_of(2) {
        return Err(format!(
            "its shape has head_size = {}, and rotary positions turn pairs; correct its catalog row",
            shape.head_size
        ));
    }
    let architecture = shape.architecture.as_str();
    if WITH_WINDOW.contains(&architecture) && shape.sliding_window.is_none_or(|positions| positions == 0) {
        return Err(format!(
            "its shape has no sliding_window, which {architecture} needs; correct its catalog row"
        ));
    }
    check_experts(shape)?;
    for (field, value) in [("rope_theta", shape.rope_theta), ("norm_epsilon", shape.norm_epsilon)] {
        let single = value as f32;
        if !(single.is_finite() && single > 0.0) {
            return Err(format!(
                "its shape has {field} = {value}, expected a number above 0; correct its catalog row"
            ));
        }
    }
    Ok(())
}

fn check_experts(shape: &Shape) -> Result<(), String> {
    let architecture = shape.architecture.as_str();
    let Some(experts) = shape.experts else {
        return if ALL_EXPERTS.contains(&architecture) {
            Err(format!("its shape has no experts, which {architecture} needs; correct its catalog row"))
        } else {
            Ok(())
        };
    };
    if !WITH_EXPERTS.contains(&architecture) {
        return Err(format!(
            "its shape has experts, and {architecture} has none; known are {}",
            WITH_EXPERTS.join(", ")
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
    // A llama's file has one number for both.
    if architecture == "llama" && experts.feed_forward != shape.feed_forward {
        return Err(format!(
            "its shape has experts.feed_forward = {}, and feed_forward = {}: in a llama they are the same; correct its catalog row",
            experts.feed_forward, shape.feed_forward
        ));
    }
    Ok(())
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
    Whole { layers: shape.layers, tied_head: shape.tied_head, experts, seventy_billion }
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
    put("rope.dimension_count", Value::U32(shape.head_size));
    put("rope.freq_base", Value::F32(shape.rope_theta as f32));
    put("vocab_size", Value::U32(shape.vocabulary));
    if let Some(experts) = shape.experts {
        put("expert_count", Value::U32(experts.count));
        put("expert_used_count", Value::U32(experts.used));
        if shape.architecture != "llama" {
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
}

impl Builder<'_> {
    fn model(&mut self, shape: &Shape) {
        let [width, vocabulary] = [shape.width, shape.vocabulary].map(u64::from);
        if shape.rope_factors {
            let factors = rope_factors(shape);
            self.vector("rope_freqs.weight", factors.len() as u64, Content::Given(factors));
        }
        self.matrix("token_embd.weight", Role::Embedding, 0, [vocabulary, width]);
        for layer in 0..shape.layers {
            self.block(shape, layer);
        }
        self.vector("output_norm.weight", width, NORM);
        if !shape.tied_head {
            self.matrix("output.weight", Role::Output, 0, [vocabulary, width]);
        }
    }

    fn block(&mut self, shape: &Shape, layer: u32) {
        let [width, feed_forward, head_size] =
            [shape.width, shape.feed_forward, shape.head_size].map(u64::from);
        let queries = u64::from(shape.heads) * head_size;
        let keys = u64::from(shape.kv_heads) * head_size;
        let architecture = shape.architecture.as_str();
        let name = |part: &str| format!("blk.{layer}.{part}");
        let gpt_oss = architecture == "gpt-oss";
        self.vector(&name("attn_norm.weight"), width, NORM);
        if architecture == "phi3" {
            self.matrix(&name("attn_qkv.weight"), Role::Value, layer, [queries + 2 * keys, width]);
        } else {
            for (part, rows, role) in
                [("q", queries, Role::Other), ("k", keys, Role::Key), ("v", keys, Role::Value)]
            {
                self.matrix(&name(&format!("attn_{part}.weight")), role, layer, [rows, width]);
                if shape.qkv_bias || matches!(architecture, "qwen2" | "gpt-oss") {
                    self.vector(&name(&format!("attn_{part}.bias")), rows, BIAS);
                }
            }
        }
        if shape.qk_norm || matches!(architecture, "qwen3" | "qwen3moe" | "gemma3") {
            self.vector(&name("attn_q_norm.weight"), head_size, NORM);
            self.vector(&name("attn_k_norm.weight"), head_size, NORM);
        }
        self.matrix(&name("attn_output.weight"), Role::AttentionOutput, layer, [width, queries]);
        if gpt_oss {
            self.vector(&name("attn_output.bias"), width, BIAS);
            self.vector(&name("attn_sinks.weight"), u64::from(shape.heads), BIAS);
        }
        if gpt_oss || architecture == "gemma3" {
            self.vector(&name("post_attention_norm.weight"), width, NORM);
        }
        if !gpt_oss {
            self.vector(&name("ffn_norm.weight"), width, NORM);
        }
        if let Some(experts) = shape.experts {
            let [count, inner] = [experts.count, experts.feed_forward].map(u64::from);
            self.matrix(&name("ffn_gate_inp.weight"), Role::Router, layer, [count, width]);
            self.matrices(&name("ffn_gate_exps.weight"), Role::Expert, layer, vec![count, inner, width]);
            self.matrices(&name("ffn_up_exps.weight"), Role::Expert, layer, vec![count, inner, width]);
            self.matrices(&name("ffn_down_exps.weight"), Role::ExpertDown, layer, vec![count, width, inner]);
            if gpt_oss {
                self.plain(&name("ffn_gate_inp.bias"), vec![count], BIAS);
                self.plain(&name("ffn_gate_exps.bias"), vec![count, inner], BIAS);
                self.plain(&name("ffn_up_exps.bias"), vec![count, inner], BIAS);
                self.plain(&name("ffn_down_exps.bias"), vec![count, width], BIAS);
            }
            return;
        }
        if architecture == "phi3" {
            // Gate and up in one matrix.
            self.matrix(&name("ffn_up.weight"), Role::Other, layer, [2 * feed_forward, width]);
        } else {
            self.matrix(&name("ffn_gate.weight"), Role::Other, layer, [feed_forward, width]);
            self.matrix(&name("ffn_up.weight"), Role::Other, layer, [feed_forward, width]);
        }
        self.matrix(&name("ffn_down.weight"), Role::Down, layer, [width, feed_forward]);
        if architecture == "gemma3" {
            self.vector(&name("post_ffw_norm.weight"), width, NORM);
        }
    }

    fn vector(&mut self, name: &str, length: u64, content: Content) {
        self.plain(name, vec![length], content);
    }

    /// Numbers that are never quantized.
    fn plain(&mut self, name: &str, shape: Vec<u64>, content: Content) {
        self.network.planned.push(Planned { name: name.to_owned(), dtype: TensorType::F32, shape });
        self.network.contents.push(content);
    }

    fn matrix(&mut self, name: &str, role: Role, layer: u32, shape: [u64; 2]) {
        self.matrices(name, role, layer, shape.to_vec());
    }

    /// A matrix, or several of the same shape in one tensor.
    fn matrices(&mut self, name: &str, role: Role, layer: u32, shape: Vec<u64>) {
        let row = shape.last().copied().unwrap_or(1);
        let dtype = self.mixture.choose(role, layer, row, self.whole);
        self.network.planned.push(Planned { name: name.to_owned(), dtype, shape });
        let deviation = 1.0 / (row as f32).sqrt();
        self.network.contents.push(Content::Random(Distribution { mean: 0.0, deviation }));
    }
}
