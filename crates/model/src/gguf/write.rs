//! Writing a GGUF header: metadata, tensor entries, and where each tensor's data will lie.
//!
//! Only the header is made here; a synthetic model produces its data on demand, a test appends its own.

use super::value::{Array, Value};
use super::{DEFAULT_ALIGNMENT, ValueType};
use crate::{TensorInfo, TensorType};

/// A header as bytes, and the file that it announces.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The header with its padding: tensor data begin right after it.
    pub bytes: Vec<u8>,
    /// Every tensor with its place, counted from the start of the file.
    pub tensors: Vec<TensorInfo>,
    /// Bytes of the whole file; the last tensor is padded to the alignment as well.
    pub length: u64,
}

/// A tensor to be written: its name, its type and its shape, outermost dimension first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its name: `blk.0.attn_q.weight`.
    pub name: String,
    /// How its elements are stored.
    pub dtype: TensorType,
    /// Dimensions, outermost first (rows, columns).
    pub shape: Vec<u64>,
}

/// The header of a version 3 file with these pairs and tensors, in this order, aligned to 32 bytes.
pub fn head(metadata: &[(String, Value)], planned: &[Planned]) -> Head {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(b"GGUF");
    bytes.extend_from_slice(&3_u32.to_le_bytes());
    bytes.extend_from_slice(&(planned.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&(metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        put_string(&mut bytes, key);
        bytes.extend_from_slice(&value.value_type().id().to_le_bytes());
        put_value(&mut bytes, value);
    }
    let mut tensors = Vec::with_capacity(planned.len());
    let mut offset = 0_u64;
    for Planned { name, dtype, shape } in planned {
        put_string(&mut bytes, name);
        // At most four dimensions ever, so the length fits.
        bytes.extend_from_slice(&u32::try_from(shape.len()).unwrap_or(u32::MAX).to_le_bytes());
        for size in shape.iter().rev() {
            bytes.extend_from_slice(&size.to_le_bytes());
        }
        bytes.extend_from_slice(&dtype.ggml_id().to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        let tensor = TensorInfo { name: name.clone(), dtype: *dtype, shape: shape.clone(), offset };
        offset += tensor.bytes().get().next_multiple_of(DEFAULT_ALIGNMENT);
        tensors.push(tensor);
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    let data_start = bytes.len() as u64;
    for tensor in &mut tensors {
        tensor.offset += data_start;
    }
    Head { bytes, tensors, length: data_start + offset }
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn put_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(value) => bytes.push(*value),
        Value::I8(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::U16(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::I16(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::U32(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::I32(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::F32(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::U64(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::I64(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::F64(value) => bytes.extend_from_slice(&value.to_le_bytes()),
        Value::Bool(value) => bytes.push(u8::from(*value)),
        Value::String(text) => put_string(bytes, text),
        Value::Array(Array { element, count, bytes: elements }) => {
            bytes.extend_from_slice(&ValueType::id(*element).to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(elements);
        }
    }
}
