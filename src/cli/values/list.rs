//! Lists and ranges of numbers in llama-bench's notation.

use crate::run::plan::ranges;
use crate::run::session::Batch;

/// Numbers of a list; a type of its own, since clap gives `Vec` a meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct List(Vec<u32>);

impl List {
    /// The numbers of a flag that may be given more than once, in order.
    pub(in crate::cli) fn joined(lists: &[Self]) -> Vec<u32> {
        lists.iter().flat_map(|list| list.0.iter().copied()).collect()
    }
}

/// Numbers: `1,8,64` or `128-1024*2`.
pub(in crate::cli) fn list(text: &str) -> Result<List, String> {
    ranges::parse(text).map(List)
}

/// Parallel sequences: numbers, or `auto`.
pub(in crate::cli) fn batch(text: &str) -> Result<Batch, String> {
    if text == "auto" {
        return Ok(Batch::Auto);
    }
    let values = ranges::parse(text)?;
    if values.contains(&0) {
        return Err("a batch is at least 1 sequence".to_owned());
    }
    Ok(Batch::These(values))
}
