//! A transformer in plain f64: no cache, no blocks, no threads, every position computed anew.
//!
//! Reads the weights as the file has them (dequantized element by element) and follows the [`Network`] literally, so
//! that it shares with the engine nothing but that description; llama.cpp is the judge of the description itself.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::POSITIONS;
use crate::fused::KvType;
use crate::fused::network::{Activation, Experts, Network, Pairing, Rotation};
use crate::model::architecture::Role;
use crate::model::gguf;
use crate::model::quantize::dequantize;

/// A model as f64.
pub(super) struct Reference {
    pub(super) network: Network,
    tensors: HashMap<String, Vec<f64>>,
    /// Matrices whose inputs are rounded as the engine rounds them; empty when nothing is rounded.
    rounds: HashSet<String>,
    /// As which format's cache keys and values are rounded.
    cache: Option<KvType>,
}

impl Reference {
    /// The model with the engine's two roundings and no other: inputs of quantized matrices to 8 bits in blocks of 32,
    /// keys and values as the cache has them. What is left between it and the engine is the error of single precision.
    pub(super) fn rounded(path: &Path, cache: KvType) -> Self {
        let exact = Self::open(path);
        let tensors = gguf::read(path).unwrap().header.tensors;
        let quantized = tensors.into_iter().filter(|tensor| tensor.dtype.block_elements() > 1);
        let names = quantized.flat_map(|tensor| parts(&exact.network, &tensor.name)).map(|(name, _)| name);
        Self { rounds: names.collect(), cache: Some(cache), ..exact }
    }

    /// The model with keys and values rounded as the cache has them, and nothing else.
    pub(super) fn with_cache(path: &Path, cache: KvType) -> Self {
        Self { cache: Some(cache), ..Self::open(path) }
    }

    pub(super) fn open(path: &Path) -> Self {
        let file = gguf::read(path).unwrap();
        let bytes = fs::read(path).unwrap();
        let network = Network::new(&file.header, &file.metadata).unwrap().for_positions(Some(POSITIONS));
        let mut tensors = HashMap::new();
        for tensor in &file.header.tensors {
            let at = usize::try_from(tensor.offset).unwrap();
            let length = usize::try_from(tensor.bytes().get()).unwrap();
            let values = dequantize(tensor.dtype, &bytes[at..at + length]).unwrap();
            let mut rest = values.into_iter().map(f64::from);
            for (name, rows) in parts(&network, &tensor.name) {
                tensors.insert(name, rest.by_ref().take(rows * network.width).collect());
            }
        }
        Self { network, tensors, rounds: HashSet::new(), cache: None }
    }

    /// A matrix times `x`.
    fn multiply(&self, name: &str, x: &[f64]) -> Vec<f64> {
        self.multiply_part(name, (0, 1), x)
    }

    /// Part `number` of the `count` matrices that lie one behind the other in a tensor, times `x`.
    fn multiply_part(&self, name: &str, (number, count): (usize, usize), x: &[f64]) -> Vec<f64> {
        let all = self.tensor(name);
        let one = all.len() / count;
        let matrix = &all[number * one..(number + 1) * one];
        if self.rounds.contains(name) {
            multiply(matrix, &x.chunks(32).flat_map(rounded_block).collect::<Vec<f64>>())
        } else {
            multiply(matrix, x)
        }
    }

    fn multiply_of_block(&self, layer: usize, name: &str, x: &[f64]) -> Vec<f64> {
        self.multiply(&format!("blk.{layer}.{name}"), x)
    }

    /// A key or a value as the cache keeps it.
    fn cached(&self, x: Vec<f64>) -> Vec<f64> {
        match self.cache {
            None => x,
            Some(KvType::F16) => x.into_iter().map(|x| f64::from(half::f16::from_f64(x))).collect(),
            Some(KvType::Q8_0) => x.chunks(32).flat_map(cached_block).collect(),
        }
    }

    fn tensor(&self, name: &str) -> &[f64] {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    fn of_block(&self, layer: usize, name: &str) -> &[f64] {
        self.tensor(&format!("blk.{layer}.{name}"))
    }

    /// The logits behind the last of `tokens`.
    pub(super) fn logits(&self, tokens: &[u32]) -> Vec<f64> {
        let n = &self.network;
        let embedding = self.tensor("token_embd.weight");
        let row = |token: &u32| {
            let at = *token as usize * n.width;
            embedding[at..at + n.width].iter().map(|x| x * f64::from(n.embedding_scale)).collect::<Vec<f64>>()
        };
        let mut x: Vec<Vec<f64>> = tokens.iter().map(row).collect();
        for layer in 0..n.layers.len() {
            let normed: Vec<Vec<f64>> =
                x.iter().map(|x| self.norm(x, self.of_block(layer, "attn_norm.weight"))).collect();
            let attended = self.attention(layer, &normed);
            for (x, out) in x.iter_mut().zip(attended) {
                let out = if n.post_norms {
                    self.norm(&out, self.of_block(layer, "post_attention_norm.weight"))
                } else {
                    out
                };
                add(x, &out);
                let normed = self.norm(x, self.of_block(layer, n.tensor(Role::FeedNorm).unwrap().name));
                let out = match n.experts {
                    None => {
                        self.feed_forward(layer, ["ffn_gate", "ffn_up", "ffn_down"], (0, 1), false, &normed)
                    }
                    Some(experts) => self.mixture(layer, experts, &normed),
                };
                let out = if n.post_norms {
                    self.norm(&out, self.of_block(layer, "post_ffw_norm.weight"))
                } else {
                    out
                };
                add(x, &out);
            }
        }
        let last = self.norm(x.last().unwrap(), self.tensor("output_norm.weight"));
        let tied = !self.tensors.contains_key("output.weight");
        self.multiply(if tied { "token_embd.weight" } else { "output.weight" }, &last)
    }

    fn feed_forward(
        &self,
        layer: usize,
        matrices: [&str; 3],
        part: (usize, usize),
        biases: bool,
        x: &[f64],
    ) -> Vec<f64> {
        let multiply = |name: &str, x: &[f64]| {
            let mut out = self.multiply_part(&format!("blk.{layer}.{name}.weight"), part, x);
            if biases {
                let all = self.of_block(layer, &format!("{name}.bias"));
                let rows = out.len();
                add(&mut out, &all[part.0 * rows..(part.0 + 1) * rows]);
            }
            out
        };
        let [gate, up, down] = matrices;
        let (gate, up) = (multiply(gate, x), multiply(up, x));
        let activation = self.network.activation;
        let hidden: Vec<f64> =
            gate.iter().zip(&up).map(|(gate, up)| activate(activation, *gate, *up)).collect();
        multiply(down, &hidden)
    }

    /// Softmax over all experts, the likeliest of them, their shares brought back to a sum of one.
    fn mixture(&self, layer: usize, experts: Experts, x: &[f64]) -> Vec<f64> {
        let mut logits = multiply(self.of_block(layer, "ffn_gate_inp.weight"), x);
        if experts.biases {
            add(&mut logits, self.of_block(layer, "ffn_gate_inp.bias"));
        }
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let mut shares: Vec<(usize, f64)> =
            logits.iter().map(|logit| logit.exp() / sum).enumerate().collect();
        shares.sort_by(|one, other| other.1.total_cmp(&one.1));
        shares.truncate(experts.used);
        let kept: f64 = shares.iter().map(|(_, share)| share).sum();
        let mut out = vec![0.0; x.len()];
        for (index, share) in shares {
            let matrices = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"];
            let of_one = self.feed_forward(layer, matrices, (index, experts.count), experts.biases, x);
            for (out, of_one) in out.iter_mut().zip(of_one) {
                *out += of_one * share / kept;
            }
        }
        out
    }

    fn attention(&self, layer: usize, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let n = &self.network;
        let project = |name: &str, x: &[f64]| {
            let mut out = self.multiply_of_block(layer, &format!("{name}.weight"), x);
            if n.qkv_bias {
                add(&mut out, self.of_block(layer, &format!("{name}.bias")));
            }
            out
        };
        let rotation = &n.rotations[n.layers[layer].rotation];
        let turned = |name: &str, norm: &str, position: usize, x: &[f64]| -> Vec<f64> {
            let all = project(name, x);
            let heads = all.chunks(n.head_size).flat_map(|head| {
                let head =
                    if n.head_norms { self.norm(head, self.of_block(layer, norm)) } else { head.to_vec() };
                self.rotate(rotation, &head, position)
            });
            heads.collect()
        };
        let queries: Vec<_> =
            x.iter().enumerate().map(|(at, x)| turned("attn_q", "attn_q_norm.weight", at, x)).collect();
        let keys = x.iter().enumerate().map(|(at, x)| turned("attn_k", "attn_k_norm.weight", at, x));
        let keys: Vec<_> = keys.map(|key| self.cached(key)).collect();
        let values: Vec<_> = x.iter().map(|x| self.cached(project("attn_v", x))).collect();
        let group = n.heads / n.kv_heads;
        let of_token = |at: usize| {
            let first = n.layers[layer].window.map_or(0, |window| (at + 1).saturating_sub(window as usize));
            let mut out = Vec::with_capacity(n.heads * n.head_size);
            for head in 0..n.heads {
                let kv = (head / group) * n.head_size;
                let q = &queries[at][head * n.head_size..(head + 1) * n.head_size];
                let score = |past: usize| {
                    let k = &keys[past][kv..kv + n.head_size];
                    q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() * f64::from(n.attention_scale)
                };
                let scores: Vec<f64> = (first..=at).map(score).collect();
                let sink = n.sinks.then(|| self.of_block(layer, "attn_sinks.weight")[head]);
                let largest = scores.iter().copied().chain(sink).fold(f64::MIN, f64::max);
                let shares: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let sum = shares.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - largest).exp());
                for element in 0..n.head_size {
                    let mixed: f64 = shares
                        .iter()
                        .zip(first..)
                        .map(|(share, past)| share * values[past][kv + element])
                        .sum();
                    out.push(mixed / sum);
                }
            }
            let mut out = self.multiply_of_block(layer, "attn_output.weight", &out);
            if n.output_bias {
                add(&mut out, self.of_block(layer, "attn_output.bias"));
            }
            out
        };
        (0..x.len()).map(of_token).collect()
    }

    fn rotate(&self, rotation: &Rotation, head: &[f64], position: usize) -> Vec<f64> {
        let mut out = head.to_vec();
        let half = rotation.elements / 2;
        for pair in 0..half {
            let exponent = 2.0 * pair as f64 / rotation.elements as f64;
            let factor =
                if rotation.factors { self.tensor(self.network.rope_factors.unwrap())[pair] } else { 1.0 };
            let angle = position as f64 / rotation.base.powf(exponent) / factor;
            let divided = rotation.yarn.map_or(1.0, |yarn| yarn.divided(pair));
            let angle = angle * (1.0 - divided) + angle / rotation.divisor * divided;
            let (a, b) = match rotation.pairing {
                Pairing::Neighbours => (2 * pair, 2 * pair + 1),
                Pairing::Halves => (pair, pair + half),
            };
            out[a] = (head[a] * angle.cos() - head[b] * angle.sin()) * rotation.magnitude;
            out[b] = (head[a] * angle.sin() + head[b] * angle.cos()) * rotation.magnitude;
        }
        out
    }

    fn norm(&self, x: &[f64], weight: &[f64]) -> Vec<f64> {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = (mean + f64::from(self.network.norm_epsilon)).sqrt().recip();
        x.iter().zip(weight).map(|(x, weight)| x * scale * weight).collect()
    }
}

/// The matrices of a tensor that holds several, by the names that other architectures have for them, with their rows; all
/// of any other tensor.
fn parts(n: &Network, name: &str) -> Vec<(String, usize)> {
    let (queries, keys, feed) = (n.heads * n.head_size, n.kv_heads * n.head_size, n.feed_forward);
    let named = |packed: &str, parts: &[(&str, usize)]| {
        parts.iter().map(|(part, rows)| (name.replace(packed, part), *rows)).collect()
    };
    if name.ends_with("attn_qkv.weight") {
        named("attn_qkv", &[("attn_q", queries), ("attn_k", keys), ("attn_v", keys)])
    } else if name.ends_with("ffn_up.weight") && n.tensor(Role::GateUp).is_some() {
        named("ffn_up", &[("ffn_gate", feed), ("ffn_up", feed)])
    } else {
        vec![(name.to_owned(), usize::MAX / n.width)]
    }
}

/// 32 numbers as 8-bit ones: whole multiples of the largest ÷ 127.
fn rounded_block(block: &[f64]) -> Vec<f64> {
    let scale = block.iter().fold(0f64, |largest, x| largest.max(x.abs())) / 127.0;
    block.iter().map(|x| if scale > 0.0 { (x / scale).round_ties_even() * scale } else { 0.0 }).collect()
}

/// 32 keys or values as 8-bit numbers with a scale in half precision.
fn cached_block(block: &[f64]) -> Vec<f64> {
    let scale = block.iter().fold(0f64, |largest, x| largest.max(x.abs())) / 127.0;
    let kept = f64::from(half::f16::from_f64(scale));
    block.iter().map(|x| if scale > 0.0 { (x / scale).round_ties_even() * kept } else { 0.0 }).collect()
}

fn multiply(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn add(x: &mut [f64], y: &[f64]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

fn activate(activation: Activation, x: f64, up: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()) * up,
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh()) * up
        }
        Activation::ClampedSwiglu => {
            let gate = x.min(7.0);
            gate / (1.0 + (-1.702 * gate).exp()) * (up.clamp(-7.0, 7.0) + 1.0)
        }
    }
}
