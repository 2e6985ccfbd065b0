//! Secrets taken out of what a record, a page or a message keeps of others' words: another tool's file, a command line, an
//! address, a header.
//!
//! One way for all. A secret is told by the name that it stands under (`names`; in a text `assigned`), by a form that only
//! keys have (`forms`), or by its place in an address (`address`). A member of an object is dropped, a part of a text gives
//! way to [`MARK`]; doing it twice changes nothing more. Numbers, names of tokenizers and models, hashes of content and
//! addresses without a secret stay as they are. It is no promise that a text without any such sign has no secret.

mod address;
mod assigned;
mod forms;
mod names;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

pub use names::secret_name;

/// What stands where a secret was.
pub const MARK: &str = "[redacted]";

/// Times that a text is gone through: a mark may show what begins behind it.
const PASSES: usize = 16;

/// A text without its secrets.
pub fn text(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    for _ in 0..PASSES {
        let mut changed = false;
        for find in [forms::private_keys, address::parts, assigned::values, forms::keys] {
            if let Some(without) = cut(&out, find(&out)) {
                out = Cow::Owned(without);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    out
}

/// A command line without its secrets, word by word: the word after `--api-key` as well.
pub fn words<T: AsRef<str>>(words: &[T]) -> Vec<String> {
    let mut expected = false;
    let mut out = Vec::with_capacity(words.len());
    for word in words.iter().map(AsRef::as_ref) {
        let flag = names::is_flag(word);
        let secret = expected && !flag && !word.is_empty();
        out.push(if secret { MARK.to_owned() } else { text(word).into_owned() });
        let name = word.trim_start_matches('-');
        expected = flag && !name.contains(['=', ':', ' ']) && secret_name(name);
    }
    out
}

/// The members of an object without their secrets. Each field that lost something is named in `left_out` by its path,
/// which begins with `inside`; never by its value.
pub fn object(inside: &str, object: Map<String, Value>, left_out: &mut Vec<String>) -> Map<String, Value> {
    // A list of headers and a list of settings say in one member what the other is.
    let named = ["name", "key", "header"].iter().find_map(|name| object.get(*name)?.as_str());
    let of_secret = named.is_some_and(secret_name);
    let mut out = Map::new();
    for (name, value) in object {
        let shown = text(&name).into_owned();
        let path = if inside.is_empty() { shown.clone() } else { format!("{inside}.{shown}") };
        let secret = names::holds_secret(&name, &value)
            || (of_secret && matches!(name.as_str(), "value" | "val") && carries(&value));
        if secret {
            left_out.push(path);
        } else {
            out.insert(shown, self::value(&path, value, left_out));
        }
    }
    out
}

/// A value without its secrets, and the paths of those fields that lost something.
pub fn value(path: &str, value: Value, left_out: &mut Vec<String>) -> Value {
    match value {
        Value::String(said) => {
            let without = match text(&said) {
                Cow::Borrowed(_) => return Value::String(said),
                Cow::Owned(without) => without,
            };
            left_out.push(path.to_owned());
            Value::String(without)
        }
        Value::Array(items) => Value::Array(list(path, items, left_out)),
        Value::Object(members) => Value::Object(object(path, members, left_out)),
        other => other,
    }
}

/// The items of a list: a command line among them, or a header's name with its value.
fn list(path: &str, items: Vec<Value>, left_out: &mut Vec<String>) -> Vec<Value> {
    let mut expected = false;
    let pair = items.len() == 2;
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let said = item.as_str().unwrap_or_default();
        let flag = names::is_flag(said);
        let name = said.trim_start_matches('-');
        let next = (flag || (pair && index == 0)) && !name.contains(['=', ':', ' ']) && secret_name(name);
        let secret = expected && !flag && carries(&item);
        expected = next;
        if !secret {
            out.push(value(&path, item, left_out));
        } else if said == MARK {
            out.push(item);
        } else {
            left_out.push(path);
            out.push(Value::String(MARK.to_owned()));
        }
    }
    out
}

/// Whether a value can hold a secret at all.
fn carries(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(_) => true,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(carries),
        Value::Object(members) => !members.is_empty(),
    }
}

/// `text` with [`MARK`] in place of each part; nothing when there is none that is not a mark already.
fn cut(text: &str, mut parts: Vec<Range<usize>>) -> Option<String> {
    parts.retain(|part| text.get(part.clone()).is_some_and(|part| !part.is_empty() && part != MARK));
    parts.sort_by_key(|part| part.start);
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for part in &parts {
        if part.start >= copied {
            out.push_str(&text[copied..part.start]);
            out.push_str(MARK);
        }
        copied = copied.max(part.end);
    }
    out.push_str(&text[copied..]);
    (!parts.is_empty()).then_some(out)
}
