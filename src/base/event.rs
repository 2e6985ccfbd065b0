//! What happened and when: the only wire from an engine into `measure`.
//!
//! Every engine reports the same two things: a step (one pass of the model over a batch, with the
//! device synchronised before its end is read) and a token (one output token that reached the host).

use super::units::Seconds;

/// A moment on the process's monotonic clock, in nanoseconds since the clock's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// The moment `nanoseconds` after the clock's origin.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Seconds {
        Seconds::new(self.0.saturating_sub(earlier.0) as f64 / 1e9)
    }
}

/// What a step was for. A pure step's device time belongs wholly to its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Fills the KV cache up to the row's depth, before the row's clock starts.
    Context,
    /// Processes prompt tokens; its last step yields the first output token.
    Prefill,
    /// Yields one further output token for each sequence.
    Decode,
}

/// One pass of the model over a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepEvent {
    /// What the step was for.
    pub phase: Phase,
    /// When the host began to prepare the step.
    pub start: Tick,
    /// When the step's result was on the host, the device synchronised.
    pub end: Tick,
    /// Sequences in the batch.
    pub sequences: u32,
    /// Prompt tokens fed, summed over the batch.
    pub prompt_tokens: u32,
    /// Output tokens yielded, summed over the batch.
    pub output_tokens: u32,
}

/// One output token of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenEvent {
    /// Index of the sequence in the schedule.
    pub sequence: u32,
    /// When the token was on the host.
    pub at: Tick,
    /// The token's id in the model's vocabulary.
    pub token: u32,
}

/// What an engine reports while it runs a schedule, in the order in which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A step ended.
    Step(StepEvent),
    /// A token was delivered; it follows the step that yielded it.
    Token(TokenEvent),
}

/// Receives events. An implementation must be cheap: it is called between two timed steps.
pub trait EventSink {
    /// Takes one event.
    fn take(&mut self, event: Event);
}

impl EventSink for Vec<Event> {
    fn take(&mut self, event: Event) {
        self.push(event);
    }
}
