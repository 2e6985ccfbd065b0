//! Collects the rows of one price file: those accepted, those rejected with the field at fault, and those skipped because
//! they are not prices of text tokens.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::money::{REQUEST, TOKENS, decimal, written};
use super::names;
use crate::ApiPrice;
use crate::base::json::{Node, get};
use crate::base::redact;
use crate::base::text::shown;

/// Rejected rows that are listed one by one; the others are only counted.
const MAX_LISTED: usize = 1000;
/// Bytes of a row's other fields that are kept.
const KEPT_BYTES: usize = 2048;

/// Why a row is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The line, counted from 1, if known.
    pub line: Option<usize>,
    /// The row's name in the file.
    pub row: String,
    /// The field, as the file spells it.
    pub field: String,
    /// Its value.
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Refused {
    /// Field, value and reason as a sentence: `` `Price` is -1: negative ``.
    pub fn sentence(&self) -> String {
        let Self { field, value, reason, .. } = self;
        match value.as_str() {
            "" | "nothing" => format!("`{field}` {reason}"),
            value => {
                let verbs = ["contradicts ", "repeats ", "has ", "makes ", "occurs ", "names "];
                if verbs.iter().any(|verb| reason.starts_with(verb)) {
                    return format!("`{field}` {value} {reason}");
                }
                format!("`{field}` is {value}: {}", reason.strip_prefix("is ").unwrap_or(reason))
            }
        }
    }
}

/// A field that makes its row unusable.
#[derive(Debug)]
pub(super) struct BadField {
    pub(super) field: String,
    pub(super) value: String,
    pub(super) reason: String,
}

/// How reading a row ended.
#[derive(Debug)]
pub(super) enum RowOutcome {
    /// A price; the catalog's name of the model is filled in later.
    Price(Box<ApiPrice>),
    /// Not a price of text tokens, and why.
    Skip(String),
}

/// Which rows to import.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only this provider, by the catalog's name or the file's.
    pub provider: Option<String>,
    /// Only models whose name contains this.
    pub model: Option<String>,
}

impl Filter {
    pub(super) fn provider(&self, theirs: &str, ours: &str) -> bool {
        let wanted = self.provider.as_deref();
        wanted.is_none_or(|name| name.eq_ignore_ascii_case(ours) || name.eq_ignore_ascii_case(theirs))
    }

    fn model(&self, id: &str) -> bool {
        self.model.as_ref().is_none_or(|part| id.to_lowercase().contains(&part.to_lowercase()))
    }
}

/// An API price with the names that the file uses.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) theirs: String,
    pub(super) line: Option<usize>,
    pub(super) row: ApiPrice,
}

/// What has been read so far.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    lines: Lines<'a>,
    pub(super) filter: &'a Filter,
    /// The day the file's prices are dated.
    pub(super) observed: Date,
    /// Today, which decides which of several dated prices applies.
    pub(super) today: Date,
    /// File and tool, the source of each row.
    pub(super) source: String,
    pub(super) rows: usize,
    pub(super) filtered_out: usize,
    pub(super) providers: BTreeMap<String, usize>,
    pub(super) api: Vec<Api>,
    pub(super) refused: Vec<Refused>,
    pub(super) refused_more: usize,
    pub(super) passed: BTreeMap<String, usize>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        text: &'a str,
        filter: &'a Filter,
        observed: Date,
        today: Date,
        source: String,
    ) -> Self {
        Self {
            lines: Lines { text, at: 0, line: 1, misses: 0 },
            filter,
            observed,
            today,
            source,
            rows: 0,
            filtered_out: 0,
            providers: BTreeMap::new(),
            api: Vec::new(),
            refused: Vec::new(),
            refused_more: 0,
            passed: BTreeMap::new(),
        }
    }

    /// The line of the next member called `name`.
    pub(super) fn line_of_member(&mut self, name: &str) -> Option<usize> {
        self.lines.find(name, |before, after| !before.ends_with(':') && after.starts_with(':'))
    }

    /// The line of the next string that is an id.
    pub(super) fn line_of_id(&mut self, id: &str) -> Option<usize> {
        self.lines.find(id, |before, _| before.ends_with(':'))
    }

    /// Reads one row of API prices, unless the filter excludes it.
    pub(super) fn add(
        &mut self,
        theirs: &str,
        id: &str,
        line: Option<usize>,
        read: impl FnOnce(ApiPrice) -> Result<RowOutcome, BadField>,
    ) {
        self.rows += 1;
        let ours = names::provider(theirs);
        if self.providers.len() < MAX_LISTED || self.providers.contains_key(&ours) {
            *self.providers.entry(ours.clone()).or_default() += 1;
        }
        if !self.filter.provider(theirs, &ours) || !self.filter.model(id) {
            self.filtered_out += 1;
            return;
        }
        for (field, value) in [("id", id), ("provider", theirs)] {
            if value.trim().is_empty() {
                let value = "nothing".to_owned();
                return self.refuse(
                    line,
                    id,
                    BadField { field: field.to_owned(), value, reason: "is missing".to_owned() },
                );
            }
        }
        match read(self.blank(ours, id)) {
            Ok(RowOutcome::Price(row)) => self.api.push(Api { theirs: theirs.to_owned(), line, row: *row }),
            Ok(RowOutcome::Skip(reason)) => self.skip(reason),
            Err(bad) => self.refuse(line, id, bad),
        }
    }

    pub(super) fn skip(&mut self, reason: String) {
        if self.passed.len() < MAX_LISTED || self.passed.contains_key(&reason) {
            *self.passed.entry(reason).or_default() += 1;
        }
    }

    pub(super) fn refuse(&mut self, line: Option<usize>, row: &str, bad: BadField) {
        if self.refused.len() >= MAX_LISTED {
            self.refused_more += 1;
            return;
        }
        let BadField { field, value, reason } = bad;
        self.refused.push(Refused { line, row: shown(row), field, value, reason });
    }

    /// A row with only what is the same for the whole file.
    fn blank(&self, provider: String, id: &str) -> ApiPrice {
        ApiPrice {
            provider,
            model: String::new(),
            source_model_id: id.to_owned(),
            open_weights: None,
            input_usd_per_mtok: Decimal::ZERO,
            cached_input_usd_per_mtok: None,
            cache_write_usd_per_mtok: None,
            output_usd_per_mtok: Decimal::ZERO,
            reasoning_usd_per_mtok: None,
            usd_per_request: None,
            long_context_tiers: Vec::new(),
            batch: None,
            time_of_day: Vec::new(),
            scheduled_change: None,
            effective_from: None,
            deprecated: false,
            as_of: self.observed,
            upstream: None,
            note: None,
            cross_check: None,
            source: self.source.clone(),
            kept: None,
        }
    }
}

/// The prices in an object, in USD per million tokens when multiplied by `scale`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prices<'a> {
    /// Prefix of each field name in a message: `pricing.`.
    pub(super) inside: &'a str,
    pub(super) fields: &'a [(Box<str>, Node)],
    pub(super) scale: Decimal,
}

impl<'a> Prices<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        get(self.fields, name)
    }

    pub(super) fn bad(&self, name: &str, reason: impl Into<String>) -> BadField {
        self.bad_value(name, self.get(name), reason)
    }

    pub(super) fn bad_value(&self, name: &str, node: Option<&Node>, reason: impl Into<String>) -> BadField {
        BadField {
            field: format!("{}{}", self.inside, shown(name)),
            value: written(node),
            reason: reason.into(),
        }
    }

    /// The price of a member, checked; `None` when there is none.
    pub(super) fn price(&self, name: &str) -> Result<Option<Decimal>, BadField> {
        self.checked(name, self.get(name))
    }

    pub(super) fn checked(&self, name: &str, node: Option<&Node>) -> Result<Option<Decimal>, BadField> {
        let price = decimal(node).and_then(|number| {
            let Some(number) = number else { return Ok(None) };
            let scaled = number.checked_mul(self.scale).ok_or("is out of range")?;
            TOKENS.check(scaled).map(Some)
        });
        price.map_err(|reason| self.bad_value(name, node, reason))
    }

    /// An optional price, where zero means that there is none.
    pub(super) fn extra(&self, name: &str) -> Result<Option<Decimal>, BadField> {
        self.extra_node(name, self.get(name))
    }

    pub(super) fn extra_node(&self, name: &str, node: Option<&Node>) -> Result<Option<Decimal>, BadField> {
        match decimal(node) {
            Ok(Some(number)) if number.is_zero() => Ok(None),
            _ => self.checked(name, node),
        }
    }

    /// The price of a required member.
    pub(super) fn required(&self, name: &str) -> Result<Decimal, BadField> {
        self.price(name)?.ok_or_else(|| self.bad(name, "is missing"))
    }

    /// The fee per request, USD: the member divided by `requests`; zero means that there is none.
    pub(super) fn fee(&self, name: &str, requests: u32) -> Result<Option<Decimal>, BadField> {
        let node = self.get(name);
        let fee = decimal(node).and_then(|number| match number {
            Some(number) if !number.is_zero() => REQUEST.check(number / Decimal::from(requests)).map(Some),
            _ => Ok(None),
        });
        fee.map_err(|reason| self.bad_value(name, node, reason))
    }

    /// Rejects a row in another currency.
    pub(super) fn in_usd(&self) -> Result<(), BadField> {
        match self.get("currency") {
            Some(Node::Text(word)) if !word.trim().eq_ignore_ascii_case("USD") => {
                Err(self.bad("currency", "is not USD; currencies are not converted"))
            }
            _ => Ok(()),
        }
    }

    /// The price of a cached prompt token, at most that of an uncached one.
    pub(super) fn cached(
        &self,
        name: &str,
        node: Option<&Node>,
        input: Decimal,
    ) -> Result<Option<Decimal>, BadField> {
        let cached = self.extra_node(name, node)?;
        match cached {
            Some(price) if price > input => {
                let reason = format!("is more than uncached input ({input} USD per million tokens)");
                Err(self.bad_value(name, node, reason))
            }
            other => Ok(other),
        }
    }
}

/// The members that are not `known`, as JSON text, up to a size limit; names of the others in `left_out`.
pub(super) fn kept<'a>(
    members: impl Iterator<Item = (&'a str, &'a Node)>,
    known: impl Fn(&str) -> bool,
) -> Option<String> {
    let mut budget = KEPT_BYTES;
    let mut object = serde_json::Map::new();
    let mut left_out = Vec::new();
    for (name, node) in members.filter(|(name, node)| !known(name) && **node != Node::Null) {
        let before = budget;
        let value = budget.checked_sub(name.len() + 4).and_then(|left| {
            budget = left;
            node.bounded(&mut budget)
        });
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        } else {
            budget = before;
            if left_out.len() < 20 {
                left_out.push(shown(name));
            }
        }
    }
    let mut object = redact::object("", object, &mut left_out);
    if !left_out.is_empty() {
        object.insert("left_out".to_owned(), left_out.into());
    }
    (!object.is_empty()).then(|| serde_json::Value::Object(object).to_string())
}

/// The members of an object.
pub(super) fn members(fields: &[(Box<str>, Node)]) -> impl Iterator<Item = (&str, &Node)> {
    fields.iter().map(|(name, node)| (&**name, node))
}

/// A text that is not empty.
pub(super) fn text<'a>(fields: &'a [(Box<str>, Node)], name: &str) -> Option<&'a str> {
    match get(fields, name) {
        Some(Node::Text(text)) => Some(text.trim()).filter(|text| !text.is_empty()),
        _ => None,
    }
}

/// Finds the lines of strings in the file, in order.
#[derive(Debug)]
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    misses: u32,
}

impl Lines<'_> {
    /// The line of the next `"name"` with the right text around it; `None` if it is not written like that.
    fn find(&mut self, name: &str, neighbours: impl Fn(&str, &str) -> bool) -> Option<usize> {
        // Stop searching a file that escapes its names differently.
        if self.misses >= 3 {
            return None;
        }
        let quoted = serde_json::to_string(name).ok()?;
        let mut from = self.at;
        while let Some(found) = self.text.get(from..)?.find(&quoted).map(|at| from + at) {
            let end = found + quoted.len();
            if neighbours(self.text[..found].trim_end(), self.text[end..].trim_start()) {
                self.line += self.text[self.at..found].matches('\n').count();
                self.at = end;
                return Some(self.line);
            }
            from = end;
        }
        self.misses += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use infercost_testing::json as parse;

    #[test]
    fn a_row_has_its_line() {
        let text = "{\n \"a\": {\"next\": \"b\"},\n\n \"b\" : {\"id\": \"a\"}}";
        let filter = Filter::default();
        let day = jiff::civil::date(2026, 11, 25);
        let mut intake = Intake::new(text, &filter, day, day, "a file".to_owned());
        assert_eq!(intake.line_of_member("a"), Some(2));
        assert_eq!(intake.line_of_member("b"), Some(4), "a value is not a member");
        assert_eq!(intake.line_of_id("a"), Some(4));
        assert_eq!(intake.line_of_id("c"), None);
    }

    #[test]
    fn other_fields_are_kept_without_their_secrets() {
        let node = |text: &str| Node::Text(text.into());
        let fields: [(Box<str>, Node); 2] =
            [("api_key".into(), node("hunter2hunter2")), ("page".into(), node("https://u:secret@h/p"))];
        let text = kept(members(&fields), |_| false).expect("something");
        assert!(!text.contains("hunter2") && !text.contains("secret@"), "{text}");
        assert!(text.contains("api_key"), "what was dropped is named: {text}");
    }

    #[test]
    fn other_fields_are_kept_while_they_are_short() {
        let node =
            parse(&format!(r#"{{"a": 1, "mode": "chat", "long": "{}", "no": null}}"#, "x".repeat(3000)));
        let node = node.expect("JSON");
        let fields = node.fields().expect("an object");
        let text = kept(members(fields), |name| name == "a").expect("something");
        assert_eq!(text, r#"{"mode":"chat","left_out":["long"]}"#);
        assert_eq!(kept(members(&fields[..1]), |name| name == "a"), None);
    }
}
