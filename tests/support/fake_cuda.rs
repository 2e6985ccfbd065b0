//! A box with a driver for CUDA: a copy of the stand-in, `tests/fake-cuda`, in a folder of its own with its script
//! next to it. A program finds it with `LD_LIBRARY_PATH` at that folder.

use std::fs;
use std::path::Path;

/// A driver; it ends with its folder.
pub(crate) struct FakeCuda {
    folder: tempfile::TempDir,
}

impl FakeCuda {
    /// Writes library and script, whose words `tests/fake-cuda/driver/script.rs` has.
    pub(crate) fn new(script: &str) -> Self {
        Self::without(script, &[])
    }

    /// A library that lacks these functions altogether.
    pub(crate) fn without(script: &str, functions: &[&str]) -> Self {
        let test = std::env::current_exe().expect("the test's own path");
        // Cargo builds it for the tests, as a dependency that nothing names.
        let built = test.parent().map(|deps| deps.join("libfake_cuda.so")).expect("a folder");
        let mut library = fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        for function in functions {
            super::fake_nvml::hide(&mut library, function);
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("libcuda.so.1"), library).expect("a copy of the library");
        fs::write(folder.path().join("libcuda.so.1.script"), script).expect("the script");
        Self { folder }
    }

    /// What `LD_LIBRARY_PATH` is to name.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
