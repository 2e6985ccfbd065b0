//! Device memory and pinned host memory, each allocation a region of its own with gaps between.
//!
//! An address is never given twice, so a use after freeing is found. What was not written reads as NaN.
#![allow(unsafe_code, reason = "raw memory is what a driver deals in")]

use std::alloc::Layout;
use std::collections::BTreeMap;

use super::code::Code;
use crate::ptx::machine::memory::{Region, Regions};

/// Where device memory begins: apart from the windows of shared and local memory.
const FIRST: u64 = 0x7_0000_0000;
const ALIGNMENT: u64 = 512;
/// Unused addresses after each allocation.
const GAP: u64 = 4096;
/// Allocations beyond this are not poisoned: the host would have to hold them whole.
const POISONED: u64 = 64 << 20;
/// What a context takes of a card's memory.
const CONTEXT: u64 = 400 << 20;

/// Whose memory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Device(usize),
    /// Pinned memory of the host, which kernels may use as well.
    Host,
    /// Pinned where it lay; the caller's.
    Registered,
    /// Variables of a module.
    Module(usize),
}

#[derive(Debug)]
struct Allocation {
    size: u64,
    host: *mut u8,
    owner: Owner,
}

// SAFETY: the pointer is to memory that the allocation owns, or that its caller keeps until it is unregistered.
unsafe impl Send for Allocation {}

/// All allocations.
#[derive(Debug)]
pub struct Memory {
    all: BTreeMap<u64, Allocation>,
    next: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { all: BTreeMap::new(), next: FIRST }
    }
}

fn layout(size: u64) -> Option<Layout> {
    Layout::from_size_align(usize::try_from(size).ok()?.max(1), ALIGNMENT as usize).ok()
}

impl Memory {
    /// Bytes of a card that are free.
    pub fn free_of(&self, device: usize, total: u64) -> u64 {
        let mine = |allocation: &&Allocation| matches!(allocation.owner, Owner::Device(of) | Owner::Module(of) if of == device);
        let used: u64 = self.all.values().filter(mine).map(|a| a.size.next_multiple_of(ALIGNMENT)).sum();
        // A small card of a script has no room for what a real context takes.
        total.saturating_sub(CONTEXT.min(total / 16)).saturating_sub(used)
    }

    /// Device memory.
    pub fn allocate(&mut self, size: u64, owner: Owner) -> Result<u64, Code> {
        let layout = layout(size).ok_or(Code::OUT_OF_MEMORY)?;
        // SAFETY: the layout has at least one byte.
        let host = unsafe { std::alloc::alloc_zeroed(layout) };
        if host.is_null() {
            return Err(Code::OUT_OF_MEMORY);
        }
        if size <= POISONED && !matches!(owner, Owner::Module(_)) {
            // SAFETY: the memory is `size` bytes at least.
            unsafe { host.write_bytes(0xff, size as usize) };
        }
        let start = if owner == Owner::Host { host as u64 } else { self.next };
        if owner != Owner::Host {
            self.next = (self.next + size + GAP).next_multiple_of(ALIGNMENT);
        }
        self.all.insert(start, Allocation { size, host, owner });
        Ok(start)
    }

    /// Pins memory of the caller's.
    pub fn register(&mut self, host: *mut u8, size: u64) {
        self.all.insert(host as u64, Allocation { size, host, owner: Owner::Registered });
    }

    /// Gives an allocation back, by its first address.
    pub fn free(&mut self, start: u64, fits: impl Fn(Owner) -> bool) -> Result<(), Code> {
        if !self.all.get(&start).is_some_and(|allocation| fits(allocation.owner)) {
            return Err(Code::INVALID_VALUE);
        }
        if let Some(allocation) = self.all.remove(&start)
            && allocation.owner != Owner::Registered
            && let Some(layout) = layout(allocation.size)
        {
            // SAFETY: it was allocated with this layout, and is no longer listed.
            unsafe { std::alloc::dealloc(allocation.host, layout) };
        }
        Ok(())
    }

    /// The allocation that holds an address: its start, size and owner.
    pub fn holding(&self, address: u64) -> Option<(u64, u64, Owner)> {
        let (start, allocation) = self.all.range(..=address).next_back()?;
        (address - start < allocation.size).then_some((*start, allocation.size, allocation.owner))
    }

    /// The host's pointer to `size` bytes at an address, all within one allocation.
    pub fn at(&self, address: u64, size: u64) -> Option<*mut u8> {
        let (start, allocation) = self.all.range(..=address).next_back()?;
        let offset = address - start;
        if offset.checked_add(size)? > allocation.size {
            return None;
        }
        // SAFETY: the offset is within the allocation.
        Some(unsafe { allocation.host.add(usize::try_from(offset).ok()?) })
    }

    /// Everything, for a launch.
    pub fn regions(&self) -> Regions {
        let region = |(start, a): (&u64, &Allocation)| Region { start: *start, size: a.size, host: a.host };
        Regions::new(self.all.iter().map(region).collect())
    }
}
