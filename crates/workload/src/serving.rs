//! What serves a load: a server through a client, or an engine in this process. One contract, so that everything
//! after it (figures, checks, price, record) is the same for both.

use crate::base::event::{Span, StepEvent};
use crate::base::requests::{Ending, Failure, RequestLog};
use crate::base::stats::Histogram;
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use crate::{Lengths, Load, Prompts};

/// Serves the requests of a load.
pub trait Serving {
    /// Why a load cannot be served at all.
    type Error;

    /// Serves the requests of `load` as they become due, on this thread, and notes in `log` what came when.
    ///
    /// Requests that fail are no error: they are in the log, and counted by ending in the [`Report`].
    ///
    /// # Errors
    /// What keeps the whole load from being served.
    fn drive(
        &mut self,
        load: &mut Load,
        questions: &Questions,
        log: &mut RequestLog,
        interrupt: &Interrupt,
    ) -> Result<Report, Self::Error>;

    /// Output tokens generated so far for all clients; `None` if those of other clients are not counted.
    fn generated_tokens(&mut self) -> Option<f64> {
        None
    }
}

/// What the requests of a load ask.
#[derive(Debug, Clone)]
pub struct Questions {
    /// How long prompts and answers are.
    pub lengths: Lengths,
    /// What the prompts say.
    pub prompts: Prompts,
    /// Send words instead of token ids, where a server takes no ids; the chat API takes words only.
    pub as_text: bool,
}

/// Why a load ended before its own end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It was requested.
    Interrupted,
    /// The server answers nothing, or nothing any more: so many requests failed in a row, the last of them so.
    NoAnswers {
        /// How many.
        in_a_row: u32,
        /// What was seen last.
        last: Failure,
    },
    /// Requests were still running so long after the last was sent, and were cut.
    NotDrained,
    /// The engine in this process failed and cannot be used any more.
    EngineFailed(Failure),
}

/// What a load leaves besides the log.
#[derive(Debug)]
pub struct Report {
    /// Requests that failed, and what the client did.
    pub stats: Stats,
    /// Why the load ended early, if it did.
    pub stopped: Option<Stopped>,
    /// Processor time of the client, where there is one and the system says.
    pub processor_time: Option<Seconds>,
    /// What the engine did; `None` for a server, whose steps are not visible.
    pub work: Option<Work>,
}

/// What a client did and how late it was; of an engine in this process only the failures.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections opened.
    pub opened: u64,
    /// Requests sent again, because a connection that was kept open had been closed before any byte of their answer.
    pub reopened: u64,
    /// How long bytes lay in the socket before they were read, in nanoseconds, for each read; empty where the system does
    /// not stamp arrivals.
    pub receive_lag: Histogram,
    /// Requests that failed, by ending, with what was seen first.
    pub failures: Vec<(Ending, u64, Failure)>,
}

impl Stats {
    /// Counts a failed request.
    pub fn count(&mut self, failure: &Failure) {
        self.add(failure.ending, 1, || failure.clone());
    }

    /// Adds what another thread of the client did.
    pub fn absorb(&mut self, other: Self) {
        self.opened += other.opened;
        self.reopened += other.reopened;
        self.receive_lag.absorb(&other.receive_lag);
        for (ending, count, failure) in other.failures {
            self.add(ending, count, || failure);
        }
    }

    /// Adds `count` failures of one kind; only the first failure of a kind is kept.
    fn add(&mut self, ending: Ending, count: u64, first: impl FnOnce() -> Failure) {
        match self.failures.iter_mut().find(|(known, ..)| *known == ending) {
            Some((_, sum, _)) => *sum += count,
            None => self.failures.push((ending, count, first())),
        }
    }
}

/// What an engine in this process did for a load.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Work {
    /// Its steps, those of the warm-up among them.
    pub steps: Vec<StepEvent>,
    /// When it had nothing to do.
    pub rests: Vec<Span>,
    /// Steps whose logits held a NaN or an infinity in a row from which a token was chosen.
    pub non_finite_steps: u32,
    /// How often a request lost its pages to older ones.
    pub preemptions: u64,
    /// Tokens that were fed again for that.
    pub recomputed_tokens: u64,
}
