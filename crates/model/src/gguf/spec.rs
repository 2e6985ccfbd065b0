//! From metadata keys and tensor names to a [`Header`]: the model in this program's terms.
//!
//! Keys: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md> (`[arch].block_count` and so on). What
//! a key may leave out is filled in as llama.cpp does: key and value heads as many as heads, head size
//! width over heads, rotary base 10,000. All else that is missing or impossible is an error by its key.

use std::path::Path;

use super::quantization::quantization;
use super::value::{Metadata, Value};
use crate::tokenizer::vocabulary;
use crate::{Error, Experts, Header, ModelSpec, TensorInfo, architecture};

/// No dimension of a known model is a hundredth of this; products of three stay far below 2^64.
const MAX_DIMENSION: u64 = 1 << 24;
/// No model known has a hundredth of this many experts in a block.
const MAX_EXPERTS: u64 = 1 << 16;
/// No model known has a thousandth of this many blocks.
const MAX_LAYERS: u64 = 1 << 16;

/// Refuses one part of a split file: its other parts hold the rest of the tensors.
pub(super) fn refuse_split(metadata: &Metadata, path: &Path) -> Result<(), Error> {
    let Some(parts) = metadata.get("split.count").and_then(Value::as_u64).filter(|parts| *parts > 1) else {
        return Ok(());
    };
    let part = metadata.get("split.no").and_then(Value::as_u64).map_or(1, |number| number.saturating_add(1));
    Err(Error::unusable(
        path,
        format!(
            "this is part {part} of a model split into {parts} files; join them with \
             `llama-gguf-split --merge FIRST-PART OUTPUT` and give the result"
        ),
    ))
}

/// The header that `metadata` and the placed `tensors` describe.
pub(super) fn header(metadata: &Metadata, tensors: Vec<TensorInfo>, path: &Path) -> Result<Header, Error> {
    let own = metadata.str("general.name").map(presentable).filter(|name| !name.is_empty());
    let name = own.unwrap_or_else(|| {
        path.file_stem().map_or_else(|| "unnamed".to_owned(), |stem| stem.to_string_lossy().into_owned())
    });
    let spec = spec(&Keys::new(metadata, path)?, &tensors)?;
    let (quantization, quantization_note) = quantization(metadata, &tensors, path);
    let mut header = Header {
        name,
        spec,
        quantization,
        quantization_note,
        tensors,
        has_rope_factors: false,
        has_tokenizer: false,
    };
    header.has_rope_factors = header.tensor("rope_freqs.weight").is_some();
    header.has_tokenizer = vocabulary::usable(metadata) == Ok(true);
    Ok(header)
}

/// A name as it may be shown on a terminal: one short line.
fn presentable(name: &str) -> String {
    name.trim().chars().filter(|letter| !letter.is_control()).take(120).collect()
}

fn spec(keys: &Keys<'_>, tensors: &[TensorInfo]) -> Result<ModelSpec, Error> {
    let layers = keys.number("block_count", MAX_LAYERS)?;
    let width = keys.number("embedding_length", MAX_DIMENSION)?;
    let heads = keys.number("attention.head_count", MAX_DIMENSION)?;
    let kv_heads = keys.optional("attention.head_count_kv", MAX_DIMENSION)?.unwrap_or(heads);
    if kv_heads > heads || !heads.is_multiple_of(kv_heads) {
        return Err(keys
            .bad("attention.head_count_kv", format!("is {kv_heads}, which does not divide {heads} heads")));
    }
    let head_size = match keys.optional("attention.key_length", MAX_DIMENSION)? {
        Some(size) => size,
        None if width.is_multiple_of(heads) => width / heads,
        None => {
            return Err(keys.bad(
                "attention.head_count",
                format!("is {heads}, which does not divide the width {width}, and `attention.key_length` is missing"),
            ));
        }
    };
    if u64::from(heads) * u64::from(head_size) > MAX_DIMENSION {
        return Err(keys.bad(
            "attention.key_length",
            format!("gives {heads} heads of {head_size}, larger than any model's"),
        ));
    }
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight").ok_or_else(|| {
        Error::unusable(
            keys.path,
            format!(
                "tensor `token_embd.weight` is missing: this {} file is not a language model",
                keys.architecture
            ),
        )
    })?;
    let vocabulary = match embedding.shape[..] {
        [rows, columns] if columns == u64::from(width) => u32::try_from(rows).ok(),
        _ => None,
    }
    .ok_or_else(|| {
        Error::unusable(
            keys.path,
            format!(
                "tensor `token_embd.weight` has the shape {:?}, and `{}.embedding_length` of {width} asks for \
                 [vocabulary, {width}]: the header is corrupted",
                embedding.shape, keys.architecture
            ),
        )
    })?;
    check_blocks(keys, layers, tensors)?;
    let (window, windowed_layers) = window(keys, layers);
    let feed_forward = keys.number("feed_forward_length", MAX_DIMENSION)?;
    Ok(ModelSpec {
        architecture: keys.architecture.to_owned(),
        layers,
        width,
        feed_forward,
        experts: experts(keys, feed_forward, tensors)?,
        heads,
        kv_heads,
        head_size,
        vocabulary,
        context_length: keys.number("context_length", u64::from(u32::MAX))?,
        window,
        windowed_layers,
        tied_head: !tensors.iter().any(|tensor| tensor.name == "output.weight"),
        rope_theta: keys.fraction("rope.freq_base")?.unwrap_or(10_000.0),
        norm_epsilon: match keys.fraction("attention.layer_norm_rms_epsilon")? {
            Some(epsilon) => epsilon,
            None => keys
                .fraction("attention.layer_norm_epsilon")?
                .ok_or_else(|| keys.bad("attention.layer_norm_rms_epsilon", "is missing"))?,
        },
    })
}

/// The sliding window and how many blocks have it; all, in an architecture not known.
fn window(keys: &Keys<'_>, layers: u32) -> (Option<u32>, u32) {
    let key = format!("{}.attention.sliding_window", keys.architecture);
    let window =
        keys.metadata.get(&key).and_then(Value::as_u64).and_then(|window| u32::try_from(window).ok());
    match window.filter(|window| *window > 0) {
        Some(window) => {
            let known = architecture::named(keys.architecture);
            (Some(window), known.map_or(layers, |known| known.windowed_layers(layers)))
        }
        None => (None, 0),
    }
}

/// The experts, if there are any. Their width may be left out; then their tensors say it.
fn experts(keys: &Keys<'_>, feed_forward: u32, tensors: &[TensorInfo]) -> Result<Option<Experts>, Error> {
    let Some(count) = keys.whole("expert_count", MAX_EXPERTS)?.filter(|count| *count > 0) else {
        return Ok(None);
    };
    let used = keys.number("expert_used_count", u64::from(count))?;
    let in_tensors = || {
        let up = tensors.iter().find(|tensor| tensor.name == "blk.0.ffn_up_exps.weight")?;
        u32::try_from(*up.shape.get(1)?).ok()
    };
    let width = keys.optional("expert_feed_forward_length", MAX_DIMENSION)?;
    Ok(Some(Experts { count, used, feed_forward: width.or_else(in_tensors).unwrap_or(feed_forward) }))
}

/// Every block that `block_count` claims has a tensor.
fn check_blocks(keys: &Keys<'_>, layers: u32, tensors: &[TensorInfo]) -> Result<(), Error> {
    let mut seen = vec![false; layers as usize];
    for tensor in tensors {
        let index =
            tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        if let Some(slot) = index.and_then(|index| seen.get_mut(index)) {
            *slot = true;
        }
    }
    match seen.iter().position(|seen| !seen) {
        None => Ok(()),
        Some(missing) => {
            Err(keys.bad("block_count", format!("is {layers}, and block {missing} has no tensor")))
        }
    }
}

/// Whether `name` is spelt as every architecture's is: `llama`, `qwen2moe`, `gemma-embedding`.
fn is_identifier(name: &str) -> bool {
    let spells = |letter: u8| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter);
    (1..=64).contains(&name.len()) && name.bytes().all(spells)
}

/// The keys of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
    path: &'a Path,
}

impl<'a> Keys<'a> {
    fn new(metadata: &'a Metadata, path: &'a Path) -> Result<Self, Error> {
        let architecture = match metadata.get("general.architecture") {
            Some(Value::String(name)) if is_identifier(name) => name,
            Some(value) => {
                return Err(Error::unusable(
                    path,
                    format!("`general.architecture` is {value}, expected a name such as `llama`"),
                ));
            }
            None => {
                return Err(Error::unusable(
                    path,
                    "metadata key `general.architecture` is missing: the file does not say what it is; convert it again",
                ));
            }
        };
        Ok(Self { metadata, architecture, path })
    }

    fn bad(&self, key: &str, says: impl std::fmt::Display) -> Error {
        Error::unusable(
            self.path,
            format!(
                "metadata key `{}.{key}` {says}: the file is corrupted or was converted badly, convert or fetch it again",
                self.architecture
            ),
        )
    }

    /// The whole number under `key`, 1 to `most`.
    fn number(&self, key: &str, most: u64) -> Result<u32, Error> {
        self.optional(key, most)?.ok_or_else(|| self.bad(key, "is missing"))
    }

    /// The whole number under `key`, 0 to `most`.
    fn whole(&self, key: &str, most: u64) -> Result<Option<u32>, Error> {
        let value = self.metadata.get(&format!("{}.{key}", self.architecture));
        if value.and_then(Value::as_u64) == Some(0) { Ok(Some(0)) } else { self.optional(key, most) }
    }

    /// The whole number under `key`, 1 to `most`; an array counts as a number when all its elements are the same.
    fn optional(&self, key: &str, most: u64) -> Result<Option<u32>, Error> {
        let Some(value) = self.metadata.get(&format!("{}.{key}", self.architecture)) else { return Ok(None) };
        let number = match value {
            Value::Array(array) => {
                let all = array.integers().unwrap_or_default();
                match all.split_first() {
                    Some((first, rest)) if rest.iter().all(|other| other == first) => {
                        u64::try_from(*first).ok()
                    }
                    Some(_) => {
                        return Err(Error::unusable(
                            self.path,
                            format!(
                                "`{}.{key}` differs from layer to layer; such models are not supported",
                                self.architecture
                            ),
                        ));
                    }
                    None => None,
                }
            }
            _ => value.as_u64(),
        };
        match number {
            Some(number) if (1..=most).contains(&number) => Ok(u32::try_from(number).ok()),
            _ => Err(self.bad(key, format!("is {value}, expected a whole number from 1 to {most}"))),
        }
    }

    /// The positive fraction under `key`.
    fn fraction(&self, key: &str) -> Result<Option<f64>, Error> {
        let Some(value) = self.metadata.get(&format!("{}.{key}", self.architecture)) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
            _ => Err(self.bad(key, format!("is {value}, expected a number above zero"))),
        }
    }
}
