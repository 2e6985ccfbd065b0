//! Quantized weights where the processor has no dot products of bytes: AVX2, and AVX-512 without VNNI.
//!
//! A lane is a row, so nothing is shuffled and nothing summed across lanes: the inner loop is a load of sixteen rows'
//! quants, a split into planes' fours, and for each token one multiplication with four broadcast activations. Products
//! are added in 16 bits as far as these hold them and widened once: a block of 4 bits, 16 × 15 × 127 = 30,480; 16
//! products of 5 bits, 31,496 at most; with 6 bits the start value −32·Σ makes the sum that of signed quants, 32,512
//! at most, and until it is whole it may wrap. 8 bits times 8 bits do not fit 16 twice over, so each pair is widened at
//! once; there the signs go to the activations, |w| × (x with w's sign), since one side must have none. A 4-bit float is
//! looked up as twice its number, 32 too high, and starts with −32·Σ as 6 bits do: 16 × 12 × 127 = 24,384 in the end. So
//! does a quant of 3 bits, taken eight times, 8 × 32 × 127 = 32,512. The numbers of `IQ4` are like 8 bits.
//!
//! The widening to 32 bits, a multiplication by ones for plain blocks, multiplies by a super-block's integer scales,
//! which thereby cost nothing. What they scale is added over the super-block in single precision, exact to 24 bits, and
//! multiplied by the f16 scale at its end.
//!
//! # Safety of this module
//! That of [`multiply`](super::multiply): the group lies within the matrix, its rows within the output, and the tiles within
//! the activations, each as its layout says. Besides, the processor must have what `W` needs.
#![allow(
    clippy::inline_always,
    reason = "what computes with registers becomes instructions only inside the wrapper that enables them"
)]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use crate::model::TensorType;

use super::super::activations::{BLOCK_BYTES, numbers, tiles};
use super::super::bits::{FOURS, PLANE, SUPER, fp4_above, iq4_above};
use super::super::isa::EIGHT;
use super::super::lanes::Lanes;
use super::super::pack::{BLOCK, HALVES, Layout, ROWS, chunk_bytes};
use super::registers::{
    Ahead, Halves, Pairs, Whole, half, number, plane, unpack_iq4_scales, unpack_q3_scales, unpack_scales,
    word,
};
use super::{Input, Output};

/// Blocks of a super-block.
const SUBS: usize = SUPER / BLOCK;

/// Multiplies one group.
///
/// # Safety
/// As [`super::multiply`]; the processor must have the instructions of `W`.
pub(super) unsafe fn multiply<W: Enabled>(layout: &Layout, group: *const u8, input: Input, to: Output) {
    // SAFETY: group, input and output are as the module asks, and the processor has what `W` needs.
    unsafe {
        match layout.kind {
            TensorType::Q2_K => tiles_of::<W, Supers<2>>(layout, group, input, to),
            TensorType::Q3_K => tiles_of::<W, Supers<3>>(layout, group, input, to),
            TensorType::IQ4_NL => tiles_of::<W, Blocks<LOOKED_UP, false>>(layout, group, input, to),
            TensorType::IQ4_XS => tiles_of::<W, Supers<LOOKED_UP>>(layout, group, input, to),
            TensorType::Q4_K => tiles_of::<W, Supers<4>>(layout, group, input, to),
            TensorType::Q5_K => tiles_of::<W, Supers<5>>(layout, group, input, to),
            TensorType::Q6_K => tiles_of::<W, Supers<6>>(layout, group, input, to),
            TensorType::Q4_1 => tiles_of::<W, Blocks<4, true>>(layout, group, input, to),
            TensorType::Q5_0 => tiles_of::<W, Blocks<5, false>>(layout, group, input, to),
            TensorType::Q5_1 => tiles_of::<W, Blocks<5, true>>(layout, group, input, to),
            TensorType::Q8_0 => tiles_of::<W, Blocks<8, false>>(layout, group, input, to),
            TensorType::MXFP4 => tiles_of::<W, Floats>(layout, group, input, to),
            TensorType::Q4_0 => tiles_of::<W, Blocks<4, false>>(layout, group, input, to),
            other => unreachable!("no kernel for {other}"),
        }
    }
}

/// In place of a number of bits: codes of 4 bits whose numbers are looked up.
const LOOKED_UP: usize = 0;

/// The bits of eight times a quant of 3 bits.
const EIGHTS: u8 = 0x38;

/// Planes of a block of quants with `bits` bits, or [`LOOKED_UP`].
const fn planes_of(bits: usize) -> usize {
    if bits == LOOKED_UP { 4 } else { bits }
}

/// A way of storing quants.
pub(super) trait Format {
    /// Multiplies a group with `TOKENS` of a tile's `WIDTH` tokens, from `from` on.
    unsafe fn part_of_tile<W: Pairs, const TOKENS: usize, const WIDTH: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        from: usize,
        to: Output,
    );
}

unsafe fn tiles_of<W: Enabled, F: Format>(layout: &Layout, group: *const u8, input: Input, to: Output) {
    let blocks = layout.columns / BLOCK;
    for (first, width) in tiles(input.tokens, EIGHT) {
        // SAFETY: the tile lies within the activations, its rows within the output.
        unsafe {
            let tile = input.tiles.add(first * blocks * BLOCK_BYTES);
            let to = Output { first: to.first.add(first * to.stride), ..to };
            match width {
                8 if W::TOKENS < 8 => {
                    W::part_of_tile::<F, 4, 8>(layout, group, tile, 0, to);
                    W::part_of_tile::<F, 4, 8>(layout, group, tile, 4, to);
                }
                8 => W::part_of_tile::<F, 8, 8>(layout, group, tile, 0, to),
                4 => W::part_of_tile::<F, 4, 4>(layout, group, tile, 0, to),
                2 => W::part_of_tile::<F, 2, 2>(layout, group, tile, 0, to),
                _ => W::part_of_tile::<F, 1, 1>(layout, group, tile, 0, to),
            }
        }
    }
}

/// Registers whose instructions a function enables.
pub(super) trait Enabled: Pairs {
    /// [`Format::part_of_tile`]. A function for each format and shape, since the compiler stops inlining the
    /// instructions where one holds them all.
    unsafe fn part_of_tile<F: Format, const TOKENS: usize, const WIDTH: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        from: usize,
        to: Output,
    );
}

macro_rules! enable {
    ($registers:ty, $instructions:literal) => {
        impl Enabled for $registers {
            unsafe fn part_of_tile<F: Format, const TOKENS: usize, const WIDTH: usize>(
                layout: &Layout,
                group: *const u8,
                tile: *const u8,
                from: usize,
                to: Output,
            ) {
                #[target_feature(enable = $instructions)]
                unsafe fn enabled<F: Format, const TOKENS: usize, const WIDTH: usize>(
                    layout: &Layout,
                    group: *const u8,
                    tile: *const u8,
                    from: usize,
                    to: Output,
                ) {
                    // SAFETY: group, tile and output are as the module asks, and the instructions are enabled here.
                    unsafe { F::part_of_tile::<$registers, TOKENS, WIDTH>(layout, group, tile, from, to) };
                }
                // SAFETY: the processor has what the registers need, by this module's contract.
                unsafe { enabled::<F, TOKENS, WIDTH>(layout, group, tile, from, to) };
            }
        }
    };
}
enable!(Halves, "avx2,fma,f16c");
enable!(Whole, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c");

/// The bits of `mask` of each byte, moved down by `DOWN`; they must not leave the byte.
#[inline(always)]
unsafe fn bits<W: Pairs, const DOWN: u32>(plane: W, mask: u8) -> W {
    // SAFETY: the processor has what `W` needs, by this module's contract.
    unsafe {
        let masked = plane.and(W::splat(i32::from_ne_bytes([mask; 4])));
        if DOWN == 0 { masked } else { masked.down::<DOWN>() }
    }
}

/// Adds the products of a four of each row with that of each token.
#[inline(always)]
unsafe fn feed<W: Pairs, const TOKENS: usize, const WIDTH: usize>(
    dots: &mut [W; TOKENS],
    quants: W,
    tile: *const u8,
    four: usize,
) {
    for (token, dot) in dots.iter_mut().enumerate() {
        // SAFETY: the tile has a block here, and the processor what `W` needs, by this module's contract.
        unsafe {
            let x = word::<W>(tile.add((four * WIDTH + token) * 4));
            *dot = dot.add_16(quants.products(x));
            if TOKENS > 2 {
                *dot = dot.keep();
            }
        }
    }
}

/// Pairs of 16 bits times their factors; a loop, since a closure is not compiled for the instructions.
#[inline(always)]
unsafe fn widen<W: Pairs, const TOKENS: usize>(mut dots: [W; TOKENS], factors: W) -> [W; TOKENS] {
    for dot in &mut dots {
        // SAFETY: the processor has what `W` needs, by this module's contract.
        *dot = unsafe { dot.pairs_times(factors) };
    }
    dots
}

/// Sums of a block's products, each half of it times its factor.
#[inline(always)]
unsafe fn block<W: Pairs, const BITS: usize, const TOKENS: usize, const WIDTH: usize>(
    planes: *const u8,
    tile: *const u8,
    factors: [W; 2],
) -> [W; TOKENS] {
    // SAFETY: the planes and the tile have a block here, and the processor what `W` needs, by this module's contract.
    unsafe {
        let mut dots = [W::splat(0); TOKENS];
        match BITS {
            2 => {
                let mut sums = [W::splat(0); TOKENS];
                for part in 0..2 {
                    dots = [W::splat(0); TOKENS];
                    let all: W = plane(planes, part);
                    feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(all, 3), tile, part * 4);
                    feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(all.down::<2>(), 3), tile, part * 4 + 1);
                    feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(all.down::<4>(), 3), tile, part * 4 + 2);
                    feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(all.down::<6>(), 3), tile, part * 4 + 3);
                    for token in 0..TOKENS {
                        sums[token] = sums[token].add(dots[token].pairs_times(factors[part]));
                    }
                }
                sums
            }
            3 => {
                let starts = numbers(WIDTH);
                let mut sums = [W::splat(0); TOKENS];
                let last: W = plane(planes, 2);
                for part in 0..2 {
                    for token in 0..TOKENS {
                        dots[token] = word(tile.add(starts[4 + part] + token * 4));
                    }
                    let first: W = plane(planes, part * 2);
                    feed::<W, TOKENS, WIDTH>(
                        &mut dots,
                        bits::<W, 0>(first.up::<3>(), EIGHTS),
                        tile,
                        part * 4,
                    );
                    feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(first, EIGHTS), tile, part * 4 + 1);
                    if part == 0 {
                        let second: W = plane(planes, 1);
                        feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(second.up::<3>(), EIGHTS), tile, 2);
                        feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(second, EIGHTS), tile, 3);
                    } else {
                        let low = bits::<W, 0>(plane::<W>(planes, 0).down::<3>(), 0x18);
                        let seventh = low.or(bits::<W, 0>(last.down::<1>(), 0x20));
                        feed::<W, TOKENS, WIDTH>(&mut dots, seventh, tile, 6);
                        let low = bits::<W, 0>(plane::<W>(planes, 1).down::<3>(), 0x18);
                        let eighth = low.or(bits::<W, 0>(last.down::<2>(), 0x20));
                        feed::<W, TOKENS, WIDTH>(&mut dots, eighth, tile, 7);
                    }
                    for token in 0..TOKENS {
                        sums[token] = sums[token].add(dots[token].pairs_times(factors[part]));
                    }
                }
                sums
            }
            4 => {
                for four in 0..4 {
                    let both: W = plane(planes, four);
                    feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(both, 15), tile, four);
                    feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(both.down::<4>(), 15), tile, four + 4);
                }
                widen(dots, factors[0])
            }
            5 => {
                for four in 0..4 {
                    feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(plane(planes, four), 31), tile, four);
                }
                let mut sums = widen(dots, factors[0]);
                dots = [W::splat(0); TOKENS];
                feed::<W, TOKENS, WIDTH>(&mut dots, bits::<W, 0>(plane(planes, 4), 31), tile, 4);
                let sixth = bits::<W, 3>(plane(planes, 0), 0xe0).or(bits::<W, 6>(plane(planes, 3), 0xc0));
                feed::<W, TOKENS, WIDTH>(&mut dots, sixth, tile, 5);
                let seventh = bits::<W, 3>(plane(planes, 1), 0xe0).or(bits::<W, 6>(plane(planes, 4), 0xc0));
                feed::<W, TOKENS, WIDTH>(&mut dots, seventh, tile, 6);
                let lowest = bits::<W, 4>(plane(planes, 3), 0x20).or(bits::<W, 5>(plane(planes, 4), 0x20));
                let eighth = bits::<W, 3>(plane(planes, 2), 0xe0).or(lowest);
                feed::<W, TOKENS, WIDTH>(&mut dots, eighth, tile, 7);
                for token in 0..TOKENS {
                    sums[token] = sums[token].add(dots[token].pairs_times(factors[1]));
                }
                sums
            }
            6 => {
                let starts = numbers(WIDTH);
                let mut sums = [W::splat(0); TOKENS];
                for part in 0..2 {
                    for token in 0..TOKENS {
                        dots[token] = word(tile.add(starts[4 + part] + token * 4));
                    }
                    let upper =
                        [plane(planes, part * 3), plane(planes, part * 3 + 1), plane(planes, part * 3 + 2)];
                    for four in 0..3 {
                        let quants = bits::<W, 0>(plane(planes, part * 3 + four), 63);
                        feed::<W, TOKENS, WIDTH>(&mut dots, quants, tile, part * 4 + four);
                    }
                    let first = bits::<W, 0>(upper[0], 0xc0).or(bits::<W, 2>(upper[1], 0xc0));
                    let fourth = first.or(bits::<W, 4>(upper[2], 0xc0)).down::<2>();
                    feed::<W, TOKENS, WIDTH>(&mut dots, fourth, tile, part * 4 + 3);
                    for token in 0..TOKENS {
                        sums[token] = sums[token].add(dots[token].pairs_times(factors[part]));
                    }
                }
                sums
            }
            _ => {
                for four in 0..FOURS {
                    let quants = if BITS == LOOKED_UP {
                        let both: W = plane(planes, four % 4);
                        let codes = bits::<W, 0>(if four < 4 { both } else { both.down::<4>() }, 15);
                        codes.of_table(W::table(&const { iq4_above() }))
                    } else {
                        plane::<W>(planes, four)
                    };
                    let (sizes, signs) = quants.sizes_and_signs();
                    for token in 0..TOKENS {
                        let x = word::<W>(tile.add((four * WIDTH + token) * 4));
                        let products = sizes.products(x.turned(signs));
                        dots[token] = dots[token].add(products.pairs_times(factors[0]));
                    }
                }
                dots
            }
        }
    }
}

#[inline(always)]
unsafe fn store<W: Pairs, const TOKENS: usize>(sums: [W::Numbers; TOKENS], from: usize, to: Output) {
    for (token, sum) in sums.into_iter().enumerate() {
        // SAFETY: sixteen elements of each token are this thread's, by this module's contract.
        unsafe { sum.store(to.first.add((from + token) * to.stride)) };
    }
}

/// Blocks with a scale of their own, and minima or not.
struct Blocks<const BITS: usize, const MINIMA: bool>;

impl<const BITS: usize, const MINIMA: bool> Format for Blocks<BITS, MINIMA> {
    #[inline(always)]
    unsafe fn part_of_tile<W: Pairs, const TOKENS: usize, const WIDTH: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        from: usize,
        to: Output,
    ) {
        // SAFETY: all places lie within the group and the tile, by their layouts.
        unsafe {
            let [scale_at, start_at, _, sum_at, ..] = numbers(WIDTH);
            let mut sums = [W::Numbers::splat(0.0); TOKENS];
            let (mut tile, ahead) = (tile.add(from * 4), Ahead::new(layout, group, TOKENS));
            let ones = W::splat(0x0001_0001);
            for block_number in 0..layout.columns / BLOCK {
                let planes = group.add(block_number * planes_of(BITS) * PLANE);
                ahead.ask::<W, TOKENS>(block_number, planes_of(BITS));
                let mut dots = block::<W, BITS, TOKENS, WIDTH>(planes, tile, [ones; 2]);
                if !MINIMA && BITS < 8 && BITS != LOOKED_UP {
                    for token in 0..TOKENS {
                        let start = word(tile.add(start_at + token * 4));
                        dots[token] = dots[token].add(start);
                        if BITS == 5 {
                            // −8·Σ twice.
                            dots[token] = dots[token].add(start);
                        }
                    }
                }
                let scales = half::<W>(group.add(layout.scales + block_number * HALVES));
                for token in 0..TOKENS {
                    let scale = scales.mul(number::<W>(tile.add(scale_at + token * 4)));
                    sums[token] = dots[token].numbers().mul_add(scale, sums[token]);
                }
                if MINIMA {
                    let minima = half::<W>(group.add(layout.minima + block_number * HALVES));
                    for token in 0..TOKENS {
                        let sum = number::<W>(tile.add(sum_at + token * 4));
                        sums[token] = minima.mul_add(sum, sums[token]);
                    }
                }
                tile = tile.add(WIDTH * BLOCK_BYTES);
            }
            store::<W, TOKENS>(sums, from, to);
        }
    }
}

/// Blocks of 4-bit floats with a power of two.
struct Floats;

impl Format for Floats {
    #[inline(always)]
    unsafe fn part_of_tile<W: Pairs, const TOKENS: usize, const WIDTH: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        from: usize,
        to: Output,
    ) {
        // SAFETY: all places lie within the group and the tile, by their layouts.
        unsafe {
            let [scale_at, _, _, _, first_at, second_at] = numbers(WIDTH);
            let table = W::table(&const { fp4_above(32) });
            let (ones, half) = (W::splat(0x0001_0001), W::Numbers::splat(0.5));
            let mut sums = [W::Numbers::splat(0.0); TOKENS];
            let (mut tile, ahead) = (tile.add(from * 4), Ahead::new(layout, group, TOKENS));
            for block in 0..layout.columns / BLOCK {
                let planes = group.add(block * 4 * PLANE);
                ahead.ask::<W, TOKENS>(block, 4);
                let mut dots = [W::splat(0); TOKENS];
                for (token, dot) in dots.iter_mut().enumerate() {
                    let at = tile.add(token * 4);
                    *dot = word::<W>(at.add(first_at)).add_16(word(at.add(second_at)));
                }
                for four in 0..4 {
                    let both = W::load(planes.add(four * PLANE));
                    let low = bits::<W, 0>(both, 15).of_table(table);
                    feed::<W, TOKENS, WIDTH>(&mut dots, low, tile, four);
                    let high = bits::<W, 0>(both.down::<4>(), 15).of_table(table);
                    feed::<W, TOKENS, WIDTH>(&mut dots, high, tile, four + 4);
                }
                let scales = W::Numbers::load_powers(group.add(layout.scales + block * ROWS)).mul(half);
                for token in 0..TOKENS {
                    let scale = scales.mul(number::<W>(tile.add(scale_at + token * 4)));
                    sums[token] = dots[token].pairs_times(ones).numbers().mul_add(scale, sums[token]);
                }
                tile = tile.add(WIDTH * BLOCK_BYTES);
            }
            store::<W, TOKENS>(sums, from, to);
        }
    }
}

/// Super-blocks of 2 to 6 bits, or [`LOOKED_UP`].
struct Supers<const BITS: usize>;

impl<const BITS: usize> Format for Supers<BITS> {
    #[inline(always)]
    unsafe fn part_of_tile<W: Pairs, const TOKENS: usize, const WIDTH: usize>(
        layout: &Layout,
        group: *const u8,
        tile: *const u8,
        from: usize,
        to: Output,
    ) {
        // SAFETY: all places lie within the group and the tile, by their layouts.
        unsafe {
            let [scale_at, _, _, sum_at, first_at, second_at] = numbers(WIDTH);
            let zero = W::Numbers::splat(0.0);
            let mut sums = [zero; TOKENS];
            let (mut tile, ahead) = (tile.add(from * 4), Ahead::new(layout, group, TOKENS));
            for number_of_super in 0..layout.columns / SUPER {
                let chunk = group.add(layout.scales + number_of_super * chunk_bytes(layout.kind));
                let mut unpacked = [0u8; 2 * SUBS * ROWS];
                match BITS {
                    3 => unpack_q3_scales::<W>(chunk.add(HALVES), unpacked.as_mut_ptr()),
                    4 | 5 => unpack_scales::<W>(chunk.add(2 * HALVES), unpacked.as_mut_ptr()),
                    LOOKED_UP => unpack_iq4_scales(chunk.add(HALVES), unpacked.as_mut_ptr()),
                    _ => {}
                }
                let unpacked = unpacked.as_ptr();
                let mut scaled = [zero; TOKENS];
                for sub in 0..SUBS {
                    let at = tile.add(sub * WIDTH * BLOCK_BYTES);
                    let planes = group.add((number_of_super * SUBS + sub) * planes_of(BITS) * PLANE);
                    ahead.ask::<W, TOKENS>(number_of_super * SUBS + sub, planes_of(BITS));
                    let factors = match BITS {
                        2 => {
                            let (at, low) = (chunk.add(2 * HALVES + sub * 2 * ROWS), W::splat(0x000f_000f));
                            [W::twice::<false>(at).and(low), W::twice::<false>(at.add(ROWS)).and(low)]
                        }
                        3 => {
                            let (at, high) = (unpacked.add(sub * 2 * ROWS), W::splat(0x0020_0020));
                            let first = W::twice::<false>(at).sub_16(high);
                            [first, W::twice::<false>(at.add(ROWS)).sub_16(high)]
                        }
                        6 => {
                            let factors = chunk.add(HALVES + sub * 2 * ROWS);
                            [W::twice::<true>(factors), W::twice::<true>(factors.add(ROWS))]
                        }
                        LOOKED_UP => [W::twice::<true>(unpacked.add(sub * ROWS)); 2],
                        _ => [W::twice::<false>(unpacked.add(sub * ROWS)); 2],
                    };
                    let dots = block::<W, BITS, TOKENS, WIDTH>(planes, at, factors);
                    for token in 0..TOKENS {
                        let scale = number::<W>(at.add(scale_at + token * 4));
                        scaled[token] = dots[token].numbers().mul_add(scale, scaled[token]);
                    }
                }
                let mut scales = half::<W>(chunk);
                if BITS == 3 {
                    scales = scales.mul(W::Numbers::splat(1.0 / 8.0));
                }
                for token in 0..TOKENS {
                    sums[token] = scaled[token].mul_add(scales, sums[token]);
                }
                if BITS == 2 {
                    let mut scaled = [zero; TOKENS];
                    for sub in 0..SUBS {
                        let at = tile.add(sub * WIDTH * BLOCK_BYTES);
                        let both = chunk.add(2 * HALVES + sub * 2 * ROWS);
                        let minima = [
                            W::twice::<false>(both).down::<4>(),
                            W::twice::<false>(both.add(ROWS)).down::<4>(),
                        ];
                        for token in 0..TOKENS {
                            // −32·Σ of each half times its minimum.
                            let at = at.add(token * 4);
                            let first = word::<W>(at.add(first_at)).pairs_times(minima[0]);
                            let least = first.add(word::<W>(at.add(second_at)).pairs_times(minima[1]));
                            let scale = number::<W>(at.add(scale_at));
                            scaled[token] = least.numbers().mul_add(scale, scaled[token]);
                        }
                    }
                    let scales = half::<W>(chunk.add(HALVES)).mul(W::Numbers::splat(1.0 / 32.0));
                    for token in 0..TOKENS {
                        sums[token] = scaled[token].mul_add(scales, sums[token]);
                    }
                }
                if BITS == 4 || BITS == 5 {
                    let mut scaled = [zero; TOKENS];
                    for sub in 0..SUBS {
                        let at = tile.add(sub * WIDTH * BLOCK_BYTES + sum_at);
                        let minima = W::bytes(unpacked.add(SUBS * ROWS + sub * ROWS));
                        for token in 0..TOKENS {
                            scaled[token] = minima.mul_add(number::<W>(at.add(token * 4)), scaled[token]);
                        }
                    }
                    let scales = zero.sub(half::<W>(chunk.add(HALVES)));
                    for token in 0..TOKENS {
                        sums[token] = scaled[token].mul_add(scales, sums[token]);
                    }
                }
                tile = tile.add(SUBS * WIDTH * BLOCK_BYTES);
            }
            store::<W, TOKENS>(sums, from, to);
        }
    }
}
