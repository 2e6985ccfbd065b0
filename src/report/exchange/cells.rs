//! Rows that are not benchmark cells: skipped, counted and listed, so that one of them does not fail the rest of the file.
//!
//! A dead run of a sweep, a row that ran out of memory and a row of another kind contain nothing wrong, just nothing to
//! import; a row with impossible values is still an error, and so is a file without a single cell.

use std::path::Path;

use super::Error;
use super::fields::{At, Row};
use super::foreign::{Foreign, each, merge};
use super::json::{Node, shown};
use super::left_out::{LeftOut, NoCell};
use super::physical;
use super::rows::Rows;

/// Skipped rows listed in a message; the rest is counted.
const NAMED: usize = 5;

/// A row in which a tool or script recorded a failure.
const FAILED: &str = "with an error";

/// The records in a file of rows: rows for which `one` returns the same text are merged.
pub(super) fn records(
    path: &Path,
    rows: &mut Rows<'_>,
    one: impl Fn(&At<'_>) -> Result<(String, Foreign), NoCell>,
) -> Result<Vec<Foreign>, Error> {
    let mut filter = RowFilter::default();
    let one = |at: &At<'_>| {
        let found = one(at)?;
        physical::check(at, &found.1)?;
        Ok(found)
    };
    let found = merge(path, rows.filter_map(|row| filter.row(path, row, one)))?;
    filter.done(path, found)
}

/// The records in a file in which each row is a separate run.
pub(super) fn separate(
    path: &Path,
    rows: &mut Rows<'_>,
    one: impl Fn(&At<'_>) -> Result<Foreign, NoCell>,
) -> Result<Vec<Foreign>, Error> {
    let mut filter = RowFilter::default();
    let one = |at: &At<'_>| {
        let found = one(at)?;
        physical::check(at, &found)?;
        Ok(found)
    };
    let found = each(path, rows.filter_map(|row| filter.row(path, row, one)))?;
    filter.done(path, found)
}

/// Passes rows that are cells, and records the others.
#[derive(Debug, Default)]
pub(super) struct RowFilter {
    rows: usize,
    left_out: LeftOut,
    /// The error of the first skipped row.
    first: Option<Error>,
}

impl RowFilter {
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

    /// The same for an object within a file.
    pub(super) fn object<T>(
        &mut self,
        at: &At<'_>,
        one: impl FnOnce(&At<'_>) -> Result<T, NoCell>,
    ) -> Option<Result<T, Error>> {
        self.rows += 1;
        match reported_failure(at).map_or_else(|| one(at), Err) {
            Ok(found) => Some(Ok(found)),
            Err(NoCell::Broken(error)) => Some(Err(error)),
            Err(NoCell::LeftOut(kind, error)) => {
                self.left_out.add(kind, &brief(&error));
                self.first.get_or_insert(error);
                None
            }
        }
    }

    /// The resulting groups, each with the list of skipped rows.
    ///
    /// # Errors
    /// If no row passed.
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

/// A short description of a row among many: its place, the field and the reason.
fn brief(error: &Error) -> String {
    match error {
        Error::Field { place, field, reason, .. } => {
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            format!("{place}`{field}` {reason}")
        }
        other => other.to_string(),
    }
}

/// The error of a row that reports a failed run.
fn reported_failure(at: &At<'_>) -> Option<NoCell> {
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
                return Some(at.no_cell(FAILED, name, "describes why the run failed"));
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
        assert_eq!(only, "f, row 1: `rate` is 0, so nothing was measured");
        let all = read(&[r#"{"rate": 0}"#, r#"{"oom": true}"#]).expect_err("two dead rows");
        assert!(all.starts_with("f: none of its 2 rows is a benchmark cell: row 1: `rate` is 0"), "{all}");
        assert!(all.contains("row 2: `oom` is true"), "{all}");
        let wrong = read(&[r#"{"rate": 5}"#, r#"{"rate": -5}"#]).expect_err("a negative rate");
        assert_eq!(wrong, "f, row 2: `rate` is -5, which is negative");
        assert!(read(&[r#"{"rate": 5}"#, r#"{"rate": "fast"}"#]).is_err());
    }
}
