//! Sixteen single-precision numbers at once, for each instruction set: one source for the kernels that are not int8.
//!
//! A kernel is a generic function over [`Lanes`], always inlined into one wrapper for each instruction set that
//! enables its features; there the compiler turns these calls into instructions. Outside such a wrapper they would be
//! calls, or on another processor illegal instructions: hence every method is unsafe.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(unsafe_code, reason = "instructions that are looked for at run time, and loads from pointers")]

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use portable::Plain;

/// Lanes of a vector.
pub(super) const LANES: usize = 16;

/// Coefficients of 2^x on [-½, ½] by powers of x: the Taylor series in x·ln 2, whose next term is below 1.2e-7.
const EXP2: [f32; 7] =
    [1.540_353e-4, 1.333_355_8e-3, 9.618_13e-3, 5.550_411e-2, 0.240_226_5, std::f32::consts::LN_2, 1.0];
/// The bits of 2^−127, the one power of [`Lanes::load_powers`] below the normal numbers: no exponent's own bits say it.
const LEAST_POWER: u32 = 1 << 22;
/// Below this e^x is taken as e^this: the smallest normal number's neighbourhood.
const EXP_LEAST: f32 = -87.0;

/// Sixteen single-precision numbers.
///
/// # Safety
/// The processor must have the implementation's instructions, and pointers must be good for 16 elements, aligned to
/// one element.
pub(super) trait Lanes: Copy {
    /// Registers of sixteen numbers that the processor has.
    const REGISTERS: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// Reads half precision; exact.
    unsafe fn load_f16(from: *const u16) -> Self;
    /// Reads the upper halves of single-precision numbers; exact.
    unsafe fn load_bf16(from: *const u16) -> Self;
    /// Sixteen 8-bit integers as numbers.
    unsafe fn load_i8(from: *const i8) -> Self;
    /// Two to the power of sixteen bytes less 127; exact, and infinite for 255.
    unsafe fn load_powers(from: *const u8) -> Self;
    /// Writes half precision, rounded to nearest even.
    unsafe fn store_f16(self, to: *mut u16);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// `self` × `factor` + `sum`, rounded once where the processor can.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    unsafe fn reduce_add(self) -> f32;
    unsafe fn reduce_max(self) -> f32;
    /// Asks the memory for the 64 bytes around `at`, which will be read soon, as [`hint`](super::prefetch::hint) says.
    unsafe fn ask<const HINT: u8>(at: *const u8);
    /// e^x; a NaN stays one.
    unsafe fn exp(self) -> Self;
    /// Rounded to nearest even as 8-bit integers; the numbers must be within ±127.
    unsafe fn store_i8(self, to: *mut i8);
    /// Sums of the numbers rounded to nearest even: of those in lanes 0 and 1 of each four, and of 2 and 3.
    unsafe fn rounded_sums(self) -> [i32; 2];
}

/// Asks for the cache lines of `bytes` bytes, as [`hint`](super::prefetch::hint) says; whether they are there does not
/// matter.
///
/// # Safety
/// The processor must have what `V` needs.
#[inline(always)]
pub(super) unsafe fn ask_as<V: Lanes, const HINT: u8>(first: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: the processor has what `V` needs, by this function's contract.
        unsafe { V::ask::<HINT>(first.wrapping_add(line)) };
    }
}

/// Makes a kernel that takes the instruction set of a generic one, with a wrapper for each that enables its features.
macro_rules! for_each_isa {
    ($(#[$doc:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $type:ty),* $(,)?) = $generic:ident) => {
        $(#[$doc])*
        $vis unsafe fn $name(isa: $crate::fused::cpu::isa::Isa, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::fused::cpu::isa::Isa;
                #[target_feature(enable = "avx2,fma,f16c")]
                unsafe fn avx2($($arg: $type),*) {
                    // SAFETY: `$name`'s contract is kept, and the instructions are enabled here.
                    unsafe { $generic::<$crate::fused::cpu::lanes::Avx2>($($arg),*) };
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
                unsafe fn avx512($($arg: $type),*) {
                    // SAFETY: `$name`'s contract is kept, and the instructions are enabled here.
                    unsafe { $generic::<$crate::fused::cpu::lanes::Avx512>($($arg),*) };
                }
                // SAFETY: `$name`'s contract is kept, and an `Isa` above `Portable` is made only where the processor has it.
                return unsafe {
                    match isa {
                        Isa::Portable => $generic::<$crate::fused::cpu::lanes::Plain>($($arg),*),
                        Isa::Avx2 => avx2($($arg),*),
                        Isa::Avx512 | Isa::Avx512Vnni | Isa::Amx => avx512($($arg),*),
                    }
                };
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = isa;
                // SAFETY: `$name`'s contract is kept, and plain Rust needs no instructions.
                unsafe { $generic::<$crate::fused::cpu::lanes::Plain>($($arg),*) };
            }
        }
    };
}
pub(super) use for_each_isa;
