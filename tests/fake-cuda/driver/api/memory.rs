//! Memory: allocating, copying, filling, asking about it.

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use super::super::code::Code;
use super::super::memory::Owner;
use super::super::stream::{DEFAULT, Source, Work};
use super::super::{Needs, State, call};
use super::{functions, give, pointer};

/// Device memory of the current card, where enough is free.
fn allocate(state: &mut State, to: *mut u64, size: usize) -> Result<(), Code> {
    if size == 0 || to.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    let device = state.current()?;
    let size = size as u64;
    if size.next_multiple_of(512) > state.memory.free_of(device, state.script.cards[device].memory) {
        return Err(Code::OUT_OF_MEMORY);
    }
    give(to, state.memory.allocate(size, Owner::Device(device))?)
}

fn is_pinned(state: &State, host: usize) -> bool {
    state
        .memory
        .holding(host as u64)
        .is_some_and(|(.., owner)| matches!(owner, Owner::Host | Owner::Registered))
}

/// Whether an address is the device's to copy from or to.
fn known(state: &State, address: u64, size: u64) -> Result<(), Code> {
    if size == 0 || state.memory.at(address, size).is_some() { Ok(()) } else { Err(Code::INVALID_VALUE) }
}

fn to_device(
    state: &mut State,
    to: u64,
    from: *const c_void,
    size: usize,
    stream: usize,
) -> Result<(), Code> {
    known(state, to, size as u64)?;
    if from.is_null() && size > 0 {
        return Err(Code::INVALID_VALUE);
    }
    // A captured copy reads its source each time it runs.
    let from = if is_pinned(state, from as usize) || state.capturing(stream).is_some() {
        Source::Late(from as usize)
    } else {
        // SAFETY: the caller gave `size` bytes.
        Source::Taken(Arc::from(unsafe { std::slice::from_raw_parts(from.cast::<u8>(), size) }))
    };
    state.submit(stream, Work::ToDevice { from, to, size: size as u64 })
}

fn to_host(state: &mut State, to: *mut c_void, from: u64, size: usize, stream: usize) -> Result<(), Code> {
    known(state, from, size as u64)?;
    if to.is_null() && size > 0 {
        return Err(Code::INVALID_VALUE);
    }
    state.submit(stream, Work::ToHost { from, to: to as usize, size: size as u64 })?;
    // Memory that is not pinned is written before the call returns.
    if !is_pinned(state, to as usize) && state.capturing(stream).is_none() {
        state.finish(stream)
    } else {
        Ok(())
    }
}

fn within(state: &mut State, to: u64, from: u64, size: usize, stream: usize) -> Result<(), Code> {
    known(state, from, size as u64)?;
    known(state, to, size as u64)?;
    state.submit(stream, Work::Within { from, to, size: size as u64 })
}

fn fill(state: &mut State, to: u64, pattern: &[u8], count: usize, stream: usize) -> Result<(), Code> {
    known(state, to, count as u64 * pattern.len() as u64)?;
    if !to.is_multiple_of(pattern.len() as u64) {
        return Err(Code::INVALID_VALUE);
    }
    state.submit(stream, Work::Fill { to, pattern: pattern.to_vec(), count: count as u64 })
}

/// Either way, by whose memory the pointers are.
fn any(state: &mut State, to: u64, from: u64, size: usize, stream: usize) -> Result<(), Code> {
    let device = |address| {
        state
            .memory
            .holding(address)
            .is_some_and(|(.., owner)| matches!(owner, Owner::Device(_) | Owner::Module(_)))
    };
    match (device(from), device(to)) {
        (true, true) => within(state, to, from, size, stream),
        (true, false) => to_host(state, to as *mut c_void, from, size, stream),
        (false, true) => to_device(state, to, from as *const c_void, size, stream),
        (false, false) => Err(Code::INVALID_VALUE),
    }
}

functions! { FUNCTIONS;
    Context fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) |state| {
        let device = state.current()?;
        let memory = state.script.cards[device].memory;
        give(free, state.memory.free_of(device, memory) as usize)?;
        give(total, memory as usize)
    }
    Context fn cuMemAlloc_v2(address: *mut u64, size: usize) |state| {
        state.may_wait()?;
        allocate(state, address, size)
    }
    Context fn cuMemFree_v2(address: u64) |state| {
        if address == 0 {
            return Ok(());
        }
        state.may_wait()?;
        // It waits for whatever may still use it.
        state.finish_all()?;
        state.memory.free(address, |owner| matches!(owner, Owner::Device(_)))
    }
    Context fn cuMemAllocAsync(address: *mut u64, size: usize, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        if state.capturing(stream).is_some() {
            return Err(Code::NOT_SUPPORTED);
        }
        allocate(state, address, size)
    }
    Context fn cuMemAllocFromPoolAsync(address: *mut u64, size: usize, pool: *mut c_void, stream: *mut c_void) |state| {
        let _ = (pool, state.stream(stream as usize)?);
        allocate(state, address, size)
    }
    Context fn cuMemFreeAsync(address: u64, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        match state.memory.holding(address) {
            Some((start, _, Owner::Device(_))) if start == address => state.submit(stream, Work::Free { address }),
            _ => Err(Code::INVALID_VALUE),
        }
    }
    Context fn cuMemAllocHost_v2(host: *mut *mut c_void, size: usize) |state| {
        state.may_wait()?;
        if size == 0 {
            return Err(Code::INVALID_VALUE);
        }
        let address = state.memory.allocate(size as u64, Owner::Host)?;
        give(host, pointer(address as usize))
    }
    Context fn cuMemHostAlloc(host: *mut *mut c_void, size: usize, flags: u32) |state| {
        state.may_wait()?;
        if size == 0 || flags > 7 {
            return Err(Code::INVALID_VALUE);
        }
        let address = state.memory.allocate(size as u64, Owner::Host)?;
        give(host, pointer(address as usize))
    }
    Context fn cuMemFreeHost(host: *mut c_void) |state| {
        state.may_wait()?;
        state.finish_all()?;
        state.memory.free(host as u64, |owner| owner == Owner::Host)
    }
    Context fn cuMemHostGetDevicePointer_v2(address: *mut u64, host: *mut c_void, flags: u32) |state| {
        if flags != 0 || !is_pinned(state, host as usize) {
            return Err(Code::INVALID_VALUE);
        }
        give(address, host as u64)
    }
    Context fn cuMemHostRegister_v2(host: *mut c_void, size: usize, flags: u32) |state| {
        let _ = flags;
        if host.is_null() || size == 0 {
            return Err(Code::INVALID_VALUE);
        }
        state.memory.register(host.cast(), size as u64);
        Ok(())
    }
    Context fn cuMemHostUnregister(host: *mut c_void) |state| {
        state.finish_all()?;
        state.memory.free(host as u64, |owner| owner == Owner::Registered)
    }
    Context fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, size: usize) |state| {
        state.may_wait()?;
        to_device(state, to, from, size, DEFAULT)?;
        state.finish(DEFAULT)
    }
    Context fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, size: usize) |state| {
        state.may_wait()?;
        to_host(state, to, from, size, DEFAULT)?;
        state.finish(DEFAULT)
    }
    Context fn cuMemcpyDtoD_v2(to: u64, from: u64, size: usize) |state| {
        state.may_wait()?;
        within(state, to, from, size, DEFAULT)
    }
    Context fn cuMemcpy(to: u64, from: u64, size: usize) |state| {
        state.may_wait()?;
        any(state, to, from, size, DEFAULT)?;
        state.finish(DEFAULT)
    }
    Context fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, size: usize, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        to_device(state, to, from, size, stream)
    }
    Context fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, size: usize, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        to_host(state, to, from, size, stream)
    }
    Context fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, size: usize, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        within(state, to, from, size, stream)
    }
    Context fn cuMemcpyAsync(to: u64, from: u64, size: usize, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        any(state, to, from, size, stream)
    }
    Context fn cuMemsetD8_v2(to: u64, value: u8, count: usize) |state| {
        state.may_wait()?;
        fill(state, to, &[value], count, DEFAULT)
    }
    Context fn cuMemsetD16_v2(to: u64, value: u16, count: usize) |state| {
        state.may_wait()?;
        fill(state, to, &value.to_le_bytes(), count, DEFAULT)
    }
    Context fn cuMemsetD32_v2(to: u64, value: u32, count: usize) |state| {
        state.may_wait()?;
        fill(state, to, &value.to_le_bytes(), count, DEFAULT)
    }
    Context fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        fill(state, to, &[value], count, stream)
    }
    Context fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        fill(state, to, &value.to_le_bytes(), count, stream)
    }
    Context fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: *mut c_void) |state| {
        let stream = state.stream(stream as usize)?;
        fill(state, to, &value.to_le_bytes(), count, stream)
    }
    Context fn cuMemGetAddressRange_v2(start: *mut u64, size: *mut usize, address: u64) |state| {
        let (first, bytes, _) = state.memory.holding(address).ok_or(Code::NOT_FOUND)?;
        if !start.is_null() {
            give(start, first)?;
        }
        if !size.is_null() {
            give(size, bytes as usize)?;
        }
        Ok(())
    }
    Context fn cuPointerGetAttribute(to: *mut c_void, attribute: c_int, address: u64) |state| {
        let (start, size, owner) = state.memory.holding(address).ok_or(Code::INVALID_VALUE)?;
        let on_device = matches!(owner, Owner::Device(_) | Owner::Module(_));
        match attribute {
            // Context, kind of memory, the device's and the host's pointer.
            1 => give(to.cast(), pointer(0x1000)),
            2 => give(to.cast(), if on_device { 2u32 } else { 1 }),
            3 => give(to.cast(), address),
            4 if !on_device => give(to.cast(), address),
            // Managed, which card, first address, bytes.
            8 => give(to.cast(), 0u32),
            9 => give(to.cast(), match owner { Owner::Device(at) | Owner::Module(at) => at as c_int, _ => 0 }),
            11 => give(to.cast(), start),
            12 => give(to.cast(), size),
            _ => Err(Code::INVALID_VALUE),
        }
    }
    Context fn cuMemPoolSetAttribute(pool: *mut c_void, attribute: c_int, value: *mut u64) |state| {
        let _ = pool;
        if attribute == 4 && !value.is_null() {
            // SAFETY: this attribute is a number of 64 bits.
            state.pool_threshold = unsafe { *value };
        }
        Ok(())
    }
    Context fn cuMemPoolGetAttribute(pool: *mut c_void, attribute: c_int, value: *mut u64) |state| {
        let _ = pool;
        give(value, if attribute == 4 { state.pool_threshold } else { 0 })
    }
    Context fn cuMemPoolTrimTo(pool: *mut c_void, keep: usize) |state| {
        let _ = (pool, keep);
        Ok(())
    }
}
