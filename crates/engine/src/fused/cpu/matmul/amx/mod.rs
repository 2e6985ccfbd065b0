//! Products where the processor multiplies matrices (AMX), for prompts and for batches of sixteen tokens and more.
//!
//! A tile register holds up to sixteen rows of 64 bytes. One instruction multiplies sixteen tokens' activations with
//! sixteen rows of weights and adds to 256 sums: bytes, four columns of a row side by side, or bfloat16, two (Intel's
//! Optimization Reference Manual, "Intel AMX"). [`bytes`] is for quantized weights, [`halves`] for F16 and BF16.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]

mod bytes;
mod halves;
#[cfg(test)]
mod plain;
#[cfg(target_arch = "x86_64")]
mod registers;

use super::super::isa::SIXTEEN;
use super::registers::Dots;

pub(in crate::fused::cpu) use halves::{split, split_bytes};
#[cfg(test)]
pub(super) use plain::Plain;
#[cfg(target_arch = "x86_64")]
pub(super) use registers::Registers;

pub(super) use bytes::multiply as multiply_bytes;
pub(super) use halves::multiply as multiply_halves;

/// How far a tile register is used.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    rows: u8,
    row_bytes: u16,
}

impl Shape {
    /// Sums of sixteen tokens, of sixteen rows each.
    const SUMS: Self = Self { rows: 16, row_bytes: 64 };

    /// Tokens' rows of so many bytes.
    #[allow(clippy::cast_possible_truncation, reason = "sixteen")]
    const fn rows(row_bytes: u16) -> Self {
        Self { rows: SIXTEEN as u8, row_bytes }
    }

    /// The weights for rows of so many bytes.
    #[allow(clippy::cast_possible_truncation, reason = "at most 16")]
    const fn weights(row_bytes: u16) -> Self {
        Self { rows: (row_bytes / 4) as u8, row_bytes: 64 }
    }
}

/// Eight tile registers.
///
/// # Safety
/// The processor must have the implementation's instructions, and a pointer must be good for all rows of the register's
/// shape, each `stride` bytes after the one before. `SUMS`, `ROWS` and `FOURS` or `PAIRS` must be registers whose shapes
/// are those of a product.
pub(super) trait Tiles {
    /// The registers next to the tiles.
    type Wide: Dots;

    unsafe fn new(shapes: [Shape; 8]) -> Self;
    unsafe fn zero<const TILE: u8>(&mut self);
    unsafe fn load<const TILE: u8>(&mut self, from: *const u8, stride: usize);
    unsafe fn store<const TILE: u8>(&mut self, to: *mut u8, stride: usize);
    /// Adds the products of signed bytes to sums of 32 bits.
    unsafe fn dot_bytes<const SUMS: u8, const ROWS: u8, const FOURS: u8>(&mut self);
    /// Adds the products of bfloat16 to sums in single precision.
    unsafe fn dot_bf16<const SUMS: u8, const ROWS: u8, const PAIRS: u8>(&mut self);
    /// Does the work with the instructions enabled.
    unsafe fn enabled<W: Work>(work: W);
}

/// Something to do with tiles.
pub(super) trait Work {
    /// Does it; to be inlined, so that it's compiled for the instructions of `T`.
    ///
    /// # Safety
    /// That of what the work was made for; the processor must have the instructions of `T`.
    unsafe fn run<T: Tiles>(self);
}
