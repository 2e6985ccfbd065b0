//! Weights in F32, F16 and BF16, each converted exactly, times activations in single precision.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(clippy::cast_ptr_alignment, reason = "groups are aligned to 64 bytes")]

use crate::model::TensorType;

use super::super::activations::{for_each_isa, tiles};
use super::super::isa::Isa;
use super::super::lanes::{LANES, Lanes, Plain};
use super::super::pack::Layout;
use super::{Input, Output};

/// Formats as constants, so that the choice is made outside the loops.
const F32: u8 = 0;
const F16: u8 = 1;
const BF16: u8 = 2;

for_each_isa! {
    /// Multiplies one group.
    ///
    /// # Safety
    /// As [`super::multiply`].
    pub(super) unsafe fn multiply(layout: &Layout, group: *const u8, input: Input, to: Output) = group_of
}

#[inline(always)]
unsafe fn group_of<V: Lanes>(layout: &Layout, group: *const u8, input: Input, to: Output) {
    // SAFETY: the caller's.
    unsafe {
        match layout.kind {
            TensorType::F32 => tiles_of::<V, F32>(layout.columns, group, input, to),
            TensorType::F16 => tiles_of::<V, F16>(layout.columns, group, input, to),
            _ => tiles_of::<V, BF16>(layout.columns, group, input, to),
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
