//! Reading numbers, strings and values from a file that may lie about lengths.
//!
//! The rule: a length is compared with the bytes left in the file, and with what this program will
//! hold of a header at most, before a byte is allocated for it.

use std::io::Read;
use std::path::Path;

use super::value::{Array, Value, ValueType};
use crate::Error;

/// Longest name of a key or tensor in bytes. GGML holds 63 of a tensor's, and no key known has 100.
pub(super) const MAX_NAME: u64 = 1024;
/// Metadata beyond this many bytes are not a model's: the largest vocabularies known take a tenth of it.
const MAX_METADATA: u64 = 256 << 20;
/// Arrays in arrays beyond this depth are an attack on the stack; no model nests at all.
const MAX_DEPTH: u32 = 4;

/// A position in a file of known length.
pub(super) struct Scan<'a, R> {
    source: R,
    position: u64,
    length: u64,
    /// Bytes of metadata that may still be taken into memory.
    budget: u64,
    path: &'a Path,
}

impl<'a, R: Read> Scan<'a, R> {
    pub(super) fn new(source: R, length: u64, path: &'a Path) -> Self {
        Self { source, position: 0, length, budget: MAX_METADATA, path }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the whole file.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes not read yet.
    pub(super) fn left(&self) -> u64 {
        self.length - self.position
    }

    /// The file cannot be used because of `reason`.
    pub(super) fn bad(&self, reason: impl Into<String>) -> Error {
        Error::unusable(self.path, reason)
    }

    /// Fails unless `bytes` more are there, naming `what` was to be read.
    fn need(&self, bytes: u64, what: &str) -> Result<(), Error> {
        match bytes.checked_sub(self.left()) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(self.bad(format!(
                "the file ends inside its header: {what} takes {bytes} bytes at byte {}, and {missing} of them are missing \
                 (the file has {} bytes); the download did not finish or the header is corrupted, fetch it again",
                self.position, self.length
            ))),
        }
    }

    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        self.need(N as u64, what)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Error> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Error> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A name: 1 to [`MAX_NAME`] bytes of UTF-8 that can be shown on a terminal.
    pub(super) fn name(&mut self, what: &str) -> Result<String, Error> {
        let length = self.u64(what)?;
        if length == 0 || length > MAX_NAME {
            return Err(self.bad(format!(
                "{what} claims {length} bytes, and a name has 1 to {MAX_NAME}: the header is corrupted"
            )));
        }
        let mut bytes = Vec::new();
        self.append(length, &mut bytes, what)?;
        let name = String::from_utf8(bytes).map_err(|error| {
            self.bad(format!("{what} is not UTF-8 text ({error}): the header is corrupted"))
        })?;
        if name.contains(char::is_control) {
            return Err(self.bad(format!(
                "{what} is `{}`, and a name has no control characters: the header is corrupted",
                name.escape_debug()
            )));
        }
        Ok(name)
    }

    /// The typed value of metadata key `key`.
    pub(super) fn value(&mut self, key: &str) -> Result<Value, Error> {
        let what = format!("metadata key `{key}`");
        let what = what.as_str();
        Ok(match self.value_type(what)? {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.array(what)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.array(what)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.array(what)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.array(what)?)),
            ValueType::U32 => Value::U32(self.u32(what)?),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.array(what)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            ValueType::U64 => Value::U64(self.u64(what)?),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.array(what)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            ValueType::Bool => {
                let [byte] = self.array(what)?;
                self.truth(byte, what)?;
                Value::Bool(byte == 1)
            }
            ValueType::String => {
                let length = self.u64(what)?;
                let mut bytes = Vec::new();
                self.append(length, &mut bytes, what)?;
                Value::String(String::from_utf8(bytes).map_err(|error| {
                    self.bad(format!("{what} is not UTF-8 text ({error}): it is corrupted"))
                })?)
            }
            ValueType::Array => {
                let element = self.value_type(what)?;
                let count = self.u64(what)?;
                let mut bytes = Vec::new();
                self.elements(element, count, &mut bytes, what, 1)?;
                Value::Array(Array { element, count, bytes })
            }
        })
    }

    fn value_type(&mut self, what: &str) -> Result<ValueType, Error> {
        let id = self.u32(what)?;
        ValueType::from_id(id).ok_or_else(|| {
            self.bad(format!(
                "{what} has value type {id}, and GGUF knows 0 to 12: the header is corrupted or too new"
            ))
        })
    }

    /// Copies and checks `count` elements.
    fn elements(
        &mut self,
        element: ValueType,
        count: u64,
        bytes: &mut Vec<u8>,
        what: &str,
        depth: u32,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(
                self.bad(format!("{what} nests arrays deeper than {MAX_DEPTH}: the header is hostile"))
            );
        }
        let least = count.checked_mul(element.least_bytes()).filter(|least| *least <= self.left());
        let Some(least) = least else {
            return Err(self.bad(format!(
                "{what} claims {count} elements ({} each at least {} bytes), and {} bytes are left in the file: \
                 the download did not finish or the header is corrupted",
                element.label(),
                element.least_bytes(),
                self.left()
            )));
        };
        match element {
            ValueType::String => {
                for _ in 0..count {
                    let length: [u8; 8] = self.array(what)?;
                    self.spend(8, what)?;
                    bytes.extend_from_slice(&length);
                    self.append(u64::from_le_bytes(length), bytes, what)?;
                }
            }
            ValueType::Array => {
                for _ in 0..count {
                    let inner = self.value_type(what)?;
                    let inner_count = self.u64(what)?;
                    self.spend(12, what)?;
                    bytes.extend_from_slice(&inner.id().to_le_bytes());
                    bytes.extend_from_slice(&inner_count.to_le_bytes());
                    self.elements(inner, inner_count, bytes, what, depth + 1)?;
                }
            }
            _ => {
                let start = bytes.len();
                self.append(least, bytes, what)?;
                if element == ValueType::Bool {
                    for byte in &bytes[start..] {
                        self.truth(*byte, what)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn truth(&self, byte: u8, what: &str) -> Result<(), Error> {
        if byte <= 1 {
            return Ok(());
        }
        Err(self.bad(format!("{what} is a boolean of value {byte}, not 0 or 1: the header is corrupted")))
    }

    /// Appends the next `count` bytes to `bytes`.
    fn append(&mut self, count: u64, bytes: &mut Vec<u8>, what: &str) -> Result<(), Error> {
        self.need(count, what)?;
        self.spend(count, what)?;
        let start = bytes.len();
        // `need` and `spend` have bounded `count` by the file's length and by MAX_METADATA.
        bytes.resize(start + usize::try_from(count).map_err(|_| self.bad("too large for this machine"))?, 0);
        self.fill(&mut bytes[start..])
    }

    /// Counts `bytes` against what is held of a header at most.
    fn spend(&mut self, bytes: u64, what: &str) -> Result<(), Error> {
        self.budget = self.budget.checked_sub(bytes).ok_or_else(|| {
            self.bad(format!(
                "with {what} the metadata exceed {} MiB, ten times the largest vocabulary known: the header is corrupted",
                MAX_METADATA >> 20
            ))
        })?;
        Ok(())
    }

    /// The next bytes, at most `most` and fewer where the file ends or cannot be read: only to say what it is.
    pub(super) fn peek(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        _ = (&mut self.source).take(most as u64).read_to_end(&mut bytes);
        bytes
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.source.read_exact(bytes).map_err(|source| Error::Io { path: self.path.to_owned(), source })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}
