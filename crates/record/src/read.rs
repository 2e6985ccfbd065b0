//! Reads records, this version's and older ones.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::{Error, Record, SCHEMA, Unknown};
use crate::base::redact;

/// The way out for what is no record.
const FOREIGN: &str = "if another tool wrote it, `bench import FILE` reads it";

/// Reads one record.
///
/// # Errors
/// [`Error::Missing`] when there is no such file, [`Error::Unreadable`] when it is no record of a known
/// schema; the message names the field.
pub fn read(path: &Path) -> Result<Record, Error> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::Unreadable { path: path.to_owned(), reason: error.to_string() },
    })?;
    parse(&text).map_err(|reason| Error::Unreadable { path: path.to_owned(), reason })
}

/// Reads a record from its text; the error says which field is wrong.
///
/// # Errors
/// One sentence that names the field or the schema found.
pub fn parse(text: &str) -> Result<Record, String> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON ({error}); {FOREIGN}"))?;
    match value.get("schema").and_then(serde_json::Value::as_str) {
        Some(SCHEMA) => {}
        Some(other) => {
            return Err(format!(
                "its schema is `{other}`, but this version reads `{SCHEMA}`; a newer schema needs a newer `bench`"
            ));
        }
        None => {
            return Err(format!("the field `schema` is missing, which is `{SCHEMA}` in a record; {FOREIGN}"));
        }
    }
    let mut record: Record = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // What an older version kept is not shown again.
    record.command.argv = redact::words(&record.command.argv);
    if let Some(imported) = &mut record.imported {
        let without =
            |fields: &mut Unknown| *fields = redact::object("", std::mem::take(fields), &mut Vec::new());
        without(&mut imported.fields);
        imported.rows.iter_mut().for_each(without);
    }
    Ok(record)
}

/// Whether a text is another file that this program writes, such as a gate's verdict.
pub(super) fn is_of_ours(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: String,
    }
    serde_json::from_str(text).is_ok_and(|Schema { schema }| {
        schema.starts_with("infercost.") && !schema.starts_with("infercost.record/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::to_json;

    /// Records of earlier versions: every line comes back, in order, among fields that are new since. A number may differ in
    /// its last digit, as JSON readers go.
    #[test]
    fn a_record_that_is_read_is_written_as_it_was() {
        let words = |line: &str| line.trim_end_matches(',').replace(|c: char| c.is_ascii_digit(), "");
        for name in ["llama-3.2-1b-cpu", "tiny"] {
            let path = format!("../../tests/data/records/{name}.json");
            let read = fs::read_to_string(&path).expect("a record");
            let written = to_json(&parse(&read).expect("readable")).expect("JSON");
            let mut left = written.lines();
            for line in read.lines() {
                assert!(left.any(|written| words(written) == words(line)), "{name}: {line}");
            }
        }
    }
}
