//! Metadata values as GGUF types them.
//!
//! Arrays (a vocabulary has 10^5 strings) keep the file's own bytes, checked once on reading, and are
//! decoded where they are needed.

use std::collections::BTreeMap;
use std::fmt;

macro_rules! value_types {
    ($($name:ident = $id:literal, $label:literal, $least:literal;)+) => {
        /// The type of a metadata value, by its number in GGUF.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names say it: the width in bits of a number, or what it is")]
        pub enum ValueType { $($name = $id,)+ }

        impl ValueType {
            /// All types.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The type with this number.
            pub fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)+ _ => None }
            }

            /// The type's number.
            pub fn id(self) -> u32 {
                self as u32
            }

            /// In words, for messages.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// Bytes of one value: exact for numbers and booleans, the least possible for strings and arrays.
            pub fn least_bytes(self) -> u64 {
                match self { $(Self::$name => $least,)+ }
            }
        }
    };
}

value_types! {
    U8 = 0, "an 8-bit number", 1;
    I8 = 1, "an 8-bit signed number", 1;
    U16 = 2, "a 16-bit number", 2;
    I16 = 3, "a 16-bit signed number", 2;
    U32 = 4, "a 32-bit number", 4;
    I32 = 5, "a 32-bit signed number", 4;
    F32 = 6, "a 32-bit float", 4;
    Bool = 7, "a boolean", 1;
    String = 8, "a string", 8;
    Array = 9, "an array", 12;
    U64 = 10, "a 64-bit number", 8;
    I64 = 11, "a 64-bit signed number", 8;
    F64 = 12, "a 64-bit float", 8;
}

/// One metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is the type of that name")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// A whole number of any width that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => Some(value),
            Self::I8(value) => value.try_into().ok(),
            Self::I16(value) => value.try_into().ok(),
            Self::I32(value) => value.try_into().ok(),
            Self::I64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// A fraction of either width.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(value) => Some(value.into()),
            Self::F64(value) => Some(value),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }
}

impl fmt::Display for Value {
    /// Short enough for a message: a long string is cut, an array shows its type and length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(value) => value.fmt(f),
            Self::I8(value) => value.fmt(f),
            Self::U16(value) => value.fmt(f),
            Self::I16(value) => value.fmt(f),
            Self::U32(value) => value.fmt(f),
            Self::I32(value) => value.fmt(f),
            Self::F32(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::U64(value) => value.fmt(f),
            Self::I64(value) => value.fmt(f),
            Self::F64(value) => value.fmt(f),
            Self::String(text) => {
                let short: String = text.chars().take(60).flat_map(char::escape_default).collect();
                write!(f, "the string `{short}{}`", if text.chars().nth(60).is_some() { "…" } else { "" })
            }
            Self::Array(array) => write!(f, "an array of {} ({})", array.count, array.element.label()),
        }
    }
}

/// An array: its elements' type, their number, and their bytes as the file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Type of each element.
    pub(super) element: ValueType,
    /// Number of elements.
    pub(super) count: u64,
    /// The elements, little-endian; a string is its length in eight bytes, then itself. Checked on reading.
    pub(super) bytes: Vec<u8>,
}

impl Array {
    /// An array of strings.
    pub fn of_strings<T: AsRef<[u8]>>(strings: impl IntoIterator<Item = T>) -> Self {
        let mut array = Self { element: ValueType::String, count: 0, bytes: Vec::new() };
        for text in strings {
            array.count += 1;
            array.bytes.extend_from_slice(&(text.as_ref().len() as u64).to_le_bytes());
            array.bytes.extend_from_slice(text.as_ref());
        }
        array
    }

    /// An array of 32-bit signed numbers.
    pub fn of_i32(values: impl IntoIterator<Item = i32>) -> Self {
        let bytes: Vec<u8> = values.into_iter().flat_map(i32::to_le_bytes).collect();
        Self { element: ValueType::I32, count: bytes.len() as u64 / 4, bytes }
    }

    /// An array of 32-bit fractions.
    pub fn of_f32(values: impl IntoIterator<Item = f32>) -> Self {
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Self { element: ValueType::F32, count: bytes.len() as u64 / 4, bytes }
    }

    /// An array of arrays.
    pub fn of_arrays(arrays: impl IntoIterator<Item = Self>) -> Self {
        let mut outer = Self { element: ValueType::Array, count: 0, bytes: Vec::new() };
        for array in arrays {
            outer.count += 1;
            outer.bytes.extend_from_slice(&array.element.id().to_le_bytes());
            outer.bytes.extend_from_slice(&array.count.to_le_bytes());
            outer.bytes.extend_from_slice(&array.bytes);
        }
        outer
    }

    /// Number of elements.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Type of each element.
    pub fn element(&self) -> ValueType {
        self.element
    }

    /// The strings, as bytes: a vocabulary's are usually, not always, UTF-8.
    pub fn strings(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let mut rest = self.bytes.as_slice();
        (self.element == ValueType::String).then(|| {
            std::iter::from_fn(move || {
                let (length, after) = rest.split_first_chunk::<8>()?;
                let (text, after) =
                    after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
                rest = after;
                Some(text)
            })
        })
    }

    /// The numbers, when they are whole (any width, sign kept).
    pub fn integers(&self) -> Option<Vec<i64>> {
        fn each<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> i64) -> Vec<i64> {
            bytes.as_chunks::<N>().0.iter().map(|chunk| decode(*chunk)).collect()
        }
        let bytes = &self.bytes;
        Some(match self.element {
            ValueType::U8 => each(bytes, |chunk| u8::from_le_bytes(chunk).into()),
            ValueType::I8 => each(bytes, |chunk| i8::from_le_bytes(chunk).into()),
            ValueType::U16 => each(bytes, |chunk| u16::from_le_bytes(chunk).into()),
            ValueType::I16 => each(bytes, |chunk| i16::from_le_bytes(chunk).into()),
            ValueType::U32 => each(bytes, |chunk| u32::from_le_bytes(chunk).into()),
            ValueType::I32 => each(bytes, |chunk| i32::from_le_bytes(chunk).into()),
            ValueType::I64 => each(bytes, i64::from_le_bytes),
            _ => return None,
        })
    }

    /// The fractions, when they are 32 bits wide.
    pub fn fractions(&self) -> Option<Vec<f32>> {
        (self.element == ValueType::F32)
            .then(|| self.bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
    }
}

/// A header's key-value pairs, by key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The string under `key`, when there is one.
    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// Puts `value` under `key` and returns what was there before.
    pub fn insert(&mut self, key: String, value: Value) -> Option<Value> {
        self.0.insert(key, value)
    }

    /// All pairs, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl FromIterator<(String, Value)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
