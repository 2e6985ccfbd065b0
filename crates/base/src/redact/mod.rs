//! Removes secrets from text of outside origin before a record, a page or a message keeps it: another tool's file, a
//! command line, a URL, a header.
//!
//! A secret is recognized by its name (`names`; within a text `assigned`, on a command line `command`), by a form
//! that only keys have (`forms`), or by its place in a URL (`address`), also when escaped (`encoded`). A member of
//! an object is dropped, a part of a text is replaced by [`MARK`]; the operation is idempotent. Numbers, names of
//! tokenizers and models, content hashes and URLs without a secret are unchanged. A secret without any such feature
//! is not found. The time is linear in the text.

mod address;
mod assigned;
mod command;
mod encoded;
mod forms;
mod names;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

pub use names::secret_name;

/// Replaces a secret.
pub const MARK: &str = "[redacted]";

/// Maximum number of passes over a text: replacing one secret may reveal the next.
const PASSES: usize = 16;

/// A text longer than this is not parsed as JSON, only searched.
const MOST_JSON: usize = 1 << 20;

/// Authentication schemes of a header, followed by the secret.
const SCHEMES: [&str; 8] =
    ["bearer", "basic", "token", "digest", "apikey", "negotiate", "key", "aws4-hmac-sha256"];

/// A search for secrets in a text.
type Find = fn(&str) -> Vec<Range<usize>>;

const FINDS: [Find; 5] = [forms::private_keys, address::parts, command::parts, assigned::values, forms::keys];

/// A text with its secrets replaced.
pub fn text(text: &str) -> Cow<'_, str> {
    let mut out = Cow::Borrowed(text);
    for _ in 0..PASSES {
        let mut changed = false;
        let mut replace = |without: Option<String>, out: &mut Cow<'_, str>| {
            if let Some(without) = without {
                *out = Cow::Owned(without);
                changed = true;
            }
        };
        for find in FINDS {
            replace(cut(&out, find(&out)), &mut out);
        }
        if let Some(decoded) = encoded::Decoded::of(&out) {
            let found = FINDS.iter().flat_map(|find| find(&decoded.text));
            let found = found.filter(|part| decoded.text.get(part.clone()) != Some(MARK));
            replace(cut(&out, found.map(|part| decoded.original(&part)).collect()), &mut out);
        }
        replace(without_members(&out), &mut out);
        if !changed {
            break;
        }
    }
    out
}

/// A JSON text without the members that only its structure identifies as secrets; `None` if there are none.
fn without_members(text: &str) -> Option<String> {
    if text.len() > MOST_JSON || !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let parsed: Value = serde_json::from_str(text).ok()?;
    let mut left_out = Vec::new();
    let without = value("", parsed, &mut left_out);
    (!left_out.is_empty()).then(|| without.to_string())
}

/// A command line with its secrets replaced, including the word after `--api-key`.
pub fn words<T: AsRef<str>>(words: &[T]) -> Vec<String> {
    let mut line = command::Line::new();
    let without = |word: &T| {
        let word = word.as_ref();
        match line.next(word) {
            Some(part) => cut(word, vec![part]).unwrap_or_else(|| word.to_owned()),
            None => text(word).into_owned(),
        }
    };
    words.iter().map(without).collect()
}

/// An object without its secrets. Each field that lost something is listed in `left_out` by its path, which begins with
/// `inside`; never by its value.
pub fn object(inside: &str, object: Map<String, Value>, left_out: &mut Vec<String>) -> Map<String, Value> {
    members(inside, "", object, left_out)
}

/// The members of the object called `parent`.
fn members(
    inside: &str,
    parent: &str,
    object: Map<String, Value>,
    left_out: &mut Vec<String>,
) -> Map<String, Value> {
    // In a list of headers or settings, one member names the other.
    let of_secret = object
        .iter()
        .filter(|(name, _)| names::names_setting(name))
        .any(|(_, value)| value.as_str().is_some_and(names::secret_name));
    let mut out = Map::new();
    for (name, value) in object {
        let shown = text(&name).into_owned();
        let path = path_to(inside, &shown);
        let secret = names::holds_secret(&name, &value)
            || (of_secret && names::value_of_setting(&name) && carries(&value))
            || names::within(parent, &name).is_some_and(|name| names::holds_secret(&name, &value));
        if secret && value != MARK {
            left_out.push(path);
        } else {
            out.insert(shown, within(&path, &name, value, left_out));
        }
    }
    out
}

/// A member's path, each of its names clipped.
fn path_to(inside: &str, name: &str) -> String {
    let name: String = name.chars().take(100).collect();
    if inside.is_empty() { name } else { format!("{inside}.{name}") }
}

/// A value without its secrets, and the paths of the fields that lost something.
pub fn value(path: &str, value: Value, left_out: &mut Vec<String>) -> Value {
    within(path, "", value, left_out)
}

/// A value with a name.
fn within(path: &str, name: &str, value: Value, left_out: &mut Vec<String>) -> Value {
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
        Value::Object(object) => Value::Object(members(path, name, object, left_out)),
        other => other,
    }
}

/// The items of a list, which may be a command line, or a header's name and value.
fn list(path: &str, items: Vec<Value>, left_out: &mut Vec<String>) -> Vec<Value> {
    let mut line = command::Line::new();
    let pair = items.len() == 2;
    let mut of_pair = false;
    let mut out = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (part, is_secret) = match &item {
            Value::String(said) => (line.next(said), of_pair && !names::says_nothing(said)),
            other => (None, (of_pair || line.expects()) && carries(other)),
        };
        of_pair = pair && index == 0 && item.as_str().is_some_and(secret_name);
        let without = match (&item, part) {
            _ if is_secret => Some(MARK.to_owned()),
            (Value::String(said), Some(part)) => cut(said, vec![part]),
            _ => {
                out.push(value(&path, item, left_out));
                continue;
            }
        };
        match without {
            Some(without) if item != without.as_str() => {
                left_out.push(path);
                out.push(Value::String(without));
            }
            _ => out.push(item),
        }
    }
    out
}

/// Whether a value can contain a secret at all.
fn carries(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(_) => true,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => items.iter().any(carries),
        Value::Object(members) => !members.is_empty(),
    }
}

/// `text` with each part replaced by [`MARK`]; `None` if there is nothing left to replace.
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
