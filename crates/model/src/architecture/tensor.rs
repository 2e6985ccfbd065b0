//! A row of an architecture's table: a tensor's name, its role, its shape and when it is there.

use crate::ModelSpec;

/// A tensor of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in GGUF; in a block what follows `blk.N.`.
    pub name: &'static str,
    /// What it does.
    pub role: Role,
    /// Its dimensions, outermost first.
    pub dimensions: &'static [Size],
    /// In which models of the architecture it is.
    pub when: When,
}

/// What a tensor does in a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named for what they are")]
pub enum Role {
    Embedding,
    /// Divides the frequencies of the rotation.
    RopeFactors,
    /// Divides them where sequences are no longer than the first training's.
    ShortFactors,
    /// Divides them where sequences are longer.
    LongFactors,
    OutputNorm,
    /// The output head.
    Output,

    AttentionNorm,
    Query,
    Key,
    Value,
    /// Queries, keys and values, one after the other.
    QueryKeyValue,
    QueryBias,
    KeyBias,
    ValueBias,
    /// Norm of each query head, before its rotation.
    QueryNorm,
    KeyNorm,
    /// Back from the attention heads to the width.
    AttentionOutput,
    AttentionOutputBias,
    /// Each query head's score without a key.
    Sinks,
    /// Norm of what attention gives.
    PostAttentionNorm,

    FeedNorm,
    Gate,
    Up,
    /// Gate and up, one after the other.
    GateUp,
    Down,
    /// Norm of what the feed-forward layer gives.
    PostFeedNorm,

    /// Gives each expert its logit.
    Router,
    /// All experts' gates, and so on.
    ExpertGate,
    ExpertUp,
    ExpertDown,
    RouterBias,
    ExpertGateBias,
    ExpertUpBias,
    ExpertDownBias,
}

/// What kind of numbers a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A matrix, or several, that may be quantized.
    Matrix,
    /// A matrix that never is: a rounded logit might choose another expert.
    Router,
    /// Factors near one.
    Norm,
    /// Numbers that are added: biases and sinks.
    Bias,
    /// Divisors of frequencies.
    Factors,
}

impl Role {
    /// What kind of numbers it is.
    pub fn kind(self) -> Kind {
        match self {
            Self::Embedding
            | Self::Output
            | Self::Query
            | Self::Key
            | Self::Value
            | Self::QueryKeyValue
            | Self::AttentionOutput
            | Self::Gate
            | Self::Up
            | Self::GateUp
            | Self::Down
            | Self::ExpertGate
            | Self::ExpertUp
            | Self::ExpertDown => Kind::Matrix,
            Self::Router => Kind::Router,
            Self::OutputNorm
            | Self::AttentionNorm
            | Self::QueryNorm
            | Self::KeyNorm
            | Self::PostAttentionNorm
            | Self::FeedNorm
            | Self::PostFeedNorm => Kind::Norm,
            Self::QueryBias
            | Self::KeyBias
            | Self::ValueBias
            | Self::AttentionOutputBias
            | Self::Sinks
            | Self::RouterBias
            | Self::ExpertGateBias
            | Self::ExpertUpBias
            | Self::ExpertDownBias => Kind::Bias,
            Self::RopeFactors | Self::ShortFactors | Self::LongFactors => Kind::Factors,
        }
    }
}

/// When a tensor is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In every model.
    Always,
    /// With a dense feed-forward layer.
    Dense,
    /// Where it is a mixture of experts.
    Experts,
    /// Where queries, keys and values have biases: in all blocks or in none.
    QkvBias,
    /// Where the output head has weights of its own.
    OwnHead,
    /// Where the rotation's frequencies are divided.
    RopeFactors,
}

/// What differs between models of one architecture, as far as it decides which tensors there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each says whether a part is there")]
pub struct Variant {
    /// The feed-forward layer is a mixture of experts.
    pub experts: bool,
    /// Queries, keys and values have biases.
    pub qkv_bias: bool,
    /// The output head has weights of its own.
    pub own_head: bool,
    /// The rotation's frequencies are divided.
    pub rope_factors: bool,
}

impl When {
    /// Whether a tensor with this condition is in models of `variant`.
    pub fn holds(self, variant: Variant) -> bool {
        match self {
            Self::Always => true,
            Self::Dense => !variant.experts,
            Self::Experts => variant.experts,
            Self::QkvBias => variant.qkv_bias,
            Self::OwnHead => variant.own_head,
            Self::RopeFactors => variant.rope_factors,
        }
    }
}

/// A dimension of a tensor, in the model's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Width of the residual stream.
    Width,
    /// Entries of the vocabulary.
    Vocabulary,
    /// All query heads.
    Queries,
    /// All key heads; as many as value heads.
    Keys,
    /// All query, key and value heads.
    QueriesKeysValues,
    /// Number of query heads.
    Heads,
    /// One head.
    Head,
    /// Width of the feed-forward layer.
    FeedForward,
    /// Twice that.
    GateUp,
    /// Number of experts.
    Experts,
    /// Width of one expert.
    Expert,
    /// Pairs of a head's elements that are rotated together.
    Pairs,
}

/// A model's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "as in `ModelSpec`")]
pub struct Sizes {
    pub width: u64,
    pub vocabulary: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head: u64,
    pub feed_forward: u64,
    /// Number of experts; 0 in a dense model.
    pub experts: u64,
    /// Width of one.
    pub expert: u64,
    /// Elements of a head that are rotated.
    pub rotated: u64,
}

impl Sizes {
    /// The numbers of a header, with `rotated` elements of a head rotated.
    pub fn of(spec: &ModelSpec, rotated: u32) -> Self {
        Self {
            width: u64::from(spec.width),
            vocabulary: u64::from(spec.vocabulary),
            heads: u64::from(spec.heads),
            kv_heads: u64::from(spec.kv_heads),
            head: u64::from(spec.head_size),
            feed_forward: u64::from(spec.feed_forward),
            experts: spec.experts.map_or(0, |experts| u64::from(experts.count)),
            expert: spec.experts.map_or(0, |experts| u64::from(experts.feed_forward)),
            rotated: u64::from(rotated),
        }
    }

    fn size(&self, size: Size) -> u64 {
        match size {
            Size::Width => self.width,
            Size::Vocabulary => self.vocabulary,
            Size::Queries => self.heads * self.head,
            Size::Keys => self.kv_heads * self.head,
            Size::QueriesKeysValues => (self.heads + 2 * self.kv_heads) * self.head,
            Size::Heads => self.heads,
            Size::Head => self.head,
            Size::FeedForward => self.feed_forward,
            Size::GateUp => 2 * self.feed_forward,
            Size::Experts => self.experts,
            Size::Expert => self.expert,
            Size::Pairs => self.rotated / 2,
        }
    }
}

impl Tensor {
    /// A tensor that is always there.
    pub(super) const fn new(name: &'static str, role: Role, dimensions: &'static [Size]) -> Self {
        Self { name, role, dimensions, when: When::Always }
    }

    /// The same with a condition.
    pub(super) const fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// The same under another name.
    pub(super) const fn called(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The tensor's name in block `layer`.
    pub fn in_block(&self, layer: u32) -> String {
        format!("blk.{layer}.{}", self.name)
    }

    /// Its shape, outermost dimension first.
    pub fn shape(&self, sizes: &Sizes) -> Vec<u64> {
        self.dimensions.iter().map(|size| sizes.size(*size)).collect()
    }
}
