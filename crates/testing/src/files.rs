//! Files and programs that tests need and do not make: where they are, or a word on how to get them.

use std::path::PathBuf;

use infercost_base::env;

/// The real SmolLM2-135M-Instruct in `Q4_1`, or `None` after saying how to get it.
///
/// # Panics
/// Under `CI=true` when the file is not there.
pub fn real_model() -> Option<PathBuf> {
    let path = env::test_model()
        .unwrap_or_else(|| env::cache_folder().join("models/SmolLM2-135M-Instruct.Q4_1.gguf"));
    there_or_skipped(path, "scripts/fetch-test-model")
}

/// A program of llama.cpp, or `None` after saying how to get it.
///
/// # Panics
/// Under `CI=true` when it is not there.
pub fn llama_cpp(program: &str) -> Option<PathBuf> {
    there_or_skipped(env::llama_cpp_folder().join(program), "scripts/peer/llama-cpp")
}

#[allow(clippy::print_stderr, reason = "a skipped test says so where the test runner shows it")]
fn there_or_skipped(path: PathBuf, command: &str) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    let message = format!("skipped: {} is not there; get it with {command}", path.display());
    assert!(!env::is_ci(), "{message}");
    eprintln!("{message}");
    None
}
