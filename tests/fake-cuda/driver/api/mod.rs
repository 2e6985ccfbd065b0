//! The C interface, as `cuda.h` declares it, by what it is about.
#![allow(unsafe_code, reason = "the C interface of a driver")]
#![allow(non_snake_case, reason = "NVIDIA's names")]
#![allow(clippy::missing_safety_doc, reason = "pointers are as in NVIDIA's manual")]

mod context;
mod device;
mod graph;
mod memory;
mod module;
mod stream;

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::code::Code;
use super::{Needs, call};

/// Declares functions, with what each needs, and lists them for `cuGetProcAddress`.
macro_rules! functions {
    ($list:ident; $($needs:ident fn $name:ident($($arg:ident: $t:ty),* $(,)?) |$state:ident| $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $t),*) -> c_int {
                call(stringify!($name), Needs::$needs, |$state| -> Result<(), Code> {
                    let _ = &$state;
                    $body
                })
            }
        )*
        pub(super) static $list: &[(&str, $crate::driver::api::Address)] =
            &[$((stringify!($name), $crate::driver::api::Address($name as *const c_void)),)*];
    };
}
use functions;

/// Address of a function.
#[derive(Clone, Copy)]
pub(super) struct Address(pub(super) *const c_void);

// SAFETY: functions stay where they are.
unsafe impl Sync for Address {}

/// Writes a result where the caller wants it.
fn give<T>(to: *mut T, value: T) -> Result<(), Code> {
    if to.is_null() {
        return Err(Code::INVALID_VALUE);
    }
    // SAFETY: the caller gave a place for a result of this type.
    unsafe { to.write(value) };
    Ok(())
}

/// A handle as the caller sees it.
fn pointer(handle: usize) -> *mut c_void {
    handle as *mut c_void
}

#[repr(C)]
struct Info {
    file: *const c_char,
    base: *mut c_void,
    symbol: *const c_char,
    address: *mut c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, info: *mut Info) -> c_int;
}

/// Where this copy of the library lies.
pub(super) fn own_path() -> Result<PathBuf, String> {
    let mut info = Info {
        file: std::ptr::null(),
        base: std::ptr::null_mut(),
        symbol: std::ptr::null(),
        address: std::ptr::null_mut(),
    };
    // SAFETY: the address is one of this library's, and the name it gives outlives the library.
    unsafe {
        if dladdr(cuGetErrorString as *const c_void, &raw mut info) == 0 || info.file.is_null() {
            return Err("dladdr does not know this library".to_owned());
        }
        Ok(PathBuf::from(OsStr::from_bytes(CStr::from_ptr(info.file).to_bytes())))
    }
}

/// A function by its name in `cuda.h`, where newer versions of a function stand behind the plain name.
fn found(name: &str) -> Option<*const c_void> {
    let lists = [
        context::FUNCTIONS,
        device::FUNCTIONS,
        graph::FUNCTIONS,
        memory::FUNCTIONS,
        module::FUNCTIONS,
        stream::FUNCTIONS,
        FUNCTIONS,
    ];
    let find = |name: &str| {
        lists
            .iter()
            .flat_map(|list| list.iter())
            .find(|(known, _)| *known == name)
            .map(|(_, address)| address.0)
    };
    [3, 2].iter().find_map(|version| find(&format!("{name}_v{version}"))).or_else(|| find(name))
}

functions! { FUNCTIONS;
    Nothing fn cuInit(flags: u32) |state| {
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        if state.script.cards.is_empty() {
            return Err(Code::NO_DEVICE);
        }
        state.initialized = true;
        Ok(())
    }
    Nothing fn cuDriverGetVersion(version: *mut c_int) |state| {
        give(version, state.script.version)
    }
    Nothing fn cuGetErrorString(error: c_int, text: *mut *const c_char) |state| {
        let words = Code::words(error);
        give(text, words.map_or(std::ptr::null(), |(_, text)| text.as_ptr()))?;
        words.map(|_| ()).ok_or(Code::INVALID_VALUE)
    }
    Nothing fn cuGetErrorName(error: c_int, text: *mut *const c_char) |state| {
        let words = Code::words(error);
        give(text, words.map_or(std::ptr::null(), |(name, _)| name.as_ptr()))?;
        words.map(|_| ()).ok_or(Code::INVALID_VALUE)
    }
    Nothing fn cuGetProcAddress_v2(
        symbol: *const c_char, address: *mut *const c_void, version: c_int, flags: u64, status: *mut c_int,
    ) |state| {
        if symbol.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let _ = flags;
        // SAFETY: the caller gave a string.
        let name = unsafe { CStr::from_ptr(symbol) }.to_str().map_err(|_| Code::INVALID_VALUE)?;
        let found = found(name).filter(|_| version <= state.script.version);
        give(address, found.unwrap_or(std::ptr::null()))?;
        if !status.is_null() {
            // Found, or not there.
            give(status, if found.is_some() { 0 } else { 1 })?;
        }
        found.map(|_| ()).ok_or(Code::NOT_FOUND)
    }
    Nothing fn cuGetExportTable(table: *mut *const c_void, id: *const c_void) |state| {
        let _ = (table, id);
        Err(Code::NOT_FOUND)
    }
}
