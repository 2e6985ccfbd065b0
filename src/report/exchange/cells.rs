//! Rows of a file that are no benchmark cell: left out, counted and named, so that one of them loses nothing else.
//!
//! A dead run of a sweep, a row that ran out of memory and a row of another kind say nothing wrong, they say nothing; a
//! row that says what cannot be is still an error, and so is a file of which no row is a cell.

use std::path::Path;

use crate::base::{redact, text};

use super::Error;
use super::fields::{At, Row};
use super::foreign::{Foreign, each, merge};
use super::json::{Node, shown};
use super::physical;
use super::rows::Rows;

/// Rows left out that a message names; more are counted.
const NAMED: usize = 5;

/// Why a row gives no figures.
#[derive(Debug)]
pub(super) enum NoCell {
    /// It is no benchmark cell: of which kind (`with an error`), and what says so.
    LeftOut(&'static str, Error),
    /// It says what cannot be.
    Broken(Error),
}

impl From<Error> for NoCell {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

/// A run of which nothing came.
pub(super) const DEAD: &str = "of dead runs";
/// A row in which a tool or a script noted why it failed.
const FAILED: &str = "with an error";

impl At<'_> {
    /// That this row is no cell, as `field` says.
    pub(super) fn no_cell(&self, kind: &'static str, field: &str, reason: impl Into<String>) -> NoCell {
        NoCell::LeftOut(kind, self.error(field, reason))
    }

    /// The figure without which there is no cell: missing, `null`, not finite or 0, the row is of a dead run.
    pub(super) fn needed(&self, field: &str) -> Result<f64, NoCell> {
        let missing = || self.need::<f64>(field, None);
        let Some(node) = self.get(field) else {
            return missing().map_err(|error| NoCell::LeftOut(DEAD, error));
        };
        match self.positive(field) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => missing().map_err(|error| NoCell::LeftOut(DEAD, error)),
            Err(error) if self.number(node) == Some(0.0) || not_finite(node).is_some() => {
                Err(NoCell::LeftOut(DEAD, error))
            }
            Err(error) => Err(NoCell::Broken(error)),
        }
    }
}

/// The rows of a file that were left out.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut {
    /// How many of each kind.
    kinds: Vec<(&'static str, usize)>,
    /// The first of them: place, field and reason.
    rows: Vec<String>,
}

impl LeftOut {
    /// Rows that are kept by name.
    const KEPT: usize = 20;

    fn add(&mut self, kind: &'static str, row: &str) {
        match self.kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.kinds.push((kind, 1)),
        }
        if self.rows.len() < Self::KEPT {
            // What a run failed with may have a secret in it.
            self.rows.push(redact::text(row).into_owned());
        }
    }

    pub(super) fn count(&self) -> usize {
        self.kinds.iter().map(|(_, count)| count).sum()
    }

    /// The first rows by name, and how many more there are.
    pub(super) fn named(&self, most: usize) -> Vec<String> {
        let named = self.rows.iter().take(most).cloned();
        let more = self.count().saturating_sub(most.min(self.rows.len()));
        named.chain((more > 0).then(|| format!("and {more} more"))).collect()
    }

    /// All that are kept by name.
    pub(super) fn all(&self) -> Vec<String> {
        self.named(Self::KEPT)
    }

    /// `left out: 1 row of dead runs, 2 rows with an error`.
    pub(super) fn summary(&self) -> Option<String> {
        let kinds = self.kinds.iter().map(|(kind, count)| format!("{} {kind}", text::count(*count, "row")));
        (self.count() > 0).then(|| format!("left out: {}", kinds.collect::<Vec<_>>().join(", ")))
    }
}

/// The word for a number that is not finite, as Python and others write it.
pub(super) fn not_finite(node: &Node) -> Option<String> {
    const WORDS: [&str; 7] = ["nan", "inf", "-inf", "+inf", "infinity", "-infinity", "+infinity"];
    match node {
        Node::Number(number) if !number.is_finite() => Some(number.to_string()),
        Node::Text(text) if WORDS.iter().any(|word| text.trim().eq_ignore_ascii_case(word)) => {
            Some(shown(text.trim()))
        }
        _ => None,
    }
}

/// The records in a file of rows: those that agree in the text that `one` gives become one.
pub(super) fn records(
    path: &Path,
    rows: &mut Rows<'_>,
    one: impl Fn(&At<'_>) -> Result<(String, Foreign), NoCell>,
) -> Result<Vec<Foreign>, Error> {
    let mut sieve = Sieve::default();
    let one = |at: &At<'_>| {
        let found = one(at)?;
        physical::check(at, &found.1)?;
        Ok(found)
    };
    let found = merge(path, rows.filter_map(|row| sieve.row(path, row, one)))?;
    sieve.done(path, found)
}

/// The records in a file in which each row is a run of its own.
pub(super) fn separate(
    path: &Path,
    rows: &mut Rows<'_>,
    one: impl Fn(&At<'_>) -> Result<Foreign, NoCell>,
) -> Result<Vec<Foreign>, Error> {
    let mut sieve = Sieve::default();
    let one = |at: &At<'_>| {
        let found = one(at)?;
        physical::check(at, &found)?;
        Ok(found)
    };
    let found = each(path, rows.filter_map(|row| sieve.row(path, row, one)))?;
    sieve.done(path, found)
}

/// Lets the rows through that are cells, and remembers the others.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    rows: usize,
    left_out: LeftOut,
    /// The error of the first that was left out.
    first: Option<Error>,
}

impl Sieve {
    fn row<T>(
        &mut self,
        path: &Path,
        row: Result<Row, Error>,
        one: impl Fn(&At<'_>) -> Result<T, NoCell>,
    ) -> Option<Result<T, Error>> {
        match row {
            Ok(row) => self.object(&At::new(path, &row), one),
            Err(error) => Some(Err(error)),
        }
    }

    /// The same of an object of a file.
    pub(super) fn object<T>(
        &mut self,
        at: &At<'_>,
        one: impl FnOnce(&At<'_>) -> Result<T, NoCell>,
    ) -> Option<Result<T, Error>> {
        self.rows += 1;
        match said_failed(at).map_or_else(|| one(at), Err) {
            Ok(found) => Some(Ok(found)),
            Err(NoCell::Broken(error)) => Some(Err(error)),
            Err(NoCell::LeftOut(kind, error)) => {
                self.left_out.add(kind, &in_short(&error));
                self.first.get_or_insert(error);
                None
            }
        }
    }

    /// The groups of what came through, each with what did not.
    ///
    /// # Errors
    /// When nothing came through.
    pub(super) fn done(self, path: &Path, mut groups: Vec<Foreign>) -> Result<Vec<Foreign>, Error> {
        if groups.is_empty() {
            let reason = match self.first {
                Some(only) if self.rows == 1 => return Err(only),
                Some(_) => {
                    let named = self.left_out.named(NAMED).join("; ");
                    format!("none of its {} rows is a benchmark cell: {named}", self.rows)
                }
                None => "it has no rows".to_owned(),
            };
            return Err(Error::Refused { path: path.to_owned(), reason });
        }
        for group in &mut groups {
            group.left_out = self.left_out.clone();
        }
        Ok(groups)
    }
}

/// What a row says of itself where it is one of many: its place, the field and the reason.
fn in_short(error: &Error) -> String {
    match error {
        Error::Field { place, field, reason, .. } => {
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            format!("{place}`{field}` {reason}")
        }
        other => other.to_string(),
    }
}

/// A row in which somebody noted that the run failed.
fn said_failed(at: &At<'_>) -> Option<NoCell> {
    const NOTES: [&str; 6] =
        ["error", "error_message", "error_msg", "exception", "traceback", "failure_reason"];
    const OUTCOMES: [&str; 4] = ["status", "state", "outcome", "result"];
    const BAD: [&str; 14] = [
        "error",
        "errored",
        "failed",
        "failure",
        "fail",
        "oom",
        "out_of_memory",
        "out of memory",
        "crashed",
        "dead",
        "killed",
        "timeout",
        "timed_out",
        "aborted",
    ];
    for name in NOTES {
        match at.get(name) {
            Some(Node::Text(text)) if !text.trim().is_empty() => {
                return Some(at.no_cell(FAILED, name, format!("is `{}`", shown(text.trim()))));
            }
            Some(Node::Bool(true)) => return Some(at.no_cell(FAILED, name, "is true")),
            Some(Node::Object(fields)) if !fields.is_empty() => {
                return Some(at.no_cell(FAILED, name, "says why the run failed"));
            }
            _ => {}
        }
    }
    for name in OUTCOMES {
        if let Some(Node::Text(text)) = at.get(name)
            && BAD.iter().any(|bad| text.trim().eq_ignore_ascii_case(bad))
        {
            return Some(at.no_cell(FAILED, name, format!("is `{}`", shown(text.trim()))));
        }
    }
    for (name, bad) in [("oom", true), ("out_of_memory", true), ("success", false), ("ok", false)] {
        if at.get(name) == Some(&Node::Bool(bad)) {
            return Some(at.no_cell(FAILED, name, format!("is {bad}")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<Foreign>, String> {
        let path = Path::new("f");
        let text = format!("[{}]", texts.join(", "));
        let mut rows = Rows::open(path, text.as_bytes(), 1 << 20).expect("rows");
        let one = |at: &At<'_>| {
            at.needed("rate")?;
            Ok((String::new(), Foreign::default()))
        };
        records(path, &mut rows, one).map_err(|error| error.to_string())
    }

    #[test]
    fn a_dead_row_is_left_out_counted_and_named() {
        for dead in [
            r#"{"rate": 0}"#,
            r#"{"rate": null}"#,
            r#"{"rate": "NaN"}"#,
            r#"{"rate": "inf"}"#,
            "{}",
            r#"{"rate": 5, "error": "CUDA out of memory"}"#,
            r#"{"rate": 5, "status": "OOM"}"#,
            r#"{"rate": 5, "success": false}"#,
        ] {
            let groups = read(&[r#"{"rate": 5, "error": "", "status": "ok"}"#, dead]).expect(dead);
            assert_eq!(groups[0].left_out.count(), 1, "{dead}");
            assert!(groups[0].left_out.named(9)[0].starts_with("row 2: `"), "{dead}");
        }
    }

    #[test]
    fn a_file_of_nothing_else_is_refused_and_what_cannot_be_is_an_error() {
        let only = read(&[r#"{"rate": 0}"#]).expect_err("one dead row");
        assert_eq!(only, "f, row 1: `rate` is 0; nothing was measured there");
        let all = read(&[r#"{"rate": 0}"#, r#"{"oom": true}"#]).expect_err("two dead rows");
        assert!(all.starts_with("f: none of its 2 rows is a benchmark cell: row 1: `rate` is 0"), "{all}");
        assert!(all.contains("row 2: `oom` is true"), "{all}");
        let wrong = read(&[r#"{"rate": 5}"#, r#"{"rate": -5}"#]).expect_err("a negative rate");
        assert_eq!(wrong, "f, row 2: `rate` is -5, below 0");
        assert!(read(&[r#"{"rate": 5}"#, r#"{"rate": "fast"}"#]).is_err());
    }
}
