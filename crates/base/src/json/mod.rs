//! Untrusted JSON as a tree that is at most a small factor larger than what is kept of its text.
//!
//! It is read as a stream (`source`, `parse`), so a file may be larger than memory. Lists of numbers, which make such files
//! long, take eight bytes per number; lists of lists are stored flat (`lists`), requests as columns (`table`). The parser
//! bounds nesting. Python's `NaN` and `Infinity`, which are not JSON, become strings, so that a request rate may be infinite
//! and a measured figure may not.

mod lists;
mod parse;
mod source;
mod table;

use serde_json::Value;

pub use lists::Lists;
pub use parse::{Limits, Parser, Stop};
pub use source::{Source, text_of_utf16};
pub use table::Table;

/// Fields of which the rows of every benchmark that we import have at least one, and neither log lines nor price lists have any.
pub const RESULT_FIELDS: [&str; 22] = [
    "n_prompt",
    "n_gen",
    "avg_ns",
    "pp",
    "tg",
    "t_pp",
    "t_tg",
    "completed",
    "request_throughput",
    "output_throughput",
    "total_token_throughput",
    "elapsed_time",
    "total_num_tokens",
    "avg_latency",
    "benchmarks",
    "aiperf_version",
    "infmax_model_prefix",
    "input_config",
    "performance",
    "tput_per_gpu",
    "hw",
    "isl",
];

/// Where and why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Broken {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, with the field's name if a number is at fault.
    pub reason: String,
    /// Whether the text is valid except that it ends too early.
    pub cut: bool,
}

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(Box<str>),
    /// A string too long to keep, by its length in bytes.
    Long(usize),
    /// A list of only numbers; an empty list counts as one.
    Numbers(Box<[f64]>),
    /// A list of lists of numbers.
    Lists(Box<Lists>),
    /// A list of requests, if those become columns.
    Table(Box<Table>),
    /// Any other list.
    List(Box<[Node]>),
    /// An object.
    Object(Fields),
}

/// The members of an object, in order.
pub type Fields = Box<[(Box<str>, Node)]>;

/// The member with this name; if there are several, the last, as in other parsers.
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

    /// Converts to a JSON value for the record, up to `budget` bytes of text.
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
            Self::Long(_) | Self::Table(_) => return None,
            Self::Numbers(numbers) => {
                spend(numbers.len() * 8 + 2)?;
                numbers.iter().map(|number| number_value(*number)).collect()
            }
            Self::Lists(lists) => {
                spend(lists.numbers().len() * 8 + lists.len() * 4 + 2)?;
                let list = |list: &[f64]| list.iter().map(|number| number_value(*number)).collect();
                lists.iter().map(|numbers| numbers.map_or(Value::Null, list)).collect()
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

/// Writes whole numbers without a fraction, as the tools do.
#[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
pub fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { (number as i64).into() } else { number.into() }
}

/// The values of a text in sequence, each with the line on which it begins.
///
/// Ends with an error if the text is not JSON at some point.
pub fn values(text: &str) -> impl Iterator<Item = Result<(usize, Node), Broken>> + '_ {
    let mut parser = Parser::new(Source::new(text.as_bytes()), Limits::NONE);
    let mut stopped = false;
    let mut next = move || -> Result<Option<(usize, Node)>, Stop> {
        parser.source().blank()?;
        if parser.source().peek()?.is_none() {
            return Ok(None);
        }
        let line = parser.source().line();
        Ok(Some((line, parser.value()?)))
    };
    std::iter::from_fn(move || {
        if stopped {
            return None;
        }
        next()
            .map_err(|stop| {
                stopped = true;
                match stop {
                    Stop::Broken(broken) => broken,
                    Stop::Io(error) => Broken { line: 1, reason: error.to_string(), cut: false },
                }
            })
            .transpose()
    })
}

/// The only value of a text.
#[cfg(test)]
fn parse(text: &str) -> Result<Node, Broken> {
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
    fn pythons_words_become_texts() {
        let node = parsed(r#"{"rate": Infinity, "t": "NaN \" Infinity", "l": [NaN,-Infinity]}"#);
        let text = |text: &str| Node::Text(text.into());
        let list = Node::List([text("NaN"), text("-Infinity")].into());
        let fields = [("rate", text("Infinity")), ("t", text("NaN \" Infinity")), ("l", list)];
        let expected = fields.into_iter().map(|(name, node)| (name.into(), node)).collect();
        assert_eq!(node, Ok(Node::Object(expected)));
    }

    /// What another reader takes, this one takes as the same value, and nothing else.
    #[test]
    fn it_reads_what_another_reader_reads() {
        for text in [
            r#"{"a": [1, -0.5e-3, 1E+2, 0], "b": {"c": "\u00e9\ud83d\ude00\n\\\/", "d": null, "e": [true, [], {}]}}"#,
            "[]",
            " \t\r\n[[1,2],[],[3]] ",
            r#"[[1], null, "x", [2]]"#,
            "[null]",
            r#""text""#,
            "-12.5",
            "null",
        ] {
            let node = parse(text).expect(text);
            let value: serde_json::Value = serde_json::from_str(text).expect(text);
            let ours = node.bounded(&mut 10_000).expect("short").to_string();
            assert_eq!(ours.replace(".0", ""), value.to_string().replace(".0", ""), "{text}");
        }
        for text in [
            "{",
            "[1,",
            "[1,]",
            "{\"a\":1,}",
            "{a: 1}",
            "{\"a\" 1}",
            "[1 2]",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "nul",
            "nulL",
            "\"a",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\u12\"",
            "-",
            "'a'",
            "]",
            "{\"a\":}",
            "1e999",
            "tru",
        ] {
            assert!(parse(text).is_err(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).expect_err("deep").reason.contains("deep"));
    }

    #[test]
    fn what_is_not_kept_is_counted() {
        let limits = Limits { text: 12, list: 10, tree: 2000, numbers: 6, tables: true };
        let read = |text: &str| {
            Parser::new(Source::new(text.as_bytes()), limits).value().map_err(|stop| stop.to_string())
        };
        let texts = r#"["12345678", "1234567890123", "12", "x"]"#;
        let text = |text: &str| Node::Text(text.into());
        let expected = [text("12345678"), Node::Long(13), text("12"), text("x")];
        assert_eq!(read(texts), Ok(Node::List(expected.into())));
        assert!(read("[1, 2, 3, 4, 5, 6, 7]").expect_err("seven").contains("more numbers"));
        let many = format!("[{}1]", "{},".repeat(200));
        assert!(read(&many).expect_err("many").contains("more values"));
        let requests = r#"{"requests": {"ok": [{"a": 1, "t": "x", "b": null}, {"b": 2, "a": 3, "c": [1]}]}}"#;
        let Ok(Node::Object(fields)) = read(requests) else { panic!("an object") };
        let ok = get(&fields, "requests").and_then(Node::fields).and_then(|fields| get(fields, "ok"));
        let Some(Node::Table(table)) = ok else { panic!("a table") };
        let column = |name: &str| table.column(name).map(Iterator::collect::<Vec<_>>);
        assert_eq!(column("a"), Ok(vec![(0, 1.0), (1, 3.0)]));
        assert_eq!((column("b"), column("d")), (Ok(vec![(1, 2.0)]), Ok(vec![])));
        assert_eq!((column("t"), column("c"), table.rows()), (Err(0), Err(1), 2));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let node = parsed(r#"{"a": [1, 2], "b": {"c": "text", "d": null}}"#).expect("JSON");
        let kept = node.bounded(&mut 100).expect("short");
        assert_eq!(kept, serde_json::json!({ "a": [1, 2], "b": { "c": "text", "d": null } }));
        assert_eq!(node.bounded(&mut 20), None);
    }
}
