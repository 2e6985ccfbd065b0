//! Attention of some query rows over the pages of one sequence, for one layer and one KV head.
//!
//! The rows are whatever shares keys and values: the query heads of a group, of one token when decoding and of a tile
//! of neighbouring tokens when processing a prompt. Every load of a key or a value serves all rows of a block. Scores
//! are never kept for more than a page: each row carries the largest score so far, the sum of its shares and the
//! mixed values, scaled to that largest score (the online softmax of Milakov and Gimelshein, 2018, as `FlashAttention`
//! uses it). Ranges of positions can so be computed apart and merged by [`merge`].
//!
//! # Safety of this module
//! The processor must have what `V` needs. What a pointer is for says how far it must be good: queries and mixed values
//! have a head's elements for each row, scores and shares 64, states two; a [`Part`] must be one of the cache's. Rows are
//! those of `sees` ([`attend_to`]), `rows` or `ROWS`.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(unsafe_code, reason = "kernels over computed places, chosen by what the processor has")]

use std::ops::Range;

use crate::fused::kv::{KvType, PAGE};

use super::kv::{Cell, Eight, Half, KvCache, Part};
use super::lanes::{LANES, Lanes, ask_as, for_each_isa};
use super::pack::BLOCK;
use super::prefetch::{Prefetch, hint};

/// Most rows of one call.
pub(super) const MOST_ROWS: usize = 64;
/// Lower than any score, and finite, so that the difference of two of them is a number.
const LOWEST: f32 = -1e30;

/// What one call attends to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span<'a> {
    pub(super) cache: KvCache,
    pub(super) layer: usize,
    pub(super) head: usize,
    /// The sequence's pages from position 0 on.
    pub(super) pages: &'a [u32],
    /// Positions to look at, of those that a row may see.
    pub(super) from: usize,
    pub(super) to: usize,
    /// What this thread reads next, asked for meanwhile.
    pub(super) then: Option<Part>,
    /// How it asks, as the weights do.
    pub(super) prefetch: Prefetch,
}

/// What is read after the page at hand.
#[derive(Clone, Copy)]
struct Next {
    part: Part,
    /// Whether it is asked into the second cache, else into all.
    second: bool,
}

impl Next {
    /// Asks for `bytes` from `at` on.
    #[inline(always)]
    unsafe fn ask<V: Lanes>(self, at: *const u8, bytes: usize) {
        // SAFETY: the processor has what `V` needs, by this module's contract.
        unsafe {
            if self.second {
                ask_as::<V, { hint::SECOND }>(at, bytes);
            } else {
                ask_as::<V, { hint::ALL }>(at, bytes);
            }
        }
    }
}

/// Query rows: `[rows][head_size]`, rotated and scaled, and which positions each may see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) queries: *const f32,
    /// First and last position (inclusive) that each row sees.
    pub(super) sees: &'a [(u32, u32)],
}

/// Elements of scratch that a call needs: shares of every row for one page.
pub(super) const SCRATCH: usize = MOST_ROWS * PAGE;

/// Partial results of rows: the largest score and the sum of shares of each, and the mixed values
/// `[rows][head_size]`, not divided by the sum yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    /// `[rows][2]`.
    pub(super) state: *mut f32,
    pub(super) mixed: *mut f32,
}

for_each_isa! {
    /// Attends; overwrites `out`.
    ///
    /// # Safety
    /// The pages must hold every position up to `span.to`; pointers must be good for as many rows as `rows.sees` has,
    /// at most [`MOST_ROWS`]; `scratch` for [`SCRATCH`] elements.
    pub(super) unsafe fn attend(span: Span<'_>, rows: Rows<'_>, scratch: *mut f32, out: Partial) = attend_all
}

#[inline(always)]
unsafe fn attend_all<V: Lanes>(span: Span<'_>, rows: Rows<'_>, shares: *mut f32, out: Partial) {
    // SAFETY: the pages hold all positions and there are all rows, by the contract of `attend`.
    unsafe {
        match span.cache.layout.kv_type {
            KvType::F16 => attend_to::<V, Half>(span, rows, shares, out),
            KvType::Q8_0 => attend_to::<V, Eight>(span, rows, shares, out),
        }
    }
}

#[inline(always)]
unsafe fn attend_to<V: Lanes, C: Cell>(span: Span<'_>, rows: Rows<'_>, shares: *mut f32, out: Partial) {
    let head_size = span.cache.layout.head_size;
    let count = rows.sees.len();
    // SAFETY: the pages hold all positions and there are all rows, by the contract of `attend`.
    unsafe {
        for row in 0..count {
            *out.state.add(row * 2) = LOWEST;
            *out.state.add(row * 2 + 1) = 0.0;
            for at in (0..head_size).step_by(LANES) {
                V::splat(0.0).store(out.mixed.add(row * head_size + at));
            }
        }
        for number in span.from / PAGE..span.to.div_ceil(PAGE) {
            let first = number * PAGE;
            let part = span.cache.part(span.pages[number], span.layer, span.head);
            // Positions of this page that any row sees: nothing behind them is read, it may be anybody's.
            let low = rows.sees.iter().map(|sees| sees.0 as usize).min().unwrap_or(0).max(span.from);
            let high = rows.sees.iter().map(|sees| sees.1 as usize + 1).max().unwrap_or(0).min(span.to);
            let (low, high) = (low.max(first) - first, high.min(first + PAGE).saturating_sub(first));
            if low >= high {
                continue;
            }
            // The next page's part lies elsewhere, where no stream of the processor's own leads.
            let next = if number + 1 < span.to.div_ceil(PAGE) {
                Some(span.cache.part(span.pages[number + 1], span.layer, span.head))
            } else {
                span.then
            };
            let next = next.map(|part| Next { part, second: span.prefetch == Prefetch::SecondCache });
            scores::<V, C>(part, rows.queries, count, next, shares);
            for row in 0..count {
                let (sees_from, sees_to) = rows.sees[row];
                let from = (sees_from as usize).max(span.from).max(first) - first;
                let to = (sees_to as usize + 1).min(span.to).min(first + PAGE).saturating_sub(first);
                let of_row = shares.add(row * PAGE);
                share::<V>(of_row, from, to, out, row, head_size);
            }
            mix::<V, C>(part, low..high, shares, count, next, out.mixed);
        }
    }
}

/// Scores of all rows against a page's 64 keys, `[rows][64]`.
#[inline(always)]
unsafe fn scores<V: Lanes, C: Cell>(
    part: Part,
    queries: *const f32,
    rows: usize,
    next: Option<Next>,
    scores: *mut f32,
) {
    let mut row = 0;
    // SAFETY: the rows taken at once are within `rows`, for which there is room, by this module's contract.
    unsafe {
        while row < rows {
            let queries = queries.add(row * part.head_size);
            let to = scores.add(row * PAGE);
            let next = next.filter(|_| row == 0);
            // Sums of a block fill the registers: 6 × 4 of 32, or 3 × 2 pairs of 16.
            if V::REGISTERS >= 32 {
                row += match rows - row {
                    6.. => scores_of::<V, C, 6, 4>(part, queries, next, to),
                    4.. => scores_of::<V, C, 4, 4>(part, queries, next, to),
                    3 => scores_of::<V, C, 3, 4>(part, queries, next, to),
                    2 => scores_of::<V, C, 2, 4>(part, queries, next, to),
                    _ => scores_of::<V, C, 1, 4>(part, queries, next, to),
                };
            } else {
                row += match rows - row {
                    3.. => scores_of::<V, C, 3, 1>(part, queries, next, to),
                    2 => scores_of::<V, C, 2, 2>(part, queries, next, to),
                    _ => scores_of::<V, C, 1, 4>(part, queries, next, to),
                };
            }
        }
    }
}

/// Scores of `ROWS` rows, `WIDE` registers of positions at a time; says how many rows that were.
///
/// Meanwhile it asks for the keys at `next`, as [`mix`] for the next values: memory is then busy all the time, and not
/// with more at once than a core can wait for.
#[inline(always)]
unsafe fn scores_of<V: Lanes, C: Cell, const ROWS: usize, const WIDE: usize>(
    part: Part,
    queries: *const f32,
    next: Option<Next>,
    to: *mut f32,
) -> usize {
    let step = if C::SCALED { BLOCK } else { part.head_size };
    for positions in (0..PAGE).step_by(WIDE * LANES) {
        for first in (0..part.head_size).step_by(step) {
            // SAFETY: there are `ROWS` rows, and the part has 64 keys, by this module's contract.
            unsafe {
                let mut sums = [[V::splat(0.0); WIDE]; ROWS];
                for element in first..first + step {
                    if let Some(next) = next {
                        let at = next.part.keys.add((element * PAGE + positions) * C::BYTES);
                        next.ask::<V>(at, WIDE * LANES * C::BYTES);
                    }
                    let mut key = [V::splat(0.0); WIDE];
                    for (wide, key) in key.iter_mut().enumerate() {
                        *key = C::load(part.keys, element * PAGE + positions + wide * LANES);
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let query = V::splat(*queries.add(row * part.head_size + element));
                        for (sum, key) in sums.iter_mut().zip(key) {
                            *sum = key.mul_add(query, *sum);
                        }
                    }
                }
                for wide in 0..WIDE {
                    let at = positions + wide * LANES;
                    let mut scale = V::splat(1.0);
                    if C::SCALED {
                        scale = V::load_f16(part.key_scales().add(first / BLOCK * PAGE + at));
                    }
                    for (row, sums) in sums.iter().enumerate() {
                        let to = to.add(row * PAGE + at);
                        let mut total = sums[wide];
                        if C::SCALED {
                            let before = if first == 0 { V::splat(0.0) } else { V::load(to) };
                            total = total.mul_add(scale, before);
                        }
                        total.store(to);
                    }
                }
            }
        }
    }
    ROWS
}

/// Turns a row's scores of a page into shares, 0 outside `from..to`, and brings its state up to date.
#[inline(always)]
unsafe fn share<V: Lanes>(
    scores: *mut f32,
    from: usize,
    to: usize,
    out: Partial,
    row: usize,
    head_size: usize,
) {
    // SAFETY: the row has 64 scores, its state and its mixed values, by this module's contract.
    unsafe {
        for outside in (0..from.min(PAGE)).chain(to.min(PAGE)..PAGE) {
            *scores.add(outside) = LOWEST;
        }
        if from >= to {
            for position in 0..PAGE {
                *scores.add(position) = 0.0;
            }
            return;
        }
        let mut largest = V::load(scores);
        for at in (LANES..PAGE).step_by(LANES) {
            largest = largest.max(V::load(scores.add(at)));
        }
        let (state, sum) = (out.state.add(row * 2), out.state.add(row * 2 + 1));
        let largest = largest.reduce_max();
        if largest > *state {
            let shrink = (*state - largest).exp();
            *sum *= shrink;
            *state = largest;
            let (shrink, mixed) = (V::splat(shrink), out.mixed.add(row * head_size));
            for at in (0..head_size).step_by(LANES) {
                V::load(mixed.add(at)).mul(shrink).store(mixed.add(at));
            }
        }
        let largest = V::splat(*state);
        let mut sums = V::splat(0.0);
        for at in (0..PAGE).step_by(LANES) {
            let shares = V::load(scores.add(at)).sub(largest).exp();
            shares.store(scores.add(at));
            sums = sums.add(shares);
        }
        *sum += sums.reduce_add();
        // e^(lowest − largest) is tiny and not zero; what is not seen must have no share.
        for outside in (0..from).chain(to..PAGE) {
            *scores.add(outside) = 0.0;
        }
    }
}

/// Adds the values of the positions `seen` of a page to all rows, each by its share.
#[inline(always)]
unsafe fn mix<V: Lanes, C: Cell>(
    part: Part,
    seen: Range<usize>,
    shares: *const f32,
    rows: usize,
    next: Option<Next>,
    mixed: *mut f32,
) {
    let mut row = 0;
    // SAFETY: the rows taken at once are within `rows`, for which there is room, by this module's contract.
    unsafe {
        while row < rows {
            let shares = shares.add(row * PAGE);
            let to = mixed.add(row * part.head_size);
            let wide = V::REGISTERS >= 32;
            let next = next.filter(|_| row == 0);
            row += match rows - row {
                6.. if wide => mix_rows::<V, C, 6>(part, seen.clone(), shares, next, to),
                4.. if wide => mix_rows::<V, C, 4>(part, seen.clone(), shares, next, to),
                3.. => mix_rows::<V, C, 3>(part, seen.clone(), shares, next, to),
                2 => mix_rows::<V, C, 2>(part, seen.clone(), shares, next, to),
                _ => mix_rows::<V, C, 1>(part, seen.clone(), shares, next, to),
            };
        }
    }
}

#[inline(always)]
unsafe fn mix_rows<V: Lanes, C: Cell, const ROWS: usize>(
    part: Part,
    seen: Range<usize>,
    shares: *const f32,
    next: Option<Next>,
    mixed: *mut f32,
) -> usize {
    let mut at = 0;
    let mut scaled = [[0.0; PAGE]; ROWS];
    // SAFETY: there are `ROWS` rows, and the part has 64 values, by this module's contract.
    unsafe {
        while at < part.head_size {
            let mut shares = shares;
            if C::SCALED {
                if at % BLOCK == 0 {
                    scale_shares::<V, ROWS>(shares, part.value_scales().add(at / BLOCK * PAGE), &mut scaled);
                }
                shares = scaled.as_ptr().cast();
            }
            let left = (part.head_size - at) / LANES;
            let seen = seen.clone();
            at += LANES
                * if V::REGISTERS >= 32 && left >= 4 && !C::SCALED {
                    mix_block::<V, C, ROWS, 4>(part, at, seen, shares, next, mixed)
                } else if V::REGISTERS >= 32 && left >= 2 {
                    mix_block::<V, C, ROWS, 2>(part, at, seen, shares, next, mixed)
                } else {
                    mix_block::<V, C, ROWS, 1>(part, at, seen, shares, next, mixed)
                };
        }
    }
    ROWS
}

/// Shares times the scales of one block's values, a scale for each position.
#[inline(always)]
unsafe fn scale_shares<V: Lanes, const ROWS: usize>(
    shares: *const f32,
    scales: *const u16,
    to: &mut [[f32; PAGE]; ROWS],
) {
    for at in (0..PAGE).step_by(LANES) {
        // SAFETY: a page has this many of all.
        unsafe {
            let scale = V::load_f16(scales.add(at));
            for (row, to) in to.iter_mut().enumerate() {
                V::load(shares.add(row * PAGE + at)).mul(scale).store(to.as_mut_ptr().add(at));
            }
        }
    }
}

#[inline(always)]
unsafe fn mix_block<V: Lanes, C: Cell, const ROWS: usize, const WIDE: usize>(
    part: Part,
    at: usize,
    seen: Range<usize>,
    shares: *const f32,
    next: Option<Next>,
    mixed: *mut f32,
) -> usize {
    let head_size = part.head_size;
    // SAFETY: the head has `WIDE` registers from `at` on in each row and value, by this module's contract.
    unsafe {
        let values = part.values::<C>();
        let mut sums = [[V::splat(0.0); WIDE]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (wide, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(mixed.add(row * head_size + at + wide * LANES));
            }
        }
        for position in seen {
            if let Some(next) = next {
                let at = next.part.values::<C>().add((position * head_size + at) * C::BYTES);
                next.ask::<V>(at, WIDE * LANES * C::BYTES);
            }
            let mut value = [V::splat(0.0); WIDE];
            for (wide, value) in value.iter_mut().enumerate() {
                *value = C::load(values, position * head_size + at + wide * LANES);
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let share = V::splat(*shares.add(row * PAGE + position));
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = value.mul_add(share, *sum);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (wide, sum) in sums.into_iter().enumerate() {
                sum.store(mixed.add(row * head_size + at + wide * LANES));
            }
        }
    }
    WIDE
}

for_each_isa! {
    /// Merges `parts` partial results of one row, `stride` elements of mixed values and of state apart, and divides
    /// by the sum of shares. `sink` is a score that has no value: it only takes a share.
    ///
    /// # Safety
    /// Each part must have a state and `head_size` mixed values, `to` room for as many.
    pub(super) unsafe fn merge(
        first: Partial,
        parts: usize,
        strides: (usize, usize),
        head_size: usize,
        sink: Option<f32>,
        to: *mut f32,
    ) = merge_parts
}

#[inline(always)]
unsafe fn merge_parts<V: Lanes>(
    first: Partial,
    parts: usize,
    strides: (usize, usize),
    head_size: usize,
    sink: Option<f32>,
    to: *mut f32,
) {
    let (state_stride, mixed_stride) = strides;
    // SAFETY: each part has a state and mixed values, and `to` has room, by the contract of `merge`.
    unsafe {
        let scores = (0..parts).map(|part| *first.state.add(part * state_stride));
        let largest = scores.fold(sink.unwrap_or(LOWEST), f32::max);
        let mut sum = sink.map_or(0.0, |sink| (sink - largest).exp());
        for part in 0..parts {
            let state = first.state.add(part * state_stride);
            sum += *state.add(1) * (*state - largest).exp();
        }
        for part in 0..parts {
            let weight = V::splat((*first.state.add(part * state_stride) - largest).exp() / sum);
            let values = first.mixed.add(part * mixed_stride);
            for at in (0..head_size).step_by(LANES) {
                let before = if part == 0 { V::splat(0.0) } else { V::load(to.add(at)) };
                V::load(values.add(at)).mul_add(weight, before).store(to.add(at));
            }
        }
    }
}
