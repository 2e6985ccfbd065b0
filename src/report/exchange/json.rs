//! JSON of another tool's file: [`crate::base::json`], and sanitized text for messages.

pub(super) use crate::base::json::{
    Fields, Limits, Node, Parser, RESULT_FIELDS, Source, Stop, get, number_value, values,
};
pub(super) use crate::base::text::shown;
#[cfg(test)]
pub(super) use infercost_testing::json as parse;

/// A non-finite number as a word, as Python and others write it.
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
