//! One piece of memory for weights or for the KV cache, in huge pages where the system gives them.
//!
//! A decode step reads every weight once: with pages of 4 KiB that is a page walk each 64 cache lines, and on the box
//! where this was designed huge pages made decoding a fifth faster. A mapped file gets none, hence the copy. Memory
//! is only taken from the system as it is touched.

use std::io;

use memmap2::{MmapMut, MmapOptions};

/// Size and alignment of a huge page.
const HUGE: usize = 2 << 20;
/// Alignment of a region: a cache line, and a register of AVX-512.
const LINE: usize = 64;

/// Memory from which regions are taken one behind the other; it is all zeros at first.
#[derive(Debug)]
pub(in crate::engine::fused) struct Arena {
    map: MmapMut,
    start: usize,
    length: usize,
    taken: usize,
}

/// A part of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine::fused) struct Region {
    pub(in crate::engine::fused) offset: usize,
    pub(in crate::engine::fused) length: usize,
}

impl Arena {
    /// Reserves `length` bytes.
    ///
    /// # Errors
    /// What the system says when it has no addresses left.
    pub(in crate::engine::fused) fn new(length: usize) -> io::Result<Self> {
        let map = MmapOptions::new().len(length + HUGE).no_reserve_swap().map_anon()?;
        // A system without huge pages is slower, not wrong.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        let start = map.as_ptr().align_offset(HUGE);
        Ok(Self { map, start, length, taken: 0 })
    }

    /// Takes the next `length` bytes, if there are so many.
    pub(in crate::engine::fused) fn take(&mut self, length: usize) -> Option<Region> {
        let padded = length.next_multiple_of(LINE);
        let region = Region { offset: self.taken, length };
        self.taken =
            self.taken.checked_add(padded).filter(|end| *end <= self.length.next_multiple_of(LINE))?;
        Some(region)
    }

    /// Which share of the memory lies before `offset`.
    pub(in crate::engine::fused) fn share_before(&self, offset: usize) -> f64 {
        offset as f64 / self.length.max(1) as f64
    }

    /// The bytes of a region.
    pub(in crate::engine::fused) fn bytes(&self, region: Region) -> &[u8] {
        &self.map[self.start + region.offset..][..region.length]
    }

    /// The bytes of a region, to be written.
    pub(in crate::engine::fused) fn bytes_mut(&mut self, region: Region) -> &mut [u8] {
        &mut self.map[self.start + region.offset..][..region.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_aligned_apart_and_end_where_the_memory_ends() {
        let mut arena = Arena::new(3 * LINE).unwrap();
        let first = arena.take(1).unwrap();
        let second = arena.take(LINE + 1).unwrap();
        assert_eq!(arena.take(1), None);
        arena.bytes_mut(first).fill(1);
        arena.bytes_mut(second).fill(2);
        assert_eq!(arena.bytes(first), [1]);
        assert!(arena.bytes(second).iter().all(|byte| *byte == 2));
        assert_eq!(arena.bytes(first).as_ptr().align_offset(HUGE), 0);
        assert_eq!(arena.bytes(second).as_ptr().align_offset(LINE), 0);
    }
}
