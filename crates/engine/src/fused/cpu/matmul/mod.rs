//! `out[token][row] = Σ activations[token][k] × weights[row][k]`, for a range of 16-row groups and all tokens.
//!
//! One thread per call; the caller gives each thread groups of its own. The outer loop is over groups and the inner
//! one over tiles of tokens, so a group's weights stay in the first cache while all tokens pass. The same bytes serve
//! one token and five hundred.
#![allow(unsafe_code, reason = "kernels over computed places, chosen by what the processor has")]

#[cfg(any(test, target_arch = "x86_64"))]
mod dots;
mod float;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod portable;
#[cfg(any(test, target_arch = "x86_64"))]
mod registers;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

use super::isa::Isa;
use super::pack::{Layout, ROWS, is_quantized};

/// A packed matrix in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    pub(super) layout: Layout,
    /// The first group, aligned to 64 bytes.
    pub(super) groups: *const u8,
}

/// Activations of `tokens` tokens: packed in tiles for quantized weights, else plain rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input {
    pub(super) tokens: usize,
    /// [`activations::packed_bytes`](super::activations::packed_bytes) of them.
    pub(super) tiles: *const u8,
    /// Rows of as many elements as the matrix has columns.
    pub(super) rows: *const f32,
    /// Elements from one row to the next.
    pub(super) stride: usize,
}

/// Where the results go: `stride` elements from one token to the next, at least sixteen times the number of groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) first: *mut f32,
    pub(super) stride: usize,
}

/// Multiplies the rows of `groups`.
///
/// # Safety
/// The pointers must be good for what their fields say, and nobody may touch those rows of the output meanwhile.
pub(super) unsafe fn multiply(
    isa: Isa,
    weights: Weights,
    groups: Range<usize>,
    input: Input,
    output: Output,
) {
    if !is_quantized(weights.layout.kind) {
        // SAFETY: the pointers are good and the rows nobody else's, by this function's contract.
        return unsafe { float::multiply(isa, weights, groups, input, output) };
    }
    for group in groups {
        // SAFETY: the group lies within the matrix, its rows within the output.
        unsafe {
            let bytes = weights.groups.add(group * weights.layout.group_bytes);
            let to = Output { first: output.first.add(group * ROWS), ..output };
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Vnni => vnni::multiply(&weights.layout, bytes, input, to),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => pairs::multiply::<registers::Whole>(&weights.layout, bytes, input, to),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => pairs::multiply::<registers::Halves>(&weights.layout, bytes, input, to),
                _ => portable::multiply(&weights.layout, bytes, input, to),
            }
        }
    }
}
