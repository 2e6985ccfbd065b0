//! JSON from strangers as a tree that is at most a small factor larger than its text.
//!
//! A list of numbers, which is what makes such files long, takes eight bytes a number. Nesting is bounded by the
//! parser. What Python writes and JSON has not, `NaN` and `Infinity`, becomes a text, so that a request rate may be
//! infinite and a figure may not.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::text::shown;

/// Where and why a text is no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Broken {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, with the field's name when a number is to blame.
    pub reason: String,
}

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`.
    Null,
    /// A truth.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(Box<str>),
    /// A list of numbers and nothing else; an empty list is one.
    Numbers(Box<[f64]>),
    /// Any other list.
    List(Box<[Node]>),
    /// An object.
    Object(Fields),
}

/// The members of an object in their order.
pub type Fields = Box<[(Box<str>, Node)]>;

/// The member with this name; of several the last, as other readers have it.
pub fn get<'a>(fields: &'a [(Box<str>, Node)], name: &str) -> Option<&'a Node> {
    fields.iter().rev().find(|(key, _)| **key == *name).map(|(_, node)| node)
}

impl Node {
    /// The members, of an object.
    pub fn fields(&self) -> Option<&[(Box<str>, Node)]> {
        match self {
            Self::Object(fields) => Some(fields),
            _ => None,
        }
    }

    /// The same as a value of the record, while `budget` bytes of text last.
    pub fn bounded(&self, budget: &mut usize) -> Option<Value> {
        let mut spend = |bytes: usize| {
            *budget = budget.checked_sub(bytes)?;
            Some(())
        };
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(number) => {
                spend(8)?;
                number_value(*number)
            }
            Self::Text(text) => {
                spend(text.len() + 2)?;
                Value::String(text.to_string())
            }
            Self::Numbers(numbers) => {
                spend(numbers.len() * 8 + 2)?;
                numbers.iter().map(|number| number_value(*number)).collect()
            }
            Self::List(items) => {
                spend(items.len() + 2)?;
                Value::Array(items.iter().map(|item| item.bounded(budget)).collect::<Option<_>>()?)
            }
            Self::Object(fields) => {
                let mut object = serde_json::Map::new();
                for (name, node) in fields {
                    *budget = budget.checked_sub(name.len() + 4)?;
                    object.insert(name.to_string(), node.bounded(budget)?);
                }
                Value::Object(object)
            }
        })
    }
}

/// Whole numbers without a fraction, as tools wrote them.
#[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
pub fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { (number as i64).into() } else { number.into() }
}

/// Python's words for what is no number, in quotes; the same text when it has none.
pub fn quote_not_numbers(text: &str) -> Cow<'_, str> {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !WORDS.iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let (mut in_text, mut escaped, mut copied) = (false, false, 0);
    for (at, byte) in text.bytes().enumerate() {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_text = true;
        } else if at >= copied && matches!(byte, b'N' | b'I' | b'-') {
            let Some(word) = WORDS.iter().find(|word| text.as_bytes()[at..].starts_with(word.as_bytes()))
            else {
                continue;
            };
            out.push_str(&text[copied..at]);
            out.push('"');
            out.push_str(word);
            out.push('"');
            copied = at + word.len();
        }
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// The values of a text, one behind the other, each with the line on which it begins.
///
/// Each is an error instead, and the last, when the text is no JSON there.
pub fn values(text: &str) -> impl Iterator<Item = Result<(usize, Node), Broken>> + '_ {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Node>();
    let (mut line, mut seen) = (1, 0);
    std::iter::from_fn(move || {
        let value = stream.next()?;
        // Blank space behind a value is read with the next one.
        let begin = stream.byte_offset().min(text.len());
        let start = seen + (text.len() - seen - text.get(seen..).unwrap_or_default().trim_start().len());
        let begins = line + newlines(text, seen, start);
        line += newlines(text, seen, begin);
        seen = begin;
        Some(
            value
                .map(|node| (begins, node))
                .map_err(|error| Broken { line: error.line().max(1), reason: explain(text, &error) }),
        )
    })
}

fn newlines(text: &str, from: usize, to: usize) -> usize {
    text.get(from..to).map_or(0, |part| part.matches('\n').count())
}

/// What is wrong, with the field's name when a number is to blame.
fn explain(text: &str, error: &serde_json::Error) -> String {
    let line_start = text
        .bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'\n')
        .nth(error.line().saturating_sub(2))
        .map_or(0, |(at, _)| if error.line() > 1 { at + 1 } else { 0 });
    let bytes = text.as_bytes();
    let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-');
    let mut start = (line_start + error.column().saturating_sub(1)).min(bytes.len());
    while start > 0 && part(bytes[start - 1]) {
        start -= 1;
    }
    let length = bytes[start..].iter().take_while(|byte| part(**byte)).count();
    let token = text.get(start..start + length).unwrap_or_default();
    let name = text.get(..start).and_then(key_before);
    let field = name.map_or(String::new(), |name| format!("`{}`: ", shown(name)));
    let said = error.to_string();
    if error.is_eof() {
        format!("the file ends in the middle ({said}); was it copied whole?")
    } else if said.contains("number") {
        format!("{field}`{}`: {said}", shown(token))
    } else {
        format!("it is not JSON ({said})")
    }
}

/// The last key before the end of `text`.
fn key_before(text: &str) -> Option<&str> {
    let rest = &text[..text.rfind("\":")?];
    rest.get(rest.rfind('"')? + 1..)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Bool(truth))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number as f64))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut numbers: Vec<f64> = Vec::new();
        while let Some(item) = items.next_element::<Node>()? {
            if let Node::Number(number) = item {
                numbers.push(number);
                continue;
            }
            let mut mixed: Vec<Node> = numbers.into_iter().map(Node::Number).collect();
            mixed.push(item);
            while let Some(item) = items.next_element()? {
                mixed.push(item);
            }
            return Ok(Node::List(mixed.into()));
        }
        Ok(Node::Numbers(numbers.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut fields: Vec<(Box<str>, Node)> = Vec::new();
        while let Some((name, node)) = members.next_entry::<Box<str>, Node>()? {
            fields.push((name, node));
        }
        Ok(Node::Object(fields.into()))
    }
}

/// The one value of a text, for tests.
#[cfg(test)]
pub(crate) fn parse(text: &str) -> Result<Node, Broken> {
    values(text).next().expect("a value").map(|(_, node)| node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Node, String> {
        parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn each_value_has_its_line() {
        let lines: Vec<usize> =
            values("{}\n\n{\n}\n {}").map(|value| value.map(|(line, _)| line).expect("JSON")).collect();
        assert_eq!(lines, [1, 3, 5]);
    }

    #[test]
    fn a_node_is_small_and_numbers_are_smaller() {
        assert_eq!(size_of::<Node>(), 24);
        assert_eq!(parsed("[1, 2.5, -3]"), Ok(Node::Numbers([1.0, 2.5, -3.0].into())));
        let mixed = parsed("[1, null]").expect("a list");
        assert_eq!(mixed, Node::List([Node::Number(1.0), Node::Null].into()));
    }

    #[test]
    fn a_bad_number_is_named_with_its_field_and_line() {
        for (text, expected) in [
            ("{\"avg_ns\": 1e999}", "line 1: `avg_ns`: `1e999`: number out of range"),
            ("{\"x\":\n [1,\n 01]}", "line 3: `x`: `01`: invalid number"),
            ("{\"a\": [1, 2", "line 1: the file ends in the middle"),
            ("{\"a\" 1}", "line 1: it is not JSON"),
        ] {
            let message = parsed(text).expect_err(text);
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }

    #[test]
    fn pythons_words_become_texts_outside_of_texts_alone() {
        let text = r#"{"rate": Infinity, "t": "NaN \" Infinity", "l": [NaN,-Infinity]}"#;
        let expected = r#"{"rate": "Infinity", "t": "NaN \" Infinity", "l": ["NaN","-Infinity"]}"#;
        assert_eq!(quote_not_numbers(text), expected);
        assert!(matches!(quote_not_numbers("[1]"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let node = parsed(r#"{"a": [1, 2], "b": {"c": "text", "d": null}}"#).expect("JSON");
        let kept = node.bounded(&mut 100).expect("short");
        assert_eq!(kept, serde_json::json!({ "a": [1, 2], "b": { "c": "text", "d": null } }));
        assert_eq!(node.bounded(&mut 20), None);
    }
}
