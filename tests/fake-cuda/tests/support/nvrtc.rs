//! NVRTC for tests: CUDA C++ to PTX, or a word on how to get the compiler.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

const NOW_AND_GLOBAL: c_int = 2 | 0x100;

fn folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("infercost/nvrtc-13.0")).filter(|folder| folder.is_dir())
}

fn open(path: &std::path::Path) -> *mut c_void {
    let name = CString::new(path.to_str().expect("a path in UTF-8")).expect("a path");
    let library = unsafe { dlopen(name.as_ptr(), NOW_AND_GLOBAL) };
    assert!(!library.is_null(), "{} cannot be loaded", path.display());
    library
}

/// PTX of `source` for an architecture such as `compute_90a`. `None` without NVRTC, which CI does not forgive.
pub fn ptx(source: &str, architecture: &str) -> Option<String> {
    let Some(folder) = folder() else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI needs NVRTC: scripts/fetch-nvrtc");
        eprintln!("skipped: NVRTC is not here; get it with scripts/fetch-nvrtc");
        return None;
    };
    open(&folder.join("libnvrtc-builtins.so.13.0"));
    let library = open(&folder.join("libnvrtc.so.13"));
    macro_rules! function {
        ($name:literal, ($($t:ty),*)) => {{
            let address = unsafe { dlsym(library, $name.as_ptr()) };
            assert!(!address.is_null(), "no {:?}", $name);
            unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($t),*) -> c_int>(address) }
        }};
    }
    type Program = *mut c_void;
    let create = function!(
        c"nvrtcCreateProgram",
        (*mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char)
    );
    let compile = function!(c"nvrtcCompileProgram", (Program, c_int, *const *const c_char));
    let log_size = function!(c"nvrtcGetProgramLogSize", (Program, *mut usize));
    let log = function!(c"nvrtcGetProgramLog", (Program, *mut c_char));
    let size = function!(c"nvrtcGetPTXSize", (Program, *mut usize));
    let get = function!(c"nvrtcGetPTX", (Program, *mut c_char));
    let destroy = function!(c"nvrtcDestroyProgram", (*mut Program));
    let text = |text: &str| CString::new(text).expect("a text");
    let (source, name) = (text(source), text("kernel.cu"));
    let options =
        [format!("--gpu-architecture={architecture}"), "--std=c++17".into(), "-default-device".into()]
            .map(|option| text(&option));
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    unsafe {
        let mut program = std::ptr::null_mut();
        let nothing = std::ptr::null();
        assert_eq!(create(&raw mut program, source.as_ptr(), name.as_ptr(), 0, nothing, nothing), 0);
        let status = compile(program, 3, pointers.as_ptr());
        let mut length = 0;
        log_size(program, &raw mut length);
        let mut said = vec![0u8; length.max(1)];
        log(program, said.as_mut_ptr().cast());
        assert_eq!(status, 0, "{}", String::from_utf8_lossy(&said));
        size(program, &raw mut length);
        let mut code = vec![0u8; length];
        get(program, code.as_mut_ptr().cast());
        destroy(&raw mut program);
        Some(CStr::from_bytes_until_nul(&code).expect("a text").to_str().expect("ASCII").to_owned())
    }
}
