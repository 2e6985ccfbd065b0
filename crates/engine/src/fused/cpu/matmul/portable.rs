//! Quantized weights in plain Rust: what every faster kernel is compared with.

use half::f16;

use crate::model::TensorType;
use crate::model::quantize::{mxfp4_half_scale, unpack_iq4_scale, unpack_q3_scale, unpack_scale};

use super::super::activations::{BLOCK_BYTES, numbers, tiles};
use super::super::bits::{FOURS, PLANE, SUPER, fp4_above, from_planes, iq4_above, quant_bits};
use super::super::isa::EIGHT;
use super::super::pack::{BLOCK, HALVES, Layout, ROWS, chunk_bytes};
use super::{Input, Output};

/// Elements that a scale is for: half a block.
const PART: usize = 16;

/// How much too high the doubled numbers of `MXFP4` are, and the numbers.
const FP4_ZERO: u8 = 16;
const FP4: [u8; 16] = fp4_above(FP4_ZERO);
/// The numbers of `IQ4_NL` and `IQ4_XS`, 128 too high.
const IQ4_HIGH: [u8; 16] = iq4_above();

/// Multiplies one group.
///
/// # Safety
/// As [`super::multiply`].
pub(super) unsafe fn multiply(layout: &Layout, group: *const u8, input: Input, to: Output) {
    // SAFETY: a group has that many bytes.
    let group = unsafe { std::slice::from_raw_parts(group, layout.group_bytes) };
    let blocks = layout.columns / BLOCK;
    for (first, width) in tiles(input.tokens, EIGHT) {
        // SAFETY: the tile lies within the activations.
        let tile = unsafe {
            let at = input.tiles.add(first * blocks * BLOCK_BYTES);
            std::slice::from_raw_parts(at, width * blocks * BLOCK_BYTES)
        };
        let mut sums = [[0f32; ROWS]; EIGHT];
        for (block, activations) in tile.chunks_exact(width * BLOCK_BYTES).enumerate() {
            for row in 0..ROWS {
                let weights = Block::new(layout, group, block, row);
                for (token, sums) in sums.iter_mut().enumerate().take(width) {
                    sums[row] += weights.times(activations, width, token);
                }
            }
        }
        for (token, sums) in sums.into_iter().enumerate().take(width) {
            // SAFETY: the caller's: sixteen elements of each token are ours.
            unsafe { to.first.add((first + token) * to.stride).cast::<[f32; ROWS]>().write_unaligned(sums) };
        }
    }
}

/// A block of a row: weights are `scale` × the part's factor × (quant − `zero`) + `minimum` × the part's minimum.
struct Block {
    quants: [u8; BLOCK],
    zero: i32,
    scale: f32,
    factors: [i32; 2],
    minimum: Option<f32>,
    /// Where each part has one of its own.
    minima: Option<[i32; 2]>,
}

impl Block {
    fn new(layout: &Layout, group: &[u8], block: usize, row: usize) -> Self {
        let half_at = |at: usize| f16::from_le_bytes([group[at], group[at + 1]]).to_f32();
        let bits = quant_bits(layout.kind).unwrap_or(0);
        let mut planes = [0; FOURS];
        for (plane, word) in planes.iter_mut().enumerate().take(bits) {
            let at = (block * bits + plane) * PLANE + row * 4;
            *word = u32::from_le_bytes([group[at], group[at + 1], group[at + 2], group[at + 3]]);
        }
        let mut quants = [0; BLOCK];
        for (to, four) in quants.chunks_exact_mut(4).zip(from_planes(bits, planes)) {
            to.copy_from_slice(&four.to_le_bytes());
        }
        let place = block * HALVES + row * 2;
        let chunk = layout.scales + block / (SUPER / BLOCK) * chunk_bytes(layout.kind);
        let sub = block % (SUPER / BLOCK);
        let mut minima = None;
        let (scale, factors, minimum) = match layout.kind {
            TensorType::Q2_K => {
                let parts = [0, 1].map(|part| group[chunk + 2 * HALVES + (2 * sub + part) * ROWS + row]);
                minima = Some(parts.map(|part| i32::from(part >> 4)));
                let factors = parts.map(|part| i32::from(part & 15));
                (half_at(chunk + row * 2), factors, Some(-half_at(chunk + HALVES + row * 2)))
            }
            TensorType::Q3_K => {
                let packed = std::array::from_fn(|byte| group[chunk + HALVES + byte * ROWS + row]);
                let factor = |part: usize| i32::from(unpack_q3_scale(packed, 2 * sub + part)) - 32;
                (half_at(chunk + row * 2), [0, 1].map(factor), None)
            }
            TensorType::IQ4_XS => {
                let packed = std::array::from_fn(|byte| group[chunk + HALVES + byte * ROWS + row]);
                (half_at(chunk + row * 2), [i32::from(unpack_iq4_scale(packed, sub)) - 32; 2], None)
            }
            TensorType::Q4_K | TensorType::Q5_K => {
                let packed = std::array::from_fn(|byte| group[chunk + 2 * HALVES + byte * ROWS + row]);
                let (factor, minimum) = unpack_scale(packed, sub);
                let minimum = half_at(chunk + HALVES + row * 2) * -f32::from(minimum);
                (half_at(chunk + row * 2), [i32::from(factor); 2], Some(minimum))
            }
            TensorType::Q6_K => {
                let factor =
                    |part: usize| group[chunk + HALVES + (2 * sub + part) * ROWS + row].cast_signed();
                (half_at(chunk + row * 2), [0, 1].map(|part| i32::from(factor(part))), None)
            }
            TensorType::Q4_1 | TensorType::Q5_1 => {
                (half_at(layout.scales + place), [1; 2], Some(half_at(layout.minima + place)))
            }
            TensorType::MXFP4 => (mxfp4_half_scale(group[layout.scales + block * ROWS + row]), [1; 2], None),
            _ => (half_at(layout.scales + place), [1; 2], None),
        };
        if layout.kind == TensorType::MXFP4 {
            quants = quants.map(|code| FP4[usize::from(code)]);
        }
        if matches!(layout.kind, TensorType::IQ4_NL | TensorType::IQ4_XS) {
            quants = quants.map(|code| IQ4_HIGH[usize::from(code)]);
        }
        let zero = match layout.kind {
            TensorType::Q4_0 => 8,
            TensorType::Q5_0 => 16,
            TensorType::Q6_K => 32,
            TensorType::Q3_K => 4,
            TensorType::Q8_0 | TensorType::IQ4_NL | TensorType::IQ4_XS => 128,
            TensorType::MXFP4 => i32::from(FP4_ZERO),
            _ => 0,
        };
        Self { quants, zero, scale, factors, minimum, minima }
    }

    /// Its product with a token's activations.
    fn times(&self, tile: &[u8], width: usize, token: usize) -> f32 {
        let number = |at: usize| {
            let at = at + token * 4;
            f32::from_le_bytes([tile[at], tile[at + 1], tile[at + 2], tile[at + 3]])
        };
        let [scale_at, _, _, sum_at, ..] = numbers(width);
        let (mut dot, mut least) = (0, 0);
        for (part, factor) in self.factors.into_iter().enumerate() {
            let (mut products, mut activations) = (0, 0);
            for k in part * PART..(part + 1) * PART {
                let activation = i32::from(tile[(k / 4 * width + token) * 4 + k % 4].cast_signed());
                products += (i32::from(self.quants[k]) - self.zero) * activation;
                activations += activation;
            }
            dot += factor * products;
            least += self.minima.map_or(0, |minima| minima[part]) * activations;
        }
        #[allow(clippy::cast_precision_loss, reason = "rounded to 24 bits, as every kernel does")]
        let (product, least) = (dot as f32 * (self.scale * number(scale_at)), least as f32);
        let sum = if self.minima.is_some() { least * number(scale_at) } else { number(sum_at) };
        product + self.minimum.map_or(0.0, |minimum| minimum * sum)
    }
}
