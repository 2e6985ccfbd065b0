//! Reads rows from CSV, and from the `INSERT` statements of llama-bench's SQL output.
//!
//! Both quote every value, including numbers, so only the reader of a field can distinguish numbers from strings. Of SQL
//! only the form that llama-bench prints is supported: `INSERT INTO name (columns) VALUES (literals);`.

use std::io::{self, Read};
use std::path::Path;

use super::Error;
use super::fields::Row;
use super::json::{Fields, Node, Source, shown};
use super::lines::{LINE_BYTES, Skipped, io_error};

/// Maximum number of columns: far more than any tool writes.
const MOST_COLUMNS: usize = 1000;

/// Why a Markdown table is rejected.
pub(super) const MARKDOWN: &str = "a Markdown table has rounded figures and no samples; run llama-bench with `-o jsonl`, llama-batched-bench with `--output-format jsonl`";

/// Whether a line belongs to a Markdown table.
pub(super) fn is_markdown(line: &str) -> bool {
    line.starts_with('|') || line.starts_with("main: n_kv_max") || line.contains("n_kv_max =")
}

/// Whether a line starts an SQL statement.
pub(super) fn starts_statement(line: &str) -> bool {
    let line = line.trim_start().to_ascii_lowercase();
    line.starts_with("create table") || line.starts_with("insert into")
}

/// Whether a line is the header of llama-bench's CSV.
pub(super) fn is_header(line: &str) -> bool {
    line.contains("n_prompt,") || line.contains("\"n_prompt\",")
}

/// The rows of a CSV file with a header.
#[derive(Debug)]
pub(super) struct Csv {
    header: csv::StringRecord,
    /// Whether the last row began with a quote, so that a line without one is not a row.
    quoted: bool,
}

impl Csv {
    /// Reads the header.
    pub(super) fn new(path: &Path, source: &mut Source<impl Read>) -> Result<Self, Error> {
        let header = record(path, source)?.map_or_else(csv::StringRecord::new, |(_, header)| header);
        columns(path, header.len(), Some(source.line().saturating_sub(1).max(1)))?;
        Ok(Self { header, quoted: false })
    }

    /// The next row, skipping log lines.
    pub(super) fn row(
        &mut self,
        path: &Path,
        source: &mut Source<impl Read>,
        skipped: &mut Skipped,
    ) -> Result<Option<Row>, Error> {
        loop {
            source.blank_around().map_err(|error| io_error(path, error))?;
            let line = source.line();
            let quoted = source.peek().map_err(|error| io_error(path, error))? == Some(b'"');
            let Some((text, record)) = record(path, source)? else { return Ok(None) };
            if record.len() != self.header.len() {
                if !quoted && (self.quoted || (record.len() == 1 && text.contains(' '))) {
                    skipped.take(text.as_bytes());
                    continue;
                }
                let reason = format!(
                    "it is not valid CSV ({} values for {} columns); is the copy incomplete?",
                    record.len(),
                    self.header.len()
                );
                return Err(Error::Syntax { path: path.to_owned(), line: Some(line), reason });
            }
            self.quoted = quoted;
            let named = self.header.iter().zip(&record);
            let fields: Fields = named.map(|(name, value)| (name.into(), Node::Text(value.into()))).collect();
            return Ok(Some(Row { place: format!("line {line}"), quoted: true, fields }));
        }
    }
}

/// The values of the next line, joined with the following ones while a quote is open.
fn record(path: &Path, source: &mut Source<impl Read>) -> Result<Option<(String, csv::StringRecord)>, Error> {
    let line = source.line();
    let next = |source: &mut Source<_>| -> Result<Option<String>, Error> {
        source.take_line(LINE_BYTES).map_err(|error| io_error(path, error))
    };
    let Some(mut text) = next(source)? else { return Ok(None) };
    let bad = |reason: String| Error::Syntax { path: path.to_owned(), line: Some(line), reason };
    while text.starts_with('"') && text.matches('"').count() % 2 == 1 {
        let more = next(source)?
            .ok_or_else(|| bad("the file ends inside a quoted value; is the copy incomplete?".to_owned()))?;
        if text.len() > LINE_BYTES {
            return Err(bad("it is not valid CSV (an unterminated quoted value)".to_owned()));
        }
        text.push('\n');
        text.push_str(&more);
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record).map_err(|error| bad(format!("it is not valid CSV ({error})")))?;
    Ok(Some((text, record)))
}

/// The row of the next `INSERT` statement; everything else is a schema or a log, and skipped.
pub(super) fn sql_row(path: &Path, source: &mut Source<impl Read>) -> Result<Option<Row>, Error> {
    loop {
        let number = source.line();
        let found: io::Result<Option<String>> = source.take_line(LINE_BYTES);
        let Some(line) = found.map_err(|error| io_error(path, error))? else { return Ok(None) };
        let Some(rest) = after_word(&line, "insert").and_then(|rest| after_word(rest, "into")) else {
            continue;
        };
        return statement(path, rest, number).map(Some);
    }
}

/// `name (columns) VALUES (literals);`
fn statement(path: &Path, rest: &str, line: usize) -> Result<Row, Error> {
    let bad = |reason: String| Error::Syntax { path: path.to_owned(), line: Some(line), reason };
    let expected = "expected `INSERT INTO name (columns) VALUES (literals);` on one line";
    let (_, rest) = rest.split_once('(').ok_or_else(|| bad(expected.to_owned()))?;
    let (names, rest) = rest.split_once(')').ok_or_else(|| bad(expected.to_owned()))?;
    let rest = after_word(rest, "values").and_then(|rest| rest.trim_start().strip_prefix('('));
    let values = literals(rest.ok_or_else(|| bad(expected.to_owned()))?).map_err(bad)?;
    let names: Vec<&str> = names.split(',').map(|name| name.trim().trim_matches(['"', '`'])).collect();
    columns(path, names.len(), Some(line))?;
    if names.len() != values.len() {
        return Err(bad(format!("{} columns and {} values", names.len(), values.len())));
    }
    let named = names.into_iter().zip(values);
    let fields: Fields = named.map(|(name, value)| (name.into(), Node::Text(value.into()))).collect();
    Ok(Row { place: format!("line {line}"), quoted: true, fields })
}

fn columns(path: &Path, count: usize, line: Option<usize>) -> Result<(), Error> {
    if count <= MOST_COLUMNS {
        return Ok(());
    }
    Err(Error::Syntax {
        path: path.to_owned(),
        line,
        reason: format!("{count} columns, more than the limit of {MOST_COLUMNS}"),
    })
}

/// The text after `word` at the beginning of `text`, ignoring case.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (head, rest) = (text.get(..word.len())?, text.get(word.len()..)?);
    head.eq_ignore_ascii_case(word).then_some(rest)
}

/// The literals up to the closing parenthesis; quotes within them are doubled.
fn literals(text: &str) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut value = String::new();
        if chars.next_if_eq(&'\'').is_some() {
            loop {
                match chars.next() {
                    Some('\'') if chars.next_if_eq(&'\'').is_some() => value.push('\''),
                    Some('\'') => break,
                    Some(c) => value.push(c),
                    None => {
                        return Err("the line ends inside a quoted value; is the file truncated?".to_owned());
                    }
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| !matches!(c, ',' | ')')) {
                value.push(c);
            }
        }
        values.push(value);
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.next() {
            Some(',') => {}
            Some(')') => return Ok(values),
            Some(c) => {
                return Err(format!("`{}` follows a value; expected `,` or `)`", shown(&c.to_string())));
            }
            None => return Err("the line ends before `)`; is the file truncated?".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(path: &Path, text: &str) -> Result<Vec<Row>, Error> {
        let mut source = Source::new(text.as_bytes());
        std::iter::from_fn(|| sql_row(path, &mut source).transpose()).collect()
    }

    fn csv(path: &Path, text: &str) -> Result<Vec<Row>, Error> {
        let mut source = Source::new(text.as_bytes());
        let mut csv = Csv::new(path, &mut source)?;
        let mut skipped = Skipped::default();
        std::iter::from_fn(|| csv.row(path, &mut source, &mut skipped).transpose()).collect()
    }

    #[test]
    fn a_quote_and_a_comma_within_a_value() {
        let text = "CREATE TABLE t (a TEXT);\nINSERT INTO t (a, b, c) VALUES ('it''s, (x)', '-1.5', 7);";
        let rows = sql(Path::new("f"), text).expect("SQL");
        let text = |text: &str| Node::Text(text.into());
        assert_eq!(rows[0].place, "line 2");
        assert_eq!(rows[0].fields[0], ("a".into(), text("it's, (x)")));
        assert_eq!([&rows[0].fields[1].1, &rows[0].fields[2].1], [&text("-1.5"), &text("7")]);
        let rows = csv(Path::new("f"), "a,b\n\"x, \"\"y\"\"\",\"2\"\n").expect("CSV");
        assert_eq!(rows[0].fields[0].1, text("x, \"y\""));
        assert_eq!((rows[0].place.as_str(), &rows[0].fields[1].1), ("line 2", &text("2")));
    }

    #[test]
    fn a_cut_line_is_named() {
        for (text, expected) in [
            ("INSERT INTO t (a) VALUES ('x", "f:1: the line ends inside a quoted value"),
            ("\nINSERT INTO t (a) VALUES ('x'", "f:2: the line ends before `)`"),
            ("INSERT INTO t (a) VALUES ('x' 'y')", "f:1: `'` follows a value"),
            ("INSERT INTO t (a, b) VALUES ('x')", "f:1: 2 columns and 1 values"),
            ("INSERT INTO t", "f:1: expected `INSERT INTO"),
        ] {
            let message = sql(Path::new("f"), text).expect_err(text).to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        let message = csv(Path::new("f"), "a,b\n1\n").expect_err("a short row").to_string();
        assert!(message.starts_with("f:2: it is not valid CSV"), "{message}");
    }
}
