//! A row of `-p -n -b -d` as pure steps: first all contexts, then all prompts, then all outputs.
//!
//! A barrier separates the three, so that every step belongs wholly to one kind and its time needs no splitting.
//! Within the first two, steps are filled from one sequence after the other: the model's matrices see full steps, and
//! attention long chunks of few sequences.
//!
//! When a row is over its sequences keep their pages. The next schedule with the same contexts takes each back to its
//! context's end: what follows it in the cache is overwritten, and nothing is copied or fed again.

use super::super::{Error, LogitsWanted, Outcome, Schedule, SequencePlan, StepEngine};
use super::Scheduled;
use super::batcher::{Effect, Lane, Limits};
use crate::base::clock;
use crate::base::event::{Event, EventSink, Phase, TokenEvent};
use crate::base::sys::Interrupt;

/// The context of a sequence whose place in the cache is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    /// How many of the sequence's tokens it is.
    length: usize,
    /// The greedy choice after it, where one was made.
    choice: Option<u32>,
}

impl<S: StepEngine> Scheduled<S> {
    /// Runs a schedule that [`check`](super::check) let pass.
    pub(super) fn run_rows(
        &mut self,
        schedule: &Schedule,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Outcome, Error> {
        let plans = &schedule.sequences;
        let tokens = plans.iter().map(|plan| Vec::with_capacity(plan.output_tokens as usize)).collect();
        let mut outcome = Outcome { tokens, non_finite_steps: 0 };
        if self.holds_contexts_of(plans) {
            self.rewind_to_contexts(plans);
        } else {
            self.begin_rows(plans.len());
            for (owner, plan) in (0..).zip(plans) {
                self.contexts.push(Context { length: plan.context.len(), choice: None });
                let (left, silent) = behind_context(plan);
                self.batcher.submit(owner, &plan.context, left, silent);
            }
        }
        self.row_steps(Phase::Context, &mut outcome, events, interrupt)?;
        for (index, plan) in plans.iter().enumerate() {
            if !plan.prompt.is_empty() {
                self.batcher.sequence_mut(index).give(&plan.prompt, plan.output_tokens, false);
            }
        }
        self.row_steps(Phase::Prefill, &mut outcome, events, interrupt)?;
        self.row_steps(Phase::Decode, &mut outcome, events, interrupt)?;
        Ok(outcome)
    }

    /// Empties the cache and makes it ready for sequences that all run at once and keep their places, for which
    /// [`check`](super::check) saw that there is room.
    pub(super) fn begin_rows(&mut self, sequences: usize) {
        let tokens = self.engine.limits().tokens_per_step as usize;
        self.begin(Limits { tokens, sequences, spare_pages: 0, keep_finished: true }, false);
    }

    /// Steps of one phase until there are no more.
    fn row_steps(
        &mut self,
        phase: Phase,
        outcome: &mut Outcome,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let lane = if phase == Phase::Decode { Lane::Outputs } else { Lane::Prompts };
        while let Some((start, end)) = self.step(lane, LogitsWanted::Nothing, interrupt, clock::now)? {
            events.take(Event::Step(self.batcher.planned().event(phase, start, end)));
            outcome.non_finite_steps += u32::from(self.output.non_finite);
            let contexts = &mut self.contexts;
            self.batcher.apply(&self.output.next, |effect| match effect {
                // A context's own choice is no output.
                Effect::Token { owner, token } if phase == Phase::Context => {
                    contexts[owner as usize].choice = Some(token);
                }
                Effect::Token { owner, token } => {
                    events.take(Event::Token(TokenEvent { sequence: owner, at: end, token }));
                    outcome.tokens[owner as usize].push(token);
                }
                Effect::Finished { .. } => {}
            });
        }
        Ok(())
    }

    /// Whether the cache holds the contexts of these plans, each whole.
    fn holds_contexts_of(&self, plans: &[SequencePlan]) -> bool {
        self.contexts.len() == plans.len()
            && self.batcher.running() == plans.len()
            && plans.iter().zip(&self.contexts).enumerate().all(|(index, (plan, kept))| {
                let sequence = self.batcher.sequence(index);
                kept.length == plan.context.len()
                    && kept.length <= sequence.cached
                    && sequence.tokens[..kept.length] == plan.context[..]
            })
    }

    /// Takes every sequence back to the end of its context.
    fn rewind_to_contexts(&mut self, plans: &[SequencePlan]) {
        for (index, (plan, kept)) in plans.iter().zip(&self.contexts).enumerate() {
            let (left, silent) = behind_context(plan);
            // Where a choice is wanted and none was made yet, the last token is fed again, in its own place.
            let again = !silent && kept.choice.is_none();
            self.batcher.rewind(index, kept.length, kept.length - usize::from(again));
            let sequence = self.batcher.sequence_mut(index);
            sequence.give(&[], left, silent);
            if let (false, Some(choice)) = (silent, kept.choice) {
                sequence.take(choice);
            }
        }
    }
}

/// What is to be yielded behind a sequence's context: nothing when a prompt follows, else its own choice and the
/// outputs.
fn behind_context(plan: &SequencePlan) -> (u32, bool) {
    if plan.prompt.is_empty() { (plan.output_tokens.saturating_add(1), false) } else { (0, true) }
}
