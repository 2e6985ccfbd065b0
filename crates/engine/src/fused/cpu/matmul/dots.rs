//! Quants of five and six bits, of super-blocks, and 4-bit floats, where the processor has dot products of bytes:
//! AVX-512 with VNNI.
//!
//! A super-block's integer scales become single precision with the f16 scale in them, once a block and sixteen rows;
//! only the two of a block of six bits are applied to the dot products, since their f16 scale can wait. A 4-bit float is looked up as twice its number, 16 too high.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(clippy::missing_safety_doc, reason = "said once, at the trait")]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use crate::model::TensorType;

use super::super::activations::{BLOCK_BYTES, numbers, tiles};
use super::super::bits::{PLANE, SUPER, fp4_above};
use super::super::lanes::Lanes;
use super::super::pack::{BLOCK, HALVES, Layout, ROWS, chunk_bytes};
use super::registers::{Ahead, Dots, half, number, plane, unpack_scales, word};
use super::{Input, Output};

/// Blocks of a super-block.
const SUBS: usize = SUPER / BLOCK;

/// Multiplies one group whose type is one of this file's.
///
/// # Safety
/// As [`super::multiply`]; the processor must have the instructions of `W`.
pub(super) unsafe fn multiply<W: Enabled>(layout: &Layout, group: *const u8, input: Input, to: Output) {
    // SAFETY: the caller's.
    unsafe {
        match layout.kind {
            TensorType::Q4_K => tiles_of::<W, Q4_K>(layout, group, input, to),
            TensorType::Q5_K => tiles_of::<W, Q5_K>(layout, group, input, to),
            TensorType::Q6_K => tiles_of::<W, Q6_K>(layout, group, input, to),
            TensorType::Q5_1 => tiles_of::<W, Q5_1>(layout, group, input, to),
            TensorType::MXFP4 => tiles_of::<W, MXFP4>(layout, group, input, to),
            _ => tiles_of::<W, Q5_0>(layout, group, input, to),
        }
    }
}

/// Formats as constants, so that the choice is made outside the loops.
const Q4_K: u8 = 0;
const Q5_K: u8 = 1;
const Q6_K: u8 = 2;
const Q5_0: u8 = 3;
const Q5_1: u8 = 4;
const MXFP4: u8 = 5;

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
            // SAFETY: the caller's; the instructions are enabled here.
            unsafe { tile_of::<super::registers::Whole, FORMAT, TOKENS>(layout, group, tile, to) };
        }
        // SAFETY: the caller's: the processor has the instructions.
        unsafe { enabled::<FORMAT, TOKENS>(layout, group, tile, to) };
    }
}

#[cfg(test)]
impl Enabled for super::registers::plain::Register {
    unsafe fn tile<const FORMAT: u8, const TOKENS: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        to: Output,
    ) {
        // SAFETY: the caller's.
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
    for (first, width) in tiles(input.tokens) {
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

/// A block's eight fours, each with its number as a constant.
///
/// The compiler leaves a loop over them rolled: then the format is decoded at run time, and sums whose index is not a
/// constant live on the stack instead of in registers.
macro_rules! for_each_four {
    ($four:ident => $body:block) => {
        for_each_four!(@ $four, $body, 0, 1, 2, 3, 4, 5, 6, 7)
    };
    (@ $four:ident, $body:block, $($number:literal),*) => {
        $({
            const $four: usize = $number;
            $body
        })*
    };
}

/// What a block's dot products are multiplied with, sixteen rows each.
struct Scales<V> {
    scale: V,
    /// Of the first and second half of a block of six bits.
    factors: [V; 2],
    minimum: V,
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
        let [scale_at, _, _, sum_at, ..] = numbers(TOKENS);
        let planes = match FORMAT {
            Q4_K | MXFP4 => 4,
            Q6_K => 6,
            _ => 5,
        };
        let mut unpacked = [0u8; 2 * SUBS * ROWS];
        let mut sums = [W::Numbers::splat(0.0); TOKENS];
        let ahead = Ahead::new(layout, group);
        for block in 0..layout.columns / BLOCK {
            let tile = tile.add(block * TOKENS * BLOCK_BYTES);
            let chunk = group.add(layout.scales + block / SUBS * chunk_bytes(layout.kind));
            if block % SUBS == 0 && (FORMAT == Q4_K || FORMAT == Q5_K) {
                unpack_scales::<W>(chunk.add(2 * HALVES), unpacked.as_mut_ptr());
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
                }
            }
            for_each_four!(FOUR => {
                let quants = quants::<W, FORMAT, FOUR>(at);
                // Two chains where one token's would wait for itself, or where each half has its factor.
                let part = if FORMAT == Q6_K || TOKENS == 1 { FOUR / 4 } else { 0 };
                for token in 0..TOKENS {
                    let x = word(tile.add((FOUR * TOKENS + token) * 4));
                    parts[part][token] = parts[part][token].dot(quants, x);
                }
            });
            for token in 0..TOKENS {
                let at = tile.add(token * 4);
                let dot = if FORMAT == Q6_K {
                    let first = parts[0][token].numbers().mul(scales.factors[0]);
                    parts[1][token].numbers().mul_add(scales.factors[1], first)
                } else if TOKENS == 1 {
                    parts[0][token].add(parts[1][token]).numbers()
                } else {
                    parts[0][token].numbers()
                };
                sums[token] = dot.mul_add(scales.scale.mul(number::<W>(at.add(scale_at))), sums[token]);
                if FORMAT != Q6_K && FORMAT != Q5_0 && FORMAT != MXFP4 {
                    sums[token] = scales.minimum.mul_add(number::<W>(at.add(sum_at)), sums[token]);
                }
            }
        }
        for (token, sum) in sums.into_iter().enumerate() {
            sum.store(to.first.add(token * to.stride));
        }
    }
}

/// A byte everywhere.
#[inline(always)]
unsafe fn bytes<W: Dots>(byte: u8) -> W {
    // SAFETY: the caller's.
    unsafe { W::splat(i32::from_ne_bytes([byte; 4])) }
}

/// Four quants of each row, from the planes of a block; see [`bits`](super::super::bits).
#[inline(always)]
unsafe fn quants<W: Dots, const FORMAT: u8, const FOUR: usize>(at: *const u8) -> W {
    // SAFETY: the caller's.
    unsafe {
        match (FORMAT, FOUR) {
            (Q4_K | MXFP4, _) => {
                let both: W = plane(at, FOUR % 4);
                let codes = if FOUR < 4 { both } else { both.down::<4>() }.and(bytes(0x0f));
                if FORMAT == MXFP4 { codes.of_table(W::table(&const { fp4_above(16) })) } else { codes }
            }
            (Q6_K, 3 | 7) => {
                let first = FOUR / 4 * 3;
                let upper = bytes(0xc0);
                let (a, b) = (plane::<W>(at, first).and(upper), plane::<W>(at, first + 1).and(upper));
                let c = plane::<W>(at, first + 2).and(upper);
                a.or(b.down::<2>()).or(c.down::<4>()).down::<2>()
            }
            (Q6_K, _) => plane::<W>(at, FOUR - FOUR / 4).and(bytes(0x3f)),
            (_, 0..5) => plane::<W>(at, FOUR).and(bytes(0x1f)),
            (_, 5 | 6) => {
                let low = plane::<W>(at, FOUR - 2).and(bytes(0xc0)).down::<6>();
                plane::<W>(at, FOUR - 5).and(bytes(0xe0)).down::<3>().or(low)
            }
            (_, _) => {
                let low = plane::<W>(at, 3)
                    .and(bytes(0x20))
                    .down::<4>()
                    .or(plane::<W>(at, 4).and(bytes(0x20)).down::<5>());
                plane::<W>(at, 2).and(bytes(0xe0)).down::<3>().or(low)
            }
        }
    }
}

#[inline(always)]
unsafe fn scales<W: Dots, const FORMAT: u8>(
    layout: &Layout,
    group: *const u8,
    chunk: *const u8,
    block: usize,
    unpacked: *const u8,
) -> Scales<W::Numbers> {
    // SAFETY: the caller's.
    unsafe {
        let zero = W::Numbers::splat(0.0);
        let none = Scales { scale: zero, factors: [zero; 2], minimum: zero };
        match FORMAT {
            Q4_K | Q5_K => {
                let at = unpacked.add(block % SUBS * ROWS);
                let scale = half::<W>(chunk).mul(W::bytes(at));
                let minimum = zero.sub(half::<W>(chunk.add(HALVES)).mul(W::bytes(at.add(SUBS * ROWS))));
                Scales { scale, minimum, ..none }
            }
            Q6_K => {
                let at = chunk.add(HALVES + block % SUBS * 2 * ROWS).cast::<i8>();
                let factors = [W::Numbers::load_i8(at), W::Numbers::load_i8(at.add(ROWS))];
                Scales { scale: half::<W>(chunk), factors, ..none }
            }
            MXFP4 => {
                let powers = W::Numbers::load_powers(group.add(layout.scales + block * ROWS));
                Scales { scale: powers.mul(W::Numbers::splat(0.5)), ..none }
            }
            _ => {
                let scale = half::<W>(group.add(layout.scales + block * HALVES));
                let minimum =
                    if FORMAT == Q5_1 { half::<W>(group.add(layout.minima + block * HALVES)) } else { zero };
                Scales { scale, minimum, ..none }
            }
        }
    }
}
