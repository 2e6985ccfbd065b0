//! An engine that works until it does not: what becomes of the rows before is the runner's and the command's to show.

use crate::base::event::EventSink;
use crate::base::sys::Interrupt;
use crate::engine::{Capabilities, Engine, Error, Outcome, Schedule};

/// A real engine that fails in every schedule of this many sequences.
pub(super) struct Failing {
    pub(super) engine: Box<dyn Engine>,
    pub(super) batch: usize,
}

impl Engine for Failing {
    fn capabilities(&self) -> &Capabilities {
        self.engine.capabilities()
    }

    fn accepts(&self, schedule: &Schedule) -> Result<(), Error> {
        self.engine.accepts(schedule)
    }

    fn run(
        &mut self,
        schedule: &Schedule,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Outcome, Error> {
        if schedule.sequences.len() == self.batch {
            let (what, reason) = ("a step".to_owned(), "the device fell off the bus".to_owned());
            return Err(Error::Step { engine: "failing", what, reason });
        }
        self.engine.run(schedule, events, interrupt)
    }

    fn logits(&mut self, contexts: &[Vec<u32>], interrupt: &Interrupt) -> Result<Vec<Vec<f32>>, Error> {
        self.engine.logits(contexts, interrupt)
    }

    fn every_logits(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        self.engine.every_logits(tokens, from, each, interrupt)
    }
}
