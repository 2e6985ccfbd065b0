//! Rows out of CSV, and out of the `INSERT` statements that llama-bench writes as SQL.
//!
//! Both quote every value, numbers too, so a number is told from a text only by whoever reads the field. SQL is read by the one
//! shape that llama-bench prints, `INSERT INTO name (columns) VALUES (literals);`, not as a language.

use std::path::Path;

use super::Error;
use super::fields::Row;
use super::json::{Fields, Node, shown};

/// Columns that a row may have: far more than any tool writes.
const MOST_COLUMNS: usize = 1000;

/// The rows of a CSV file with a header.
pub(super) fn csv(path: &Path, text: &str) -> Result<Vec<Row>, Error> {
    let bad = |error: &csv::Error| Error::Syntax {
        path: path.to_owned(),
        line: error.position().and_then(|at| usize::try_from(at.line()).ok()),
        reason: format!("it is not CSV ({error})"),
    };
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| bad(&error))?.clone();
    columns(path, header.len(), Some(1))?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| bad(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let fields: Fields =
            header.iter().zip(&record).map(|(name, value)| (name.into(), Node::Text(value.into()))).collect();
        rows.push(Row { place: format!("line {line}"), quoted: true, fields });
    }
    Ok(rows)
}

/// The rows of the `INSERT` statements; everything else is a schema, and passed over.
pub(super) fn sql(path: &Path, text: &str) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(rest) = after_word(line, "insert").and_then(|rest| after_word(rest, "into")) else {
            continue;
        };
        let line = index + 1;
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
        let fields: Fields = names
            .into_iter()
            .zip(values)
            .map(|(name, value)| (name.into(), Node::Text(value.into())))
            .collect();
        rows.push(Row { place: format!("line {line}"), quoted: true, fields });
    }
    Ok(rows)
}

fn columns(path: &Path, count: usize, line: Option<usize>) -> Result<(), Error> {
    if count <= MOST_COLUMNS {
        return Ok(());
    }
    Err(Error::Syntax {
        path: path.to_owned(),
        line,
        reason: format!("{count} columns, more than the {MOST_COLUMNS} that any tool writes"),
    })
}

/// What follows `word` at the beginning of `text`, whatever its case.
fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let (head, rest) = (text.get(..word.len())?, text.get(word.len()..)?);
    head.eq_ignore_ascii_case(word).then_some(rest)
}

/// The literals up to the closing parenthesis; a quote within one is doubled.
fn literals(text: &str) -> Result<Vec<String>, String> {
    let mut values = Vec::new();
    let mut signs = text.chars().peekable();
    loop {
        while signs.next_if(|sign| sign.is_whitespace()).is_some() {}
        let mut value = String::new();
        if signs.next_if_eq(&'\'').is_some() {
            loop {
                match signs.next() {
                    Some('\'') if signs.next_if_eq(&'\'').is_some() => value.push('\''),
                    Some('\'') => break,
                    Some(sign) => value.push(sign),
                    None => return Err("the line ends inside a quoted value; was the file cut?".to_owned()),
                }
            }
        } else {
            while let Some(sign) = signs.next_if(|sign| !matches!(sign, ',' | ')')) {
                value.push(sign);
            }
        }
        values.push(value);
        while signs.next_if(|sign| sign.is_whitespace()).is_some() {}
        match signs.next() {
            Some(',') => {}
            Some(')') => return Ok(values),
            Some(sign) => {
                return Err(format!("`{}` follows a value; expected `,` or `)`", shown(&sign.to_string())));
            }
            None => return Err("the line ends before `)`; was the file cut?".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(message.starts_with("f:2: it is not CSV"), "{message}");
    }
}
