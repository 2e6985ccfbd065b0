//! One step through the network, all threads together.
//!
//! The tokens of all sequences are the rows of one matrix, so that every weight is read once a step. Between two
//! parts that need each other's results stands a barrier, a dozen a layer. What is quantized is split by tiles of
//! tokens or by columns, rotation by token, matrices by groups of sixteen rows, attention by a queue of (sequence, KV
//! head, tile of tokens) with the longest first; a piece that is longer than a thread's fair share is cut by positions
//! (see [`plan`]). Nothing is allocated: [`Buffers`] are made once for the largest step.
#![allow(unsafe_code, reason = "threads write disjoint parts of shared buffers between two barriers")]

mod experts;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{LogitsWanted, StepBatch, StepOutput, StepSequence};

use super::CpuEngine;
use super::activations::{self, Slot, WIDEST};
use super::arena::{Arena, Region};
use super::attention::{self, MOST_ROWS, Partial, Rows, SCRATCH, Span};
use super::choose;
use super::isa::Isa;
use super::kv::{self, KvCache};
use super::matmul::{self, Input, Output};
use super::pack::{BLOCK, ROWS, is_quantized};
use super::pool::Barrier;
use super::prefetch::Prefetch;
use super::rotary::Table;
use super::rows;
use super::store::{Block, Feed, Matrix, Weights};
use crate::fused::kv::{KvLayout, PAGE};
use crate::fused::network::{Activation, Network};

/// Tokens of an attention tile when a prompt is processed.
const TILE: usize = 8;
/// Rows of logits that are computed at once: more would need memory in proportion to the vocabulary.
const LOGIT_ROWS: usize = 32;
/// Tiles that each thread must have before rows are split by them: then none waits long for one that has a tile more.
const TILES_EACH: usize = 4;
/// A piece of attention with no more positions than this is not cut: putting it together would cost what it saves.
const LEAST_CUT: usize = 2 * PAGE;
/// Pieces of attention that each thread shall have at least: then none is idle for long while another has one more.
const PIECES_EACH: usize = 2;

/// A piece of attention: `tokens` of a sequence against positions `from..to`, for one KV head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Task {
    sequence: usize,
    head: usize,
    /// First token within the step's tokens of the sequence, and how many.
    first: usize,
    tokens: usize,
    from: usize,
    to: usize,
    /// Where its partial result goes, when it was cut.
    part: Option<usize>,
}

impl Task {
    fn work(&self) -> usize {
        (self.to - self.from) * self.tokens
    }
}

/// A piece of attention that was cut by positions, to be put together when all its parts are there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cut {
    /// Its tokens, as rows of the step.
    tokens: Range<usize>,
    head: usize,
    /// Its parts, by number.
    parts: Range<usize>,
}

/// Memory of the largest step.
#[derive(Debug)]
pub(super) struct Buffers {
    arena: Arena,
    residual: Region,
    normed: Region,
    qkv: Region,
    attended: Region,
    gate_up: Region,
    out: Region,
    tiles: Region,
    logits: Region,
    last: Region,
    parts: Region,
    scratch: Region,
    experts: Option<experts::Workspace>,
    tasks: Vec<Task>,
    cuts: Vec<Cut>,
    /// One queue's head for each layer.
    queues: Vec<AtomicUsize>,
    /// Rows of the step that logits are wanted of, with the sequence that a token is chosen for.
    wanted: Vec<(usize, Option<usize>)>,
    /// Each thread's best logit of each row: its value and its token.
    best: Vec<(f32, u32)>,
    threads: usize,
}

/// Elements of a row of outputs, filled up to whole groups.
fn padded(rows: usize) -> usize {
    rows.next_multiple_of(ROWS)
}

/// Width of the queries, keys and values of a token.
fn qkv_width(network: &Network) -> usize {
    padded(network.heads * network.head_size) + 2 * padded(network.kv_heads * network.head_size)
}

/// Tokens of an attention tile: so many that their rows fit into one call.
fn tile(network: &Network) -> usize {
    TILE.min(MOST_ROWS / (network.heads / network.kv_heads)).max(1)
}

/// Parts of all pieces that are cut, at most: each is more than a half of what [`PIECES_EACH`] makes a fair share.
fn most_parts(threads: usize) -> usize {
    2 * PIECES_EACH * threads
}

/// Elements of a part's result: the states of all its rows, and their mixed values.
fn part(network: &Network) -> usize {
    tile(network) * network.heads / network.kv_heads * (network.head_size + 2)
}

/// Elements that a thread needs while it attends: queries, mixed values, states and shares.
fn scratch(network: &Network) -> usize {
    2 * MOST_ROWS * network.head_size + 2 * MOST_ROWS + SCRATCH
}

impl Buffers {
    pub(super) fn new(network: &Network, tokens: usize, threads: usize) -> std::io::Result<Self> {
        let queries = network.heads * network.head_size;
        let widest = network.width.max(queries).max(network.feed_forward);
        let rows = |elements: usize| tokens * elements * 4;
        let sizes = [
            rows(network.width),
            rows(network.width),
            rows(qkv_width(network)),
            rows(queries),
            rows(2 * padded(network.feed_forward)),
            rows(padded(network.width)),
            activations::packed_bytes(tokens, widest),
            LOGIT_ROWS * padded(network.vocabulary) * 4,
            LOGIT_ROWS * network.width * 4,
            most_parts(threads) * part(network) * 4,
            threads * scratch(network) * 4,
        ];
        let mut arena = Arena::new(Arena::bytes_of(&sizes))?;
        let regions = arena.take_all(sizes)?;
        let [residual, normed, qkv, attended, gate_up, out, tiles, logits, last, parts, scratch] = regions;
        Ok(Self {
            arena,
            residual,
            normed,
            qkv,
            attended,
            gate_up,
            out,
            tiles,
            logits,
            last,
            parts,
            scratch,
            experts: experts::Workspace::new(network, tokens)?,
            tasks: Vec::with_capacity(tokens * network.kv_heads + most_parts(threads)),
            cuts: Vec::with_capacity(most_parts(threads)),
            queues: (0..network.layers.len()).map(|_| AtomicUsize::new(0)).collect(),
            wanted: Vec::with_capacity(tokens),
            best: vec![(f32::NEG_INFINITY, 0); LOGIT_ROWS * threads],
            threads,
        })
    }

    /// Where a region begins. No reference to the buffers is behind it, so those of other regions stay good.
    #[allow(clippy::cast_ptr_alignment, reason = "regions begin at cache lines")]
    fn place(&self, region: Region) -> *mut f32 {
        self.arena.pointer(region).cast()
    }
}

/// A pass's view of everything: shared by all threads, who write where the plan of the part says.
struct Pass<'a> {
    network: &'a Network,
    weights: &'a Weights,
    tables: &'a [Table],
    cache: KvCache,
    isa: Isa,
    prefetch: Prefetch,
    barrier: &'a Barrier,
    threads: usize,
    batch: &'a StepBatch<'a>,
    tasks: &'a [Task],
    cuts: &'a [Cut],
    queues: &'a [AtomicUsize],
    tokens: usize,
    residual: *mut f32,
    normed: *mut f32,
    qkv: *mut f32,
    attended: *mut f32,
    gate_up: *mut f32,
    out: *mut f32,
    tiles: *mut u8,
    parts: *mut f32,
    scratch: *mut f32,
    experts: Option<experts::View>,
}

// SAFETY: the pointers are into buffers that live as long as the pass, and the parts between two barriers write
// disjoint places.
unsafe impl Sync for Pass<'_> {}

/// Feeds a batch.
pub(super) fn step(engine: &mut CpuEngine, batch: &StepBatch<'_>, output: &mut StepOutput) {
    let tokens = batch.tokens.len();
    plan(engine, batch);
    let cache = KvCache {
        layout: KvLayout {
            layers: engine.network.layers.len(),
            kv_heads: engine.network.kv_heads,
            head_size: engine.network.head_size,
            kv_type: engine.kv_type,
        },
        first: engine.cache.pointer(engine.pages),
    };
    let buffers = &engine.buffers;
    let (residual, normed) = (buffers.place(buffers.residual), buffers.place(buffers.normed));
    let (qkv, attended) = (buffers.place(buffers.qkv), buffers.place(buffers.attended));
    let (gate_up, out) = (buffers.place(buffers.gate_up), buffers.place(buffers.out));
    let (tiles, parts) = (buffers.place(buffers.tiles).cast(), buffers.place(buffers.parts));
    let scratch = buffers.place(buffers.scratch);
    let experts = buffers.experts.as_ref().map(experts::Workspace::view);
    let barrier: *const Barrier = engine.pool.barrier();
    let pass = Pass {
        network: &engine.network,
        weights: &engine.weights,
        tables: &engine.tables,
        cache,
        isa: engine.isa,
        prefetch: engine.prefetch,
        // SAFETY: the pool outlives the pass, and running it changes the barrier only through its own atomics.
        barrier: unsafe { &*barrier },
        threads: buffers.threads,
        batch,
        tasks: &buffers.tasks,
        cuts: &buffers.cuts,
        queues: &buffers.queues,
        tokens,
        residual,
        normed,
        qkv,
        attended,
        gate_up,
        out,
        tiles,
        parts,
        scratch,
        experts,
    };
    // SAFETY: the buffers are for at least this many tokens, and every thread runs the same parts in the same order.
    engine.pool.run(&|thread| unsafe { pass.layers(thread) });
    logits(engine, batch, output);
}

/// Writes down the pieces of attention and the rows whose logits are wanted.
fn plan(engine: &mut CpuEngine, batch: &StepBatch<'_>) {
    let (network, buffers) = (&engine.network, &mut engine.buffers);
    buffers.wanted.clear();
    for queue in &buffers.queues {
        queue.store(0, Ordering::Relaxed);
    }
    pieces(batch.sequences, network, &mut buffers.tasks);
    cut(batch.sequences, buffers.threads, &mut buffers.tasks, &mut buffers.cuts);
    for (number, sequence) in batch.sequences.iter().enumerate() {
        let last = sequence.first_token + sequence.token_count - 1;
        match batch.logits {
            LogitsWanted::Every => {
                for row in sequence.first_token..=last {
                    let chosen = (row == last && sequence.yields).then_some(number);
                    buffers.wanted.push((row, chosen));
                }
            }
            _ if sequence.yields => buffers.wanted.push((last, Some(number))),
            _ => {}
        }
    }
    buffers.tasks.sort_unstable_by_key(|task| std::cmp::Reverse(task.work()));
}

/// The pieces of a step's attention: each tile of each sequence's tokens for each KV head, against all it may see.
fn pieces(sequences: &[StepSequence], network: &Network, tasks: &mut Vec<Task>) {
    tasks.clear();
    let tile = tile(network);
    for (number, sequence) in sequences.iter().enumerate() {
        for head in 0..network.kv_heads {
            for first in (0..sequence.token_count).step_by(tile) {
                let tokens = tile.min(sequence.token_count - first);
                let to = sequence.position as usize + first + tokens;
                tasks.push(Task { sequence: number, head, first, tokens, from: 0, to, part: None });
            }
        }
    }
}

/// Cuts every piece that is longer than a fair share, by positions and in whole pages.
///
/// A fair share is the step's attention over [`PIECES_EACH`] pieces a thread. So a long context among short ones, and
/// few contexts on many threads, keep no thread waiting; where there are pieces enough nothing is cut.
fn cut(sequences: &[StepSequence], threads: usize, tasks: &mut Vec<Task>, cuts: &mut Vec<Cut>) {
    cuts.clear();
    let whole = tasks.len();
    let all: usize = tasks.iter().map(Task::work).sum();
    let mut parts = 0;
    for number in 0..whole {
        let task = tasks[number];
        if threads == 1 || task.to <= LEAST_CUT {
            continue;
        }
        let pages = task.to.div_ceil(PAGE);
        let count = (PIECES_EACH * threads * task.work()).div_ceil(all).min(pages);
        if count < 2 {
            continue;
        }
        for part in 0..count {
            let (from, to) = (pages * part / count * PAGE, pages * (part + 1) / count * PAGE);
            let piece = Task { from, to: to.min(task.to), part: Some(parts + part), ..task };
            if part == 0 {
                tasks[number] = piece;
            } else {
                tasks.push(piece);
            }
        }
        let first = sequences[task.sequence].first_token + task.first;
        cuts.push(Cut { tokens: first..first + task.tokens, head: task.head, parts: parts..parts + count });
        parts += count;
    }
    debug_assert!(parts <= most_parts(threads), "{parts} parts for {threads} threads");
}

/// The score without a key of query head `head`.
fn sink(block: &Block, head: usize) -> Option<f32> {
    block.sinks.as_ref().map(|sinks| sinks[head])
}

/// `gate` becomes what the activation makes of it and `up`.
///
/// # Safety
/// Both must have `columns` elements, a multiple of 16.
unsafe fn activate(activation: Activation, isa: Isa, gate: *mut f32, up: *const f32, columns: usize) {
    // SAFETY: both have as many elements as the caller promises.
    unsafe {
        match activation {
            Activation::Silu => rows::swiglu(isa, gate, up, columns),
            Activation::GeluTanh => rows::geglu(isa, gate, up, columns),
            Activation::ClampedSwiglu => rows::clamped_swiglu(isa, gate, up, columns),
        }
    }
}

/// The share of `count` things that belongs to `thread`.
pub(super) fn share(count: usize, thread: usize, threads: usize) -> Range<usize> {
    count * thread / threads..count * (thread + 1) / threads
}

/// What `thread` makes ready of the rows of `tokens`: which tokens, and which of each one's columns, in whole blocks.
///
/// Quants of a tile's tokens lie word by word beside each other: threads that wrote one tile's tokens would take its
/// cache lines from each other at every word. So each has whole tiles where there are enough of them, else columns of
/// all tokens.
fn portion(tokens: usize, columns: usize, thread: usize, threads: usize) -> (Range<usize>, Range<usize>) {
    let tiles = tokens.div_ceil(WIDEST);
    if tiles >= TILES_EACH * threads {
        let mine = share(tiles, thread, threads);
        (mine.start * WIDEST..(mine.end * WIDEST).min(tokens), 0..columns)
    } else {
        let mine = share(columns / BLOCK, thread, threads);
        (0..tokens, mine.start * BLOCK..mine.end * BLOCK)
    }
}

impl Pass<'_> {
    unsafe fn layers(&self, thread: usize) {
        // SAFETY: the caller's, for all parts.
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
    unsafe fn norm_input(&self, weight: &[f32], matrices: &[Matrix], thread: usize) {
        let (width, epsilon) = (self.network.width, self.network.norm_epsilon);
        let (tokens, part) = portion(self.tokens, width, thread, self.threads);
        for token in tokens {
            // SAFETY: the residual stream is whole, and these columns of the token are this thread's.
            unsafe {
                let to = self.normed.add(token * width);
                let from = self.residual.add(token * width);
                rows::norm(self.isa, from, weight.as_ptr(), width, part.clone(), epsilon, to);
                if matrices.iter().any(|matrix| is_quantized(matrix.layout.kind)) {
                    self.quantize(to, token, width, part.clone());
                }
            }
        }
    }

    /// Quantizes the columns `part` of a token's row.
    unsafe fn quantize(&self, row: *const f32, token: usize, columns: usize, part: Range<usize>) {
        // SAFETY: the tiles are for all tokens at the widest row, and the part is this thread's.
        unsafe {
            let slot = Slot::new(self.tiles, token, self.tokens, columns);
            activations::quantize(self.isa, row, part, slot);
        }
    }

    /// Multiplies this thread's share of the groups of `matrices`, whose outputs lie one behind the other: as many bytes of
    /// weights as every other thread's, since types may differ.
    ///
    /// `rows` are the input of matrices that are not quantized, with the distance from one to the next.
    unsafe fn multiply(
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
            let input = Input { tokens: self.tokens, tiles: self.tiles, rows, stride };
            // SAFETY: the groups are this thread's, the output has a place for each.
            unsafe {
                let first = out.first.add(groups_before * ROWS);
                let mine = until(mine.start)..until(mine.end);
                matmul::multiply(self.isa, weights, mine, input, Output { first, ..out });
            }
            before += bytes(matrix);
            groups_before += groups;
        }
    }

    unsafe fn attention(&self, layer: usize, block: &Block, thread: usize) {
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
            let (tokens, part) = portion(self.tokens, queries, thread, self.threads);
            for token in tokens {
                self.merge(block, token, part.clone());
                if is_quantized(block.output.layout.kind) {
                    self.quantize(self.attended.add(token * queries), token, queries, part.clone());
                }
            }
            self.barrier.wait();
            let stride = padded(width);
            let out = Output { first: self.out, stride };
            self.multiply(&[block.output], (self.attended, queries), out, thread);
            self.barrier.wait();
            self.add_output(block.output_bias.as_deref(), block.post_attention_norm.as_deref(), thread);
        }
    }

    /// Biases, head norms, rotation; queries are left scaled in place, keys and values go into the cache.
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
    unsafe fn part(&self, number: usize, rows: usize) -> (*mut f32, *mut f32) {
        // SAFETY: there is room for as many parts as are planned at most, each of the rows of a whole tile.
        unsafe {
            let state = self.parts.add(number * part(self.network));
            (state, state.add(2 * rows))
        }
    }

    /// Puts the parts of what was cut together, for the columns `columns` of what a token attended to.
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

    /// Adds what a matrix gave to the residual stream, with its bias and normed first where the model does that.
    unsafe fn add_output(&self, bias: Option<&[f32]>, norm: Option<&[f32]>, thread: usize) {
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

    unsafe fn feed_forward(&self, block: &Block, gate_up: &[Matrix; 2], down: Matrix, thread: usize) {
        let network = self.network;
        let (feed, width) = (network.feed_forward, network.width);
        let half = padded(feed);
        // SAFETY: each part writes what is this thread's, and barriers lie between parts that need each other.
        unsafe {
            self.barrier.wait();
            self.norm_input(&block.feed_norm, gate_up, thread);
            self.barrier.wait();
            let to = Output { first: self.gate_up, stride: 2 * half };
            self.multiply(gate_up, (self.normed, width), to, thread);
            self.barrier.wait();
            self.activate(feed, half, is_quantized(down.layout.kind), thread);
            self.barrier.wait();
            let to = Output { first: self.out, stride: padded(width) };
            self.multiply(&[down], (self.gate_up, 2 * half), to, thread);
            self.barrier.wait();
            self.add_output(None, block.post_feed_norm.as_deref(), thread);
        }
    }

    /// The activation of gate times up, made ready for the down matrix.
    unsafe fn activate(&self, feed: usize, half: usize, quantized: bool, thread: usize) {
        let (tokens, part) = portion(self.tokens, feed, thread, self.threads);
        for token in tokens {
            // SAFETY: these columns of the token are this thread's.
            unsafe {
                let row = self.gate_up.add(token * 2 * half);
                let (gate, up) = (row.add(part.start), row.add(half + part.start));
                activate(self.network.activation, self.isa, gate, up, part.len());
                if quantized {
                    self.quantize(row, token, feed, part.clone());
                }
            }
        }
    }
}

/// Norms the wanted rows, multiplies them with the head and chooses the largest logit of each.
fn logits(engine: &mut CpuEngine, batch: &StepBatch<'_>, output: &mut StepOutput) {
    output.next.clear();
    output.next.resize(batch.sequences.len(), 0);
    output.logits.clear();
    output.non_finite = false;
    output.device_time = None;
    let vocabulary = engine.network.vocabulary;
    let keep = batch.logits != LogitsWanted::Nothing;
    let wanted = std::mem::take(&mut engine.buffers.wanted);
    for rows in wanted.chunks(LOGIT_ROWS) {
        head(engine, rows);
        let threads = engine.buffers.threads;
        for (number, (_, sequence)) in rows.iter().enumerate() {
            let of_threads = (0..threads).map(|thread| engine.buffers.best[thread * LOGIT_ROWS + number]);
            // The first of equal ones, as every thread's range lies behind the one before.
            let best = of_threads.reduce(|best, next| if next.0 > best.0 { next } else { best });
            if let (Some(sequence), Some((value, token))) = (sequence, best) {
                output.next[*sequence] = token;
                output.non_finite |= !value.is_finite();
            }
        }
        if keep {
            let stride = padded(vocabulary);
            let bytes = engine.buffers.place(engine.buffers.logits);
            for number in 0..rows.len() {
                // SAFETY: the row was written above, and no thread is at work.
                let row = unsafe { std::slice::from_raw_parts(bytes.add(number * stride), vocabulary) };
                output.logits.extend_from_slice(row);
            }
        }
    }
    engine.buffers.wanted = wanted;
}

/// Logits of at most [`LOGIT_ROWS`] rows of the step, and each thread's best of its share of the vocabulary.
fn head(engine: &mut CpuEngine, rows: &[(usize, Option<usize>)]) {
    let network = &engine.network;
    let (width, vocabulary) = (network.width, network.vocabulary);
    let stride = padded(vocabulary);
    let threads = engine.buffers.threads;
    let buffers = &mut engine.buffers;
    let residual = Shared(buffers.place(buffers.residual));
    let (last, out) = (Shared(buffers.place(buffers.last)), Shared(buffers.place(buffers.logits)));
    let tiles = Shared(buffers.place(buffers.tiles).cast::<u8>());
    let best = Shared(buffers.best.as_mut_ptr());
    let (isa, prefetch, weights) = (engine.isa, engine.prefetch, &engine.weights);
    let barrier: *const Barrier = engine.pool.barrier();
    let barrier = Shared(barrier.cast_mut());
    engine.pool.run(&|thread| {
        // SAFETY: rows, groups and best places are split by thread; the barrier lies between writing and reading.
        unsafe {
            let (numbers, part) = portion(rows.len(), width, thread, threads);
            for number in numbers {
                let to = last.get().add(number * width);
                let from = residual.get().add(rows[number].0 * width);
                let (weight, epsilon) = (weights.output_norm.as_ptr(), network.norm_epsilon);
                rows::norm(isa, from, weight, width, part.clone(), epsilon, to);
                if is_quantized(weights.head.layout.kind) {
                    let slot = Slot::new(tiles.get(), number, rows.len(), width);
                    activations::quantize(isa, to, part.clone(), slot);
                }
            }
            (*barrier.get()).wait();
            let groups = share(weights.head.groups(), thread, threads);
            let matrix = matmul::Weights {
                layout: weights.head.layout.asked(prefetch),
                groups: weights.store.bytes(weights.head.region).as_ptr(),
            };
            let input = Input { tokens: rows.len(), tiles: tiles.get(), rows: last.get(), stride: width };
            matmul::multiply(isa, matrix, groups.clone(), input, Output { first: out.get(), stride });
            let mine = groups.start * ROWS..(groups.end * ROWS).min(vocabulary);
            for number in 0..rows.len() {
                // Only this thread's own: the others write theirs meanwhile.
                let row = out.get().add(number * stride + mine.start);
                let to = best.get().add(thread * LOGIT_ROWS + number);
                choose::largest(isa, row, mine.len(), mine.start, to);
            }
        }
    });
}

/// A pointer that the threads of a pool share.
pub(super) struct Shared<T>(pub(super) *mut T);

// SAFETY: whoever uses it splits what it points to by thread.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(super) fn get(&self) -> *mut T {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::cpu::arena::tests::assert_apart;
    use crate::model::gguf;
    use infercost_testing::Tiny;

    fn network(architecture: &'static str) -> Network {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        Tiny::of(architecture).write(&path);
        let file = gguf::read(&path).unwrap();
        Network::new(&file.header, &file.metadata).unwrap()
    }

    #[test]
    fn no_two_buffers_of_a_step_overlap() {
        for architecture in ["llama", "gpt-oss"] {
            let network = network(architecture);
            for (tokens, threads) in [(1, 1), (7, 3), (512, 2)] {
                let buffers = Buffers::new(&network, tokens, threads).unwrap();
                let Buffers { residual, normed, qkv, attended, gate_up, out, .. } = buffers;
                let Buffers { tiles, logits, last, parts, scratch, .. } = buffers;
                let regions =
                    [residual, normed, qkv, attended, gate_up, out, tiles, logits, last, parts, scratch];
                assert_apart(&buffers.arena, &regions);
                if let Some(workspace) = &buffers.experts {
                    workspace.assert_apart();
                }
                assert_eq!(buffers.experts.is_some(), architecture == "gpt-oss");
            }
        }
    }

    /// Sequences with this many positions before the step and tokens in it.
    fn sequences(shapes: &[(u32, usize)]) -> Vec<StepSequence> {
        let mut first_token = 0;
        let of = |(position, token_count): &(u32, usize)| {
            let sequence = StepSequence {
                first_token,
                token_count: *token_count,
                position: *position,
                first_page: 0,
                page_count: 0,
                yields: true,
            };
            first_token += token_count;
            sequence
        };
        shapes.iter().map(of).collect()
    }

    /// The tasks and cuts of a step, checked: every piece is there once, and no thread has to wait for a long one.
    fn planned(network: &Network, shapes: &[(u32, usize)], threads: usize) -> (Vec<Task>, Vec<Cut>) {
        let sequences = sequences(shapes);
        let (mut whole, mut cuts) = (Vec::new(), Vec::new());
        pieces(&sequences, network, &mut whole);
        let mut tasks = whole.clone();
        cut(&sequences, threads, &mut tasks, &mut cuts);
        for task in &whole {
            let mut parts: Vec<&Task> = tasks
                .iter()
                .filter(|part| {
                    (part.sequence, part.head, part.first) == (task.sequence, task.head, task.first)
                })
                .collect();
            parts.sort_by_key(|part| part.from);
            assert_eq!((parts[0].from, parts[parts.len() - 1].to), (task.from, task.to));
            for pair in parts.windows(2) {
                assert!(pair[0].to == pair[1].from && pair[1].from % PAGE == 0 && pair[0].from < pair[0].to);
            }
            let first = sequences[task.sequence].first_token + task.first;
            let cut = cuts.iter().find(|cut| cut.head == task.head && cut.tokens.contains(&first));
            assert_eq!(cut.map_or(1, |cut| cut.parts.len()), parts.len());
            assert!(
                parts.len() == 1
                    || parts.iter().map(|part| part.part).eq(cut.unwrap().parts.clone().map(Some))
            );
        }
        let all: usize = whole.iter().map(Task::work).sum();
        let longest = tasks.iter().filter(|task| task.to > LEAST_CUT).map(Task::work).max().unwrap_or(0);
        let page = PAGE * tile(network);
        assert!(
            longest <= (all / (PIECES_EACH * threads)).max(page) + page,
            "{shapes:?} {threads}: {longest} of {all}"
        );
        let parts: usize = cuts.iter().map(|cut| cut.parts.len()).sum();
        assert!(parts <= most_parts(threads), "{shapes:?} {threads}");
        (tasks, cuts)
    }

    #[test]
    fn few_contexts_on_many_threads_leave_none_idle() {
        let network = network("llama");
        for threads in [1, 2, 3, 8, 16, 61] {
            for shapes in [
                &[(4095, 1)][..],
                &[(4095, 1), (4095, 1)],
                // One long context among short ones.
                &[(8191, 1), (63, 1), (127, 1), (1, 1), (200, 1)],
                // The last tile of a long prompt, and a prompt beside sequences that decode.
                &[(4000, 5)],
                &[(2000, 100), (4095, 1), (77, 1)],
                &[(0, 512)],
                &[(0, 1)],
            ] {
                let (tasks, _) = planned(&network, shapes, threads);
                if shapes.len() <= 2 && shapes[0].0 == 4095 && threads > 1 {
                    assert!(tasks.len() >= threads, "{} tasks for {threads} threads", tasks.len());
                }
            }
        }
    }

    #[test]
    fn nothing_is_cut_where_there_are_pieces_enough() {
        let network = network("llama");
        assert_eq!(planned(&network, &[(4095, 1); 16], 2).1, []);
        assert_eq!(planned(&network, &[(0, 512)], 2).1, []);
        assert_eq!(planned(&network, &[(4095, 1)], 1).1, []);
        assert_eq!(planned(&network, &[(100, 1)], 16).1, [], "too short to be worth it");
    }
}
