//! What the prompts of a load are made of.

use std::ops::Range;

use crate::workload::Prompts;

use super::Error;

/// Token ids that every vocabulary in use has and that are no special tokens in any.
const COMMON_IDS: Range<u32> = 1000..20_000;

/// What prompts are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompting {
    /// Tokens in the model's vocabulary, where that is known.
    pub vocabulary: Option<u64>,
    /// Words in place of token ids.
    pub as_text: bool,
}

impl Prompting {
    /// Prompts for the row with this number, unlike those of any other row; all begin with the same `shared` tokens.
    ///
    /// # Errors
    /// When the vocabulary is too small for any.
    pub fn prompts(self, salt: u64, row: usize, shared: u32) -> Result<Prompts, Error> {
        Ok(Prompts::new(salt.wrapping_add(row as u64), ids(self.vocabulary), shared)?)
    }

    /// As a record says it.
    pub fn in_words(self) -> &'static str {
        if self.as_text { "random common words" } else { "random token ids" }
    }
}

/// Ids for random prompts: in the middle of a small vocabulary, since special tokens stand at its ends.
fn ids(vocabulary: Option<u64>) -> Range<u32> {
    match vocabulary.and_then(|size| u32::try_from(size).ok()) {
        Some(size) if size / 10 * 9 < COMMON_IDS.end => size / 10..size / 10 * 9,
        _ => COMMON_IDS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_keep_off_the_ends_of_a_small_vocabulary() {
        assert_eq!(ids(None), 1000..20_000);
        assert_eq!(ids(Some(128_256)), 1000..20_000);
        assert_eq!(ids(Some(2000)), 200..1800);
        assert_eq!(ids(Some(20_000)), 2000..18_000);
    }
}
