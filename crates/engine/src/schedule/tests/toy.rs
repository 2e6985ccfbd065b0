//! A back end whose next token is a hash of every token that a sequence's pages hold, so that any mix-up of pages,
//! positions, chunks or sharing gives another token, or panics here.

use crate::base::random::SplitMix64;
use crate::base::sys::Interrupt;
use crate::{
    Capabilities, Error, LogitsWanted, PAGE_POSITIONS, StepBatch, StepEngine, StepLimits, StepOutput,
    StepSequence,
};

pub(super) const VOCABULARY: u32 = 1000;

/// A step that feeds this token has a logit that is no number.
pub(super) const NOT_A_NUMBER: u32 = 999;

const PAGE: usize = PAGE_POSITIONS as usize;

pub(super) struct Toy {
    capabilities: Capabilities,
    limits: StepLimits,
    /// Position and token that each place of each page holds.
    places: Vec<Option<(usize, u32)>>,
    /// In which step each page was written last, and by which of its sequences.
    writers: Vec<(usize, usize)>,
    pub(super) steps: usize,
    /// How often a token was wanted.
    pub(super) yields: usize,
    pub(super) fails_in: Option<usize>,
    pub(super) interrupts_in: Option<(usize, Interrupt)>,
}

impl Toy {
    pub(super) fn new(pages: u32, tokens_per_step: u32) -> Self {
        let capabilities = Capabilities {
            engine: "toy",
            version: "0".to_owned(),
            device: "none".to_owned(),
            threads: None,
            max_batch: 64,
            max_context: 4096,
            kv_type: "none",
            caveats: Vec::new(),
            choices: Vec::new(),
            kernels: None,
        };
        Self {
            capabilities,
            limits: StepLimits { vocabulary: VOCABULARY, pages, tokens_per_step },
            places: vec![None; pages as usize * PAGE],
            writers: vec![(0, 0); pages as usize],
            steps: 0,
            yields: 0,
            fails_in: None,
            interrupts_in: None,
        }
    }

    fn write(&mut self, index: usize, batch: &StepBatch<'_>, sequence: &StepSequence) {
        let (tokens, pages) = (batch.tokens_of(sequence), batch.pages_of(sequence));
        assert!(!tokens.is_empty());
        let from = sequence.position as usize;
        assert_eq!(pages.len(), (from + tokens.len()).div_ceil(PAGE), "pages of {sequence:?}");
        for (position, token) in (from..).zip(tokens) {
            let page = pages[position / PAGE] as usize;
            assert!(
                self.writers[page].0 != self.steps || self.writers[page].1 == index,
                "two write to page {page}"
            );
            self.writers[page] = (self.steps, index);
            self.places[page * PAGE + position % PAGE] = Some((position, *token));
        }
    }

    /// The hashes after each of the tokens fed, read from the pages alone.
    fn read(&self, index: usize, batch: &StepBatch<'_>, sequence: &StepSequence, hashes: &mut Vec<u64>) {
        let end = sequence.position as usize + sequence.token_count;
        let mut hash = 0;
        hashes.clear();
        for (at, page) in batch.pages_of(sequence).iter().enumerate() {
            let page = *page as usize;
            let (step, writer) = self.writers[page];
            assert!(step != self.steps || writer == index, "page {page} is read while another writes it");
            for position in at * PAGE..end.min((at + 1) * PAGE) {
                let place = self.places[page * PAGE + position % PAGE];
                let (found, token) = place.unwrap_or_else(|| panic!("position {position} was never written"));
                assert_eq!(found, position, "page {page} belongs elsewhere");
                hash = mix(hash, token);
                if position >= sequence.position as usize {
                    hashes.push(hash);
                }
            }
        }
    }
}

impl StepEngine for Toy {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn limits(&self) -> StepLimits {
        self.limits
    }

    fn step(&mut self, batch: &StepBatch<'_>, output: &mut StepOutput) -> Result<(), Error> {
        self.steps += 1;
        if let Some((step, interrupt)) = &self.interrupts_in
            && *step == self.steps
        {
            interrupt.request();
        }
        assert!((1..=self.limits.tokens_per_step as usize).contains(&batch.tokens.len()));
        assert!((1..=self.capabilities.max_batch as usize).contains(&batch.sequences.len()));
        assert_eq!(batch.sequences.iter().map(|s| s.token_count).sum::<usize>(), batch.tokens.len());
        assert_eq!(batch.sequences.iter().map(|s| s.page_count).sum::<usize>(), batch.pages.len());
        for (index, sequence) in batch.sequences.iter().enumerate() {
            self.write(index, batch, sequence);
        }
        if self.fails_in == Some(self.steps) {
            self.places.fill(None);
            let (what, reason) = ("a step".to_owned(), "it was told to".to_owned());
            return Err(Error::Step { engine: "toy", what, reason });
        }
        output.next.clear();
        output.logits.clear();
        output.non_finite = false;
        let mut hashes = Vec::new();
        for (index, sequence) in batch.sequences.iter().enumerate() {
            let every = batch.logits == LogitsWanted::Every;
            if !sequence.yields && !every {
                output.next.push(u32::MAX);
                continue;
            }
            self.yields += usize::from(sequence.yields);
            self.read(index, batch, sequence, &mut hashes);
            let last = hashes.last().copied().unwrap_or_default();
            output.next.push(if sequence.yields { choice(last) } else { u32::MAX });
            output.non_finite |= sequence.yields && batch.tokens_of(sequence).contains(&NOT_A_NUMBER);
            match batch.logits {
                LogitsWanted::Nothing => {}
                LogitsWanted::Yielded => output.logits.extend(row(last)),
                LogitsWanted::Every => hashes.iter().for_each(|hash| output.logits.extend(row(*hash))),
            }
        }
        Ok(())
    }
}

fn mix(hash: u64, token: u32) -> u64 {
    (hash ^ u64::from(token)).wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9)
        ^ (hash >> 29)
}

fn choice(hash: u64) -> u32 {
    // `NOT_A_NUMBER` is never chosen.
    u32::try_from((hash >> 32) % u64::from(NOT_A_NUMBER)).unwrap()
}

fn row(hash: u64) -> impl Iterator<Item = f32> {
    let chosen = choice(hash);
    (0..VOCABULARY).map(move |token| if token == chosen { 1.0 } else { 0.0 })
}

/// What a sequence yields behind `tokens`, computed without pages.
pub(super) fn expected(tokens: &[u32], count: usize) -> Vec<u32> {
    let mut hash = tokens.iter().fold(0, |hash, token| mix(hash, *token));
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        found.push(choice(hash));
        hash = mix(hash, choice(hash));
    }
    found
}

/// Random tokens that are not `NOT_A_NUMBER`.
pub(super) fn tokens(count: usize, seed: u64) -> Vec<u32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.below(NOT_A_NUMBER)).collect()
}
