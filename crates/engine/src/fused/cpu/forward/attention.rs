//! The attention of a layer: queries, keys and values of all tokens, each piece of the plan against the cache, and the
//! output matrix.
//!
//! # Safety of this module
//! That of [`pass`](super::pass). A piece of attention belongs to the thread that took it from the queue: it alone writes
//! what the piece's tokens attend to, or the piece's part.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::StepSequence;
use crate::fused::kv::PAGE;

use super::super::attention::{self, MOST_ROWS, Partial, Rows, Span};
use super::super::kv;
use super::super::matmul::Output;
use super::super::pack::padded;
use super::super::rows;
use super::super::store::Block;
use super::buffers::{part, qkv_width, scratch};
use super::pass::Pass;
use super::plan::Task;
use super::share::{portion, share};

impl Pass<'_> {
    /// From the residual stream to the residual stream.
    pub(super) unsafe fn attention(&self, layer: usize, block: &Block, thread: usize) {
        let network = self.network;
        let (width, stride) = (network.width, qkv_width(network));
        // SAFETY: each part writes what is this thread's, and barriers lie between parts that need each other.
        unsafe {
            self.barrier.wait();
            self.norm_input(&block.attention_norm, &block.qkv, thread);
            self.barrier.wait();
            self.multiply(&block.qkv, (self.normed, width), Output { first: self.qkv, stride }, thread);
            self.barrier.wait();
            for sequence in self.batch.sequences {
                self.store_keys(layer, block, sequence, thread);
            }
            self.barrier.wait();
            let queue = &self.queues[layer];
            let take = || self.tasks.get(queue.fetch_add(1, Ordering::Relaxed));
            // Taken one ahead, so that its first keys and values come while the one before is at work.
            let mut taken = take();
            while let Some(task) = taken {
                taken = take();
                self.attend(layer, block, task, taken, thread);
            }
            self.barrier.wait();
            let queries = network.heads * network.head_size;
            let (tokens, part) = portion(self.tokens, queries, self.isa, thread, self.threads);
            for token in tokens {
                self.merge(block, token, part.clone());
                let row = self.attended.add(token * queries);
                self.ready(&[block.output], row, token, queries, part.clone());
            }
            self.barrier.wait();
            let stride = padded(width);
            let out = Output { first: self.out, stride };
            self.multiply(&[block.output], (self.attended, queries), out, thread);
            self.barrier.wait();
            self.add_output(block.output_bias.as_deref(), block.post_attention_norm.as_deref(), thread);
        }
    }

    /// Biases, head norms, rotation of this thread's tokens of a sequence; queries are left scaled in place, keys and values
    /// go into the cache.
    unsafe fn store_keys(&self, layer: usize, block: &Block, sequence: &StepSequence, thread: usize) {
        let network = self.network;
        let (size, stride) = (network.head_size, qkv_width(network));
        let (queries, keys) = (network.heads * size, network.kv_heads * size);
        let table = &self.tables[network.layers[layer].rotation];
        let pages = self.batch.pages_of(sequence);
        let mine = share(self.tokens, thread, self.threads);
        for token in sequence.first_token..sequence.first_token + sequence.token_count {
            if !mine.contains(&token) {
                continue;
            }
            let position = sequence.position as usize + token - sequence.first_token;
            // SAFETY: the token's row and its slot in the cache are this thread's.
            unsafe {
                let row = self.qkv.add(token * stride);
                let key_at = padded(queries);
                let value_at = key_at + padded(keys);
                if let Some(bias) = &block.qkv_bias {
                    for (at, from, count) in
                        [(0, 0, queries), (key_at, queries, keys), (value_at, queries + keys, keys)]
                    {
                        rows::add(self.isa, bias.as_ptr().add(from), count, row.add(at));
                    }
                }
                for head in 0..network.heads {
                    let query = row.add(head * size);
                    if let Some(norm) = &block.query_norm {
                        rows::norm(
                            self.isa,
                            query,
                            norm.as_ptr(),
                            size,
                            0..size,
                            network.norm_epsilon,
                            query,
                        );
                    }
                    let query = std::slice::from_raw_parts_mut(query, size);
                    table.rotate(query, position);
                    for x in query {
                        *x *= network.attention_scale;
                    }
                }
                for head in 0..network.kv_heads {
                    let key = row.add(key_at + head * size);
                    if let Some(norm) = &block.key_norm {
                        rows::norm(self.isa, key, norm.as_ptr(), size, 0..size, network.norm_epsilon, key);
                    }
                    table.rotate(std::slice::from_raw_parts_mut(key, size), position);
                    let value = row.add(value_at + head * size);
                    let part = self.cache.part(pages[position / PAGE], layer, head);
                    kv::append(self.isa, part, position % PAGE, key, value);
                }
            }
        }
    }

    /// Attends; asks for the first page of the task `then` meanwhile.
    ///
    /// # Safety
    /// That of this module; the queries, and the keys and values of this step's tokens, must have been stored before the
    /// last barrier, and `task` be this thread's.
    unsafe fn attend(&self, layer: usize, block: &Block, task: &Task, then: Option<&Task>, thread: usize) {
        let network = self.network;
        let (size, stride) = (network.head_size, qkv_width(network));
        let group = network.heads / network.kv_heads;
        let sequence = &self.batch.sequences[task.sequence];
        let mut sees = [(0, 0); MOST_ROWS];
        let rows = task.tokens * group;
        let window = network.layers[layer].window;
        // SAFETY: queries are read where no thread writes now; results go to this task's own places.
        unsafe {
            let queries = self.scratch.add(thread * scratch(network));
            let mixed = queries.add(MOST_ROWS * size);
            let state = mixed.add(MOST_ROWS * size);
            let shares = state.add(2 * MOST_ROWS);
            for token in 0..task.tokens {
                let position = sequence.position + u32::try_from(task.first + token).unwrap_or(0);
                let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
                let row = self.qkv.add((sequence.first_token + task.first + token) * stride);
                for member in 0..group {
                    let number = token * group + member;
                    sees[number] = (first, position);
                    let from = row.add((task.head * group + member) * size);
                    let to = queries.add(number * size);
                    std::ptr::copy_nonoverlapping(from, to, size);
                }
            }
            let span = Span {
                cache: self.cache,
                layer,
                head: task.head,
                pages: self.batch.pages_of(sequence),
                from: task.from,
                to: task.to,
                then: then.and_then(|then| {
                    let pages = self.batch.pages_of(&self.batch.sequences[then.sequence]);
                    pages.get(then.from / PAGE).map(|page| self.cache.part(*page, layer, then.head))
                }),
                prefetch: self.prefetch,
            };
            let seen = Rows { queries, sees: &sees[..rows] };
            if let Some(part) = task.part {
                let (state, mixed) = self.part(part, rows);
                attention::attend(self.isa, span, seen, shares, Partial { state, mixed });
                return;
            }
            let partial = Partial { state, mixed };
            attention::attend(self.isa, span, seen, shares, partial);
            let width = network.heads * size;
            for token in 0..task.tokens {
                let out = self.attended.add((sequence.first_token + task.first + token) * width);
                for member in 0..group {
                    let number = token * group + member;
                    let head = task.head * group + member;
                    let to = out.add(head * size);
                    let of_row = Partial {
                        state: partial.state.add(number * 2),
                        mixed: partial.mixed.add(number * size),
                    };
                    attention::merge(self.isa, of_row, 1, (0, 0), size, sink(block, head), to);
                }
            }
        }
    }

    /// Where partial result number `part` of `rows` rows lies: their states, and their mixed values.
    ///
    /// # Safety
    /// It must be one of the plan's parts.
    unsafe fn part(&self, number: usize, rows: usize) -> (*mut f32, *mut f32) {
        // SAFETY: there is room for as many parts as are planned at most, each of the rows of a whole tile.
        unsafe {
            let state = self.parts.add(number * part(self.network));
            (state, state.add(2 * rows))
        }
    }

    /// Puts the parts of what was cut together, for the columns `columns` of what a token attended to.
    ///
    /// # Safety
    /// That of this module; all pieces must have been attended to before the last barrier, and these columns of the token
    /// be this thread's.
    unsafe fn merge(&self, block: &Block, token: usize, columns: Range<usize>) {
        let network = self.network;
        let (size, group) = (network.head_size, network.heads / network.kv_heads);
        let step = part(network);
        for cut in self.cuts.iter().filter(|cut| cut.tokens.contains(&token)) {
            let first = cut.head * group;
            let rows = cut.tokens.len() * group;
            for head in (columns.start / size).max(first)..columns.end.div_ceil(size).min(first + group) {
                let row = (token - cut.tokens.start) * group + head - first;
                let from = columns.start.max(head * size) - head * size;
                let count = columns.end.min((head + 1) * size) - head * size - from;
                // SAFETY: all parts were written before the barrier; these columns of the token are this thread's.
                unsafe {
                    let (state, mixed) = self.part(cut.parts.start, rows);
                    let first = Partial { state: state.add(row * 2), mixed: mixed.add(row * size + from) };
                    let to = self.attended.add((token * network.heads + head) * size + from);
                    let steps = (step, step);
                    attention::merge(self.isa, first, cut.parts.len(), steps, count, sink(block, head), to);
                }
            }
        }
    }
}

/// The score without a key of query head `head`.
fn sink(block: &Block, head: usize) -> Option<f32> {
    block.sinks.as_ref().map(|sinks| sinks[head])
}
