//! `tokenizer.json` next to the weights, and the small files that say which tokens are special.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::{Special, Tokenizer};
use crate::Error;

/// Longest file read whole: the largest published `tokenizer.json` known (Gemma 3) is 33 MB.
const MAX_FILE: u64 = 256 << 20;

/// The tokenizer in `folder`, for a model whose embedding has `rows` rows; `None` when there is none.
pub(super) fn in_folder(folder: &Path, rows: u32) -> Result<Option<Tokenizer>, Error> {
    file(&folder.join("tokenizer.json"), rows)
}

/// [`in_folder`], for a file of any name; special tokens are read from the files next to it.
pub(super) fn file(path: &Path, rows: u32) -> Result<Option<Tokenizer>, Error> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let bad = |reason: String| Error::unusable(path, reason);
    let document: Value =
        serde_json::from_slice(&bytes).map_err(|error| bad(format!("not JSON ({error}): fetch it again")))?;
    check_merges(&document).map_err(bad)?;
    drop(document);
    let inner = tokenizers::Tokenizer::from_bytes(&bytes)
        .map_err(|error| bad(format!("not a tokenizer ({error}): fetch it again")))?;
    // Padding may leave rows without a token, never a token without a row.
    let tokens = inner.get_vocab(true);
    if let Some((token, id)) = tokens.iter().find(|(_, id)| **id >= rows) {
        return Err(bad(format!(
            "token `{}` has id {id}, but the embedding has {rows} rows: it belongs to another model",
            token.escape_debug()
        )));
    }
    let special = special(folder, &inner, rows)?;
    Ok(Some(Tokenizer { inner, special, path: path.to_owned() }))
}

/// Checks what the `tokenizers` crate takes for granted: that each merge's union is a token.
fn check_merges(document: &Value) -> Result<(), String> {
    let model = &document["model"];
    let (Some(vocab), Some(merges)) = (model["vocab"].as_object(), model["merges"].as_array()) else {
        return Ok(());
    };
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    for (rank, merge) in merges.iter().enumerate() {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            Value::Array(pair) => match &pair[..] {
                [Value::String(left), Value::String(right)] => Some((left.as_str(), right.as_str())),
                _ => None,
            },
            _ => None,
        };
        let union = pair.and_then(|(left, right)| Some(format!("{left}{}", right.strip_prefix(prefix)?)));
        if !union.is_some_and(|union| vocab.contains_key(&union)) {
            return Err(format!(
                "merge {rank} ({merge}) does not join two tokens into one: fetch the file again"
            ));
        }
    }
    Ok(())
}

/// Special tokens from `tokenizer_config.json` by name, else from `config.json` by number.
fn special(folder: &Path, inner: &tokenizers::Tokenizer, rows: u32) -> Result<Special, Error> {
    let tokenizer = document(&folder.join("tokenizer_config.json"))?;
    let config = document(&folder.join("config.json"))?;
    let id = |name: &str| {
        let named = match &tokenizer[name] {
            Value::String(text) => Some(text.as_str()),
            // Older files write the token as an object.
            object => object["content"].as_str(),
        };
        named.and_then(|text| inner.token_to_id(text)).or_else(|| {
            let number = match &config[format!("{name}_id")] {
                Value::Array(numbers) => numbers.first()?.as_u64(),
                number => number.as_u64(),
            };
            number.and_then(|number| u32::try_from(number).ok()).filter(|number| *number < rows)
        })
    };
    let bos = id("bos_token");
    // If unset, what the file's own post-processor does to an empty text decides.
    let adds_bos = tokenizer["add_bos_token"].as_bool().unwrap_or_else(|| {
        inner
            .encode_fast("", true)
            .is_ok_and(|encoding| bos.is_some() && encoding.get_ids().first().copied() == bos)
    });
    Ok(Special { bos, eos: id("eos_token"), adds_bos })
}

/// A JSON file, or null when it is not there.
fn document(path: &Path) -> Result<Value, Error> {
    let Some(bytes) = read(path)? else { return Ok(Value::Null) };
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::unusable(path, format!("not JSON ({error}): fetch it again")))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(error)),
        Ok(about) if !about.is_file() || about.len() > MAX_FILE => {
            Err(Error::unusable(path, format!("not a file of at most {} MiB", MAX_FILE >> 20)))
        }
        Ok(_) => fs::read(path).map(Some).map_err(io),
    }
}
