//! What happened to requests under load: the interface from whatever serves them (an HTTP client, our own engine) to `measure`.
//!
//! Recording an event does not allocate once the buffers have grown. A request that ends is folded: its timestamps, counts
//! and ending become one [`Request`], its deliveries are added to time slices, and the list of them is kept as long as all
//! lists together do not exceed [`KEPT_DELIVERIES`].
//!
//! So memory is bounded. An hour of 1,000 streams at 40 deliveries a second is 144 million deliveries; with replies of
//! 256 deliveries:
//!
//! | what | bytes | |
//! |---|---|---|
//! | requests in flight | 1,000 × 256 × 8 | 2 MB |
//! | requests ended | 562,500 × 136 | 77 MB, at most [`MOST_REQUESTS`]: 143 MB |
//! | deliveries | 2²¹ × 8 | 17 MB until they are dropped, then none |
//! | tokens over time | 2¹⁶ slices × 12 | 0.8 MB |
//! | gaps over time | 512 slices × 37 KB | at most 19 MB |
//!
//! Exact for any length: every request's timestamps and counts, and so TTFT, TPOT, latency, goodput; tokens over time, in
//! slices of 10 ms, 80 ms after 44 minutes. Beyond [`KEPT_DELIVERIES`], gaps are known to 0.4% from histograms, in slices
//! of 1 s (8 s after 34 minutes). Means remain exact.

mod delivery;
mod ending;
mod failure;
mod slices;

pub use delivery::{Amount, Delivery, Part};
pub use ending::{Ending, Finish};
pub use failure::{Failure, way_out};
pub use slices::Slices;

use crate::event::{Span, Tick};
use crate::stats::Histogram;

use slices::Absorb;

/// Deliveries kept individually, over all ended requests.
pub const KEPT_DELIVERIES: usize = 1 << 21;

/// Capacity of a log in requests; the driver of the load then ends it ([`RequestLog::is_full`]).
pub const MOST_REQUESTS: usize = 1 << 20;

/// A moment that may not have been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

impl Moment {
    /// Not reached.
    pub const NEVER: Self = Self(u64::MAX);

    /// When it was, if reached.
    pub fn get(self) -> Option<Tick> {
        (self != Self::NEVER).then_some(Tick::from_nanos(self.0))
    }
}

impl From<Tick> for Moment {
    fn from(at: Tick) -> Self {
        Self(at.nanos())
    }
}

/// The token counts that the server reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, including cached ones.
    pub prompt_tokens: u32,
    /// Of these, tokens found in the prefix cache; `None` if the server does not report it.
    pub cached_tokens: Option<u32>,
    /// Output tokens, including reasoning and tool calls.
    pub output_tokens: u32,
}

/// Who counted a request's output tokens. Chunks are never counted as tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountedBy {
    /// The server, in its usage block.
    Usage,
    /// The client, token by token: ids, `logprobs`, or our own engine.
    Deliveries,
    /// The model's tokenizer, on the received text.
    Tokenizer,
    /// Nobody: the number is unknown.
    Nobody,
}

/// What is known about a request before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Its index in the load.
    pub index: u32,
    /// Whether it belongs to the warm-up and is not measured.
    pub warmup: bool,
    /// When it was due: by the schedule, or when its slot of a closed loop became free. Latencies are measured from here.
    pub intended: Tick,
    /// When it could be sent at the earliest: `intended`, or later if the load's own limit of requests in flight delayed
    /// it. `started` minus this is the client's lag.
    pub released: Tick,
    /// Tokens of its prompt, as far as the client knows.
    pub prompt_tokens: u32,
    /// Output tokens asked for.
    pub output_tokens: u32,
}

/// How a request ended, and its token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// When.
    pub at: Tick,
    /// How.
    pub ending: Ending,
    /// The finish reason that the server reported.
    pub finish: Finish,
    /// The server's usage block.
    pub usage: Option<Usage>,
    /// Output tokens by the model's tokenizer, if the client has one.
    pub tokenizer: Option<u32>,
}

/// A request that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What was known beforehand.
    pub planned: Planned,
    /// When the client started on it: began to connect, or to write.
    pub started: Moment,
    /// When its last byte was handed to the system.
    pub sent: Moment,
    /// When the head of the answer had arrived.
    pub answered: Moment,
    /// The first delivery.
    pub first: Moment,
    /// The first delivery that is not reasoning.
    pub first_answer: Moment,
    /// The last delivery.
    pub last: Moment,
    /// When it was over.
    pub ended: Tick,
    /// How it ended.
    pub ending: Ending,
    /// The finish reason that the server reported.
    pub finish: Finish,
    /// The server's usage block.
    pub usage: Option<Usage>,
    /// Output tokens; 0 if they were not counted.
    pub output_tokens: u32,
    /// Who counted them.
    pub counted_by: CountedBy,
    /// The client's own count, next to the server's: by deliveries, else by tokenizer.
    pub recount: Option<u32>,
    /// Output tokens in the first delivery.
    pub first_tokens: u32,
    /// How many deliveries there were.
    pub deliveries: u32,
    /// Bytes of text, for deliveries counted in bytes.
    pub text_bytes: u32,
    /// Their range in the list of kept deliveries.
    kept_at: u32,
}

/// The log's handle of a request in flight; valid until the request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InFlight(u32);

#[derive(Debug)]
struct Open {
    request: Request,
    deliveries: Vec<Delivery>,
}

/// Output within a time slice, of requests that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Output tokens delivered.
    pub tokens: u32,
    /// Bytes of text whose tokens were not counted: from requests cut off before their usage arrived.
    pub uncounted_bytes: u32,
    /// Deliveries.
    pub deliveries: u32,
}

impl Absorb for Flow {
    fn absorb(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.uncounted_bytes = self.uncounted_bytes.saturating_add(other.uncounted_bytes);
        self.deliveries += other.deliveries;
    }
}

/// Gaps between consecutive deliveries to a request, in nanoseconds, of requests that completed and are measured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gaps {
    /// Each gap, whatever the number of tokens that ended it.
    pub gaps: Histogram,
    /// For each token, its share of the gap that it ended: gap ÷ k, k times.
    pub per_token: Histogram,
}

impl Absorb for Gaps {
    fn absorb(&mut self, other: Self) {
        self.gaps.absorb(&other.gaps);
        self.per_token.absorb(&other.per_token);
    }
}

impl Gaps {
    fn add(&mut self, gap: u64, tokens: u32) {
        self.gaps.add(gap, 1);
        let each = if tokens <= 1 { gap } else { gap / u64::from(tokens) };
        self.per_token.add(each, tokens);
    }
}

/// All requests of a load. A multi-threaded client has one per thread and merges them at the end.
#[derive(Debug)]
pub struct RequestLog {
    open: Vec<Open>,
    free: Vec<InFlight>,
    ended: Vec<Request>,
    kept: Vec<Delivery>,
    keeps_all: bool,
    flow: Slices<Flow>,
    gaps: Slices<Gaps>,
    most_kept: usize,
}

impl RequestLog {
    /// An empty log of a load that begins at `begin`.
    pub fn new(begin: Tick) -> Self {
        Self::keeping(begin, KEPT_DELIVERIES)
    }

    fn keeping(begin: Tick, most_kept: usize) -> Self {
        Self {
            open: Vec::new(),
            free: Vec::new(),
            ended: Vec::new(),
            kept: Vec::new(),
            keeps_all: true,
            flow: Slices::new(begin, 10_000_000, 1 << 16),
            gaps: Slices::new(begin, 1_000_000_000, 512),
            most_kept,
        }
    }

    /// When its load began.
    pub fn begin(&self) -> Tick {
        self.flow.begin()
    }

    /// Whether it cannot take another request.
    pub fn is_full(&self) -> bool {
        self.ended.len() + self.open.len() - self.free.len() >= MOST_REQUESTS
    }

    /// Starts a request at `at`, before anything is sent.
    pub fn start(&mut self, planned: Planned, at: Tick) -> InFlight {
        let request = Request {
            planned,
            started: at.into(),
            sent: Moment::NEVER,
            answered: Moment::NEVER,
            first: Moment::NEVER,
            first_answer: Moment::NEVER,
            last: Moment::NEVER,
            ended: at,
            ending: Ending::CutByUs,
            finish: Finish::NotSaid,
            usage: None,
            output_tokens: 0,
            counted_by: CountedBy::Nobody,
            recount: None,
            first_tokens: 0,
            deliveries: 0,
            text_bytes: 0,
            kept_at: 0,
        };
        if let Some(slot) = self.free.pop() {
            self.open[slot.0 as usize].request = request;
            return slot;
        }
        self.open.push(Open { request, deliveries: Vec::new() });
        InFlight(u32::try_from(self.open.len() - 1).unwrap_or(u32::MAX))
    }

    /// Records that the request's last byte was handed to the system.
    pub fn sent(&mut self, slot: InFlight, at: Tick) {
        self.open[slot.0 as usize].request.sent = at.into();
    }

    /// Records that the head of the answer has arrived.
    pub fn answered(&mut self, slot: InFlight, at: Tick) {
        self.open[slot.0 as usize].request.answered = at.into();
    }

    /// Records output. A chunk with neither text nor a token, such as one with only a role, is not a delivery and must not be
    /// recorded.
    pub fn delivered(&mut self, slot: InFlight, at: Tick, part: Part, amount: Amount) {
        let Open { request, deliveries } = &mut self.open[slot.0 as usize];
        deliveries.push(Delivery::new(request.planned.intended, at, part, amount));
    }

    /// How many deliveries a request in flight has had.
    pub fn deliveries_so_far(&self, slot: InFlight) -> usize {
        self.open[slot.0 as usize].deliveries.len()
    }

    /// Ends the request and folds it.
    pub fn end(&mut self, slot: InFlight, outcome: Outcome) {
        let Open { request, deliveries } = &mut self.open[slot.0 as usize];
        request.close(&outcome, deliveries);
        if !outcome.ending.is_failure() {
            let intended = request.planned.intended;
            let mut near = usize::MAX;
            for delivery in deliveries.iter() {
                let flow = self.flow.at_near(delivery.at(intended), &mut near);
                flow.deliveries += 1;
                match delivery.amount() {
                    Amount::Tokens(tokens) => flow.tokens += tokens,
                    Amount::Bytes(bytes) => flow.uncounted_bytes = flow.uncounted_bytes.saturating_add(bytes),
                }
            }
        }
        if request.has_gaps() {
            let mut near = usize::MAX;
            each_gap(request.planned.intended, deliveries, |at, gap, tokens| {
                self.gaps.at_near(at, &mut near).add(gap, tokens);
            });
        }
        if self.keeps_all && self.kept.len() + deliveries.len() > self.most_kept {
            self.keeps_all = false;
            self.kept = Vec::new();
        }
        if self.keeps_all {
            request.kept_at = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
            self.kept.extend_from_slice(deliveries);
        }
        self.ended.push(*request);
        deliveries.clear();
        self.free.push(slot);
    }

    /// Bytes of memory it uses.
    pub fn memory(&self) -> usize {
        let open: usize =
            self.open.iter().map(|open| open.deliveries.capacity() * size_of::<Delivery>()).sum();
        let gaps = |gaps: &Gaps| gaps.gaps.memory() + gaps.per_token.memory();
        open + self.ended.capacity() * size_of::<Request>()
            + self.kept.capacity() * size_of::<Delivery>()
            + size_of_val(self.flow.all())
            + self.gaps.all().iter().map(gaps).sum::<usize>()
    }

    /// Ended requests, in order of ending within each thread.
    pub fn requests(&self) -> &[Request] {
        &self.ended
    }

    /// The deliveries of an ended request, each with its tokens if known; `None` once there were too many to keep.
    pub fn deliveries(&self, request: &Request) -> Option<&[Delivery]> {
        let from = request.kept_at as usize;
        self.keeps_all.then(|| &self.kept[from..from + request.deliveries as usize])
    }

    /// Output over time.
    pub fn flow(&self) -> &Slices<Flow> {
        &self.flow
    }

    /// Gaps that ended within `span`, of measured requests that completed, each with the number of tokens that ended it;
    /// `None` once there were too many to keep.
    pub fn exact_gaps(&self, span: Span) -> Option<Vec<(u64, u32)>> {
        let mut found = Vec::new();
        for request in self.ended.iter().filter(|request| request.has_gaps()) {
            each_gap(request.planned.intended, self.deliveries(request)?, |at, gap, tokens| {
                if span.from <= at && at < span.to {
                    found.push((gap, tokens));
                }
            });
        }
        self.keeps_all.then_some(found)
    }

    /// The same gaps as histograms, from the slices entirely within `span`.
    pub fn gaps(&self, span: Span) -> Gaps {
        let mut all = Gaps::default();
        self.gaps.within(span).iter().for_each(|slice| all.absorb(slice.clone()));
        all
    }

    /// Merges another thread's log of a load with the same start. Neither may have a request in flight.
    pub fn absorb(&mut self, other: Self) {
        self.keeps_all &= other.keeps_all && self.kept.len() + other.kept.len() <= self.most_kept;
        let offset = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        let moved = |request: Request| Request { kept_at: request.kept_at.saturating_add(offset), ..request };
        self.ended.extend(other.ended.into_iter().map(moved));
        if self.keeps_all {
            self.kept.extend(other.kept);
        } else {
            self.kept = Vec::new();
        }
        self.flow.absorb(other.flow);
        self.gaps.absorb(other.gaps);
    }
}

impl Request {
    /// Whether its gaps count: it is measured and complete, and its tokens are known.
    fn has_gaps(&self) -> bool {
        !self.planned.warmup && self.ending == Ending::Completed && self.counted_by != CountedBy::Nobody
    }

    /// Fills in what is known at the end, and assigns each delivery its tokens.
    fn close(&mut self, outcome: &Outcome, deliveries: &mut [Delivery]) {
        let Outcome { at, ending, finish, usage, tokenizer } = *outcome;
        (self.ended, self.ending, self.finish, self.usage) = (at, ending, finish, usage);
        let counted = deliveries.iter().try_fold(0, |sum: u32, delivery| match delivery.amount() {
            Amount::Tokens(tokens) => Some(sum.saturating_add(tokens)),
            Amount::Bytes(_) => None,
        });
        let counted = counted.filter(|_| !deliveries.is_empty());
        self.recount = counted.or(tokenizer);
        let (tokens, by) = match (usage, counted, tokenizer) {
            (Some(usage), _, _) => (usage.output_tokens, CountedBy::Usage),
            (None, Some(tokens), _) => (tokens, CountedBy::Deliveries),
            (None, None, Some(tokens)) => (tokens, CountedBy::Tokenizer),
            (None, None, None) => (0, CountedBy::Nobody),
        };
        (self.output_tokens, self.counted_by) = (tokens, by);
        let bytes = |delivery: &Delivery| match delivery.amount() {
            Amount::Bytes(bytes) => u64::from(bytes),
            Amount::Tokens(_) => 0,
        };
        self.text_bytes = u32::try_from(deliveries.iter().map(bytes).sum::<u64>()).unwrap_or(u32::MAX);
        self.deliveries = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
        if by != CountedBy::Nobody {
            delivery::share_out(tokens, deliveries);
            self.first_tokens = deliveries.first().map_or(0, |first| first.size());
        }
        let moment = |delivery: Option<&Delivery>| {
            delivery.map_or(Moment::NEVER, |delivery| delivery.at(self.planned.intended).into())
        };
        self.first = moment(deliveries.first());
        self.last = moment(deliveries.last());
        self.first_answer = moment(deliveries.iter().find(|delivery| delivery.part() != Part::Reasoning));
    }
}

/// Calls `visit` with the end, the length and the tokens of each gap. Deliveries of pieces of one token count as one.
fn each_gap(intended: Tick, deliveries: &[Delivery], mut visit: impl FnMut(Tick, u64, u32)) {
    let mut before = match deliveries.first() {
        Some(first) => first.at(intended),
        None => return,
    };
    for delivery in &deliveries[1..] {
        let (at, tokens) = (delivery.at(intended), delivery.size());
        if tokens > 0 {
            visit(at, at.nanos() - before.nanos(), tokens);
            before = at;
        }
    }
}

#[cfg(test)]
mod tests;
