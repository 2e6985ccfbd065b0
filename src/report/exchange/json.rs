//! JSON of another tool's file: [`crate::base::json`], with the file's name in the errors.

use std::path::Path;

#[cfg(test)]
pub(super) use crate::base::json::parse;
pub(super) use crate::base::json::{Fields, Node, get, number_value, quote_not_numbers};
pub(super) use crate::base::text::shown;

use super::Error;

/// The values of a text, one behind the other, each with the line on which it begins.
pub(super) fn values<'a>(
    path: &'a Path,
    text: &'a str,
) -> impl Iterator<Item = Result<(usize, Node), Error>> + 'a {
    crate::base::json::values(text).map(move |value| {
        value.map_err(|broken| Error::Syntax {
            path: path.to_owned(),
            line: Some(broken.line),
            reason: broken.reason,
        })
    })
}
