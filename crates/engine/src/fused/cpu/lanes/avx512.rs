//! Sixteen numbers in one register of AVX-512.
#![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]

use std::arch::x86_64::*;

use super::super::prefetch::ask;
use super::avx2::pair_sums;
use super::{EXP_LEAST, EXP2, LEAST_POWER, Lanes};

/// One register of AVX-512.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx512(pub(in super::super) __m512);

/// Methods that are one instruction.
macro_rules! each_is {
    ($($method:ident = $instruction:ident;)*) => {$(
        #[inline(always)]
        unsafe fn $method(self, other: Self) -> Self {
            // SAFETY: by the trait's contract the processor has AVX-512.
            unsafe { Self($instruction(self.0, other.0)) }
        }
    )*};
}
pub(in super::super) use each_is;

impl Lanes for Avx512 {
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 and `from` is good for sixteen elements.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: by the trait's contract the processor has AVX-512 and `to` is good for sixteen elements.
        unsafe { _mm512_storeu_ps(to, self.0) };
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 and `from` is good for sixteen elements.
        unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 and `from` is good for sixteen elements.
        unsafe {
            let words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)))
        }
    }

    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 and `from` is good for sixteen elements.
        unsafe { Self(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_powers(from: *const u8) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 and `from` is good for sixteen elements.
        unsafe {
            let exponents = _mm512_slli_epi32::<23>(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())));
            let least = _mm512_set1_epi32(LEAST_POWER.cast_signed());
            Self(_mm512_castsi512_ps(_mm512_max_epi32(exponents, least)))
        }
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut u16) {
        // SAFETY: by the trait's contract the processor has AVX-512 and `to` is good for sixteen elements.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) };
    }

    each_is! {
        add = _mm512_add_ps;
        sub = _mm512_sub_ps;
        mul = _mm512_mul_ps;
        div = _mm512_div_ps;
        max = _mm512_max_ps;
    }

    #[inline(always)]
    unsafe fn abs(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_abs_ps(self.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, sum.0)) }
    }

    #[inline(always)]
    unsafe fn ask<const HINT: u8>(at: *const u8) {
        ask::<HINT>(at);
    }

    #[inline(always)]
    unsafe fn reduce_add(self) -> f32 {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { _mm512_reduce_add_ps(self.0) }
    }

    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { _mm512_reduce_max_ps(self.0) }
    }

    #[inline(always)]
    unsafe fn exp(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
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
        // SAFETY: by the trait's contract the processor has AVX-512 and `to` is good for sixteen elements.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0))) };
    }

    #[inline(always)]
    unsafe fn rounded_sums(self) -> [i32; 2] {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe {
            let all = _mm512_cvtps_epi32(self.0);
            let (low, high) = (_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
            pair_sums(_mm256_add_epi32(low, high))
        }
    }
}
