//! What the kernels for quantized weights ask the memory for ahead of their reading.

use super::Wide;
use crate::fused::cpu::bits::PLANE;
use crate::fused::cpu::pack::{BLOCK, Layout, chunk_bytes};
use crate::fused::cpu::prefetch::{AHEAD, Prefetch, hint};

/// What a kernel asks the memory for at each block of a group: quants that it comes to after some bytes of them, and its
/// share of the next group's scales. These lie behind the quants, so a reader of the whole would meet them too late.
#[derive(Clone, Copy)]
pub(in super::super) struct Ahead {
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
    pub(in super::super) fn new(layout: &Layout, group: *const u8, tokens: usize) -> Self {
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
    ///
    /// # Safety
    /// The processor must have what `W` needs. Whether the places are there does not matter.
    #[inline(always)]
    pub(in super::super) unsafe fn ask<W: Wide, const TOKENS: usize>(self, block: usize, planes: usize) {
        let at = block * planes * PLANE;
        let at = self.quants.wrapping_add(if at >= self.turn { at + self.gap } else { at });
        // SAFETY: the processor has what `W` needs, by this method's contract.
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

/// Asks for `planes` from `at` on.
///
/// # Safety
/// As [`Ahead::ask`].
#[inline(always)]
unsafe fn ask_for<W: Wide, const HINT: u8>(at: *const u8, planes: usize) {
    for plane in 0..planes {
        // SAFETY: the processor has what `W` needs, by this function's contract.
        unsafe { W::prefetch::<HINT>(at.wrapping_add(plane * PLANE)) };
    }
}
