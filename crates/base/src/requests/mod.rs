//! What happened to requests under load: the wire from whatever serves them (an HTTP client, our own engine) into `measure`.
//!
//! Noting something costs no allocation once the buffers have grown. A request that ends is folded: its moments, counts and
//! ending become one [`Request`], its deliveries are counted into slices of time, and the list of them is kept as long as
//! all lists together are no more than [`KEPT_DELIVERIES`].
//!
//! So memory is bounded. An hour of 1,000 streams at 40 deliveries a second is 144 million deliveries; with replies of
//! 256 deliveries:
//!
//! | what | bytes | |
//! |---|---|---|
//! | requests in flight | 1,000 × 256 × 8 | 2 MB |
//! | requests ended | 562,500 × 136 | 77 MB, at most [`MOST_REQUESTS`]: 143 MB |
//! | deliveries | 2²¹ × 8 | 17 MB until they are given up, then none |
//! | tokens over time | 2¹⁶ slices × 12 | 0.8 MB |
//! | gaps over time | 512 slices × 37 KB | at most 19 MB |
//!
//! Exact whatever the length: every request's moments and counts, so TTFT, TPOT, latency, goodput; tokens over time, by
//! slices of 10 ms, 80 ms after 44 minutes. Past [`KEPT_DELIVERIES`] gaps are known to 0.4% by histograms, in slices
//! of 1 s (8 s after 34 minutes). Means stay exact.

mod delivery;
mod ending;
mod slices;

pub use delivery::{Amount, Delivery, Part};
pub use ending::{Ending, Finish};
pub use slices::Slices;

use crate::event::{Span, Tick};
use crate::stats::Histogram;

use slices::Absorb;

/// Deliveries kept one by one, over all requests that ended.
pub const KEPT_DELIVERIES: usize = 1 << 21;

/// Requests a log takes; whoever drives the load ends it then ([`RequestLog::is_full`]).
pub const MOST_REQUESTS: usize = 1 << 20;

/// A moment that may not have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

impl Moment {
    /// It has not come.
    pub const NEVER: Self = Self(u64::MAX);

    /// When it was, if it was.
    pub fn get(self) -> Option<Tick> {
        (self != Self::NEVER).then_some(Tick::from_nanos(self.0))
    }
}

impl From<Tick> for Moment {
    fn from(at: Tick) -> Self {
        Self(at.nanos())
    }
}

/// What the server says it counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, the cached ones among them.
    pub prompt_tokens: u32,
    /// Of these, tokens found in the prefix cache; `None` when the server does not say.
    pub cached_tokens: Option<u32>,
    /// Tokens of output, reasoning and tool calls among them.
    pub output_tokens: u32,
}

/// Who counted a request's output tokens. Chunks are never taken for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CountedBy {
    /// The server, in its usage block.
    Usage,
    /// The client, token by token: ids, `logprobs`, or our own engine.
    Deliveries,
    /// The model's tokenizer, over the text that came.
    Tokenizer,
    /// Nobody: the number is not known.
    Nobody,
}

/// What is known of a request before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Its index in the load.
    pub index: u32,
    /// Whether it belongs to the warm-up and is not measured.
    pub warmup: bool,
    /// When it was due: by the schedule, or when its slot of a closed loop became free. Latencies count from here.
    pub intended: Tick,
    /// When it could be sent at the earliest: `intended`, or later when the load's own limit of requests in flight held it
    /// back. `started` less this is the client's lag.
    pub released: Tick,
    /// Tokens of its prompt, as far as the client knows.
    pub prompt_tokens: u32,
    /// Output tokens asked for.
    pub output_tokens: u32,
}

/// How a request ended and what was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// When.
    pub at: Tick,
    /// How.
    pub ending: Ending,
    /// Why the server says it stopped.
    pub finish: Finish,
    /// The server's usage block.
    pub usage: Option<Usage>,
    /// Output tokens by the model's tokenizer, where the client has one.
    pub tokenizer: Option<u32>,
}

/// A request that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// What was known before.
    pub planned: Planned,
    /// When the client took it up: it began to connect, or to write.
    pub started: Moment,
    /// When its last byte was handed to the system.
    pub sent: Moment,
    /// When the head of the answer had come.
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
    /// Why the server says it stopped.
    pub finish: Finish,
    /// The server's usage block.
    pub usage: Option<Usage>,
    /// Output tokens; 0 when nobody counted them.
    pub output_tokens: u32,
    /// Who counted them.
    pub counted_by: CountedBy,
    /// The client's own count beside the server's: by deliveries, else by tokenizer.
    pub recount: Option<u32>,
    /// Of the output tokens, those of the first delivery.
    pub first_tokens: u32,
    /// How many deliveries there were.
    pub deliveries: u32,
    /// Bytes of text, where deliveries were noted by bytes.
    pub text_bytes: u32,
    /// Where they stand in the list of kept ones.
    kept_at: u32,
}

/// A request in flight, as the log knows it; valid until it is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InFlight(u32);

#[derive(Debug)]
struct Open {
    request: Request,
    deliveries: Vec<Delivery>,
}

/// Output of a slice of time, of requests that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Output tokens delivered.
    pub tokens: u32,
    /// Bytes of text whose tokens nobody counted: of requests that were cut before their usage came.
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
    /// Each gap, however many tokens ended it.
    pub gaps: Histogram,
    /// For each token its share of the gap that it ended: gap ÷ k, k times.
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
        self.per_token.add(gap / u64::from(tokens.max(1)), tokens);
    }
}

/// All requests of a load. A client of several threads has one for each and joins them in the end.
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

    /// Whether it takes no further request.
    pub fn is_full(&self) -> bool {
        self.ended.len() + self.open.len() - self.free.len() >= MOST_REQUESTS
    }

    /// Takes a request up at `at`, before anything is sent.
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

    /// The request's last byte was handed to the system.
    pub fn sent(&mut self, slot: InFlight, at: Tick) {
        self.open[slot.0 as usize].request.sent = at.into();
    }

    /// The head of the answer has come.
    pub fn answered(&mut self, slot: InFlight, at: Tick) {
        self.open[slot.0 as usize].request.answered = at.into();
    }

    /// Output came. A chunk with neither text nor a token, such as one with a role only, is no delivery and must not be
    /// noted.
    pub fn delivered(&mut self, slot: InFlight, at: Tick, part: Part, amount: Amount) {
        let Open { request, deliveries } = &mut self.open[slot.0 as usize];
        deliveries.push(Delivery::new(request.planned.intended, at, part, amount));
    }

    /// How many deliveries a request in flight has had.
    pub fn deliveries_so_far(&self, slot: InFlight) -> usize {
        self.open[slot.0 as usize].deliveries.len()
    }

    /// The request is over: folds it.
    pub fn end(&mut self, slot: InFlight, outcome: Outcome) {
        let Open { request, deliveries } = &mut self.open[slot.0 as usize];
        request.close(&outcome, deliveries);
        if !outcome.ending.is_failure() {
            let intended = request.planned.intended;
            for delivery in deliveries.iter() {
                let flow = self.flow.at(delivery.at(intended));
                flow.deliveries += 1;
                match delivery.amount() {
                    Amount::Tokens(tokens) => flow.tokens += tokens,
                    Amount::Bytes(bytes) => flow.uncounted_bytes = flow.uncounted_bytes.saturating_add(bytes),
                }
            }
        }
        if request.has_gaps() {
            each_gap(request.planned.intended, deliveries, |at, gap, tokens| {
                self.gaps.at(at).add(gap, tokens);
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

    /// Bytes it holds.
    pub fn memory(&self) -> usize {
        let open: usize =
            self.open.iter().map(|open| open.deliveries.capacity() * size_of::<Delivery>()).sum();
        let gaps = |gaps: &Gaps| gaps.gaps.memory() + gaps.per_token.memory();
        open + self.ended.capacity() * size_of::<Request>()
            + self.kept.capacity() * size_of::<Delivery>()
            + size_of_val(self.flow.all())
            + self.gaps.all().iter().map(gaps).sum::<usize>()
    }

    /// Requests that ended, in the order in which they did within a thread.
    pub fn requests(&self) -> &[Request] {
        &self.ended
    }

    /// The deliveries of a request that ended, each with its tokens where they are known; `None` once there were too many
    /// to keep.
    pub fn deliveries(&self, request: &Request) -> Option<&[Delivery]> {
        let from = request.kept_at as usize;
        self.keeps_all.then(|| &self.kept[from..from + request.deliveries as usize])
    }

    /// Output over time.
    pub fn flow(&self) -> &Slices<Flow> {
        &self.flow
    }

    /// Gaps that ended within `span`, of measured requests that completed; `None` once there were too many to keep.
    /// Each with the number of tokens that ended it.
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

    /// The same gaps as histograms, of the slices wholly within `span`.
    pub fn gaps(&self, span: Span) -> Gaps {
        let mut all = Gaps::default();
        self.gaps.within(span).iter().for_each(|slice| all.absorb(slice.clone()));
        all
    }

    /// Adds what another thread's log has, of a load with the same beginning. Both must have no request in flight.
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
    /// Whether its gaps count: it is measured, whole, and its tokens are known.
    fn has_gaps(&self) -> bool {
        !self.planned.warmup && self.ending == Ending::Completed && self.counted_by != CountedBy::Nobody
    }

    /// Fills in what the end tells, and gives each delivery its tokens.
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

/// Calls `found` with the end, the length and the tokens of each gap. Deliveries of one token's pieces are one.
fn each_gap(intended: Tick, deliveries: &[Delivery], mut found: impl FnMut(Tick, u64, u32)) {
    let mut before = match deliveries.first() {
        Some(first) => first.at(intended),
        None => return,
    };
    for delivery in &deliveries[1..] {
        let (at, tokens) = (delivery.at(intended), delivery.size());
        if tokens > 0 {
            found(at, at.nanos() - before.nanos(), tokens);
            before = at;
        }
    }
}

#[cfg(test)]
mod tests;
