//! What a model computes, in this engine's words: an architecture is a description, not code of its own.
//!
//! Owns the list of known architectures and reads each one's peculiarities (rotation, windows, norms, biases) from
//! a GGUF header. Nothing is guessed: a key or a tensor that would change what is computed and has no place here
//! is refused by its name. Keys and defaults: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use crate::model::gguf::{Metadata, Value};
use crate::model::{Header, TensorInfo, TensorType};

use super::super::Error;
use super::unsupported;

/// Architectures by their name in `general.architecture`.
const ARCHITECTURES: [(&str, Architecture); 5] = [
    ("llama", Architecture::Llama),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
    ("qwen3moe", Architecture::Qwen3Moe),
    ("gemma3", Architecture::Gemma3),
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
}

/// What is done with the gate before it is multiplied with the up projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// The tanh form of GELU.
    GeluTanh,
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
    /// Positions are divided by this (linear scaling).
    pub(super) divisor: f64,
    /// Elements of a head that are rotated, from the first on.
    pub(super) elements: usize,
    /// Whether the frequencies are divided by `rope_freqs.weight`.
    pub(super) factors: bool,
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
}

/// A transformer as the forward pass computes it.
#[derive(Debug, Clone, PartialEq)]
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
    /// Each head of queries and keys is normed before its rotation.
    pub(super) head_norms: bool,
    /// What attention and feed-forward give is normed before it is added to the residual stream.
    pub(super) post_norms: bool,
}

/// Tensors of a block, by their names in GGUF after `blk.N.`, with whether they are matrices.
const BLOCK: [(&str, Part); 19] = [
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
    ("post_attention_norm.weight", Part::PostNorm),
    ("ffn_norm.weight", Part::Norm),
    ("ffn_gate.weight", Part::Dense),
    ("ffn_up.weight", Part::Dense),
    ("ffn_down.weight", Part::Dense),
    ("ffn_gate_inp.weight", Part::Router),
    ("ffn_gate_exps.weight", Part::Expert),
    ("ffn_up_exps.weight", Part::Expert),
    ("ffn_down_exps.weight", Part::Expert),
];
const POST_FFN_NORM: &str = "post_ffw_norm.weight";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Norm,
    Matrix,
    /// A matrix of the feed-forward layer where there are no experts.
    Dense,
    /// The matrix that gives each expert its logit.
    Router,
    /// One matrix for each expert, behind one another.
    Expert,
    Bias,
    HeadNorm,
    PostNorm,
}

/// Whether this engine can compute what `header` describes.
///
/// # Errors
/// [`Error::Unsupported`] that names the architecture, the tensor or its type, and the way out.
pub fn supports(header: &Header) -> Result<(), Error> {
    let architecture = architecture(header)?;
    check_experts(architecture, header)?;
    check_shape(header)?;
    let (biases, head_norms, post_norms) = parts(header);
    for layer in 0..header.spec.layers {
        let wanted = BLOCK.iter().copied().chain([(POST_FFN_NORM, Part::PostNorm)]);
        for (name, part) in wanted {
            let full = format!("blk.{layer}.{name}");
            let needed = match part {
                Part::Norm | Part::Matrix => true,
                Part::Dense => header.spec.experts.is_none(),
                Part::Router | Part::Expert => header.spec.experts.is_some(),
                Part::Bias => biases,
                Part::HeadNorm => head_norms,
                Part::PostNorm => post_norms,
            };
            match (header.tensor(&full), needed) {
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
        check_known(tensor, header.spec.layers)?;
    }
    if architecture == Architecture::Gemma3 && !(head_norms && post_norms) {
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

/// Which of the optional parts the first block has: biases, head norms, post norms.
fn parts(header: &Header) -> (bool, bool, bool) {
    let has = |name: &str| header.tensor(&format!("blk.0.{name}")).is_some();
    (has("attn_q.bias"), has("attn_q_norm.weight"), has(POST_FFN_NORM))
}

/// Refuses experts where the architecture has none, and their absence where it has.
fn check_experts(architecture: Architecture, header: &Header) -> Result<(), Error> {
    let name = &header.spec.architecture;
    match (architecture, header.spec.experts) {
        (Architecture::Qwen3Moe, None) => Err(unsupported(
            format!("run this {name} model"),
            format!("`{name}.expert_count` is missing, and the architecture needs it; fetch the file again"),
        )),
        (Architecture::Llama | Architecture::Qwen3Moe, _) | (_, None) => Ok(()),
        (_, Some(experts)) => Err(unsupported(
            format!("run a {name} model with {} experts (`{name}.expert_count`)", experts.count),
            format!("it knows experts in llama (Mixtral) and qwen3moe; {WAY_OUT}"),
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
        "ffn_gate_inp.weight" => vec![experts, width],
        "ffn_gate_exps.weight" | "ffn_up_exps.weight" => vec![experts, expert, width],
        "ffn_down_exps.weight" => vec![experts, width, expert],
        "attn_q.bias" => vec![queries],
        "attn_k.bias" | "attn_v.bias" => vec![keys],
        "attn_q_norm.weight" | "attn_k_norm.weight" => vec![head],
        _ => vec![width],
    };
    if tensor.shape != expected {
        return Err(unsupported(
            format!("use tensor `{}`", tensor.name),
            format!(
                "its shape is {:?}, and the header's numbers ask for {expected:?}: fetch the file again",
                tensor.shape
            ),
        ));
    }
    match part {
        Part::Matrix | Part::Dense | Part::Expert => check_type(tensor),
        // A router is small, and no program quantizes it: a slip of a logit would choose another expert.
        Part::Router | Part::Norm | Part::Bias | Part::HeadNorm | Part::PostNorm => check_plain(tensor),
    }
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
            format!("norms, biases and routers are read as F32, F16 or BF16; {WAY_OUT}"),
        )),
    }
}

/// Refuses a tensor that has no place in the forward pass: without it the model would compute something else.
fn check_known(tensor: &TensorInfo, layers: u32) -> Result<(), Error> {
    let name = tensor.name.as_str();
    match name {
        "token_embd.weight" | "output.weight" => return check_type(tensor),
        "output_norm.weight" | "rope_freqs.weight" => return check_plain(tensor),
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
    /// [`Error::Unsupported`] as [`supports`], and for scalings of positions that are not linear.
    pub(super) fn new(header: &Header, metadata: &Metadata) -> Result<Self, Error> {
        supports(header)?;
        let architecture = architecture(header)?;
        let spec = &header.spec;
        let keys = Keys { architecture: &spec.architecture, metadata };
        let (qkv_bias, head_norms, post_norms) = parts(header);
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
            experts: keys.experts(header)?,
            heads: size(spec.heads),
            kv_heads: size(spec.kv_heads),
            head_size: size(spec.head_size),
            vocabulary: size(spec.vocabulary),
            context_length: spec.context_length,
            norm_epsilon: single(spec.norm_epsilon),
            embedding_scale: if gemma { single(f64::from(spec.width).sqrt()) } else { 1.0 },
            attention_scale: single(scale_of.sqrt().recip()),
            activation: if gemma { Activation::GeluTanh } else { Activation::Silu },
            qkv_bias,
            head_norms,
            post_norms,
        })
    }
}

/// Gemma 3 27B alone scales its scores by width over heads (`query_pre_attn_scalar` 168), and no key says so.
const GEMMA_27B_LAYERS: u32 = 62;
/// In Gemma 3 every sixth block sees all positions.
const GEMMA_PERIOD: u32 = 6;
/// Base of the rotation in Gemma 3's blocks with a window, unless the file says otherwise.
const GEMMA_LOCAL_BASE: f64 = 10_000.0;

fn layers(
    architecture: Architecture,
    header: &Header,
    keys: &Keys<'_>,
) -> Result<(Vec<Layer>, Vec<Rotation>), Error> {
    let spec = &header.spec;
    let elements = keys.number("rope.dimension_count").unwrap_or(spec.head_size);
    if elements > spec.head_size || !elements.is_multiple_of(2) {
        return Err(unsupported(
            format!("rotate {elements} of a head's {} elements", spec.head_size),
            format!("`{}.rope.dimension_count` must be even and no larger than a head", spec.architecture),
        ));
    }
    let global = Rotation {
        pairing: if architecture == Architecture::Llama { Pairing::Neighbours } else { Pairing::Halves },
        base: spec.rope_theta,
        divisor: keys.divisor()?,
        elements: elements as usize,
        factors: header.has_rope_factors,
    };
    let window = keys.number("attention.sliding_window").filter(|window| *window > 0);
    if architecture == Architecture::Gemma3 {
        let base = keys.fraction("rope.freq_base_swa").unwrap_or(GEMMA_LOCAL_BASE);
        let local = Rotation { base, divisor: 1.0, ..global.clone() };
        let of = |index: u32| {
            let all = (index + 1).is_multiple_of(GEMMA_PERIOD) || window.is_none();
            Layer { window: if all { None } else { window }, rotation: usize::from(!all) }
        };
        return Ok(((0..spec.layers).map(of).collect(), vec![global, local]));
    }
    Ok((vec![Layer { window, rotation: 0 }; spec.layers as usize], vec![global]))
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

    fn number(&self, key: &str) -> Option<u32> {
        self.get(key)?.as_u64().and_then(|number| u32::try_from(number).ok())
    }

    fn fraction(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64().filter(|number| number.is_finite() && *number > 0.0)
    }

    /// The experts, when the keys that say how they are mixed say what is computed here.
    fn experts(&self, header: &Header) -> Result<Option<Experts>, Error> {
        let Some(experts) = header.spec.experts else { return Ok(None) };
        let other = [
            ("expert_shared_count", self.number("expert_shared_count").is_some_and(|count| count > 0)),
            ("expert_group_count", self.number("expert_group_count").is_some_and(|count| count > 1)),
            // 1 is the softmax.
            ("expert_gating_func", self.number("expert_gating_func").is_some_and(|kind| kind > 1)),
            (
                "expert_weights_scale",
                self.fraction("expert_weights_scale").is_some_and(|scale| (scale - 1.0).abs() > f64::EPSILON),
            ),
            (
                "expert_weights_norm",
                self.get("expert_weights_norm").is_some_and(|value| *value == Value::Bool(false)),
            ),
        ];
        if let Some((key, _)) = other.into_iter().find(|(_, there)| *there) {
            return Err(unsupported(
                format!("mix experts as `{}.{key}` says", self.architecture),
                format!("it knows a softmax over those that a token goes through; {WAY_OUT}"),
            ));
        }
        Ok(Some(Experts { count: experts.count as usize, used: experts.used as usize }))
    }

    /// By how much positions are divided.
    fn divisor(&self) -> Result<f64, Error> {
        let key = "rope.scaling.type";
        match self.get(key).and_then(|value| value.as_str()) {
            None | Some("none") => Ok(self.fraction("rope.scale_linear").unwrap_or(1.0)),
            Some("linear") => Ok(self.fraction("rope.scaling.factor").unwrap_or(1.0)),
            Some(other) => Err(unsupported(
                format!("scale positions by `{other}` (`{}.{key}`)", self.architecture),
                format!("it knows `linear` and the factors of `rope_freqs.weight`; {WAY_OUT}"),
            )),
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the network computes in single precision")]
fn single(value: f64) -> f32 {
    value as f32
}
