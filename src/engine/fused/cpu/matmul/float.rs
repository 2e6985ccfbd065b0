//! Weights in F32, F16 and BF16, each converted exactly, times activations in single precision.
//!
//! Few tokens take each weight as it is read. Many take it from a piece of the matrix that was converted once and
//! stays in the first cache while all tokens pass; there two groups side by side share each activation's load, where
//! the registers hold their sums. A row's products are added in the order of the columns, but for a token alone.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(clippy::cast_ptr_alignment, reason = "groups are aligned to 64 bytes")]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use std::ops::Range;

use crate::model::TensorType;

use super::super::activations::{for_each_isa, tiles};
use super::super::isa::Isa;
use super::super::lanes::{LANES, Lanes, Plain};
use super::super::pack::ROWS;
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
    // SAFETY: the caller's.
    unsafe {
        match weights.layout.kind {
            TensorType::F32 => groups_in::<V, F32>(weights, groups, input, output),
            TensorType::F16 => groups_in::<V, F16>(weights, groups, input, output),
            _ => groups_in::<V, BF16>(weights, groups, input, output),
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
    let (mut group, columns) = (groups.start, weights.layout.columns);
    while group < groups.end {
        // SAFETY: the groups lie within the matrix, their rows within the output.
        unsafe {
            let bytes = weights.groups.add(group * weights.layout.group_bytes);
            let to = Output { first: output.first.add(group * ROWS), ..output };
            if input.tokens < MANY {
                tiles_of::<V, FORMAT>(columns, bytes, input, to);
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

/// A piece of up to two groups in single precision, column by column.
#[repr(align(64))]
struct Piece([f32; PIECE * 2 * LANES]);

#[inline(always)]
unsafe fn pieces_of<V: Lanes, const FORMAT: u8, const GROUPS: usize>(
    weights: Weights,
    group: *const u8,
    input: Input,
    to: Output,
) {
    let columns = weights.layout.columns;
    let mut piece = Piece([0.0; PIECE * 2 * LANES]);
    for from in (0..columns).step_by(PIECE) {
        let length = PIECE.min(columns - from);
        // SAFETY: the columns are within the groups, the tokens within the input, their rows within the output.
        unsafe {
            for k in 0..length {
                for of in 0..GROUPS {
                    let group = group.add(of * weights.layout.group_bytes);
                    let at = piece.0.as_mut_ptr().add((k * GROUPS + of) * LANES);
                    self::weights::<V, FORMAT>(group, from + k).store(at);
                }
            }
            let piece = &piece.0[..length * GROUPS * LANES];
            for (first, width) in tiles(input.tokens) {
                let rows = input.rows.add(first * columns + from);
                let to = Output { first: to.first.add(first * to.stride), ..to };
                let begins = from == 0;
                match width {
                    8 if V::REGISTERS < 32 => {
                        tile_of_piece::<V, GROUPS, 4>(piece, rows, columns, begins, to);
                        let to = Output { first: to.first.add(4 * to.stride), ..to };
                        tile_of_piece::<V, GROUPS, 4>(piece, rows.add(4 * columns), columns, begins, to);
                    }
                    8 => tile_of_piece::<V, GROUPS, 8>(piece, rows, columns, begins, to),
                    4 => tile_of_piece::<V, GROUPS, 4>(piece, rows, columns, begins, to),
                    2 => tile_of_piece::<V, GROUPS, 2>(piece, rows, columns, begins, to),
                    _ => tile_of_piece::<V, GROUPS, 1>(piece, rows, columns, begins, to),
                }
            }
        }
    }
}

/// Adds a piece's products to the sums in the output, or begins them; `stride` elements from one token's row to the next.
#[inline(always)]
unsafe fn tile_of_piece<V: Lanes, const GROUPS: usize, const TOKENS: usize>(
    piece: &[f32],
    rows: *const f32,
    stride: usize,
    begins: bool,
    to: Output,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[V::splat(0.0); GROUPS]; TOKENS];
        if !begins {
            for token in 0..TOKENS {
                for group in 0..GROUPS {
                    sums[token][group] = V::load(to.first.add(token * to.stride + group * ROWS));
                }
            }
        }
        for k in 0..piece.len() / (GROUPS * LANES) {
            let mut weights = [V::splat(0.0); GROUPS];
            for group in 0..GROUPS {
                weights[group] = V::load(piece.as_ptr().add((k * GROUPS + group) * LANES));
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

#[inline(always)]
unsafe fn tiles_of<V: Lanes, const FORMAT: u8>(columns: usize, group: *const u8, input: Input, to: Output) {
    for (first, width) in tiles(input.tokens) {
        // SAFETY: the tokens are within the input, their rows within the output.
        unsafe {
            let rows = input.rows.add(first * columns);
            let to = Output { first: to.first.add(first * to.stride), ..to };
            match width {
                // Eight sums of sixteen lanes are all the registers that AVX2 has.
                8 if V::REGISTERS < 32 => {
                    some::<V, FORMAT, 4>(columns, group, rows, to);
                    let to = Output { first: to.first.add(4 * to.stride), ..to };
                    some::<V, FORMAT, 4>(columns, group, rows.add(4 * columns), to);
                }
                8 => some::<V, FORMAT, 8>(columns, group, rows, to),
                4 => some::<V, FORMAT, 4>(columns, group, rows, to),
                2 => some::<V, FORMAT, 2>(columns, group, rows, to),
                _ => one::<V, FORMAT>(columns, group, rows, to),
            }
        }
    }
}

/// Sixteen weights of column `k`.
#[inline(always)]
unsafe fn weights<V: Lanes, const FORMAT: u8>(group: *const u8, k: usize) -> V {
    // SAFETY: the caller's: `k` is a column of the group.
    unsafe {
        match FORMAT {
            F32 => V::load(group.cast::<f32>().add(k * LANES)),
            F16 => V::load_f16(group.cast::<u16>().add(k * LANES)),
            _ => V::load_bf16(group.cast::<u16>().add(k * LANES)),
        }
    }
}

#[inline(always)]
unsafe fn some<V: Lanes, const FORMAT: u8, const TOKENS: usize>(
    columns: usize,
    group: *const u8,
    rows: *const f32,
    to: Output,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [V::splat(0.0); TOKENS];
        for k in 0..columns {
            let weights = weights::<V, FORMAT>(group, k);
            for (token, sum) in sums.iter_mut().enumerate() {
                *sum = weights.mul_add(V::splat(*rows.add(token * columns + k)), *sum);
            }
        }
        for (token, sum) in sums.into_iter().enumerate() {
            sum.store(to.first.add(token * to.stride));
        }
    }
}

/// One token: four sums side by side, since each addition waits for the one before. Columns are a multiple of 32.
#[inline(always)]
unsafe fn one<V: Lanes, const FORMAT: u8>(columns: usize, group: *const u8, row: *const f32, to: Output) {
    const CHAINS: usize = 4;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [V::splat(0.0); CHAINS];
        for k in (0..columns).step_by(CHAINS) {
            for (chain, sum) in sums.iter_mut().enumerate() {
                *sum = weights::<V, FORMAT>(group, k + chain).mul_add(V::splat(*row.add(k + chain)), *sum);
            }
        }
        sums[0].add(sums[1]).add(sums[2].add(sums[3])).store(to.first);
    }
}
