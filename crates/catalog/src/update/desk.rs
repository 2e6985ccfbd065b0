//! The desk on which a file's rows are looked through: what is taken, what is refused and by which field, what is
//! passed over because it is no price of text.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::money::{REQUEST, TOKENS, decimal, written};
use super::names;
use crate::ApiPrice;
use crate::base::json::{Node, get};
use crate::base::redact;
use crate::base::text::shown;

/// Refusals that are told one by one; of the others only the number.
const MOST_TOLD: usize = 1000;
/// Bytes of a row's other fields that are kept.
const KEPT_BYTES: usize = 2048;

/// Why a row is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The line, counted from 1, where it can be told.
    pub line: Option<usize>,
    /// What the file calls the row.
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
                let verbs = ["contradicts ", "repeats ", "has ", "makes ", "comes ", "names "];
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
pub(super) struct Bad {
    pub(super) field: String,
    pub(super) value: String,
    pub(super) reason: String,
}

/// What became of a row.
#[derive(Debug)]
pub(super) enum Took {
    /// A price; the model's word comes later.
    Price(Box<ApiPrice>),
    /// No price of text tokens, and why.
    Pass(String),
}

/// Which rows are wanted.
#[derive(Debug, Clone, Default)]
pub struct Sieve {
    /// Only this provider, in the catalog's word or the file's.
    pub provider: Option<String>,
    /// Only models whose name contains this.
    pub model: Option<String>,
}

impl Sieve {
    pub(super) fn provider(&self, theirs: &str, ours: &str) -> bool {
        let wanted = self.provider.as_deref();
        wanted.is_none_or(|name| name.eq_ignore_ascii_case(ours) || name.eq_ignore_ascii_case(theirs))
    }

    fn model(&self, id: &str) -> bool {
        self.model.as_ref().is_none_or(|part| id.to_lowercase().contains(&part.to_lowercase()))
    }
}

/// A price of an API with the names that the file gives.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) theirs: String,
    pub(super) line: Option<usize>,
    pub(super) row: ApiPrice,
}

/// What was read so far.
#[derive(Debug)]
pub(super) struct Desk<'a> {
    lines: Lines<'a>,
    pub(super) sieve: &'a Sieve,
    /// The day that stands for the file.
    pub(super) observed: Date,
    /// Today: which of several dated prices holds.
    pub(super) today: Date,
    /// File and tool, as each row's source.
    pub(super) source: String,
    pub(super) rows: usize,
    pub(super) sieved: usize,
    pub(super) providers: BTreeMap<String, usize>,
    pub(super) api: Vec<Api>,
    pub(super) refused: Vec<Refused>,
    pub(super) refused_more: usize,
    pub(super) passed: BTreeMap<String, usize>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(text: &'a str, sieve: &'a Sieve, observed: Date, today: Date, source: String) -> Self {
        Self {
            lines: Lines { text, at: 0, line: 1, misses: 0 },
            sieve,
            observed,
            today,
            source,
            rows: 0,
            sieved: 0,
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

    /// The line of the next text that is an id.
    pub(super) fn line_of_id(&mut self, id: &str) -> Option<usize> {
        self.lines.find(id, |before, _| before.ends_with(':'))
    }

    /// Looks at one row of an API's prices, unless it is not wanted.
    pub(super) fn look(
        &mut self,
        theirs: &str,
        id: &str,
        line: Option<usize>,
        read: impl FnOnce(ApiPrice) -> Result<Took, Bad>,
    ) {
        self.rows += 1;
        let ours = names::provider(theirs);
        if self.providers.len() < MOST_TOLD || self.providers.contains_key(&ours) {
            *self.providers.entry(ours.clone()).or_default() += 1;
        }
        if !self.sieve.provider(theirs, &ours) || !self.sieve.model(id) {
            self.sieved += 1;
            return;
        }
        for (field, value) in [("id", id), ("provider", theirs)] {
            if value.trim().is_empty() {
                let value = "nothing".to_owned();
                return self.refuse(
                    line,
                    id,
                    Bad { field: field.to_owned(), value, reason: "is missing".to_owned() },
                );
            }
        }
        match read(self.blank(ours, id)) {
            Ok(Took::Price(row)) => self.api.push(Api { theirs: theirs.to_owned(), line, row: *row }),
            Ok(Took::Pass(reason)) => self.pass(reason),
            Err(bad) => self.refuse(line, id, bad),
        }
    }

    pub(super) fn pass(&mut self, reason: String) {
        if self.passed.len() < MOST_TOLD || self.passed.contains_key(&reason) {
            *self.passed.entry(reason).or_default() += 1;
        }
    }

    pub(super) fn refuse(&mut self, line: Option<usize>, row: &str, bad: Bad) {
        if self.refused.len() >= MOST_TOLD {
            self.refused_more += 1;
            return;
        }
        let Bad { field, value, reason } = bad;
        self.refused.push(Refused { line, row: shown(row), field, value, reason });
    }

    /// A row with nothing in it but what the file is.
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

/// Prices of an object, each in USD per million tokens after `scale`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prices<'a> {
    /// Before each name in a message: `pricing.`.
    pub(super) inside: &'a str,
    pub(super) fields: &'a [(Box<str>, Node)],
    pub(super) scale: Decimal,
}

impl<'a> Prices<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a Node> {
        get(self.fields, name)
    }

    pub(super) fn bad(&self, name: &str, reason: impl Into<String>) -> Bad {
        self.bad_value(name, self.get(name), reason)
    }

    pub(super) fn bad_value(&self, name: &str, node: Option<&Node>, reason: impl Into<String>) -> Bad {
        Bad { field: format!("{}{}", self.inside, shown(name)), value: written(node), reason: reason.into() }
    }

    /// The price of a member, checked; `None` when there is none.
    pub(super) fn price(&self, name: &str) -> Result<Option<Decimal>, Bad> {
        self.checked(name, self.get(name))
    }

    pub(super) fn checked(&self, name: &str, node: Option<&Node>) -> Result<Option<Decimal>, Bad> {
        let price = decimal(node).and_then(|number| {
            let Some(number) = number else { return Ok(None) };
            let scaled = number.checked_mul(self.scale).ok_or("is out of range")?;
            TOKENS.check(scaled).map(Some)
        });
        price.map_err(|reason| self.bad_value(name, node, reason))
    }

    /// A price beside the main ones, where zero says that there is none.
    pub(super) fn beside(&self, name: &str) -> Result<Option<Decimal>, Bad> {
        self.beside_node(name, self.get(name))
    }

    pub(super) fn beside_node(&self, name: &str, node: Option<&Node>) -> Result<Option<Decimal>, Bad> {
        match decimal(node) {
            Ok(Some(number)) if number.is_zero() => Ok(None),
            _ => self.checked(name, node),
        }
    }

    /// The price of a member that must be there.
    pub(super) fn need(&self, name: &str) -> Result<Decimal, Bad> {
        self.price(name)?.ok_or_else(|| self.bad(name, "is missing"))
    }

    /// What each request costs, USD: the member divided by `requests`; zero says that it is nothing.
    pub(super) fn fee(&self, name: &str, requests: u32) -> Result<Option<Decimal>, Bad> {
        let node = self.get(name);
        let fee = decimal(node).and_then(|number| match number {
            Some(number) if !number.is_zero() => REQUEST.check(number / Decimal::from(requests)).map(Some),
            _ => Ok(None),
        });
        fee.map_err(|reason| self.bad_value(name, node, reason))
    }

    /// Refuses a row that says another currency.
    pub(super) fn in_usd(&self) -> Result<(), Bad> {
        match self.get("currency") {
            Some(Node::Text(word)) if !word.trim().eq_ignore_ascii_case("USD") => {
                Err(self.bad("currency", "is not USD; nothing is converted"))
            }
            _ => Ok(()),
        }
    }

    /// The price of a cached prompt token, which is no more than that of a new one.
    pub(super) fn cached(
        &self,
        name: &str,
        node: Option<&Node>,
        input: Decimal,
    ) -> Result<Option<Decimal>, Bad> {
        let cached = self.beside_node(name, node)?;
        match cached {
            Some(price) if price > input => {
                let reason =
                    format!("is more than input that is not cached ({input} USD per million tokens)");
                Err(self.bad_value(name, node, reason))
            }
            other => Ok(other),
        }
    }
}

/// The members that are not `known`, as JSON text, as far as they are short; names of the others in `left_out`.
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

/// Texts of the file in their order, each with its line.
#[derive(Debug)]
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    misses: u32,
}

impl Lines<'_> {
    /// The line of the next `"name"` whose neighbours are right; `None` when it is not written like that.
    fn find(&mut self, name: &str, neighbours: impl Fn(&str, &str) -> bool) -> Option<usize> {
        // A file that spells its names in another way is not searched through again and again.
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
        let sieve = Sieve::default();
        let day = jiff::civil::date(2026, 11, 25);
        let mut desk = Desk::new(text, &sieve, day, day, "a file".to_owned());
        assert_eq!(desk.line_of_member("a"), Some(2));
        assert_eq!(desk.line_of_member("b"), Some(4), "a value is no member");
        assert_eq!(desk.line_of_id("a"), Some(4));
        assert_eq!(desk.line_of_id("c"), None);
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
