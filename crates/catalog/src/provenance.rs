//! Where a row comes from and how far it can be trusted.
//!
//! A file may name its sources once in a `[sources]` table and refer to them by key; a row then carries the
//! text, never the key. A one-word source that is neither a key nor an address is rejected as meaningless.
//!
//! The day of a price is the one on which the source itself fetched it, else the one on which the source's file last
//! changed. Copying a hand-maintained file proves nothing newer, so the date of a snapshot never dates its prices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a row can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Undated, or contradicted by another source.
    Low,
    /// A dated page that quotes it.
    Medium,
    /// The vendor's or provider's own list. The default, for a user's own row.
    #[default]
    High,
}

/// The `[sources]` table of a file: key to text or address.
pub(super) type Sources = BTreeMap<String, String>;

/// The text that `source` refers to: the table's entry, else `source` itself if it is meaningful.
///
/// # Errors
/// What is wrong with it and how to fix it.
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
