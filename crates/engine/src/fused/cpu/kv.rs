//! Keys and values in the pages of the cache ([`kv`](crate::fused::kv)): how a kernel finds and writes them.
//!
//! A query meets 64 keys with whole registers, a share of attention meets a value with whole registers, and both are
//! one stream of neighbouring bytes; the scales of 64 positions of a block are met with whole registers too.
//!
//! # Safety of this module
//! A generic function asks for what [`append`] says, and that the processor has what `V` needs.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(
    clippy::cast_ptr_alignment,
    reason = "parts and rows are multiples of 64 bytes from an aligned start"
)]
#![allow(unsafe_code, reason = "threads write keys and values of tokens of their own into shared memory")]

use half::f16;

use crate::fused::kv::{BLOCK, KvLayout, KvType, PAGE};

use super::activations::scaled;
use super::lanes::{LANES, Lanes, for_each_isa};

/// The cache's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct KvCache {
    pub(super) layout: KvLayout,
    /// The first page, aligned to 64 bytes.
    pub(super) first: *mut u8,
}

/// The part of one page, one layer and one KV head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) kv_type: KvType,
    pub(super) head_size: usize,
    /// The keys, `[head_size][64]` elements; all else lies behind them.
    pub(super) keys: *mut u8,
}

impl KvCache {
    /// The part of `page` for a layer and a head.
    ///
    /// # Safety
    /// The page, layer and head must be there.
    #[inline(always)]
    pub(super) unsafe fn part(&self, page: u32, layer: usize, head: usize) -> Part {
        let number = (page as usize * self.layout.layers + layer) * self.layout.kv_heads + head;
        // SAFETY: the page, layer and head are there, by this method's contract.
        let keys = unsafe { self.first.add(number * self.layout.part_bytes()) };
        Part { kv_type: self.layout.kv_type, head_size: self.layout.head_size, keys }
    }
}

impl Part {
    /// The values, `[64][head_size]`.
    #[inline(always)]
    pub(super) fn values<C: Cell>(self) -> *mut u8 {
        // SAFETY: within the part, as its layout says.
        unsafe { self.keys.add(PAGE * self.head_size * C::BYTES) }
    }

    /// The scales of the keys' blocks, `[head_size ÷ 32][64]`; behind them as many of the values' blocks.
    #[inline(always)]
    pub(super) fn key_scales(self) -> *mut u16 {
        // SAFETY: within the part, as its layout says.
        unsafe { self.keys.add(2 * PAGE * self.head_size).cast() }
    }

    #[inline(always)]
    pub(super) fn value_scales(self) -> *mut u16 {
        // SAFETY: within the part, as its layout says.
        unsafe { self.key_scales().add(PAGE * self.head_size / BLOCK) }
    }
}

/// An element of the cache, as kernels read it.
pub(super) trait Cell: Copy {
    /// Bytes of an element.
    const BYTES: usize;
    /// Whether a block of 32 elements has a scale.
    const SCALED: bool;

    /// Sixteen neighbouring elements from number `index` on, without their scale.
    ///
    /// # Safety
    /// They must be there, and the processor have what `V` needs.
    unsafe fn load<V: Lanes>(from: *const u8, index: usize) -> V;
}

/// Half precision.
#[derive(Clone, Copy)]
pub(super) struct Half;

/// Eight bits with a scale.
#[derive(Clone, Copy)]
pub(super) struct Eight;

impl Cell for Half {
    const BYTES: usize = 2;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const u8, index: usize) -> V {
        // SAFETY: the elements are there and the processor has what `V` needs, by the trait's contract.
        unsafe { V::load_f16(from.cast::<u16>().add(index)) }
    }
}

impl Cell for Eight {
    const BYTES: usize = 1;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const u8, index: usize) -> V {
        // SAFETY: the elements are there and the processor has what `V` needs, by the trait's contract.
        unsafe { V::load_i8(from.cast::<i8>().add(index)) }
    }
}

for_each_isa! {
    /// Writes one position's key and value of one head into slot `slot` of a page's part.
    ///
    /// # Safety
    /// `part` must be one of the cache's, `slot` below 64, key and value as long as a head, and no other thread may
    /// touch that slot meanwhile.
    pub(super) unsafe fn append(part: Part, slot: usize, key: *const f32, value: *const f32) = append_one
}

#[inline(always)]
unsafe fn append_one<V: Lanes>(part: Part, slot: usize, key: *const f32, value: *const f32) {
    // SAFETY: the slot is this thread's, and key and value are as long as a head, by the contract of `append`.
    unsafe {
        match part.kv_type {
            KvType::F16 => append_half::<V>(part, slot, key, value),
            KvType::Q8_0 => append_eight::<V>(part, slot, key, value),
        }
    }
}

#[inline(always)]
unsafe fn append_half<V: Lanes>(part: Part, slot: usize, key: *const f32, value: *const f32) {
    // SAFETY: the slot is this thread's, and key and value are as long as a head, by the contract of `append`.
    unsafe {
        let keys = part.keys.cast::<u16>();
        let values = part.values::<Half>().cast::<u16>().add(slot * part.head_size);
        for at in (0..part.head_size).step_by(LANES) {
            let mut rounded = [0u16; LANES];
            V::load(key.add(at)).store_f16(rounded.as_mut_ptr());
            for (lane, bits) in rounded.into_iter().enumerate() {
                *keys.add((at + lane) * PAGE + slot) = bits;
            }
            V::load(value.add(at)).store_f16(values.add(at));
        }
    }
}

#[inline(always)]
unsafe fn append_eight<V: Lanes>(part: Part, slot: usize, key: *const f32, value: *const f32) {
    // SAFETY: the slot is this thread's, and key and value are as long as a head, by the contract of `append`.
    unsafe {
        let keys = part.keys.cast::<i8>();
        let values = part.values::<Eight>().cast::<i8>().add(slot * part.head_size);
        for block in 0..part.head_size / BLOCK {
            let (scale, quants) = block_of::<V>(key.add(block * BLOCK));
            *part.key_scales().add(block * PAGE + slot) = scale;
            for (element, quant) in quants.into_iter().enumerate() {
                *keys.add((block * BLOCK + element) * PAGE + slot) = quant;
            }
            let (scale, quants) = block_of::<V>(value.add(block * BLOCK));
            *part.value_scales().add(block * PAGE + slot) = scale;
            std::ptr::copy_nonoverlapping(quants.as_ptr(), values.add(block * BLOCK), BLOCK);
        }
    }
}

/// A block's scale as f16 and its quants; `from` must have a block.
#[inline(always)]
unsafe fn block_of<V: Lanes>(from: *const f32) -> (u16, [i8; BLOCK]) {
    // SAFETY: there are 32 elements, and the processor has what `V` needs.
    unsafe {
        let (scale, low, high) = scaled(V::load(from), V::load(from.add(LANES)));
        let mut quants = [0; BLOCK];
        low.store_i8(quants.as_mut_ptr());
        high.store_i8(quants.as_mut_ptr().add(LANES));
        (f16::from_f32(scale).to_bits(), quants)
    }
}
