//! Quants of two, three, five and six bits, of super-blocks, 4-bit floats and looked-up numbers, where the processor has
//! dot products of bytes: AVX-512 with VNNI.
//!
//! A super-block's integer scales become single precision with the f16 scale in them, once a block and sixteen rows; that
//! is exact for the two of a block of six bits, which have 19 bits then. Two scales of a block of two or three bits are
//! multiplied with its quants instead: a scaled quant still fits a byte, so that one dot product serves the block. Two
//! bytes are multiplied at once as a number of 16 bits, since no product reaches beyond its byte; with 3 bits it is minus
//! the scale times (quant − 4), and 128 more, which lies between 0 and 252. A 4-bit float is looked up as twice its
//! number, 16 too high, the numbers of `IQ4` 128 too high.
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
use super::super::bits::{PLANE, SUPER, fp4_above, iq4_above};
use super::super::lanes::Lanes;
use super::super::pack::{BLOCK, HALVES, Layout, ROWS, chunk_bytes};
use super::registers::{
    Ahead, Dots, half, number, plane, unpack_iq4_scales, unpack_q3_scales, unpack_scales, word,
};
use super::{Input, Output};

/// Blocks of a super-block.
const SUBS: usize = SUPER / BLOCK;

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
const Q2_K: u8 = 6;
const Q3_K: u8 = 7;
const IQ4_NL: u8 = 8;
const IQ4_XS: u8 = 9;

/// Planes of a block.
const fn planes(format: u8) -> usize {
    match format {
        Q2_K => 2,
        Q3_K => 3,
        Q4_K | MXFP4 | IQ4_NL | IQ4_XS => 4,
        Q6_K => 6,
        _ => 5,
    }
}

/// Whether a block has a minimum for all of it, which is multiplied with the sum of its activations.
const fn has_minimum(format: u8) -> bool {
    matches!(format, Q4_K | Q5_K | Q5_1)
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
struct Scales<W: Dots> {
    scale: W::Numbers,
    minimum: W::Numbers,
    /// Of the first and second half of a block of six bits.
    halves: [W::Numbers; 2],
    /// What the quants of each half of a block of two or three bits are multiplied with, and what is added to them.
    times: [W; 2],
    above: [W; 2],
    /// Minima of each half of a block of two bits.
    minima: [W; 2],
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
        let planes = planes(FORMAT);
        let mut unpacked = [0u8; 2 * SUBS * ROWS];
        let mut sums = [W::Numbers::splat(0.0); TOKENS];
        let ahead = Ahead::new(layout, group, TOKENS);
        for block in 0..layout.columns / BLOCK {
            let tile = tile.add(block * TOKENS * BLOCK_BYTES);
            let chunk = group.add(layout.scales + block / SUBS * chunk_bytes(layout.kind));
            if block % SUBS == 0 {
                match FORMAT {
                    Q4_K | Q5_K => unpack_scales::<W>(chunk.add(2 * HALVES), unpacked.as_mut_ptr()),
                    Q3_K => unpack_q3_scales::<W>(chunk.add(HALVES), unpacked.as_mut_ptr()),
                    IQ4_XS => unpack_iq4_scales(chunk.add(HALVES), unpacked.as_mut_ptr()),
                    _ => {}
                }
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
                let at = tile.add(token * 4);
                let scale = number::<W>(at.add(scale_at));
                if FORMAT == Q6_K {
                    let first = parts[0][token].numbers().mul(scales.halves[0]);
                    let both = parts[1][token].numbers().mul_add(scales.halves[1], first);
                    sums[token] = both.mul_add(scale, sums[token]);
                    continue;
                }
                let dot = if TOKENS == 1 { parts[0][token].add(parts[1][token]) } else { parts[0][token] };
                sums[token] = dot.numbers().mul_add(scales.scale.mul(scale), sums[token]);
                if has_minimum(FORMAT) {
                    sums[token] = scales.minimum.mul_add(number::<W>(at.add(sum_at)), sums[token]);
                }
                if FORMAT == Q2_K {
                    // −32·Σ of each half times its minimum.
                    let (first, second): (W, W) = (word(at.add(starts[4])), word(at.add(starts[5])));
                    let least = W::splat(0).dot_pairs(scales.minima[0], first);
                    let least = least.dot_pairs(scales.minima[1], second).numbers();
                    sums[token] = least.mul_add(scales.minimum.mul(scale), sums[token]);
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
    // SAFETY: the processor has what `W` needs, by this module's contract.
    unsafe { W::splat(i32::from_ne_bytes([byte; 4])) }
}

/// Four quants of each row, from the planes of a block; see [`bits`](super::super::bits).
#[inline(always)]
unsafe fn quants<W: Dots, const FORMAT: u8, const FOUR: usize>(at: *const u8, scales: &Scales<W>) -> W {
    // SAFETY: the block has the planes of its format, and the processor what `W` needs, by this module's contract.
    unsafe {
        match (FORMAT, FOUR) {
            (Q4_K | MXFP4 | IQ4_NL | IQ4_XS, _) => {
                let both: W = plane(at, FOUR % 4);
                let codes = if FOUR < 4 { both } else { both.down::<4>() }.and(bytes(0x0f));
                match FORMAT {
                    MXFP4 => codes.of_table(W::table(&const { fp4_above(16) })),
                    IQ4_NL | IQ4_XS => codes.of_table(W::table(&const { iq4_above() })),
                    _ => codes,
                }
            }
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

#[inline(always)]
unsafe fn scales<W: Dots, const FORMAT: u8>(
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
                let minimum =
                    if FORMAT == Q5_1 { half::<W>(group.add(layout.minima + block * HALVES)) } else { zero };
                Scales { scale, minimum, ..none }
            }
        }
    }
}
