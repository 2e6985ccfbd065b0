//! The shape of a KV cache, the same on every back end: pages of 64 positions, each with a *part* for every layer and
//! KV head.
//!
//! A part is the page's keys transposed, `[head_size][64]`, and behind them its values, `[64][head_size]`, so that
//! neighbouring positions of a key's element and neighbouring elements of a value lie side by side. In `q8_0` both are
//! 8-bit integers, and behind them lie the f16 scales of their blocks of 32 elements, `[head_size ÷ 32][64]` of the keys
//! and as many of the values. Pages are numbered and handed out by the scheduler; nobody here asks whose they are.

use std::str::FromStr;

use crate::{Error, PAGE_POSITIONS};

use super::unsupported;

/// Positions of a page.
pub(super) const PAGE: usize = PAGE_POSITIONS as usize;
/// Elements of a block with one scale.
pub(super) const BLOCK: usize = 32;

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
            let known = Self::ALL.map(Self::label).join(", ");
            format!("unknown KV cache type `{text}`; supported: {known}")
        })
    }
}

/// Whether heads of this size can be kept in such a cache.
///
/// # Errors
/// [`Error::Unsupported`] with the way out.
pub(super) fn check(head_size: usize, kv_type: KvType) -> Result<(), Error> {
    if kv_type == KvType::Q8_0 && !head_size.is_multiple_of(BLOCK) {
        return Err(unsupported(
            format!("keep heads of {head_size} elements in a KV cache of q8_0"),
            format!("its blocks have {BLOCK} elements; leave out `--kv-type`, or ask for f16"),
        ));
    }
    Ok(())
}

/// The shape of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KvLayout {
    pub(super) layers: usize,
    pub(super) kv_heads: usize,
    pub(super) head_size: usize,
    pub(super) kv_type: KvType,
}

impl KvLayout {
    /// Bytes of one page's part for a layer and a KV head: a multiple of 64, since 64 positions lie in it.
    #[allow(clippy::cast_possible_truncation, reason = "34 or 64")]
    pub(super) const fn part_bytes(self) -> usize {
        2 * PAGE * self.head_size / BLOCK * self.kv_type.block_bytes() as usize
    }

    /// Bytes of one page for all layers and heads.
    pub(super) const fn page_bytes(self) -> usize {
        self.layers * self.kv_heads * self.part_bytes()
    }
}
