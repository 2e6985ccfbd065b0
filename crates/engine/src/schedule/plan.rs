//! The step that is being prepared: the flat arrays of a [`StepBatch`], and what its event will say.

use super::super::{LogitsWanted, StepBatch, StepSequence};
use super::sequence::{PAGE, Sequence};
use crate::base::event::{Phase, StepEvent, Tick};

/// One step, filled anew each time; its arrays keep their room.
#[derive(Debug, Default)]
pub(super) struct Plan {
    tokens: Vec<u32>,
    pages: Vec<u32>,
    sequences: Vec<StepSequence>,
    /// Where the scheduler has each of `sequences`.
    slots: Vec<usize>,
    prompt_tokens: u32,
    fed_output_tokens: u32,
    recomputed_tokens: u32,
    output_tokens: u32,
}

impl Plan {
    /// Makes room once for the largest step there can be, as far as the numbers are known.
    pub(super) fn reserve(&mut self, tokens: usize, sequences: usize, pages: usize) {
        self.clear();
        self.tokens.reserve(tokens);
        self.sequences.reserve(sequences);
        self.slots.reserve(sequences);
        // Shared pages may appear more than once; the array grows the first time that happens.
        self.pages.reserve(pages);
    }

    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.pages.clear();
        self.sequences.clear();
        self.slots.clear();
        self.prompt_tokens = 0;
        self.fed_output_tokens = 0;
        self.recomputed_tokens = 0;
        self.output_tokens = 0;
    }

    /// Adds the next `count` tokens of a sequence, whose pages reach that far.
    pub(super) fn add(&mut self, slot: usize, sequence: &Sequence, count: usize) {
        let from = sequence.cached;
        let to = from + count;
        let page_count = to.div_ceil(PAGE);
        let yields = to == sequence.tokens.len() && !sequence.silent;
        self.sequences.push(StepSequence {
            first_token: self.tokens.len(),
            token_count: count,
            position: number(from),
            first_page: self.pages.len(),
            page_count,
            yields,
        });
        self.slots.push(slot);
        self.tokens.extend_from_slice(&sequence.tokens[from..to]);
        self.pages.extend_from_slice(&sequence.pages[..page_count]);
        let given = sequence.given.clamp(from, to) - from;
        self.prompt_tokens += number(given);
        self.fed_output_tokens += number(count - given);
        self.recomputed_tokens += number(sequence.computed.clamp(from, to) - from);
        self.output_tokens += u32::from(yields && sequence.left > 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Sequences in the step.
    pub(super) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// The `index`-th sequence's place with the scheduler, and what it is fed.
    pub(super) fn at(&self, index: usize) -> (usize, StepSequence) {
        (self.slots[index], self.sequences[index])
    }

    /// Whether the sequence at `slot` is in the step.
    pub(super) fn has(&self, slot: usize) -> bool {
        self.slots.contains(&slot)
    }

    /// The step as a back end sees it.
    pub(super) fn batch(&self, logits: LogitsWanted) -> StepBatch<'_> {
        StepBatch { tokens: &self.tokens, pages: &self.pages, sequences: &self.sequences, logits }
    }

    /// The phase of a step without a barrier before it.
    pub(super) fn phase(&self) -> Phase {
        match (self.prompt_tokens, self.fed_output_tokens) {
            (_, 0) => Phase::Prefill,
            (0, _) => Phase::Decode,
            _ => Phase::Mixed,
        }
    }

    /// The step's event. What a context yields is no output.
    pub(super) fn event(&self, phase: Phase, start: Tick, end: Tick) -> StepEvent {
        StepEvent {
            phase,
            start,
            end,
            sequences: number(self.sequences.len()),
            prompt_tokens: self.prompt_tokens,
            fed_output_tokens: self.fed_output_tokens,
            recomputed_tokens: self.recomputed_tokens,
            output_tokens: if phase == Phase::Context { 0 } else { self.output_tokens },
        }
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
