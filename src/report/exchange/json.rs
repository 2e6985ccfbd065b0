//! JSON of another tool's file: [`crate::base::json`], and sanitized text for messages.

pub(super) use crate::base::json::{Fields, Limits, Node, Parser, Source, Stop, get, number_value, values};
pub(super) use crate::base::text::shown;
#[cfg(test)]
pub(super) use infercost_testing::json as parse;
