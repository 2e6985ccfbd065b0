//! Tiny random models of each architecture as real GGUF files, with a byte vocabulary so that other
//! programs load them too.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::f16;

use infercost_model::architecture::{
    self, Architecture, Kind, Pairing, Presence, Role, Sizes, Tensor as Row, Variant,
};
use infercost_model::gguf::write::{Planned, head};
use infercost_model::quantize::{IQ4, dequantize};
use infercost_model::{Header, TensorInfo, TensorType, gguf, safetensors};

/// A tiny model's shape.
#[derive(Debug, Clone)]
pub struct Tiny {
    pub architecture: &'static str,
    pub layers: usize,
    pub width: usize,
    pub feed_forward: usize,
    /// Experts in the feed-forward layer's place, and how many of them a token uses.
    pub experts: Option<(usize, usize)>,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_size: usize,
    /// Elements of a head that are rotated; all when `None`.
    pub rotated: Option<usize>,
    pub context_length: u32,
    pub tied: bool,
    pub dtype: GgmlDType,
    /// Whether experts are stored in `MXFP4`, whatever `dtype` says.
    pub mxfp4_experts: bool,
    /// `IQ4_NL` or `IQ4_XS`, where all matrices are stored so whatever `dtype` says.
    pub iq4: Option<TensorType>,
    /// Whether the rotation's frequencies are divided; in a phi3 by other factors beyond 256 positions.
    pub rope_factors: bool,
    /// Metadata to leave out, by the end of their keys.
    pub without: &'static [&'static str],
    /// Metadata to add or replace.
    pub with: Vec<(&'static str, Value)>,
}

pub const VOCABULARY: usize = 320;

/// In which order a block's weights are drawn. The tolerances of tests and the distances in `docs/engine.md` were found on
/// the weights that this order gives; other roles follow in the order of their table.
const DRAWN: [Role; 22] = [
    Role::Query,
    Role::Key,
    Role::Value,
    Role::QueryKeyValue,
    Role::QueryBias,
    Role::KeyBias,
    Role::ValueBias,
    Role::AttentionOutput,
    Role::QueryNorm,
    Role::KeyNorm,
    Role::Gate,
    Role::GateUp,
    Role::ExpertGate,
    Role::Down,
    Role::ExpertDown,
    Role::Up,
    Role::ExpertUp,
    Role::AttentionNorm,
    Role::PostAttentionNorm,
    Role::FeedNorm,
    Role::PostFeedNorm,
    Role::Router,
];

/// The same in a gpt-oss.
const DRAWN_GPT_OSS: [Role; 15] = [
    Role::AttentionNorm,
    Role::Query,
    Role::Key,
    Role::Value,
    Role::QueryBias,
    Role::KeyBias,
    Role::ValueBias,
    Role::AttentionOutput,
    Role::AttentionOutputBias,
    Role::Sinks,
    Role::FeedNorm,
    Role::ExpertGate,
    Role::ExpertUp,
    Role::ExpertDown,
    Role::Router,
];

impl Tiny {
    /// The default shape of `architecture`: two blocks, or as many as show what differs from block to block. `mixtral` is
    /// a llama with experts.
    pub fn of(architecture: &'static str) -> Self {
        let experts = match architecture {
            "mixtral" => Some((8, 2)),
            // No multiple of sixteen, the rows of a group.
            "qwen3moe" => Some((20, 3)),
            "gpt-oss" => Some((12, 4)),
            _ => None,
        };
        let architecture = if architecture == "mixtral" { "llama" } else { architecture };
        Self {
            architecture,
            layers: match architecture {
                "gemma3" => 7,
                "gpt-oss" => 3,
                "smollm3" => 5,
                _ => 2,
            },
            width: 256,
            feed_forward: if experts.is_some() { 160 } else { 512 },
            experts,
            heads: 4,
            // candle's unquantized Gemma 3 knows one only.
            kv_heads: if architecture == "gemma3" { 1 } else { 2 },
            head_size: 64,
            rotated: None,
            context_length: 2048,
            tied: !matches!(architecture, "phi3" | "gpt-oss"),
            dtype: GgmlDType::Q8_0,
            mxfp4_experts: false,
            iq4: None,
            rope_factors: false,
            without: &[],
            with: Vec::new(),
        }
    }

    fn is_gpt_oss(&self) -> bool {
        self.architecture == "gpt-oss"
    }

    fn is_gemma(&self) -> bool {
        self.architecture == "gemma3"
    }

    fn description(&self) -> &'static Architecture {
        architecture::named(self.architecture).unwrap_or_else(|| panic!("no tiny {}", self.architecture))
    }

    fn sizes(&self) -> Sizes {
        let feed_forward = self.feed_forward as u64;
        Sizes {
            width: self.width as u64,
            vocabulary: VOCABULARY as u64,
            heads: self.heads as u64,
            kv_heads: self.kv_heads as u64,
            head: self.head_size as u64,
            feed_forward,
            experts: self.experts.map_or(0, |(count, _)| count as u64),
            expert: feed_forward,
            rotated: self.rotated.unwrap_or(self.head_size) as u64,
        }
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        let prefix = self.architecture;
        let whole =
            |key: &str, value: usize| (format!("{prefix}.{key}"), Value::U32(u32::try_from(value).unwrap()));
        let real = |key: &str, value: f32| (format!("{prefix}.{key}"), Value::F32(value));
        let mut entries = vec![
            ("general.architecture".to_owned(), Value::String(prefix.to_owned())),
            ("general.name".to_owned(), Value::String(format!("tiny {prefix}"))),
            whole("block_count", self.layers),
            whole("context_length", self.context_length as usize),
            whole("embedding_length", self.width),
            whole("feed_forward_length", self.feed_forward),
            whole("attention.head_count", self.heads),
            whole("attention.head_count_kv", self.kv_heads),
            whole("attention.key_length", self.head_size),
            whole("attention.value_length", self.head_size),
            whole("rope.dimension_count", self.rotated.unwrap_or(self.head_size)),
            whole("vocab_size", VOCABULARY),
            real("attention.layer_norm_rms_epsilon", 1e-5),
            real("rope.freq_base", self.rope_theta()),
        ];
        if self.is_gemma() {
            entries.push(whole("attention.sliding_window", 512));
        }
        if self.rope_factors && self.architecture == "phi3" {
            entries.push(whole("rope.scaling.original_context_length", 256));
            entries.push(real("rope.scaling.attn_factor", 1.19));
        }
        if let Some((count, used)) = self.experts {
            entries.push(whole("expert_count", count));
            entries.push(whole("expert_used_count", used));
            if self.description().experts == Presence::Always {
                entries.push(whole("expert_feed_forward_length", self.feed_forward));
            }
        }
        if self.is_gpt_oss() {
            // A window that is no whole page, and a rotation scaled within a short prompt.
            entries.push(whole("attention.sliding_window", 48));
            entries.push((format!("{prefix}.rope.scaling.type"), Value::String("yarn".to_owned())));
            entries.push(real("rope.scaling.factor", 8.0));
            entries.push(whole("rope.scaling.original_context_length", 256));
        }
        entries.retain(|(key, _)| !self.without.iter().any(|end| key.ends_with(end)));
        for (key, value) in &self.with {
            entries.retain(|(other, _)| other != key);
            entries.push(((*key).to_owned(), value.clone()));
        }
        entries.extend(vocabulary());
        entries
    }

    /// Names, shapes (rows first) and formats of all tensors, in the order in which their weights are drawn.
    fn tensors(&self) -> Vec<(String, Vec<usize>, GgmlDType)> {
        let description = self.description();
        let variant = Variant {
            experts: self.experts.is_some(),
            qkv_bias: false,
            own_head: !self.tied,
            rope_factors: self.rope_factors,
        };
        let there = |tensors: &[Row], order: &[Role]| {
            let mut tensors: Vec<Row> =
                tensors.iter().filter(|tensor| tensor.when.holds(variant)).copied().collect();
            let drawn = |role: Role| order.iter().position(|known| *known == role).unwrap_or(order.len());
            tensors.sort_by_key(|tensor| drawn(tensor.role));
            tensors
        };
        let sizes = self.sizes();
        let tensor = |name: String, row: &Row| {
            let shape = row.shape(&sizes).into_iter().map(|size| usize::try_from(size).unwrap()).collect();
            (name, shape, if row.role.kind() == Kind::Matrix { self.dtype } else { GgmlDType::F32 })
        };
        let outside = [description.input, description.output].concat();
        let outside = there(&outside, &[Role::Embedding, Role::OutputNorm, Role::Output]);
        let block = there(description.block, if self.is_gpt_oss() { &DRAWN_GPT_OSS[..] } else { &DRAWN[..] });
        let blocks = (0..u32::try_from(self.layers).unwrap())
            .flat_map(|layer| block.iter().map(move |row| (row.in_block(layer), row)));
        let outside = outside.iter().map(|row| (row.name.to_owned(), row));
        outside.chain(blocks).map(|(name, row)| tensor(name, row)).collect()
    }

    /// The weights as f32, in GGUF's names and layout.
    fn weights(&self) -> Vec<(String, Vec<usize>, GgmlDType, Vec<f32>)> {
        let mut random = Random(0x5eed);
        let with_values = |(name, shape, dtype): (String, Vec<usize>, GgmlDType)| {
            let elements: usize = shape.iter().product();
            // Gemma scales its embedding up; a tied random head would only echo a large one.
            let embedding = if self.is_gemma() { 0.05 } else { 1.0 };
            // Five blocks without norms after them would make a rounding grow from block to block.
            let gain = if self.architecture == "smollm3" { 1.25 } else { 2.0 };
            let (mean, spread) = match shape.len() {
                1 if name.contains("attn_sinks") => (0.0, 2.0),
                // So that the clamps of a gpt-oss have something to cut off.
                2 if name.ends_with("gate_exps.bias") || name.ends_with("up_exps.bias") => (0.0, 3.0),
                _ if name.contains("bias") => (0.0, 1.0),
                1 => (1.0, 0.1),
                _ if name == "token_embd.weight" => (0.0, embedding),
                dimensions => (0.0, gain / (shape[dimensions - 1] as f32).sqrt()),
            };
            let values = match name.as_str() {
                "rope_freqs.weight" => llama3_factors(self.rope_theta(), self.head_size),
                "rope_factors_short.weight" => (0..elements).map(|pair| 1.0 + 0.01 * pair as f32).collect(),
                "rope_factors_long.weight" => (0..elements).map(|pair| 1.0 + 0.5 * pair as f32).collect(),
                _ => (0..elements).map(|_| mean + spread * random.next()).collect(),
            };
            (name, shape, dtype, values)
        };
        self.tensors().into_iter().map(with_values).collect()
    }

    /// Writes the model to `path` as GGUF and describes it.
    pub fn write(&self, path: &Path) -> Header {
        let quantized: Vec<(String, QTensor)> = self
            .weights()
            .into_iter()
            .map(|(name, shape, dtype, values)| {
                let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
                (name, QTensor::quantize(&tensor, dtype).unwrap())
            })
            .collect();
        let metadata = self.metadata();
        let entries: Vec<(&str, &Value)> =
            metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            quantized.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut file = File::create(path).unwrap();
        gguf_file::write(&mut file, &entries, &tensors).unwrap();
        if let Some(dtype) = self.iq4 {
            rewrite(path, dtype, |tensor| tensor.shape.len() > 1 && tensor.dtype != TensorType::F32);
        }
        if self.mxfp4_experts {
            rewrite(path, TensorType::MXFP4, |tensor| tensor.name.ends_with("_exps.weight"));
        }
        gguf::read(path).unwrap().header
    }

    /// Writes the same weights to `folder` as safetensors and describes them.
    pub fn write_folder(&self, folder: &Path) -> Header {
        let tensors: HashMap<String, Tensor> = self
            .weights()
            .into_iter()
            // In a folder they follow from the configuration.
            .filter(|(name, ..)| name != "rope_freqs.weight")
            .map(|(name, shape, _, mut values)| {
                let pairs = self.description().rope.pairing;
                if pairs == Pairing::Neighbours && (name.contains("attn_q.") || name.contains("attn_k.")) {
                    values = unpermuted(&values, shape[1], self.head_size);
                }
                if self.is_gemma() && shape.len() == 1 {
                    for value in &mut values {
                        *value -= 1.0;
                    }
                }
                (self.name_there(&name), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
            })
            .collect();
        candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
        let model_type = if self.is_gemma() { "gemma3_text" } else { self.architecture };
        let config = serde_json::json!({
            "model_type": model_type,
            "hidden_size": self.width,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": self.context_length,
            "tie_word_embeddings": self.tied,
            "rope_theta": self.rope_theta(),
            "rms_norm_eps": 1e-5,
            "rope_scaling": self.rope_factors.then(|| serde_json::json!({
                "rope_type": "llama3",
                "factor": SCALING.factor,
                "low_freq_factor": SCALING.low,
                "high_freq_factor": SCALING.high,
                "original_max_position_embeddings": SCALING.original,
            })),
            "sliding_window": self.is_gemma().then_some(512),
        });
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        safetensors::read(folder).unwrap()
    }

    fn rope_theta(&self) -> f32 {
        if self.is_gemma() { 1e6 } else { 1e4 }
    }

    /// A tensor's name in a safetensors folder.
    fn name_there(&self, name: &str) -> String {
        let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
            return match name {
                "token_embd.weight" => "model.embed_tokens.weight",
                "output_norm.weight" => "model.norm.weight",
                "output.weight" => "lm_head.weight",
                other => panic!("no name for {other}"),
            }
            .to_owned();
        };
        let (part, kind) = part.rsplit_once('.').unwrap();
        let gemma = self.is_gemma();
        let part = match part {
            "attn_q" => "self_attn.q_proj",
            "attn_k" => "self_attn.k_proj",
            "attn_v" => "self_attn.v_proj",
            "attn_qkv" => "self_attn.qkv_proj",
            "attn_output" => "self_attn.o_proj",
            "attn_q_norm" => "self_attn.q_norm",
            "attn_k_norm" => "self_attn.k_norm",
            "ffn_gate" => "mlp.gate_proj",
            "ffn_up" if self.description().tensor(Role::GateUp).is_some() => "mlp.gate_up_proj",
            "ffn_up" => "mlp.up_proj",
            "ffn_down" => "mlp.down_proj",
            "attn_norm" => "input_layernorm",
            "ffn_norm" if gemma => "pre_feedforward_layernorm",
            "ffn_norm" | "post_attention_norm" => "post_attention_layernorm",
            "post_ffw_norm" => "post_feedforward_layernorm",
            other => panic!("no name for {other}"),
        };
        format!("model.layers.{layer}.{part}.{kind}")
    }
}

/// Rewrites the file at `path` with some of its tensors in `dtype`, one that candle cannot write.
fn rewrite(path: &Path, dtype: TensorType, chosen: impl Fn(&TensorInfo) -> bool) {
    let file = gguf::read(path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let block = match dtype {
        TensorType::MXFP4 => mxfp4,
        TensorType::IQ4_NL => iq4_nl,
        TensorType::IQ4_XS => iq4_xs,
        _ => panic!("candle writes {dtype}"),
    };
    let plan = |tensor: &TensorInfo| Planned {
        name: tensor.name.clone(),
        dtype: if chosen(tensor) { dtype } else { tensor.dtype },
        shape: tensor.shape.clone(),
    };
    let metadata: Vec<_> = file.metadata.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    let head = head(&metadata, &file.header.tensors.iter().map(plan).collect::<Vec<_>>());
    let size = |number: u64| usize::try_from(number).unwrap();
    let mut out = head.bytes;
    for (tensor, placed) in file.header.tensors.iter().zip(&head.tensors) {
        out.resize(size(placed.offset), 0);
        let data = &bytes[size(tensor.offset)..][..size(tensor.bytes().get())];
        if chosen(tensor) {
            let elements = size(dtype.block_elements());
            out.extend(dequantize(tensor.dtype, data).unwrap().chunks(elements).flat_map(block));
        } else {
            out.extend(data);
        }
    }
    out.resize(size(head.length), 0);
    std::fs::write(path, out).unwrap();
}

/// A block of 32 weights in `MXFP4`: the largest lies between 4 and 8 times the scale, each becomes the nearest number.
fn mxfp4(block: &[f32]) -> Vec<u8> {
    let numbers = [0.0f32, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let largest = block.iter().fold(1e-30f32, |largest, x| largest.max(x.abs()));
    // A single has its exponent with the same 127 added above the fraction.
    let exponent = (largest.to_bits() >> 23) - 2;
    let code = |x: f32| {
        let size = x.abs() / f32::from_bits(exponent << 23);
        let off = |code: &usize| (numbers[*code] - size).abs();
        let nearest = (0..8).min_by(|one, other| off(one).total_cmp(&off(other))).unwrap();
        u8::try_from(nearest + if x < 0.0 { 8 } else { 0 }).unwrap()
    };
    let (first, second) = block.split_at(16);
    let quants = first.iter().zip(second).map(|(low, high)| code(*low) | code(*high) << 4);
    std::iter::once(u8::try_from(exponent).unwrap()).chain(quants).collect()
}

/// Codes of 32 weights as multiples of a scale: the nearest of the sixteen numbers of `IQ4`.
fn iq4_codes(block: &[f32], scale: f32) -> impl Iterator<Item = u8> {
    let code = move |x: f32| {
        let wanted = if scale == 0.0 { 0.0 } else { x / scale };
        let off = |code: &usize| (f32::from(IQ4[*code]) - wanted).abs();
        u8::try_from((0..16).min_by(|one, other| off(one).total_cmp(&off(other))).unwrap()).unwrap()
    };
    let (first, second) = block.split_at(16);
    first.iter().zip(second).map(move |(low, high)| code(*low) | code(*high) << 4)
}

/// The scale by which the largest of 32 weights becomes the largest of the sixteen numbers.
fn iq4_scale(block: &[f32]) -> f32 {
    block.iter().fold(0f32, |largest, x| largest.max(x.abs())) / 127.0
}

/// A block of 32 weights in `IQ4_NL`.
fn iq4_nl(block: &[f32]) -> Vec<u8> {
    let scale = f16::from_f32(iq4_scale(block));
    scale.to_le_bytes().into_iter().chain(iq4_codes(block, scale.to_f32())).collect()
}

/// A super-block of 256 weights in `IQ4_XS`, its blocks' scales of both signs by turns.
fn iq4_xs(block: &[f32]) -> Vec<u8> {
    let scales: Vec<f32> = block.chunks(32).map(iq4_scale).collect();
    let whole = f16::from_f32(scales.iter().fold(0f32, |largest, scale| largest.max(*scale)) / 31.0);
    let (mut upper, mut lower, mut codes) = (0u16, [0u8; 4], Vec::new());
    for (sub, (block, scale)) in block.chunks(32).zip(&scales).enumerate() {
        let size = (scale / whole.to_f32().max(1e-30)).round();
        let size = if sub % 2 == 0 { size } else { -size };
        codes.extend(iq4_codes(block, whole.to_f32() * size));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 63")]
        let bits = (size + 32.0) as u8;
        lower[sub / 2] |= (bits & 15) << (sub % 2 * 4);
        upper |= u16::from(bits >> 4) << (sub * 2);
    }
    [&whole.to_le_bytes()[..], &upper.to_le_bytes(), &lower, &codes].concat()
}

/// Llama 3.1's scaling of rotary angles, here so strong that it matters within a short prompt.
struct Scaling {
    factor: f32,
    low: f32,
    high: f32,
    original: u32,
}

const SCALING: Scaling = Scaling { factor: 8.0, low: 1.0, high: 4.0, original: 64 };

/// What a GGUF file of such a model carries: the divisor of each frequency.
fn llama3_factors(theta: f32, head_size: usize) -> Vec<f32> {
    let Scaling { factor, low, high, original } = SCALING;
    let of = |i: usize| {
        let wavelength = 2.0 * std::f32::consts::PI * theta.powf(2.0 * i as f32 / head_size as f32);
        let turns = original as f32 / wavelength;
        if turns > high {
            return 1.0;
        }
        if turns < low {
            return factor;
        }
        let smooth = (turns - low) / (high - low);
        1.0 / ((1.0 - smooth) / factor + smooth)
    };
    (0..head_size / 2).map(of).collect()
}

/// GGUF pairs rotated rows as neighbours (2i, 2i+1) for Llama, safetensors as halves (i, i + size/2).
fn unpermuted(values: &[f32], columns: usize, head_size: usize) -> Vec<f32> {
    let row = |index: usize| &values[index * columns..(index + 1) * columns];
    let half = head_size / 2;
    (0..values.len() / columns)
        .flat_map(|there| {
            let (head, within) = (there / head_size, there % head_size);
            row(head * head_size + 2 * (within % half) + within / half)
        })
        .copied()
        .collect()
}

/// 3 special tokens, the ASCII bytes, and fillers: a vocabulary whose every token is text.
fn vocabulary() -> Vec<(String, Value)> {
    let special = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let bytes = (0..128u8).map(|byte| format!("<0x{byte:02X}>"));
    // llama.cpp looks for the first of these in every Phi-3.
    let fillers =
        std::iter::once("<|endoftext|>".to_owned()).chain((132..VOCABULARY).map(|id| format!("tok{id}")));
    let tokens: Vec<Value> = special.into_iter().chain(bytes).chain(fillers).map(Value::String).collect();
    let kinds = (0..VOCABULARY).map(|id| {
        Value::I32(match id {
            0 => 2,
            1 | 2 => 3,
            3..131 => 6,
            _ => 1,
        })
    });
    let scores = (0..VOCABULARY).map(|id| Value::F32(-(id as f32)));
    vec![
        ("tokenizer.ggml.model".to_owned(), Value::String("llama".to_owned())),
        ("tokenizer.ggml.tokens".to_owned(), Value::Array(tokens)),
        ("tokenizer.ggml.scores".to_owned(), Value::Array(scores.collect())),
        ("tokenizer.ggml.token_type".to_owned(), Value::Array(kinds.collect())),
        ("tokenizer.ggml.bos_token_id".to_owned(), Value::U32(1)),
        ("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(2)),
        ("tokenizer.ggml.unknown_token_id".to_owned(), Value::U32(0)),
        ("tokenizer.ggml.add_bos_token".to_owned(), Value::Bool(false)),
        ("tokenizer.ggml.add_space_prefix".to_owned(), Value::Bool(false)),
    ]
}

/// Approximately normal numbers, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
        }
        // The sum of four has variance 1/3.
        sum * 1.732
    }
}
