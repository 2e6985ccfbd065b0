//! What the prompts say: random tokens or words that no prefix cache has seen.
//!
//! A server that caches prefixes answers a prompt it knows without reading it, and a benchmark that sends the same prompts
//! twice measures the cache. So prompts follow from a salt that changes with each run, and each begins with its own index,
//! digit by digit in the base of the vocabulary through a salted permutation: no two requests of a run share their first
//! tokens, and those near each other not even the first one.

use std::ops::Range;

use crate::base::random::SplitMix64;
use crate::words::WORDS;
use crate::{Error, stream};

/// Prompts by a request's index: the same for the same salt, in whatever order they are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    salt: u64,
    ids: Range<u32>,
    shared: u32,
}

impl Prompts {
    /// Prompts of token ids in `ids`, which should leave special tokens out. The first `shared` tokens are the same in all
    /// measured requests, for who wants to measure a cache; 0 for none.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] when there are less than two ids: all prompts would be the same.
    pub fn new(salt: u64, ids: Range<u32>, shared: u32) -> Result<Self, Error> {
        if ids.len() < 2 {
            let (name, value) = ("number of token ids for prompts", ids.len() as f64);
            return Err(Error::OutOfRange { name, value, expected: "at least 2" });
        }
        Ok(Self { salt, ids, shared })
    }

    /// Puts the prompt of request `index`, `length` tokens long, into `prompt`. The warm-up has its own.
    pub fn tokens(&self, index: u32, warmup: bool, length: u32, prompt: &mut Vec<u32>) {
        prompt.clear();
        let first = self.ids.start;
        let number = self.ids.end - first;
        prompt.extend(self.numbers(index, warmup, number).take(length as usize).map(|below| first + below));
    }

    /// Puts a prompt of `length` common words into `prompt`, for servers that take text only. How many tokens that is, the
    /// tokenizer or the server's usage says.
    pub fn text(&self, index: u32, warmup: bool, length: u32, prompt: &mut String) {
        prompt.clear();
        for word in self.numbers(index, warmup, 256).take(length as usize) {
            if !prompt.is_empty() {
                prompt.push(' ');
            }
            prompt.push_str(WORDS[word as usize]);
        }
    }

    /// Numbers below `base`: the shared ones, the index, then random ones without an end.
    fn numbers(&self, index: u32, warmup: bool, base: u32) -> impl Iterator<Item = u32> {
        let of_salt = |part| SplitMix64::new(self.salt).branch(part);
        let mut shared = of_salt(stream::SHARED).branch(u64::from(warmup));
        let mut opening = of_salt(stream::OPENING);
        let mut body = of_salt(stream::BODY).branch(u64::from(warmup)).branch(u64::from(index));
        let shared = (0..self.shared).map(move |_| shared.below(base));
        let opening = (0..digits(base)).scan(index, move |rest, _| {
            let digit = *rest % base;
            *rest /= base;
            Some(permuted(digit, base, &mut opening))
        });
        shared.chain(opening).chain(std::iter::repeat_with(move || body.below(base)))
    }
}

/// How many digits every index has in `base`.
fn digits(base: u32) -> u32 {
    let all = u64::from(u32::MAX) + 1;
    (1..=32).find(|digits| u64::from(base).saturating_pow(*digits) >= all).unwrap_or(32)
}

/// Where a random permutation of `0..base` of the form a·x + b puts `digit`.
fn permuted(digit: u32, base: u32, random: &mut SplitMix64) -> u32 {
    let factor = loop {
        let factor = 1 + random.below(base - 1);
        if divisor(factor, base) == 1 {
            break u64::from(factor);
        }
    };
    let moved = (factor * u64::from(digit) + u64::from(random.below(base))) % u64::from(base);
    u32::try_from(moved).unwrap_or(0)
}

/// The greatest common divisor (Euclid).
fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const IDS: Range<u32> = 1000..9000;

    fn prompts(salt: u64, shared: u32) -> Prompts {
        Prompts::new(salt, IDS, shared).expect("8,000 ids")
    }

    fn tokens(prompts: &Prompts, index: u32, warmup: bool, length: u32) -> Vec<u32> {
        let mut found = Vec::new();
        prompts.tokens(index, warmup, length, &mut found);
        found
    }

    #[test]
    fn no_two_requests_share_their_first_tokens() {
        for salt in [0, 1, 99] {
            let prompts = prompts(salt, 0);
            // As many requests as there are ids share not even the first token.
            let firsts: BTreeSet<u32> = (0..8000).map(|index| tokens(&prompts, index, false, 1)[0]).collect();
            assert_eq!(firsts.len(), 8000);
            // Far more share no opening, those of the warm-up included.
            let all = (0..100_000).map(|index| tokens(&prompts, index, index < 1000, digits(8000)));
            assert_eq!(all.collect::<BTreeSet<_>>().len(), 100_000);
        }
    }

    #[test]
    fn a_prompt_follows_from_salt_and_index_alone() {
        let first = tokens(&prompts(5, 0), 17, false, 64);
        assert_eq!(first, tokens(&prompts(5, 0), 17, false, 64));
        assert_eq!(first[..20], tokens(&prompts(5, 0), 17, false, 20)[..]);
        assert_eq!(first.len(), 64);
        assert!(first.iter().all(|id| IDS.contains(id)));
        // Another salt, another index, the warm-up: as alike as chance has it.
        for other in [
            tokens(&prompts(6, 0), 17, false, 64),
            tokens(&prompts(5, 0), 18, false, 64),
            tokens(&prompts(5, 0), 17, true, 64),
        ] {
            let body = digits(8000) as usize;
            assert!(first[body..].iter().zip(&other[body..]).filter(|(a, b)| a == b).count() < 3);
        }
        assert_ne!(first[0], tokens(&prompts(6, 0), 17, false, 1)[0]);
    }

    #[test]
    fn a_shared_prefix_is_shared_by_all_that_are_measured_and_by_nothing_else() {
        let prompts = prompts(5, 32);
        let [one, two] = [3, 70_000].map(|index| tokens(&prompts, index, false, 64));
        assert_eq!(one[..32], two[..32]);
        assert_ne!(one[32], two[32]);
        assert_ne!(one[..32], tokens(&prompts, 3, true, 64)[..32]);
    }

    #[test]
    fn words_begin_differently_as_well() {
        let prompts = prompts(7, 0);
        let mut text = String::new();
        let openings: BTreeSet<String> = (0..20_000)
            .map(|index| {
                prompts.text(index, false, 12, &mut text);
                assert_eq!(text.split(' ').count(), 12);
                text.split(' ').take(4).collect::<Vec<_>>().join(" ")
            })
            .collect();
        assert_eq!(openings.len(), 20_000);
    }

    #[test]
    fn every_vocabulary_has_room_for_every_index() {
        for (base, expected) in [(2, 32), (256, 4), (8000, 3), (65_535, 3), (65_536, 2), (u32::MAX, 2)] {
            assert_eq!(digits(base), expected, "{base}");
        }
        let bits = Prompts::new(1, 0..2, 0).expect("two ids");
        let openings: BTreeSet<_> = (0..4096).map(|index| tokens(&bits, index, false, 32)).collect();
        assert_eq!(openings.len(), 4096);
        assert!(Prompts::new(1, 5..6, 0).is_err());
    }
}
