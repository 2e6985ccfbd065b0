//! Per-request figures in a client's file, excluding failed requests.
//!
//! vLLM's and SGLang's clients write an entry for each request sent: a failed one has no output, a first token after
//! 0 seconds and no gaps, none of which was measured.

use super::Error;
use super::fields::{At, check};
use super::json::Node;

/// Lists with one entry per request.
const ENTRY_EACH: [&str; 4] = ["errors", "output_lens", "ttfts", "itls"];

/// Which entries of the file's lists belong to completed requests.
#[derive(Debug)]
pub(super) struct Requests {
    /// For each request, whether it completed; `None` if all did, or if unknown.
    completed: Option<Vec<bool>>,
    /// What a reader should know.
    pub(super) note: Option<String>,
}

impl Requests {
    /// For a file that states how many completed.
    pub(super) fn of(at: &At<'_>, completed: u64) -> Self {
        let lists = ENTRY_EACH.map(|name| at.get(name).and_then(entries));
        let Some(all) = lists.iter().flatten().map(Vec::len).find(|length| *length > 0) else {
            return Self { completed: None, note: None };
        };
        let [errors, lengths, firsts, gaps] = lists.map(|list| list.filter(|list| list.len() == all));
        let named = |index: usize| errors.as_ref().is_some_and(|list| list[index].is_error());
        let by_error: Vec<bool> = (0..all).map(|index| !named(index)).collect();
        let count = |mask: &[bool]| mask.iter().filter(|done| **done).count() as u64;
        // A request without an error may have no output; it counts as failed only if that matches the count.
        let placeholder = |index: usize| {
            let at = |list: &Option<Vec<Entry>>| list.as_ref().map(|list| list[index]);
            match (at(&lengths), at(&firsts), at(&gaps)) {
                (Some(length), _, _) => length.is_nothing(),
                (None, Some(first), _) => first.is_nothing(),
                (None, None, Some(gaps)) => gaps.is_nothing(),
                (None, None, None) => false,
            }
        };
        let mask: Vec<bool> = if count(&by_error) > completed {
            by_error.iter().enumerate().map(|(index, done)| *done && !placeholder(index)).collect()
        } else {
            by_error
        };
        let found = count(&mask);
        let note = (found != completed).then(|| {
            format!("its lists have {found} completed requests, but `completed` is {completed}: samples and figures do not match exactly")
        });
        Self { completed: mask.contains(&false).then_some(mask), note }
    }

    /// The entries of a list of numbers.
    pub(super) fn list(&self, at: &At<'_>, field: &str) -> Result<Vec<f64>, Error> {
        let kept = |index: &usize, of| self.completed(*index, of);
        let number = |(index, number): (usize, f64)| {
            check(number).map_err(|reason| at.error(&format!("{field}[{index}]"), reason))
        };
        match at.get(field) {
            Some(Node::Numbers(numbers)) => {
                let all = numbers.iter().copied().enumerate();
                all.filter(|(index, _)| kept(index, numbers.len())).map(number).collect()
            }
            Some(node @ Node::List(_)) => {
                let list = entries(node).unwrap_or_default();
                let mut found = Vec::with_capacity(list.len());
                for (index, entry) in list.iter().enumerate().filter(|(index, _)| kept(index, list.len())) {
                    match entry {
                        Entry::Number(value) => found.push(number((index, *value))?),
                        Entry::Nothing => {}
                        // The error for a list with other content.
                        _ => return at.list(field).map(|_| found),
                    }
                }
                Ok(found)
            }
            _ => at.list(field).map(|list| list.unwrap_or_default().into_owned()),
        }
    }

    /// The entries of lists of numbers, one list per request, concatenated.
    pub(super) fn lists(&self, at: &At<'_>, field: &str) -> Result<Vec<f64>, Error> {
        let mut found = Vec::new();
        let mut take = |index: usize, of: usize, list: &[f64]| -> Result<(), Error> {
            if self.completed(index, of) {
                for number in list {
                    let error = |reason| at.error(&format!("{field}[{index}]"), reason);
                    found.push(check(*number).map_err(error)?);
                }
            }
            Ok(())
        };
        match at.get(field) {
            Some(Node::Lists(lists)) => {
                for (index, list) in lists.iter().enumerate() {
                    take(index, lists.len(), list.unwrap_or_default())?;
                }
            }
            Some(Node::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    match item {
                        Node::Numbers(list) => take(index, items.len(), list)?,
                        Node::Null => {}
                        // Skip a gap that was not measured among others that were.
                        Node::List(list) => {
                            take(index, items.len(), &at.numbers_of(&format!("{field}[{index}]"), list)?)?;
                        }
                        // The error for a value that is not a list.
                        _ => return at.pooled(field).map(Option::unwrap_or_default),
                    }
                }
            }
            _ => return at.pooled(field).map(Option::unwrap_or_default),
        }
        Ok(found)
    }

    fn completed(&self, index: usize, of: usize) -> bool {
        self.completed.as_ref().filter(|mask| mask.len() == of).is_none_or(|mask| mask[index])
    }
}

/// An entry of a list.
#[derive(Debug, Clone, Copy)]
enum Entry {
    Number(f64),
    /// `null`, or a number that is not finite.
    Nothing,
    /// A string, and whether it is non-empty.
    Text(bool),
    /// A list, and whether it is empty.
    List(bool),
    Other,
}

impl Entry {
    fn is_error(self) -> bool {
        matches!(self, Self::Text(true) | Self::Other)
    }

    /// Whether the entry is the placeholder of a failed request.
    fn is_nothing(self) -> bool {
        match self {
            Self::Number(number) => number <= 0.0,
            Self::Nothing | Self::List(true) => true,
            Self::Text(_) | Self::List(false) | Self::Other => false,
        }
    }
}

fn entries(node: &Node) -> Option<Vec<Entry>> {
    let entry = |node: &Node| match node {
        Node::Number(number) => Entry::Number(*number),
        Node::Null => Entry::Nothing,
        node if super::json::not_finite(node).is_some() => Entry::Nothing,
        Node::Text(text) => Entry::Text(!text.trim().is_empty()),
        Node::Numbers(numbers) => Entry::List(numbers.is_empty()),
        Node::List(_) => Entry::List(false),
        Node::Long(_) => Entry::Text(true),
        Node::Bool(_) | Node::Object(_) | Node::Lists(_) | Node::Table(_) => Entry::Other,
    };
    match node {
        Node::Numbers(numbers) => Some(numbers.iter().copied().map(Entry::Number).collect()),
        Node::Lists(lists) => Some(
            lists
                .iter()
                .map(|list| list.map_or(Entry::Nothing, |list| Entry::List(list.is_empty())))
                .collect(),
        ),
        Node::List(items) => Some(items.iter().map(entry).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::fields::Row;
    use super::super::json::parse;
    use super::*;

    fn samples(text: &str, completed: u64) -> (Vec<f64>, Vec<f64>, Option<String>) {
        let Node::Object(fields) = parse(text).expect("JSON") else { panic!("an object") };
        let row = Row { place: String::new(), quoted: false, fields };
        let at = At::new(Path::new("f"), &row);
        let requests = Requests::of(&at, completed);
        let (firsts, gaps) = (requests.list(&at, "ttfts"), requests.lists(&at, "itls"));
        (firsts.expect("numbers"), gaps.expect("lists"), requests.note)
    }

    #[test]
    fn a_failed_request_is_in_no_distribution() {
        // By its error, although a token had come.
        let text = r#"{"ttfts": [0.5, 0.1, 0.2], "itls": [[0.9], [0.01], [0.02]], "errors": ["reset", "", null], "output_lens": [4, 2, 2]}"#;
        assert_eq!(samples(text, 2), (vec![0.1, 0.2], vec![0.01, 0.02], None));
        // By the placeholder entry, if the file has no errors.
        for nothing in ["0", "-1", "null"] {
            let text = format!(r#"{{"ttfts": [{nothing}, 0.1], "itls": [[], [0.01]]}}"#);
            assert_eq!(samples(&text, 1), (vec![0.1], vec![0.01], None), "{nothing}");
        }
        let text = r#"{"ttfts": [0.0, 0.1], "itls": [[], []], "output_lens": [0, 1], "errors": ["", ""]}"#;
        assert_eq!(samples(text, 1), (vec![0.1], vec![], None));
    }

    #[test]
    fn a_gap_that_was_not_measured_is_left_out() {
        let text = r#"{"ttfts": [0.1, NaN, 0.2], "itls": [[0.01, NaN, 0.02], [], [null, 0.03]]}"#;
        assert_eq!(samples(text, 3), (vec![0.1, 0.2], vec![0.01, 0.02, 0.03], None));
    }

    #[test]
    fn a_request_without_output_that_completed_stays() {
        let text =
            r#"{"ttfts": [0.3, 0.1], "itls": [[], [0.01]], "output_lens": [0, 2], "errors": ["", ""]}"#;
        assert_eq!(samples(text, 2), (vec![0.3, 0.1], vec![0.01], None));
        let (firsts, _, note) = samples(text, 3);
        assert_eq!(firsts.len(), 2);
        assert!(note.is_some_and(|note| note.contains("`completed` is 3")));
    }
}
