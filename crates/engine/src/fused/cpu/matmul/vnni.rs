//! Quants of four and eight bits in AVX-512 with VNNI.
//!
//! A lane is a row, so nothing is shuffled and nothing summed across lanes: the inner loop is a load of sixteen rows'
//! quants, a split into nibbles where there are 4 bits, and for each token one dot product with four broadcast
//! activations (Intel's Optimization Reference Manual, "Vector Neural Network Instructions"). Scales are applied once
//! a block.
//!
//! # Safety of this module
//! That of [`multiply`](super::multiply): the group lies within the matrix, its rows within the output, and the tiles within
//! the activations, each as its layout says. Besides, the processor must have AVX-512 with VNNI.
#![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]
#![allow(clippy::needless_range_loop, reason = "several arrays of registers are walked side by side")]

use std::arch::x86_64::*;

use crate::model::TensorType;

use super::super::activations::{BLOCK_BYTES, numbers, tiles};
use super::super::isa::EIGHT;
use super::super::pack::{BLOCK, Layout, ROWS};
use super::registers::{Ahead, Whole};
use super::{Input, Output, dots};

/// Multiplies one group, of the other types by [`dots`].
///
/// # Safety
/// As [`super::multiply`]; the processor must have what [`Isa::Avx512Vnni`](super::Isa) says.
pub(super) unsafe fn multiply(layout: &Layout, group: *const u8, input: Input, to: Output) {
    if !matches!(layout.kind, TensorType::Q4_0 | TensorType::Q4_1 | TensorType::Q8_0) {
        // SAFETY: group, input and output are as the module asks, and the processor has the instructions.
        return unsafe { dots::multiply::<Whole>(layout, group, input, to) };
    }
    let blocks = layout.columns / BLOCK;
    for (first, width) in tiles(input.tokens, EIGHT) {
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
    // SAFETY: the tile has four bytes here, by this module's contract.
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
        let (mut tile, ahead) = (tile, Ahead::new(layout, group, TOKENS));
        for block in 0..layout.columns / BLOCK {
            let quants = group.add(block * 256);
            ahead.ask::<Whole, TOKENS>(block, 4);
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
        let (mut tile, ahead) = (tile, Ahead::new(layout, group, TOKENS));
        for block in 0..layout.columns / BLOCK {
            let quants = group.add(block * 512);
            ahead.ask::<Whole, TOKENS>(block, 8);
            let mut dots = [_mm512_setzero_si512(); TOKENS];
            let mut second = [_mm512_setzero_si512(); TOKENS];
            for (token, dot) in dots.iter_mut().enumerate() {
                *dot = four_512(tile.add(start_at + token * 4));
            }
            for four in 0..8 {
                let weights = _mm512_load_si512(quants.add(four * 64).cast());
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
