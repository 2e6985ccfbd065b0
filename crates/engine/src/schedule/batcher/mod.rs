//! Continuous batching: which sequences the next step feeds, how many tokens each, and who has to wait.
//!
//! Everything goes by age. Sequences are admitted in the order in which they came, and when pages run out the youngest
//! one gives its own back and waits in front of those that never ran. So running and waiting sequences, one list
//! after the other, are always sorted by age, the oldest always makes progress, and no two sequences take
//! pages from each other forever.

mod planning;

use std::collections::VecDeque;

use super::super::{LogitsWanted, StepBatch};
use super::pages::Pages;
use super::plan::Plan;
use super::sequence::{PAGE, Sequence};

/// Bounds of the steps, fixed while sequences are live.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most tokens in a step; not below `sequences`, so that all can decode at once.
    pub(super) tokens: usize,
    /// Most sequences that run at once.
    pub(super) sequences: usize,
    /// Pages that stay free when a sequence is admitted next to others.
    pub(super) spare_pages: usize,
    /// Whether finished sequences keep their place and pages.
    pub(super) keep_finished: bool,
}

/// What the next step may feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Prompts only.
    Prompts,
    /// Decoding sequences only.
    Outputs,
    /// Both in one step.
    Both,
}

/// What a step did to a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It yielded a token that was asked for.
    Token { owner: u32, token: u32 },
    /// It yielded its last: that which was asked for, or one that stops an answer before; so many tokens of its prompt were
    /// in the cache when it was admitted first.
    Finished { owner: u32, stopped: bool, cached: u32 },
}

/// All live sequences and their pages.
#[derive(Debug)]
pub(super) struct Batcher {
    pages: Pages,
    limits: Limits,
    /// Every sequence, live or vacant.
    sequences: Vec<Sequence>,
    vacant: Vec<usize>,
    /// Oldest first; places in `sequences`, as below.
    running: Vec<usize>,
    waiting: VecDeque<usize>,
    /// Sequences submitted so far.
    submitted: u64,
    plan: Plan,
    /// Owners of the sequences that the last plan admitted and preempted.
    admitted: Vec<u32>,
    preempted: Vec<u32>,
    found: Vec<u32>,
    /// Tokens that end a sequence.
    stops: Vec<u32>,
}

impl Batcher {
    /// No sequences, and a cache of `pages` free pages.
    pub(super) fn new(pages: u32, share: bool, limits: Limits) -> Self {
        let mut batcher = Self {
            pages: Pages::new(pages, share),
            limits,
            sequences: Vec::new(),
            vacant: Vec::new(),
            running: Vec::new(),
            waiting: VecDeque::new(),
            submitted: 0,
            plan: Plan::default(),
            admitted: Vec::new(),
            preempted: Vec::new(),
            found: Vec::new(),
            stops: Vec::new(),
        };
        batcher.set_limits(limits);
        batcher
    }

    /// Changes the bounds and makes room for them.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.plan.reserve(limits.tokens, limits.sequences, self.pages.count());
        self.running.reserve(limits.sequences.saturating_sub(self.running.len()));
        self.admitted.reserve(limits.sequences);
        self.preempted.reserve(limits.sequences);
    }

    /// Which tokens end a sequence; none until this is called, and none again after an empty list.
    pub(super) fn stop_at(&mut self, tokens: &[u32]) {
        self.stops.clear();
        self.stops.extend_from_slice(tokens);
    }

    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Ends all sequences and gives their pages back.
    pub(super) fn clear(&mut self) {
        while let Some(slot) = self.running.pop() {
            self.vacate(slot);
        }
        while let Some(slot) = self.waiting.pop_back() {
            self.vacate(slot);
        }
        self.plan.clear();
    }

    /// Queues a sequence after all others. `left` tokens are to be yielded after `tokens`; a `silent` one will be
    /// given more.
    pub(super) fn submit(&mut self, owner: u32, tokens: &[u32], left: u32, silent: bool) {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.sequences.push(Sequence::default());
            self.sequences.len() - 1
        });
        self.sequences[slot].begin(owner, self.submitted, tokens, left, silent);
        self.submitted += 1;
        self.waiting.push_back(slot);
    }

    /// Ends a sequence before its time; false if that owner has none.
    pub(super) fn cancel(&mut self, owner: u32) -> bool {
        let is_owners = |slot: &usize| self.sequences[*slot].owner == owner;
        let slot = if let Some(at) = self.running.iter().position(is_owners) {
            self.running.remove(at)
        } else if let Some(at) = self.waiting.iter().position(is_owners)
            && let Some(slot) = self.waiting.remove(at)
        {
            slot
        } else {
            return false;
        };
        self.vacate(slot);
        true
    }

    /// Sequences that run, oldest first.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Places for sequences, live and vacant.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.sequences.len()
    }

    /// The `index`-th running sequence.
    pub(super) fn sequence(&self, index: usize) -> &Sequence {
        &self.sequences[self.running[index]]
    }

    /// The `index`-th running sequence, to be given more tokens between two steps.
    pub(super) fn sequence_mut(&mut self, index: usize) -> &mut Sequence {
        &mut self.sequences[self.running[index]]
    }

    /// Takes the `index`-th running sequence back to its first `tokens` tokens, of which `cached` stay in the
    /// cache. The rest of the last page that stays is written over, so it must be the sequence's alone.
    pub(super) fn rewind(&mut self, index: usize, tokens: usize, cached: usize) {
        debug_assert!(!self.pages.shares(), "a page that others may find is written over");
        let sequence = &mut self.sequences[self.running[index]];
        sequence.tokens.truncate(tokens);
        sequence.cached = cached;
        sequence.computed = 0;
        self.pages.release_from(&mut sequence.pages, cached.div_ceil(PAGE));
    }

    /// The step that was planned, as a back end sees it.
    pub(super) fn batch(&self, logits: LogitsWanted) -> StepBatch<'_> {
        self.plan.batch(logits)
    }

    /// The step that was planned, for its event.
    pub(super) fn planned(&self) -> &Plan {
        &self.plan
    }

    /// Owner of the `index`-th sequence of the step that was planned.
    pub(super) fn planned_owner(&self, index: usize) -> u32 {
        self.sequences[self.plan.at(index).0].owner
    }

    /// Owners of the sequences that the last plan admitted.
    pub(super) fn admitted(&self) -> &[u32] {
        &self.admitted
    }

    /// Owners of the sequences that the last plan preempted.
    pub(super) fn preempted(&self) -> &[u32] {
        &self.preempted
    }

    /// Books the step that was planned and done; `next` are the tokens it yielded.
    pub(super) fn apply(&mut self, next: &[u32], mut effect: impl FnMut(Effect)) {
        let mut finished = false;
        for (index, token) in (0..self.plan.len()).zip(next) {
            let (slot, fed) = self.plan.at(index);
            let sequence = &mut self.sequences[slot];
            sequence.cached += fed.token_count;
            sequence.computed = sequence.computed.max(sequence.cached);
            if self.pages.shares() {
                let cached = &sequence.tokens[..sequence.cached];
                self.pages.remember(cached, &sequence.pages, &mut sequence.chain);
            }
            if !fed.yields {
                continue;
            }
            let mut stopped = false;
            if sequence.left > 0 {
                sequence.take(*token);
                effect(Effect::Token { owner: sequence.owner, token: *token });
                stopped = self.stops.contains(token);
            }
            if stopped || sequence.left == 0 {
                sequence.done = true;
                finished = true;
                effect(Effect::Finished { owner: sequence.owner, stopped, cached: sequence.found });
            }
        }
        self.plan.clear();
        if finished && !self.limits.keep_finished {
            let (sequences, pages, vacant) = (&mut self.sequences, &mut self.pages, &mut self.vacant);
            self.running.retain(|slot| {
                let sequence = &mut sequences[*slot];
                if sequence.done {
                    pages.release_from(&mut sequence.pages, 0);
                    vacant.push(*slot);
                }
                !sequence.done
            });
        }
    }

    /// Whether running and waiting sequences, one list after the other, are sorted by age.
    fn is_by_age(&self) -> bool {
        self.running.iter().chain(&self.waiting).is_sorted_by_key(|slot| self.sequences[*slot].age)
    }

    fn vacate(&mut self, slot: usize) {
        let sequence = &mut self.sequences[slot];
        self.pages.release_from(&mut sequence.pages, 0);
        self.vacant.push(slot);
    }
}
