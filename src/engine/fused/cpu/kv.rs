//! Where keys and values lie: pages of 64 positions, each with a part for every layer and KV head.
//!
//! A part is the page's keys transposed, `[head_size][64]`, and behind them its values, `[64][head_size]`, both f16:
//! so a query meets 64 keys with whole registers, a share of attention meets a value with whole registers, and both
//! are one stream of neighbouring bytes. Pages are numbered and handed out by the scheduler; this room never asks
//! whose they are.
#![allow(
    clippy::inline_always,
    reason = "generic kernels become instructions only inside the wrapper that enables them"
)]
#![allow(unsafe_code, reason = "threads write keys and values of tokens of their own into shared memory")]

use std::str::FromStr;

use crate::engine::PAGE_POSITIONS;

use super::activations::for_each_isa;
use super::isa::Isa;
use super::lanes::{LANES, Lanes, Plain};

/// Positions of a page.
pub(super) const PAGE: usize = PAGE_POSITIONS as usize;

/// Format of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KvType {
    /// IEEE half precision.
    #[default]
    F16,
}

impl KvType {
    /// Its name in flags and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::F16 => "f16",
        }
    }

    /// Bytes of an element.
    pub fn element_bytes(self) -> u64 {
        match self {
            Self::F16 => 2,
        }
    }
}

impl FromStr for KvType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "f16" => Ok(Self::F16),
            _ => Err(format!("`{text}` is no format of this engine's KV cache; it has f16")),
        }
    }
}

/// The shape of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::fused) struct KvLayout {
    pub(in crate::engine::fused) layers: usize,
    pub(in crate::engine::fused) kv_heads: usize,
    pub(in crate::engine::fused) head_size: usize,
}

impl KvLayout {
    /// Elements of one page's part for a layer and a KV head.
    const fn part(self) -> usize {
        2 * PAGE * self.head_size
    }

    /// Bytes of one page for all layers and heads.
    pub(in crate::engine::fused) const fn page_bytes(self) -> usize {
        self.layers * self.kv_heads * self.part() * 2
    }
}

/// The cache's memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct KvCache {
    pub(super) layout: KvLayout,
    /// The first page, aligned to 64 bytes.
    pub(super) first: *mut u16,
}

impl KvCache {
    /// The keys of `page` for a layer and a head; its values lie `PAGE` × head size elements behind.
    ///
    /// # Safety
    /// The page, layer and head must be there.
    #[inline(always)]
    pub(super) unsafe fn keys(&self, page: u32, layer: usize, head: usize) -> *mut u16 {
        let parts = (page as usize * self.layout.layers + layer) * self.layout.kv_heads + head;
        // SAFETY: the caller's.
        unsafe { self.first.add(parts * self.layout.part()) }
    }
}

for_each_isa! {
    /// Writes one position's key and value of one head, `head_size` elements each, into slot `slot` of a page's part.
    ///
    /// # Safety
    /// `keys` must be a part of the cache, `slot` below 64, and no other thread may touch that slot meanwhile.
    pub(super) unsafe fn append(keys: *mut u16, head_size: usize, slot: usize, key: *const f32, value: *const f32) =
        append_one
}

#[inline(always)]
unsafe fn append_one<V: Lanes>(
    keys: *mut u16,
    head_size: usize,
    slot: usize,
    key: *const f32,
    value: *const f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let values = keys.add(PAGE * head_size + slot * head_size);
        for at in (0..head_size).step_by(LANES) {
            let mut rounded = [0u16; LANES];
            V::load(key.add(at)).store_f16(rounded.as_mut_ptr());
            for (lane, bits) in rounded.into_iter().enumerate() {
                *keys.add((at + lane) * PAGE + slot) = bits;
            }
            V::load(value.add(at)).store_f16(values.add(at));
        }
    }
}
