//! Reads one JSON value from a [`Source`], without ever holding its whole text.
//!
//! Strict, except that Python's `NaN` and `Infinity` are accepted. Memory is bounded by the result: a long string becomes
//! its length, lists of numbers take eight bytes per number, requests become columns.

use std::io::{self, Read};

use super::table::Table;
use super::{Broken, Fields, Lists, Node, Source};
use crate::redact;
use crate::text::shown;

/// Deepest nesting of objects and lists.
const DEEPEST: usize = 128;
/// Longest field name, in bytes.
const NAME_BYTES: usize = 4 << 10;
/// Longest number or keyword, in bytes.
const WORD_BYTES: usize = 4 << 10;
/// Longest string that is still kept in a list whose budget is spent, in bytes.
const SHORT: usize = 32;
/// Overhead of a field in addition to its name and text, and of a list item.
const FIELD_BYTES: usize = 64;
const ITEM_BYTES: usize = 24;

/// How much of a text is kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one string; a longer one becomes [`Node::Long`].
    pub text: usize,
    /// Bytes of all strings of one list; beyond that, only very short ones are kept.
    pub list: usize,
    /// Bytes of a value, not counting its numbers in lists.
    pub tree: usize,
    /// Numbers in the lists of a value.
    pub numbers: usize,
    /// Whether a list of objects under a name that ends with `requests` becomes a [`Table`].
    pub tables: bool,
}

impl Limits {
    /// Everything is kept.
    pub const NONE: Self =
        Self { text: usize::MAX, list: usize::MAX, tree: usize::MAX, numbers: usize::MAX, tables: false };
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The text is not JSON.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Reads values.
#[derive(Debug)]
pub struct Parser<R> {
    source: Source<R>,
    limits: Limits,
    depth: usize,
    /// The field that was read last, for messages.
    field: String,
    scratch: Vec<u8>,
    /// What remains of the limits for this value.
    tree: usize,
    numbers: usize,
}

/// The context of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    /// Under a name that ends with `requests`.
    Requests,
}

/// A list under construction.
enum Items {
    Numbers(Vec<f64>),
    Lists(Lists),
    Nodes(Vec<Node>),
}

impl<R: Read> Parser<R> {
    /// Reads values of `source`.
    pub fn new(source: Source<R>, limits: Limits) -> Self {
        Self { source, limits, depth: 0, field: String::new(), scratch: Vec::new(), tree: 0, numbers: 0 }
    }

    /// The unread rest of the source.
    pub fn source(&mut self) -> &mut Source<R> {
        &mut self.source
    }

    /// The next value.
    ///
    /// # Errors
    /// [`Stop`] if the file cannot be read, or is not JSON at this point.
    pub fn value(&mut self) -> Result<Node, Stop> {
        self.depth = 0;
        self.field.clear();
        (self.tree, self.numbers) = (self.limits.tree, self.limits.numbers);
        self.node(Place::Anywhere, self.limits.text)
    }

    /// The error that the text is not JSON here.
    pub fn broken(&self, reason: impl Into<String>) -> Stop {
        Broken { line: self.source.line(), reason: reason.into(), cut: false }.into()
    }

    /// The error that the file ends within a value.
    pub fn cut(&self) -> Stop {
        let field = match self.field.as_str() {
            "" => String::new(),
            field => format!(", at `{}`", shown(field)),
        };
        let reason = format!("the file ends in the middle of a value{field}; is the copy incomplete?");
        Broken { line: self.source.line(), reason, cut: true }.into()
    }

    fn node(&mut self, place: Place, text: usize) -> Result<Node, Stop> {
        self.source.blank()?;
        match self.source.peek()? {
            None => Err(self.cut()),
            Some(b'{') => self.object(place).map(Node::Object),
            Some(b'[') => self.list(place),
            Some(b'"') => self.text(text),
            Some(_) => self.word(),
        }
    }

    fn object(&mut self, place: Place) -> Result<Fields, Stop> {
        let mut fields: Vec<(Box<str>, Node)> = Vec::new();
        self.members(|parser, name| {
            let requests = place == Place::Requests || (parser.limits.tables && name.ends_with("requests"));
            let place = if requests { Place::Requests } else { Place::Anywhere };
            parser.spend(FIELD_BYTES + name.len())?;
            let node = parser.node(place, parser.limits.text)?;
            fields.push((name, node));
            Ok(())
        })?;
        Ok(fields.into())
    }

    /// Reads an object, calling `member` with the source in front of each value.
    fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, Box<str>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.enter()?;
        if self.closed(b'}')? {
            return Ok(());
        }
        loop {
            self.source.blank()?;
            match self.source.peek()? {
                Some(b'"') => {}
                Some(_) => return Err(self.unexpected("a field's name")),
                None => return Err(self.cut()),
            }
            let length = self.string(NAME_BYTES)?;
            if length > NAME_BYTES {
                return Err(self.broken(format!("a field name of {length} bytes is too long")));
            }
            let name: Box<str> = self.scratch_text()?.into();
            self.field.clear();
            self.field.push_str(&name);
            self.source.blank()?;
            match self.source.peek()? {
                Some(b':') => self.source.advance(1),
                Some(_) => return Err(self.unexpected("`:`")),
                None => return Err(self.cut()),
            }
            member(self, name)?;
            if self.ended(b'}')? {
                return Ok(());
            }
        }
    }

    fn list(&mut self, place: Place) -> Result<Node, Stop> {
        self.enter()?;
        let mut items = Items::Numbers(Vec::new());
        if self.closed(b']')? {
            return Ok(Node::Numbers(Box::default()));
        }
        if place == Place::Requests && self.source.peek()? == Some(b'{') {
            return self.table().map(|table| Node::Table(Box::new(table)));
        }
        let mut texts = self.limits.list;
        loop {
            let limit = if texts == 0 { SHORT } else { self.limits.text };
            let item = self.node(Place::Anywhere, limit.min(self.limits.text))?;
            if let Node::Text(text) = &item {
                texts = texts.saturating_sub(text.len());
            }
            items = match (items, item) {
                (Items::Numbers(mut numbers), Node::Number(number)) => {
                    self.numbers = self.numbers.checked_sub(1).ok_or_else(|| self.too_many("numbers"))?;
                    numbers.push(number);
                    Items::Numbers(numbers)
                }
                (Items::Lists(mut lists), item @ (Node::Numbers(_) | Node::Null)) => {
                    lists.push(&item);
                    Items::Lists(lists)
                }
                (Items::Numbers(numbers), item @ (Node::Numbers(_) | Node::Null)) if numbers.is_empty() => {
                    let mut lists = Lists::default();
                    lists.push(&item);
                    Items::Lists(lists)
                }
                (items, item) => {
                    let known = matches!(items, Items::Nodes(_));
                    let mut nodes = items.into_nodes();
                    self.spend(if known { ITEM_BYTES } else { (nodes.len() + 1) * ITEM_BYTES })?;
                    nodes.push(item);
                    Items::Nodes(nodes)
                }
            };
            if self.ended(b']')? {
                return Ok(items.into());
            }
        }
    }

    /// A list of requests; the next byte is its first `{`.
    fn table(&mut self) -> Result<Table, Stop> {
        let mut table = Table::default();
        loop {
            self.source.blank()?;
            match self.source.peek()? {
                Some(b'{') => {}
                Some(_) => return Err(self.unexpected("an object like the requests before it")),
                None => return Err(self.cut()),
            }
            let mut position = 0;
            self.members(|parser, name| {
                let tree = parser.tree;
                let node = parser.node(Place::Anywhere, SHORT)?;
                // Only numbers are kept.
                parser.tree = tree;
                if let Node::Number(_) = node {
                    parser.numbers =
                        parser.numbers.checked_sub(1).ok_or_else(|| parser.too_many("numbers"))?;
                }
                if table.put(&mut position, &name, &node) {
                    return Ok(());
                }
                Err(parser
                    .broken(format!("its requests have more than {} different fields", Table::MOST_COLUMNS)))
            })?;
            table.end_row();
            if self.ended(b']')? {
                return Ok(table);
            }
        }
    }

    /// Consumes an opening bracket.
    fn enter(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.broken(format!("it is nested more than {DEEPEST} levels deep")));
        }
        self.source.advance(1);
        Ok(())
    }

    /// Consumes a closing bracket right after the opening one.
    fn closed(&mut self, bracket: u8) -> Result<bool, Stop> {
        self.source.blank()?;
        let closed = self.source.peek()? == Some(bracket);
        if closed {
            self.source.advance(1);
            self.depth -= 1;
        }
        Ok(closed)
    }

    /// Consumes a comma, or a closing bracket, which ends the object or list.
    fn ended(&mut self, bracket: u8) -> Result<bool, Stop> {
        self.source.blank()?;
        match self.source.peek()? {
            Some(b',') => {
                self.source.advance(1);
                Ok(false)
            }
            Some(found) if found == bracket => {
                self.source.advance(1);
                self.depth -= 1;
                Ok(true)
            }
            Some(_) => Err(self.unexpected(&format!("`,` or `{}`", char::from(bracket)))),
            None => Err(self.cut()),
        }
    }

    fn text(&mut self, most: usize) -> Result<Node, Stop> {
        let length = self.string(most)?;
        if length > most {
            return Ok(Node::Long(length));
        }
        self.spend(length)?;
        Ok(Node::Text(self.scratch_text()?.into()))
    }

    /// Reads a string into `scratch`, at most `most` bytes of it, and returns its length.
    fn string(&mut self, most: usize) -> Result<usize, Stop> {
        self.source.advance(1);
        self.scratch.clear();
        let mut length = 0_usize;
        loop {
            let window = self.source.window()?;
            if window.is_empty() {
                return Err(self.cut());
            }
            let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1f);
            let run = window.iter().position(|byte| !plain(byte)).unwrap_or(window.len());
            let end = window.get(run).copied();
            self.scratch.extend_from_slice(&window[..run.min(most.saturating_sub(length))]);
            length += run;
            self.source.advance(run);
            match end {
                None => {}
                Some(b'"') => {
                    self.source.advance(1);
                    return Ok(length);
                }
                Some(b'\\') => {
                    let c = self.escape()?;
                    let mut bytes = [0; 4];
                    let bytes = c.encode_utf8(&mut bytes).as_bytes();
                    length += bytes.len();
                    if length <= most {
                        self.scratch.extend_from_slice(bytes);
                    }
                }
                Some(_) => return Err(self.broken("it is not JSON (a control character within a string)")),
            }
        }
    }

    /// What was read into `scratch`.
    fn scratch_text(&self) -> Result<&str, Stop> {
        std::str::from_utf8(&self.scratch).map_err(|_| self.broken("it is not UTF-8 text"))
    }

    /// The character that an escape stands for; an unpaired surrogate, which Python writes for undecodable bytes, is replaced.
    fn escape(&mut self) -> Result<char, Stop> {
        let ahead = self.source.ahead(12)?;
        let simple = match ahead.get(1) {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(*c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = |at: usize| {
                    let digits = std::str::from_utf8(ahead.get(at..at + 4)?).ok()?;
                    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
                    u16::from_str_radix(digits, 16).ok()
                };
                let Some(first) = unit(2) else {
                    return Err(if ahead.len() < 6 {
                        self.cut()
                    } else {
                        self.broken("it is not JSON (an invalid escape)")
                    });
                };
                let second = (ahead.get(6..8) == Some(b"\\u")).then(|| unit(8)).flatten();
                let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
                let (c, length) = match (char::decode_utf16([first]).next(), pair) {
                    (Some(Ok(c)), _) => (c, 6),
                    (_, Some(c)) => (c, 12),
                    _ => (char::REPLACEMENT_CHARACTER, 6),
                };
                self.source.advance(length);
                return Ok(c);
            }
            None => return Err(self.cut()),
            Some(_) => return Err(self.broken("it is not JSON (an invalid escape)")),
        };
        self.source.advance(2);
        Ok(simple)
    }

    /// A number, or a keyword such as `null`.
    fn word(&mut self) -> Result<Node, Stop> {
        let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-');
        let mut ahead = self.source.window()?;
        let mut length = ahead.iter().take_while(|byte| part(byte)).count();
        if length == ahead.len() {
            ahead = self.source.ahead(WORD_BYTES)?;
            length = ahead.iter().take_while(|byte| part(byte)).count();
        }
        let at_end = length == ahead.len();
        let word = std::str::from_utf8(&ahead[..length]).unwrap_or_default();
        let node = match word {
            "" => return Err(self.unexpected("a value")),
            "null" => Node::Null,
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            "NaN" | "Infinity" | "-Infinity" => Node::Text(word.into()),
            _ if at_end && !word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                return Err(self.cut());
            }
            _ => match number(word) {
                Ok(number) => Node::Number(number),
                // `-` and `0.` may be an incomplete number.
                Err(_) if at_end => return Err(self.cut()),
                Err(reason) => {
                    let field = match self.field.as_str() {
                        "" => String::new(),
                        field => format!("`{}`: ", shown(field)),
                    };
                    let shown =
                        if redact::secret_name(&self.field) { redact::MARK.to_owned() } else { shown(word) };
                    return Err(self.broken(format!("{field}`{shown}`: {reason}")));
                }
            },
        };
        self.source.advance(length);
        Ok(node)
    }

    /// The error that something other than `expected` was found.
    fn unexpected(&mut self, expected: &str) -> Stop {
        let found = match self.source.peek() {
            Ok(Some(byte)) if byte.is_ascii_graphic() => format!("`{}`", char::from(byte)),
            Ok(Some(_)) => "a character that JSON does not allow".to_owned(),
            Ok(None) => return self.cut(),
            Err(error) => return error.into(),
        };
        self.broken(format!("it is not JSON (expected {expected}, found {found})"))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Stop> {
        self.tree = self.tree.checked_sub(bytes).ok_or_else(|| self.too_many("values"))?;
        Ok(())
    }

    fn too_many(&self, what: &str) -> Stop {
        self.broken(format!(
            "one object has more {what} than can be kept; import the summary instead of the per-request data"
        ))
    }
}

impl Items {
    fn into_nodes(self) -> Vec<Node> {
        match self {
            Self::Numbers(numbers) => numbers.into_iter().map(Node::Number).collect(),
            Self::Lists(lists) => lists.into_nodes(),
            Self::Nodes(nodes) => nodes,
        }
    }
}

impl From<Items> for Node {
    fn from(items: Items) -> Self {
        match items {
            Items::Numbers(numbers) => Node::Numbers(numbers.into()),
            // A few values that are all `null` do not count as lists.
            Items::Lists(lists) if lists.numbers().is_empty() && lists.has_null() => {
                Node::List(lists.into_nodes().into())
            }
            Items::Lists(lists) => Node::Lists(Box::new(lists)),
            Items::Nodes(nodes) => Node::List(nodes.into()),
        }
    }
}

/// A JSON number.
fn number(word: &str) -> Result<f64, &'static str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    let (mantissa, exponent) = word.split_once(['e', 'E']).map_or((word, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let exponent = exponent.map(|exponent| exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    let valid = digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits);
    match word.parse::<f64>() {
        Ok(number) if valid && number.is_finite() => Ok(number),
        Ok(_) if valid => Err("number out of range"),
        _ => Err("invalid number"),
    }
}
