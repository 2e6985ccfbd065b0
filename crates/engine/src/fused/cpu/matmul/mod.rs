//! `out[token][row] = Σ activations[token][k] × weights[row][k]`, for a range of 16-row groups and all tokens.
//!
//! One thread per call; the caller gives each thread groups of its own. The outer loop is over groups and the inner
//! one over tiles of tokens, so a group's weights stay in the first cache while all tokens pass. The same bytes serve
//! one token and five hundred.
#![allow(unsafe_code, reason = "kernels over computed places, chosen by what the processor has")]

mod amx;
#[cfg(any(test, target_arch = "x86_64"))]
mod dots;
mod float;
#[cfg(any(test, target_arch = "x86_64"))]
mod formats;
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

use crate::model::TensorType;

use super::activations::packed_bytes;
use super::isa::Isa;
use super::pack::{Layout, ROWS, is_quantized};

pub(super) use amx::{split, split_bytes};

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
    /// [`split_bytes`] of the rows' parts; null where they were not split.
    pub(super) parts: *const u8,
}

impl Input {
    /// The tokens from `first` on, for a matrix of `columns`.
    ///
    /// # Safety
    /// `first` must be among the tokens, or their number, and begin a tile.
    unsafe fn after(self, first: usize, columns: usize) -> Self {
        // SAFETY: by this method's contract.
        unsafe {
            let tiles = self.tiles.add(packed_bytes(first, columns));
            let rows = self.rows.add(first * self.stride);
            Self { tokens: self.tokens - first, tiles, rows, ..self }
        }
    }
}

/// Where the results go: `stride` elements from one token to the next, at least sixteen times the number of groups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub(super) first: *mut f32,
    pub(super) stride: usize,
}

impl Output {
    /// The rows from that of token `first` on.
    ///
    /// # Safety
    /// `first` must be among the tokens, or their number.
    unsafe fn after(self, first: usize) -> Self {
        // SAFETY: by this method's contract.
        unsafe { Self { first: self.first.add(first * self.stride), ..self } }
    }
}

/// In which form the kernels of `isa` take the activations for weights of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Single precision, row by row.
    Rows,
    /// That, and the rows of whole tiles split into parts.
    Parts,
    /// Quantized, in tiles.
    Tiles,
}

impl Form {
    pub(super) fn of(isa: Isa, kind: TensorType) -> Self {
        match kind {
            TensorType::F16 | TensorType::BF16 if isa == Isa::Amx => Self::Parts,
            _ if is_quantized(kind) => Self::Tiles,
            _ => Self::Rows,
        }
    }
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
    let form = Form::of(isa, weights.layout.kind);
    let full = match form {
        Form::Parts if input.parts.is_null() => 0,
        Form::Parts | Form::Tiles => isa.full_tiles(input.tokens),
        Form::Rows => 0,
    };
    #[cfg(target_arch = "x86_64")]
    if full > 0 {
        // SAFETY: the pointers are good and the rows nobody else's, by this function's contract.
        unsafe {
            let tiled = Input { tokens: full, ..input };
            if form == Form::Tiles {
                amx::multiply_bytes::<amx::Registers>(weights, groups.clone(), tiled, output);
            } else {
                amx::multiply_halves::<amx::Registers>(weights, groups.clone(), tiled, output);
            }
        }
    }
    if full == input.tokens {
        return;
    }
    // SAFETY: the pointers are good and the rows nobody else's, by this function's contract. The tokens that fill no tile
    // of sixteen come last.
    unsafe {
        let (input, output) = (input.after(full, weights.layout.columns), output.after(full));
        if form != Form::Tiles {
            return float::multiply(isa, weights, groups, input, output);
        }
        for group in groups {
            let bytes = weights.groups.add(group * weights.layout.group_bytes);
            let to = Output { first: output.first.add(group * ROWS), ..output };
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Vnni | Isa::Amx => vnni::multiply(&weights.layout, bytes, input, to),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => pairs::multiply::<registers::Whole>(&weights.layout, bytes, input, to),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => pairs::multiply::<registers::Halves>(&weights.layout, bytes, input, to),
                _ => portable::multiply(&weights.layout, bytes, input, to),
            }
        }
    }
}
