//! GGUF headers: metadata and tensor places, read from a file that may lie.
//!
//! Owns the format (version 2 and 3, little-endian) in both directions: [`read`] and [`mod@write`]. It
//! reads a header only; tensor data stays where it is. Nothing in a file is trusted: every length is
//! compared with the bytes that are really there before anything is allocated, so a hostile file ends
//! in an error that names the field, never in a panic or in a gigabyte of zeros.
//!
//! Refused by name: version 1, big-endian files, split files, tensor types not in
//! [`TensorType`](super::TensorType). Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod file_type;
mod foreign;
mod kind;
mod quantization;
mod scan;
mod spec;
mod tensors;
pub(crate) mod value;
pub mod write;

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

pub use file_type::{file_type_label, file_type_number};
pub use value::{Array, Metadata, Value, ValueType};

use super::{Error, Header};
use scan::Scan;

/// Alignment of tensor data in bytes when `general.alignment` does not say otherwise.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// Metadata entries beyond this number are not a model's; real files have 20 to 60.
const MAX_ENTRIES: u64 = 1 << 16;

/// Everything a GGUF file says before its tensor data.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// Tensor data start at multiples of this many bytes.
    pub alignment: u64,
    /// Where tensor data begin, in bytes from the start of the file.
    pub data_start: u64,
    /// Bytes of the whole file.
    pub length: u64,
    /// Key-value pairs, vocabulary included.
    pub metadata: Metadata,
    /// The same in the terms of the rest of this program; tensor offsets count from the start of the file.
    pub header: Header,
}

/// Reads the header of the GGUF file at `path`.
///
/// # Errors
/// [`Error::Missing`] when there is no such file, [`Error::Io`] when it cannot be read, and
/// [`Error::Unusable`] with the field, the value found and the way out when it is not a GGUF file
/// that this program can use.
pub fn read(path: &Path) -> Result<Gguf, Error> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::Missing {
            what: path.display().to_string(),
            reason: "no such file; check the path, or use a catalog id (`bench catalog models`)".to_owned(),
        },
        _ => Error::Io { path: path.to_owned(), source },
    };
    // Asked before opening: to open a pipe is to wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::unusable(path, "not a regular file; a model is read from a file on disk"));
    }
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    parse(BufReader::with_capacity(1 << 16, file), about.len(), path)
}

/// Reads a header from `source`, which holds `length` bytes; `path` is for messages and for the
/// name of a model that gives itself none.
///
/// # Errors
/// As [`read`].
pub fn parse(source: impl Read, length: u64, path: &Path) -> Result<Gguf, Error> {
    let mut scan = Scan::new(source, length, path);
    let version = preamble(&mut scan)?;
    let tensor_count = scan.u64("the number of tensors")?;
    let entry_count = scan.u64("the number of metadata entries")?;
    tensors::check_count(&scan, tensor_count)?;
    if entry_count > MAX_ENTRIES {
        return Err(scan.bad(format!(
            "the header claims {entry_count} metadata entries, but no model has more than {MAX_ENTRIES}: it is corrupted"
        )));
    }
    let mut metadata = Metadata::default();
    for index in 0..entry_count {
        let key = scan.name(&format!("the key of metadata entry {}", index + 1))?;
        let value = scan.value(&key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(scan.bad(format!("metadata key `{key}` appears twice: the file is corrupted")));
        }
    }
    let alignment = alignment(&metadata, path)?;
    spec::refuse_split(&metadata, path)?;
    if tensor_count == 0 {
        return Err(kind::without_tensors(&metadata, path));
    }
    // Said before a tensor of an unknown type is met: a projector's are none of a model's business.
    kind::refuse(&metadata, &[], path)?;
    let claimed = tensors::read_infos(&mut scan, tensor_count)?;
    kind::refuse(&metadata, &claimed, path)?;
    let data_start = scan.position().next_multiple_of(alignment);
    let placed = tensors::place(claimed, &tensors::Region { alignment, data_start, length }, path)?;
    let header = spec::header(&metadata, placed, path)?;
    Ok(Gguf { version, alignment, data_start, length, metadata, header })
}

/// Reads magic and version.
fn preamble(scan: &mut Scan<'_, impl Read>) -> Result<u32, Error> {
    if scan.length() == 0 {
        return Err(
            scan.bad("the file is empty (0 bytes): the download did not begin, or failed; fetch it again")
        );
    }
    if scan.length() < 8 {
        return Err(scan.bad(format!(
            "the file has {} bytes, too few for a GGUF header: the download did not finish, fetch it again",
            scan.length()
        )));
    }
    let magic: [u8; 4] = scan.array("the magic")?;
    let version = scan.u32("the version")?;
    if magic == *b"FUGG" {
        return Err(scan.bad("big-endian magic `FUGG`: convert the model to little-endian GGUF"));
    }
    if magic != *b"GGUF" {
        let mut start = [magic, version.to_le_bytes()].concat();
        start.extend(scan.peek(foreign::LOOK - start.len()));
        return Err(scan.bad(format!("not a GGUF file: {}", foreign::what_instead(&start))));
    }
    match version {
        2 | 3 => Ok(version),
        1 => Err(scan.bad(
            "GGUF version 1 (August 2023) is not supported: convert the model again with a current convert_hf_to_gguf.py",
        )),
        0 => Err(scan.bad("GGUF version 0 does not exist: the file is corrupted")),
        _ if version.trailing_zeros() >= 16 => Err(scan.bad(format!(
            "a big-endian GGUF file (version {} in that order): convert the model to little-endian GGUF",
            version.swap_bytes()
        ))),
        _ => Err(scan.bad(format!(
            "GGUF version {version} is newer than this program, which reads versions 2 and 3: use a newer infercost or an older file"
        ))),
    }
}

fn alignment(metadata: &Metadata, path: &Path) -> Result<u64, Error> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(DEFAULT_ALIGNMENT) };
    match value.as_u64() {
        Some(bytes) if bytes.is_power_of_two() && bytes <= 1 << 30 => Ok(bytes),
        _ => Err(Error::unusable(
            path,
            format!("`general.alignment` is {value}, not a power of two: the file is corrupted"),
        )),
    }
}
