//! Fields of an untrusted object, validated on reading: an invalid one is an error that names file, place, field and
//! value. A field that is missing or `null` is not an error unless [`At::required`] is used.

use std::borrow::Cow;
use std::path::Path;

use super::Error;
use super::json::not_finite;
use super::json::{Fields, Node, get, number_value, shown};

/// Largest count that a JSON number represents exactly.
const LARGEST_COUNT: f64 = 9_007_199_254_740_992.0;

/// Largest and smallest plausible number in any unit: 30 years in nanoseconds, a thousandth of a nanosecond in seconds.
/// Products and quotients of two numbers in this range cannot overflow.
const LARGEST: f64 = 1e18;
const SMALLEST: f64 = 1e-12;

/// An object of the file and its place.
#[derive(Debug, Clone)]
pub(super) struct At<'a> {
    path: &'a Path,
    /// `line 3`, `row 2`, or empty for a file with a single object.
    place: String,
    /// Names of the enclosing objects, each followed by a dot: `config.`.
    inside: String,
    /// Whether numbers are quoted, as in CSV.
    quoted: bool,
    fields: &'a [(Box<str>, Node)],
}

/// An object of a file with many.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// `line 3`, `row 2`, or empty for a file with a single object.
    pub(super) place: String,
    /// Whether numbers are quoted, as in CSV.
    pub(super) quoted: bool,
    pub(super) fields: Fields,
}

impl<'a> At<'a> {
    pub(super) fn new(path: &'a Path, row: &'a Row) -> Self {
        Self {
            path,
            place: row.place.clone(),
            inside: String::new(),
            quoted: row.quoted,
            fields: &row.fields,
        }
    }

    /// All members, in order.
    pub(super) fn fields(&self) -> &'a [(Box<str>, Node)] {
        self.fields
    }

    /// The error that this field is invalid.
    pub(super) fn error(&self, field: &str, reason: impl Into<String>) -> Error {
        Error::Field {
            path: self.path.to_owned(),
            place: self.place.clone(),
            field: format!("{}{}", self.inside, shown(field)),
            reason: reason.into(),
        }
    }

    /// A required value.
    pub(super) fn required<T>(&self, field: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.error(field, "is missing; is the file truncated, or from another version?"))
    }

    /// The member, unless it is missing or `null`; if the format quotes everything, an empty string counts as `null`.
    pub(super) fn get(&self, field: &str) -> Option<&'a Node> {
        let nothing = |node: &Node| match node {
            Node::Null => true,
            Node::Text(text) => self.quoted && text.trim().is_empty(),
            _ => false,
        };
        get(self.fields, field).filter(|node| !nothing(node))
    }

    /// A string; an empty one counts as missing.
    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Node::Text(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
            Some(other) => Err(self.error(field, format!("is {}, not a string", name(other)))),
        }
    }

    /// A boolean.
    pub(super) fn boolean(&self, field: &str) -> Result<Option<bool>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Node::Bool(truth)) => Ok(Some(*truth)),
            Some(node) if self.number(node) == Some(0.0) => Ok(Some(false)),
            Some(node) if self.number(node) == Some(1.0) => Ok(Some(true)),
            Some(other) => Err(self.error(field, format!("is {}, not true or false", name(other)))),
        }
    }

    /// A finite number, zero or more.
    pub(super) fn amount(&self, field: &str) -> Result<Option<f64>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(node) => match self.number(node) {
                Some(number) => self.checked(field, number).map(Some),
                None => Err(self.error(field, format!("is {}, not a number", name(node)))),
            },
        }
    }

    /// The number in a node, unquoted if the format quotes everything.
    pub(super) fn number(&self, node: &Node) -> Option<f64> {
        match node {
            Node::Number(number) => Some(*number),
            Node::Text(text) if self.quoted => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A finite number above zero.
    pub(super) fn positive(&self, field: &str) -> Result<Option<f64>, Error> {
        match self.amount(field)? {
            Some(0.0) => Err(self.error(field, "is 0, so nothing was measured")),
            other => Ok(other),
        }
    }

    /// A whole number, zero or more.
    pub(super) fn count(&self, field: &str) -> Result<Option<u64>, Error> {
        self.amount(field)?.map(|number| self.whole(field, number)).transpose()
    }

    /// A whole number that fits into a cell of the record.
    pub(super) fn small_count(&self, field: &str) -> Result<Option<u32>, Error> {
        let count = self.count(field)?;
        count
            .map(|count| {
                u32::try_from(count)
                    .map_err(|_| self.error(field, format!("is {count}, larger than in any run")))
            })
            .transpose()
    }

    /// A list of finite, non-negative numbers; NaN and `null` entries were not measured and are skipped.
    pub(super) fn list(&self, field: &str) -> Result<Option<Cow<'a, [f64]>>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Node::Numbers(numbers)) => {
                for (index, number) in numbers.iter().enumerate() {
                    check(*number).map_err(|reason| self.error(&format!("{field}[{index}]"), reason))?;
                }
                Ok(Some(Cow::Borrowed(numbers)))
            }
            Some(Node::List(items)) => self.numbers_of(field, items).map(|list| Some(Cow::Owned(list))),
            Some(other) => Err(self.error(field, format!("is {}, not a list of numbers", name(other)))),
        }
    }

    /// The numbers in a list, skipping entries that were not measured.
    pub(super) fn numbers_of(&self, field: &str, items: &[Node]) -> Result<Vec<f64>, Error> {
        let mut found = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let field = || format!("{field}[{index}]");
            match self.number(item) {
                Some(number) if number.is_finite() => found.push(self.checked(&field(), number)?),
                _ if *item == Node::Null || not_finite(item).is_some() => {}
                _ => return Err(self.error(&field(), format!("is {}, not a number", name(item)))),
            }
        }
        Ok(found)
    }

    /// Lists of finite numbers, concatenated.
    pub(super) fn pooled(&self, field: &str) -> Result<Option<Vec<f64>>, Error> {
        let Some(node) = self.get(field) else { return Ok(None) };
        let lists: &[Node] = match node {
            Node::Lists(lists) => {
                for (index, list) in lists.iter().enumerate() {
                    for number in list.unwrap_or_default() {
                        check(*number).map_err(|reason| self.error(&format!("{field}[{index}]"), reason))?;
                    }
                }
                return Ok(Some(lists.numbers().to_vec()));
            }
            Node::List(lists) => lists,
            Node::Numbers(numbers) if numbers.is_empty() => &[],
            other => return Err(self.error(field, format!("is {}, not lists of numbers", name(other)))),
        };
        let mut pooled = Vec::new();
        for (index, list) in lists.iter().enumerate() {
            let field = format!("{field}[{index}]");
            match list {
                Node::Numbers(numbers) => {
                    for number in numbers {
                        pooled.push(self.checked(&field, *number)?);
                    }
                }
                Node::Null => {}
                Node::List(items) => pooled.extend(self.numbers_of(&field, items)?),
                other => {
                    return Err(self.error(&field, format!("is {}, not a list of numbers", name(other))));
                }
            }
        }
        Ok(Some(pooled))
    }

    /// A nested object.
    pub(super) fn inner(&self, field: &str) -> Result<Option<At<'a>>, Error> {
        match self.get(field) {
            None => Ok(None),
            Some(Node::Object(fields)) => Ok(Some(At {
                path: self.path,
                place: self.place.clone(),
                inside: format!("{}{field}.", self.inside),
                quoted: self.quoted,
                fields,
            })),
            Some(other) => Err(self.error(field, format!("is {}, not an object", name(other)))),
        }
    }

    /// The objects of a nested list.
    pub(super) fn objects(&self, field: &str) -> Result<Vec<At<'a>>, Error> {
        let items: &[Node] = match self.get(field) {
            None => &[],
            Some(Node::Numbers(numbers)) if numbers.is_empty() => &[],
            Some(Node::List(items)) => items,
            Some(other) => {
                return Err(self.error(field, format!("is {}, not a list of objects", name(other))));
            }
        };
        let object = |(index, item): (usize, &'a Node)| {
            let fields = item.fields().ok_or_else(|| {
                self.error(&format!("{field}[{index}]"), format!("is {}, not an object", name(item)))
            })?;
            let inside = format!("{}{field}[{index}].", self.inside);
            Ok(At { path: self.path, place: self.place.clone(), inside, quoted: self.quoted, fields })
        };
        items.iter().enumerate().map(object).collect()
    }

    /// The finite numbers under `name` in the objects of a list, in order.
    pub(super) fn column(&self, list: &str, name: &str) -> Result<Vec<f64>, Error> {
        let table = match self.get(list) {
            None => return Ok(Vec::new()),
            Some(Node::Numbers(numbers)) if numbers.is_empty() => return Ok(Vec::new()),
            Some(Node::Table(table)) => table,
            Some(other) => {
                return Err(self.error(list, format!("is {}, not a list of objects", self::name(other))));
            }
        };
        let field = |row: usize| format!("{list}[{row}].{name}");
        let column = table.column(name).map_err(|row| self.error(&field(row), "is not a number"))?;
        column.map(|(row, number)| check(number).map_err(|reason| self.error(&field(row), reason))).collect()
    }

    fn checked(&self, field: &str, number: f64) -> Result<f64, Error> {
        check(number).map_err(|reason| self.error(field, reason))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, checked, below 2^53")]
    fn whole(&self, field: &str, number: f64) -> Result<u64, Error> {
        if number.fract() == 0.0 && number <= LARGEST_COUNT {
            Ok(number as u64)
        } else {
            Err(self.error(field, format!("is {number}, not a whole number")))
        }
    }
}

/// A plausible number, or why it is not.
pub(super) fn check(number: f64) -> Result<f64, String> {
    if !number.is_finite() {
        return Err(format!("is {number}, not a finite number"));
    }
    if number < 0.0 {
        return Err(format!("is {number}, which is negative"));
    }
    if number > LARGEST || (number > 0.0 && number < SMALLEST) {
        return Err(format!("is {number:e}, an implausible magnitude"));
    }
    Ok(number)
}

/// A value in a message.
fn name(node: &Node) -> String {
    match node {
        Node::Null => "null".to_owned(),
        Node::Bool(truth) => truth.to_string(),
        Node::Number(number) => number_value(*number).to_string(),
        Node::Text(text) => format!("`{}`", shown(text)),
        Node::Long(bytes) => format!("a string of {bytes} bytes"),
        Node::Numbers(numbers) => format!("a list of {} numbers", numbers.len()),
        Node::Lists(lists) => format!("a list of {} lists", lists.len()),
        Node::Table(table) => format!("a list of {} objects", table.rows()),
        Node::List(items) => format!("a list of {} values", items.len()),
        Node::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::parse;
    use super::*;

    #[test]
    fn what_cannot_be_is_named() {
        let path = Path::new("f.json");
        let text =
            r#"{"a": -1, "b": 1.5, "c": "x", "d": [1, -2], "e": {"f": 0}, "g": 5e9, "h": [[1], [-3]]}"#;
        let node = parse(text).expect("JSON");
        let Node::Object(fields) = node else { panic!("an object") };
        let row = Row { place: "row 2".into(), quoted: false, fields };
        let at = At::new(path, &row);
        let said = |error: Error| error.to_string();
        assert_eq!(at.amount("a").map_err(said), Err("f.json, row 2: `a` is -1, which is negative".into()));
        assert_eq!(at.count("b").map_err(said), Err("f.json, row 2: `b` is 1.5, not a whole number".into()));
        assert_eq!(at.amount("c").map_err(said), Err("f.json, row 2: `c` is `x`, not a number".into()));
        assert_eq!(at.list("d").map_err(said), Err("f.json, row 2: `d[1]` is -2, which is negative".into()));
        let inner = at.inner("e").expect("an object").expect("is there");
        let zero = inner.positive("f").map_err(said);
        assert_eq!(zero, Err("f.json, row 2: `e.f` is 0, so nothing was measured".into()));
        assert_eq!(
            at.small_count("g").map_err(said),
            Err("f.json, row 2: `g` is 5000000000, larger than in any run".into())
        );
        assert_eq!(
            at.pooled("h").map_err(said),
            Err("f.json, row 2: `h[1]` is -3, which is negative".into())
        );
        let text =
            r#"{"a": [0.1, NaN, null, 0.2], "b": [[0.1, NaN], [Infinity], [0.2, 0.3]], "c": [1, "x"]}"#;
        let Node::Object(fields) = parse(text).expect("JSON") else { panic!("an object") };
        let row = Row { place: String::new(), quoted: false, fields };
        let lists = At::new(path, &row);
        assert_eq!(lists.list("a").expect("numbers").as_deref(), Some(&[0.1, 0.2][..]));
        assert_eq!(lists.pooled("b").expect("lists"), Some(vec![0.1, 0.2, 0.3]));
        assert_eq!(lists.list("c").map_err(said), Err("f.json: `c[1]` is `x`, not a number".into()));
        assert!(at.required("z", at.amount("z").expect("missing is no error")).is_err());
    }
}
