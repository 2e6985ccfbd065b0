//! What tests of this room share.

use std::path::Path;
use std::process::{Command, Output};

use super::{Kind, Nvrtc, Places};
use crate::base::env;

/// NVRTC, or `None` with a word on how to get it; under `CI=true` its absence is a failure.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(super) fn nvrtc() -> Option<Nvrtc> {
    if let Some(library) = Places::here().find(Kind::Nvrtc, None) {
        return Some(Nvrtc::open(&library).expect("an NVRTC that was found opens"));
    }
    assert!(!env::is_ci(), "CI needs NVRTC: scripts/fetch-nvrtc");
    eprintln!("skipped: NVRTC is not here; get it with scripts/fetch-nvrtc");
    None
}

/// A folder with the stand-in for the driver, `tests/fake-cuda`, for programs that find it on `LD_LIBRARY_PATH`.
pub(super) struct StandIn {
    folder: tempfile::TempDir,
    library: Vec<u8>,
}

impl StandIn {
    /// The library that Cargo built next to the tests.
    pub(super) fn new() -> Self {
        let test = std::env::current_exe().expect("the test's own path");
        let built = test.parent().map(|deps| deps.join("libfake_cuda.so")).expect("a folder");
        let library = std::fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        Self { folder: tempfile::tempdir().expect("a folder"), library }
    }

    /// Runs one test of this executable again, under a driver with this script that lacks these functions.
    pub(super) fn run(&self, name: &str, test: &str, script: &str, absent: &[&str]) -> Output {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut library = self.library.clone();
        hide(&mut library, absent);
        std::fs::write(folder.join("libcuda.so.1"), library).expect("a copy of the library");
        std::fs::write(folder.join("libcuda.so.1.script"), script).expect("its script");
        Command::new(std::env::current_exe().expect("the test's own path"))
            .args(["--exact", test, "--nocapture"])
            .current_dir(self.folder.path())
            .env("LD_LIBRARY_PATH", &folder)
            .output()
            .expect("the test starts")
    }

    /// Every function that it has.
    pub(super) fn functions(&self) -> Vec<&str> {
        let names = self.library.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
        names
            .filter(|name| {
                let rest = name.strip_prefix("cu").unwrap_or_default();
                rest.starts_with(|c: char| c.is_ascii_uppercase())
                    && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            })
            .collect()
    }

    /// Where those tests run.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Renames functions in the table of exported names, so that they cannot be found.
fn hide(library: &mut [u8], functions: &[&str]) {
    let mut hidden = std::collections::BTreeSet::new();
    for name in library.split_mut(|byte| *byte == 0) {
        let function = functions.iter().find(|function| function.as_bytes() == name);
        if let (Some(function), Some(last)) = (function, name.last_mut()) {
            *last = b'?';
            hidden.insert(*function);
        }
    }
    let missing: Vec<_> = functions.iter().filter(|function| !hidden.contains(**function)).collect();
    assert!(missing.is_empty(), "the stand-in has no {missing:?}");
}
