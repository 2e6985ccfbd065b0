//! What tests of several rooms do to other tools' files.

use infercost_base::json::{Broken, Node, values};

/// The one value of a text.
pub fn json(text: &str) -> Result<Node, Broken> {
    values(text).next().expect("a value").map(|(_, node)| node)
}

/// The text with its `nth` number replaced.
pub fn with_number(text: &str, nth: usize, replacement: &str) -> String {
    let digit = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | 'e' | '+');
    let mut starts: Vec<usize> = Vec::new();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if c.is_ascii_digit() && !digit(before) && !before.is_alphanumeric() && before != '_' {
            starts.push(at);
        }
        before = c;
    }
    let Some(&start) = starts.get(nth % starts.len().max(1)) else { return text.to_owned() };
    let length = text[start..].find(|c| !digit(c)).unwrap_or(text.len() - start);
    format!("{}{replacement}{}", &text[..start], &text[start + length..])
}
