//! One piece of memory for weights, for the KV cache or for a step's buffers, in huge pages where the system gives them.
//!
//! A decode step reads every weight once: with pages of 4 KiB that is a page walk each 64 cache lines, and on the box
//! where this was designed huge pages made decoding a fifth faster. A mapped file gets none, hence the copy. Memory
//! is only taken from the system as it is touched.
//!
//! Threads write different regions at the same time, so the memory is never behind a reference of its own: a region's
//! address comes from the raw map ([`Arena::pointer`]), and regions never overlap.
#![allow(unsafe_code, reason = "regions of one map, written by several threads at once")]

use std::io;

/// Size and alignment of a huge page.
const HUGE: usize = 2 << 20;
/// Alignment of a region: a cache line, and a register of AVX-512.
const LINE: usize = 64;

/// Memory from which regions are taken one behind the other; it is all zeros at first.
#[derive(Debug)]
pub(super) struct Arena {
    map: map::Map,
    start: usize,
    length: usize,
    taken: usize,
}

/// A part of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Region {
    pub(super) offset: usize,
    pub(super) length: usize,
}

impl Arena {
    /// Reserves `length` bytes.
    ///
    /// # Errors
    /// What the system says when it has no addresses left.
    pub(super) fn new(length: usize) -> io::Result<Self> {
        let whole = length.checked_add(HUGE).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = map::new(whole)?;
        let start = map.as_mut_ptr().align_offset(HUGE);
        Ok(Self { map, start, length, taken: 0 })
    }

    /// Takes the next `length` bytes, if there are so many.
    pub(super) fn take(&mut self, length: usize) -> Option<Region> {
        let padded = length.checked_next_multiple_of(LINE)?;
        let region = Region { offset: self.taken, length };
        self.taken =
            self.taken.checked_add(padded).filter(|end| *end <= self.length.next_multiple_of(LINE))?;
        Some(region)
    }

    /// Takes a region of each of these sizes.
    ///
    /// # Errors
    /// When there are not so many bytes left.
    pub(super) fn take_all<const N: usize>(&mut self, sizes: [usize; N]) -> io::Result<[Region; N]> {
        let mut regions = [Region::default(); N];
        for (region, size) in regions.iter_mut().zip(sizes) {
            *region = self.take(size).ok_or(io::ErrorKind::OutOfMemory)?;
        }
        Ok(regions)
    }

    /// Bytes that regions of these sizes take together, or more than any machine has.
    pub(super) fn bytes_of(sizes: &[usize]) -> usize {
        let padded = |size: &usize| size.checked_next_multiple_of(LINE).unwrap_or(usize::MAX);
        sizes.iter().map(padded).fold(0, usize::saturating_add)
    }

    /// Where a region begins; good for its length, for as long as the arena lives.
    ///
    /// Whoever writes through it sees to it that nobody else reads or writes these bytes meanwhile, be it through a
    /// pointer or a slice: regions that were taken do not overlap.
    ///
    /// # Panics
    /// When the region was not taken from this arena.
    #[inline]
    pub(super) fn pointer(&self, region: Region) -> *mut u8 {
        let end = region.offset.checked_add(region.length);
        assert!(end.is_some_and(|end| end <= self.taken), "{region:?} is no part of what was taken");
        // SAFETY: what was taken lies within the map, which is a huge page longer than the arena.
        unsafe { self.map.as_mut_ptr().add(self.start + region.offset) }
    }

    /// The bytes of a region that nobody writes.
    #[inline]
    pub(super) fn bytes(&self, region: Region) -> &[u8] {
        // SAFETY: the pointer is good for the length, and the map is initialised; pointers that write to it are
        // used by their rule, see `pointer`.
        unsafe { std::slice::from_raw_parts(self.pointer(region), region.length) }
    }

    /// The bytes of a region, to be written.
    #[inline]
    pub(super) fn bytes_mut(&mut self, region: Region) -> &mut [u8] {
        // SAFETY: as above, and the arena is borrowed for as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(region), region.length) }
    }
}

/// The system's memory, without a reference to it.
#[cfg(not(miri))]
mod map {
    use std::io;

    use memmap2::{MmapOptions, MmapRaw};

    pub(super) type Map = MmapRaw;

    pub(super) fn new(length: usize) -> io::Result<Map> {
        let map = MmapOptions::new().len(length).no_reserve_swap().map_anon()?;
        // A system without huge pages is slower, not wrong.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        Ok(map.into())
    }
}

/// Miri has no huge pages and no advice.
#[cfg(miri)]
mod map {
    use std::io;

    #[derive(Debug)]
    pub(super) struct Map(*mut [u8]);

    // SAFETY: as for the system's map: an address, and nothing that belongs to a thread.
    unsafe impl Send for Map {}
    // SAFETY: as above.
    unsafe impl Sync for Map {}

    impl Map {
        pub(super) fn as_mut_ptr(&self) -> *mut u8 {
            self.0.cast()
        }
    }

    impl Drop for Map {
        fn drop(&mut self) {
            // SAFETY: the pointer came from a box, and nobody uses it any more.
            drop(unsafe { Box::from_raw(self.0) });
        }
    }

    #[allow(clippy::unnecessary_wraps, reason = "as the system's")]
    pub(super) fn new(length: usize) -> io::Result<Map> {
        Ok(Map(Box::into_raw(vec![0; length].into_boxed_slice())))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Asserts that these regions lie in the arena and none touches another's bytes, and writes to all of them at once:
    /// under Miri a pointer that another one made stale is an error.
    pub(in crate::fused::cpu) fn assert_apart(arena: &Arena, regions: &[Region]) {
        let mut sorted: Vec<Region> = regions.iter().copied().filter(|region| region.length > 0).collect();
        sorted.sort_by_key(|region| region.offset);
        for pair in sorted.windows(2) {
            assert!(pair[0].offset + pair[0].length <= pair[1].offset, "{pair:?} overlap");
        }
        let pointers: Vec<(*mut u8, Region)> =
            sorted.iter().map(|region| (arena.pointer(*region), *region)).collect();
        for (number, (pointer, region)) in pointers.iter().enumerate() {
            assert_eq!(pointer.align_offset(LINE), 0, "{region:?}");
            // SAFETY: no slice of this arena is alive, and the pointer is good for the region.
            unsafe {
                pointer.write(number.to_le_bytes()[0]);
                pointer.add(region.length - 1).write(number.to_le_bytes()[0]);
            }
        }
        for (number, (pointer, region)) in pointers.iter().enumerate() {
            // SAFETY: as above.
            let ends = unsafe { [pointer.read(), pointer.add(region.length - 1).read()] };
            assert_eq!(
                ends,
                [number.to_le_bytes()[0]; 2],
                "{region:?} was written through another's pointer"
            );
        }
    }

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
        assert_apart(&arena, &[first, second]);
    }

    #[test]
    fn threads_write_regions_of_one_arena_at_once() {
        struct Shared(*mut u8);
        // SAFETY: each thread has a pointer of its own.
        unsafe impl Send for Shared {}
        let sizes = [100, LINE, 1, 3 * LINE];
        let mut arena = Arena::new(Arena::bytes_of(&sizes)).unwrap();
        let regions = arena.take_all(sizes).unwrap();
        let pointers = regions.map(|region| (Shared(arena.pointer(region)), region.length));
        std::thread::scope(|scope| {
            for (number, (pointer, length)) in (1_u8..).zip(pointers) {
                scope.spawn(move || {
                    let pointer = pointer;
                    // SAFETY: the region is this thread's alone until the scope ends.
                    unsafe { std::slice::from_raw_parts_mut(pointer.0, length) }.fill(number);
                });
            }
        });
        for (number, region) in (1_u8..).zip(regions) {
            assert!(arena.bytes(region).iter().all(|byte| *byte == number), "{region:?}");
        }
    }

    #[test]
    fn a_region_of_another_arena_is_refused() {
        let mut small = Arena::new(LINE).unwrap();
        let mut large = Arena::new(4 * LINE).unwrap();
        small.take(LINE).unwrap();
        let foreign = large.take(2 * LINE).unwrap();
        let beyond = Region { offset: usize::MAX, length: 2 };
        for region in [foreign, beyond] {
            assert!(std::panic::catch_unwind(|| small.pointer(region)).is_err(), "{region:?}");
        }
        assert!(Arena::new(usize::MAX).is_err() && large.take(usize::MAX).is_none());
    }
}
