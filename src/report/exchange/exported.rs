//! A record in another tool's format, with the rows that the format has no place for.

use serde_json::Value;

use crate::record::{Cell, Record};

/// What an export wrote, and what it left out.
#[derive(Debug)]
pub struct Exported {
    /// The rows or objects of the other tool.
    pub rows: Vec<Value>,
    /// Why rows of the record are not among them, with their names.
    left_out: Vec<(String, Vec<String>)>,
}

impl Exported {
    /// Of the rows that were written, and for each cell that was not the reason.
    pub(super) fn new(rows: Vec<Value>, not_written: impl IntoIterator<Item = (Cell, String)>) -> Self {
        let mut left_out: Vec<(String, Vec<String>)> = Vec::new();
        for (cell, reason) in not_written {
            match left_out.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, names)) => names.push(cell.label()),
                None => left_out.push((reason, vec![cell.label()])),
            }
        }
        Self { rows, left_out }
    }

    /// A sentence for each reason for which rows of `record` are missing.
    pub fn notes(&self, record: &Record) -> Vec<String> {
        let note = |(reason, names): &(String, Vec<String>)| {
            format!("record {}: without {}: {reason}", record.id, names.join(", "))
        };
        self.left_out.iter().map(note).collect()
    }

    /// The reasons in one sentence, for an export that has nothing else.
    pub(super) fn reasons(&self) -> String {
        let one = |(reason, names): &(String, Vec<String>)| format!("{}: {reason}", names.join(", "));
        self.left_out.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}

/// The cells of a record's figures, each once.
pub(super) fn cells(record: &Record) -> Vec<&Cell> {
    let mut cells: Vec<&Cell> = Vec::new();
    for cell in record.measurements.iter().filter_map(|measured| measured.cell.as_ref()) {
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    cells
}
