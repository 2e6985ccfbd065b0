//! Weights in F32, F16 and BF16, each converted exactly, times activations in single precision.
//!
//! Few tokens take each weight as it is read. Many take it from a piece of the matrix that was converted once and
//! stays in the first cache while all tokens pass; there two groups side by side share each activation's load, where
//! the registers hold their sums. A row's products are added in the order of the columns, but for a token alone.
//!
//! # Safety of this module
//! That of [`multiply`](super::multiply): the groups lie within the matrix, their rows within the output, and the tokens
//! within the input. Besides, the processor must have what `V` needs.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(clippy::cast_ptr_alignment, reason = "groups are aligned to 64 bytes")]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use std::ops::Range;

use crate::model::TensorType;

use super::super::activations::tiles;
use super::super::isa::EIGHT;
use super::super::lanes::{LANES, Lanes, ask_as, for_each_isa};
use super::super::pack::ROWS;
use super::super::prefetch::{Prefetch, hint};
use super::{Input, Output, Weights};

/// Formats as constants, so that the choice is made outside the loops.
const F32: u8 = 0;
const F16: u8 = 1;
const BF16: u8 = 2;

/// From so many tokens on, converting a piece once pays.
const MANY: usize = 16;
/// Columns of a piece. Of two groups in single precision these are 16 KiB, half of the first cache.
const PIECE: usize = 128;

for_each_isa! {
    /// Multiplies the rows of `groups`.
    ///
    /// # Safety
    /// As [`super::multiply`].
    pub(super) unsafe fn multiply(weights: Weights, groups: Range<usize>, input: Input, output: Output) = groups_of
}

#[inline(always)]
unsafe fn groups_of<V: Lanes>(weights: Weights, groups: Range<usize>, input: Input, output: Output) {
    // SAFETY: matrix, input and output are as the module asks, and the processor has what `V` needs.
    unsafe {
        match weights.layout.kind {
            TensorType::F32 => groups_in::<V, F32>(weights, groups, input, output),
            TensorType::F16 => groups_in::<V, F16>(weights, groups, input, output),
            TensorType::BF16 => groups_in::<V, BF16>(weights, groups, input, output),
            other => unreachable!("no kernel for {other}"),
        }
    }
}

#[inline(always)]
unsafe fn groups_in<V: Lanes, const FORMAT: u8>(
    weights: Weights,
    groups: Range<usize>,
    input: Input,
    output: Output,
) {
    let mut group = groups.start;
    while group < groups.end {
        // SAFETY: the groups lie within the matrix, their rows within the output.
        unsafe {
            let bytes = weights.groups.add(group * weights.layout.group_bytes);
            let to = Output { first: output.first.add(group * ROWS), ..output };
            if input.tokens < MANY {
                let (columns, prefetch) = (0..weights.layout.columns, weights.layout.prefetch);
                let whole = Part { groups: bytes, stride: 0, columns, prefetch };
                tiles_of::<V, FORMAT, 1>(&whole, input, to);
                group += 1;
            } else if V::REGISTERS >= 32 && group + 2 <= groups.end {
                pieces_of::<V, FORMAT, 2>(weights, bytes, input, to);
                group += 2;
            } else {
                pieces_of::<V, FORMAT, 1>(weights, bytes, input, to);
                group += 1;
            }
        }
    }
}

/// Some columns of some groups.
struct Part {
    /// The first of these columns, of the first group.
    groups: *const u8,
    /// Bytes from one group to the next.
    stride: usize,
    /// Which columns of the matrix they are.
    columns: Range<usize>,
    /// How a token alone asks for the weights.
    prefetch: Prefetch,
}

/// A piece of up to two groups in single precision.
#[repr(align(64))]
struct Piece([f32; 2 * PIECE * LANES]);

#[inline(always)]
unsafe fn pieces_of<V: Lanes, const FORMAT: u8, const GROUPS: usize>(
    weights: Weights,
    group: *const u8,
    input: Input,
    to: Output,
) {
    let columns = weights.layout.columns;
    let mut piece = Piece([0.0; 2 * PIECE * LANES]);
    let stride = PIECE * LANES * size_of::<f32>();
    for from in (0..columns).step_by(PIECE) {
        let until = columns.min(from + PIECE);
        // SAFETY: the columns are within the groups and the piece has room for them; input and output are as the module
        // asks.
        unsafe {
            for of in 0..GROUPS {
                let group = group.add(of * weights.layout.group_bytes);
                let to = piece.0.as_mut_ptr().add(of * PIECE * LANES);
                for k in from..until {
                    self::weights::<V, FORMAT>(group, k).store(to.add((k - from) * LANES));
                }
            }
            let (groups, prefetch) = (piece.0.as_ptr().cast(), Prefetch::Off);
            let part = Part { groups, stride, columns: from..until, prefetch };
            tiles_of::<V, F32, GROUPS>(&part, input, to);
        }
    }
}

/// The products of a part of a matrix with all tokens.
#[inline(always)]
unsafe fn tiles_of<V: Lanes, const FORMAT: u8, const GROUPS: usize>(part: &Part, input: Input, to: Output) {
    for (first, width) in tiles(input.tokens, EIGHT) {
        // SAFETY: the tokens are within the input, their rows within the output.
        unsafe {
            let stride = input.stride;
            let rows = input.rows.add(first * stride + part.columns.start);
            let to = Output { first: to.first.add(first * to.stride), ..to };
            match width {
                // Eight sums of sixteen lanes are all the registers that AVX2 has.
                8 if V::REGISTERS < 32 => {
                    some::<V, FORMAT, GROUPS, 4>(part, rows, stride, to);
                    let to = Output { first: to.first.add(4 * to.stride), ..to };
                    some::<V, FORMAT, GROUPS, 4>(part, rows.add(4 * stride), stride, to);
                }
                8 => some::<V, FORMAT, GROUPS, 8>(part, rows, stride, to),
                4 => some::<V, FORMAT, GROUPS, 4>(part, rows, stride, to),
                2 => some::<V, FORMAT, GROUPS, 2>(part, rows, stride, to),
                _ if input.tokens < MANY => one::<V, FORMAT>(part, rows, to),
                _ => some::<V, FORMAT, GROUPS, 1>(part, rows, stride, to),
            }
        }
    }
}

/// Sixteen weights of column `k`.
#[inline(always)]
unsafe fn weights<V: Lanes, const FORMAT: u8>(group: *const u8, k: usize) -> V {
    // SAFETY: `k` is a column of the group, by this module's contract.
    unsafe {
        match FORMAT {
            F32 => V::load(group.cast::<f32>().add(k * LANES)),
            F16 => V::load_f16(group.cast::<u16>().add(k * LANES)),
            _ => V::load_bf16(group.cast::<u16>().add(k * LANES)),
        }
    }
}

/// Adds the products to the sums in the output, or begins them; `stride` elements from one row of the input to the next.
#[inline(always)]
unsafe fn some<V: Lanes, const FORMAT: u8, const GROUPS: usize, const TOKENS: usize>(
    part: &Part,
    rows: *const f32,
    stride: usize,
    to: Output,
) {
    // SAFETY: there are `TOKENS` rows of the part's columns, and of `GROUPS` groups of outputs, by this module's contract.
    unsafe {
        let mut sums = [[V::splat(0.0); GROUPS]; TOKENS];
        if part.columns.start > 0 {
            for token in 0..TOKENS {
                for group in 0..GROUPS {
                    sums[token][group] = V::load(to.first.add(token * to.stride + group * ROWS));
                }
            }
        }
        for k in 0..part.columns.len() {
            let mut weights = [V::splat(0.0); GROUPS];
            for group in 0..GROUPS {
                weights[group] = self::weights::<V, FORMAT>(part.groups.add(group * part.stride), k);
            }
            for token in 0..TOKENS {
                let x = V::splat(*rows.add(token * stride + k));
                for group in 0..GROUPS {
                    sums[token][group] = weights[group].mul_add(x, sums[token][group]);
                }
            }
        }
        for token in 0..TOKENS {
            for group in 0..GROUPS {
                sums[token][group].store(to.first.add(token * to.stride + group * ROWS));
            }
        }
    }
}

/// One token: four sums side by side, since each addition waits for the one before. Columns are a multiple of 32.
#[inline(always)]
unsafe fn one<V: Lanes, const FORMAT: u8>(part: &Part, row: *const f32, to: Output) {
    const CHAINS: usize = 4;
    let bytes = LANES * if FORMAT == F32 { 4 } else { 2 };
    let (group, ahead) = (part.groups, part.prefetch.ahead());
    // SAFETY: the row has the part's columns, and the output one group, by this module's contract.
    unsafe {
        let mut sums = [V::splat(0.0); CHAINS];
        for k in (0..part.columns.len()).step_by(CHAINS) {
            let at = group.wrapping_add(k * bytes + ahead);
            match part.prefetch {
                Prefetch::AllCaches => ask_as::<V, { hint::ALL }>(at, CHAINS * bytes),
                Prefetch::SecondCache => ask_as::<V, { hint::SECOND }>(at, CHAINS * bytes),
                Prefetch::NonTemporal => ask_as::<V, { hint::PAST }>(at, CHAINS * bytes),
                Prefetch::Off => {}
            }
            for (chain, sum) in sums.iter_mut().enumerate() {
                *sum = weights::<V, FORMAT>(group, k + chain).mul_add(V::splat(*row.add(k + chain)), *sum);
            }
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).store(to.first);
    }
}
