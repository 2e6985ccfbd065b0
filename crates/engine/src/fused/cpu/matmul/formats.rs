//! Formats of quantized weights where the processor has dot products of bytes: what a block's bytes say, in registers.
//!
//! A super-block's integer scales become single precision with the f16 scale in them, once a block and sixteen rows; that
//! is exact for the two of a block of six bits, which have 19 bits then. Two scales of a block of two or three bits are
//! multiplied with its quants instead: a scaled quant still fits a byte, so that one dot product serves the block. Two
//! bytes are multiplied at once as a number of 16 bits, since no product reaches beyond its byte; with 3 bits it is minus
//! the scale times (quant − 4), and 128 more, which lies between 0 and 252. A 4-bit float is looked up as twice its
//! number, 16 too high, the numbers of `IQ4` 128 too high.
//!
//! # Safety of this module
//! The processor must have what `W` needs, and what a pointer is for says how far it must be good, as the group's layout
//! has it.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]

use super::super::activations::numbers;
use super::super::bits::{SUPER, fp4_above, iq4_above};
use super::super::lanes::Lanes;
use super::super::pack::{BLOCK, HALVES, Layout, ROWS};
use super::registers::{Dots, half, number, plane, unpack_iq4_scales, unpack_q3_scales, unpack_scales, word};

/// Blocks of a super-block.
pub(super) const SUBS: usize = SUPER / BLOCK;

/// Formats as constants, so that the choice is made outside the loops.
pub(super) const Q4_K: u8 = 0;
pub(super) const Q5_K: u8 = 1;
pub(super) const Q6_K: u8 = 2;
pub(super) const Q5_0: u8 = 3;
pub(super) const Q5_1: u8 = 4;
pub(super) const MXFP4: u8 = 5;
pub(super) const Q2_K: u8 = 6;
pub(super) const Q3_K: u8 = 7;
pub(super) const IQ4_NL: u8 = 8;
pub(super) const IQ4_XS: u8 = 9;
pub(super) const Q4_0: u8 = 10;
pub(super) const Q4_1: u8 = 11;
pub(super) const Q8_0: u8 = 12;

/// Planes of a block.
pub(super) const fn planes(format: u8) -> usize {
    match format {
        Q2_K => 2,
        Q3_K => 3,
        Q4_K | MXFP4 | IQ4_NL | IQ4_XS | Q4_0 | Q4_1 => 4,
        Q6_K => 6,
        Q8_0 => 8,
        _ => 5,
    }
}

/// Whether a block has a minimum for all of it, which is multiplied with the sum of its activations.
pub(super) const fn has_minimum(format: u8) -> bool {
    matches!(format, Q4_K | Q5_K | Q4_1 | Q5_1)
}

/// By how much a block's quants are too high, since a byte without sign holds them.
pub(super) const fn above(format: u8) -> u8 {
    match format {
        Q4_0 => 8,
        Q5_0 | MXFP4 => 16,
        Q6_K => 32,
        Q3_K | IQ4_NL | IQ4_XS | Q8_0 => 128,
        _ => 0,
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
pub(super) use for_each_four;

/// What a block's dot products are multiplied with, sixteen rows each.
pub(super) struct Scales<W: Dots> {
    pub(super) scale: W::Numbers,
    pub(super) minimum: W::Numbers,
    /// Of the first and second half of a block of six bits.
    pub(super) halves: [W::Numbers; 2],
    /// What the quants of each half of a block of two or three bits are multiplied with, and what is added to them.
    pub(super) times: [W; 2],
    pub(super) above: [W; 2],
    /// Minima of each half of a block of two bits.
    pub(super) minima: [W; 2],
}

/// A byte everywhere.
#[inline(always)]
unsafe fn bytes<W: Dots>(byte: u8) -> W {
    // SAFETY: the processor has what `W` needs, by this module's contract.
    unsafe { W::splat(i32::from_ne_bytes([byte; 4])) }
}

/// Four quants of each row, from the planes of a block; see [`bits`](super::super::bits).
#[inline(always)]
pub(super) unsafe fn quants<W: Dots, const FORMAT: u8, const FOUR: usize>(
    at: *const u8,
    scales: &Scales<W>,
) -> W {
    // SAFETY: the block has the planes of its format, and the processor what `W` needs, by this module's contract.
    unsafe {
        match (FORMAT, FOUR) {
            (Q4_K | MXFP4 | IQ4_NL | IQ4_XS | Q4_0 | Q4_1, _) => {
                let both: W = plane(at, FOUR % 4);
                let codes = if FOUR < 4 { both } else { both.down::<4>() }.and(bytes(0x0f));
                match FORMAT {
                    MXFP4 => codes.of_table(W::table(&const { fp4_above(16) })),
                    IQ4_NL | IQ4_XS => codes.of_table(W::table(&const { iq4_above() })),
                    _ => codes,
                }
            }
            (Q8_0, _) => plane(at, FOUR),
            (Q2_K, _) => {
                let all: W = plane(at, FOUR / 4);
                let moved = match FOUR % 4 {
                    0 => all,
                    1 => all.down::<2>(),
                    2 => all.down::<4>(),
                    _ => all.down::<6>(),
                };
                moved.and(bytes(3)).times_16(scales.times[FOUR / 4])
            }
            (Q3_K, _) => {
                let quants = match FOUR {
                    6 => plane::<W>(at, 0)
                        .down::<6>()
                        .and(bytes(3))
                        .or(plane::<W>(at, 2).down::<4>().and(bytes(4))),
                    7 => plane::<W>(at, 1)
                        .down::<6>()
                        .and(bytes(3))
                        .or(plane::<W>(at, 2).down::<5>().and(bytes(4))),
                    1 | 3 | 5 => plane::<W>(at, FOUR / 2).down::<3>().and(bytes(7)),
                    _ => plane::<W>(at, FOUR / 2).and(bytes(7)),
                };
                quants.times_16(scales.times[FOUR / 4]).add_16(scales.above[FOUR / 4])
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

/// What the dot products of block number `block` of a group are multiplied with; `chunk` is its super-block's, and
/// `unpacked` what [`unpack`] made of that.
#[inline(always)]
pub(super) unsafe fn scales<W: Dots, const FORMAT: u8>(
    layout: &Layout,
    group: *const u8,
    chunk: *const u8,
    block: usize,
    unpacked: *const u8,
) -> Scales<W> {
    // SAFETY: the group has a block and a chunk of these numbers, by this module's contract.
    unsafe {
        let (zero, nothing) = (W::Numbers::splat(0.0), [W::splat(0); 2]);
        let none = Scales {
            scale: zero,
            minimum: zero,
            halves: [zero; 2],
            times: nothing,
            above: nothing,
            minima: nothing,
        };
        match FORMAT {
            Q4_K | Q5_K => {
                let at = unpacked.add(block % SUBS * ROWS);
                let scale = half::<W>(chunk).mul(W::bytes(at));
                let minimum = zero.sub(half::<W>(chunk.add(HALVES)).mul(W::bytes(at.add(SUBS * ROWS))));
                Scales { scale, minimum, ..none }
            }
            Q6_K => {
                let at = chunk.add(HALVES + block % SUBS * 2 * ROWS).cast::<i8>();
                let scale = half::<W>(chunk);
                let halves =
                    [W::Numbers::load_i8(at).mul(scale), W::Numbers::load_i8(at.add(ROWS)).mul(scale)];
                Scales { halves, ..none }
            }
            Q2_K => {
                let at = chunk.add(2 * HALVES + block % SUBS * 2 * ROWS);
                let both = [W::twice::<false>(at), W::twice::<false>(at.add(ROWS))];
                let low = W::splat(0x000f_000f);
                Scales {
                    scale: half::<W>(chunk),
                    minimum: half::<W>(chunk.add(HALVES)).mul(W::Numbers::splat(1.0 / 32.0)),
                    times: [both[0].and(low), both[1].and(low)],
                    minima: [both[0].down::<4>(), both[1].down::<4>()],
                    ..none
                }
            }
            Q3_K => {
                let at = unpacked.add(block % SUBS * 2 * ROWS);
                let high = W::splat(0x0020_0020);
                let times =
                    [high.sub_16(W::twice::<false>(at)), high.sub_16(W::twice::<false>(at.add(ROWS)))];
                // 128 − 4 times the factor, in both bytes of a number of 16 bits.
                let (middle, fours) = (bytes::<W>(128), bytes::<W>(4));
                let above =
                    [middle.sub_16(times[0].times_16(fours)), middle.sub_16(times[1].times_16(fours))];
                Scales { scale: zero.sub(half::<W>(chunk)), times, above, ..none }
            }
            IQ4_XS => {
                let factors = W::Numbers::load_i8(unpacked.add(block % SUBS * ROWS).cast());
                Scales { scale: half::<W>(chunk).mul(factors), ..none }
            }
            MXFP4 => {
                let powers = W::Numbers::load_powers(group.add(layout.scales + block * ROWS));
                Scales { scale: powers.mul(W::Numbers::splat(0.5)), ..none }
            }
            _ => {
                let scale = half::<W>(group.add(layout.scales + block * HALVES));
                let minimum = if has_minimum(FORMAT) {
                    half::<W>(group.add(layout.minima + block * HALVES))
                } else {
                    zero
                };
                Scales { scale, minimum, ..none }
            }
        }
    }
}

/// Takes the packed scales of a super-block apart, where its format has such: at most 256 bytes.
#[inline(always)]
pub(super) unsafe fn unpack<W: Dots, const FORMAT: u8>(chunk: *const u8, to: *mut u8) {
    // SAFETY: the chunk has these scales and there is room for them, by this module's contract.
    unsafe {
        match FORMAT {
            Q4_K | Q5_K => unpack_scales::<W>(chunk.add(2 * HALVES), to),
            Q3_K => unpack_q3_scales::<W>(chunk.add(HALVES), to),
            IQ4_XS => unpack_iq4_scales(chunk.add(HALVES), to),
            _ => {}
        }
    }
}

/// A token's sums with a block's dot products in them: the first of the whole block, or one of each half where it has six
/// bits. `at` is the token's place in the tile of `width`.
#[inline(always)]
pub(super) unsafe fn scaled<W: Dots, const FORMAT: u8>(
    sums: W::Numbers,
    dots: [W; 2],
    scales: &Scales<W>,
    at: *const u8,
    width: usize,
) -> W::Numbers {
    // SAFETY: the token has these numbers and the processor what `W` needs, by this module's contract.
    unsafe {
        let starts = numbers(width);
        let scale = number::<W>(at.add(starts[0]));
        if FORMAT == Q6_K {
            let first = dots[0].numbers().mul(scales.halves[0]);
            return dots[1].numbers().mul_add(scales.halves[1], first).mul_add(scale, sums);
        }
        let mut sums = dots[0].numbers().mul_add(scales.scale.mul(scale), sums);
        if has_minimum(FORMAT) {
            sums = scales.minimum.mul_add(number::<W>(at.add(starts[3])), sums);
        }
        if FORMAT == Q2_K {
            // −32·Σ of each half times its minimum.
            let (first, second): (W, W) = (word(at.add(starts[4])), word(at.add(starts[5])));
            let least = W::splat(0).dot_pairs(scales.minima[0], first);
            let least = least.dot_pairs(scales.minima[1], second).numbers();
            sums = least.mul_add(scales.minimum.mul(scale), sums);
        }
        sums
    }
}
