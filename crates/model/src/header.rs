//! What is known of a model before any weight is read: its shape, its tensors and their sizes.
//!
//! This is all that planning may use. The types hold for a GGUF file, a safetensors folder and a
//! synthetic preset alike.

use serde::Serialize;

use crate::base::units::Bytes;

/// A model's description, read from its header.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Header {
    /// Name the file gives itself, else the file's or preset's name.
    pub name: String,
    /// Shape of the network.
    pub spec: ModelSpec,
    /// The usual name for the weights' format: `Q4_K_M`, `Q8_0`, `F16`.
    pub quantization: String,
    /// What the file or its name says instead, when the weights are something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization_note: Option<String>,
    /// Every tensor, in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Whether `rope_freqs.weight` is there (Llama 3.1–3.3), which stock candle ignores.
    pub has_rope_factors: bool,
    /// Whether text can be turned into this model's tokens with what came with it.
    pub has_tokenizer: bool,
}

/// Follows the name of a model with random weights, before the seed.
pub(super) const SYNTHETIC_MARK: &str = " (synthetic, seed ";

impl Header {
    /// Whether the weights are random numbers of ours, in memory or in a file that was exported.
    pub fn is_synthetic(&self) -> bool {
        self.name.contains(SYNTHETIC_MARK)
    }

    /// Number of weights, counting shared ones once.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(TensorInfo::elements).sum()
    }

    /// Bytes of all tensors as stored.
    pub fn weight_bytes(&self) -> Bytes {
        self.tensors.iter().fold(Bytes::default(), |sum, tensor| sum + tensor.bytes())
    }

    /// The matrices of all experts, and their biases, of which a token goes through few.
    pub fn expert_tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.iter().filter(|tensor| tensor.name.contains("_exps."))
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}

/// The shape of a transformer, in the field's terms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelSpec {
    /// `general.architecture` of GGUF: `llama`, `qwen2`, `qwen3`, `gemma3`, `phi3` …
    pub architecture: String,
    /// Transformer blocks.
    pub layers: u32,
    /// Width of the residual stream (`embedding_length`).
    pub width: u32,
    /// Width of the feed-forward layer.
    pub feed_forward: u32,
    /// The experts that take the feed-forward layer's place; `None` in a dense model.
    pub experts: Option<Experts>,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; fewer than `heads` under grouped-query attention.
    pub kv_heads: u32,
    /// Width of one head.
    pub head_size: u32,
    /// Entries in the vocabulary.
    pub vocabulary: u32,
    /// Longest context the model was made for.
    pub context_length: u32,
    /// Positions that a query sees in the blocks with a sliding window.
    pub window: Option<u32>,
    /// Blocks with a sliding window; the others see every position.
    pub windowed_layers: u32,
    /// Whether the output head shares the embedding's weights.
    pub tied_head: bool,
    /// Base of the rotary position embedding.
    pub rope_theta: f64,
    /// Epsilon of the RMS norm.
    pub norm_epsilon: f64,
}

/// Feed-forward layers side by side, of which a router chooses some for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// How many there are in a block.
    pub count: u32,
    /// How many of them a token goes through.
    pub used: u32,
    /// Width of one.
    pub feed_forward: u32,
}

impl ModelSpec {
    /// Bytes of keys and values that one position of one sequence takes in a format whose block of 32 elements has
    /// `block_bytes`: 128 in single precision, 64 in half, 34 in `q8_0`.
    pub fn kv_bytes_per_position(&self, block_bytes: u64) -> Bytes {
        let elements = 2 * u64::from(self.layers) * u64::from(self.kv_heads) * u64::from(self.head_size);
        Bytes::new((elements * block_bytes).div_ceil(32))
    }
}

/// One tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// Its name: `blk.0.attn_q.weight`.
    pub name: String,
    /// How its elements are stored.
    pub dtype: TensorType,
    /// Dimensions, outermost first (rows, columns): the reverse of GGUF's own order.
    pub shape: Vec<u64>,
    /// Where its bytes start, counted from the start of the file.
    pub offset: u64,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Bytes as stored.
    pub fn bytes(&self) -> Bytes {
        Bytes::new(self.elements() / self.dtype.block_elements() * self.dtype.block_bytes())
    }
}

macro_rules! tensor_types {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $label:literal, $elements:literal in $bytes:literal;)+) => {
        /// How a tensor's elements are stored: GGML's types by their number in GGUF.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[allow(non_camel_case_types, reason = "the field writes Q4_K, and so do we")]
        pub enum TensorType { $($(#[$doc])* #[serde(rename = $label)] $name,)+ }

        impl TensorType {
            /// All types that can be read.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The type with this number in GGUF.
            pub fn from_ggml_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)+ _ => None }
            }

            /// The type's number in GGUF.
            pub fn ggml_id(self) -> u32 {
                match self { $(Self::$name => $id,)+ }
            }

            /// The field's name for it.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// Elements in one block; a row holds whole blocks only.
            pub fn block_elements(self) -> u64 {
                match self { $(Self::$name => $elements,)+ }
            }

            /// Bytes of one block.
            pub fn block_bytes(self) -> u64 {
                match self { $(Self::$name => $bytes,)+ }
            }
        }
    };
}

tensor_types! {
    /// IEEE single precision.
    F32 = 0, "F32", 1 in 4;
    /// IEEE half precision.
    F16 = 1, "F16", 1 in 2;
    /// 4 bits and a scale.
    Q4_0 = 2, "Q4_0", 32 in 18;
    /// 4 bits, a scale and a minimum.
    Q4_1 = 3, "Q4_1", 32 in 20;
    /// 5 bits and a scale.
    Q5_0 = 6, "Q5_0", 32 in 22;
    /// 5 bits, a scale and a minimum.
    Q5_1 = 7, "Q5_1", 32 in 24;
    /// 8 bits and a scale.
    Q8_0 = 8, "Q8_0", 32 in 34;
    /// 8 bits, a scale and a sum; activations only.
    Q8_1 = 9, "Q8_1", 32 in 36;
    /// 2 bits in super-blocks.
    Q2_K = 10, "Q2_K", 256 in 84;
    /// 3 bits in super-blocks.
    Q3_K = 11, "Q3_K", 256 in 110;
    /// 4 bits in super-blocks.
    Q4_K = 12, "Q4_K", 256 in 144;
    /// 5 bits in super-blocks.
    Q5_K = 13, "Q5_K", 256 in 176;
    /// 6 bits in super-blocks.
    Q6_K = 14, "Q6_K", 256 in 210;
    /// 8 bits in super-blocks; activations only.
    Q8_K = 15, "Q8_K", 256 in 292;
    /// 4 bits that choose from sixteen numbers, and a scale.
    IQ4_NL = 20, "IQ4_NL", 32 in 18;
    /// 4 bits that choose from sixteen numbers, in super-blocks.
    IQ4_XS = 23, "IQ4_XS", 256 in 136;
    /// The upper half of a single.
    BF16 = 30, "BF16", 1 in 2;
    /// Floats of 4 bits and a scale that is a power of two.
    MXFP4 = 39, "MXFP4", 32 in 17;
}

impl std::fmt::Display for TensorType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}
