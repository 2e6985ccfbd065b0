//! What happened and when: the only wire from an engine and from the sensors into `measure`.
//!
//! Every engine reports the same two things: a step (one pass of the model over a batch, with the
//! device synchronised before its end is read) and a token (one output token that reached the host).

use super::units::{Joules, Seconds, Watts};

/// A moment on the process's monotonic clock, in nanoseconds since the clock's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
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

    /// The moment `time` later; a time below zero counts as none.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as many nanoseconds as there are"
    )]
    pub fn after(self, time: Seconds) -> Self {
        Self(self.0.saturating_add((time.get().max(0.0) * 1e9) as u64))
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
    /// Feeds prompt and output tokens together; happens only under arrivals ([`StepEvent::split`]).
    Mixed,
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
    /// Prompt tokens fed, summed over the batch, those fed again among them.
    pub prompt_tokens: u32,
    /// Output tokens fed, each a token that an earlier step yielded, those fed again among them.
    pub fed_output_tokens: u32,
    /// Of the tokens fed, those that were fed before and lost their place in the cache.
    pub recomputed_tokens: u32,
    /// Output tokens yielded, summed over the batch.
    pub output_tokens: u32,
}

impl StepEvent {
    /// The step's time as that of prompt tokens and that of output tokens.
    ///
    /// A pure step belongs wholly to its kind. A mixed one is split in proportion to `alone`: what its prompt part and
    /// its output part take by themselves at the same batch and depth, from pure steps of the same run. Never by the
    /// number of tokens: an output token reads the weights for itself, a prompt's tokens share them.
    pub fn split(&self, alone: [Seconds; 2]) -> [Seconds; 2] {
        let length = self.end.since(self.start);
        match self.phase {
            Phase::Context | Phase::Prefill => [length, Seconds::ZERO],
            Phase::Decode => [Seconds::ZERO, length],
            Phase::Mixed => {
                let [prompt, output] = alone.map(Seconds::get);
                let of_prompt = length * (prompt / (prompt + output).max(f64::MIN_POSITIVE));
                [of_prompt, length - of_prompt]
            }
        }
    }
}

/// One output token of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenEvent {
    /// Index of the sequence in the schedule, or of the request.
    pub sequence: u32,
    /// When the token was on the host.
    pub at: Tick,
    /// The token's id in the model's vocabulary.
    pub token: u32,
}

/// What happened to a request that came while others ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestChange {
    /// It came; the moment is the one it was due, not the one at which the scheduler looked.
    Arrived,
    /// It got pages and its first tokens are fed in the next step.
    Admitted,
    /// It lost its pages to older requests; what it had is fed again later.
    Preempted,
    /// Its last output token was delivered.
    Finished,
    /// It was taken back.
    Cancelled,
}

/// A change in the life of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestEvent {
    /// Index of the request.
    pub request: u32,
    /// When it happened.
    pub at: Tick,
    /// What happened.
    pub change: RequestChange,
}

/// What an engine reports while it runs a schedule, in the order in which it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A step ended.
    Step(StepEvent),
    /// A token was delivered; it follows the step that yielded it.
    Token(TokenEvent),
    /// A request came, waited or went; only under arrivals.
    Request(RequestEvent),
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

/// What a power figure averages over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PowerKind {
    /// The sensor's own short window: 25 ms on an H100.
    Instant,
    /// The last second.
    Average,
    /// The sensor does not say: instantaneous up to GA100, the last second on newer GPUs.
    Unspecified,
}

impl PowerKind {
    /// The kind's name in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instant => "instant",
            Self::Average => "average",
            Self::Unspecified => "unspecified",
        }
    }
}

/// One reading of a power sensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerSample {
    /// When it was read; the sensor's window ends at or before this moment.
    pub at: Tick,
    /// What it showed.
    pub watts: Watts,
    /// Over which window.
    pub kind: PowerKind,
}

/// One reading of a counter of energy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergyReading {
    /// When it was read.
    pub at: Tick,
    /// What it showed, since the counter's own beginning.
    pub joules: Joules,
}

/// A reading taken at the moment the counter took its step, so that two of them are a whole number of the
/// counter's own intervals apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergyEdge {
    /// The reading behind the step, or a plain one when no step came.
    pub reading: EnergyReading,
    /// The step fell within this time before `reading.at`: an interval between two polls, or the whole
    /// wait when no step came.
    pub uncertainty: Seconds,
    /// Whether the counter was seen to step.
    pub aligned: bool,
}

/// What holds a GPU's clocks back, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "a set of four")]
pub struct Throttle {
    /// The power limit (normal at full load on a capped board).
    pub power_cap: bool,
    /// Heat, told by the driver or by the board.
    pub thermal: bool,
    /// The supply asked for less (power brake).
    pub power_brake: bool,
    /// The board slowed itself down for another reason.
    pub hardware_slowdown: bool,
}

/// The state of a device beside its power.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ClockSample {
    /// When it was read.
    pub at: Tick,
    /// Clock of the compute units.
    pub sm_mhz: Option<u32>,
    /// Clock of the memory.
    pub memory_mhz: Option<u32>,
    /// Temperature of the chip.
    pub celsius: Option<f64>,
    /// What holds the clocks back now; `None` when the device does not say.
    pub throttle: Option<Throttle>,
    /// Processes that compute on the device, this one among them; `None` when the device does not say.
    pub processes: Option<u32>,
}

/// Time a device has been held back since its driver was loaded, by cause; a difference of two readings
/// also holds what no poll saw.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ThrottledTime {
    /// By the power limit.
    pub power_cap: Option<Seconds>,
    /// By heat, driver and board together.
    pub thermal: Option<Seconds>,
    /// By the power brake.
    pub power_brake: Option<Seconds>,
}

/// All that the sensors said beside a run, in the order of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// Power, of every kind that is published.
    pub power: Vec<PowerSample>,
    /// Polls of the energy counter, not aligned with its steps.
    pub energy: Vec<EnergyReading>,
    /// Clocks and temperature.
    pub clocks: Vec<ClockSample>,
    /// Readings that failed while others worked: what and why, each once.
    pub failures: Vec<String>,
}

impl Trace {
    /// Notes a reading that failed; the same failure only once.
    pub fn failed(&mut self, what: &str, reason: &str) {
        let failure = format!("{what}: {reason}");
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }
}

/// One edge of a phase, as the sensors saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseEdge {
    /// When the edge was taken.
    pub at: Tick,
    /// The counter's edge, or why there is none.
    pub energy: Result<EnergyEdge, String>,
    /// Time throttled until then.
    pub throttled: ThrottledTime,
}

/// A stretch of time, from its beginning to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Beginning.
    pub from: Tick,
    /// End.
    pub to: Tick,
}

impl Span {
    /// How long it is.
    pub fn length(self) -> Seconds {
        self.to.since(self.from)
    }
}
