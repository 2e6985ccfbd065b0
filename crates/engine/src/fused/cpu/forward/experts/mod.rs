//! The feed-forward layer of a mixture of experts, for all tokens of a step.
//!
//! Each token chooses its experts; the pairs of (token, expert) are sorted by expert, so that an expert multiplies all
//! its tokens as one small matrix and its weights are read once. A pair's place in that order is its *slot*. The work
//! is split by (expert, groups of rows), so that all threads read weights for a single token as well. A token is
//! routed by itself, in the same order of sums whatever else the step holds: another batch chooses no other expert.
//!
//! # Safety of this module
//! That of [`pass`](super::pass), for a [`Mixture`] and the [`View`] in it as for the pass: the parts of the layer are
//! called in the order of [`Pass::expert_layer`], with a barrier between two of them.

mod routing;
mod shares;
pub(super) mod workspace;

use std::ops::Range;

use super::super::activations::{self, Slot};
use super::super::matmul::{self, Input, Output};
use super::super::pack::{ROWS, is_quantized, padded};
use super::super::rows;
use super::super::store::{Biases, Block, Experts, Matrix, Stack};
use super::feed::activate;
use super::pass::Pass;
use super::share::share;

use shares::Shares;
use workspace::View;

/// The experts' part of a pass.
struct Mixture<'a> {
    pass: &'a Pass<'a>,
    view: View,
    biases: Option<&'a Biases>,
    /// How many there are, and how many a token goes through.
    count: usize,
    used: usize,
}

impl Pass<'_> {
    /// The feed-forward layer with experts.
    pub(super) unsafe fn expert_layer(&self, block: &Block, experts: &Experts, thread: usize) {
        let (Some(view), Some(shape)) = (self.experts, self.network.experts) else { return };
        let biases = experts.biases.as_ref();
        let mixture = Mixture { pass: self, view, biases, count: shape.count, used: shape.used };
        // SAFETY: each part writes what is this thread's, and barriers lie between parts that need each other.
        unsafe {
            mixture.norm(block, experts, thread);
            self.barrier.wait();
            mixture.route(&experts.router, thread);
            self.barrier.wait();
            mixture.choose(thread);
            self.barrier.wait();
            if thread == 0 {
                mixture.sort();
            }
            self.barrier.wait();
            mixture.gather(&experts.gate_up, thread);
            self.barrier.wait();
            mixture.gate_up(&experts.gate_up, thread);
            self.barrier.wait();
            mixture.activate(&experts.down, thread);
            self.barrier.wait();
            mixture.down(&experts.down, thread);
            self.barrier.wait();
            mixture.mix(thread);
        }
    }
}

impl Mixture<'_> {
    fn pairs(&self) -> usize {
        self.pass.tokens * self.used
    }

    /// The slots of expert `index`.
    ///
    /// # Safety
    /// Pairs must have been sorted before the last barrier, and `index` be one of the experts.
    unsafe fn slots_of(&self, index: usize) -> Range<usize> {
        // SAFETY: there are as many starts as experts and one more, written before a barrier.
        unsafe { *self.view.starts.add(index) as usize..*self.view.starts.add(index + 1) as usize }
    }

    /// Norms this thread's tokens and quantizes each by itself.
    unsafe fn norm(&self, block: &Block, experts: &Experts, thread: usize) {
        let pass = self.pass;
        let width = pass.network.width;
        let quantized = experts.gate_up.iter().any(|stack| is_quantized(stack.layout().kind));
        for token in share(pass.tokens, thread, pass.threads) {
            // SAFETY: the token's rows are this thread's.
            unsafe {
                let to = pass.normed.add(token * width);
                let from = pass.residual.add(token * width);
                let epsilon = pass.network.norm_epsilon;
                rows::norm(pass.isa, from, block.feed_norm.as_ptr(), width, 0..width, epsilon, to);
                if quantized {
                    let single = self.view.single.add(token * activations::packed_bytes(1, width));
                    activations::quantize(pass.isa, to, 0..width, Slot::new(single, 0, 1, width, pass.isa));
                }
            }
        }
    }

    /// Each token's logit of each expert, split by (token, group of experts).
    unsafe fn route(&self, router: &Matrix, thread: usize) {
        let pass = self.pass;
        let (groups, stride) = (router.groups(), padded(self.count));
        let weights = matmul::Weights {
            layout: router.layout.asked(pass.prefetch),
            groups: pass.weights.store.bytes(router.region).as_ptr(),
        };
        let mut mine = share(pass.tokens * groups, thread, pass.threads);
        while !mine.is_empty() {
            let (token, group) = (mine.start / groups, mine.start % groups);
            let count = (groups - group).min(mine.len());
            // SAFETY: the token's row was written before the barrier, and these logits are this thread's.
            unsafe {
                let rows = pass.normed.add(token * pass.network.width);
                let (tiles, parts) = (self.view.single, std::ptr::null());
                let input = Input { tokens: 1, tiles, rows, stride: 0, parts };
                let to = Output { first: self.view.logits.add(token * stride), stride };
                matmul::multiply(pass.isa, weights, group..group + count, input, to);
            }
            mine.start += count;
        }
    }

    /// The experts of this thread's tokens and their shares, the largest first.
    unsafe fn choose(&self, thread: usize) {
        let view = self.view;
        for token in share(self.pass.tokens, thread, self.pass.threads) {
            // SAFETY: the token's logits and pairs are this thread's.
            unsafe {
                let logits = view.logits.add(token * padded(self.count));
                let logits = std::slice::from_raw_parts_mut(logits, self.count);
                if let Some(biases) = self.biases {
                    for (logit, bias) in logits.iter_mut().zip(&biases.router) {
                        *logit += bias;
                    }
                }
                routing::choose(
                    logits,
                    std::slice::from_raw_parts_mut(view.chosen.add(token * self.used), self.used),
                    std::slice::from_raw_parts_mut(view.shares.add(token * self.used), self.used),
                );
            }
        }
    }

    /// Gives every pair its slot: those of the first expert first, each expert's tokens in their order.
    ///
    /// # Safety
    /// That of this module, but for one thread alone.
    unsafe fn sort(&self) {
        let (view, pairs) = (self.view, self.pairs());
        // SAFETY: no other thread is here, and all pairs were chosen before the last barrier.
        unsafe {
            routing::sort(
                std::slice::from_raw_parts(view.chosen, pairs),
                self.used,
                std::slice::from_raw_parts_mut(view.starts, self.count + 1),
                std::slice::from_raw_parts_mut(view.slots, pairs),
                std::slice::from_raw_parts_mut(view.token_of, pairs),
            );
        }
    }

    /// Calls `each` with this thread's slots and, with each, its expert and that one's slots.
    unsafe fn for_my_slots(&self, thread: usize, mut each: impl FnMut(usize, usize, Range<usize>)) {
        let mut index = 0;
        // SAFETY: the starts were written before a barrier.
        unsafe {
            let mut slots = self.slots_of(index);
            for slot in share(self.pairs(), thread, self.pass.threads) {
                while slot >= slots.end {
                    index += 1;
                    slots = self.slots_of(index);
                }
                each(slot, index, slots.clone());
            }
        }
    }

    /// The place of `slot`, one of its expert's `slots`, in tiles of `columns` elements.
    ///
    /// # Safety
    /// The slot must be one of the pairs', and rows of `columns` elements be what the tiles hold now.
    unsafe fn place(&self, slot: usize, slots: &Range<usize>, columns: usize) -> Slot {
        // SAFETY: the tiles are for all pairs, and each expert's lie behind those of the ones before.
        unsafe {
            let first = self.view.tiles.add(slots.start * activations::packed_bytes(1, columns));
            Slot::new(first, slot - slots.start, slots.len(), columns, self.pass.isa)
        }
    }

    /// Puts this thread's slots' rows where their expert's matrix takes them.
    unsafe fn gather(&self, stacks: &[Stack], thread: usize) {
        let width = self.pass.network.width;
        let quantized = |stack: &Stack| is_quantized(stack.layout().kind);
        let (tiles, rows) = (stacks.iter().any(quantized), !stacks.iter().all(quantized));
        // SAFETY: the tokens' rows were written before the barrier; the slots are this thread's.
        unsafe {
            self.for_my_slots(thread, |slot, _, slots| {
                let token = *self.view.token_of.add(slot) as usize;
                if tiles {
                    let single = self.view.single.add(token * activations::packed_bytes(1, width));
                    activations::place(single, width, self.place(slot, &slots, width));
                }
                if rows {
                    let from = self.pass.normed.add(token * width);
                    std::ptr::copy_nonoverlapping(from, self.view.rows.add(slot * width), width);
                }
            });
        }
    }

    /// Multiplies this thread's share of the groups of all chosen experts' matrices. `stacks` are alike, each with its
    /// output; the input are `rows`, or the tiles, of so many columns.
    unsafe fn multiply(&self, stacks: &[(Stack, *mut f32)], rows: *const f32, columns: usize, thread: usize) {
        let pass = self.pass;
        let Some((first, _)) = stacks.first() else { return };
        let groups = first.expert(0).groups();
        // SAFETY: the starts were written before a barrier.
        let tokens = |index: usize| unsafe { self.slots_of(index) }.len();
        let mine = Shares::new(groups * stacks.len(), self.count, tokens, thread, pass.threads);
        for (index, items) in mine {
            // SAFETY: the slots' inputs were written before the barrier, and these rows of the outputs are this thread's.
            unsafe {
                let slots = self.slots_of(index);
                let input = Input {
                    tokens: slots.len(),
                    tiles: self.view.tiles.add(slots.start * activations::packed_bytes(1, columns)),
                    rows: rows.add(slots.start * columns),
                    stride: columns,
                    parts: std::ptr::null(),
                };
                for (number, (stack, out)) in stacks.iter().enumerate() {
                    let matrix = stack.expert(index);
                    let stride = groups * ROWS;
                    let weights = matmul::Weights {
                        layout: matrix.layout.asked(pass.prefetch),
                        groups: pass.weights.store.bytes(matrix.region).as_ptr(),
                    };
                    let before = number * groups;
                    let from = items.start.clamp(before, before + groups) - before;
                    let to = items.end.clamp(before, before + groups) - before;
                    let output = Output { first: out.add(slots.start * stride), stride };
                    matmul::multiply(pass.isa, weights, from..to, input, output);
                }
            }
        }
    }

    /// Gate and up of this thread's share of all slots.
    unsafe fn gate_up(&self, [gate, up]: &[Stack; 2], thread: usize) {
        let stacks = [(*gate, self.view.gate), (*up, self.view.up)];
        // SAFETY: all slots' inputs were gathered before the last barrier.
        unsafe { self.multiply(&stacks, self.view.rows, self.pass.network.width, thread) };
    }

    /// Biases and activation of gate and up in this thread's slots, made ready for the down matrix.
    unsafe fn activate(&self, down: &Stack, thread: usize) {
        let pass = self.pass;
        let feed = pass.network.feed_forward;
        let quantized = is_quantized(down.layout().kind);
        // SAFETY: the slots are this thread's.
        unsafe {
            self.for_my_slots(thread, |slot, expert, slots| {
                let (gate, up) = (self.view.gate.add(slot * feed), self.view.up.add(slot * feed));
                if let Some(biases) = self.biases {
                    for (bias, to) in biases.gate_up.iter().zip([gate, up]) {
                        rows::add(pass.isa, bias[expert * feed..].as_ptr(), feed, to);
                    }
                }
                activate(pass.network.activation, pass.isa, gate, up, feed);
                if quantized {
                    activations::quantize(pass.isa, gate, 0..feed, self.place(slot, &slots, feed));
                }
            });
        }
    }

    /// What this thread's share of all slots gives.
    unsafe fn down(&self, down: &Stack, thread: usize) {
        // SAFETY: all slots' gates were activated before the last barrier.
        unsafe {
            let feed = self.pass.network.feed_forward;
            self.multiply(&[(*down, self.view.out)], self.view.gate, feed, thread);
        }
    }

    /// Adds to this thread's tokens what their experts gave and its bias, each by its share.
    unsafe fn mix(&self, thread: usize) {
        let pass = self.pass;
        let width = pass.network.width;
        for token in share(pass.tokens, thread, pass.threads) {
            for pair in token * self.used..(token + 1) * self.used {
                // SAFETY: the outputs were written before the barrier; the token's row is this thread's.
                unsafe {
                    let from = self.view.out.add(*self.view.slots.add(pair) as usize * padded(width));
                    let to = pass.residual.add(token * width);
                    let share = *self.view.shares.add(pair);
                    rows::add_scaled(pass.isa, share, from, width, to);
                    if let Some(biases) = self.biases {
                        let expert = *self.view.chosen.add(pair) as usize;
                        let bias = biases.down[expert * width..].as_ptr();
                        rows::add_scaled(pass.isa, share, bias, width, to);
                    }
                }
            }
        }
    }
}
