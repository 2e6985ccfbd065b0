//! What happened and when: the only interface from engines and sensors to `measure`.
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

    /// The moment `time` later; a negative time counts as zero.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast saturates at the largest tick"
    )]
    pub fn after(self, time: Seconds) -> Self {
        Self(self.0.saturating_add((time.get().max(0.0) * 1e9) as u64))
    }
}

/// What a step was for. The device time of an unmixed step belongs entirely to its phase.
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
    /// Prompt tokens fed, summed over the batch, including recomputed ones.
    pub prompt_tokens: u32,
    /// Output tokens fed, each of them yielded by an earlier step, including recomputed ones.
    pub fed_output_tokens: u32,
    /// Of the tokens fed, those recomputed because they were evicted from the cache.
    pub recomputed_tokens: u32,
    /// Output tokens yielded, summed over the batch.
    pub output_tokens: u32,
}

impl StepEvent {
    /// The step's time split between prompt tokens and output tokens.
    ///
    /// An unmixed step belongs entirely to its phase. A mixed one is split in proportion to `alone`: what its prompt part
    /// and its output part take by themselves at the same batch and depth, from unmixed steps of the same run. It is never
    /// split by token count: an output token reads all the weights, while a prompt's tokens share one read.
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

/// What happened to a request that arrived while others were running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestChange {
    /// It arrived; the time is when it was due, not when the scheduler noticed.
    Arrived,
    /// It was allocated pages, and its first tokens are fed in the next step.
    Admitted,
    /// It was preempted: its pages went to older requests, and its tokens are recomputed later.
    Preempted,
    /// Its last output token was delivered.
    Finished,
    /// It was cancelled.
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
    /// A request arrived, was admitted, was preempted or ended; only under arrivals.
    Request(RequestEvent),
}

/// Receives events. An implementation must be cheap: it is called between two timed steps.
pub trait EventSink {
    /// Receives one event.
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
    /// Not stated by the sensor: instantaneous up to GA100, the last second on newer GPUs.
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
    /// The power it reported.
    pub watts: Watts,
    /// The averaging window.
    pub kind: PowerKind,
}

/// One reading of an energy counter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergyReading {
    /// When it was read.
    pub at: Tick,
    /// The energy it reported, since the counter's own start.
    pub joules: Joules,
}

/// A reading taken at the moment the counter was updated, so that two of them are a whole number of the
/// counter's own intervals apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergyEdge {
    /// The reading right after the update, or a plain one if no update was seen.
    pub reading: EnergyReading,
    /// The update happened within this time before `reading.at`: an interval between two polls, or the whole
    /// wait if no update was seen.
    pub uncertainty: Seconds,
    /// Whether an update of the counter was seen.
    pub aligned: bool,
}

/// What limits a GPU's clocks, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "a set of four")]
pub struct Throttle {
    /// The power limit (normal at full load on a capped board).
    pub power_cap: bool,
    /// Thermal, reported by the driver or by the board.
    pub thermal: bool,
    /// The power supply demanded it (power brake).
    pub power_brake: bool,
    /// The board slowed itself down for another reason.
    pub hardware_slowdown: bool,
}

/// The state of a device other than its power.
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
    /// What limits the clocks now; `None` if the device does not report it.
    pub throttle: Option<Throttle>,
    /// Processes that compute on the device, including this one; `None` if the device does not report it.
    pub processes: Option<u32>,
}

/// Time a device has been throttled since its driver was loaded, by cause; a difference of two readings
/// also includes what no poll saw.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ThrottledTime {
    /// By the power limit.
    pub power_cap: Option<Seconds>,
    /// Thermal, driver and board together.
    pub thermal: Option<Seconds>,
    /// By the power brake.
    pub power_brake: Option<Seconds>,
}

/// Everything the sensors reported during a run, in chronological order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// Power, of every kind that the device publishes.
    pub power: Vec<PowerSample>,
    /// Polls of the energy counter, not aligned with its updates.
    pub energy: Vec<EnergyReading>,
    /// Clocks and temperature.
    pub clocks: Vec<ClockSample>,
    /// Readings that failed while others worked: what and why, without repetition.
    pub failures: Vec<String>,
}

impl Trace {
    /// Notes a failed reading; the same failure only once.
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
    /// The energy counter's edge, or why there is none.
    pub energy: Result<EnergyEdge, String>,
    /// Time throttled up to then.
    pub throttled: ThrottledTime,
}

/// A time span, from start to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Start.
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
