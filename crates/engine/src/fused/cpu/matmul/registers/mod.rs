//! Registers of 64 bytes that the kernels for quantized weights are written over: four bytes of each of sixteen rows,
//! or two numbers of 16 bits of each, or one of 32.
//!
//! A method is an instruction or two, so that a kernel is written once for every width of register, and runs in plain
//! Rust in the tests of a processor without them.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]

mod ahead;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod parts;
#[cfg(test)]
mod portable;

use crate::fused::cpu::lanes::Lanes;

pub(super) use ahead::Ahead;
#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Halves;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Whole;
pub(super) use parts::{half, number, plane, unpack_iq4_scales, unpack_q3_scales, unpack_scales, word};
#[cfg(test)]
pub(super) use portable::Register;

/// 64 bytes.
///
/// # Safety
/// The processor must have the implementation's instructions, and pointers must be good for what is read or written.
pub(super) trait Wide: Copy {
    /// Sixteen single-precision numbers.
    type Numbers: Lanes;

    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    /// The same 32 bits sixteen times.
    unsafe fn splat(value: i32) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    /// Each 16 bits moved down.
    unsafe fn down<const BITS: u32>(self) -> Self;
    /// Each 16 bits moved up.
    unsafe fn up<const BITS: u32>(self) -> Self;
    /// Sixteen bytes again and again.
    unsafe fn table(bytes: &[u8; 16]) -> Self;
    /// For each byte, which must be below 16, that byte of the table.
    unsafe fn of_table(self, table: Self) -> Self;
    /// Sums of 32 bits.
    unsafe fn add(self, other: Self) -> Self;
    /// Sums of 16 bits, which wrap.
    unsafe fn add_16(self, other: Self) -> Self;
    /// Differences of 16 bits, which wrap.
    unsafe fn sub_16(self, other: Self) -> Self;
    /// The lower halves of products of 16 bits.
    unsafe fn times_16(self, other: Self) -> Self;
    /// In each 32 bits the sum of two products of 16 bits.
    unsafe fn pairs_times(self, factors: Self) -> Self;
    /// Sixteen bytes, each twice as a pair of 16 bits.
    unsafe fn twice<const SIGNED: bool>(from: *const u8) -> Self;
    /// In each 32 bits the sum of two numbers of 16 bits.
    unsafe fn pair_sums(self) -> Self;
    /// Numbers of 32 bits as single precision.
    unsafe fn numbers(self) -> Self::Numbers;
    /// Sixteen bytes as single precision.
    unsafe fn bytes(from: *const u8) -> Self::Numbers;
    /// Asks for 64 bytes that are read soon, as [`hint`](crate::fused::cpu::prefetch::hint) says.
    unsafe fn prefetch<const HINT: u8>(at: *const u8);
}

/// With an instruction for dot products of bytes.
///
/// # Safety
/// As [`Wide`].
pub(super) trait Dots: Wide {
    /// Differences of bytes, which wrap.
    unsafe fn sub_8(self, other: Self) -> Self;
    /// Adds to each 32 bits the products of four bytes without sign and four with.
    unsafe fn dot(self, unsigned: Self, signed: Self) -> Self;
    /// Adds to each 32 bits two products of 16 bits.
    unsafe fn dot_pairs(self, one: Self, other: Self) -> Self;
}

/// With products of bytes in 16 bits only.
///
/// # Safety
/// As [`Wide`].
#[cfg(target_arch = "x86_64")]
pub(super) trait Pairs: Wide {
    /// Tokens whose sums the registers hold.
    const TOKENS: usize;
    /// Which bytes are negative.
    type Signs: Copy;

    /// In each 16 bits the sum of the products of two bytes, here without sign and in `signed` with.
    unsafe fn products(self, signed: Self) -> Self;
    /// Its argument, by no instruction: sums stay as written. Else the compiler takes them apart, puts them together
    /// token by token, and keeps all quants of a block in memory meanwhile.
    unsafe fn keep(self) -> Self;
    /// Of bytes that are 128 too high, the sizes and the signs; −128 has the size 128 when read without sign.
    unsafe fn sizes_and_signs(self) -> (Self, Self::Signs);
    /// Bytes with their signs turned where those are negative; of no meaning where they come from a zero.
    unsafe fn turned(self, signs: Self::Signs) -> Self;
}
