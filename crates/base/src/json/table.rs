//! A list of objects as columns of numbers: the requests of a run, of which each figure needs one number.

use super::Node;

/// The objects of a list, reduced to their numbers. Strings and nested values are not kept, only that they were present.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: Box<str>,
    /// NaN for rows without a number.
    numbers: Vec<f64>,
    /// The first row whose value is neither a number nor `null`.
    other: Option<usize>,
}

impl Table {
    /// Most distinct field names of all objects together.
    pub const MOST_COLUMNS: usize = 256;

    /// The number of objects.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The numbers under a name, each with the index of its object.
    ///
    /// # Errors
    /// The first object with a non-number there.
    pub fn column(&self, name: &str) -> Result<impl Iterator<Item = (usize, f64)> + '_, usize> {
        let column = self.columns.iter().find(|column| *column.name == *name);
        if let Some(row) = column.and_then(|column| column.other) {
            return Err(row);
        }
        let numbers = column.map_or(&[][..], |column| &column.numbers);
        Ok(numbers.iter().copied().enumerate().filter(|(_, number)| !number.is_nan()))
    }

    /// Adds a member of the current object to its column. `position` is the likely column, since the objects of a list have
    /// the same members in the same order. Returns `false` when there are too many names.
    pub(super) fn put(&mut self, position: &mut usize, name: &str, node: &Node) -> bool {
        let here = |column: &Column| *column.name == *name;
        let at = match self.columns.get(*position).filter(|column| here(column)) {
            Some(_) => *position,
            None => match self.columns.iter().position(here) {
                Some(at) => at,
                None if self.columns.len() == Self::MOST_COLUMNS => return false,
                None => {
                    self.columns.push(Column { name: name.into(), numbers: Vec::new(), other: None });
                    self.columns.len() - 1
                }
            },
        };
        *position = at + 1;
        let column = &mut self.columns[at];
        match node {
            Node::Number(number) => {
                // If a name occurs twice, the last value counts.
                column.numbers.truncate(self.rows);
                column.numbers.resize(self.rows, f64::NAN);
                column.numbers.push(*number);
            }
            Node::Null => {}
            Node::Text(word) if matches!(&**word, "NaN" | "Infinity" | "-Infinity") => {}
            _ => column.other = column.other.or(Some(self.rows)),
        }
        true
    }

    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }
}
