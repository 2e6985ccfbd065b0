//! Registers of 64 bytes that the kernels for quantized weights are written over: four bytes of each of sixteen rows,
//! or two numbers of 16 bits of each, or one of 32.
//!
//! A method is an instruction or two, so that a kernel is written once for every width of register, and runs in plain
//! Rust in the tests of a processor without them.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(clippy::missing_safety_doc, reason = "said once, at the trait")]

use super::super::bits::{PLANE, SUPER};
use super::super::lanes::Lanes;
use super::super::pack::{BLOCK, Layout, ROWS, chunk_bytes};
use super::super::prefetch::{AHEAD, Prefetch, hint};

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
    /// Asks for 64 bytes that are read soon, as [`hint`] says.
    unsafe fn prefetch<const HINT: u8>(at: *const u8);
}

/// With an instruction for dot products of bytes.
///
/// # Safety
/// As [`Wide`].
pub(super) trait Dots: Wide {
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

/// What a kernel asks the memory for at each block of a group: quants that it comes to after some bytes of them, and its
/// share of the next group's scales. These lie behind the quants, so a reader of the whole would meet them too late.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    /// What is asked for at the first block.
    quants: *const u8,
    /// From which offset on what is asked for lies behind a group's scales, and how many bytes these are.
    turn: usize,
    gap: usize,
    /// The next group's scales, and bytes of them for each block.
    scales: *const u8,
    share: usize,
    /// Whether the scales are those of super-blocks.
    supers: bool,
    /// How a token alone asks.
    prefetch: Prefetch,
}

impl Ahead {
    /// For a kernel of `tokens` tokens at the group `group`.
    pub(super) fn new(layout: &Layout, group: *const u8, tokens: usize) -> Self {
        let (quants, group_bytes) = (layout.scales, layout.group_bytes);
        let gap = group_bytes - quants;
        let ahead = if tokens > 1 { AHEAD } else { layout.prefetch.ahead() };
        let (groups, rest) = (ahead / quants, ahead % quants);
        Self {
            quants: group.wrapping_add(groups * group_bytes + rest),
            turn: quants - rest,
            gap,
            scales: group.wrapping_add(group_bytes + quants),
            share: gap.div_ceil(layout.columns / BLOCK),
            supers: chunk_bytes(layout.kind) > 0,
            prefetch: layout.prefetch,
        }
    }

    /// Asks at the block number `block`, whose quants take `planes`.
    #[inline(always)]
    pub(super) unsafe fn ask<W: Wide, const TOKENS: usize>(self, block: usize, planes: usize) {
        let at = block * planes * PLANE;
        let at = self.quants.wrapping_add(if at >= self.turn { at + self.gap } else { at });
        // SAFETY: the caller's: the processor has the instruction.
        unsafe {
            match self.prefetch {
                // Many tokens read the weights again, tile by tile: these are for all caches.
                _ if TOKENS > 1 => ask_for::<W, { hint::ALL }>(at, planes),
                Prefetch::AllCaches => ask_for::<W, { hint::ALL }>(at, planes),
                Prefetch::SecondCache => ask_for::<W, { hint::SECOND }>(at, planes),
                Prefetch::NonTemporal => ask_for::<W, { hint::PAST }>(at, planes),
                Prefetch::Off => {}
            }
        }
        // A token alone goes so fast through a group that the processor's own streams run on into its scales: asked for
        // as well, those of single blocks slowed 8 bits by 7% where this was measured. A super-block's are read at its
        // start all at once: a quarter of the kernel's time was spent on waiting for them, in a profile of `Q4_K`.
        if TOKENS > 1 || self.supers {
            // SAFETY: as above.
            unsafe { W::prefetch::<{ hint::ALL }>(self.scales.wrapping_add(block * self.share)) };
        }
    }
}

/// Asks for `planes` from `at` on; asking for what is not there does nothing.
#[inline(always)]
unsafe fn ask_for<W: Wide, const HINT: u8>(at: *const u8, planes: usize) {
    for plane in 0..planes {
        // SAFETY: the caller's.
        unsafe { W::prefetch::<HINT>(at.wrapping_add(plane * PLANE)) };
    }
}

/// 32 bits of a tile in every lane.
#[inline(always)]
pub(super) unsafe fn word<W: Wide>(at: *const u8) -> W {
    // SAFETY: the caller's.
    unsafe { W::splat(at.cast::<i32>().read_unaligned()) }
}

/// A token's number in every lane.
#[inline(always)]
pub(super) unsafe fn number<W: Wide>(at: *const u8) -> W::Numbers {
    // SAFETY: the caller's.
    unsafe { W::Numbers::splat(at.cast::<f32>().read_unaligned()) }
}

/// Sixteen halves as single precision.
#[inline(always)]
pub(super) unsafe fn half<W: Wide>(at: *const u8) -> W::Numbers {
    // SAFETY: the caller's.
    unsafe { W::Numbers::load_f16(at.cast()) }
}

/// A plane of a block.
#[inline(always)]
pub(super) unsafe fn plane<W: Wide>(planes: *const u8, number: usize) -> W {
    // SAFETY: the caller's.
    unsafe { W::load(planes.add(number * PLANE)) }
}

/// The 6-bit scales and minima of a super-block, a byte each: those of block b from 16·b and from 128 + 16·b on.
#[inline(always)]
pub(super) unsafe fn unpack_scales<W: Wide>(packed: *const u8, to: *mut u8) {
    // SAFETY: the caller's: 192 bytes, and 256 to be written.
    unsafe {
        let (scales, minima) = (W::load(packed), W::load(packed.add(PLANE)));
        let lows = W::load(packed.add(2 * PLANE));
        scales.and(W::splat(0x3f3f_3f3f)).store(to);
        lows.and(W::splat(0x0f0f_0f0f))
            .or(scales.down::<2>().and(W::splat(0x3030_3030)))
            .store(to.add(PLANE));
        minima.and(W::splat(0x3f3f_3f3f)).store(to.add(2 * PLANE));
        lows.down::<4>()
            .and(W::splat(0x0f0f_0f0f))
            .or(minima.down::<2>().and(W::splat(0x3030_3030)))
            .store(to.add(3 * PLANE));
    }
}

/// The 6-bit scales of a super-block of `Q3_K`, 32 too high, a byte each: those of part p from 16·p on.
#[inline(always)]
pub(super) unsafe fn unpack_q3_scales<W: Wide>(packed: *const u8, to: *mut u8) {
    // SAFETY: the caller's: 192 bytes, and 256 to be written.
    unsafe {
        let (first, second) = (W::load(packed), W::load(packed.add(PLANE)));
        let upper = W::load(packed.add(2 * PLANE));
        let (low, high) = (W::splat(0x0f0f_0f0f), W::splat(0x3030_3030));
        first.and(low).or(upper.up::<4>().and(high)).store(to);
        second.and(low).or(upper.up::<2>().and(high)).store(to.add(PLANE));
        first.down::<4>().and(low).or(upper.and(high)).store(to.add(2 * PLANE));
        second.down::<4>().and(low).or(upper.down::<2>().and(high)).store(to.add(3 * PLANE));
    }
}

/// The scales of a super-block of `IQ4_XS`, a signed byte each: those of block b from 16·b on.
#[inline(always)]
pub(super) unsafe fn unpack_iq4_scales(packed: *const u8, to: *mut u8) {
    let halves = packed.wrapping_add(2 * ROWS);
    for block in 0..SUPER / BLOCK {
        for row in 0..ROWS {
            // SAFETY: the caller's: 96 bytes, and 128 to be written.
            unsafe {
                let upper = *packed.add(block / 4 * ROWS + row) >> (block % 4 * 2) & 3;
                let lower = *halves.add(block / 2 * ROWS + row) >> (block % 2 * 4) & 15;
                *to.add(block * ROWS + row) = (lower | upper << 4).wrapping_sub(32);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Halves, Whole};

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![allow(clippy::wildcard_imports, reason = "the instructions have names of their own")]

    use std::arch::x86_64::*;

    use super::{Dots, Pairs, Wide, hint};
    use crate::fused::cpu::lanes::{Avx2, Avx512};

    #[inline]
    #[target_feature(enable = "sse")]
    fn prefetch<const HINT: u8>(at: *const u8) {
        match HINT {
            hint::PAST => _mm_prefetch::<_MM_HINT_NTA>(at.cast()),
            hint::SECOND => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
            _ => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
        }
    }

    /// A register of AVX-512.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Whole(__m512i);

    impl Wide for Whole {
        type Numbers = Avx512;

        #[inline(always)]
        unsafe fn load(from: *const u8) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_loadu_si512(from.cast())) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut u8) {
            // SAFETY: the trait's.
            unsafe { _mm512_storeu_si512(to.cast(), self.0) };
        }

        #[inline(always)]
        unsafe fn splat(value: i32) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_set1_epi32(value)) }
        }

        #[inline(always)]
        unsafe fn and(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_and_si512(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn or(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_or_si512(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn down<const BITS: u32>(self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_srli_epi16::<BITS>(self.0)) }
        }

        #[inline(always)]
        unsafe fn up<const BITS: u32>(self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_slli_epi16::<BITS>(self.0)) }
        }

        #[inline(always)]
        unsafe fn table(bytes: &[u8; 16]) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_broadcast_i32x4(_mm_loadu_si128(bytes.as_ptr().cast()))) }
        }

        #[inline(always)]
        unsafe fn of_table(self, table: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_shuffle_epi8(table.0, self.0)) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_add_epi32(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn add_16(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_add_epi16(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn sub_16(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_sub_epi16(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn times_16(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_mullo_epi16(self.0, other.0)) }
        }

        #[inline(always)]
        unsafe fn pairs_times(self, factors: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_madd_epi16(self.0, factors.0)) }
        }

        #[inline(always)]
        unsafe fn twice<const SIGNED: bool>(from: *const u8) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let bytes = _mm_loadu_si128(from.cast());
                let low = if SIGNED { _mm512_cvtepi8_epi32(bytes) } else { _mm512_cvtepu8_epi32(bytes) };
                Self(_mm512_mask_blend_epi16(0xaaaa_aaaa, low, _mm512_slli_epi32::<16>(low)))
            }
        }

        #[inline(always)]
        unsafe fn pair_sums(self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_madd_epi16(self.0, _mm512_set1_epi16(1))) }
        }

        #[inline(always)]
        unsafe fn numbers(self) -> Avx512 {
            // SAFETY: the trait's.
            unsafe { Avx512(_mm512_cvtepi32_ps(self.0)) }
        }

        #[inline(always)]
        unsafe fn bytes(from: *const u8) -> Avx512 {
            // SAFETY: the trait's.
            unsafe { Avx512(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())))) }
        }

        #[inline(always)]
        unsafe fn prefetch<const HINT: u8>(at: *const u8) {
            // SAFETY: nothing is read, and every processor of this family has the instruction.
            unsafe { prefetch::<HINT>(at) };
        }
    }

    impl Dots for Whole {
        #[inline(always)]
        unsafe fn dot(self, unsigned: Self, signed: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_dpbusd_epi32(self.0, unsigned.0, signed.0)) }
        }

        #[inline(always)]
        unsafe fn dot_pairs(self, one: Self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_dpwssd_epi32(self.0, one.0, other.0)) }
        }
    }

    impl Pairs for Whole {
        const TOKENS: usize = 8;
        type Signs = __mmask64;

        #[inline(always)]
        unsafe fn products(self, signed: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_maddubs_epi16(self.0, signed.0)) }
        }

        #[inline(always)]
        unsafe fn keep(self) -> Self {
            #[inline]
            #[target_feature(enable = "avx512f")]
            unsafe fn keep(mut sums: __m512i) -> __m512i {
                // SAFETY: a comment.
                unsafe {
                    std::arch::asm!("/* {0} */", inout(zmm_reg) sums, options(pure, nomem, nostack, preserves_flags));
                }
                sums
            }
            // SAFETY: the trait's.
            unsafe { Self(keep(self.0)) }
        }

        #[inline(always)]
        unsafe fn sizes_and_signs(self) -> (Self, __mmask64) {
            // SAFETY: the trait's.
            unsafe {
                let signed = _mm512_xor_si512(self.0, _mm512_set1_epi8(-128));
                (Self(_mm512_abs_epi8(signed)), _mm512_movepi8_mask(signed))
            }
        }

        #[inline(always)]
        unsafe fn turned(self, signs: __mmask64) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm512_mask_sub_epi8(self.0, signs, _mm512_setzero_si512(), self.0)) }
        }
    }

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
            // SAFETY: the trait's.
            unsafe { Self(_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut u8) {
            // SAFETY: the trait's.
            unsafe {
                _mm256_storeu_si256(to.cast(), self.0);
                _mm256_storeu_si256(to.add(32).cast(), self.1);
            }
        }

        #[inline(always)]
        unsafe fn splat(value: i32) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_set1_epi32(value), _mm256_set1_epi32(value)) }
        }

        #[inline(always)]
        unsafe fn and(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_and_si256(self.0, other.0), _mm256_and_si256(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn or(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_or_si256(self.0, other.0), _mm256_or_si256(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn down<const BITS: u32>(self) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let by = _mm_cvtsi32_si128(BITS.cast_signed());
                Self(_mm256_srl_epi16(self.0, by), _mm256_srl_epi16(self.1, by))
            }
        }

        #[inline(always)]
        unsafe fn up<const BITS: u32>(self) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let by = _mm_cvtsi32_si128(BITS.cast_signed());
                Self(_mm256_sll_epi16(self.0, by), _mm256_sll_epi16(self.1, by))
            }
        }

        #[inline(always)]
        unsafe fn table(bytes: &[u8; 16]) -> Self {
            // SAFETY: the trait's.
            unsafe {
                let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast()));
                Self(table, table)
            }
        }

        #[inline(always)]
        unsafe fn of_table(self, table: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_shuffle_epi8(table.0, self.0), _mm256_shuffle_epi8(table.1, self.1)) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_add_epi32(self.0, other.0), _mm256_add_epi32(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn add_16(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_add_epi16(self.0, other.0), _mm256_add_epi16(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn sub_16(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_sub_epi16(self.0, other.0), _mm256_sub_epi16(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn times_16(self, other: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_mullo_epi16(self.0, other.0), _mm256_mullo_epi16(self.1, other.1)) }
        }

        #[inline(always)]
        unsafe fn pairs_times(self, factors: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_madd_epi16(self.0, factors.0), _mm256_madd_epi16(self.1, factors.1)) }
        }

        #[inline(always)]
        unsafe fn twice<const SIGNED: bool>(from: *const u8) -> Self {
            const BELOW: [[u8; 32]; 2] = [order(0, false), order(8, false)];
            const ABOVE: [[u8; 32]; 2] = [order(0, true), order(8, true)];
            // SAFETY: the trait's.
            unsafe {
                let all = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast()));
                let of =
                    |order: &[u8; 32]| _mm256_shuffle_epi8(all, _mm256_loadu_si256(order.as_ptr().cast()));
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
            // SAFETY: the trait's.
            unsafe { self.pairs_times(Self(_mm256_set1_epi16(1), _mm256_set1_epi16(1))) }
        }

        #[inline(always)]
        unsafe fn numbers(self) -> Avx2 {
            // SAFETY: the trait's.
            unsafe { Avx2(_mm256_cvtepi32_ps(self.0), _mm256_cvtepi32_ps(self.1)) }
        }

        #[inline(always)]
        unsafe fn bytes(from: *const u8) -> Avx2 {
            // SAFETY: the trait's.
            unsafe {
                let eight =
                    |at: *const u8| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast())));
                Avx2(eight(from), eight(from.add(8)))
            }
        }

        #[inline(always)]
        unsafe fn prefetch<const HINT: u8>(at: *const u8) {
            // SAFETY: nothing is read, and every processor of this family has the instruction.
            unsafe { prefetch::<HINT>(at) };
        }
    }

    impl Pairs for Halves {
        /// Sixteen registers hold the sums of four tokens, so a tile of eight is walked twice.
        const TOKENS: usize = 4;
        type Signs = Self;

        #[inline(always)]
        unsafe fn products(self, signed: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_maddubs_epi16(self.0, signed.0), _mm256_maddubs_epi16(self.1, signed.1)) }
        }

        #[inline(always)]
        unsafe fn keep(self) -> Self {
            #[inline]
            #[target_feature(enable = "avx2")]
            unsafe fn keep(mut sums: __m256i) -> __m256i {
                // SAFETY: a comment.
                unsafe {
                    std::arch::asm!("/* {0} */", inout(ymm_reg) sums, options(pure, nomem, nostack, preserves_flags));
                }
                sums
            }
            // SAFETY: the trait's.
            unsafe { Self(keep(self.0), keep(self.1)) }
        }

        #[inline(always)]
        unsafe fn sizes_and_signs(self) -> (Self, Self) {
            // SAFETY: the trait's.
            unsafe {
                let bit = _mm256_set1_epi8(-128);
                let signed = Self(_mm256_xor_si256(self.0, bit), _mm256_xor_si256(self.1, bit));
                (Self(_mm256_abs_epi8(signed.0), _mm256_abs_epi8(signed.1)), signed)
            }
        }

        #[inline(always)]
        unsafe fn turned(self, signs: Self) -> Self {
            // SAFETY: the trait's.
            unsafe { Self(_mm256_sign_epi8(self.0, signs.0), _mm256_sign_epi8(self.1, signs.1)) }
        }
    }
}

/// The same registers in plain Rust, so that every processor can run the kernels.
#[cfg(test)]
pub(super) mod plain {
    use super::{Dots, Wide};
    use crate::fused::cpu::lanes::{Lanes, Plain};

    #[derive(Clone, Copy)]
    pub(in super::super) struct Register([u8; 64]);

    impl Register {
        fn words(self) -> [i32; 16] {
            std::array::from_fn(|lane| i32::from_le_bytes(self.0[lane * 4..lane * 4 + 4].try_into().unwrap()))
        }

        fn of(word: impl Fn(usize) -> i32) -> Self {
            Self(std::array::from_fn(|byte| word(byte / 4).to_le_bytes()[byte % 4]))
        }

        fn halves(self) -> [u16; 32] {
            std::array::from_fn(|lane| u16::from_le_bytes([self.0[lane * 2], self.0[lane * 2 + 1]]))
        }

        fn each_16(self, other: Self, of: impl Fn(u16, u16) -> u16) -> Self {
            let (one, other) = (self.halves(), other.halves());
            Self(std::array::from_fn(|byte| of(one[byte / 2], other[byte / 2]).to_le_bytes()[byte % 2]))
        }

        fn pair_product(self, other: Self, lane: usize) -> i32 {
            let [one, other] = [self, other].map(|register| register.halves().map(u16::cast_signed));
            (lane * 2..lane * 2 + 2).map(|half| i32::from(one[half]) * i32::from(other[half])).sum()
        }
    }

    fn numbers(of: impl Fn(usize) -> i32) -> Plain {
        let numbers: [f32; 16] = std::array::from_fn(|lane| of(lane) as f32);
        // SAFETY: plain Rust, and sixteen numbers.
        unsafe { Plain::load(numbers.as_ptr()) }
    }

    impl Wide for Register {
        type Numbers = Plain;

        unsafe fn load(from: *const u8) -> Self {
            // SAFETY: the trait's.
            Self(unsafe { from.cast::<[u8; 64]>().read() })
        }

        unsafe fn store(self, to: *mut u8) {
            // SAFETY: the trait's.
            unsafe { to.cast::<[u8; 64]>().write(self.0) };
        }

        unsafe fn splat(value: i32) -> Self {
            Self::of(|_| value)
        }

        unsafe fn and(self, other: Self) -> Self {
            Self(std::array::from_fn(|byte| self.0[byte] & other.0[byte]))
        }

        unsafe fn or(self, other: Self) -> Self {
            Self(std::array::from_fn(|byte| self.0[byte] | other.0[byte]))
        }

        unsafe fn down<const BITS: u32>(self) -> Self {
            let halves = self.halves();
            Self(std::array::from_fn(|byte| (halves[byte / 2] >> BITS).to_le_bytes()[byte % 2]))
        }

        unsafe fn up<const BITS: u32>(self) -> Self {
            self.each_16(self, |half, _| half << BITS)
        }

        unsafe fn table(bytes: &[u8; 16]) -> Self {
            Self(std::array::from_fn(|byte| bytes[byte % 16]))
        }

        unsafe fn of_table(self, table: Self) -> Self {
            Self(self.0.map(|byte| table.0[usize::from(byte)]))
        }

        unsafe fn add(self, other: Self) -> Self {
            Self::of(|lane| self.words()[lane] + other.words()[lane])
        }

        unsafe fn add_16(self, other: Self) -> Self {
            self.each_16(other, u16::wrapping_add)
        }

        unsafe fn sub_16(self, other: Self) -> Self {
            self.each_16(other, u16::wrapping_sub)
        }

        unsafe fn times_16(self, other: Self) -> Self {
            self.each_16(other, u16::wrapping_mul)
        }

        unsafe fn pairs_times(self, factors: Self) -> Self {
            Self::of(|lane| self.pair_product(factors, lane))
        }

        unsafe fn twice<const SIGNED: bool>(from: *const u8) -> Self {
            Self::of(|lane| {
                // SAFETY: the trait's.
                let byte = unsafe { *from.add(lane) };
                let half = if SIGNED { i32::from(byte.cast_signed()) } else { i32::from(byte) };
                half << 16 | half & 0xffff
            })
        }

        unsafe fn pair_sums(self) -> Self {
            let halves = self.halves().map(|half| i32::from(half.cast_signed()));
            Self::of(|lane| halves[lane * 2] + halves[lane * 2 + 1])
        }

        unsafe fn numbers(self) -> Plain {
            numbers(|lane| self.words()[lane])
        }

        unsafe fn bytes(from: *const u8) -> Plain {
            // SAFETY: the trait's.
            numbers(|lane| i32::from(unsafe { *from.add(lane) }))
        }

        unsafe fn prefetch<const HINT: u8>(_: *const u8) {}
    }

    impl Dots for Register {
        unsafe fn dot(self, unsigned: Self, signed: Self) -> Self {
            let product = |byte: usize| i32::from(unsigned.0[byte]) * i32::from(signed.0[byte].cast_signed());
            Self::of(|lane| self.words()[lane] + (lane * 4..lane * 4 + 4).map(product).sum::<i32>())
        }

        unsafe fn dot_pairs(self, one: Self, other: Self) -> Self {
            Self::of(|lane| self.words()[lane] + one.pair_product(other, lane))
        }
    }
}
