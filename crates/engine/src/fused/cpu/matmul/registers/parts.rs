//! Parts of a tile and of a group in registers, and the packed scales of super-blocks taken apart.
//!
//! # Safety of this module
//! The processor must have what `W` needs, and a pointer must be good for all that the function says that it reads or
//! writes there.

use super::Wide;
use crate::fused::cpu::bits::{PLANE, SUPER};
use crate::fused::cpu::lanes::Lanes;
use crate::fused::cpu::pack::{BLOCK, ROWS};

/// 32 bits of a tile in every lane.
#[inline(always)]
pub(in super::super) unsafe fn word<W: Wide>(at: *const u8) -> W {
    // SAFETY: the processor has what `W` needs and there are four bytes, by this module's contract.
    unsafe { W::splat(at.cast::<i32>().read_unaligned()) }
}

/// A token's number in every lane.
#[inline(always)]
pub(in super::super) unsafe fn number<W: Wide>(at: *const u8) -> W::Numbers {
    // SAFETY: the processor has what `W` needs and there are four bytes, by this module's contract.
    unsafe { W::Numbers::splat(at.cast::<f32>().read_unaligned()) }
}

/// Sixteen halves as single precision.
#[inline(always)]
pub(in super::super) unsafe fn half<W: Wide>(at: *const u8) -> W::Numbers {
    // SAFETY: the processor has what `W` needs and there are sixteen halves, by this module's contract.
    unsafe { W::Numbers::load_f16(at.cast()) }
}

/// Plane number `number` of a block.
#[inline(always)]
pub(in super::super) unsafe fn plane<W: Wide>(planes: *const u8, number: usize) -> W {
    // SAFETY: the processor has what `W` needs and the block has that plane, by this module's contract.
    unsafe { W::load(planes.add(number * PLANE)) }
}

/// The 6-bit scales and minima of a super-block, a byte each: those of block b from 16·b and from 128 + 16·b on.
///
/// Reads 192 bytes and writes 256.
#[inline(always)]
pub(in super::super) unsafe fn unpack_scales<W: Wide>(packed: *const u8, to: *mut u8) {
    // SAFETY: there are 192 bytes, room for 256, and what `W` needs, by this module's contract.
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
///
/// Reads 192 bytes and writes 256.
#[inline(always)]
pub(in super::super) unsafe fn unpack_q3_scales<W: Wide>(packed: *const u8, to: *mut u8) {
    // SAFETY: there are 192 bytes, room for 256, and what `W` needs, by this module's contract.
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
///
/// Reads 96 bytes and writes 128.
#[inline(always)]
pub(in super::super) unsafe fn unpack_iq4_scales(packed: *const u8, to: *mut u8) {
    let halves = packed.wrapping_add(2 * ROWS);
    for block in 0..SUPER / BLOCK {
        for row in 0..ROWS {
            // SAFETY: there are 96 bytes, and room for 128, by this module's contract.
            unsafe {
                let upper = *packed.add(block / 4 * ROWS + row) >> (block % 4 * 2) & 3;
                let lower = *halves.add(block / 2 * ROWS + row) >> (block % 2 * 4) & 15;
                *to.add(block * ROWS + row) = (lower | upper << 4).wrapping_sub(32);
            }
        }
    }
}
