//! The ways in which a kernel for one token asks memory for weights ahead of its reading; [`trial`](super::trial)
//! chooses among them. Only speed depends on the choice, no result.
#![allow(
    clippy::inline_always,
    reason = "an instruction is asked for inside the kernels, and a call there would cost more than it"
)]
#![allow(unsafe_code, reason = "an instruction that the compiler's own functions call unsafe")]

/// Bytes ahead of the reading that are asked for.
pub(super) const AHEAD: usize = 2048;
/// The same where the lines wait in the second cache.
const FAR: usize = 8192;

/// Where a line that is asked for goes, as constants for generic kernels.
pub(super) mod hint {
    /// Into all caches.
    pub(in super::super) const ALL: u8 = 0;
    /// Into the second cache and those further out.
    pub(in super::super) const SECOND: u8 = 1;
    /// Past the outer caches.
    pub(in super::super) const PAST: u8 = 2;
}

/// Asks the memory for the 64 bytes around `at`, as [`hint`] says; whether they are there does not matter.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn ask<const HINT: u8>(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_NTA, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
    // SAFETY: nothing is read, and every processor of this family has the instruction.
    unsafe {
        match HINT {
            hint::PAST => _mm_prefetch::<_MM_HINT_NTA>(at.cast()),
            hint::SECOND => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
            _ => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
        }
    }
}

/// A way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Prefetch {
    /// Into all caches.
    #[default]
    AllCaches,
    /// Into the second cache and those further out, from further ahead.
    SecondCache,
    /// Past the outer caches.
    NonTemporal,
    /// Not at all: the processor's own prefetchers do it.
    Off,
}

impl Prefetch {
    pub(super) const ALL: [Self; 4] = [Self::AllCaches, Self::SecondCache, Self::NonTemporal, Self::Off];

    /// Bytes ahead of the reading that are asked for.
    pub(super) fn ahead(self) -> usize {
        if self == Self::SecondCache { FAR } else { AHEAD }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::AllCaches => "all caches",
            Self::SecondCache => "second cache",
            Self::NonTemporal => "non-temporal",
            Self::Off => "off",
        }
    }
}
