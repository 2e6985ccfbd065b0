//! Loads, stores, atomics and asynchronous copies of a warp, in every state space.
#![allow(unsafe_code, reason = "device memory is the host's, shared by blocks that run at the same time")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::super::checks::Write;
use super::super::decode::{LOCAL_WINDOW, SHARED_WINDOW, WINDOW};
use super::super::fault::{Blame, Kind};
use super::super::number::{Half, add_narrow, pairs2};
use super::super::op::{Access, Atomic, NONE, Op, Space};
use super::block::Block;
use super::lanes::Lane;
use super::warp::Warp;

/// An allocation of device memory and the host's memory that holds it.
#[derive(Debug, Clone, Copy)]
pub struct Region {
    pub start: u64,
    pub size: u64,
    pub host: *mut u8,
}

// SAFETY: whoever makes a region keeps its memory until the launch is over; blocks on several threads access
// it as threads of a GPU do, with atomics where the kernel says so.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// All device memory there is, ordered by address.
#[derive(Debug, Default)]
pub struct Regions(Vec<Region>);

impl Regions {
    pub fn new(mut all: Vec<Region>) -> Self {
        all.sort_unstable_by_key(|region| region.start);
        Self(all)
    }

    /// The region that holds all `size` bytes.
    fn find(&self, address: u64, size: u64) -> Option<&Region> {
        let at = self.0.partition_point(|region| region.start <= address);
        let region = self.0.get(at.checked_sub(1)?)?;
        (address - region.start + size <= region.size).then_some(region)
    }

    fn blame(&self, address: u64, size: u64, lane: u32) -> Blame {
        let at = self.0.partition_point(|region| region.start <= address);
        let near = match at.checked_sub(1).map(|at| &self.0[at]) {
            Some(region) => {
                let beyond = (address + size).wrapping_sub(region.start + region.size);
                format!("; it reaches {beyond} bytes beyond an allocation of {} bytes", region.size)
            }
            None => String::new(),
        };
        Blame::lane(
            Kind::Address,
            lane,
            format!("{size} bytes at {address:#x} of device memory, in no allocation{near}"),
        )
    }
}

/// Each lane of a mask.
pub fn lanes(mask: u32) -> impl Iterator<Item = u32> {
    (0..32).filter(move |lane| mask >> lane & 1 == 1)
}

fn misaligned(address: u64, size: u64, lane: u32) -> Blame {
    Blame::lane(
        Kind::Misaligned,
        lane,
        format!("{size} bytes at {address:#x}, which is no multiple of {size}"),
    )
}

/// Addresses of the lanes, every one of them defined.
fn addresses(warp: &mut Warp, op: &Op, wide: bool, exec: u32) -> Result<[u64; 32], Blame> {
    let undefined = exec & !warp.rows.defined[op.a as usize];
    if undefined != 0 {
        let lane = undefined.trailing_zeros();
        return Err(Blame::lane(
            Kind::Undefined,
            lane,
            "an address that was computed from what was never written",
        ));
    }
    let offset = op.imm.cast_unsigned();
    let mut all = [0; 32];
    if wide {
        for (address, base) in all.iter_mut().zip(warp.rows.longs(op.a).iter()) {
            *address = base.wrapping_add(offset);
        }
    } else {
        for (address, base) in all.iter_mut().zip(warp.rows.words(op.a)) {
            *address = u64::from(base.wrapping_add(offset as u32));
        }
    }
    Ok(all)
}

/// The space of a generic address, and the address in it.
fn settle(space: Space, address: u64) -> (Space, u64) {
    match space {
        Space::Generic if address.wrapping_sub(SHARED_WINDOW) < WINDOW => {
            (Space::Shared, address - SHARED_WINDOW)
        }
        Space::Generic if address.wrapping_sub(LOCAL_WINDOW) < WINDOW => {
            (Space::Local, address - LOCAL_WINDOW)
        }
        Space::Generic => (Space::Global, address),
        other => (other, address),
    }
}

/// Little-endian bytes, up to eight.
#[inline(always)]
fn whole(bytes: &[u8]) -> u64 {
    match bytes.len() {
        4 => u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        _ => bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)),
    }
}

/// Puts an element into its register.
#[inline(always)]
fn deliver(warp: &mut Warp, access: Access, row: u32, lane: u32, raw: u64) {
    let bits = u32::from(access.width) * 8;
    let value =
        if access.signed { (raw << (64 - bits)).cast_signed() >> (64 - bits) } else { raw.cast_signed() };
    let value = value.cast_unsigned();
    let to = warp.rows.row(row);
    // SAFETY: the decoder gave the list rows of the width that the access names.
    unsafe {
        if access.long {
            value.set(to, lane as usize);
        } else if access.half {
            (value as u16).set(to, lane as usize);
        } else {
            (value as u32).set(to, lane as usize);
        }
    }
}

/// Loads.
pub fn load(block: &mut Block<'_>, warp: &mut Warp, op: &Op, access: Access, exec: u32) -> Result<(), Blame> {
    let all = addresses(warp, op, access.wide, exec)?;
    let width = usize::from(access.width);
    let size = width * usize::from(access.count);
    count(block, warp, access.space, &all, size, exec);
    let mut defined = exec;
    let mut region: Option<&Region> = None;
    let regions = block.regions;
    for lane in lanes(exec) {
        let (space, address) = settle(access.space, all[lane as usize]);
        if address % size as u64 != 0 {
            return Err(misaligned(address, size as u64, lane));
        }
        match space {
            Space::Global | Space::Generic => {
                let inside = region.is_some_and(|region| {
                    address >= region.start && address - region.start + size as u64 <= region.size
                });
                if !inside {
                    region = Some(
                        regions
                            .find(address, size as u64)
                            .ok_or_else(|| regions.blame(address, size as u64, lane))?,
                    );
                }
                let Some(region) = region else { continue };
                // SAFETY: the region was checked to hold the bytes.
                let bytes = unsafe {
                    std::slice::from_raw_parts(region.host.add((address - region.start) as usize), size)
                };
                if width == 4 && !access.long && !access.half {
                    for (element, bytes) in op.list.iter().zip(bytes.chunks_exact(4)) {
                        let value = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                        warp.rows.words_mut(*element)[lane as usize] = value;
                    }
                } else {
                    for (element, bytes) in op.list.iter().zip(bytes.chunks_exact(width)) {
                        deliver(warp, access, *element, lane, whole(bytes));
                    }
                }
            }
            Space::Shared => {
                let mut held = [0u8; 32];
                let (bytes, known) = block
                    .shared
                    .read(address, size, warp.actor(lane))
                    .map_err(|blame| Blame { lane: Some(lane), ..blame })?;
                held[..size].copy_from_slice(bytes);
                if !known {
                    defined &= !(1 << lane);
                }
                for (element, bytes) in op.list.iter().zip(held[..size].chunks_exact(width)) {
                    deliver(warp, access, *element, lane, whole(bytes));
                }
            }
            Space::Local => {
                let from = local_place(warp, address, size, lane)?;
                if warp.local_written[from..from + size].contains(&false) {
                    defined &= !(1 << lane);
                }
                for (n, element) in op.list.iter().enumerate() {
                    let raw = whole(&warp.local[from + n * width..from + (n + 1) * width]);
                    deliver(warp, access, *element, lane, raw);
                }
            }
            Space::Param => {
                let from = address as usize;
                let Some(bytes) = block.parameters.get(from..from + size) else {
                    let what = format!(
                        "{size} bytes at {address} of {} bytes of parameters",
                        block.parameters.len()
                    );
                    return Err(Blame::lane(Kind::Address, lane, what));
                };
                for (element, bytes) in op.list.iter().zip(bytes.chunks_exact(width)) {
                    deliver(warp, access, *element, lane, whole(bytes));
                }
            }
        }
    }
    for row in &op.list {
        warp.rows.mark(*row, exec, defined);
    }
    Ok(())
}

fn local_place(warp: &Warp, address: u64, size: usize, lane: u32) -> Result<usize, Blame> {
    let each = warp.local.len() / 32;
    if address + size as u64 > each as u64 {
        let what = format!("{size} bytes at {address} of local memory, of which a thread has {each}");
        return Err(Blame::lane(Kind::Address, lane, what));
    }
    Ok(lane as usize * each + address as usize)
}

/// Stores.
pub fn store(
    block: &mut Block<'_>,
    warp: &mut Warp,
    op: &Op,
    access: Access,
    exec: u32,
) -> Result<(), Blame> {
    let all = addresses(warp, op, access.wide, exec)?;
    let width = usize::from(access.width);
    let size = width * usize::from(access.count);
    count(block, warp, access.space, &all, size, exec);
    let regions = block.regions;
    let defined = op.list.iter().fold(u32::MAX, |all, row| all & warp.rows.defined[*row as usize]);
    let mut held = [0u8; 32];
    for lane in lanes(exec) {
        let (space, address) = settle(access.space, all[lane as usize]);
        if address % size as u64 != 0 {
            return Err(misaligned(address, size as u64, lane));
        }
        for (row, bytes) in op.list.iter().zip(held.chunks_exact_mut(width)) {
            let from = warp.rows.row(*row).cast_const();
            // SAFETY: the decoder gave the list rows of the width that the access names.
            let value = unsafe {
                if access.long {
                    u64::get(from, lane as usize)
                } else {
                    u64::from(u32::get(from, lane as usize))
                }
            };
            bytes.copy_from_slice(&value.to_le_bytes()[..width]);
        }
        let known = defined >> lane & 1 == 1;
        match space {
            Space::Global | Space::Generic => {
                if !known {
                    let what = "it stores what was computed from what was never written";
                    return Err(Blame::lane(Kind::Undefined, lane, what));
                }
                let region = regions
                    .find(address, size as u64)
                    .ok_or_else(|| regions.blame(address, size as u64, lane))?;
                // SAFETY: the region was checked to hold the bytes.
                unsafe {
                    let to = region.host.add((address - region.start) as usize);
                    std::ptr::copy_nonoverlapping(held.as_ptr(), to, size);
                }
            }
            Space::Shared => {
                // Undefined values may be parked in shared memory; bytes of theirs count as written.
                block
                    .shared
                    .write(address, &held[..size], warp.actor(lane), Write::Plain)
                    .map_err(|blame| Blame { lane: Some(lane), ..blame })?;
            }
            Space::Local => {
                let to = local_place(warp, address, size, lane)?;
                warp.local[to..to + size].copy_from_slice(&held[..size]);
                warp.local_written[to..to + size].fill(known);
            }
            Space::Param => {
                return Err(Blame::lane(Kind::Address, lane, "a store to parameters of the kernel"));
            }
        }
    }
    Ok(())
}

/// Counts bytes, sectors and conflicts of an access.
fn count(block: &mut Block<'_>, warp: &Warp, space: Space, all: &[u64; 32], size: usize, exec: u32) {
    let Some(first) = lanes(exec).next() else { return };
    let (space, _) = settle(space, all[first as usize]);
    let traffic = &mut block.counts.traffic[warp.at as usize];
    traffic.accesses += 1;
    traffic.bytes += u64::from(exec.count_ones()) * size as u64;
    match space {
        Space::Global | Space::Generic => traffic.sectors += super::counts::sectors(all, exec),
        Space::Shared => traffic.wavefronts += super::counts::wavefronts(all, exec, size),
        _ => {}
    }
}

/// Atomics. Their lanes run one after the other, in an order that nobody may rely on.
pub fn atomic(
    block: &mut Block<'_>,
    warp: &mut Warp,
    op: &Op,
    (what, space, long): (Atomic, Space, bool),
    exec: u32,
) -> Result<(), Blame> {
    let all = addresses(warp, op, true, exec)?;
    let size = if long { 8 } else { 4 };
    count(block, warp, space, &all, size, exec);
    let undefined = exec & !(warp.rows.defined[op.b as usize] & warp.rows.defined[op.c as usize]);
    if undefined != 0 {
        let lane = undefined.trailing_zeros();
        return Err(Blame::lane(Kind::Undefined, lane, "an atomic of what was never written"));
    }
    for lane in lanes(exec) {
        let (space, address) = settle(space, all[lane as usize]);
        if address % size as u64 != 0 {
            return Err(misaligned(address, size as u64, lane));
        }
        let read = |row: u32, warp: &mut Warp| {
            let row = warp.rows.row(row).cast_const();
            // SAFETY: the decoder gave rows of the width that the atomic has.
            unsafe {
                if long { u64::get(row, lane as usize) } else { u64::from(u32::get(row, lane as usize)) }
            }
        };
        let (b, c) = (read(op.b, warp), if what == Atomic::Swap { read(op.c, warp) } else { 0 });
        let old = match space {
            Space::Global | Space::Generic => {
                let regions = block.regions;
                let region = regions
                    .find(address, size as u64)
                    .ok_or_else(|| regions.blame(address, size as u64, lane))?;
                // SAFETY: the region was checked to hold the bytes, which are aligned to their size.
                unsafe {
                    let place = region.host.add((address - region.start) as usize);
                    if long {
                        let place = AtomicU64::from_ptr(place.cast());
                        let change = |old| Some(combine(what, old, b, c, true));
                        place.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).unwrap_or_default()
                    } else {
                        let place = AtomicU32::from_ptr(place.cast());
                        let change = |old| Some(combine(what, u64::from(old), b, c, false) as u32);
                        u64::from(
                            place
                                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, change)
                                .unwrap_or_default(),
                        )
                    }
                }
            }
            Space::Shared => {
                let old =
                    block.shared.peek(address, size).map_err(|blame| Blame { lane: Some(lane), ..blame })?;
                let new = combine(what, old, b, c, long);
                block
                    .shared
                    .write(address, &new.to_le_bytes()[..size], warp.actor(lane), Write::Atomic)
                    .map_err(|blame| Blame { lane: Some(lane), ..blame })?;
                old
            }
            Space::Local | Space::Param => {
                return Err(Blame::lane(Kind::Address, lane, "an atomic on memory of a thread alone"));
            }
        };
        if op.d != NONE {
            let to = warp.rows.row(op.d);
            // SAFETY: the decoder gave rows of the width that the atomic has.
            unsafe { if long { old.set(to, lane as usize) } else { (old as u32).set(to, lane as usize) } }
        }
    }
    if op.d != NONE {
        warp.rows.mark(op.d, exec, exec);
    }
    Ok(())
}

fn combine(what: Atomic, old: u64, b: u64, c: u64, long: bool) -> u64 {
    let single = |value: u64| f32::from_bits(value as u32);
    let signed = |value: u64| if long { value.cast_signed() } else { i64::from(value as u32 as i32) };
    match what {
        Atomic::Add if long => old.wrapping_add(b),
        Atomic::Add => u64::from((old as u32).wrapping_add(b as u32)),
        Atomic::AddF32 => u64::from((single(old) + single(b)).to_bits()),
        Atomic::AddF64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        Atomic::AddF16x2 => u64::from(pairs2(old as u32, b as u32, add_narrow::<Half>)),
        Atomic::And => old & b,
        Atomic::Or => old | b,
        Atomic::Xor => old ^ b,
        Atomic::Exchange => b,
        Atomic::Swap => {
            if old == b {
                c
            } else {
                old
            }
        }
        Atomic::MinU => old.min(b),
        Atomic::MaxU => old.max(b),
        Atomic::MinS => {
            if signed(old) <= signed(b) {
                old
            } else {
                b
            }
        }
        Atomic::MaxS => {
            if signed(old) >= signed(b) {
                old
            } else {
                b
            }
        }
        Atomic::Increment => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        Atomic::Decrement => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
    }
}

/// `cp.async` starts: its target is taken now, its source read when it lands.
pub fn copy(block: &mut Block<'_>, warp: &mut Warp, op: &Op, exec: u32) -> Result<(), Blame> {
    let undefined = exec & !warp.rows.sources_defined(op);
    if undefined != 0 {
        let what = "cp.async with operands that were never written";
        return Err(Blame::lane(Kind::Undefined, undefined.trailing_zeros(), what));
    }
    let (to, from, taken) = (*warp.rows.longs(op.a), *warp.rows.longs(op.b), *warp.rows.words(op.c));
    let size = op.imm as usize;
    count(block, warp, Space::Global, &from, size, exec);
    for lane in lanes(exec) {
        let at = lane as usize;
        let (to, from, taken) = (to[at], from[at], taken[at]);
        if taken as usize > size {
            let what = format!("cp.async of {size} bytes, of which {taken} are to be taken");
            return Err(Blame::lane(Kind::Operand, lane, what));
        }
        for address in [to, from] {
            if address % size as u64 != 0 {
                return Err(misaligned(address, size as u64, lane));
            }
        }
        if taken > 0 && block.regions.find(from, u64::from(taken)).is_none() {
            return Err(block.regions.blame(from, u64::from(taken), lane));
        }
        block
            .shared
            .write(to, &[0; 16][..size], warp.actor(lane), Write::Pending)
            .map_err(|blame| Blame { lane: Some(lane), ..blame })?;
        warp.copies.add(lane, to, from, size as u8, taken as u8);
    }
    Ok(())
}

/// What a wait lets arrive.
pub fn arrive(block: &mut Block<'_>, warp: &mut Warp, exec: u32, keep: Option<u32>) -> Result<(), Blame> {
    for copy in warp.copies.wait(exec, keep) {
        let mut bytes = [0; 16];
        let taken = usize::from(copy.taken);
        if taken > 0 {
            let Some(region) = block.regions.find(copy.from, taken as u64) else {
                return Err(block.regions.blame(copy.from, taken as u64, copy.lane));
            };
            // SAFETY: the region was checked to hold the bytes.
            unsafe {
                let from = region.host.add((copy.from - region.start) as usize);
                std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), taken);
            }
        }
        block.shared.land(copy.to, &bytes[..usize::from(copy.size)], warp.actor(copy.lane));
    }
    Ok(())
}
