//! A list of objects as columns of numbers: each request of a run, of which a figure takes one number.

use super::Node;

/// Objects of a list by their numbers. Texts and what is nested in an object are not kept, only that they were there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: Box<str>,
    /// NaN where a row has none.
    numbers: Vec<f64>,
    /// The first row that has something else there than a number or `null`.
    other: Option<usize>,
}

impl Table {
    /// Names that the objects may have among them.
    pub const MOST_COLUMNS: usize = 256;

    /// The number of objects.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The numbers under a name, with the object that each is of.
    ///
    /// # Errors
    /// The first object that has something else there.
    pub fn column(&self, name: &str) -> Result<impl Iterator<Item = (usize, f64)> + '_, usize> {
        let column = self.columns.iter().find(|column| *column.name == *name);
        if let Some(row) = column.and_then(|column| column.other) {
            return Err(row);
        }
        let numbers = column.map_or(&[][..], |column| &column.numbers);
        Ok(numbers.iter().copied().enumerate().filter(|(_, number)| !number.is_nan()))
    }

    /// Puts a member of the object that comes into its column. `position` is where it probably is, since objects of a
    /// list have the same members in the same order. `false` when there are too many names.
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
                // A name that comes twice counts as it was last.
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
