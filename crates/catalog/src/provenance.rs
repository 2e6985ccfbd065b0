//! Where a row comes from and how far it can be believed.
//!
//! A file may name its sources once in a `[sources]` table and refer to them by key; a row then carries the
//! text, never the key. A one-word source that is neither a key nor an address is refused: it says nothing.
//!
//! The day of a price is the one on which the source itself fetched it, else the one on which the source's file last
//! changed. A copy of a hand-kept file proves nothing newer, so a snapshot's own day is no day of its prices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a row can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Undated, or contradicted by another source.
    Low,
    /// A dated page that quotes it.
    Medium,
    /// The maker's or provider's own list. The default, for a user's own row.
    #[default]
    High,
}

/// The `[sources]` table of a file: key to text or address.
pub(super) type Sources = BTreeMap<String, String>;

/// The text behind `source`: the table's entry, else `source` itself when it says something.
///
/// # Errors
/// What is wrong with it and the way out, in words.
pub(super) fn resolve(source: &str, sources: &Sources) -> Result<String, String> {
    if let Some(text) = sources.get(source) {
        return Ok(text.clone());
    }
    if source.trim().contains([' ', '/', '.']) {
        return Ok(source.to_owned());
    }
    Err(format!(
        "source = {source:?} is neither a key of this file's [sources] table nor an address or sentence; \
         write where the number was read"
    ))
}
