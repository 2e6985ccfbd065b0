//! Preparing a step: who is fed how much, who is admitted, and who gives way.
//!
//! A step feeds every decoding sequence its one token first; what is left of the step's tokens goes to prompts in
//! chunks, the oldest first. A sequence is admitted when there are pages for all its known tokens and some to spare
//! for the growth of the others; the pages are its own from then on, so a prompt never stops half-way for want of them.

use super::{Batcher, Lane, PAGE};

impl Batcher {
    /// Prepares the next step; false when there is nothing to feed in this lane.
    pub(in super::super) fn plan(&mut self, lane: Lane) -> bool {
        self.plan.clear();
        self.admitted.clear();
        self.preempted.clear();
        let mut budget = self.limits.tokens;
        if lane != Lane::Prompts {
            self.plan_outputs(&mut budget);
        }
        if lane != Lane::Outputs {
            self.plan_prompts(&mut budget);
            self.admit(&mut budget);
        }
        debug_assert!(self.is_by_age(), "a younger sequence stands before an older one");
        !self.plan.is_empty()
    }

    /// Plans one token for each decoding sequence.
    fn plan_outputs(&mut self, budget: &mut usize) {
        let mut index = 0;
        // A preemption shortens the list from its end: those already planned are before `index`.
        while index < self.running.len() && *budget > 0 {
            let slot = self.running[index];
            if self.sequences[slot].is_decoding() && self.grow(index, self.sequences[slot].cached + 1) {
                self.plan.add(slot, &self.sequences[slot], 1);
                *budget -= 1;
            }
            index += 1;
        }
    }

    /// Plans chunks of the prompts of running sequences.
    fn plan_prompts(&mut self, budget: &mut usize) {
        let mut index = 0;
        while index < self.running.len() && *budget > 0 {
            if self.sequences[self.running[index]].is_prefilling() {
                self.plan_chunk(index, budget);
            }
            index += 1;
        }
    }

    fn plan_chunk(&mut self, index: usize, budget: &mut usize) {
        let slot = self.running[index];
        let sequence = &self.sequences[slot];
        let count = sequence.pending().min(*budget);
        if count > 0 && self.grow(index, sequence.cached + count) {
            self.plan.add(slot, &self.sequences[slot], count);
            *budget -= count;
        }
    }

    /// Admits waiting sequences and plans their first chunks.
    fn admit(&mut self, budget: &mut usize) {
        // Pages that were just taken from a sequence are for those that needed them.
        while *budget > 0 && self.running.len() < self.limits.sequences && self.preempted.is_empty() {
            let Some(slot) = self.waiting.front().copied() else { break };
            let sequence = &mut self.sequences[slot];
            let needed = sequence.tokens.len().div_ceil(PAGE);
            // At least the last token is fed, since what follows it is wanted.
            let most = sequence.tokens.len().saturating_sub(1) / PAGE;
            self.pages.find(&sequence.tokens, most, &mut self.found);
            let taken = needed - self.found.len() + self.pages.idle_among(&self.found);
            // One that is alone may have all there is.
            let spare = if self.running.is_empty() { 0 } else { self.limits.spare_pages };
            if taken + spare > self.pages.available() {
                break;
            }
            for page in &self.found {
                self.pages.hold(*page);
                sequence.pages.push(*page);
            }
            sequence.cached = self.found.len() * PAGE;
            // Behind a preemption it finds its own pages, which no request before it had computed.
            if sequence.computed == 0 {
                sequence.found = u32::try_from(sequence.cached).unwrap_or(u32::MAX);
            }
            while sequence.pages.len() < needed
                && let Some(page) = self.pages.take()
            {
                sequence.pages.push(page);
            }
            self.waiting.pop_front();
            self.running.push(slot);
            self.admitted.push(self.sequences[slot].owner);
            // It may lack one token only, when its own pages from before a preemption were found.
            self.plan_chunk(self.running.len() - 1, budget);
        }
    }

    /// Gets the `index`-th running sequence pages for `positions`. While there are none, the youngest sequence
    /// gives up its own; false when that was this one.
    fn grow(&mut self, index: usize, positions: usize) -> bool {
        let needed = positions.div_ceil(PAGE);
        while let Some(slot) = self.running.get(index).copied() {
            let pages = &mut self.sequences[slot].pages;
            if pages.len() >= needed {
                return true;
            }
            match self.pages.take() {
                Some(page) => pages.push(page),
                None => self.preempt_youngest(),
            }
        }
        false
    }

    fn preempt_youngest(&mut self) {
        let Some(slot) = self.running.pop() else { return };
        debug_assert!(!self.plan.has(slot), "a sequence that this step feeds loses its pages");
        let sequence = &mut self.sequences[slot];
        self.pages.release_from(&mut sequence.pages, 0);
        sequence.lose_pages();
        self.preempted.push(sequence.owner);
        self.waiting.push_front(slot);
    }
}
