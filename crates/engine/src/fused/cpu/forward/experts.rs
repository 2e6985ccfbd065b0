//! The feed-forward layer of a mixture of experts, for all tokens of a step.
//!
//! Each token chooses its experts; the pairs of (token, expert) are sorted by expert, so that an expert multiplies all
//! its tokens as one small matrix and its weights are read once. A pair's place in that order is its *slot*. The work
//! is split by (expert, groups of rows), so that all threads read weights for a single token as well. A token is
//! routed by itself, in the same order of sums whatever else the step holds: another batch chooses no other expert.
#![allow(unsafe_code, reason = "threads write disjoint parts of shared buffers between two barriers")]

use std::ops::Range;

use super::super::activations::{self, Slot};
use super::super::arena::{Arena, Region};
use super::super::matmul::{self, Input, Output};
use super::super::pack::{ROWS, is_quantized};
use super::super::rows;
use super::super::store::{Biases, Block, Experts, Matrix, Stack};
use super::{Pass, activate, padded, share};
use crate::fused::network::{self, Network};

/// What a group's weights cost before the first token, in tokens: they come from memory, a token only computes.
const WEIGHTS_COST: usize = 8;

/// Memory of the largest step; only what a step touches is taken from the system.
#[derive(Debug)]
pub(super) struct Workspace {
    arena: Arena,
    regions: [Region; 12],
}

/// Where the parts of the workspace lie. A *pair* is a token with one of its experts.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// Logits `[tokens][experts]`.
    logits: *mut f32,
    /// Each token's normed row, quantized by itself.
    single: *mut u8,
    /// Quantized rows in slots, the input of one matrix after the other.
    tiles: *mut u8,
    /// Plain rows in slots.
    rows: *mut f32,
    gate: *mut f32,
    up: *mut f32,
    out: *mut f32,
    /// Each pair's expert, `[tokens][used]`.
    chosen: *mut u32,
    /// Each pair's share of the token's output.
    shares: *mut f32,
    /// Each pair's slot.
    slots: *mut u32,
    /// Each slot's token.
    token_of: *mut u32,
    /// Each expert's first slot, and behind the last expert the number of pairs.
    starts: *mut u32,
}

impl Workspace {
    /// Memory for `tokens` tokens, or none for a network without experts.
    pub(super) fn new(network: &Network, tokens: usize) -> std::io::Result<Option<Self>> {
        let Some(experts) = network.experts else { return Ok(None) };
        let sizes = sizes(network, experts, tokens);
        let mut arena = Arena::new(Arena::bytes_of(&sizes))?;
        let regions = arena.take_all(sizes)?;
        Ok(Some(Self { arena, regions }))
    }

    #[allow(clippy::cast_ptr_alignment, reason = "regions begin at cache lines")]
    pub(super) fn view(&self) -> View {
        let [logits, single, tiles, rows, gate, up, out, chosen, shares, slots, token_of, starts] =
            self.regions.map(|region| self.arena.pointer(region));
        View {
            logits: logits.cast(),
            single,
            tiles,
            rows: rows.cast(),
            gate: gate.cast(),
            up: up.cast(),
            out: out.cast(),
            chosen: chosen.cast(),
            shares: shares.cast(),
            slots: slots.cast(),
            token_of: token_of.cast(),
            starts: starts.cast(),
        }
    }
}

#[cfg(test)]
impl Workspace {
    pub(super) fn assert_apart(&self) {
        super::super::arena::tests::assert_apart(&self.arena, &self.regions);
    }
}

/// Bytes of each part, in the order of [`View`].
fn sizes(network: &Network, experts: network::Experts, tokens: usize) -> [usize; 12] {
    let (width, feed) = (network.width, network.feed_forward);
    let pairs = tokens * experts.used;
    [
        tokens * padded(experts.count) * 4,
        tokens * activations::packed_bytes(1, width),
        pairs * activations::packed_bytes(1, width.max(feed)),
        pairs * width * 4,
        pairs * feed * 4,
        pairs * feed * 4,
        pairs * padded(width) * 4,
        pairs * 4,
        pairs * 4,
        pairs * 4,
        pairs * 4,
        (experts.count + 1) * 4,
    ]
}

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
    ///
    /// # Safety
    /// As the other parts of a pass: every thread comes here with the same block.
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
                    activations::quantize(pass.isa, to, 0..width, Slot::new(single, 0, 1, width));
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
                let input = Input { tokens: 1, tiles: self.view.single, rows, stride: 0 };
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
                choose(
                    logits,
                    std::slice::from_raw_parts_mut(view.chosen.add(token * self.used), self.used),
                    std::slice::from_raw_parts_mut(view.shares.add(token * self.used), self.used),
                );
            }
        }
    }

    /// Gives every pair its slot: those of the first expert first, each expert's tokens in their order.
    unsafe fn sort(&self) {
        let (view, pairs) = (self.view, self.pairs());
        // SAFETY: one thread alone is here.
        unsafe {
            sort(
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
    unsafe fn place(&self, slot: usize, slots: &Range<usize>, columns: usize) -> Slot {
        // SAFETY: the tiles are for all pairs, and each expert's lie behind those of the ones before.
        unsafe {
            let first = self.view.tiles.add(slots.start * activations::packed_bytes(1, columns));
            Slot::new(first, slot - slots.start, slots.len(), columns)
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

    unsafe fn gate_up(&self, [gate, up]: &[Stack; 2], thread: usize) {
        let stacks = [(*gate, self.view.gate), (*up, self.view.up)];
        // SAFETY: the caller's.
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

    unsafe fn down(&self, down: &Stack, thread: usize) {
        // SAFETY: the caller's.
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

/// Takes as many of the largest `logits` as there are places in `chosen`, the first of equal ones first, and gives each
/// the softmax of the taken. What was taken is lost from `logits`.
fn choose(logits: &mut [f32], chosen: &mut [u32], shares: &mut [f32]) {
    for place in 0..chosen.len() {
        let mut best = None;
        let mut value = f32::NEG_INFINITY;
        for (index, logit) in logits.iter().enumerate() {
            if *logit > value {
                (best, value) = (Some(index), *logit);
            }
        }
        let taken = |index: &usize| chosen[..place].iter().any(|other| *other as usize == *index);
        let index = best.unwrap_or_else(|| {
            // Only what is no number is left. Its share is none either, and so shows in the step's logits.
            value = f32::NAN;
            (0..logits.len()).find(|index| !taken(index)).unwrap_or(0)
        });
        logits[index] = f32::NEG_INFINITY;
        chosen[place] = u32::try_from(index).unwrap_or(0);
        shares[place] = value;
    }
    let largest = shares.first().copied().unwrap_or(0.0);
    let mut sum = 0.0;
    for share in shares.iter_mut() {
        *share = (*share - largest).exp();
        sum += *share;
    }
    for share in shares {
        *share /= sum;
    }
}

/// Sorts pairs by expert: counts, then first slots, then each pair to the next free slot of its expert.
fn sort(chosen: &[u32], used: usize, starts: &mut [u32], slots: &mut [u32], token_of: &mut [u32]) {
    starts.fill(0);
    // Counted one place too far, so that each expert's start can move to its end, which is where the next one starts.
    for expert in chosen {
        if let Some(next) = starts.get_mut(*expert as usize + 2) {
            *next += 1;
        }
    }
    let mut sum = 0;
    for start in starts.iter_mut() {
        sum += *start;
        *start = sum;
    }
    for (pair, expert) in chosen.iter().enumerate() {
        let next = &mut starts[*expert as usize + 1];
        slots[pair] = *next;
        token_of[*next as usize] = u32::try_from(pair / used).unwrap_or(0);
        *next += 1;
    }
}

/// A thread's share of the items of all experts that have tokens: ranges of about the same cost, without gap or overlap.
struct Shares<F> {
    items: usize,
    count: usize,
    tokens: F,
    /// This thread's stretch of the total cost.
    from: usize,
    to: usize,
    /// Cost of the experts before the next one.
    before: usize,
    next: usize,
}

impl<F: Fn(usize) -> usize> Shares<F> {
    /// Each of `count` experts has `items`, each of which costs its expert's tokens and the weights.
    fn new(items: usize, count: usize, tokens: F, thread: usize, threads: usize) -> Self {
        let of = |index| Some(tokens(index)).filter(|tokens| *tokens > 0).map(|tokens| tokens + WEIGHTS_COST);
        let total: usize = items * (0..count).filter_map(of).sum::<usize>();
        let Range { start: from, end: to } = share(total, thread, threads);
        Self { items, count, tokens, from, to, before: 0, next: 0 }
    }
}

impl<F: Fn(usize) -> usize> Iterator for Shares<F> {
    type Item = (usize, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.next < self.count && self.before < self.to {
            let index = self.next;
            self.next += 1;
            let tokens = (self.tokens)(index);
            if tokens == 0 {
                continue;
            }
            let one = tokens + WEIGHTS_COST;
            // An item belongs to the thread in whose stretch it ends; rounded alike by both neighbours.
            let item = |cost: usize| (cost.saturating_sub(self.before) / one).min(self.items);
            let mine = item(self.from)..item(self.to);
            self.before += self.items * one;
            if !mine.is_empty() {
                return Some((index, mine));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_chosen_and_share_by_the_softmax_of_all_brought_back_to_one() {
        let logits = [0.5f32, 2.0, -1.0, 2.0, 1.0];
        let (mut left, mut chosen, mut shares) = (logits, [0; 3], [0.0; 3]);
        choose(&mut left, &mut chosen, &mut shares);
        assert_eq!(chosen, [1, 3, 4]);
        let all: f32 = logits.iter().map(|logit| logit.exp()).sum();
        let softmax = chosen.map(|index| logits[index as usize].exp() / all);
        let kept: f32 = softmax.iter().sum();
        for (share, expected) in shares.iter().zip(softmax) {
            assert!((share - expected / kept).abs() < 1e-6, "{shares:?}");
        }
    }

    #[test]
    fn what_is_no_number_chooses_experts_that_exist_and_stays_visible() {
        for mut logits in [[f32::NAN; 4], [f32::NAN, 1.0, f32::NAN, f32::NEG_INFINITY]] {
            let (mut chosen, mut shares) = ([9; 3], [0.0; 3]);
            choose(&mut logits, &mut chosen, &mut shares);
            let mut distinct = chosen.to_vec();
            distinct.sort_unstable();
            distinct.dedup();
            assert!(distinct.len() == 3 && chosen.iter().all(|index| *index < 4), "{chosen:?}");
            assert!(shares.iter().all(|share| share.is_nan()), "{shares:?}");
        }
    }

    #[test]
    fn pairs_are_sorted_by_expert_and_then_by_token() {
        // Tokens 0, 1, 2 with two experts each, of four.
        let chosen = [3, 0, 0, 1, 3, 1];
        let (mut starts, mut slots, mut token_of) = ([7; 5], [7; 6], [7; 6]);
        sort(&chosen, 2, &mut starts, &mut slots, &mut token_of);
        assert_eq!(starts, [0, 2, 4, 4, 6]);
        assert_eq!(token_of, [0, 1, 1, 2, 0, 2]);
        assert_eq!(slots, [4, 0, 1, 2, 5, 3]);
    }

    #[test]
    fn every_group_of_every_chosen_expert_belongs_to_one_thread() {
        for (counts, items) in
            [(vec![0, 5, 1, 0, 300, 2], 7), (vec![1], 1), (vec![0, 0, 1], 96), (vec![8; 8], 3)]
        {
            for threads in [1, 2, 3, 8] {
                let mut seen = vec![vec![0; items]; counts.len()];
                for thread in 0..threads {
                    for (index, range) in
                        Shares::new(items, counts.len(), |index| counts[index], thread, threads)
                    {
                        range.for_each(|item| seen[index][item] += 1);
                    }
                }
                for (tokens, seen) in counts.iter().zip(seen) {
                    assert!(
                        seen.iter().all(|times| *times == usize::from(*tokens > 0)),
                        "{counts:?} {threads}"
                    );
                }
            }
        }
    }
}
