//! A step's view of everything, and the parts of a layer that attention and feed-forward have in common.
//!
//! # Safety of this module
//! The pointers of a [`Pass`] are those of [`Buffers`](super::Buffers) made for at least as many tokens. All threads of the
//! pool call the same methods of it in the same order with the same arguments, but each with its own number as `thread`.
//! So what comes before a barrier is written once a thread has passed it, and between two barriers a thread writes only
//! what [`share`] or [`portion`] gives it.

use std::ops::Range;
use std::sync::atomic::AtomicUsize;

use crate::StepBatch;
use crate::fused::network::Network;

use super::super::activations::{self, Slot};
use super::super::isa::Isa;
use super::super::kv::KvCache;
use super::super::matmul::{self, Form, Input, Output};
use super::super::pack::{ROWS, padded};
use super::super::pool::Barrier;
use super::super::prefetch::Prefetch;
use super::super::rotary::Table;
use super::super::rows;
use super::super::store::{Feed, Matrix, Weights};
use super::experts::workspace::View;
use super::plan::{Cut, Task};
use super::share::{portion, share};

/// A pass's view of everything: shared by all threads, who write where the plan of the part says.
pub(super) struct Pass<'a> {
    pub(super) network: &'a Network,
    pub(super) weights: &'a Weights,
    pub(super) tables: &'a [Table],
    pub(super) cache: KvCache,
    pub(super) isa: Isa,
    pub(super) prefetch: Prefetch,
    pub(super) barrier: &'a Barrier,
    pub(super) threads: usize,
    pub(super) batch: &'a StepBatch<'a>,
    pub(super) tasks: &'a [Task],
    pub(super) cuts: &'a [Cut],
    pub(super) queues: &'a [AtomicUsize],
    pub(super) tokens: usize,
    pub(super) residual: *mut f32,
    pub(super) normed: *mut f32,
    pub(super) qkv: *mut f32,
    pub(super) attended: *mut f32,
    pub(super) gate_up: *mut f32,
    pub(super) out: *mut f32,
    pub(super) tiles: *mut u8,
    pub(super) split: *mut u8,
    pub(super) parts: *mut f32,
    pub(super) scratch: *mut f32,
    pub(super) experts: Option<View>,
}

// SAFETY: the pointers are into buffers that live as long as the pass, and the parts between two barriers write
// disjoint places.
unsafe impl Sync for Pass<'_> {}

impl Pass<'_> {
    /// All layers, from the tokens' embeddings to the residual stream after the last layer.
    pub(super) unsafe fn layers(&self, thread: usize) {
        // SAFETY: this thread calls every part with its own number, and so do all others, in the order of the layers.
        unsafe {
            self.embed(thread);
            for (layer, block) in self.weights.blocks.iter().enumerate() {
                self.attention(layer, block, thread);
                match &block.feed {
                    Feed::Dense { gate_up, down } => self.feed_forward(block, gate_up, *down, thread),
                    Feed::Experts(experts) => self.expert_layer(block, experts, thread),
                }
            }
        }
    }

    /// The tokens' rows of the embedding, into the residual stream.
    unsafe fn embed(&self, thread: usize) {
        let width = self.network.width;
        for token in share(self.tokens, thread, self.threads) {
            let id = self.batch.tokens[token] as usize;
            let matrix = &self.weights.embedding;
            let group = &self.weights.store.bytes(matrix.region)[id / ROWS * matrix.layout.group_bytes..];
            // SAFETY: the token's row is this thread's.
            let row = unsafe { std::slice::from_raw_parts_mut(self.residual.add(token * width), width) };
            matrix.layout.row(group, id % ROWS, row);
            if self.network.embedding_scale.to_bits() != 1f32.to_bits() {
                for x in row {
                    *x *= self.network.embedding_scale;
                }
            }
        }
    }

    /// Norms the residual stream and makes it ready for `matrices`.
    pub(super) unsafe fn norm_input(&self, weight: &[f32], matrices: &[Matrix], thread: usize) {
        let (width, epsilon) = (self.network.width, self.network.norm_epsilon);
        let (tokens, part) = portion(self.tokens, width, self.isa, thread, self.threads);
        for token in tokens {
            // SAFETY: the residual stream is whole, and these columns of the token are this thread's.
            unsafe {
                let to = self.normed.add(token * width);
                let from = self.residual.add(token * width);
                rows::norm(self.isa, from, weight.as_ptr(), width, part.clone(), epsilon, to);
                self.ready(matrices, to, token, width, part.clone());
            }
        }
    }

    /// Makes the columns `part` of a token's row ready for `matrices`, in the forms that their kernels take.
    ///
    /// # Safety
    /// That of this module; `row` must have `columns` elements, no more than the widest of the network's matrices, and
    /// these columns of the token be this thread's.
    pub(super) unsafe fn ready(
        &self,
        matrices: &[Matrix],
        row: *const f32,
        token: usize,
        columns: usize,
        part: Range<usize>,
    ) {
        let any = |form| matrices.iter().any(|matrix| Form::of(self.isa, matrix.layout.kind) == form);
        // SAFETY: tiles and parts are for all tokens at the widest row, and the columns are this thread's.
        unsafe {
            if any(Form::Tiles) {
                let slot = Slot::new(self.tiles, token, self.tokens, columns, self.isa);
                activations::quantize(self.isa, row, part.clone(), slot);
            }
            if any(Form::Parts) {
                matmul::split(self.isa, row, part, (token, self.tokens), columns, self.split);
            }
        }
    }

    /// Multiplies this thread's share of the groups of `matrices`, whose outputs lie one behind the other: as many bytes of
    /// weights as every other thread's, since types may differ.
    ///
    /// `rows` are the input of matrices that are not quantized, with the distance from one to the next.
    ///
    /// # Safety
    /// That of this module. Before the last barrier each token's row must have been written to `rows` and made ready
    /// ([`ready`](Self::ready)) for these matrices; `out` must have a place for the groups of all matrices, which
    /// only this call of each thread writes.
    pub(super) unsafe fn multiply(
        &self,
        matrices: &[Matrix],
        (rows, stride): (*const f32, usize),
        out: Output,
        thread: usize,
    ) {
        let bytes = |matrix: &Matrix| matrix.groups() * matrix.layout.group_bytes;
        let mine = share(matrices.iter().map(bytes).sum(), thread, self.threads);
        let (mut before, mut groups_before) = (0, 0);
        for matrix in matrices {
            let groups = matrix.groups();
            let until = |at: usize| (at.saturating_sub(before) / matrix.layout.group_bytes).min(groups);
            let weights = matmul::Weights {
                layout: matrix.layout.asked(self.prefetch),
                groups: self.weights.store.bytes(matrix.region).as_ptr(),
            };
            let parts = match Form::of(self.isa, matrix.layout.kind) {
                Form::Parts => self.split.cast_const(),
                Form::Rows | Form::Tiles => std::ptr::null(),
            };
            let input = Input { tokens: self.tokens, tiles: self.tiles, rows, stride, parts };
            // SAFETY: the input is there and the output has a place for each group, by this method's contract; the groups are
            // this thread's.
            unsafe {
                let first = out.first.add(groups_before * ROWS);
                let mine = until(mine.start)..until(mine.end);
                matmul::multiply(self.isa, weights, mine, input, Output { first, ..out });
            }
            before += bytes(matrix);
            groups_before += groups;
        }
    }

    /// Adds what a matrix gave to the residual stream, with its bias and normed first where the model does that.
    pub(super) unsafe fn add_output(&self, bias: Option<&[f32]>, norm: Option<&[f32]>, thread: usize) {
        let width = self.network.width;
        for token in share(self.tokens, thread, self.threads) {
            // SAFETY: the token's rows are this thread's.
            unsafe {
                let out = self.out.add(token * padded(width));
                if let Some(bias) = bias {
                    rows::add(self.isa, bias.as_ptr(), width, out);
                }
                if let Some(norm) = norm {
                    let epsilon = self.network.norm_epsilon;
                    rows::norm(self.isa, out, norm.as_ptr(), width, 0..width, epsilon, out);
                }
                rows::add(self.isa, out, width, self.residual.add(token * width));
            }
        }
    }
}
