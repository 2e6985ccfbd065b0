//! A list of lists of numbers, stored flat with the length of each: the gaps between the tokens of each request.

use super::Node;

/// Marks a `null` among the lists.
const NULL: u32 = u32::MAX;

/// Lists of numbers, concatenated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lists {
    numbers: Vec<f64>,
    lengths: Vec<u32>,
}

impl Lists {
    /// All numbers.
    pub fn numbers(&self) -> &[f64] {
        &self.numbers
    }

    /// The number of lists.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Each list; `None` for a `null`.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[f64]>> {
        let mut rest = self.numbers.as_slice();
        self.lengths.iter().map(move |length| {
            if *length == NULL {
                return None;
            }
            let (list, tail) = rest.split_at(*length as usize);
            rest = tail;
            Some(list)
        })
    }

    pub(super) fn has_null(&self) -> bool {
        self.lengths.contains(&NULL)
    }

    /// Appends a list, or a `null`.
    pub(super) fn push(&mut self, node: &Node) {
        match node {
            Node::Numbers(numbers) => {
                self.numbers.extend_from_slice(numbers);
                self.lengths.push(u32::try_from(numbers.len()).unwrap_or(NULL - 1));
            }
            _ => self.lengths.push(NULL),
        }
    }

    pub(super) fn into_nodes(self) -> Vec<Node> {
        self.iter().map(|list| list.map_or(Node::Null, |list| Node::Numbers(list.into()))).collect()
    }
}
