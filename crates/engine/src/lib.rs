//! What makes tokens: the two traits and their contract.
//!
//! [`Engine`] is what the runner sees. It runs a [`Schedule`] and reports every step and token as an
//! event of `base::event`, so that `measure` is the same for every engine.
//! [`StepEngine`] is one level lower: a back end that advances a batch by one step and leaves
//! the choice of input to [`schedule`], which makes it an `Engine`. An engine that is not a scheduler over a
//! `StepEngine` (candle: static batches of equal length) implements `Engine` itself.
//!
//! The contract of a step's times: `start` is read before the host prepares the step, `end` after the
//! device is synchronised and the step's tokens are on the host. Nothing else happens in between.

mod demand;
pub mod fused;
mod options;
pub mod schedule;
mod step;

// Crates have short names here: `crate::base::text`, not `infercost_base::text`.
use infercost_base as base;
use infercost_hardware as hardware;
use infercost_model as model;
use infercost_workload as workload;

use serde::Serialize;

use crate::base::event::EventSink;
use crate::base::failure::{Class, Classed};
use crate::base::sys::Interrupt;
use crate::schedule::ServeOptions;
use crate::workload::Serving;

pub use demand::{Demand, Device, MemoryEstimate};
pub use options::{Launches, Options};
pub use step::{LogitsWanted, PAGE_POSITIONS, StepBatch, StepEngine, StepLimits, StepOutput, StepSequence};

/// Why an engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine cannot do this at all; another may (exit code 1).
    #[error("engine {engine} cannot {what}: {reason}")]
    Unsupported {
        /// Which engine.
        engine: &'static str,
        /// What was asked of it.
        what: String,
        /// Why not, and the way out.
        reason: String,
    },
    /// Loading failed though the header was fine (exit code 1).
    #[error("engine {engine} could not load the model: {reason}")]
    Load {
        /// Which engine.
        engine: &'static str,
        /// What it said.
        reason: String,
    },
    /// A step failed (exit code 1).
    #[error("engine {engine} failed in {what}: {reason}")]
    Step {
        /// Which engine.
        engine: &'static str,
        /// Which step.
        what: String,
        /// What it said.
        reason: String,
    },
    /// The device's memory is full (exit code 1).
    #[error("engine {engine} has no memory left for {what}: {reason}")]
    OutOfMemory {
        /// Which engine.
        engine: &'static str,
        /// Which step.
        what: String,
        /// What the device said.
        reason: String,
    },
    /// The device that was asked for is not there or this binary has no code for it (exit code 13).
    #[error("{0}")]
    NoDevice(String),
    /// The user asked to stop (exit code 130 or 143).
    #[error("interrupted")]
    Interrupted,
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::NoDevice(_) => Class::Missing,
            Self::Interrupted => Class::Interrupted(None),
            Self::Unsupported { .. } | Self::Load { .. } | Self::Step { .. } | Self::OutOfMemory { .. } => {
                Class::Unusable
            }
        }
    }
}

/// What a loaded engine is and can do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Capabilities {
    /// The engine's name: `candle`.
    pub engine: &'static str,
    /// Its version.
    pub version: String,
    /// The device's name: `cpu`, `cuda:0`.
    pub device: String,
    /// Compute threads, where the engine decides that.
    pub threads: Option<usize>,
    /// Largest number of parallel sequences.
    pub max_batch: u32,
    /// Most positions a sequence may have, context, prompt and output together.
    pub max_context: u32,
    /// Format of the KV cache: `f32`, `f16`.
    pub kv_type: &'static str,
    /// What it does wrong or differently on this very model; each makes the record suspect.
    pub caveats: Vec<String>,
    /// What it chose on this machine by trial, and the outcome; this affects only speed, not results.
    pub choices: Vec<String>,
    /// blake3 of the kernels that were compiled at run time, where it has such.
    pub kernels: Option<String>,
}

/// What to run: sequences that start together and end together.
///
/// All random choices were made when the schedule was built, so the same schedule gives the same
/// work on every engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The sequences, at least one.
    pub sequences: Vec<SequencePlan>,
}

/// One sequence's work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SequencePlan {
    /// Tokens that fill the KV cache before the row's clock starts ([`Phase::Context`]).
    ///
    /// An engine may keep the cache of one context and use it for the next schedule with the same
    /// contexts. When `prompt` is empty, the context's last logits give the first output token, which
    /// is not counted among `output_tokens`.
    ///
    /// [`Phase::Context`]: crate::base::event::Phase::Context
    pub context: Vec<u32>,
    /// Prompt tokens processed under the clock ([`Phase::Prefill`](crate::base::event::Phase::Prefill)).
    pub prompt: Vec<u32>,
    /// Output tokens to yield: the first by the prompt's step (when there is a prompt), each further
    /// one by a decode step fed with the greedy choice before it.
    pub output_tokens: u32,
}

/// What a schedule produced besides its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The output tokens of each sequence, in the schedule's order.
    pub tokens: Vec<Vec<u32>>,
    /// Steps whose logits held a NaN or an infinity in the row that was sampled.
    pub non_finite_steps: u32,
}

/// An engine with a model in it.
pub trait Engine {
    /// What this engine is and can do with the model it holds.
    fn capabilities(&self) -> &Capabilities;

    /// Says whether this engine can run `schedule` with the model it holds, without running anything.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with what it cannot do and the way out, [`Error::OutOfMemory`] when its cache is too small.
    fn accepts(&self, schedule: &Schedule) -> Result<(), Error>;

    /// Runs `schedule` to its end and reports every step and token to `events`.
    ///
    /// Looks at `interrupt` between two steps.
    ///
    /// # Errors
    /// [`Error::Unsupported`] before the first step when [`accepts`](Self::accepts) says so,
    /// [`Error::Step`] when a step fails, [`Error::OutOfMemory`] when that was for want of memory, [`Error::Interrupted`] when the user asked to stop; the events
    /// reported until then are true.
    fn run(
        &mut self,
        schedule: &Schedule,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Outcome, Error>;

    /// The engine as it serves requests that come and go; `None` for one that runs only schedules. What was in the KV cache is
    /// gone before and after a load.
    fn serving(&mut self, _: ServeOptions) -> Option<Box<dyn Serving<Error = Error> + '_>> {
        None
    }

    /// Feeds these equally long token sequences as one batch, the way a row's contexts are fed, and gives the
    /// logits after each one's last token, `[sequences][vocabulary]`. Nothing is timed; what was in the KV cache
    /// is gone.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    fn logits(&mut self, contexts: &[Vec<u32>], interrupt: &Interrupt) -> Result<Vec<Vec<f32>>, Error>;

    /// Feeds one sequence from an empty cache and passes the logits after each token from the `from`-th on to
    /// `each`, in order and with that token's position. Only a few rows are in memory at a time, so only
    /// the context bounds their number. Nothing is timed; what was in the KV cache is gone.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    fn every_logits(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
        interrupt: &Interrupt,
    ) -> Result<(), Error>;
}
