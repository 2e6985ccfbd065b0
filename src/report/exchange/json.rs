//! JSON of another tool's file: [`crate::base::json`], and a stranger's text in a message.

#[cfg(test)]
pub(super) use crate::base::json::parse;
pub(super) use crate::base::json::{Fields, Limits, Node, Parser, Source, Stop, get, number_value, values};
pub(super) use crate::base::text::shown;
