//! Runs the program and looks at what it left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) mod fake_cuda;
pub(crate) mod fake_nvml;
pub(crate) mod served;
pub(crate) mod terminal;

/// The program, in a clean environment of its own.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

/// What a run produced.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Whether this process was started with SIGINT ignored, as by a shell in the background: its children inherit that.
fn ctrl_c_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b10 != 0)
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The folder in which the program runs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program with its arguments, ready to start.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_bench");
        let mut command = Command::new(if ctrl_c_is_ignored() { "env" } else { program });
        if ctrl_c_is_ignored() {
            command.args(["--default-signal=INT", program]);
        }
        command
            .args(args)
            .current_dir(self.folder())
            .env_clear()
            .env("HOME", self.folder())
            .env("PATH", "/usr/bin:/bin")
            // Two programs whose threads wait for each other on the same cores wait for very long.
            .env("RAYON_NUM_THREADS", "1")
            // No hub can be reached from a test, and none must be tried.
            .env("HF_ENDPOINT", "http://127.0.0.1:9");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&self.command(args).output().expect("the program starts"))
    }

    /// Runs and expects success; the JSON on stdout.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}\n{}\n{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    }

    /// Writes a file into the folder and returns its path.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(&path, content).expect("a file");
        path
    }

    /// The records in the folder's `results/`.
    pub(crate) fn records(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder().join("results")) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        // Many samples are next to their record.
        paths.retain(|path| {
            !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"samples-"))
        });
        paths.sort();
        paths
    }
}

pub(crate) fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A model that a test measures in a second.
pub(crate) const SMALL: &str = "synthetic:smollm2-135m:q4_0";

/// Arguments of a run that takes a second: few tokens, two trials.
const QUICK: &[&str] = &["run", "-p", "8", "-n", "4", "-r", "2", "--price-per-hour", "2.49"];

/// A quick run with more arguments after it, of the small model unless they name another.
pub(crate) fn quick<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let small: &[&str] = if more.contains(&"--model") { &[] } else { &["--model", SMALL] };
    [QUICK, small, more].concat()
}

/// The real model, or `None` with a word on how to get it; under `CI=true` its absence is a failure.
pub(crate) fn real_model() -> Option<PathBuf> {
    let named = std::env::var_os("INFERCOST_TEST_MODEL").map(PathBuf::from);
    let cached = || {
        let home = PathBuf::from(std::env::var_os("HOME")?);
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        Some(cache.join("infercost/models/SmolLM2-135M-Instruct.Q4_1.gguf"))
    };
    let found = named.or_else(cached).filter(|path| path.is_file());
    if found.is_none() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "CI needs the model: scripts/fetch-test-model"
        );
        eprintln!("skipped: the test model is not here; get it with scripts/fetch-test-model");
    }
    found
}
