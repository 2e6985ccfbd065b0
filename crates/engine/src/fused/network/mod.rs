//! What a model computes, in this engine's words: an architecture is a description, not code of its own.
//!
//! The description stands in [`architecture`](crate::model::architecture); here it meets a file. [`support`] checks the
//! file's tensors against the architecture's table, [`keys`] reads the metadata that say how positions are scaled and
//! experts are mixed. Nothing is guessed: a key or a tensor that would change what is computed and has no place here is
//! refused by its name.

mod keys;
mod rotation;
mod support;

use crate::model::Header;
pub(super) use crate::model::architecture::{Activation, Pairing};
use crate::model::architecture::{Architecture, Kind, Role, Sizes, Tensor, Variant};
use crate::model::gguf::Metadata;

use super::super::Error;
use super::unsupported;
use keys::{Keys, Scaling};
pub(super) use rotation::{Rotation, Yarn};
pub(super) use support::MATRIX_TYPES;
pub(super) use support::WAY_OUT;
pub use support::supports;

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

/// Factors for sequences longer than those of the first training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LongFactors {
    tensor: &'static str,
    /// Positions of the first training.
    trained: u32,
}

/// A transformer as the forward pass computes it.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each says whether a part of a block is there")]
pub(super) struct Network {
    architecture: &'static Architecture,
    variant: Variant,
    pub(super) layers: Vec<Layer>,
    pub(super) rotations: Vec<Rotation>,
    /// The tensor whose numbers divide the rotations' frequencies.
    pub(super) rope_factors: Option<&'static str>,
    long_factors: Option<LongFactors>,
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
}

impl Network {
    /// Reads what the header's numbers leave open from the file's metadata.
    ///
    /// # Errors
    /// [`Error::Unsupported`] as [`supports`], and for keys that ask for what is not computed here.
    pub(super) fn new(header: &Header, metadata: &Metadata) -> Result<Self, Error> {
        supports(header)?;
        let architecture = support::architecture(header)?;
        let variant = architecture.variant(header);
        let spec = &header.spec;
        let keys = Keys { architecture: &spec.architecture, metadata };
        keys.refuse_caps()?;
        let (layers, rotations) = layers(architecture, header, &keys)?;
        let has = |role: Role| architecture.tensor(role).filter(|tensor| tensor.when.holds(variant));
        let size = |number: u32| number as usize;
        let scale_of = if architecture.wide_scores_at == Some(spec.layers) {
            f64::from(spec.width) / f64::from(spec.heads)
        } else {
            f64::from(spec.head_size)
        };
        let long_factors = has(Role::LongFactors).map(|long| long.name);
        Ok(Self {
            architecture,
            variant,
            layers,
            rotations,
            rope_factors: has(Role::RopeFactors).or(has(Role::ShortFactors)).map(|factors| factors.name),
            long_factors: match long_factors {
                Some(tensor) => Some(LongFactors { tensor, trained: keys.first_training(spec)? }),
                None => None,
            },
            width: size(spec.width),
            feed_forward: size(spec.experts.map_or(spec.feed_forward, |experts| experts.feed_forward)),
            experts: keys.experts(header, has(Role::RouterBias).is_some())?,
            heads: size(spec.heads),
            kv_heads: size(spec.kv_heads),
            head_size: size(spec.head_size),
            vocabulary: size(spec.vocabulary),
            context_length: spec.context_length,
            norm_epsilon: single(spec.norm_epsilon),
            embedding_scale: if architecture.scaled_embedding {
                single(f64::from(spec.width).sqrt())
            } else {
                1.0
            },
            attention_scale: single(scale_of.sqrt().recip()),
            activation: architecture.activation,
            qkv_bias: has(Role::QueryBias).is_some(),
            output_bias: has(Role::AttentionOutputBias).is_some(),
            sinks: has(Role::Sinks).is_some(),
            head_norms: has(Role::QueryNorm).is_some(),
            post_norms: has(Role::PostAttentionNorm).is_some(),
        })
    }

    /// The same for sequences of at most `positions`, all that the model was made for when `None`: where a file has
    /// factors for sequences of two lengths, those of the length are taken.
    pub(super) fn for_positions(self, positions: Option<u32>) -> Self {
        let positions = positions.unwrap_or(self.context_length).min(self.context_length);
        let long = self.long_factors.filter(|long| positions > long.trained);
        Self { rope_factors: long.map(|long| long.tensor).or(self.rope_factors), ..self }
    }

    /// The tensor of `role`, if the model has one.
    pub(super) fn tensor(&self, role: Role) -> Option<&'static Tensor> {
        self.architecture.tensor(role).filter(|tensor| tensor.when.holds(self.variant))
    }
}

/// Each block's window and rotation, and the rotations there are.
fn layers(
    architecture: &Architecture,
    header: &Header,
    keys: &Keys<'_>,
) -> Result<(Vec<Layer>, Vec<Rotation>), Error> {
    let (spec, rope) = (&header.spec, architecture.rope);
    let elements = keys.rotated(spec.head_size, rope.partial)?;
    let sizes = Sizes::of(spec, elements);
    for factors in architecture.input.iter().filter(|tensor| tensor.role.kind() == Kind::Factors) {
        if let Some(tensor) = header.tensor(factors.name) {
            support::check_dimensions(tensor, &factors.shape(&sizes))?;
        }
    }
    let variant = architecture.variant(header);
    let scaling = keys.scaling(variant.rope_factors && architecture.tensor(Role::LongFactors).is_some())?;
    let trained = keys.first_training(spec)?;
    let rotation = |base: f64, Scaling { divisor, magnitude, yarn }: Scaling| Rotation {
        pairing: rope.pairing,
        base,
        divisor,
        yarn: yarn.map(|turns| Yarn::new(elements, base, f64::from(trained), turns)),
        magnitude,
        elements: elements as usize,
        factors: variant.rope_factors,
    };
    let window = keys.window(architecture.windows)?;
    let all = rotation(spec.rope_theta, scaling);
    let windowed = match architecture.windows {
        Some(windows) => {
            let base = keys.fraction("rope.freq_base_swa")?.or(windows.base).unwrap_or(spec.rope_theta);
            let plain = Scaling { divisor: 1.0, magnitude: keys.magnitude()?, yarn: None };
            rotation(base, if windows.scaled { scaling } else { plain })
        }
        None => all.clone(),
    };
    let none = Rotation { elements: 0, ..all.clone() };
    let is_every = |number: u32, every: Option<u32>| every.is_some_and(|every| number.is_multiple_of(every));
    // A table for each, so one where they are alike.
    let mut rotations: Vec<Rotation> = Vec::new();
    let mut layer = |number: u32| {
        let open = is_every(number, architecture.windows.map(|windows| windows.open_every));
        let window = window.filter(|_| !open);
        let rotation = if is_every(number, rope.none_every) {
            &none
        } else if window.is_some() {
            &windowed
        } else {
            &all
        };
        let known = rotations.iter().position(|known| known == rotation);
        let rotation = known.unwrap_or_else(|| {
            rotations.push(rotation.clone());
            rotations.len() - 1
        });
        Layer { window, rotation }
    };
    let layers = (1..=spec.layers).map(&mut layer).collect();
    Ok((layers, rotations))
}

#[allow(clippy::cast_possible_truncation, reason = "the network computes in single precision")]
fn single(value: f64) -> f32 {
    value as f32
}
