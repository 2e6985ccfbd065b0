//! The tokens a row is fed: random, uniform over the vocabulary, the same for the same seed.
//!
//! Every trial has prompts of its own, so nothing that remembers a prompt can look fast; the context of
//! a row is the same in all its trials, so an engine may keep its KV cache.

use crate::base::random::SplitMix64;
use crate::engine::{Schedule, SequencePlan};

use super::plan::Row;

/// The schedule of trial `number` of `row`.
pub(super) fn schedule(row: &Row, vocabulary: u32, seed: u64, number: usize) -> Schedule {
    let sequences = (0..row.batch)
        .map(|sequence| {
            let place = u64::from(row.depth) << 32 | u64::from(sequence);
            let context = Tokens::new(seed, place, 0, vocabulary).take(row.context_tokens() as usize);
            let trial = number as u64 + 1;
            let prompt = Tokens::new(seed, place, trial, vocabulary).take(row.prompt_tokens() as usize);
            SequencePlan {
                context: context.collect(),
                prompt: prompt.collect(),
                output_tokens: row.output_tokens().max(1),
            }
        })
        .collect();
    Schedule { sequences }
}

/// Equally long contexts, one for each sequence of a batch, for comparing it with its sequences alone.
pub(super) fn contexts(batch: u32, tokens: u32, vocabulary: u32, seed: u64) -> Vec<Vec<u32>> {
    let of = |sequence| {
        Tokens::new(seed, u64::from(sequence), u64::MAX, vocabulary).take(tokens as usize).collect()
    };
    (0..batch).map(of).collect()
}

/// An endless stream of token ids.
struct Tokens {
    random: SplitMix64,
    vocabulary: u32,
}

impl Tokens {
    fn new(seed: u64, place: u64, trial: u64, vocabulary: u32) -> Self {
        Self { random: SplitMix64::new(seed).branch(place).branch(trial), vocabulary }
    }
}

impl Iterator for Tokens {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        Some(self.random.below(self.vocabulary))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::RowKind;

    #[test]
    fn prompts_are_new_each_trial_and_contexts_are_not() {
        let row = Row { kind: RowKind::Joint { prompt_tokens: 64, output_tokens: 4 }, batch: 2, depth: 32 };
        let (a, b) = (schedule(&row, 1000, 7, 0), schedule(&row, 1000, 7, 1));
        assert_eq!(a, schedule(&row, 1000, 7, 0));
        assert_ne!(a, schedule(&row, 1000, 8, 0));
        assert_eq!(a.sequences[0].context, b.sequences[0].context);
        assert_ne!(a.sequences[0].prompt, b.sequences[0].prompt);
        assert_ne!(a.sequences[0].prompt, a.sequences[1].prompt);
        assert_ne!(a.sequences[0].context, a.sequences[1].context);
        assert_eq!((a.sequences[0].context.len(), a.sequences[0].prompt.len()), (32, 64));
    }

    #[test]
    fn tokens_fill_the_vocabulary_evenly() {
        let mut counts = [0u32; 10];
        for token in Tokens::new(1, 2, 3, 10).take(100_000) {
            counts[token as usize] += 1;
        }
        // Standard deviation of a count is 95.
        assert!(counts.iter().all(|&count| count.abs_diff(10_000) < 500), "{counts:?}");
    }
}
