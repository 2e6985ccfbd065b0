//! Quants of five and six bits, and of super-blocks, in AVX2.
//!
//! As the other kernels of [`x86`](super::x86), with two differences. Products are added in 16 bits only as far as
//! these hold them: 16 products of 5 bits, 31,496 at most; with 6 bits the start value −32·Σ makes the sum that of
//! signed quants, 32,512 at most, and until it is whole it may wrap. And the widening to 32 bits, a multiplication by
//! ones elsewhere, multiplies by a super-block's integer scales, which thereby cost nothing. What they scale is added
//! over the super-block in single precision, exact to 24 bits, and multiplied by the f16 scale at its end.
#![allow(
    clippy::inline_always,
    reason = "what computes with registers becomes instructions only inside the kernel that enables them"
)]
#![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use std::arch::x86_64::*;

use crate::model::TensorType;

use super::super::activations::{BLOCK_BYTES, numbers};
use super::super::bits::{PLANE, SUPER};
use super::super::pack::{BLOCK, HALVES, Layout, ROWS, chunk_bytes};
use super::x86::{Kernel256, four_256, store_256};
use super::{AHEAD, Output};

/// Blocks of a super-block.
const SUBS: usize = SUPER / BLOCK;

/// The kernel for weights of `kind`, of which `TOKENS` of a tile's `WIDTH` are taken.
pub(super) fn kernel<const TOKENS: usize, const WIDTH: usize>(kind: TensorType) -> Option<Kernel256> {
    Some(match kind {
        TensorType::Q4_K => supers::<4, TOKENS, WIDTH>,
        TensorType::Q5_K => supers::<5, TOKENS, WIDTH>,
        TensorType::Q6_K => supers::<6, TOKENS, WIDTH>,
        TensorType::Q5_0 => blocks::<false, TOKENS, WIDTH>,
        TensorType::Q5_1 => blocks::<true, TOKENS, WIDTH>,
        _ => return None,
    })
}

/// Sixteen rows: eight in each register.
type Sixteen = [__m256i; 2];

/// Adds the products of a four of each row with that of each token.
#[inline(always)]
unsafe fn feed<const TOKENS: usize, const WIDTH: usize>(
    dots: &mut [[__m256i; TOKENS]; 2],
    quants: Sixteen,
    tile: *const u8,
    four: usize,
) {
    for token in 0..TOKENS {
        // SAFETY: the caller's.
        unsafe {
            let x = four_256(tile.add((four * WIDTH + token) * 4));
            for half in 0..2 {
                let dot = &mut dots[half][token];
                *dot = _mm256_add_epi16(*dot, _mm256_maddubs_epi16(quants[half], x));
                if TOKENS > 2 {
                    *dot = keep(*dot);
                }
            }
        }
    }
}

/// Its argument, by no instruction: sums stay as written. Else the compiler takes them apart, puts them together token by
/// token, and keeps all quants of a block in memory meanwhile.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn keep(mut dot: __m256i) -> __m256i {
    // SAFETY: a comment.
    unsafe {
        std::arch::asm!("/* {0} */", inout(ymm_reg) dot, options(pure, nomem, nostack, preserves_flags));
    }
    dot
}

/// A plane.
#[inline(always)]
unsafe fn plane(at: *const u8, number: usize) -> Sixteen {
    // SAFETY: the caller's.
    unsafe {
        let at = at.add(number * PLANE);
        [_mm256_load_si256(at.cast()), _mm256_load_si256(at.add(32).cast())]
    }
}

/// The bits of `mask` of each byte, moved down by `DOWN`; they must not leave the byte.
#[inline(always)]
unsafe fn bits<const DOWN: i32>(plane: Sixteen, mask: i8) -> Sixteen {
    // SAFETY: the caller's.
    unsafe {
        let mask = _mm256_set1_epi8(mask);
        let masked = [_mm256_and_si256(plane[0], mask), _mm256_and_si256(plane[1], mask)];
        if DOWN == 0 { masked } else { down::<DOWN>(masked) }
    }
}

/// Each pair of bytes moved down by `DOWN` bits.
#[inline(always)]
unsafe fn down<const DOWN: i32>(plane: Sixteen) -> Sixteen {
    // SAFETY: the caller's.
    unsafe { [_mm256_srli_epi16::<DOWN>(plane[0]), _mm256_srli_epi16::<DOWN>(plane[1])] }
}

#[inline(always)]
unsafe fn or(a: Sixteen, b: Sixteen) -> Sixteen {
    // SAFETY: the caller's.
    unsafe { [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])] }
}

/// Sums of a block's products, each half of it times its factor: pairs of 16 bits for each row.
#[inline(always)]
unsafe fn block<const BITS: usize, const TOKENS: usize, const WIDTH: usize>(
    planes: *const u8,
    tile: *const u8,
    factors: [Sixteen; 2],
) -> [[__m256i; TOKENS]; 2] {
    // SAFETY: the caller's.
    unsafe {
        for number in 0..BITS {
            _mm_prefetch::<_MM_HINT_NTA>(planes.wrapping_add(AHEAD + number * PLANE).cast());
        }
        let mut dots = [[_mm256_setzero_si256(); TOKENS]; 2];
        if BITS == 4 {
            for four in 0..4 {
                let both = plane(planes, four);
                feed::<TOKENS, WIDTH>(&mut dots, bits::<0>(both, 15), tile, four);
                feed::<TOKENS, WIDTH>(&mut dots, bits::<0>(down::<4>(both), 15), tile, four + 4);
            }
            return widen(dots, factors[0]);
        }
        let starts = numbers(WIDTH);
        let mut sums = [[_mm256_setzero_si256(); TOKENS]; 2];
        for part in 0..2 {
            if BITS == 6 {
                for token in 0..TOKENS {
                    let start = four_256(tile.add(starts[4 + part] + token * 4));
                    dots[0][token] = start;
                    dots[1][token] = start;
                }
                let planes = planes.add(part * 3 * PLANE);
                for four in 0..3 {
                    feed::<TOKENS, WIDTH>(
                        &mut dots,
                        bits::<0>(plane(planes, four), 63),
                        tile,
                        part * 4 + four,
                    );
                }
                let upper = [plane(planes, 0), plane(planes, 1), plane(planes, 2)];
                let first = or(bits::<0>(upper[0], -64), bits::<2>(upper[1], -64));
                let fourth = down::<2>(or(first, bits::<4>(upper[2], -64)));
                feed::<TOKENS, WIDTH>(&mut dots, fourth, tile, part * 4 + 3);
            } else if part == 0 {
                for four in 0..4 {
                    feed::<TOKENS, WIDTH>(&mut dots, bits::<0>(plane(planes, four), 31), tile, four);
                }
            } else {
                dots = [[_mm256_setzero_si256(); TOKENS]; 2];
                feed::<TOKENS, WIDTH>(&mut dots, bits::<0>(plane(planes, 4), 31), tile, 4);
                let sixth = or(bits::<3>(plane(planes, 0), -32), bits::<6>(plane(planes, 3), -64));
                feed::<TOKENS, WIDTH>(&mut dots, sixth, tile, 5);
                let seventh = or(bits::<3>(plane(planes, 1), -32), bits::<6>(plane(planes, 4), -64));
                feed::<TOKENS, WIDTH>(&mut dots, seventh, tile, 6);
                let lowest = or(bits::<4>(plane(planes, 3), 32), bits::<5>(plane(planes, 4), 32));
                feed::<TOKENS, WIDTH>(&mut dots, or(bits::<3>(plane(planes, 2), -32), lowest), tile, 7);
            }
            let wide = widen(dots, factors[part]);
            for half in 0..2 {
                for token in 0..TOKENS {
                    sums[half][token] = _mm256_add_epi32(sums[half][token], wide[half][token]);
                }
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn widen<const TOKENS: usize>(
    dots: [[__m256i; TOKENS]; 2],
    factors: Sixteen,
) -> [[__m256i; TOKENS]; 2] {
    let mut dots = dots;
    for half in 0..2 {
        for token in 0..TOKENS {
            // SAFETY: the caller's.
            dots[half][token] = unsafe { _mm256_madd_epi16(dots[half][token], factors[half]) };
        }
    }
    dots
}

/// A number of each token in every lane.
#[inline(always)]
unsafe fn number(at: *const u8, token: usize) -> __m256 {
    // SAFETY: the caller's.
    unsafe { _mm256_set1_ps(at.add(token * 4).cast::<f32>().read_unaligned()) }
}

/// Eight halves as single precision.
#[inline(always)]
unsafe fn halves(at: *const u8, half: usize) -> __m256 {
    // SAFETY: the caller's.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.add(half * ROWS).cast())) }
}

/// Which byte goes where so that each of eight rows has its byte twice, as a pair of 16 bits: below, or above.
const fn order(first: usize, above: bool) -> [u8; 32] {
    let mut order = [0x80; 32];
    let mut row = 0;
    while row < 8 {
        #[allow(clippy::cast_possible_truncation, reason = "at most 15")]
        let byte = (first + row) as u8;
        let at = row * 4 + above as usize;
        order[at] = byte;
        order[at + 2] = byte;
        row += 1;
    }
    order
}

/// Sixteen bytes, each twice as a pair of 16 bits.
#[inline(always)]
unsafe fn pairs<const SIGNED: bool>(at: *const u8) -> Sixteen {
    const BELOW: [[u8; 32]; 2] = [order(0, false), order(8, false)];
    const ABOVE: [[u8; 32]; 2] = [order(0, true), order(8, true)];
    // SAFETY: the caller's.
    unsafe {
        let all = _mm256_broadcastsi128_si256(_mm_loadu_si128(at.cast()));
        let of = |order: &[u8; 32]| _mm256_shuffle_epi8(all, _mm256_loadu_si256(order.as_ptr().cast()));
        if SIGNED {
            // A signed byte is shifted down with its sign.
            [_mm256_srai_epi16::<8>(of(&ABOVE[0])), _mm256_srai_epi16::<8>(of(&ABOVE[1]))]
        } else {
            [of(&BELOW[0]), of(&BELOW[1])]
        }
    }
}

/// Eight bytes as single precision.
#[inline(always)]
unsafe fn eight_bytes(at: *const u8) -> __m256 {
    // SAFETY: the caller's.
    unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast()))) }
}

/// The 6-bit scales and minima of a super-block, a byte each: those of block b from 16·b and from 128 + 16·b on.
#[inline(always)]
unsafe fn unpack_scales(packed: *const u8, to: &mut [__m256i; 8]) {
    // SAFETY: the caller's: twelve times sixteen bytes.
    unsafe {
        let at = |number: usize| _mm256_load_si256(packed.add(number * 32).cast());
        let mask = |bits: __m256i, mask: i8| _mm256_and_si256(bits, _mm256_set1_epi8(mask));
        for two in 0..2 {
            let (scales, minima, lows) = (at(two), at(2 + two), at(4 + two));
            to[two] = mask(scales, 63);
            to[4 + two] = mask(minima, 63);
            let high_scales = mask(_mm256_srli_epi16::<2>(scales), 48);
            to[2 + two] = _mm256_or_si256(mask(lows, 15), high_scales);
            let high_minima = mask(_mm256_srli_epi16::<2>(minima), 48);
            to[6 + two] = _mm256_or_si256(mask(_mm256_srli_epi16::<4>(lows), 15), high_minima);
        }
    }
}

/// Super-blocks of 4, 5 or 6 bits.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn supers<const BITS: usize, const TOKENS: usize, const WIDTH: usize>(
    layout: &Layout,
    group: *const u8,
    tile: *const u8,
    from: usize,
    to: Output,
) {
    // SAFETY: all places lie within the group and the tile, by their layouts.
    unsafe {
        let [scale_at, _, _, sum_at, ..] = numbers(WIDTH);
        let mut sums = [[_mm256_setzero_ps(); TOKENS]; 2];
        let mut tile = tile.add(from * 4);
        for number_of_super in 0..layout.columns / SUPER {
            let chunk = group.add(layout.scales + number_of_super * chunk_bytes(layout.kind));
            let mut unpacked = [_mm256_setzero_si256(); 8];
            if BITS < 6 {
                unpack_scales(chunk.add(2 * HALVES), &mut unpacked);
            }
            let unpacked: *const u8 = unpacked.as_ptr().cast();
            let mut scaled = [[_mm256_setzero_ps(); TOKENS]; 2];
            for sub in 0..SUBS {
                let at = tile.add(sub * WIDTH * BLOCK_BYTES);
                let planes = group.add((number_of_super * SUBS + sub) * BITS * PLANE);
                let factors = if BITS == 6 {
                    let factors = chunk.add(HALVES + sub * 2 * ROWS);
                    [pairs::<true>(factors), pairs::<true>(factors.add(ROWS))]
                } else {
                    [pairs::<false>(unpacked.add(sub * ROWS)); 2]
                };
                let dots = block::<BITS, TOKENS, WIDTH>(planes, at, factors);
                for token in 0..TOKENS {
                    let scale = number(at.add(scale_at), token);
                    for half in 0..2 {
                        let dot = _mm256_cvtepi32_ps(dots[half][token]);
                        scaled[half][token] = _mm256_fmadd_ps(dot, scale, scaled[half][token]);
                    }
                }
            }
            for half in 0..2 {
                let scales = halves(chunk, half);
                for token in 0..TOKENS {
                    sums[half][token] = _mm256_fmadd_ps(scaled[half][token], scales, sums[half][token]);
                }
            }
            if BITS < 6 {
                let mut scaled = [[_mm256_setzero_ps(); TOKENS]; 2];
                for sub in 0..SUBS {
                    let at = tile.add(sub * WIDTH * BLOCK_BYTES + sum_at);
                    let bytes = unpacked.add(SUBS * ROWS + sub * ROWS);
                    let minima = [eight_bytes(bytes), eight_bytes(bytes.add(8))];
                    for token in 0..TOKENS {
                        let sum = number(at, token);
                        for half in 0..2 {
                            scaled[half][token] = _mm256_fmadd_ps(minima[half], sum, scaled[half][token]);
                        }
                    }
                }
                for half in 0..2 {
                    let scales = halves(chunk.add(HALVES), half);
                    for token in 0..TOKENS {
                        sums[half][token] = _mm256_fnmadd_ps(scaled[half][token], scales, sums[half][token]);
                    }
                }
            }
            tile = tile.add(SUBS * WIDTH * BLOCK_BYTES);
        }
        store_256(&sums, from, to);
    }
}

/// Blocks of 5 bits.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn blocks<const MINIMA: bool, const TOKENS: usize, const WIDTH: usize>(
    layout: &Layout,
    group: *const u8,
    tile: *const u8,
    from: usize,
    to: Output,
) {
    // SAFETY: all places lie within the group and the tile, by their layouts.
    unsafe {
        let [scale_at, start_at, _, sum_at, ..] = numbers(WIDTH);
        let mut sums = [[_mm256_setzero_ps(); TOKENS]; 2];
        let mut tile = tile.add(from * 4);
        let ones = [[_mm256_set1_epi16(1); 2]; 2];
        for block_number in 0..layout.columns / BLOCK {
            let planes = group.add(block_number * 5 * PLANE);
            let mut dots = block::<5, TOKENS, WIDTH>(planes, tile, ones);
            if !MINIMA {
                for token in 0..TOKENS {
                    // −8·Σ twice.
                    let start = _mm256_slli_epi32::<1>(four_256(tile.add(start_at + token * 4)));
                    for half in 0..2 {
                        dots[half][token] = _mm256_add_epi32(dots[half][token], start);
                    }
                }
            }
            for half in 0..2 {
                let scales = halves(group.add(layout.scales + block_number * HALVES), half);
                for token in 0..TOKENS {
                    let scale = _mm256_mul_ps(scales, number(tile.add(scale_at), token));
                    let dot = _mm256_cvtepi32_ps(dots[half][token]);
                    sums[half][token] = _mm256_fmadd_ps(dot, scale, sums[half][token]);
                }
                if MINIMA {
                    let minima = halves(group.add(layout.minima + block_number * HALVES), half);
                    for token in 0..TOKENS {
                        let sum = number(tile.add(sum_at), token);
                        sums[half][token] = _mm256_fmadd_ps(minima, sum, sums[half][token]);
                    }
                }
            }
            tile = tile.add(WIDTH * BLOCK_BYTES);
        }
        store_256(&sums, from, to);
    }
}
