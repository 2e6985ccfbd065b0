//! Where keys and values lie: pages of 64 positions, each with a *part* for every layer and KV head.
//!
//! A part is the page's keys transposed, `[head_size][64]`, and behind them its values, `[64][head_size]`, so that a
//! query meets 64 keys with whole registers, a share of attention meets a value with whole registers, and both are
//! one stream of neighbouring bytes. In `q8_0` both are 8-bit integers, and behind them lie the f16 scales of their
//! blocks of 32 elements, `[head_size ÷ 32][64]` of the keys and as many of the values: 64 positions of a block side
//! by side, so that scales too are met with whole registers. Pages are numbered and handed out by the scheduler;
//! this room never asks whose they are.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(
    clippy::cast_ptr_alignment,
    reason = "parts and rows are multiples of 64 bytes from an aligned start"
)]
#![allow(unsafe_code, reason = "threads write keys and values of tokens of their own into shared memory")]

use std::str::FromStr;

use half::f16;

use crate::PAGE_POSITIONS;

use super::activations::{for_each_isa, scaled};
use super::isa::Isa;
use super::lanes::{LANES, Lanes, Plain};
use super::pack::BLOCK;

/// Positions of a page.
pub(super) const PAGE: usize = PAGE_POSITIONS as usize;

/// Format of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// IEEE half precision.
    #[default]
    F16,
    /// 8-bit integers, a block of 32 elements with one f16 scale, as llama.cpp's.
    Q8_0,
}

impl KvType {
    const ALL: [Self; 2] = [Self::F16, Self::Q8_0];

    /// Its name in flags and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes of 32 elements.
    pub const fn block_bytes(self) -> u64 {
        match self {
            Self::F16 => 64,
            Self::Q8_0 => 34,
        }
    }
}

impl FromStr for KvType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.label() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::label).join(" and ");
            format!("`{text}` is no format of this engine's KV cache; it has {known}")
        })
    }
}

/// The shape of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fused) struct KvLayout {
    pub(in crate::fused) layers: usize,
    pub(in crate::fused) kv_heads: usize,
    pub(in crate::fused) head_size: usize,
    pub(in crate::fused) kv_type: KvType,
}

impl KvLayout {
    /// Bytes of one page's part for a layer and a KV head: a multiple of 64, since 64 positions lie in it.
    #[allow(clippy::cast_possible_truncation, reason = "34 or 64")]
    const fn part_bytes(self) -> usize {
        2 * PAGE * self.head_size / BLOCK * self.kv_type.block_bytes() as usize
    }

    /// Bytes of one page for all layers and heads.
    pub(in crate::fused) const fn page_bytes(self) -> usize {
        self.layers * self.kv_heads * self.part_bytes()
    }
}

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
        // SAFETY: the caller's.
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
        // SAFETY: the caller's.
        unsafe { V::load_f16(from.cast::<u16>().add(index)) }
    }
}

impl Cell for Eight {
    const BYTES: usize = 1;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const u8, index: usize) -> V {
        // SAFETY: the caller's.
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
    // SAFETY: the caller's.
    unsafe {
        match part.kv_type {
            KvType::F16 => append_half::<V>(part, slot, key, value),
            KvType::Q8_0 => append_eight::<V>(part, slot, key, value),
        }
    }
}

#[inline(always)]
unsafe fn append_half<V: Lanes>(part: Part, slot: usize, key: *const f32, value: *const f32) {
    // SAFETY: the caller's.
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
    // SAFETY: the caller's.
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

/// A block's scale as f16 and its quants.
#[inline(always)]
unsafe fn block_of<V: Lanes>(from: *const f32) -> (u16, [i8; BLOCK]) {
    // SAFETY: the caller's.
    unsafe {
        let (scale, low, high) = scaled(V::load(from), V::load(from.add(LANES)));
        let mut quants = [0; BLOCK];
        low.store_i8(quants.as_mut_ptr());
        high.store_i8(quants.as_mut_ptr().add(LANES));
        (f16::from_f32(scale).to_bits(), quants)
    }
}
