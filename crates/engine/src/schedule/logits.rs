//! Logits instead of tokens: after the last token of each sequence, or after every token of one.
//!
//! Nothing is timed. What was in the cache is gone before and after.

use super::super::{Error, LogitsWanted, Schedule, SequencePlan, StepEngine};
use super::Scheduled;
use super::batcher::Lane;
use crate::base::clock;
use crate::base::sys::Interrupt;

/// Tokens of a step that hands over the logits after each of them: at 128,256 tokens of vocabulary these are
/// 33 MB, where those of a full step would be 260 MB.
const TOKENS_WITH_LOGITS: usize = 64;

impl<S: StepEngine> Scheduled<S> {
    /// The logits after the last token of each context.
    pub(super) fn last_logits(
        &mut self,
        contexts: &[Vec<u32>],
        interrupt: &Interrupt,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let plan = |context: &Vec<u32>| SequencePlan {
            context: context.clone(),
            prompt: Vec::new(),
            output_tokens: 0,
        };
        self.bounds().check(&Schedule { sequences: contexts.iter().map(plan).collect() })?;
        self.begin_rows(contexts.len());
        for (owner, context) in (0..).zip(contexts) {
            self.batcher.submit(owner, context, 0, false);
        }
        let vocabulary = self.engine.limits().vocabulary as usize;
        let mut found = vec![Vec::new(); contexts.len()];
        while self.step(Lane::Prompts, LogitsWanted::Yielded, interrupt, clock::now)?.is_some() {
            let batch = self.batcher.batch(LogitsWanted::Yielded);
            let yielding = batch.sequences.iter().enumerate().filter(|(_, sequence)| sequence.yields);
            self.has_rows(yielding.clone().count())?;
            for ((index, _), row) in yielding.zip(self.output.logits.chunks_exact(vocabulary)) {
                found[self.batcher.planned_owner(index) as usize] = row.to_vec();
            }
            self.batcher.apply(&self.output.next, |_| {});
        }
        self.batcher.clear();
        Ok(found)
    }

    /// The logits after each token from the `from`-th on: what perplexity is computed from.
    pub(super) fn logits_from(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let plan = SequencePlan { context: tokens.to_vec(), prompt: Vec::new(), output_tokens: 0 };
        self.bounds().check(&Schedule { sequences: vec![plan] })?;
        self.begin_rows(1);
        let from = from.min(tokens.len());
        let limits = self.engine.limits();
        // The first part is fed in full steps.
        self.batcher.submit(0, &tokens[..from], 0, true);
        while self.step(Lane::Prompts, LogitsWanted::Nothing, interrupt, clock::now)?.is_some() {
            self.batcher.apply(&self.output.next, |_| {});
        }
        let mut position = from;
        for chunk in tokens[from..].chunks(TOKENS_WITH_LOGITS.min(limits.tokens_per_step as usize)) {
            self.batcher.sequence_mut(0).give(chunk, 0, true);
            if self.step(Lane::Prompts, LogitsWanted::Every, interrupt, clock::now)?.is_none() {
                return Err(self.failed("tokens were given and none were fed".to_owned()));
            }
            self.has_rows(chunk.len())?;
            for row in self.output.logits.chunks_exact(limits.vocabulary as usize) {
                each(position, row);
                position += 1;
            }
            self.batcher.apply(&self.output.next, |_| {});
        }
        self.batcher.clear();
        Ok(())
    }

    fn has_rows(&self, rows: usize) -> Result<(), Error> {
        let (found, wanted) = (self.output.logits.len(), rows * self.engine.limits().vocabulary as usize);
        if found == wanted {
            return Ok(());
        }
        Err(self.failed(format!("it gave {found} logits where {wanted} were asked for")))
    }
}
