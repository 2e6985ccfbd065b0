//! Primary contexts, one a card, and which is current on a thread.

use std::ffi::{c_int, c_void};

use super::super::code::Code;
use super::super::{Needs, call, current_raw, make_current};
use super::device::card;
use super::{functions, give, pointer};

/// The handle of a card's context.
fn handle(device: usize) -> *mut c_void {
    pointer(0x1000 + 16 * device)
}

/// The card of a context's handle.
fn device_of(context: *mut c_void, cards: usize) -> Result<Option<usize>, Code> {
    if context.is_null() {
        return Ok(None);
    }
    (0..cards).find(|device| handle(*device) == context).map(Some).ok_or(Code::INVALID_CONTEXT)
}

functions! { FUNCTIONS;
    Init fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, device: c_int) |state| {
        let device = card(state, device)?;
        state.contexts[device] += 1;
        give(context, handle(device))
    }
    Init fn cuDevicePrimaryCtxRelease_v2(device: c_int) |state| {
        let device = card(state, device)?;
        if state.contexts[device] == 0 {
            return Err(Code::INVALID_CONTEXT);
        }
        state.contexts[device] -= 1;
        Ok(())
    }
    Init fn cuDevicePrimaryCtxReset_v2(device: c_int) |state| {
        card(state, device).map(|_| ())
    }
    Init fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: u32) |state| {
        let _ = flags;
        card(state, device).map(|_| ())
    }
    Init fn cuDevicePrimaryCtxGetState(device: c_int, flags: *mut u32, active: *mut c_int) |state| {
        let device = card(state, device)?;
        give(flags, 0)?;
        give(active, c_int::from(state.contexts[device] > 0))
    }
    Init fn cuCtxGetCurrent(context: *mut *mut c_void) |state| {
        give(context, current_raw().map_or(std::ptr::null_mut(), handle))
    }
    Init fn cuCtxSetCurrent(context: *mut c_void) |state| {
        let device = device_of(context, state.script.cards.len())?;
        if device.is_some_and(|device| state.contexts[device] == 0) {
            return Err(Code::INVALID_CONTEXT);
        }
        make_current(device);
        Ok(())
    }
    Init fn cuCtxPushCurrent_v2(context: *mut c_void) |state| {
        make_current(device_of(context, state.script.cards.len())?);
        Ok(())
    }
    Init fn cuCtxPopCurrent_v2(context: *mut *mut c_void) |state| {
        let popped = current_raw().map_or(std::ptr::null_mut(), handle);
        make_current(None);
        if context.is_null() { Ok(()) } else { give(context, popped) }
    }
    Context fn cuCtxGetDevice(device: *mut c_int) |state| {
        give(device, c_int::try_from(state.current()?).unwrap_or_default())
    }
    Context fn cuCtxGetApiVersion(context: *mut c_void, version: *mut u32) |state| {
        let _ = context;
        give(version, 3020)
    }
    Context fn cuCtxSynchronize() |state| {
        state.may_wait()?;
        state.finish_all()
    }
    Context fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) |state| {
        give(least, 0)?;
        give(greatest, -5)
    }
    Context fn cuCtxSetLimit(limit: c_int, value: usize) |state| {
        let _ = (limit, value);
        Ok(())
    }
    Context fn cuCtxGetLimit(value: *mut usize, limit: c_int) |state| {
        let _ = limit;
        give(value, 1024)
    }
    Context fn cuCtxSetCacheConfig(config: c_int) |state| {
        let _ = config;
        Ok(())
    }
    Context fn cuCtxGetCacheConfig(config: *mut c_int) |state| {
        give(config, 0)
    }
    Context fn cuCtxSetFlags(flags: u32) |state| {
        let _ = flags;
        Ok(())
    }
}
