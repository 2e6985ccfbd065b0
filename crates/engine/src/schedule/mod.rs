//! Continuous batching over a paged KV cache: makes an [`Engine`] of any [`StepEngine`].
//!
//! It owns what lies between "these sequences, this many tokens" and "this step feeds these tokens at these positions
//! into these pages": `pages` and `prefix` say which page holds what, `batcher` who runs and who waits, `plan` the
//! step being prepared. Two drivers turn that into events: `rows` runs a [`Schedule`] as pure steps with a barrier
//! between contexts, prompts and outputs, and [`Scheduled::serve`] runs requests that come and go, where a step may
//! feed prompts and outputs together; `load` does the same for requests whose arrival is not known beforehand.
//! `check` names what cannot be run before the first step.
//!
//! Once a batch runs, a decode step allocates nothing: all arrays keep their capacity, and a sequence's tokens
//! and pages get theirs when it is submitted.

mod batcher;
mod check;
mod load;
mod logits;
mod pages;
mod plan;
mod prefix;
mod rows;
mod sequence;
mod serve;

use self::batcher::{Batcher, Lane, Limits};
use self::check::Bounds;
use super::{Capabilities, Engine, Error, LogitsWanted, Outcome, Schedule, StepEngine, StepOutput};
use crate::base::event::{EventSink, Tick};
use crate::base::sys::Interrupt;
use crate::workload::Serving;

pub use check::pages_needed;
pub use serve::{Ending, Request, ServeOptions, Served, ServedRequest};

/// A back end with a scheduler over it.
#[derive(Debug)]
pub struct Scheduled<S> {
    engine: S,
    capabilities: Capabilities,
    batcher: Batcher,
    /// One a running sequence, while the cache belongs to rows.
    contexts: Vec<rows::Context>,
    output: StepOutput,
}

impl<S: StepEngine> Scheduled<S> {
    /// A scheduler over `engine`, all of whose pages it takes for its own.
    pub fn new(engine: S) -> Self {
        let limits = engine.limits();
        let mut capabilities = engine.capabilities().clone();
        capabilities.max_batch = Bounds::of(&capabilities, limits).max_batch;
        let none = Limits { tokens: 0, sequences: 0, spare_pages: 0, keep_finished: false };
        let batcher = Batcher::new(limits.pages, false, none);
        Self { engine, capabilities, batcher, contexts: Vec::new(), output: StepOutput::default() }
    }

    /// The back end.
    pub fn back_end(&self) -> &S {
        &self.engine
    }

    /// Pages of the cache that sequences hold now.
    #[cfg(test)]
    pub(crate) fn pages_held(&self) -> usize {
        self.batcher.pages().held()
    }

    fn bounds(&self) -> Bounds {
        Bounds::of(&self.capabilities, self.engine.limits())
    }

    /// Empties the cache for work under other bounds.
    fn begin(&mut self, limits: Limits, share: bool) {
        self.contexts.clear();
        self.batcher.stop_at(&[]);
        if share || self.batcher.pages().shares() {
            self.batcher = Batcher::new(self.engine.limits().pages, share, limits);
        } else {
            self.batcher.clear();
            self.batcher.set_limits(limits);
        }
    }

    /// Plans and runs a step; returns when its preparation began and when its tokens were on the
    /// host, or nothing when there is nothing to do. The caller applies it ([`Batcher::apply`]).
    fn step(
        &mut self,
        lane: Lane,
        logits: LogitsWanted,
        interrupt: &Interrupt,
        mut now: impl FnMut() -> Tick,
    ) -> Result<Option<(Tick, Tick)>, Error> {
        let start = now();
        if !self.batcher.plan(lane) {
            return Ok(None);
        }
        if interrupt.requested() {
            return Err(Error::Interrupted);
        }
        let batch = self.batcher.batch(logits);
        let done = self.engine.step(&batch, &mut self.output);
        let end = now();
        let done = done.and_then(|()| match self.output.next.len() {
            found if found == batch.sequences.len() => Ok(()),
            found => {
                Err(self.failed(format!("it gave {found} tokens for {} sequences", batch.sequences.len())))
            }
        });
        if done.is_err() {
            // What the cache holds now is anyone's guess.
            self.batcher.clear();
            self.contexts.clear();
        }
        done.map(|()| Some((start, end)))
    }

    /// Takes over what the back end has chosen meanwhile.
    fn learn(&mut self) {
        self.capabilities.choices.clone_from(&self.engine.capabilities().choices);
    }

    fn failed(&self, reason: String) -> Error {
        Error::Step { engine: self.capabilities.engine, what: "a step".to_owned(), reason }
    }
}

impl<S: StepEngine> Engine for Scheduled<S> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn accepts(&self, schedule: &Schedule) -> Result<(), Error> {
        self.bounds().check(schedule)
    }

    fn run(
        &mut self,
        schedule: &Schedule,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Outcome, Error> {
        self.accepts(schedule)?;
        let ran = self.run_rows(schedule, events, interrupt);
        self.learn();
        ran
    }

    fn serving(&mut self, options: ServeOptions) -> Option<Box<dyn Serving<Error = Error> + '_>> {
        Some(Box::new(load::Loaded::new(self, options)))
    }

    fn logits(&mut self, contexts: &[Vec<u32>], interrupt: &Interrupt) -> Result<Vec<Vec<f32>>, Error> {
        self.last_logits(contexts, interrupt)
    }

    fn every_logits(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        self.logits_from(tokens, from, each, interrupt)
    }
}

#[cfg(test)]
mod tests;
