//! What a model computes, in this engine's words: an architecture is a description, not code of its own.
//!
//! Owns the list of known architectures and reads each one's peculiarities (rotation, windows, norms, biases) from
//! a GGUF header. Nothing is guessed: a key or a tensor that would change what is computed and has no place here
//! is refused by its name. Keys and defaults: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::HashMap;

use crate::base::text;
use crate::model::gguf::{Metadata, Value};
use crate::model::{Header, TensorInfo, TensorType};

use super::super::Error;
use super::unsupported;

/// Architectures by their name in `general.architecture`.
const ARCHITECTURES: [(&str, Architecture); 6] = [
    ("llama", Architecture::Llama),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
    ("qwen3moe", Architecture::Qwen3Moe),
    ("gemma3", Architecture::Gemma3),
    ("gpt-oss", Architecture::GptOss),
];

/// Largest head, and most query heads of a KV head, that there is scratch for.
const MOST_HEAD: u32 = 512;
const MOST_GROUP: u32 = 64;

/// Types of matrices that there are kernels for.
pub(super) const MATRIX_TYPES: [TensorType; 12] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
    TensorType::MXFP4,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    /// Llama 2 and 3, SmolLM2, Mistral; with experts Mixtral.
    Llama,
    Qwen2,
    Qwen3,
    Qwen3Moe,
    Gemma3,
    GptOss,
}

/// What is made of the gate and the up projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// gate · sigmoid(gate) · up.
    Silu,
    /// gelu(gate) · up, in the tanh form of GELU.
    GeluTanh,
    /// gate · sigmoid(1.702 · gate) · (up + 1), the gate at most 7 and up within ±7.
    ClampedSwiglu,
}

/// Which two elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairing {
    /// Neighbours 2i and 2i + 1: GGUF's Llama.
    Neighbours,
    /// i and i + half: all others.
    Halves,
}

/// One way of turning positions into angles.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotation {
    pub(super) pairing: Pairing,
    pub(super) base: f64,
    /// Positions are divided by this (linear scaling), with `yarn` those of some pairs only.
    pub(super) divisor: f64,
    pub(super) yarn: Option<Yarn>,
    /// What is rotated is multiplied by this.
    pub(super) magnitude: f64,
    /// Elements of a head that are rotated, from the first on.
    pub(super) elements: usize,
    /// Whether the frequencies are divided by `rope_freqs.weight`.
    pub(super) factors: bool,
}

/// Scaling of positions that leaves fast pairs alone (`YaRN`, Peng et al. 2023, arXiv 2309.00071): a pair that turned often
/// over the first training's positions keeps its angles, one that hardly turned has its positions divided, and between
/// `first` and `last` the two are blended. Both bounds are rounded outwards to whole pairs, as llama.cpp does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Yarn {
    /// Pairs up to this one keep their angles.
    pub(super) first: f64,
    /// Positions of pairs from this one on are divided.
    pub(super) last: f64,
}

impl Yarn {
    /// For pairs that turn `fast` and `slow` times over `positions`.
    fn new(elements: u32, base: f64, positions: f64, [fast, slow]: [f64; 2]) -> Self {
        let elements = f64::from(elements);
        let pair = |turns: f64| {
            elements * (positions / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * base.ln())
        };
        Self { first: pair(fast).floor().max(0.0), last: pair(slow).ceil().min(elements - 1.0) }
    }

    /// Which part of pair number `pair`'s positions is divided, 0 to 1.
    pub(super) fn divided(self, pair: usize) -> f64 {
        ((pair as f64 - self.first) / (self.last - self.first).max(0.001)).clamp(0.0, 1.0)
    }
}

/// What differs from block to block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layer {
    /// A query sees this many last positions, its own among them; all when `None`.
    pub(super) window: Option<u32>,
    /// Index into [`Network::rotations`].
    pub(super) rotation: usize,
}

/// A mixture of experts in the feed-forward layer's place. A router, one row for each expert, gives a logit to each;
/// a token goes through those with the largest, and their outputs are mixed by the softmax of the chosen logits.
/// That is the softmax of all of them, cut to the chosen and brought back to a sum of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Experts {
    pub(super) count: usize,
    /// Experts that a token goes through.
    pub(super) used: usize,
    /// The router and each expert's matrices have biases.
    pub(super) biases: bool,
}

/// A transformer as the forward pass computes it.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each says whether a part of a block is there")]
pub(super) struct Network {
    pub(super) layers: Vec<Layer>,
    pub(super) rotations: Vec<Rotation>,
    pub(super) width: usize,
    /// Width of the feed-forward layer, or of one expert.
    pub(super) feed_forward: usize,
    pub(super) experts: Option<Experts>,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_size: usize,
    pub(super) vocabulary: usize,
    pub(super) context_length: u32,
    pub(super) norm_epsilon: f32,
    /// The embedding is multiplied by this.
    pub(super) embedding_scale: f32,
    /// Scores are multiplied by this.
    pub(super) attention_scale: f32,
    pub(super) activation: Activation,
    /// Queries, keys and values have biases.
    pub(super) qkv_bias: bool,
    /// What attention gives has a bias.
    pub(super) output_bias: bool,
    /// Each query head has a score without a key, whose share goes to no value (Xiao et al. 2023, arXiv 2309.17453).
    pub(super) sinks: bool,
    /// Each head of queries and keys is normed before its rotation.
    pub(super) head_norms: bool,
    /// What attention and feed-forward give is normed before it is added to the residual stream.
    pub(super) post_norms: bool,
    /// The name of the norm before the feed-forward layer.
    pub(super) feed_norm: &'static str,
}

/// Tensors of a block, by their names in GGUF after `blk.N.`, with whether they are matrices.
const BLOCK: [(&str, Part); 25] = [
    ("attn_norm.weight", Part::Norm),
    ("attn_q.weight", Part::Matrix),
    ("attn_k.weight", Part::Matrix),
    ("attn_v.weight", Part::Matrix),
    ("attn_q.bias", Part::Bias),
    ("attn_k.bias", Part::Bias),
    ("attn_v.bias", Part::Bias),
    ("attn_q_norm.weight", Part::HeadNorm),
    ("attn_k_norm.weight", Part::HeadNorm),
    ("attn_output.weight", Part::Matrix),
    ("attn_output.bias", Part::OutputBias),
    ("attn_sinks.weight", Part::Sinks),
    (POST_ATTENTION_NORM, Part::PostNorm),
    (FEED_NORM, Part::FeedNorm),
    ("ffn_gate.weight", Part::Dense),
    ("ffn_up.weight", Part::Dense),
    ("ffn_down.weight", Part::Dense),
    ("ffn_gate_inp.weight", Part::Router),
    ("ffn_gate_exps.weight", Part::Expert),
    ("ffn_up_exps.weight", Part::Expert),
    ("ffn_down_exps.weight", Part::Expert),
    ("ffn_gate_inp.bias", Part::ExpertBias),
    ("ffn_gate_exps.bias", Part::ExpertBias),
    ("ffn_up_exps.bias", Part::ExpertBias),
    ("ffn_down_exps.bias", Part::ExpertBias),
];
const ROPE_FACTORS: &str = "rope_freqs.weight";
const FEED_NORM: &str = "ffn_norm.weight";
/// In gpt-oss the norm before the feed-forward layer.
const POST_ATTENTION_NORM: &str = "post_attention_norm.weight";
const POST_FFN_NORM: &str = "post_ffw_norm.weight";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Norm,
    FeedNorm,
    Matrix,
    /// A matrix of the feed-forward layer where there are no experts.
    Dense,
    /// The matrix that gives each expert its logit.
    Router,
    /// One matrix for each expert, behind one another.
    Expert,
    Bias,
    OutputBias,
    /// Of the router and the experts.
    ExpertBias,
    Sinks,
    HeadNorm,
    PostNorm,
}

/// Which of the parts that not every model has are there.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each says whether a part is there")]
struct Parts {
    qkv_bias: bool,
    head_norms: bool,
    post_norms: bool,
    /// The biases of attention's output, router and experts, and the sinks.
    gpt_oss: bool,
}

impl Parts {
    /// Those of the first block; what a gpt-oss has is known.
    fn of(architecture: Architecture, header: &Header) -> Self {
        let has = |name: &str| header.tensor(&format!("blk.0.{name}")).is_some();
        let gpt_oss = architecture == Architecture::GptOss;
        Self {
            qkv_bias: gpt_oss || has("attn_q.bias"),
            head_norms: !gpt_oss && has("attn_q_norm.weight"),
            // Behind experts nothing is normed.
            post_norms: header.spec.experts.is_none() && has(POST_FFN_NORM),
            gpt_oss,
        }
    }

    fn feed_norm(self) -> &'static str {
        if self.gpt_oss { POST_ATTENTION_NORM } else { FEED_NORM }
    }

    /// Whether a block must have the tensor `name`.
    fn need(self, name: &str, part: Part, experts: bool) -> bool {
        match part {
            _ if name == self.feed_norm() => true,
            Part::FeedNorm => false,
            Part::Norm | Part::Matrix => true,
            Part::Dense => !experts,
            Part::Router | Part::Expert => experts,
            Part::Bias => self.qkv_bias,
            Part::OutputBias | Part::ExpertBias | Part::Sinks => self.gpt_oss,
            Part::HeadNorm => self.head_norms,
            Part::PostNorm => self.post_norms,
        }
    }
}

/// Whether this engine can compute what `header` describes.
///
/// # Errors
/// [`Error::Unsupported`] that names the architecture, the tensor or its type, and the way out.
pub fn supports(header: &Header) -> Result<(), Error> {
    let architecture = architecture(header)?;
    check_experts(architecture, header)?;
    check_shape(header)?;
    let parts = Parts::of(architecture, header);
    let tensors: HashMap<&str, &TensorInfo> =
        header.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    for layer in 0..header.spec.layers {
        let wanted = BLOCK.iter().copied().chain([(POST_FFN_NORM, Part::PostNorm)]);
        for (name, part) in wanted {
            let full = format!("blk.{layer}.{name}");
            let needed = parts.need(name, part, header.spec.experts.is_some());
            match (tensors.get(full.as_str()), needed) {
                (Some(tensor), true) => check_tensor(header, tensor, name, part)?,
                (None, true) => {
                    return Err(unsupported(
                        format!("run this {} model", header.spec.architecture),
                        format!("tensor `{full}` is missing, and the architecture needs it; {WAY_OUT}"),
                    ));
                }
                (Some(_), false) => return Err(no_place(&full)),
                (None, false) => {}
            }
        }
    }
    for tensor in &header.tensors {
        check_known(header, tensor)?;
    }
    if architecture == Architecture::Gemma3 && !(parts.head_norms && parts.post_norms) {
        return Err(unsupported(
            "run this gemma3 model",
            format!(
                "it lacks the norms of a Gemma 3 (`blk.0.attn_q_norm.weight`, `blk.0.{POST_FFN_NORM}`); {WAY_OUT}"
            ),
        ));
    }
    Ok(())
}

pub(super) const WAY_OUT: &str = "ask for `--engine candle`, which may know it";

fn architecture(header: &Header) -> Result<Architecture, Error> {
    let name = header.spec.architecture.as_str();
    let known = ARCHITECTURES.iter().find(|(known, _)| *known == name);
    known.map(|(_, architecture)| *architecture).ok_or_else(|| {
        let names = ARCHITECTURES.map(|(known, _)| known).join(", ");
        unsupported(format!("run the architecture `{name}`"), format!("it knows {names}; {WAY_OUT}"))
    })
}

/// Refuses experts where the architecture has none, and their absence where it has.
fn check_experts(architecture: Architecture, header: &Header) -> Result<(), Error> {
    let name = &header.spec.architecture;
    match (architecture, header.spec.experts) {
        (Architecture::Qwen3Moe | Architecture::GptOss, None) => Err(unsupported(
            format!("run this {name} model"),
            format!("`{name}.expert_count` is missing, and the architecture needs it; fetch the file again"),
        )),
        (Architecture::Llama | Architecture::Qwen3Moe | Architecture::GptOss, _) | (_, None) => Ok(()),
        (_, Some(experts)) => Err(unsupported(
            format!("run a {name} model with {} experts (`{name}.expert_count`)", experts.count),
            format!("it knows experts in llama (Mixtral), qwen3moe and gpt-oss; {WAY_OUT}"),
        )),
    }
}

fn check_shape(header: &Header) -> Result<(), Error> {
    let spec = &header.spec;
    for (what, value) in [
        ("width", spec.width),
        ("feed-forward width", spec.experts.map_or(spec.feed_forward, |experts| experts.feed_forward)),
        ("width of all heads", spec.heads * spec.head_size),
    ] {
        if !value.is_multiple_of(32) {
            return Err(unsupported(
                format!("run a model whose {what} is {value}"),
                format!("its kernels take blocks of 32 elements; {WAY_OUT}"),
            ));
        }
    }
    if !spec.head_size.is_multiple_of(16) {
        return Err(unsupported(
            format!("run a model with heads of {} elements", spec.head_size),
            format!("its attention takes multiples of 16; {WAY_OUT}"),
        ));
    }
    let group = spec.heads / spec.kv_heads.max(1);
    if spec.head_size > MOST_HEAD || group > MOST_GROUP {
        return Err(unsupported(
            format!("run a model with heads of {} elements, {group} to a KV head", spec.head_size),
            format!("its attention takes at most {MOST_HEAD} and {MOST_GROUP}; {WAY_OUT}"),
        ));
    }
    Ok(())
}

fn check_tensor(header: &Header, tensor: &TensorInfo, name: &str, part: Part) -> Result<(), Error> {
    let spec = &header.spec;
    let (width, feed) = (u64::from(spec.width), u64::from(spec.feed_forward));
    let (experts, expert) =
        spec.experts.map_or((0, 0), |experts| (u64::from(experts.count), u64::from(experts.feed_forward)));
    let head = u64::from(spec.head_size);
    let (queries, keys) = (u64::from(spec.heads) * head, u64::from(spec.kv_heads) * head);
    let expected = match name {
        "attn_q.weight" => vec![queries, width],
        "attn_k.weight" | "attn_v.weight" => vec![keys, width],
        "attn_output.weight" => vec![width, queries],
        "ffn_gate.weight" | "ffn_up.weight" => vec![feed, width],
        "ffn_down.weight" => vec![width, feed],
        "ffn_gate_inp.weight" | "ffn_down_exps.bias" => vec![experts, width],
        "ffn_gate_exps.weight" | "ffn_up_exps.weight" => vec![experts, expert, width],
        "ffn_down_exps.weight" => vec![experts, width, expert],
        "ffn_gate_inp.bias" => vec![experts],
        "ffn_gate_exps.bias" | "ffn_up_exps.bias" => vec![experts, expert],
        "attn_sinks.weight" => vec![u64::from(spec.heads)],
        "attn_q.bias" => vec![queries],
        "attn_k.bias" | "attn_v.bias" => vec![keys],
        "attn_q_norm.weight" | "attn_k_norm.weight" => vec![head],
        _ => vec![width],
    };
    check_dimensions(tensor, &expected)?;
    match part {
        Part::Matrix | Part::Dense | Part::Expert => check_type(tensor),
        // A router is small, and no program quantizes it: a slip of a logit would choose another expert.
        Part::Router
        | Part::Norm
        | Part::FeedNorm
        | Part::Bias
        | Part::OutputBias
        | Part::ExpertBias
        | Part::Sinks
        | Part::HeadNorm
        | Part::PostNorm => check_plain(tensor),
    }
}

fn check_dimensions(tensor: &TensorInfo, expected: &[u64]) -> Result<(), Error> {
    if tensor.shape == expected {
        return Ok(());
    }
    Err(unsupported(
        format!("use tensor `{}`", tensor.name),
        format!(
            "its shape is {:?}, and the header's numbers ask for {expected:?}: fetch the file again",
            tensor.shape
        ),
    ))
}

fn check_type(tensor: &TensorInfo) -> Result<(), Error> {
    if MATRIX_TYPES.contains(&tensor.dtype) {
        return Ok(());
    }
    let known = MATRIX_TYPES.map(TensorType::label).join(", ");
    Err(unsupported(
        format!("multiply by tensor `{}` of type {}", tensor.name, tensor.dtype),
        format!("it has kernels for {known}; {WAY_OUT}"),
    ))
}

fn check_plain(tensor: &TensorInfo) -> Result<(), Error> {
    match tensor.dtype {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => Ok(()),
        other => Err(unsupported(
            format!("read tensor `{}` of type {other}", tensor.name),
            format!("norms, biases, sinks and routers are read as F32, F16 or BF16; {WAY_OUT}"),
        )),
    }
}

/// Refuses a tensor that has no place in the forward pass: without it the model would compute something else.
fn check_known(header: &Header, tensor: &TensorInfo) -> Result<(), Error> {
    let (name, layers) = (tensor.name.as_str(), header.spec.layers);
    let width = u64::from(header.spec.width);
    match name {
        "token_embd.weight" | "output.weight" => {
            check_dimensions(tensor, &[u64::from(header.spec.vocabulary), width])?;
            return check_type(tensor);
        }
        "output_norm.weight" => {
            check_dimensions(tensor, &[width])?;
            return check_plain(tensor);
        }
        // How many there must be, the metadata say: `layers` counts them.
        ROPE_FACTORS => return check_plain(tensor),
        _ => {}
    }
    let in_block = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    let known = in_block.is_some_and(|(index, part)| {
        index.parse::<u32>().is_ok_and(|index| index < layers)
            && (part == POST_FFN_NORM || BLOCK.iter().any(|(known, _)| *known == part))
    });
    if known { Ok(()) } else { Err(no_place(name)) }
}

fn no_place(name: &str) -> Error {
    unsupported(format!("use tensor `{name}`"), format!("its forward pass has no place for it; {WAY_OUT}"))
}

impl Network {
    /// Reads what the header's numbers leave open from the file's metadata.
    ///
    /// # Errors
    /// [`Error::Unsupported`] as [`supports`], and for scalings of positions that are neither linear nor `YaRN`.
    pub(super) fn new(header: &Header, metadata: &Metadata) -> Result<Self, Error> {
        supports(header)?;
        let architecture = architecture(header)?;
        let spec = &header.spec;
        let keys = Keys { architecture: &spec.architecture, metadata };
        let parts = Parts::of(architecture, header);
        let (layers, rotations) = layers(architecture, header, &keys)?;
        let size = |number: u32| number as usize;
        let gemma = architecture == Architecture::Gemma3;
        let scale_of = if gemma && spec.layers == GEMMA_27B_LAYERS {
            f64::from(spec.width) / f64::from(spec.heads)
        } else {
            f64::from(spec.head_size)
        };
        Ok(Self {
            layers,
            rotations,
            width: size(spec.width),
            feed_forward: size(spec.experts.map_or(spec.feed_forward, |experts| experts.feed_forward)),
            experts: keys.experts(header, parts.gpt_oss)?,
            heads: size(spec.heads),
            kv_heads: size(spec.kv_heads),
            head_size: size(spec.head_size),
            vocabulary: size(spec.vocabulary),
            context_length: spec.context_length,
            norm_epsilon: single(spec.norm_epsilon),
            embedding_scale: if gemma { single(f64::from(spec.width).sqrt()) } else { 1.0 },
            attention_scale: single(scale_of.sqrt().recip()),
            activation: match architecture {
                Architecture::Gemma3 => Activation::GeluTanh,
                Architecture::GptOss => Activation::ClampedSwiglu,
                _ => Activation::Silu,
            },
            qkv_bias: parts.qkv_bias,
            output_bias: parts.gpt_oss,
            sinks: parts.gpt_oss,
            head_norms: parts.head_norms,
            post_norms: parts.post_norms,
            feed_norm: parts.feed_norm(),
        })
    }
}

/// Gemma 3 27B alone scales its scores by width over heads (`query_pre_attn_scalar` 168), and no key says so.
const GEMMA_27B_LAYERS: u32 = 62;
/// In Gemma 3 every sixth block sees all positions, in gpt-oss every second.
const GEMMA_PERIOD: u32 = 6;
const GPT_OSS_PERIOD: u32 = 2;
/// Base of the rotation in Gemma 3's blocks with a window, unless the file says otherwise.
const GEMMA_LOCAL_BASE: f64 = 10_000.0;

fn layers(
    architecture: Architecture,
    header: &Header,
    keys: &Keys<'_>,
) -> Result<(Vec<Layer>, Vec<Rotation>), Error> {
    let spec = &header.spec;
    let elements = keys.number("rope.dimension_count")?.unwrap_or(spec.head_size);
    if elements > spec.head_size || !elements.is_multiple_of(2) {
        return Err(unsupported(
            format!("rotate {elements} of a head's {} elements", spec.head_size),
            format!("`{}.rope.dimension_count` must be even and no larger than a head", spec.architecture),
        ));
    }
    if let Some(factors) = header.tensor(ROPE_FACTORS) {
        check_dimensions(factors, &[u64::from(elements / 2)])?;
    }
    let scaling = keys.scaling()?;
    let trained = keys.number("rope.scaling.original_context_length")?.unwrap_or(spec.context_length);
    let rotation = |base: f64, Scaling { divisor, magnitude, yarn }: Scaling| Rotation {
        pairing: if architecture == Architecture::Llama { Pairing::Neighbours } else { Pairing::Halves },
        base,
        divisor,
        yarn: yarn.map(|turns| Yarn::new(elements, base, f64::from(trained), turns)),
        magnitude,
        elements: elements as usize,
        factors: header.has_rope_factors,
    };
    let global = rotation(spec.rope_theta, scaling);
    let window = keys.number("attention.sliding_window")?.filter(|window| *window > 0);
    let base = keys.fraction("rope.freq_base_swa")?;
    let (period, local) = match architecture {
        Architecture::Gemma3 => {
            keys.check_gemma()?;
            let plain = Scaling { divisor: 1.0, magnitude: keys.magnitude()?, yarn: None };
            (GEMMA_PERIOD, rotation(base.unwrap_or(GEMMA_LOCAL_BASE), plain))
        }
        Architecture::GptOss => {
            keys.check_gpt_oss(window, elements, spec.head_size)?;
            (GPT_OSS_PERIOD, rotation(base.unwrap_or(spec.rope_theta), scaling))
        }
        _ => return Ok((vec![Layer { window, rotation: 0 }; spec.layers as usize], vec![global])),
    };
    // A table for each, so one where they are alike.
    let rotations = if local == global { vec![global] } else { vec![global, local] };
    let of = |index: u32| {
        let all = (index + 1).is_multiple_of(period) || window.is_none();
        Layer { window: if all { None } else { window }, rotation: if all { 0 } else { rotations.len() - 1 } }
    };
    Ok(((0..spec.layers).map(of).collect(), rotations))
}

/// How positions are scaled.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    divisor: f64,
    magnitude: f64,
    /// Turns of a pair that keeps its angles, and of one whose positions are divided.
    yarn: Option<[f64; 2]>,
}

/// The metadata of one architecture.
struct Keys<'a> {
    architecture: &'a str,
    metadata: &'a Metadata,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn number(&self, key: &str) -> Result<Option<u32>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.odd(key, value, "a number"))
    }

    /// A fraction; 0 stands for none.
    fn fraction(&self, key: &str) -> Result<Option<f64>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().filter(|number| number.is_finite() && *number >= 0.0) {
            Some(number) => Ok(Some(number).filter(|number| *number > 0.0)),
            None => Err(self.odd(key, value, "a fraction that is not negative")),
        }
    }

    /// What is there and cannot be read must not be taken for absent: the model would compute something else.
    fn odd(&self, key: &str, value: &Value, wanted: &str) -> Error {
        unsupported(
            format!("read `{}.{key}`", self.architecture),
            format!(
                "it is {}, and should be {wanted}; fetch the file again",
                text::clipped(&format!("{value:?}"), 60)
            ),
        )
    }

    /// The experts, when the keys that say how they are mixed say what is computed here.
    fn experts(&self, header: &Header, biases: bool) -> Result<Option<Experts>, Error> {
        let Some(experts) = header.spec.experts else { return Ok(None) };
        let other = [
            ("expert_shared_count", self.number("expert_shared_count")?.is_some_and(|count| count > 0)),
            ("expert_group_count", self.number("expert_group_count")?.is_some_and(|count| count > 1)),
            // 1 is the softmax, 3 that of the chosen: the same here.
            (
                "expert_gating_func",
                self.number("expert_gating_func")?.is_some_and(|kind| !matches!(kind, 0 | 1 | 3)),
            ),
            (
                "expert_weights_scale",
                self.fraction("expert_weights_scale")?
                    .is_some_and(|scale| (scale - 1.0).abs() > f64::EPSILON),
            ),
            (
                "expert_weights_norm",
                self.get("expert_weights_norm").is_some_and(|value| *value != Value::Bool(true)),
            ),
        ];
        if let Some((key, _)) = other.into_iter().find(|(_, there)| *there) {
            return Err(unsupported(
                format!("mix experts as `{}.{key}` says", self.architecture),
                format!("it knows a softmax over those that a token goes through; {WAY_OUT}"),
            ));
        }
        Ok(Some(Experts { count: experts.count as usize, used: experts.used as usize, biases }))
    }

    /// What is rotated is multiplied by this, whatever the scaling.
    fn magnitude(&self) -> Result<f64, Error> {
        Ok(self.fraction("rope.scaling.attn_factor")?.unwrap_or(1.0))
    }

    /// How positions are scaled, as llama.cpp reads these keys.
    fn scaling(&self) -> Result<Scaling, Error> {
        let key = "rope.scaling.type";
        let divisor = match self.fraction("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.fraction("rope.scale_linear")?.unwrap_or(1.0),
        };
        let magnitude = self.magnitude()?;
        let kind = match self.get(key) {
            Some(value) => Some(value.as_str().ok_or_else(|| self.odd(key, value, "a word"))?),
            None => None,
        };
        match kind {
            Some("none") => Ok(Scaling { divisor: 1.0, magnitude, yarn: None }),
            None | Some("linear") => Ok(Scaling { divisor, magnitude, yarn: None }),
            Some("yarn") => {
                let others =
                    [("yarn_ext_factor", 1.0), ("yarn_attn_factor", 1.0), ("yarn_log_multiplier", 0.0)];
                for (name, usual) in others {
                    let key = format!("rope.scaling.{name}");
                    let Some(value) = self.get(&key) else { continue };
                    let value = value.as_f64().ok_or_else(|| self.odd(&key, value, "a fraction"))?;
                    if (value - usual).abs() > f64::EPSILON {
                        return Err(unsupported(
                            format!("scale positions with `{}.{key}` = {value}", self.architecture),
                            format!("it knows YaRN with {usual} there; {WAY_OUT}"),
                        ));
                    }
                }
                let turns = |name: &str, usual: f64| -> Result<f64, Error> {
                    Ok(self.fraction(&format!("rope.scaling.{name}"))?.unwrap_or(usual))
                };
                // Scores grow with the square of this: attention over more positions is to be as sharp.
                let magnitude = magnitude * (1.0 + 0.1 * divisor.max(1.0).ln());
                let yarn = Some([turns("yarn_beta_fast", 32.0)?, turns("yarn_beta_slow", 1.0)?]);
                Ok(Scaling { divisor, magnitude, yarn })
            }
            Some(other) => Err(unsupported(
                format!("scale positions by `{other}` (`{}.{key}`)", self.architecture),
                format!("it knows `linear`, `yarn` and the factors of `rope_freqs.weight`; {WAY_OUT}"),
            )),
        }
    }

    /// Keys that a Gemma 3 may have and none has: another order of windows, and logits that are bent.
    fn check_gemma(&self) -> Result<(), Error> {
        let pattern = "attention.sliding_window_pattern";
        if let Some(value) = self.get(pattern)
            && value.as_u64() != Some(u64::from(GEMMA_PERIOD))
        {
            return Err(self.odd(pattern, value, "6, a block without a window behind five with one"));
        }
        let bent = "final_logit_softcapping";
        match self.fraction(bent)? {
            Some(bound) => Err(unsupported(
                format!("bend logits by `{}.{bent}` = {bound}", self.architecture),
                format!("no published Gemma 3 does; {WAY_OUT}"),
            )),
            None => Ok(()),
        }
    }

    /// What llama.cpp takes for granted in every gpt-oss.
    fn check_gpt_oss(&self, window: Option<u32>, rotated: u32, head_size: u32) -> Result<(), Error> {
        let pattern = "attention.sliding_window_pattern";
        let wrong = if window.is_none() {
            (
                "attention.sliding_window".to_owned(),
                "it is missing or 0, and the architecture needs it".to_owned(),
            )
        } else if rotated != head_size {
            (
                "rope.dimension_count".to_owned(),
                format!("it is {rotated}, and a head has {head_size} elements"),
            )
        } else if self.get(pattern).is_some_and(|value| value.as_u64() != Some(u64::from(GPT_OSS_PERIOD))) {
            (pattern.to_owned(), format!("it knows {GPT_OSS_PERIOD}, a window in every second block"))
        } else {
            return Ok(());
        };
        Err(unsupported(
            format!("run this gpt-oss model with its `{}.{}`", self.architecture, wrong.0),
            format!("{}; fetch the file again", wrong.1),
        ))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the network computes in single precision")]
fn single(value: f64) -> f32 {
    value as f32
}
