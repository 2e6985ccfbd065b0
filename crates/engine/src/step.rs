//! One level below [`Engine`](super::Engine): a back end that advances live sequences by one step.
//!
//! [`schedule`](super::schedule) decides what each step feeds and where its keys and values go; a back end
//! computes it. Everything a step needs lies flat in three arrays, so that a back end reads the tokens of all
//! sequences as the rows of one matrix, copies them to a device with one call each, and nothing is allocated
//! from one step to the next.

use crate::base::units::Seconds;

use super::{Capabilities, Error};

/// Positions that one page of the KV cache holds, for every layer and KV head.
pub const PAGE_POSITIONS: u32 = 64;

/// What a scheduler must know of a back end besides its [`Capabilities`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLimits {
    /// Token ids end before this number.
    pub vocabulary: u32,
    /// Pages that the KV cache has; they are numbered from 0.
    pub pages: u32,
    /// Most tokens that one step may feed, summed over its sequences; at least 1.
    pub tokens_per_step: u32,
}

/// A back end that advances live sequences by one step; [`Scheduled`](super::schedule::Scheduled) makes an
/// [`Engine`](super::Engine) of it.
pub trait StepEngine {
    /// What this back end is and can do with the model it holds.
    fn capabilities(&self) -> &Capabilities;

    /// Sizes that do not change while the model is loaded.
    fn limits(&self) -> StepLimits;

    /// Feeds each sequence its tokens: their keys and values go into the sequence's pages, and `output` is
    /// overwritten with the next token of each sequence that yields one.
    ///
    /// The scheduler promises that no two sequences of a step write to the same page, that a shared page
    /// is only read, and that every position before [`StepSequence::position`] was written by an earlier step.
    /// When this returns, the tokens are on the host and the device is done.
    ///
    /// # Errors
    /// [`Error::Step`] when the device fails; the scheduler then forgets what the cache held.
    fn step(&mut self, batch: &StepBatch<'_>, output: &mut StepOutput) -> Result<(), Error>;
}

/// Which logits a step returns along with the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogitsWanted {
    /// None: only the chosen tokens leave the device.
    #[default]
    Nothing,
    /// One row for each sequence that yields a token, in the batch's order.
    Yielded,
    /// One row for each token fed, in the batch's order; asked for only in steps of a few tokens.
    Every,
}

/// The live sequences of one step.
#[derive(Debug, Clone, Copy)]
pub struct StepBatch<'a> {
    /// Tokens to feed, one sequence behind the other, in the order of `sequences`.
    pub tokens: &'a [u32],
    /// Pages of the KV cache, one sequence behind the other.
    pub pages: &'a [u32],
    /// One entry for each sequence that is fed, at least one.
    pub sequences: &'a [StepSequence],
    /// Which logits to hand over.
    pub logits: LogitsWanted,
}

impl<'a> StepBatch<'a> {
    /// The tokens that `sequence` is fed.
    pub fn tokens_of(&self, sequence: &StepSequence) -> &'a [u32] {
        &self.tokens[sequence.first_token..][..sequence.token_count]
    }

    /// The pages of `sequence`, in order of position: page `i` holds the positions from
    /// `i × PAGE_POSITIONS` on, and the last one holds the last token fed.
    pub fn pages_of(&self, sequence: &StepSequence) -> &'a [u32] {
        &self.pages[sequence.first_page..][..sequence.page_count]
    }

    /// Whether every number in it is within what a back end has places for.
    ///
    /// # Errors
    /// What is wrong, for a scheduler's author.
    pub fn check(&self, limits: StepLimits) -> Result<(), String> {
        if self.tokens.len() > limits.tokens_per_step as usize {
            return Err(format!("{} tokens, and a step feeds {}", self.tokens.len(), limits.tokens_per_step));
        }
        if let Some(token) = self.tokens.iter().find(|token| **token >= limits.vocabulary) {
            return Err(format!("token {token} of a vocabulary of {}", limits.vocabulary));
        }
        if let Some(page) = self.pages.iter().find(|page| **page >= limits.pages) {
            return Err(format!("page {page} of {}", limits.pages));
        }
        for sequence in self.sequences {
            let end = sequence.position as usize + sequence.token_count;
            let within = sequence.token_count > 0
                && sequence.first_token + sequence.token_count <= self.tokens.len()
                && sequence.first_page + sequence.page_count <= self.pages.len()
                && end <= sequence.page_count * PAGE_POSITIONS as usize;
            if !within {
                return Err(format!("a sequence without the tokens or pages it names: {sequence:?}"));
            }
        }
        Ok(())
    }
}

/// What one sequence does in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepSequence {
    /// Where its tokens begin in [`StepBatch::tokens`].
    pub first_token: usize,
    /// How many tokens it is fed, at least one: a chunk of the prompt, or the one token that was decoded before.
    pub token_count: usize,
    /// Position of the first of them.
    pub position: u32,
    /// Where its pages begin in [`StepBatch::pages`].
    pub first_page: usize,
    /// How many pages hold its positions from 0 to the last token fed.
    pub page_count: usize,
    /// Whether the token after its last one is wanted: not if another chunk follows.
    pub yields: bool,
}

/// What a step yields. The scheduler keeps one and hands it to every step, so its vectors are allocated once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepOutput {
    /// The greedy choice for each sequence, in the batch's order; anything for one that yields none.
    pub next: Vec<u32>,
    /// The rows of logits that were asked for, `[rows × vocabulary]`, else empty.
    pub logits: Vec<f32>,
    /// Whether a row of logits from which a token was chosen held a NaN or an infinity.
    pub non_finite: bool,
    /// Time the device was busy with the step, where it can say so apart from the host's clock.
    pub device_time: Option<Seconds>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_beyond_the_limits_is_refused() {
        let limits = StepLimits { vocabulary: 100, pages: 4, tokens_per_step: 3 };
        let one = StepSequence {
            first_token: 0,
            token_count: 2,
            position: 63,
            first_page: 0,
            page_count: 2,
            yields: true,
        };
        let check = |tokens: &[u32], pages: &[u32], sequence: StepSequence| {
            let logits = LogitsWanted::Nothing;
            StepBatch { tokens, pages, sequences: &[sequence], logits }.check(limits)
        };
        assert_eq!(check(&[1, 99], &[3, 0], one), Ok(()));
        for (tokens, pages, sequence) in [
            (&[1, 2, 3, 4][..], &[0, 1][..], one),
            (&[1, 100], &[0, 1], one),
            (&[1, 2], &[0, 4], one),
            (&[1], &[0, 1], one),
            (&[1, 2], &[0], one),
            (&[1, 2], &[0, 1], StepSequence { token_count: 0, ..one }),
            (&[1, 2], &[0, 1], StepSequence { page_count: 1, ..one }),
            (&[1, 2], &[0, 1], StepSequence { first_token: 1, ..one }),
        ] {
            assert!(check(tokens, pages, sequence).is_err(), "{tokens:?} {pages:?} {sequence:?}");
        }
    }
}
