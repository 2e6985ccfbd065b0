//! The header of one safetensors file: 8 bytes of length, JSON, then nothing but the tensors' bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::{Error, TensorInfo, TensorType};

/// The format's own limit for the JSON.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// No model's tensor has more dimensions.
const MAX_DIMENSIONS: usize = 8;

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The tensors of a file in the order of their bytes, offsets counted from the file's start.
///
/// # Errors
/// [`Error::Unusable`] for what is no safetensors file, [`Error::Io`].
pub fn read(path: &Path) -> Result<Vec<TensorInfo>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(Error::unusable(path, "not a regular file"));
    }
    parse(file, about.len(), path)
}

/// The same of a file of `total` bytes that begins with what `file` gives; `path` is for messages.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse(mut file: impl Read, total: u64, path: &Path) -> Result<Vec<TensorInfo>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let bad = |reason: String| Error::unusable(path, reason);
    if total < 8 {
        return Err(bad(format!("{total} bytes are too few for a safetensors file; fetch it again")));
    }
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length > total - 8 {
        return Err(bad(format!(
            "its header claims {length} bytes, but the file has {total}: it is not a safetensors file, or it is truncated; fetch it again"
        )));
    }
    let mut json = Vec::new();
    file.take(length).read_to_end(&mut json).map_err(io)?;
    let entries: BTreeMap<String, Value> = serde_json::from_slice(&json)
        .map_err(|error| bad(format!("its header is not valid JSON: {error}")))?;
    let start = 8 + length;
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, value) in entries.into_iter().filter(|(name, _)| name != "__metadata__") {
        tensors.push(tensor(&name, value, start).map_err(bad)?);
    }
    tensors.sort_by(|a, b| (a.offset, &a.name).cmp(&(b.offset, &b.name)));
    without_gaps(&tensors, start, total).map_err(bad)?;
    Ok(tensors)
}

fn tensor(name: &str, value: Value, start: u64) -> Result<TensorInfo, String> {
    let shown = name.escape_debug();
    let Entry { dtype, shape, data_offsets: (begin, end) } = serde_json::from_value(value)
        .map_err(|error| format!("tensor `{shown}` has a malformed description: {error}"))?;
    let kind = match dtype.as_str() {
        "F32" => TensorType::F32,
        "F16" => TensorType::F16,
        "BF16" => TensorType::BF16,
        other => {
            return Err(format!(
                "tensor `{shown}` is of type `{}`; supported in safetensors: F32, F16, BF16. Use the model in one of these, or a GGUF file",
                other.escape_debug()
            ));
        }
    };
    if shape.len() > MAX_DIMENSIONS {
        return Err(format!("tensor `{shown}` has {} dimensions, more than {MAX_DIMENSIONS}", shape.len()));
    }
    let elements = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    let bytes = elements.and_then(|elements| elements.checked_mul(kind.block_bytes()));
    if bytes.is_none() || bytes != end.checked_sub(begin) {
        return Err(format!(
            "tensor `{shown}` of shape {shape:?} in {kind} does not fit the bytes {begin} to {end} that the header gives it"
        ));
    }
    let offset =
        start.checked_add(begin).ok_or_else(|| format!("tensor `{shown}` starts at byte {begin}"))?;
    Ok(TensorInfo { name: name.to_owned(), dtype: kind, shape, offset })
}

/// The format wants every byte to belong to exactly one tensor.
fn without_gaps(tensors: &[TensorInfo], start: u64, total: u64) -> Result<(), String> {
    let mut position = start;
    for tensor in tensors {
        if tensor.offset != position {
            return Err(format!(
                "tensor `{}` starts at byte {} of the file, but the previous one ends at {position}: the header is damaged",
                tensor.name.escape_debug(),
                tensor.offset
            ));
        }
        // The first tensor's end was compared with its start, and they add up from there.
        position = position.saturating_add(tensor.bytes().get());
    }
    if position != total {
        return Err(format!(
            "its tensors end at byte {position}, and the file has {total}: it was cut off or altered; fetch it again"
        ));
    }
    Ok(())
}
