//! Opens shared libraries and asks them for functions.
//!
//! An opened library stays open until the process ends: a driver does not like to be unloaded, and functions
//! taken from it must not outlive it.
#![allow(unsafe_code, reason = "loading a library and taking a function from it are unsafe by nature")]

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr::NonNull;

/// An open library.
#[derive(Debug)]
pub(super) struct Opened(NonNull<c_void>);

impl Opened {
    /// Opens the file at `path`. Its functions are visible to whatever is loaded later, and a later request
    /// for the name that it carries inside finds it, from whichever folder it came.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| format!("{}: a path with a zero byte", path.display()))?;
        // SAFETY: `name` is a string that ends in zero. Loading runs the library's own initialisation; it is
        // one of NVIDIA's, found by its name where such a library belongs.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_GLOBAL) };
        NonNull::new(handle)
            .map(Self)
            .ok_or_else(|| format!("{} cannot be loaded: {}", path.display(), why()))
    }

    /// The address of a function.
    pub(super) fn symbol(&self, name: &CStr) -> Result<NonNull<c_void>, String> {
        // SAFETY: the handle came from `dlopen` and is never closed; `name` ends in zero.
        let address = unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) };
        NonNull::new(address).ok_or_else(|| format!("it has no function {}", name.to_string_lossy()))
    }
}

/// Why the last loading failed, in the loader's words.
fn why() -> String {
    // SAFETY: `dlerror` gives a string of the loader's, valid until its next call on this thread, or null.
    let text = unsafe {
        let text = libc::dlerror();
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    };
    text.unwrap_or_else(|| "the loader does not say why".to_owned())
}
