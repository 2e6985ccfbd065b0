//! Quants of two, three, five and six bits, of super-blocks, 4-bit floats and looked-up numbers, where the processor has
//! dot products of bytes: AVX-512 with VNNI. What the bytes say is [`formats`](super::formats)'.
//!
//! # Safety of this module
//! That of [`multiply`](super::multiply): the group lies within the matrix, its rows within the output, and the tiles within
//! the activations, each as its layout says. Besides, the processor must have what `W` needs.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use crate::model::TensorType;

use super::super::activations::{BLOCK_BYTES, numbers, tiles};
use super::super::bits::PLANE;
use super::super::isa::EIGHT;
use super::super::lanes::Lanes;
use super::super::pack::{BLOCK, Layout, ROWS, chunk_bytes};
use super::formats::{
    IQ4_NL, IQ4_XS, MXFP4, Q2_K, Q3_K, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, SUBS, for_each_four, planes, quants,
    scaled, scales, unpack,
};
use super::registers::{Ahead, Dots, word};
use super::{Input, Output};

/// Multiplies one group whose type is one of this file's.
///
/// # Safety
/// As [`super::multiply`]; the processor must have the instructions of `W`.
pub(super) unsafe fn multiply<W: Enabled>(layout: &Layout, group: *const u8, input: Input, to: Output) {
    // SAFETY: group, input and output are as the module asks, and the processor has what `W` needs.
    unsafe {
        match layout.kind {
            TensorType::Q4_K => tiles_of::<W, Q4_K>(layout, group, input, to),
            TensorType::Q5_K => tiles_of::<W, Q5_K>(layout, group, input, to),
            TensorType::Q6_K => tiles_of::<W, Q6_K>(layout, group, input, to),
            TensorType::Q5_1 => tiles_of::<W, Q5_1>(layout, group, input, to),
            TensorType::MXFP4 => tiles_of::<W, MXFP4>(layout, group, input, to),
            TensorType::Q2_K => tiles_of::<W, Q2_K>(layout, group, input, to),
            TensorType::Q3_K => tiles_of::<W, Q3_K>(layout, group, input, to),
            TensorType::IQ4_NL => tiles_of::<W, IQ4_NL>(layout, group, input, to),
            TensorType::IQ4_XS => tiles_of::<W, IQ4_XS>(layout, group, input, to),
            TensorType::Q5_0 => tiles_of::<W, Q5_0>(layout, group, input, to),
            other => unreachable!("no kernel for {other}"),
        }
    }
}

/// Registers whose instructions a function enables.
pub(super) trait Enabled: Dots {
    /// [`tile_of`]. A function for each format and width, since the compiler stops inlining the instructions where one
    /// holds them all.
    unsafe fn tile<const FORMAT: u8, const TOKENS: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        to: Output,
    );
}

#[cfg(target_arch = "x86_64")]
impl Enabled for super::registers::Whole {
    unsafe fn tile<const FORMAT: u8, const TOKENS: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        to: Output,
    ) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        unsafe fn enabled<const FORMAT: u8, const TOKENS: usize>(
            layout: &Layout,
            group: *const u8,
            tile: *const u8,
            to: Output,
        ) {
            // SAFETY: group, tile and output are as the module asks, and the instructions are enabled here.
            unsafe { tile_of::<super::registers::Whole, FORMAT, TOKENS>(layout, group, tile, to) };
        }
        // SAFETY: the processor has what `W` needs, by this module's contract.
        unsafe { enabled::<FORMAT, TOKENS>(layout, group, tile, to) };
    }
}

#[cfg(test)]
impl Enabled for super::registers::Register {
    unsafe fn tile<const FORMAT: u8, const TOKENS: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        to: Output,
    ) {
        // SAFETY: group, tile and output are as the module asks; plain Rust needs no instructions.
        unsafe { tile_of::<Self, FORMAT, TOKENS>(layout, group, tile, to) };
    }
}

unsafe fn tiles_of<W: Enabled, const FORMAT: u8>(
    layout: &Layout,
    group: *const u8,
    input: Input,
    to: Output,
) {
    let blocks = layout.columns / BLOCK;
    for (first, width) in tiles(input.tokens, EIGHT) {
        // SAFETY: the tile lies within the activations, its rows within the output.
        unsafe {
            let tile = input.tiles.add(first * blocks * BLOCK_BYTES);
            let to = Output { first: to.first.add(first * to.stride), ..to };
            match width {
                8 => W::tile::<FORMAT, 8>(layout, group, tile, to),
                4 => W::tile::<FORMAT, 4>(layout, group, tile, to),
                2 => W::tile::<FORMAT, 2>(layout, group, tile, to),
                _ => W::tile::<FORMAT, 1>(layout, group, tile, to),
            }
        }
    }
}

#[inline(always)]
unsafe fn tile_of<W: Dots, const FORMAT: u8, const TOKENS: usize>(
    layout: &Layout,
    group: *const u8,
    tile: *const u8,
    to: Output,
) {
    // SAFETY: all places lie within the group and the tile, by their layouts.
    unsafe {
        let planes = planes(FORMAT);
        let mut unpacked = [0u8; 2 * SUBS * ROWS];
        let mut sums = [W::Numbers::splat(0.0); TOKENS];
        let ahead = Ahead::new(layout, group, TOKENS);
        for block in 0..layout.columns / BLOCK {
            let tile = tile.add(block * TOKENS * BLOCK_BYTES);
            let chunk = group.add(layout.scales + block / SUBS * chunk_bytes(layout.kind));
            if block % SUBS == 0 {
                unpack::<W, FORMAT>(chunk, unpacked.as_mut_ptr());
            }
            let scales = scales::<W, FORMAT>(layout, group, chunk, block, unpacked.as_ptr());
            let at = group.add(block * planes * PLANE);
            ahead.ask::<W, TOKENS>(block, planes);
            let starts = numbers(TOKENS);
            let mut parts = [[W::splat(0); TOKENS]; 2];
            for token in 0..TOKENS {
                let at = tile.add(token * 4);
                if FORMAT == Q6_K {
                    parts[0][token] = word::<W>(at.add(starts[4])).pair_sums();
                    parts[1][token] = word::<W>(at.add(starts[5])).pair_sums();
                } else if FORMAT == Q5_0 || FORMAT == MXFP4 {
                    // −8·Σ twice.
                    let start: W = word(at.add(starts[1]));
                    parts[0][token] = start.add(start);
                } else if FORMAT == Q3_K || FORMAT == IQ4_NL || FORMAT == IQ4_XS {
                    parts[0][token] = word(at.add(starts[2]));
                }
            }
            for_each_four!(FOUR => {
                let quants = quants::<W, FORMAT, FOUR>(at, &scales);
                // Two chains where one token's would wait for itself, or where each half has its factor.
                let part = if FORMAT == Q6_K || TOKENS == 1 { FOUR / 4 } else { 0 };
                for token in 0..TOKENS {
                    let x = word(tile.add((FOUR * TOKENS + token) * 4));
                    parts[part][token] = parts[part][token].dot(quants, x);
                }
            });
            for token in 0..TOKENS {
                let mut dots = [parts[0][token], parts[1][token]];
                if TOKENS == 1 && FORMAT != Q6_K {
                    dots[0] = dots[0].add(dots[1]);
                }
                sums[token] = scaled::<W, FORMAT>(sums[token], dots, &scales, tile.add(token * 4), TOKENS);
            }
        }
        for (token, sum) in sums.into_iter().enumerate() {
            sum.store(to.first.add(token * to.stride));
        }
    }
}
