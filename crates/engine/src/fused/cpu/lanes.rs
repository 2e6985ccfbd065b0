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
#![allow(clippy::missing_safety_doc, reason = "said once, at the trait")]

use half::f16;

use super::prefetch::hint;

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
    /// Asks the memory for the 64 bytes around `at`, which will be read soon, as [`hint`] says.
    unsafe fn ask<const HINT: u8>(at: *const u8);
    /// e^x; a NaN stays one.
    unsafe fn exp(self) -> Self;
    /// Rounded to nearest even as 8-bit integers; the numbers must be within ±127.
    unsafe fn store_i8(self, to: *mut i8);
    /// Sums of the numbers rounded to nearest even: of those in lanes 0 and 1 of each four, and of 2 and 3.
    unsafe fn rounded_sums(self) -> [i32; 2];
}

/// Asks for the cache lines of `bytes` bytes, as [`hint`] says; whether they are there does not matter.
///
/// # Safety
/// The processor must have what `V` needs.
#[inline(always)]
pub(super) unsafe fn ask_as<V: Lanes, const HINT: u8>(first: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(64) {
        // SAFETY: the caller's.
        unsafe { V::ask::<HINT>(first.wrapping_add(line)) };
    }
}

/// Plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Plain([f32; LANES]);

impl Plain {
    #[inline(always)]
    fn map(self, each: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(each))
    }

    #[inline(always)]
    fn with(self, other: Self, each: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| each(self.0[lane], other.0[lane])))
    }
}

/// Pairwise, as the vector versions add.
fn halves(values: [f32; LANES], each: impl Fn(f32, f32) -> f32) -> f32 {
    let mut values = values;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            values[lane] = each(values[lane], values[lane + width]);
        }
        width /= 2;
    }
    values[0]
}

impl Lanes for Plain {
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) };
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: the caller's.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        Self(bits.map(|bits| f16::from_bits(bits).to_f32()))
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: the caller's.
        let bits = unsafe { from.cast::<[u16; LANES]>().read_unaligned() };
        Self(bits.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[i8; LANES]>().read_unaligned() }.map(f32::from))
    }

    #[inline(always)]
    unsafe fn load_powers(from: *const u8) -> Self {
        // SAFETY: the caller's.
        let exponents = unsafe { from.cast::<[u8; LANES]>().read_unaligned() };
        Self(exponents.map(|exponent| f32::from_bits((u32::from(exponent) << 23).max(LEAST_POWER))))
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        // SAFETY: the caller's.
        unsafe {
            to.cast::<[u16; LANES]>().write_unaligned(self.0.map(|value| f16::from_f32(value).to_bits()));
        };
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.with(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.with(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.with(other, |a, b| a / b)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // As the instruction: the second when either is no number.
        self.with(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        self.map(f32::abs)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // Without the instruction one rounding would be a call of the mathematics library for each number.
        Self(std::array::from_fn(|lane| self.0[lane] * factor.0[lane] + sum.0[lane]))
    }

    #[inline(always)]
    unsafe fn ask<const HINT: u8>(_: *const u8) {}

    #[inline(always)]
    unsafe fn reduce_add(self) -> f32 {
        halves(self.0, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        halves(self.0, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn exp(self) -> Self {
        self.map(|x| {
            if x.is_nan() {
                return x;
            }
            let t = x.max(EXP_LEAST) * std::f32::consts::LOG2_E;
            let n = t.round_ties_even();
            let power = EXP2.iter().fold(0.0, |sum, coefficient| sum * (t - n) + coefficient);
            #[allow(clippy::cast_possible_truncation, reason = "a whole number of at most 128 by size")]
            let exponent = (n as i32).min(128);
            // In two steps, since 2^128 is no number.
            let half = exponent / 2;
            let two_to = |e: i32| f32::from_bits(u32::try_from((e + 127) << 23).unwrap_or(0));
            power * two_to(half) * two_to(exponent - half)
        })
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "within ±127 by contract")]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: the caller's.
        unsafe {
            to.cast::<[i8; LANES]>().write_unaligned(self.0.map(|value| value.round_ties_even() as i8));
        };
    }

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "within ±127 by contract")]
    unsafe fn rounded_sums(self) -> [i32; 2] {
        [0, 2].map(|from| {
            let pairs = self.0.chunks_exact(4).flat_map(|four| &four[from..from + 2]);
            pairs.map(|value| value.round_ties_even() as i32).sum()
        })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]

    use std::arch::x86_64::*;

    use super::{EXP_LEAST, EXP2, LANES, LEAST_POWER, Lanes, hint};

    /// One register of AVX-512.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512(pub(in super::super) __m512);

    impl Lanes for Avx512 {
        const REGISTERS: usize = 32;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_set1_ps(value)) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_loadu_ps(from)) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the trait's.
            unsafe { _mm512_storeu_ps(to, self.0) };
        }

        #[inline(always)]
        unsafe fn load_f16(from: *const u16) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
        }

        #[inline(always)]
        unsafe fn load_bf16(from: *const u16) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)))
            }
        }

        #[inline(always)]
        unsafe fn load_i8(from: *const i8) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))) }
        }

        #[inline(always)]
        unsafe fn load_powers(from: *const u8) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let exponents = _mm512_slli_epi32::<23>(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())));
                let least = _mm512_set1_epi32(LEAST_POWER.cast_signed());
                Self(_mm512_castsi512_ps(_mm512_max_epi32(exponents, least)))
            }
        }

        #[inline(always)]
        unsafe fn store_f16(self, to: *mut u16) {
            // SAFETY: the trait's.
            unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) };
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_add_ps(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_div_ps(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_max_ps(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn abs(self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_abs_ps(self.0)) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, sum.0)) }
        }

        #[inline(always)]
        unsafe fn ask<const HINT: u8>(at: *const u8) {
            // SAFETY: asking for what is not there does nothing.
            unsafe {
                match HINT {
                    hint::PAST => _mm_prefetch::<_MM_HINT_NTA>(at.cast()),
                    hint::SECOND => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
                    _ => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
                }
            }
        }

        #[inline(always)]
        unsafe fn reduce_add(self) -> f32 {
            // SAFETY: the trait's.
            unsafe { _mm512_reduce_add_ps(self.0) }
        }

        #[inline(always)]
        unsafe fn reduce_max(self) -> f32 {
            // SAFETY: the trait's.
            unsafe { _mm512_reduce_max_ps(self.0) }
        }

        #[inline(always)]
        unsafe fn exp(self) -> Self {
            // SAFETY: the trait's.
            unsafe {
                // The second operand is given back when either is no number, so x stands there.
                let x = _mm512_max_ps(_mm512_set1_ps(EXP_LEAST), self.0);
                let t = _mm512_mul_ps(x, _mm512_set1_ps(std::f32::consts::LOG2_E));
                let n = _mm512_roundscale_ps::<_MM_FROUND_TO_NEAREST_INT>(t);
                let f = _mm512_sub_ps(t, n);
                let mut power = _mm512_set1_ps(EXP2[0]);
                for coefficient in &EXP2[1..] {
                    power = _mm512_fmadd_ps(power, f, _mm512_set1_ps(*coefficient));
                }
                Self(_mm512_scalef_ps(power, n))
            }
        }

        #[inline(always)]
        unsafe fn store_i8(self, to: *mut i8) {
            // SAFETY: the trait's.
            unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0))) };
        }

        #[inline(always)]
        unsafe fn rounded_sums(self) -> [i32; 2] {
            // SAFETY: the trait's.
            unsafe {
                let all = _mm512_cvtps_epi32(self.0);
                let (low, high) = (_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
                pair_sums(_mm256_add_epi32(low, high))
            }
        }
    }

    /// Two registers of AVX2.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2(pub(in super::super) __m256, pub(in super::super) __m256);

    impl Avx2 {
        #[inline(always)]
        unsafe fn to_i32(self) -> (__m256i, __m256i) {
            // SAFETY: the trait's.
            unsafe { (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1)) }
        }
    }

    impl Lanes for Avx2 {
        const REGISTERS: usize = 8;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(LANES / 2))) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the trait's.
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(LANES / 2), self.1);
            }
        }

        #[inline(always)]
        unsafe fn load_f16(from: *const u16) -> Self {
            // SAFETY: the trait's.
            unsafe {
                Self(
                    _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                    _mm256_cvtph_ps(_mm_loadu_si128(from.add(LANES / 2).cast())),
                )
            }
        }

        #[inline(always)]
        unsafe fn load_bf16(from: *const u16) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let eight = |at: *const u16| {
                    let words = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words))
                };
                Self(eight(from), eight(from.add(LANES / 2)))
            }
        }

        #[inline(always)]
        unsafe fn load_i8(from: *const i8) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let eight =
                    |at: *const i8| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast())));
                Self(eight(from), eight(from.add(LANES / 2)))
            }
        }

        #[inline(always)]
        unsafe fn load_powers(from: *const u8) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let eight = |at: *const u8| {
                    let exponents = _mm256_slli_epi32::<23>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast())));
                    let least = _mm256_set1_epi32(LEAST_POWER.cast_signed());
                    _mm256_castsi256_ps(_mm256_max_epi32(exponents, least))
                };
                Self(eight(from), eight(from.add(LANES / 2)))
            }
        }

        #[inline(always)]
        unsafe fn store_f16(self, to: *mut u16) {
            // SAFETY: the trait's.
            unsafe {
                _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0));
                _mm_storeu_si128(
                    to.add(LANES / 2).cast(),
                    _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1),
                );
            }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn abs(self) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let sign = _mm256_set1_ps(-0.0);
                Self(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1))
            }
        }

        #[inline(always)]
        unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
            // SAFETY: the trait's.
            unsafe {
                Self(_mm256_fmadd_ps(self.0, factor.0, sum.0), _mm256_fmadd_ps(self.1, factor.1, sum.1))
            }
        }

        #[inline(always)]
        unsafe fn ask<const HINT: u8>(at: *const u8) {
            // SAFETY: asking for what is not there does nothing.
            unsafe {
                match HINT {
                    hint::PAST => _mm_prefetch::<_MM_HINT_NTA>(at.cast()),
                    hint::SECOND => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
                    _ => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
                }
            }
        }

        #[inline(always)]
        unsafe fn reduce_add(self) -> f32 {
            // SAFETY: the trait's.
            unsafe {
                let eight = _mm256_add_ps(self.0, self.1);
                let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }

        #[inline(always)]
        unsafe fn reduce_max(self) -> f32 {
            // SAFETY: the trait's.
            unsafe {
                let eight = _mm256_max_ps(self.0, self.1);
                let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
            }
        }

        #[inline(always)]
        unsafe fn exp(self) -> Self {
            #[inline(always)]
            unsafe fn eight(x: __m256) -> __m256 {
                // SAFETY: the trait's.
                unsafe {
                    let x = _mm256_max_ps(_mm256_set1_ps(EXP_LEAST), x);
                    let t = _mm256_mul_ps(x, _mm256_set1_ps(std::f32::consts::LOG2_E));
                    // 2^128 is infinity, and the two factors below reach no further.
                    let t = _mm256_min_ps(_mm256_set1_ps(128.0), t);
                    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(t);
                    let f = _mm256_sub_ps(t, n);
                    let mut power = _mm256_set1_ps(EXP2[0]);
                    for coefficient in &EXP2[1..] {
                        power = _mm256_fmadd_ps(power, f, _mm256_set1_ps(*coefficient));
                    }
                    // In two steps, since 2^128 is no number.
                    let exponent = _mm256_cvtps_epi32(n);
                    let half = _mm256_srai_epi32::<1>(exponent);
                    let bias = _mm256_set1_epi32(127);
                    let first = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
                    let rest = _mm256_sub_epi32(exponent, half);
                    let second = _mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias));
                    let power = _mm256_mul_ps(power, _mm256_castsi256_ps(first));
                    _mm256_mul_ps(power, _mm256_castsi256_ps(second))
                }
            }
            // SAFETY: the trait's.
            unsafe { Self(eight(self.0), eight(self.1)) }
        }

        #[inline(always)]
        unsafe fn store_i8(self, to: *mut i8) {
            // SAFETY: the trait's.
            unsafe {
                let (low, high) = self.to_i32();
                // Packing works within halves of a register; the permutation puts the quarters in order.
                let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
                let bytes =
                    _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                _mm_storeu_si128(to.cast(), bytes);
            }
        }

        #[inline(always)]
        unsafe fn rounded_sums(self) -> [i32; 2] {
            // SAFETY: the trait's.
            unsafe {
                let (low, high) = self.to_i32();
                pair_sums(_mm256_add_epi32(low, high))
            }
        }
    }

    /// Sums of the lanes 0, 1, 4 and 5, and of the others.
    #[inline(always)]
    unsafe fn pair_sums(eight: __m256i) -> [i32; 2] {
        // SAFETY: the trait's.
        unsafe {
            let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b10_11_00_01>(four));
            [_mm_cvtsi128_si32(two), _mm_extract_epi32::<2>(two)]
        }
    }
}
