//! One step through the network on the device: launches in order, with no host wait in between. `graphs` says which steps are
//! recorded.
//!
//! The tokens of all sequences are the rows of one matrix. Only the tokens' ids, positions and pages go to the device, and
//! only the chosen tokens come back, with logits where they are asked for.

use crate::fused::kv::KvLayout;
use crate::fused::network::Network;
use crate::hardware::cuda::{DevicePlace, Fault};
use crate::{LogitsWanted, StepBatch, StepOutput};

use super::CudaEngine;
use super::buffers::{Buffers, LOGIT_ROWS, Parts};
use super::launch::{Attention, CacheOf, Input, Kernels, OfHeads, Rows, Turn};
use super::store::{Block, Experts, Feed, Matrix, Vector, Weights};

/// Feeds a batch.
///
/// # Errors
/// What the driver says.
pub(super) fn step(
    engine: &mut CudaEngine,
    batch: &StepBatch<'_>,
    output: &mut StepOutput,
) -> Result<(), Fault> {
    let CudaEngine { network, weights, kernels, buffers, cache, layout, graphs, .. } = engine;
    let bucket = graphs.bucket(batch);
    let parts = buffers.begin(network, batch, bucket)?;
    let angles: Vec<(DevicePlace, usize)> =
        buffers.angles.iter().map(|(memory, pairs)| (memory.place(), *pairs)).collect();
    let pass = Pass { network, weights, kernels, parts, angles, layout: *layout, cache: cache.place() };
    output.next.clear();
    output.next.resize(batch.sequences.len(), 0);
    output.logits.clear();
    output.non_finite = false;
    output.device_time = None;
    if bucket.is_some() {
        graphs.run(kernels, &parts, || pass.all(buffers, None))?;
    } else {
        let keep = batch.logits != LogitsWanted::Nothing;
        pass.all(buffers, keep.then_some(&mut output.logits))?;
    }
    if parts.wanted_count == 0 {
        // Nothing is read, so nothing waits; the step is over when the device is done.
        return kernels.queue().finish();
    }
    let found = buffers.found(&parts)?;
    let (tokens, values) = found.split_at(parts.wanted_count);
    for ((_, sequence), (token, value)) in buffers.wanted.iter().zip(tokens.iter().zip(values)) {
        if let Some(sequence) = sequence {
            output.next[*sequence] = *token;
            output.non_finite |= !f32::from_bits(*value).is_finite();
        }
    }
    Ok(())
}

/// A pass's view of everything.
struct Pass<'a> {
    network: &'a Network,
    weights: &'a Weights,
    kernels: &'a Kernels,
    parts: Parts,
    /// Each rotation's table, and its pairs.
    angles: Vec<(DevicePlace, usize)>,
    layout: KvLayout,
    cache: DevicePlace,
}

impl Pass<'_> {
    /// All of a step, from its copy to the device to that of its tokens to the host.
    fn all(&self, buffers: &Buffers, mut kept: Option<&mut Vec<f32>>) -> Result<(), Fault> {
        buffers.send(&self.parts)?;
        self.layers()?;
        let wanted = self.parts.wanted_count;
        for first in (0..wanted).step_by(LOGIT_ROWS) {
            self.logits(first, LOGIT_ROWS.min(wanted - first), kept.as_deref_mut())?;
        }
        if wanted == 0 { Ok(()) } else { buffers.fetch(&self.parts) }
    }

    fn layers(&self) -> Result<(), Fault> {
        let Parts { tokens, residual, .. } = &self.parts;
        let (network, kernels) = (self.network, self.kernels);
        kernels.embed(&self.weights.embedding, tokens, network.embedding_scale, *residual)?;
        let mut more = None;
        for (layer, block) in self.weights.blocks.iter().enumerate() {
            let attended = self.attention(layer, block, more)?;
            more = match &block.feed {
                Feed::Dense { gate_up, down } => Some(self.feed_forward(block, gate_up, down, attended)?),
                Feed::Experts(experts) => {
                    self.expert_layer(block, experts, attended)?;
                    None
                }
            };
        }
        let add = |more: Rows| kernels.add(residual.place, more.place, tokens.count * network.width);
        more.map_or(Ok(()), add)
    }

    /// The residual stream, to which `more` is added, normed for these matrices.
    fn norm<'a>(
        &self,
        weight: Vector,
        more: Option<Rows>,
        matrices: impl IntoIterator<Item = &'a Matrix>,
    ) -> Result<Input, Fault> {
        let Parts { tokens, residual, normed, halves, .. } = self.parts;
        let (shape, how) = ((tokens.count, self.network.width), (weight, self.network.norm_epsilon));
        self.kernels.normed_input(residual, (None, more), how, shape, (normed, halves), matrices)
    }

    /// Returns what the next [`norm`](Self::norm) is to add to the residual stream, as `feed_forward` does.
    fn attention(&self, layer: usize, block: &Block, more: Option<Rows>) -> Result<Rows, Fault> {
        let Self { network, kernels, .. } = self;
        let Parts { tokens, qkv, attended, attention, out, halves, .. } = self.parts;
        let (heads, size, count) = (network.heads, network.head_size, tokens.count);
        let (queries, keys) = (heads * size, network.kv_heads * size);
        let input = self.norm(block.attention_norm, more, &block.qkv)?;
        let [of_queries, of_keys, of_values] = &block.qkv;
        let to = [(of_queries, 0), (of_keys, queries), (of_values, queries + keys)];
        kernels.multiply_together(&to.map(|(matrix, column)| (matrix, qkv.column(column))), input, count)?;
        let of_layer = network.layers[layer];
        let (angles, pairs) = self.angles[of_layer.rotation];
        let pairing = network.rotations[of_layer.rotation].pairing;
        let turn = Turn { angles, pairs, pairing, scale: network.attention_scale };
        let cache = CacheOf { layout: self.layout, place: self.cache, layer };
        let of_heads = OfHeads {
            bias: block.qkv_bias,
            query_norm: block.query_norm,
            key_norm: block.key_norm,
            epsilon: network.norm_epsilon,
        };
        kernels.place_heads((qkv, heads), of_heads, turn, &tokens, cache)?;
        let (window, sinks) = (of_layer.window, block.sinks);
        let of = Attention { queries: qkv, heads, window, cache, results: attention, sinks, alone: None };
        let input = kernels.attended_input(of, &tokens, (attended, halves), [&block.output])?;
        kernels.multiply(&block.output, input, count, out)?;
        if let Some(bias) = block.output_bias {
            kernels.add_bias(out, bias, None, (count, network.width))?;
        }
        self.output(block.post_attention_norm)
    }

    /// What a matrix gave, normed where the model does that.
    fn output(&self, norm: Option<Vector>) -> Result<Rows, Fault> {
        let Parts { tokens, out, .. } = self.parts;
        if let Some(norm) = norm {
            let shape = (tokens.count, 1, self.network.width);
            self.kernels.norm(out, None, norm, shape, self.network.norm_epsilon, out)?;
        }
        Ok(out)
    }

    fn feed_forward(
        &self,
        block: &Block,
        gate_up: &[Matrix; 2],
        down: &Matrix,
        more: Rows,
    ) -> Result<Rows, Fault> {
        let Parts { tokens, gate, up, out, halves, .. } = self.parts;
        let (kernels, count) = (self.kernels, tokens.count);
        let input = self.norm(block.feed_norm, Some(more), gate_up)?;
        let [of_gates, of_ups] = gate_up;
        kernels.multiply_together(&[(of_gates, gate), (of_ups, up)], input, count)?;
        let shape = (count, self.network.feed_forward);
        let input = kernels.activated_input(self.network.activation, (gate, up), shape, halves, [down])?;
        kernels.multiply(down, input, count, out)?;
        self.output(block.post_feed_norm)
    }

    /// The feed-forward layer of a mixture: each token's pairs with its experts, one after the other.
    fn expert_layer(&self, block: &Block, experts: &Experts, more: Rows) -> Result<(), Fault> {
        let Some(shape) = self.network.experts else { return Ok(()) };
        let Parts { tokens, residual, gate, up, out, router, chosen, shares, halves, sorted, .. } =
            self.parts;
        let (kernels, count, width, feed) =
            (self.kernels, tokens.count, self.network.width, self.network.feed_forward);
        let pairs = count * shape.used;
        let biases = experts.biases.as_ref();
        let [gates, ups] = &experts.gate_up;
        let input = self.norm(block.feed_norm, Some(more), [&experts.router, &gates.first, &ups.first])?;
        kernels.multiply(&experts.router, input, count, router)?;
        if let Some(biases) = biases {
            kernels.add_bias(router, biases.router, None, (count, shape.count))?;
        }
        kernels.choose(router, (count, shape.count, shape.used), chosen, shares)?;
        let stacks = [gates, ups, &experts.down];
        let of_pairs = kernels.pairs(chosen, (count, shape.used, shape.count), sorted, stacks)?;
        for (number, to) in [gate, up].into_iter().enumerate() {
            kernels.multiply_experts(&experts.gate_up[number], of_pairs, (input, shape.used), to)?;
            if let Some(biases) = biases {
                kernels.add_bias(to, biases.gate_up[number], Some(chosen), (pairs, feed))?;
            }
        }
        let (activation, down) = (self.network.activation, &experts.down.first);
        let input = kernels.activated_input(activation, (gate, up), (pairs, feed), halves, [down])?;
        kernels.multiply_experts(&experts.down, of_pairs, (input, 1), out)?;
        let bias = biases.map(|biases| biases.down);
        let places = (residual.place, out.place);
        kernels.mix(places, (shares, chosen), bias, (count, shape.used, width))
    }

    /// Logits of `count` of the wanted rows from number `first` on, and each one's largest; they are appended to `kept`.
    fn logits(&self, first: usize, count: usize, kept: Option<&mut Vec<f32>>) -> Result<(), Fault> {
        let Parts { wanted, residual, last, logits, places, values, halves, .. } = self.parts;
        let (kernels, vocabulary) = (self.kernels, self.network.vocabulary);
        let which = wanted.skip(first * 4);
        let (shape, head) = ((count, self.network.width), &self.weights.head);
        let how = (self.weights.output_norm, self.network.norm_epsilon);
        let input =
            kernels.normed_input(residual, (Some(which), None), how, shape, (last, halves), [head])?;
        kernels.multiply(head, input, count, logits)?;
        kernels.largest(logits.place, (count, vocabulary), places.skip(first * 4), values.skip(first * 4))?;
        if let Some(kept) = kept {
            let from = kept.len();
            kept.resize(from + count * vocabulary, 0.0);
            kernels.queue().read(logits.place, &mut kept[from..])?;
        }
        Ok(())
    }
}
