//! Which files of a folder hold its weights: those of the index, else `model.safetensors`, else the only one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::request::valid_file;
use crate::{Error, TensorInfo};

/// What the index of a model in several files is called.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Largest index that is read; that of a model of 2,000 tensors has 200 kilobytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// The files of a folder, and what its index says is in each.
#[derive(Debug)]
pub(super) struct Layout {
    /// In the order of their names.
    pub files: Vec<PathBuf>,
    index: Option<Index>,
}

#[derive(Debug, Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files with weights in folder `dir`, in the order of their names.
///
/// # Errors
/// As [`super::read`].
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(layout(dir)?.files)
}

pub(super) fn layout(dir: &Path) -> Result<Layout, Error> {
    let index_path = dir.join(INDEX);
    if index_path.exists() {
        return indexed(dir, &index_path);
    }
    let usual = dir.join("model.safetensors");
    let files = if usual.exists() { vec![usual] } else { vec![only(dir)?] };
    Ok(Layout { files, index: None })
}

/// The files that an index names, in the order of their names.
pub(crate) fn indexed_names(path: &Path) -> Result<Vec<String>, Error> {
    Ok(names(&read_index(path)?))
}

/// The layout of a folder whose weights are elsewhere: the files that its index names, or this one.
pub(super) fn layout_of(dir: &Path, only: Option<&str>) -> Result<Layout, Error> {
    if let Some(file) = only {
        return Ok(Layout { files: vec![dir.join(file)], index: None });
    }
    let index = read_index(&dir.join(INDEX))?;
    let files = names(&index).iter().map(|name| dir.join(name)).collect();
    Ok(Layout { files, index: Some(index) })
}

fn names(index: &Index) -> Vec<String> {
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    names.into_iter().cloned().collect()
}

fn read_index(path: &Path) -> Result<Index, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(io)?.len();
    if length > MAX_INDEX_BYTES {
        return Err(Error::unusable(path, format!("{length} bytes is too long for an index")));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let index: Index = serde_json::from_str(&text).map_err(|error| {
        Error::unusable(path, format!("it is not an index of safetensors files: {error}"))
    })?;
    if let Some(name) = index.weight_map.values().find(|name| !valid_file(name)) {
        let reason = format!("it names a file outside the folder: `{}`", name.escape_debug());
        return Err(Error::unusable(path, reason));
    }
    if index.weight_map.is_empty() {
        return Err(Error::unusable(path, "its weight_map is empty; fetch the file again"));
    }
    Ok(index)
}

fn indexed(dir: &Path, path: &Path) -> Result<Layout, Error> {
    let index = read_index(path)?;
    let names = names(&index);
    let absent: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !dir.join(name).is_file()).collect();
    if !absent.is_empty() {
        return Err(Error::Missing {
            what: dir.join(absent[0]).display().to_string(),
            reason: format!(
                "{} of the {} files that {INDEX} names are not in the folder: {}; fetch them again",
                absent.len(),
                names.len(),
                absent.join(", ")
            ),
        });
    }
    let files = names.iter().map(|name| dir.join(name)).collect();
    Ok(Layout { files, index: Some(index) })
}

fn only(dir: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(dir).map_err(|source| Error::Io { path: dir.to_owned(), source })?;
    let weights = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "safetensors");
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(weights).collect();
    found.sort();
    match found.as_slice() {
        [file] => Ok(file.clone()),
        [] => Err(Error::Missing {
            what: dir.join("model.safetensors").display().to_string(),
            reason: "the folder has no *.safetensors; give the folder with config.json and the weights, or the path of a .gguf file"
                .into(),
        }),
        several => Err(Error::Missing {
            what: dir.join(INDEX).display().to_string(),
            reason: format!(
                "the folder has {} *.safetensors but no index that says how they belong together",
                several.len()
            ),
        }),
    }
}

impl Layout {
    /// Whether a file holds the tensors that the index puts there.
    pub(super) fn check(&self, path: &Path, found: &[TensorInfo]) -> Result<(), Error> {
        let Some(index) = &self.index else { return Ok(()) };
        let names: BTreeSet<&str> = found.iter().map(|tensor| tensor.name.as_str()).collect();
        let here = |file: &str| path.ends_with(file);
        let expected = index.weight_map.iter().filter(|(_, file)| here(file)).map(|(name, _)| name.as_str());
        match expected.into_iter().find(|name| !names.contains(name)) {
            None => Ok(()),
            Some(name) => Err(Error::unusable(
                path,
                format!(
                    "the index lists tensor `{}` here, but it is missing; fetch the folder again",
                    name.escape_debug()
                ),
            )),
        }
    }
}
