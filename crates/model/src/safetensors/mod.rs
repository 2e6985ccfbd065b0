//! Safetensors folders as the hub has them: `config.json`, `tokenizer.json`, one file of weights or several
//! with an index.
//!
//! Headers only are read here (format: <https://github.com/huggingface/safetensors>, section "Format");
//! the weights are the engine's to map. Nothing in a file is believed: a length is compared with the file
//! before memory is taken for it, every tensor's bytes with its shape, all of them with the whole.
//! Tensors keep the names that the folder gives them, the architecture gets GGUF's (`llama`, `qwen2` …).

use std::path::{Path, PathBuf};

use super::{Error, Header, TensorInfo, TensorType, other};
pub use folder::files;
pub(super) use folder::{INDEX, indexed_names};
pub(super) use shard::parse as parse_file;
pub use shard::read as read_file;

mod config;
mod folder;
mod shard;
#[cfg(test)]
mod tests;

/// Reads the description of the model in folder `dir`.
///
/// # Errors
/// [`Error::Missing`] when a file that must be there is not, each missing shard named; [`Error::Unusable`]
/// when one cannot be a model's, or is of a kind that nothing here runs; [`Error::Io`].
pub fn read(dir: &Path) -> Result<Header, Error> {
    other::refuse_folder(dir)?;
    let config = config::read(&dir.join("config.json"))?;
    let layout = folder::layout(dir)?;
    header(dir, config, &layout, dir.join("tokenizer.json").is_file(), shard::read)
}

/// The same of a model whose `config.json` and index are in folder `dir` and whose weights are elsewhere: `tensors`
/// gives those of a file, `only` is the file that holds all where there is no index.
///
/// # Errors
/// As [`read`], and those of `tensors`.
pub(super) fn look(
    dir: &Path,
    only: Option<&str>,
    has_tokenizer: bool,
    tensors: impl FnMut(&Path) -> Result<Vec<TensorInfo>, Error>,
) -> Result<Header, Error> {
    let config = config::read(&dir.join("config.json"))?;
    header(dir, config, &folder::layout_of(dir, only)?, has_tokenizer, tensors)
}

fn header(
    dir: &Path,
    config: config::Config,
    layout: &folder::Layout,
    has_tokenizer: bool,
    mut of_file: impl FnMut(&Path) -> Result<Vec<TensorInfo>, Error>,
) -> Result<Header, Error> {
    let mut tensors = Vec::new();
    for path in &layout.files {
        let found = of_file(path)?;
        layout.check(path, &found)?;
        tensors.extend(found);
    }
    config.check(dir, &tensors)?;
    let quantization = dominant(&tensors).map_or("F32", TensorType::label).to_owned();
    Ok(Header {
        name: config.name.unwrap_or_else(|| folder_name(dir)),
        spec: config.spec,
        quantization,
        quantization_note: None,
        tensors,
        has_rope_factors: config.has_rope_factors,
        has_tokenizer,
    })
}

/// Whether a model with this `config.json` can be run at all; asked before its weights are fetched.
pub(super) fn check_config(path: &Path) -> Result<(), Error> {
    config::read(path).map(|_| ())
}

/// The type that most bytes are stored in.
fn dominant(tensors: &[TensorInfo]) -> Option<TensorType> {
    let bytes = |kind: &TensorType| -> u64 {
        tensors.iter().filter(|tensor| tensor.dtype == *kind).map(|tensor| tensor.bytes().get()).sum()
    };
    TensorType::ALL.iter().copied().filter(|kind| bytes(kind) > 0).max_by_key(bytes)
}

/// What to call a model whose files give it no name.
fn folder_name(dir: &Path) -> String {
    let dir: PathBuf = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let parts: Vec<&str> = dir.iter().filter_map(|part| part.to_str()).collect();
    match parts.as_slice() {
        // A snapshot in the hub's cache is called by its commit, its repository two folders up.
        [.., repo, "snapshots", _] if repo.starts_with("models--") => {
            repo.rsplit("--").next().unwrap_or(repo).to_owned()
        }
        [.., name] => (*name).to_owned(),
        [] => "model".to_owned(),
    }
}
