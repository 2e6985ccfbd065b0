//! Quantized weights in plain Rust: what every faster kernel is compared with.

use half::f16;

use crate::model::TensorType;

use super::super::activations::{BLOCK_BYTES, numbers, tiles};
use super::super::pack::{BLOCK, Layout, ROWS};
use super::{Input, Output, has_minima};

/// Multiplies one group.
///
/// # Safety
/// As [`super::multiply`].
pub(super) unsafe fn multiply(layout: &Layout, group: *const u8, input: Input, to: Output) {
    // SAFETY: a group has that many bytes.
    let group = unsafe { std::slice::from_raw_parts(group, layout.group_bytes) };
    let blocks = layout.columns / BLOCK;
    for (first, width) in tiles(input.tokens) {
        // SAFETY: the tile lies within the activations.
        let tile = unsafe {
            let at = input.tiles.add(first * blocks * BLOCK_BYTES);
            std::slice::from_raw_parts(at, width * blocks * BLOCK_BYTES)
        };
        for token in 0..width {
            let mut sums = [0f32; ROWS];
            for (block, numbers) in tile.chunks_exact(width * BLOCK_BYTES).enumerate() {
                add_block(layout, group, block, numbers, width, token, &mut sums);
            }
            // SAFETY: the caller's: sixteen elements of each token are ours.
            unsafe { to.first.add((first + token) * to.stride).cast::<[f32; ROWS]>().write_unaligned(sums) };
        }
    }
}

fn add_block(
    layout: &Layout,
    group: &[u8],
    block: usize,
    tile: &[u8],
    width: usize,
    token: usize,
    sums: &mut [f32; ROWS],
) {
    let four_at = |at: usize| [tile[at], tile[at + 1], tile[at + 2], tile[at + 3]];
    let [scale, off_8, off_128, sum] = numbers(width).map(|at| four_at(at + token * 4));
    let half_at = |at: usize| f16::from_le_bytes([group[at], group[at + 1]]).to_f32();
    for (row, total) in sums.iter_mut().enumerate() {
        let mut dot = match layout.kind {
            TensorType::Q4_0 => i32::from_le_bytes(off_8),
            TensorType::Q8_0 => i32::from_le_bytes(off_128),
            _ => 0,
        };
        for k in 0..BLOCK {
            let activation = tile[(k / 4 * width + token) * 4 + k % 4].cast_signed();
            let weight = if layout.kind == TensorType::Q8_0 {
                group[block * 512 + k / 4 * 64 + row * 4 + k % 4]
            } else {
                let byte = group[block * 256 + k % 16 / 4 * 64 + row * 4 + k % 4];
                if k < 16 { byte & 15 } else { byte >> 4 }
            };
            dot += i32::from(weight) * i32::from(activation);
        }
        let place = (block * ROWS + row) * 2;
        #[allow(clippy::cast_precision_loss, reason = "below 2^24: 32 × 255 × 127 and the start value")]
        let product = dot as f32 * (half_at(layout.scales + place) * f32::from_le_bytes(scale));
        *total += product;
        if has_minima(layout.kind) {
            *total += half_at(layout.minima + place) * f32::from_le_bytes(sum);
        }
    }
}
