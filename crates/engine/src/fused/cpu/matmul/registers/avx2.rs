//! 64 bytes in two registers of AVX2.
#![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]

use std::arch::x86_64::*;

use super::{Pairs, Wide};
use crate::fused::cpu::lanes::Avx2;
use crate::fused::cpu::lanes::avx2::each_is;
use crate::fused::cpu::prefetch::ask;

/// Two registers of AVX2, eight rows in each.
#[derive(Clone, Copy)]
pub(in super::super) struct Halves(__m256i, __m256i);

/// Which byte goes where so that each of eight rows has its byte twice, as a pair of 16 bits: below, or above.
const fn order(first: usize, above: bool) -> [u8; 32] {
    let mut order = [0x80; 32];
    let mut row = 0;
    while row < 8 {
        #[allow(clippy::cast_possible_truncation, reason = "at most 15")]
        let byte = (first + row) as u8;
        let at = row * 4 + above as usize;
        order[at] = byte;
        order[at + 2] = byte;
        row += 1;
    }
    order
}

impl Wide for Halves {
    type Numbers = Avx2;

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2 and `from` is good for 64 bytes.
        unsafe { Self(_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: by the trait's contract the processor has AVX2 and `to` is good for 64 bytes.
        unsafe {
            _mm256_storeu_si256(to.cast(), self.0);
            _mm256_storeu_si256(to.add(32).cast(), self.1);
        }
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Self(_mm256_set1_epi32(value), _mm256_set1_epi32(value)) }
    }

    each_is! {
        and = _mm256_and_si256;
        or = _mm256_or_si256;
        add = _mm256_add_epi32;
        add_16 = _mm256_add_epi16;
        sub_16 = _mm256_sub_epi16;
        times_16 = _mm256_mullo_epi16;
        pairs_times = _mm256_madd_epi16;
    }

    #[inline(always)]
    unsafe fn down<const BITS: u32>(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe {
            let by = _mm_cvtsi32_si128(BITS.cast_signed());
            Self(_mm256_srl_epi16(self.0, by), _mm256_srl_epi16(self.1, by))
        }
    }

    #[inline(always)]
    unsafe fn up<const BITS: u32>(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe {
            let by = _mm_cvtsi32_si128(BITS.cast_signed());
            Self(_mm256_sll_epi16(self.0, by), _mm256_sll_epi16(self.1, by))
        }
    }

    #[inline(always)]
    unsafe fn table(bytes: &[u8; 16]) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast()));
            Self(table, table)
        }
    }

    #[inline(always)]
    unsafe fn of_table(self, table: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Self(_mm256_shuffle_epi8(table.0, self.0), _mm256_shuffle_epi8(table.1, self.1)) }
    }

    #[inline(always)]
    unsafe fn twice<const SIGNED: bool>(from: *const u8) -> Self {
        const BELOW: [[u8; 32]; 2] = [order(0, false), order(8, false)];
        const ABOVE: [[u8; 32]; 2] = [order(0, true), order(8, true)];
        // SAFETY: by the trait's contract the processor has AVX2 and `from` is good for sixteen bytes.
        unsafe {
            let all = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast()));
            let of = |order: &[u8; 32]| _mm256_shuffle_epi8(all, _mm256_loadu_si256(order.as_ptr().cast()));
            if SIGNED {
                // A signed byte is shifted down with its sign.
                Self(_mm256_srai_epi16::<8>(of(&ABOVE[0])), _mm256_srai_epi16::<8>(of(&ABOVE[1])))
            } else {
                Self(of(&BELOW[0]), of(&BELOW[1]))
            }
        }
    }

    #[inline(always)]
    unsafe fn pair_sums(self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { self.pairs_times(Self(_mm256_set1_epi16(1), _mm256_set1_epi16(1))) }
    }

    #[inline(always)]
    unsafe fn numbers(self) -> Avx2 {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Avx2(_mm256_cvtepi32_ps(self.0), _mm256_cvtepi32_ps(self.1)) }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Avx2 {
        // SAFETY: by the trait's contract the processor has AVX2 and `from` is good for sixteen bytes.
        unsafe {
            let eight = |at: *const u8| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast())));
            Avx2(eight(from), eight(from.add(8)))
        }
    }

    #[inline(always)]
    unsafe fn prefetch<const HINT: u8>(at: *const u8) {
        ask::<HINT>(at);
    }
}

impl Pairs for Halves {
    /// Sixteen registers hold the sums of four tokens, so a tile of eight is walked twice.
    const TOKENS: usize = 4;
    type Signs = Self;

    #[inline(always)]
    unsafe fn products(self, signed: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Self(_mm256_maddubs_epi16(self.0, signed.0), _mm256_maddubs_epi16(self.1, signed.1)) }
    }

    #[inline(always)]
    unsafe fn keep(self) -> Self {
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn keep(mut sums: __m256i) -> __m256i {
            // SAFETY: the assembly is a comment, which touches nothing.
            unsafe {
                std::arch::asm!("/* {0} */", inout(ymm_reg) sums, options(pure, nomem, nostack, preserves_flags));
            }
            sums
        }
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Self(keep(self.0), keep(self.1)) }
    }

    #[inline(always)]
    unsafe fn sizes_and_signs(self) -> (Self, Self) {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe {
            let bit = _mm256_set1_epi8(-128);
            let signed = Self(_mm256_xor_si256(self.0, bit), _mm256_xor_si256(self.1, bit));
            (Self(_mm256_abs_epi8(signed.0), _mm256_abs_epi8(signed.1)), signed)
        }
    }

    #[inline(always)]
    unsafe fn turned(self, signs: Self) -> Self {
        // SAFETY: by the trait's contract the processor has AVX2.
        unsafe { Self(_mm256_sign_epi8(self.0, signs.0), _mm256_sign_epi8(self.1, signs.1)) }
    }
}
