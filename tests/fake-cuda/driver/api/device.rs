//! Cards: how many, what they are, which board.

use std::ffi::{CStr, c_char, c_int, c_void};

use super::super::code::Code;
use super::super::{Needs, State, call};
use super::{functions, give};

/// A card by its number.
pub(super) fn card(state: &State, device: c_int) -> Result<usize, Code> {
    usize::try_from(device).ok().filter(|at| *at < state.script.cards.len()).ok_or(Code::INVALID_DEVICE)
}

/// Writes a string and its end into a buffer, cut to its length.
fn text(to: *mut c_char, length: c_int, text: &str) -> Result<(), Code> {
    let Ok(length) = usize::try_from(length) else { return Err(Code::INVALID_VALUE) };
    if to.is_null() || length == 0 {
        return Err(Code::INVALID_VALUE);
    }
    let bytes = &text.as_bytes()[..text.len().min(length - 1)];
    // SAFETY: the caller gave a buffer of `length` bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), to, bytes.len());
        to.add(bytes.len()).write(0);
    }
    Ok(())
}

functions! { FUNCTIONS;
    Init fn cuDeviceGetCount(count: *mut c_int) |state| {
        give(count, c_int::try_from(state.script.cards.len()).unwrap_or(c_int::MAX))
    }
    Init fn cuDeviceGet(device: *mut c_int, ordinal: c_int) |state| {
        card(state, ordinal)?;
        give(device, ordinal)
    }
    Init fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) |state| {
        text(name, length, state.script.cards[card(state, device)?].kind.name)
    }
    Init fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) |state| {
        give(uuid, state.script.cards[card(state, device)?].uuid)
    }
    Init fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) |state| {
        give(uuid, state.script.cards[card(state, device)?].uuid)
    }
    Init fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) |state| {
        give(bytes, state.script.cards[card(state, device)?].memory as usize)
    }
    Init fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) |state| {
        let value_of = state.script.cards[card(state, device)?].attribute(attribute);
        give(value, value_of.ok_or(Code::INVALID_VALUE)?)
    }
    Init fn cuDeviceGetPCIBusId(to: *mut c_char, length: c_int, device: c_int) |state| {
        let (domain, bus, slot) = state.script.cards[card(state, device)?].pci;
        text(to, length, &format!("{domain:04X}:{bus:02X}:{slot:02X}.0"))
    }
    Init fn cuDeviceGetByPCIBusId(device: *mut c_int, id: *const c_char) |state| {
        if id.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the caller gave a string.
        let wanted = unsafe { CStr::from_ptr(id) }.to_string_lossy().to_ascii_lowercase();
        let named = |(domain, bus, slot): (u32, u32, u32)| format!("{domain:04x}:{bus:02x}:{slot:02x}.0");
        let at = state.script.cards.iter().position(|card| named(card.pci) == wanted);
        give(device, at.and_then(|at| c_int::try_from(at).ok()).ok_or(Code::INVALID_DEVICE)?)
    }
    Init fn cuDeviceGetDefaultMemPool(pool: *mut *mut c_void, device: c_int) |state| {
        give(pool, super::pointer(0x100 + card(state, device)?))
    }
    Init fn cuDeviceGetMemPool(pool: *mut *mut c_void, device: c_int) |state| {
        give(pool, super::pointer(0x100 + card(state, device)?))
    }
    Init fn cuDeviceCanAccessPeer(can: *mut c_int, device: c_int, peer: c_int) |state| {
        card(state, device)?;
        card(state, peer)?;
        give(can, 0)
    }
}
