//! Attention of some query rows over the pages of one sequence, for one layer and one KV head.
//!
//! The rows are whatever shares keys and values: the query heads of a group, of one token when decoding and of a tile
//! of neighbouring tokens when processing a prompt. Every load of a key or a value serves all rows of a block. Scores
//! are never kept for more than a page: each row carries the largest score so far, the sum of its shares and the
//! mixed values, scaled to that largest score (the online softmax of Milakov and Gimelshein, 2018, as `FlashAttention`
//! uses it). Ranges of positions can so be computed apart and merged by [`merge`].
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(unsafe_code, reason = "kernels over computed places, chosen by what the processor has")]

use super::activations::for_each_isa;
use super::isa::Isa;
use super::kv::{KvCache, PAGE};
use super::lanes::{LANES, Lanes, Plain};

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
    let head_size = span.cache.layout.head_size;
    let count = rows.sees.len();
    // SAFETY: the caller's.
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
            let keys = span.cache.keys(span.pages[number], span.layer, span.head);
            // Positions of this page that any row sees: nothing behind them is read, it may be anybody's.
            let low = rows.sees.iter().map(|sees| sees.0 as usize).min().unwrap_or(0).max(span.from);
            let high = rows.sees.iter().map(|sees| sees.1 as usize + 1).max().unwrap_or(0).min(span.to);
            let (low, high) = (low.max(first) - first, high.min(first + PAGE).saturating_sub(first));
            if low >= high {
                continue;
            }
            scores::<V>(keys, head_size, rows.queries, count, shares);
            for row in 0..count {
                let (sees_from, sees_to) = rows.sees[row];
                let from = (sees_from as usize).max(span.from).max(first) - first;
                let to = (sees_to as usize + 1).min(span.to).min(first + PAGE).saturating_sub(first);
                let of_row = shares.add(row * PAGE);
                share::<V>(of_row, from, to, out, row, head_size);
            }
            mix::<V>(keys.add(PAGE * head_size), head_size, low, high, shares, count, out.mixed);
        }
    }
}

/// Scores of all rows against a page's 64 keys, `[rows][64]`.
#[inline(always)]
unsafe fn scores<V: Lanes>(
    keys: *const u16,
    head_size: usize,
    queries: *const f32,
    rows: usize,
    scores: *mut f32,
) {
    let mut row = 0;
    // SAFETY: rows and columns are within what the caller has.
    unsafe {
        while row < rows {
            let queries = queries.add(row * head_size);
            let to = scores.add(row * PAGE);
            // Sums of a block fill the registers: 6 × 4 of 32, or 3 × 2 pairs of 16.
            if V::REGISTERS >= 32 {
                row += match rows - row {
                    6.. => scores_of::<V, 6, 4>(keys, head_size, queries, to),
                    4.. => scores_of::<V, 4, 4>(keys, head_size, queries, to),
                    3 => scores_of::<V, 3, 4>(keys, head_size, queries, to),
                    2 => scores_of::<V, 2, 4>(keys, head_size, queries, to),
                    _ => scores_of::<V, 1, 4>(keys, head_size, queries, to),
                };
            } else {
                row += match rows - row {
                    3.. => scores_of::<V, 3, 1>(keys, head_size, queries, to),
                    2 => scores_of::<V, 2, 2>(keys, head_size, queries, to),
                    _ => scores_of::<V, 1, 4>(keys, head_size, queries, to),
                };
            }
        }
    }
}

/// Scores of `ROWS` rows, `WIDE` registers of positions at a time; says how many rows that were.
#[inline(always)]
unsafe fn scores_of<V: Lanes, const ROWS: usize, const WIDE: usize>(
    keys: *const u16,
    head_size: usize,
    queries: *const f32,
    to: *mut f32,
) -> usize {
    for part in (0..PAGE).step_by(WIDE * LANES) {
        // SAFETY: the caller's.
        unsafe {
            let mut sums = [[V::splat(0.0); WIDE]; ROWS];
            for element in 0..head_size {
                let mut key = [V::splat(0.0); WIDE];
                for (wide, key) in key.iter_mut().enumerate() {
                    *key = V::load_f16(keys.add(element * PAGE + part + wide * LANES));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let query = V::splat(*queries.add(row * head_size + element));
                    for (sum, key) in sums.iter_mut().zip(key) {
                        *sum = key.mul_add(query, *sum);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (wide, sum) in sums.into_iter().enumerate() {
                    sum.store(to.add(row * PAGE + part + wide * LANES));
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
    // SAFETY: the caller's.
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

/// Adds the values of positions `low..high` of a page to all rows, each by its share.
#[inline(always)]
unsafe fn mix<V: Lanes>(
    values: *const u16,
    head_size: usize,
    low: usize,
    high: usize,
    shares: *const f32,
    rows: usize,
    mixed: *mut f32,
) {
    let mut row = 0;
    // SAFETY: rows and columns are within what the caller has.
    unsafe {
        while row < rows {
            let shares = shares.add(row * PAGE);
            let to = mixed.add(row * head_size);
            let wide = V::REGISTERS >= 32;
            row += match rows - row {
                6.. if wide => mix_rows::<V, 6>(values, head_size, low, high, shares, to),
                4.. if wide => mix_rows::<V, 4>(values, head_size, low, high, shares, to),
                3.. => mix_rows::<V, 3>(values, head_size, low, high, shares, to),
                2 => mix_rows::<V, 2>(values, head_size, low, high, shares, to),
                _ => mix_rows::<V, 1>(values, head_size, low, high, shares, to),
            };
        }
    }
}

#[inline(always)]
unsafe fn mix_rows<V: Lanes, const ROWS: usize>(
    values: *const u16,
    head_size: usize,
    low: usize,
    high: usize,
    shares: *const f32,
    mixed: *mut f32,
) -> usize {
    let mut at = 0;
    // SAFETY: the caller's.
    unsafe {
        while at < head_size {
            let left = (head_size - at) / LANES;
            at += LANES
                * if V::REGISTERS >= 32 && left >= 4 {
                    mix_block::<V, ROWS, 4>(values, head_size, at, low, high, shares, mixed)
                } else if V::REGISTERS >= 32 && left >= 2 {
                    mix_block::<V, ROWS, 2>(values, head_size, at, low, high, shares, mixed)
                } else {
                    mix_block::<V, ROWS, 1>(values, head_size, at, low, high, shares, mixed)
                };
        }
    }
    ROWS
}

#[inline(always)]
unsafe fn mix_block<V: Lanes, const ROWS: usize, const WIDE: usize>(
    values: *const u16,
    head_size: usize,
    at: usize,
    low: usize,
    high: usize,
    shares: *const f32,
    mixed: *mut f32,
) -> usize {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::splat(0.0); WIDE]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (wide, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(mixed.add(row * head_size + at + wide * LANES));
            }
        }
        for position in low..high {
            let mut value = [V::splat(0.0); WIDE];
            for (wide, value) in value.iter_mut().enumerate() {
                *value = V::load_f16(values.add(position * head_size + at + wide * LANES));
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
    /// by the sum of shares.
    ///
    /// # Safety
    /// Each part must have a state and `head_size` mixed values, `to` room for as many.
    pub(super) unsafe fn merge(first: Partial, parts: usize, strides: (usize, usize), head_size: usize, to: *mut f32) =
        merge_parts
}

#[inline(always)]
unsafe fn merge_parts<V: Lanes>(
    first: Partial,
    parts: usize,
    strides: (usize, usize),
    head_size: usize,
    to: *mut f32,
) {
    let (state_stride, mixed_stride) = strides;
    // SAFETY: the caller's.
    unsafe {
        let largest = (0..parts).map(|part| *first.state.add(part * state_stride)).fold(LOWEST, f32::max);
        let mut sum = 0.0;
        for part in 0..parts {
            let state = first.state.add(part * state_stride);
            sum += *state.add(1) * (*state - largest).exp();
        }
        for at in (0..head_size).step_by(LANES) {
            let mut mixed = V::splat(0.0);
            for part in 0..parts {
                let weight = (*first.state.add(part * state_stride) - largest).exp() / sum;
                let values = V::load(first.mixed.add(part * mixed_stride + at));
                mixed = values.mul_add(V::splat(weight), mixed);
            }
            mixed.store(to.add(at));
        }
    }
}
