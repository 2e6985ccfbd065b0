//! Quantized weights in AVX-512 with VNNI and in AVX2.
//!
//! A lane is a row, so nothing is shuffled and nothing summed across lanes: the inner loop is a load of sixteen rows'
//! quants, a split into nibbles where there are 4 bits, and for each token one dot product with four broadcast
//! activations (Intel's Optimization Reference Manual, "Vector Neural Network Instructions"). Scales are applied once
//! a block.
#![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use std::arch::x86_64::*;

use crate::model::TensorType;

use super::super::activations::{BLOCK_BYTES, numbers, tiles};
use super::super::pack::{BLOCK, Layout, ROWS};
use super::avx2::keep;
use super::{AHEAD, Input, Output, avx2, wide};

/// Multiplies one group with AVX-512.
///
/// # Safety
/// As [`super::multiply`]; the processor must have what [`Isa::Avx512`](super::Isa) says.
pub(super) unsafe fn avx512(layout: &Layout, group: *const u8, input: Input, to: Output) {
    if !matches!(layout.kind, TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q8_0) {
        // SAFETY: the caller's.
        return unsafe { wide::avx512(layout, group, input, to) };
    }
    let blocks = layout.columns / BLOCK;
    for (first, width) in tiles(input.tokens) {
        // SAFETY: the tile lies within the activations, its rows within the output.
        unsafe {
            let tile = input.tiles.add(first * blocks * BLOCK_BYTES);
            let to = Output { first: to.first.add(first * to.stride), ..to };
            match (layout.kind, width) {
                (TensorType::Q8_0, 8) => eight_bit_512::<8>(layout, group, tile, to),
                (TensorType::Q8_0, 4) => eight_bit_512::<4>(layout, group, tile, to),
                (TensorType::Q8_0, 2) => eight_bit_512::<2>(layout, group, tile, to),
                (TensorType::Q8_0, _) => eight_bit_512::<1>(layout, group, tile, to),
                (TensorType::Q4_1, 8) => four_bit_512::<8, true>(layout, group, tile, to),
                (TensorType::Q4_1, 4) => four_bit_512::<4, true>(layout, group, tile, to),
                (TensorType::Q4_1, 2) => four_bit_512::<2, true>(layout, group, tile, to),
                (TensorType::Q4_1, _) => four_bit_512::<1, true>(layout, group, tile, to),
                (_, 8) => four_bit_512::<8, false>(layout, group, tile, to),
                (_, 4) => four_bit_512::<4, false>(layout, group, tile, to),
                (_, 2) => four_bit_512::<2, false>(layout, group, tile, to),
                (_, _) => four_bit_512::<1, false>(layout, group, tile, to),
            }
        }
    }
}

/// Four activations in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn four_512(at: *const u8) -> __m512i {
    // SAFETY: the caller's.
    unsafe { _mm512_set1_epi32(at.cast::<i32>().read_unaligned()) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn four_bit_512<const TOKENS: usize, const MINIMA: bool>(
    layout: &Layout,
    group: *const u8,
    tile: *const u8,
    to: Output,
) {
    // SAFETY: all places lie within the group and the tile, by their layouts.
    unsafe {
        let [scale_at, start_at, _, sum_at, ..] = numbers(TOKENS);
        let low_half = _mm512_set1_epi8(15);
        let mut sums = [_mm512_setzero_ps(); TOKENS];
        let mut tile = tile;
        for block in 0..layout.columns / BLOCK {
            let quants = group.add(block * 256);
            let mut low_dots = [_mm512_setzero_si512(); TOKENS];
            // Two chains for one token, whose dot products would wait for each other.
            let mut high_dots = [_mm512_setzero_si512(); TOKENS];
            if !MINIMA {
                for (token, dot) in low_dots.iter_mut().enumerate() {
                    *dot = four_512(tile.add(start_at + token * 4));
                }
            }
            for four in 0..4 {
                let both = _mm512_load_si512(quants.add(four * 64).cast());
                ahead::<TOKENS>(quants.wrapping_add(AHEAD + four * 64));
                let low = _mm512_and_si512(both, low_half);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low_half);
                for token in 0..TOKENS {
                    let x = four_512(tile.add((four * TOKENS + token) * 4));
                    low_dots[token] = _mm512_dpbusd_epi32(low_dots[token], low, x);
                }
                for token in 0..TOKENS {
                    let x = four_512(tile.add(((four + 4) * TOKENS + token) * 4));
                    if TOKENS == 1 {
                        high_dots[token] = _mm512_dpbusd_epi32(high_dots[token], high, x);
                    } else {
                        low_dots[token] = _mm512_dpbusd_epi32(low_dots[token], high, x);
                    }
                }
            }
            let scales =
                _mm512_cvtph_ps(_mm256_loadu_si256(group.add(layout.scales + block * ROWS * 2).cast()));
            for token in 0..TOKENS {
                let dot = if TOKENS == 1 {
                    _mm512_add_epi32(low_dots[token], high_dots[token])
                } else {
                    low_dots[token]
                };
                let scale = _mm512_set1_ps(tile.add(scale_at + token * 4).cast::<f32>().read_unaligned());
                sums[token] =
                    _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(scales, scale), sums[token]);
            }
            if MINIMA {
                let minima =
                    _mm512_cvtph_ps(_mm256_loadu_si256(group.add(layout.minima + block * ROWS * 2).cast()));
                for (token, total) in sums.iter_mut().enumerate() {
                    let sum = _mm512_set1_ps(tile.add(sum_at + token * 4).cast::<f32>().read_unaligned());
                    *total = _mm512_fmadd_ps(minima, sum, *total);
                }
            }
            tile = tile.add(TOKENS * BLOCK_BYTES);
        }
        for (token, sum) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(to.first.add(token * to.stride), sum);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn eight_bit_512<const TOKENS: usize>(layout: &Layout, group: *const u8, tile: *const u8, to: Output) {
    // SAFETY: all places lie within the group and the tile, by their layouts.
    unsafe {
        let [scale_at, _, start_at, ..] = numbers(TOKENS);
        let mut sums = [_mm512_setzero_ps(); TOKENS];
        let mut tile = tile;
        for block in 0..layout.columns / BLOCK {
            let quants = group.add(block * 512);
            let mut dots = [_mm512_setzero_si512(); TOKENS];
            let mut second = [_mm512_setzero_si512(); TOKENS];
            for (token, dot) in dots.iter_mut().enumerate() {
                *dot = four_512(tile.add(start_at + token * 4));
            }
            for four in 0..8 {
                let weights = _mm512_load_si512(quants.add(four * 64).cast());
                ahead::<TOKENS>(quants.wrapping_add(AHEAD + four * 64));
                for token in 0..TOKENS {
                    let x = four_512(tile.add((four * TOKENS + token) * 4));
                    if TOKENS == 1 && four % 2 == 1 {
                        second[token] = _mm512_dpbusd_epi32(second[token], weights, x);
                    } else {
                        dots[token] = _mm512_dpbusd_epi32(dots[token], weights, x);
                    }
                }
            }
            let scales =
                _mm512_cvtph_ps(_mm256_loadu_si256(group.add(layout.scales + block * ROWS * 2).cast()));
            for token in 0..TOKENS {
                let dot =
                    if TOKENS == 1 { _mm512_add_epi32(dots[token], second[token]) } else { dots[token] };
                let scale = _mm512_set1_ps(tile.add(scale_at + token * 4).cast::<f32>().read_unaligned());
                sums[token] =
                    _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(scales, scale), sums[token]);
            }
            tile = tile.add(TOKENS * BLOCK_BYTES);
        }
        for (token, sum) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(to.first.add(token * to.stride), sum);
        }
    }
}

/// Multiplies one group with AVX2.
///
/// # Safety
/// As [`super::multiply`]; the processor must have what [`Isa::Avx2`](super::Isa) says.
pub(super) unsafe fn avx2(layout: &Layout, group: *const u8, input: Input, to: Output) {
    let blocks = layout.columns / BLOCK;
    for (first, width) in tiles(input.tokens) {
        // SAFETY: the tile lies within the activations, its rows within the output.
        unsafe {
            let tile = input.tiles.add(first * blocks * BLOCK_BYTES);
            let to = Output { first: to.first.add(first * to.stride), ..to };
            let other = match width {
                8 => avx2::kernel::<4, 8>(layout.kind),
                4 => avx2::kernel::<4, 4>(layout.kind),
                2 => avx2::kernel::<2, 2>(layout.kind),
                _ => avx2::kernel::<1, 1>(layout.kind),
            };
            // Sixteen registers hold the sums of four tokens, so a tile of eight is walked twice.
            match (layout.kind, width) {
                (_, 8) if let Some(kernel) = other => halves(layout, group, tile, to, kernel),
                (_, _) if let Some(kernel) = other => kernel(layout, group, tile, 0, to),
                (TensorType::Q8_0, 8) => halves(layout, group, tile, to, eight_bit_256::<4, 8>),
                (TensorType::Q8_0, 4) => eight_bit_256::<4, 4>(layout, group, tile, 0, to),
                (TensorType::Q8_0, 2) => eight_bit_256::<2, 2>(layout, group, tile, 0, to),
                (TensorType::Q8_0, _) => eight_bit_256::<1, 1>(layout, group, tile, 0, to),
                (TensorType::Q4_1, 8) => halves(layout, group, tile, to, four_bit_256::<4, 8, true>),
                (TensorType::Q4_1, 4) => four_bit_256::<4, 4, true>(layout, group, tile, 0, to),
                (TensorType::Q4_1, 2) => four_bit_256::<2, 2, true>(layout, group, tile, 0, to),
                (TensorType::Q4_1, _) => four_bit_256::<1, 1, true>(layout, group, tile, 0, to),
                (_, 8) => halves(layout, group, tile, to, four_bit_256::<4, 8, false>),
                (_, 4) => four_bit_256::<4, 4, false>(layout, group, tile, 0, to),
                (_, 2) => four_bit_256::<2, 2, false>(layout, group, tile, 0, to),
                (_, _) => four_bit_256::<1, 1, false>(layout, group, tile, 0, to),
            }
        }
    }
}

/// A kernel of AVX2: layout, group, tile, the first token, the output of the tile.
pub(super) type Kernel256 = unsafe fn(&Layout, *const u8, *const u8, usize, Output);

unsafe fn halves(layout: &Layout, group: *const u8, tile: *const u8, to: Output, kernel: Kernel256) {
    // SAFETY: the caller's.
    unsafe {
        kernel(layout, group, tile, 0, to);
        kernel(layout, group, tile, 4, to);
    }
}

/// Four activations in every lane.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn four_256(at: *const u8) -> __m256i {
    // SAFETY: the caller's.
    unsafe { _mm256_set1_epi32(at.cast::<i32>().read_unaligned()) }
}

/// Asks for 64 bytes that are read soon: past the outer caches when a step reads them once, else into all of them, as
/// the next tile of tokens reads them again.
#[inline]
#[target_feature(enable = "sse")]
pub(super) fn ahead<const TOKENS: usize>(at: *const u8) {
    if TOKENS == 1 {
        _mm_prefetch::<_MM_HINT_NTA>(at.cast());
    } else {
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
}

/// Sums of products of a nibble and an activation: 16 × 15 × 127 = 30,480 fits 16 bits, so that a block's eight
/// products of pairs are added in 16 bits and widened once.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn four_bit_256<const TOKENS: usize, const WIDTH: usize, const MINIMA: bool>(
    layout: &Layout,
    group: *const u8,
    tile: *const u8,
    from: usize,
    to: Output,
) {
    // SAFETY: all places lie within the group and the tile, by their layouts.
    unsafe {
        let [scale_at, start_at, _, sum_at, ..] = numbers(WIDTH);
        let low_half = _mm256_set1_epi8(15);
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_ps(); TOKENS]; 2];
        let mut tile = tile.add(from * 4);
        for block in 0..layout.columns / BLOCK {
            let quants = group.add(block * 256);
            let mut dots = [[_mm256_setzero_si256(); TOKENS]; 2];
            for four in 0..4 {
                ahead::<TOKENS>(quants.wrapping_add(AHEAD + four * 64));
                let mut low = [_mm256_setzero_si256(); 2];
                let mut high = [_mm256_setzero_si256(); 2];
                for half in 0..2 {
                    let both = _mm256_load_si256(quants.add(four * 64 + half * 32).cast());
                    low[half] = _mm256_and_si256(both, low_half);
                    high[half] = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low_half);
                }
                for token in 0..TOKENS {
                    let x = four_256(tile.add((four * WIDTH + token) * 4));
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(low[half], x);
                        dots[half][token] = _mm256_add_epi16(dots[half][token], products);
                        if TOKENS > 2 {
                            dots[half][token] = keep(dots[half][token]);
                        }
                    }
                }
                for token in 0..TOKENS {
                    let x = four_256(tile.add(((four + 4) * WIDTH + token) * 4));
                    for half in 0..2 {
                        let products = _mm256_maddubs_epi16(high[half], x);
                        dots[half][token] = _mm256_add_epi16(dots[half][token], products);
                        if TOKENS > 2 {
                            dots[half][token] = keep(dots[half][token]);
                        }
                    }
                }
            }
            for half in 0..2 {
                let place = (block * ROWS + half * 8) * 2;
                let scales = _mm256_cvtph_ps(_mm_loadu_si128(group.add(layout.scales + place).cast()));
                for token in 0..TOKENS {
                    let mut dot = _mm256_madd_epi16(dots[half][token], ones);
                    if !MINIMA {
                        dot = _mm256_add_epi32(dot, four_256(tile.add(start_at + token * 4)));
                    }
                    let scale = _mm256_set1_ps(tile.add(scale_at + token * 4).cast::<f32>().read_unaligned());
                    let both = _mm256_mul_ps(scales, scale);
                    sums[half][token] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), both, sums[half][token]);
                }
                if MINIMA {
                    let minima = _mm256_cvtph_ps(_mm_loadu_si128(group.add(layout.minima + place).cast()));
                    for token in 0..TOKENS {
                        let sum = _mm256_set1_ps(tile.add(sum_at + token * 4).cast::<f32>().read_unaligned());
                        sums[half][token] = _mm256_fmadd_ps(minima, sum, sums[half][token]);
                    }
                }
            }
            tile = tile.add(WIDTH * BLOCK_BYTES);
        }
        store_256(&sums, from, to);
    }
}

/// 8 bits times 8 bits do not fit 16 twice over, so each pair is widened at once. The signs go to the activations:
/// |w| × (x with w's sign), since one side must have none.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn eight_bit_256<const TOKENS: usize, const WIDTH: usize>(
    layout: &Layout,
    group: *const u8,
    tile: *const u8,
    from: usize,
    to: Output,
) {
    // SAFETY: all places lie within the group and the tile, by their layouts.
    unsafe {
        let [scale_at, ..] = numbers(WIDTH);
        let sign_bit = _mm256_set1_epi8(-128);
        let ones = _mm256_set1_epi16(1);
        let mut sums = [[_mm256_setzero_ps(); TOKENS]; 2];
        let mut tile = tile.add(from * 4);
        for block in 0..layout.columns / BLOCK {
            let quants = group.add(block * 512);
            let mut dots = [[_mm256_setzero_si256(); TOKENS]; 2];
            for four in 0..8 {
                ahead::<TOKENS>(quants.wrapping_add(AHEAD + four * 64));
                for half in 0..2 {
                    let stored = _mm256_load_si256(quants.add(four * 64 + half * 32).cast());
                    let weights = _mm256_xor_si256(stored, sign_bit);
                    // −128 stays 128 when read without sign.
                    let sizes = _mm256_abs_epi8(weights);
                    for token in 0..TOKENS {
                        let x = _mm256_sign_epi8(four_256(tile.add((four * WIDTH + token) * 4)), weights);
                        let products = _mm256_madd_epi16(_mm256_maddubs_epi16(sizes, x), ones);
                        dots[half][token] = _mm256_add_epi32(dots[half][token], products);
                    }
                }
            }
            for half in 0..2 {
                let place = (block * ROWS + half * 8) * 2;
                let scales = _mm256_cvtph_ps(_mm_loadu_si128(group.add(layout.scales + place).cast()));
                for token in 0..TOKENS {
                    let scale = _mm256_set1_ps(tile.add(scale_at + token * 4).cast::<f32>().read_unaligned());
                    let both = _mm256_mul_ps(scales, scale);
                    sums[half][token] =
                        _mm256_fmadd_ps(_mm256_cvtepi32_ps(dots[half][token]), both, sums[half][token]);
                }
            }
            tile = tile.add(WIDTH * BLOCK_BYTES);
        }
        store_256(&sums, from, to);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn store_256<const TOKENS: usize>(sums: &[[__m256; TOKENS]; 2], from: usize, to: Output) {
    for token in 0..TOKENS {
        // SAFETY: the caller's: sixteen elements of each token are ours.
        unsafe {
            let at = to.first.add((from + token) * to.stride);
            _mm256_storeu_ps(at, sums[0][token]);
            _mm256_storeu_ps(at.add(8), sums[1][token]);
        }
    }
}
