//! A machine with scripted GPUs: a copy of the fake NVML in a folder of its own, with its script next to it.
//!
//! `cargo test` builds the library by itself (it is an example in `Cargo.toml`); one test alone may need
//! `cargo build --example fake_nvml` first. The truth about energy is the script's trace.
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "shared by test executables that each use a part of it"
)]
#![allow(unsafe_code, reason = "the absolute monotonic clock, which the library counts from")]

#[path = "../fake-nvml/script.rs"]
pub mod script;
#[path = "../fake-nvml/trace.rs"]
pub mod trace;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use script::{CounterScript, GpuScript, PowerScript, Script};
pub use trace::Trace;

/// A scripted machine; it ends with its folder.
pub struct FakeNvml {
    folder: tempfile::TempDir,
    script: Script,
}

impl FakeNvml {
    /// Writes library and script. Time begins now.
    pub fn new(script: Script) -> Self {
        Self::without(script, &[])
    }

    /// One GPU.
    pub fn gpu(gpu: GpuScript) -> Self {
        Self::new(Script { gpu: vec![gpu], ..Script::default() })
    }

    /// A library that lacks these functions altogether, as an older driver's does.
    pub fn without(mut script: Script, functions: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut library = fs::read(built()).expect("the fake library");
        for function in functions {
            hide(&mut library, function);
        }
        fs::write(folder.path().join("libnvidia-ml.so.1"), library).expect("a copy of the library");
        script.log = Some(folder.path().join("setters.log"));
        script.origin.get_or_insert_with(monotonic);
        let text = toml::to_string(&script).expect("a script");
        fs::write(folder.path().join("libnvidia-ml.so.1.toml"), text).expect("the script");
        Self { folder, script }
    }

    /// What `--nvml-library` takes.
    pub fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }

    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Seconds since the script's origin.
    pub fn now(&self) -> f64 {
        self.seconds(monotonic())
    }

    /// A moment of `CLOCK_MONOTONIC`, in nanoseconds, in seconds since the script's origin.
    pub fn seconds(&self, monotonic: u64) -> f64 {
        (monotonic as f64 - self.script.origin.unwrap_or(0) as f64) / 1e9
    }

    /// The true energy of a GPU between two moments in seconds since the origin.
    pub fn true_joules(&self, gpu: usize, from: f64, to: f64) -> f64 {
        self.script.gpu[gpu].watts.joules(from, to)
    }

    /// The calls of setters so far, without their times: `UUID what`.
    pub fn setters(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("setters.log")).unwrap_or_default();
        text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect()
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable and of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    u64::try_from(time.tv_sec).expect("since boot") * 1_000_000_000
        + u64::try_from(time.tv_nsec).expect("below a second")
}

/// The library that Cargo built: `target/PROFILE/examples`, next to the tests' own `deps`.
fn built() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE");
    let library = profile.join("examples/libfake_nvml.so");
    let changed = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    let built = changed(&library).unwrap_or(SystemTime::UNIX_EPOCH);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-nvml");
    for file in fs::read_dir(source).expect("the library's source") {
        let file = file.expect("a file").path();
        assert!(
            changed(&file).is_some_and(|changed| changed <= built),
            "{} is missing or older than {}: cargo build --example fake_nvml",
            library.display(),
            file.display()
        );
    }
    library
}

/// Renames a function in the table of exported names, so that it cannot be found.
pub(crate) fn hide(library: &mut [u8], function: &str) {
    let name = [b"\0", function.as_bytes(), b"\0"].concat();
    let mut hidden = 0;
    while let Some(at) = library.windows(name.len()).position(|window| window == name) {
        library[at + name.len() - 2] = b'?';
        hidden += 1;
    }
    assert!(hidden > 0, "the fake library has no {function}");
}
