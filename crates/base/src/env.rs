//! The only access to environment variables.
//!
//! None of them changes a measurement. Each is listed here with its purpose; a value that
//! matters to a record is put into it by the caller.
#![expect(clippy::disallowed_methods, reason = "this is the only access to the environment")]

use std::path::PathBuf;

fn non_empty(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `AWS_…`, `GOOGLE_…`, `AZURE_…`: how to reach an object store, by its provider's own names.
pub fn object_store() -> Vec<(String, String)> {
    let known = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|start| name.starts_with(start));
    let all = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    all.filter(|(name, value)| known(name) && !value.is_empty()).collect()
}

/// `PATH`: where programs are looked up.
pub fn path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// `HF_TOKEN`: the access token for gated repositories on the Hugging Face hub.
pub fn hf_token() -> Option<String> {
    non_empty("HF_TOKEN")
}

/// `HF_ENDPOINT`: another address for the hub (a mirror), without a trailing slash.
pub fn hf_endpoint() -> Option<String> {
    non_empty("HF_ENDPOINT").map(|url| url.trim_end_matches('/').to_owned())
}

/// `HF_HUB_OFFLINE`: take files from the cache only.
pub fn hf_offline() -> bool {
    non_empty("HF_HUB_OFFLINE").is_some_and(|value| !matches!(value.as_str(), "0" | "false" | "no"))
}

/// The hub's cache folder: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `~/.cache/huggingface/hub`.
pub fn hf_cache() -> PathBuf {
    if let Some(path) = non_empty("HF_HUB_CACHE") {
        return path.into();
    }
    if let Some(home) = non_empty("HF_HOME") {
        return PathBuf::from(home).join("hub");
    }
    cache_home().join("huggingface/hub")
}

/// `XDG_CONFIG_HOME/infercost`, else `~/.config/infercost`: the user's own catalog files.
pub fn config_folder() -> PathBuf {
    non_empty("XDG_CONFIG_HOME").map_or_else(|| home().join(".config"), PathBuf::from).join("infercost")
}

/// `XDG_CACHE_HOME/infercost`, else `~/.cache/infercost`: files that can be recomputed.
pub fn cache_folder() -> PathBuf {
    cache_home().join("infercost")
}

/// The variable that the user names for a secret of theirs, such as a server's key; `None` when it is unset or empty.
pub fn secret_named(name: &str) -> Option<String> {
    non_empty(name)
}

/// `NO_COLOR` (<https://no-color.org>): no colours, whatever the terminal supports.
pub fn no_color() -> bool {
    non_empty("NO_COLOR").is_some()
}

/// `RAYON_NUM_THREADS`: threads of both CPU engines when `--threads` is not given; stated in the record.
pub fn rayon_num_threads() -> Option<usize> {
    non_empty("RAYON_NUM_THREADS")?.parse().ok()
}

/// `LD_LIBRARY_PATH`: folders that the dynamic loader searches first.
pub fn library_path() -> Vec<PathBuf> {
    paths("LD_LIBRARY_PATH")
}

/// `CUDA_HOME`, else `CUDA_PATH`: where a CUDA toolkit is installed.
pub fn cuda_home() -> Option<PathBuf> {
    non_empty("CUDA_HOME").or_else(|| non_empty("CUDA_PATH")).map(PathBuf::from)
}

/// Python prefixes, which contain `lib/python3.N/site-packages`: `VIRTUAL_ENV`, `CONDA_PREFIX`, those of
/// each `python3` on `PATH`, `~/.local`.
pub fn python_prefixes() -> Vec<PathBuf> {
    let named = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(non_empty).map(PathBuf::from);
    let on_path = paths("PATH").into_iter().filter(|folder| folder.join("python3").exists());
    // A virtual environment's `python3` links to the Python it was created from, which has packages too.
    let both = on_path.flat_map(|folder| {
        let real =
            folder.join("python3").canonicalize().ok().and_then(|file| Some(file.parent()?.to_owned()));
        [Some(folder), real]
    });
    let prefixes = both.flatten().filter_map(|folder| Some(folder.parent()?.to_owned()));
    named.chain(prefixes).chain([home().join(".local")]).collect()
}

/// `PYTHONPATH`: further folders with Python packages.
pub fn python_path() -> Vec<PathBuf> {
    paths("PYTHONPATH")
}

fn paths(name: &str) -> Vec<PathBuf> {
    let value = non_empty(name).unwrap_or_default();
    std::env::split_paths(&value).filter(|path| path.is_absolute()).collect()
}

/// `INFERCOST_TEST_MODEL`: where tests find the real SmolLM2-135M GGUF, instead of `models/` in the cache folder.
pub fn test_model() -> Option<PathBuf> {
    non_empty("INFERCOST_TEST_MODEL").map(PathBuf::from)
}

/// `INFERCOST_LLAMA_CPP`: the folder of llama.cpp's programs, which tests take as an oracle, else where
/// `scripts/peer/llama-cpp` puts them.
pub fn llama_cpp_folder() -> PathBuf {
    non_empty("INFERCOST_LLAMA_CPP")
        .map_or_else(|| cache_folder().join("llama.cpp/current/bin"), PathBuf::from)
}

/// `CI=true`: a test that would be skipped because a file is missing fails instead.
pub fn is_ci() -> bool {
    non_empty("CI").is_some_and(|value| value == "true")
}

fn cache_home() -> PathBuf {
    non_empty("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from)
}

fn home() -> PathBuf {
    non_empty("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from)
}
