//! Sixteen numbers in two registers of AVX2, with FMA and F16C.
#![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]

use std::arch::x86_64::*;

use super::super::prefetch::ask;
use super::{EXP_LEAST, EXP2, LANES, LEAST_POWER, Lanes};

/// Two registers of AVX2.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2(pub(in super::super) __m256, pub(in super::super) __m256);

impl Avx2 {
    /// Rounded to nearest even as 32-bit integers.
    ///
    /// # Safety
    /// As the methods of [`Lanes`]: the processor must have AVX2.
    #[inline(always)]
    unsafe fn to_i32(self) -> (__m256i, __m256i) {
        // SAFETY: the processor has AVX2, by this method's contract.
        unsafe { (_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1)) }
    }
}

/// Methods that are one instruction for each half.
macro_rules! each_is {
    ($($method:ident = $instruction:ident;)*) => {$(
        #[inline(always)]
        unsafe fn $method(self, other: Self) -> Self {
            // SAFETY: by the trait's contract the processor has AVX2.
            unsafe { Self($instruction(self.0, other.0), $instruction(self.1, other.1)) }
        }
    )*};
}
pub(in super::super) use each_is;

impl Lanes for Avx2 {
    const REGISTERS: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2 and `from` is good for sixteen elements.
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(LANES / 2))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: by the trait's contract the processor has AVX2 and `to` is good for sixteen elements.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(LANES / 2), self.1);
        }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2 and `from` is good for sixteen elements.
        unsafe {
            Self(
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(LANES / 2).cast())),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2 and `from` is good for sixteen elements.
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
        // SAFETY: by the trait's contract the processor has AVX2 and `from` is good for sixteen elements.
        unsafe {
            let eight = |at: *const i8| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at.cast())));
            Self(eight(from), eight(from.add(LANES / 2)))
        }
    }

    #[inline(always)]
    unsafe fn load_powers(from: *const u8) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2 and `from` is good for sixteen elements.
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
        // SAFETY: by the trait's contract the processor has AVX2 and `to` is good for sixteen elements.
        unsafe {
            _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0));
            _mm_storeu_si128(to.add(LANES / 2).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1));
        }
    }

    each_is! {
        add = _mm256_add_ps;
        sub = _mm256_sub_ps;
        mul = _mm256_mul_ps;
        div = _mm256_div_ps;
        max = _mm256_max_ps;
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1))
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, sum.0), _mm256_fmadd_ps(self.1, factor.1, sum.1)) }
    }

    #[inline(always)]
    unsafe fn ask<const HINT: u8>(at: *const u8) {
        ask::<HINT>(at);
    }

    #[inline(always)]
    unsafe fn reduce_add(self) -> f32 {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe {
            let eight = _mm256_add_ps(self.0, self.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        // SAFETY: by the trait's contract the processor has AVX2.
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
            // SAFETY: by the trait's contract the processor has AVX2.
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
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Self(eight(self.0), eight(self.1)) }
    }

    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        // SAFETY: by the trait's contract the processor has AVX2 and `to` is good for sixteen elements.
        unsafe {
            let (low, high) = self.to_i32();
            // Packing works within halves of a register; the permutation puts the quarters in order.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn rounded_sums(self) -> [i32; 2] {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe {
            let (low, high) = self.to_i32();
            pair_sums(_mm256_add_epi32(low, high))
        }
    }
}

/// Sums of the lanes 0, 1, 4 and 5, and of the others.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
pub(super) unsafe fn pair_sums(eight: __m256i) -> [i32; 2] {
    // SAFETY: the processor has AVX2, by this function's contract.
    unsafe {
        let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b10_11_00_01>(four));
        [_mm_cvtsi128_si32(two), _mm_extract_epi32::<2>(two)]
    }
}
