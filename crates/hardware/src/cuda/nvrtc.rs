//! NVRTC: CUDA C++ in, machine code for one GPU out, on a box with or without a GPU.
//!
//! The functions are taken from the very file that was found, rather than by the library's name: another
//! version on the loader's path would otherwise compile, and be stored under the first one's name in the cache.
#![allow(unsafe_code, reason = "calls into a library written in C")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use super::find::Library;
use super::library::Opened;
use super::{Architecture, Device, Form, Kernel, Kind, Places};

type Program = *mut c_void;
type Status = c_int;

/// NVRTC's functions, as `nvrtc.h` declares them.
#[derive(Debug, Clone, Copy)]
struct Functions {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status,
    error_string: unsafe extern "C" fn(Status) -> *const c_char,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    ptx_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    ptx: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
}

/// The compiler.
#[derive(Debug, Clone)]
pub struct Nvrtc {
    functions: Functions,
    path: PathBuf,
    version: (u32, u32),
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Machine code or PTX, as asked for.
    pub code: Vec<u8>,
    /// What the compiler said; with `--ptxas-options=-v` registers and spills too.
    pub log: String,
}

impl Nvrtc {
    /// Opens the library.
    ///
    /// # Errors
    /// A reason for people: the file cannot be loaded, or is another library.
    pub fn open(library: &Library) -> Result<Self, String> {
        let path = &library.path;
        // Its other half is looked for by name when the first program is compiled, and in folders the loader
        // knows alone; opened by its path beforehand it is found wherever it lies.
        if let Some(builtins) = builtins(path) {
            Opened::open(&builtins)?;
        }
        let opened = Opened::open(path)?;
        let functions =
            functions(&opened).map_err(|reason| format!("{} is not NVRTC: {reason}", path.display()))?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both are writable numbers.
        let status = unsafe { (functions.version)(&raw mut major, &raw mut minor) };
        let number = |value: c_int| u32::try_from(value).unwrap_or_default();
        let nvrtc = Self { functions, path: path.clone(), version: (number(major), number(minor)) };
        nvrtc.check(status).map(|()| nvrtc)
    }

    /// The one that compiles for this machine's driver.
    ///
    /// # Errors
    /// A reason for people: no driver, no library of a CUDA that the driver runs, or as [`open`](Self::open).
    pub fn of_driver(places: &Places) -> Result<Self, String> {
        let newest = Device::newest_cuda(places)?;
        let library = places.find(Kind::Nvrtc, Some(newest)).ok_or_else(|| {
            format!(
                "libnvrtc for CUDA {newest}, which compiles the kernels, was not found; see `bench doctor`"
            )
        })?;
        Self::open(&library)
    }

    /// The file it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `13.0`.
    pub fn version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// Compiles a kernel for one architecture; its headers are found under their names.
    ///
    /// # Errors
    /// The compiler's messages.
    pub fn compile(
        &self,
        kernel: Kernel,
        options: &[&str],
        architecture: Architecture,
        form: Form,
    ) -> Result<Compiled, String> {
        let name = kernel.name;
        let text = |text: &str| CString::new(text).map_err(|_| format!("{name} has a zero byte in it"));
        let (source, title) = (text(kernel.source)?, text(name)?);
        let mut headers = Vec::new();
        for (name, source) in kernel.headers {
            headers.push((text(name)?, text(source)?));
        }
        let names: Vec<*const c_char> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let sources: Vec<*const c_char> = headers.iter().map(|(_, source)| source.as_ptr()).collect();
        let count = c_int::try_from(headers.len()).unwrap_or_default();
        let target = match form {
            Form::Cubin => architecture.to_string(),
            Form::Ptx => architecture.to_string().replace("sm_", "compute_"),
        };
        let mut all = vec![text(&format!("--gpu-architecture={target}"))?];
        for option in options {
            all.push(text(option)?);
        }
        let pointers: Vec<*const c_char> = all.iter().map(|option| option.as_ptr()).collect();
        let mut program = ptr::null_mut();
        // SAFETY: all strings end in zero and outlive the call; there are `count` headers in both lists.
        self.check(unsafe {
            (self.functions.create)(
                &raw mut program,
                source.as_ptr(),
                title.as_ptr(),
                count,
                sources.as_ptr(),
                names.as_ptr(),
            )
        })?;
        let program = Created { functions: self.functions, program };
        let count = c_int::try_from(pointers.len()).unwrap_or(c_int::MAX);
        // SAFETY: the program was created above; `pointers` holds `count` strings that end in zero.
        let status = unsafe { (self.functions.compile)(program.program, count, pointers.as_ptr()) };
        let log = self.bytes(&program, self.functions.log_size, self.functions.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_owned();
        self.check(status).map_err(|reason| format!("{name} for {architecture}: {reason}\n{log}"))?;
        let code = match form {
            Form::Cubin => self.bytes(&program, self.functions.cubin_size, self.functions.cubin)?,
            Form::Ptx => self.bytes(&program, self.functions.ptx_size, self.functions.ptx)?,
        };
        Ok(Compiled { code, log })
    }

    /// One of the program's two outputs: its size asked first, then its bytes.
    fn bytes(
        &self,
        program: &Created,
        size: unsafe extern "C" fn(Program, *mut usize) -> Status,
        get: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    ) -> Result<Vec<u8>, String> {
        let mut length = 0;
        // SAFETY: the program lives as long as `program`; `length` is writable.
        self.check(unsafe { size(program.program, &raw mut length) })?;
        let mut bytes = vec![0u8; length];
        // SAFETY: the buffer has the length that the library asked for.
        self.check(unsafe { get(program.program, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }

    fn check(&self, status: Status) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the function takes any number and gives a constant string that ends in zero.
        let text = unsafe { CStr::from_ptr((self.functions.error_string)(status)) };
        Err(format!("NVRTC {}: {}", self.version(), text.to_string_lossy()))
    }
}

/// A program of the compiler's, given back when dropped.
struct Created {
    functions: Functions,
    program: Program,
}

impl Drop for Created {
    fn drop(&mut self) {
        // SAFETY: the program was created by the same library and is destroyed once.
        unsafe { (self.functions.destroy)(&raw mut self.program) };
    }
}

/// `libnvrtc-builtins.so.13.0` next to `libnvrtc.so.13`; of several the plain one.
fn builtins(nvrtc: &Path) -> Option<PathBuf> {
    let major = nvrtc.file_name()?.to_str()?.split_once(".so.")?.1.split('.').next()?.to_owned();
    let start = format!("libnvrtc-builtins.so.{major}.");
    let entries = nvrtc.canonicalize().ok()?.parent()?.read_dir().ok()?;
    let beside = |entry: std::io::Result<std::fs::DirEntry>| Some(entry.ok()?.path());
    let mut files: Vec<PathBuf> = entries
        .filter_map(beside)
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)))
        .collect();
    files.sort();
    files.into_iter().next()
}

fn functions(library: &Opened) -> Result<Functions, String> {
    macro_rules! take {
        ($name:literal) => {{
            let address = library.symbol($name)?;
            // SAFETY: the library's header declares the function of this name with the type of the field.
            #[allow(clippy::missing_transmute_annotations, reason = "the field's type is above, once")]
            unsafe {
                std::mem::transmute::<*mut c_void, _>(address.as_ptr())
            }
        }};
    }
    Ok(Functions {
        version: take!(c"nvrtcVersion"),
        error_string: take!(c"nvrtcGetErrorString"),
        create: take!(c"nvrtcCreateProgram"),
        compile: take!(c"nvrtcCompileProgram"),
        log_size: take!(c"nvrtcGetProgramLogSize"),
        log: take!(c"nvrtcGetProgramLog"),
        cubin_size: take!(c"nvrtcGetCUBINSize"),
        cubin: take!(c"nvrtcGetCUBIN"),
        ptx_size: take!(c"nvrtcGetPTXSize"),
        ptx: take!(c"nvrtcGetPTX"),
        destroy: take!(c"nvrtcDestroyProgram"),
    })
}

#[cfg(test)]
mod tests {
    use super::super::module::{LOAD, OPTIONS};
    use super::super::testing::nvrtc;
    use super::*;

    #[test]
    fn the_load_compiles_for_every_generation_without_spills() {
        let Some(nvrtc) = nvrtc() else { return };
        for (major, minor) in [(8, 0), (9, 0), (10, 0)] {
            let architecture = Architecture { major, minor };
            let compiled = nvrtc.compile(LOAD, OPTIONS, architecture, Form::Cubin).expect("a correct kernel");
            assert_eq!(&compiled.code[..4], b"\x7fELF", "{architecture}");
            let log = &compiled.log;
            assert!(
                log.contains("0 bytes spill stores") && log.contains("registers"),
                "{architecture}: {log}"
            );
            // The name by which it is launched.
            assert!(compiled.code.windows(4).any(|bytes| bytes == b"load"), "{architecture}");
        }
    }

    #[test]
    fn an_error_is_told_in_the_compilers_words() {
        let Some(nvrtc) = nvrtc() else { return };
        let architecture = Architecture { major: 9, minor: 0 };
        let source = "extern \"C\" __global__ void f() { nothing(); }";
        let wrong = Kernel { name: "wrong.cu", source, headers: &[] };
        let error = nvrtc.compile(wrong, OPTIONS, architecture, Form::Cubin).expect_err("wrong");
        assert!(error.contains("wrong.cu") && error.contains("nothing"), "{error}");
        let error = nvrtc
            .compile(LOAD, OPTIONS, Architecture { major: 3, minor: 5 }, Form::Cubin)
            .expect_err("too old a GPU");
        assert!(error.contains("sm_35"), "{error}");
    }

    #[test]
    fn another_library_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libnvrtc.so.13");
        std::fs::write(&path, "no library").expect("a file");
        let place = super::super::Place::System;
        let error = Nvrtc::open(&Library { path, place }).expect_err("no library");
        assert!(error.contains("libnvrtc.so.13 cannot be loaded"), "{error}");
    }
}
