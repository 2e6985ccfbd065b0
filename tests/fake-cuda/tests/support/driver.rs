//! A copy of the library in a folder of its own, with its script: another machine within the same process.

use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A loaded driver.
pub struct Driver {
    library: *mut c_void,
    pub folder: PathBuf,
}

// SAFETY: the driver's functions may be called from any thread.
unsafe impl Sync for Driver {}

impl Drop for Driver {
    fn drop(&mut self) {
        // The library stays loaded, as a driver does; its file is not needed for that.
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// The library that Cargo built for these tests.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    test.parent().map(|deps| deps.join("libfake_cuda.so")).filter(|file| file.is_file()).expect("the library")
}

impl Driver {
    pub fn new(script: &str) -> Self {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fake-cuda-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("libcuda.so.1");
        std::fs::copy(built(), &file).expect("a copy");
        std::fs::write(folder.join("libcuda.so.1.script"), script).expect("a script");
        let name = CString::new(file.to_str().expect("a path")).expect("a path");
        let library = unsafe { dlopen(name.as_ptr(), 2) };
        assert!(!library.is_null(), "{} cannot be loaded", file.display());
        Self { library, folder }
    }

    /// With the first card's context current.
    pub fn ready(script: &str) -> Self {
        let driver = Self::new(script);
        let mut context = std::ptr::null_mut::<c_void>();
        unsafe {
            assert_eq!(driver.call(c"cuInit", &[0]), 0);
            assert_eq!(driver.call(c"cuDevicePrimaryCtxRetain", &[(&raw mut context) as usize, 0]), 0);
            assert_eq!(driver.call(c"cuCtxSetCurrent", &[context as usize]), 0);
        }
        driver
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub fn has(&self, name: &std::ffi::CStr) -> bool {
        unsafe { !dlsym(self.library, name.as_ptr()).is_null() }
    }

    /// Calls a function with integers and pointers. All the arguments of the driver's functions that tests use
    /// fit registers of 64 bits, and what is too many is never looked at.
    ///
    /// # Safety
    /// Pointers among the arguments are as the function wants them.
    pub unsafe fn call(&self, name: &std::ffi::CStr, arguments: &[usize]) -> i32 {
        let address = unsafe { dlsym(self.library, name.as_ptr()) };
        assert!(!address.is_null(), "no {name:?}");
        let a = |at: usize| arguments.get(at).copied().unwrap_or(0);
        type F = unsafe extern "C" fn(
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
            usize,
        ) -> c_int;
        let function = unsafe { std::mem::transmute::<*mut c_void, F>(address) };
        unsafe { function(a(0), a(1), a(2), a(3), a(4), a(5), a(6), a(7), a(8), a(9), a(10)) }
    }

    /// A result that the function writes through its first argument.
    pub fn get<T: Default>(&self, name: &std::ffi::CStr, rest: &[usize]) -> Result<T, i32> {
        let mut value = T::default();
        let arguments: Vec<usize> = [(&raw mut value) as usize].iter().chain(rest).copied().collect();
        let code = unsafe { self.call(name, &arguments) };
        if code == 0 { Ok(value) } else { Err(code) }
    }

    pub fn module(&self, ptx: &str) -> Result<usize, i32> {
        let text = CString::new(ptx).expect("a text");
        self.get(c"cuModuleLoadData", &[text.as_ptr() as usize])
    }

    pub fn function(&self, module: usize, name: &str) -> Result<usize, i32> {
        let name = CString::new(name).expect("a name");
        self.get(c"cuModuleGetFunction", &[module, name.as_ptr() as usize])
    }

    /// Launches on a stream with parameters of any size, each by its bytes.
    pub fn launch(
        &self,
        function: usize,
        grid: usize,
        block: usize,
        shared: usize,
        stream: usize,
        parameters: &[&[u8]],
    ) -> i32 {
        let pointers: Vec<*const u8> = parameters.iter().map(|bytes| bytes.as_ptr()).collect();
        unsafe {
            self.call(
                c"cuLaunchKernel",
                &[function, grid, 1, 1, block, 1, 1, shared, stream, pointers.as_ptr() as usize, 0],
            )
        }
    }
}

/// Where a path of the repository lies.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
