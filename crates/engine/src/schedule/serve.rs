//! Requests that come and go: the batcher with a clock.
//!
//! Before each step the scheduler looks at what is due: new requests queue after the others, cancelled ones lose
//! their place at once. A step then feeds whatever there is, prompts and outputs together. When there is nothing to
//! feed it rests until the next request is due.

use std::time::Duration;

use super::super::{Error, LogitsWanted, StepEngine};
use super::Scheduled;
use super::batcher::{Effect, Lane, Limits};
use crate::base::clock;
use crate::base::event::{Event, EventSink, RequestChange, RequestEvent, Tick, TokenEvent};
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;

/// One page in this many stays free when a request is admitted next to others.
const SPARE_SHARE: usize = 100;

/// Longest rest before the interrupt is looked at again.
const LONGEST_REST: Duration = Duration::from_millis(5);

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// When it comes, from the start of the run.
    pub arrival: Seconds,
    /// Its prompt.
    pub prompt: Vec<u32>,
    /// Output tokens that it wants; 0 has its prompt processed only.
    pub output_tokens: u32,
    /// When it is cancelled if it is not over by then, from the start of the run.
    pub cancel: Option<Seconds>,
}

/// How to serve. Each bound that is `None` is the back end's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServeOptions {
    /// Whether a prompt that begins like an earlier one reads that one's full pages in place of computing its own.
    pub share_prefixes: bool,
    /// Most requests that run at once.
    pub max_sequences: Option<u32>,
    /// Most tokens in a step.
    pub tokens_per_step: Option<u32>,
    /// Pages that stay free when a request is admitted next to others; a hundredth of all when `None`.
    pub spare_pages: Option<u32>,
    /// Tokens that end an answer wherever they come, counted among its tokens.
    pub stop_tokens: Vec<u32>,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With its last output token.
    Finished,
    /// With a token that ends an answer, before its last.
    Stopped,
    /// It was taken back.
    Cancelled,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedRequest {
    /// The tokens it got.
    pub tokens: Vec<u32>,
    /// How it ended.
    pub ending: Ending,
    /// Tokens of its prompt that were found in the cache when it was admitted first.
    pub cached_tokens: u32,
}

/// What a run produced besides its events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served {
    /// One for each request, in their order.
    pub requests: Vec<ServedRequest>,
    /// Steps whose logits held a NaN or an infinity in a row from which a token was chosen.
    pub non_finite_steps: u32,
    /// How often a request lost its pages to older ones.
    pub preemptions: u64,
    /// Tokens that were fed again for that.
    pub recomputed_tokens: u64,
    /// Most pages that were held at once.
    pub most_pages: usize,
}

/// Where the time comes from.
pub(super) trait Time {
    /// The present moment.
    fn now(&mut self) -> Tick;
    /// Rests until `until` or less.
    fn rest(&mut self, until: Tick);
}

/// The process's own clock.
pub(super) struct ClockTime;

impl Time for ClockTime {
    fn now(&mut self) -> Tick {
        clock::now()
    }

    fn rest(&mut self, until: Tick) {
        let left = Duration::from_nanos(until.nanos().saturating_sub(clock::now().nanos()));
        clock::sleep(left.min(LONGEST_REST));
    }
}

/// Something due at a moment: a request arrives or is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Tick,
    /// Behind the arrivals of the same moment.
    cancels: bool,
    request: u32,
}

impl<S: StepEngine> Scheduled<S> {
    /// Serves `requests`, each from its arrival on, until all are over. What the cache held is gone before and after.
    ///
    /// # Errors
    /// [`Error::Unsupported`] before the first step when a request could not run even alone, with its
    /// number; else as [`Engine::run`](super::super::Engine::run).
    pub fn serve(
        &mut self,
        requests: &[Request],
        options: &ServeOptions,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Served, Error> {
        self.serve_by(&mut ClockTime, requests, options, events, interrupt)
    }

    /// [`serve`](Self::serve) by any clock.
    pub(super) fn serve_by(
        &mut self,
        time: &mut impl Time,
        requests: &[Request],
        options: &ServeOptions,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Served, Error> {
        self.bounds().check_requests(requests)?;
        self.begin_serving(options);
        let ended = self.serve_all(time, requests, events, interrupt);
        // Also after an error: what was interrupted is over.
        self.batcher.clear();
        ended
    }

    pub(super) fn serve_all(
        &mut self,
        time: &mut impl Time,
        requests: &[Request],
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Served, Error> {
        let none = ServedRequest { tokens: Vec::new(), ending: Ending::Cancelled, cached_tokens: 0 };
        let mut served = Served { requests: vec![none; requests.len()], ..Served::default() };
        let tell = |request: u32, at: Tick, change: RequestChange, events: &mut dyn EventSink| {
            events.take(Event::Request(RequestEvent { request, at, change }));
        };
        let agenda = agenda(requests, time.now());
        let mut due = agenda.iter().peekable();
        loop {
            let now = time.now();
            while let Some(next) = due.next_if(|next| next.at <= now) {
                let request = &requests[next.request as usize];
                if !next.cancels {
                    self.batcher.submit(next.request, &request.prompt, request.output_tokens, false);
                    served.requests[next.request as usize].tokens.reserve(request.output_tokens as usize);
                    tell(next.request, next.at, RequestChange::Arrived, events);
                } else if self.batcher.cancel(next.request) {
                    tell(next.request, now, RequestChange::Cancelled, events);
                }
            }
            let Some((start, end)) =
                self.step(Lane::Both, LogitsWanted::Nothing, interrupt, || time.now())?
            else {
                if interrupt.requested() {
                    return Err(Error::Interrupted);
                }
                let idle = self.batcher.running() + self.batcher.waiting() == 0;
                // A time to cancel what is over already is nothing to wait for.
                match due.clone().find(|next| !next.cancels) {
                    Some(next) if idle => time.rest(next.at),
                    None if idle => return Ok(served),
                    // Checked before the run: whatever waits fits when it is alone.
                    _ => return Err(self.failed("requests wait and none can run".to_owned())),
                }
                continue;
            };
            for request in self.batcher.preempted() {
                served.preemptions += 1;
                tell(*request, start, RequestChange::Preempted, events);
            }
            for request in self.batcher.admitted() {
                tell(*request, start, RequestChange::Admitted, events);
            }
            let plan = self.batcher.planned();
            let step = plan.event(plan.phase(), start, end);
            events.take(Event::Step(step));
            served.recomputed_tokens += u64::from(step.recomputed_tokens);
            served.most_pages = served.most_pages.max(self.batcher.pages().held());
            served.non_finite_steps += u32::from(self.output.non_finite);
            self.batcher.apply(&self.output.next, |effect| match effect {
                Effect::Token { owner, token } => {
                    served.requests[owner as usize].tokens.push(token);
                    events.take(Event::Token(TokenEvent { sequence: owner, at: end, token }));
                }
                Effect::Finished { owner, stopped, cached } => {
                    let request = &mut served.requests[owner as usize];
                    request.ending = if stopped { Ending::Stopped } else { Ending::Finished };
                    request.cached_tokens = cached;
                    tell(owner, end, RequestChange::Finished, events);
                }
            });
        }
    }

    /// Empties the cache and makes it ready for requests that come and go.
    pub(super) fn begin_serving(&mut self, options: &ServeOptions) {
        self.begin(self.serving_limits(options), options.share_prefixes);
        self.batcher.stop_at(&options.stop_tokens);
    }

    fn serving_limits(&self, options: &ServeOptions) -> Limits {
        let own = self.engine.limits();
        let at_most =
            |own: u32, asked: Option<u32>| asked.map_or(own, |asked| asked.clamp(1, own.max(1))) as usize;
        let tokens = at_most(own.tokens_per_step, options.tokens_per_step);
        let sequences = at_most(self.bounds().max_batch, options.max_sequences).min(tokens);
        let spare = |pages: u32| (pages as usize).div_ceil(SPARE_SHARE);
        let spare_pages = options.spare_pages.map_or_else(|| spare(own.pages), |asked| asked as usize);
        Limits { tokens, sequences, spare_pages, keep_finished: false }
    }
}

/// All that will be due, in the order of time.
fn agenda(requests: &[Request], start: Tick) -> Vec<Due> {
    let at = |seconds: Seconds| {
        // What lies before the start is due at once, what no clock can show is never due.
        let after = Duration::try_from_secs_f64(seconds.get().max(0.0)).unwrap_or(Duration::MAX);
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Tick::from_nanos(start.nanos().saturating_add(after))
    };
    let mut agenda = Vec::with_capacity(2 * requests.len());
    for (index, request) in (0..).zip(requests) {
        let arrives = Due { at: at(request.arrival), cancels: false, request: index };
        agenda.push(arrives);
        let cancel = request.cancel.map(|cancel| at(cancel).max(arrives.at));
        agenda.extend(cancel.map(|at| Due { at, cancels: true, request: index }));
    }
    agenda.sort_unstable();
    agenda
}
