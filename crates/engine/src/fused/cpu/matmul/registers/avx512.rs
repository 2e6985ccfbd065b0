//! 64 bytes in one register of AVX-512, with dot products where the processor has VNNI.
#![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]

use std::arch::x86_64::*;

use super::{Dots, Pairs, Wide};
use crate::fused::cpu::lanes::Avx512;
use crate::fused::cpu::lanes::avx512::each_is;
use crate::fused::cpu::prefetch::ask;

/// A register of AVX-512.
#[derive(Clone, Copy)]
pub(in super::super) struct Whole(__m512i);

impl Wide for Whole {
    type Numbers = Avx512;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 and `from` is good for 64 bytes.
        unsafe { Self(_mm512_loadu_si512(from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: by the trait's contract the processor has AVX-512 and `to` is good for 64 bytes.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) };
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_set1_epi32(value)) }
    }

    each_is! {
        and = _mm512_and_si512;
        or = _mm512_or_si512;
        add = _mm512_add_epi32;
        add_16 = _mm512_add_epi16;
        sub_16 = _mm512_sub_epi16;
        times_16 = _mm512_mullo_epi16;
        pairs_times = _mm512_madd_epi16;
    }

    #[inline(always)]
    unsafe fn down<const BITS: u32>(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_srli_epi16::<BITS>(self.0)) }
    }

    #[inline(always)]
    unsafe fn up<const BITS: u32>(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_slli_epi16::<BITS>(self.0)) }
    }

    #[inline(always)]
    unsafe fn table(bytes: &[u8; 16]) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_broadcast_i32x4(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }

    #[inline(always)]
    unsafe fn of_table(self, table: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_shuffle_epi8(table.0, self.0)) }
    }

    #[inline(always)]
    unsafe fn twice<const SIGNED: bool>(from: *const u8) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 and `from` is good for sixteen bytes.
        unsafe {
            let bytes = _mm_loadu_si128(from.cast());
            let low = if SIGNED { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) };
            Self(_mm512_mask_blend_epi16(0xaaaa_aaaa, low, _mm512_slli_epi32::<16>(low)))
        }
    }

    #[inline(always)]
    unsafe fn pair_sums(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_madd_epi16(self.0, _mm512_set1_epi16(1))) }
    }

    #[inline(always)]
    unsafe fn numbers(self) -> Avx512 {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Avx512(_mm512_cvtepi32_ps(self.0)) }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Avx512 {
        // SAFETY: by the trait's contract the processor has AVX-512 and `from` is good for sixteen bytes.
        unsafe { Avx512(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())))) }
    }

    #[inline(always)]
    unsafe fn prefetch<const HINT: u8>(at: *const u8) {
        ask::<HINT>(at);
    }
}

impl Dots for Whole {
    each_is! {
        sub_8 = _mm512_sub_epi8;
    }

    #[inline(always)]
    unsafe fn dot(self, unsigned: Self, signed: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 with VNNI.
        unsafe { Self(_mm512_dpbusd_epi32(self.0, unsigned.0, signed.0)) }
    }

    #[inline(always)]
    unsafe fn dot_pairs(self, one: Self, other: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512 with VNNI.
        unsafe { Self(_mm512_dpwssd_epi32(self.0, one.0, other.0)) }
    }
}

impl Pairs for Whole {
    const TOKENS: usize = 8;
    type Signs = __mmask64;

    #[inline(always)]
    unsafe fn products(self, signed: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_maddubs_epi16(self.0, signed.0)) }
    }

    #[inline(always)]
    unsafe fn keep(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx512f")]
        unsafe fn keep(mut sums: __m512i) -> __m512i {
            // SAFETY: the assembly is a comment, which touches nothing.
            unsafe {
                std::arch::asm!("/* {0} */", inout(zmm_reg) sums, options(pure, nomem, nostack, preserves_flags));
            }
            sums
        }
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(keep(self.0)) }
    }

    #[inline(always)]
    unsafe fn sizes_and_signs(self) -> (Self, __mmask64) {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe {
            let signed = _mm512_xor_si512(self.0, _mm512_set1_epi8(-128));
            (Self(_mm512_abs_epi8(signed)), _mm512_movepi8_mask(signed))
        }
    }

    #[inline(always)]
    unsafe fn turned(self, signs: __mmask64) -> Self {
        // SAFETY: by the trait's contract the processor has AVX-512.
        unsafe { Self(_mm512_mask_sub_epi8(self.0, signs, _mm512_setzero_si512(), self.0)) }
    }
}
