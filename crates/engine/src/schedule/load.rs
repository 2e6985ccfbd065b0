//! A load on the engine itself: [`Scheduled::serve`] for requests that come when the load's driver says so.
//!
//! There is no client, so nothing delays a request between being due and waiting here: one that becomes due during a
//! step is taken up after it, and that wait is the engine's own. Prompts are made between two steps, at a nanosecond
//! or so a token.

use std::collections::BTreeMap;

use super::super::{Error, LogitsWanted, StepEngine};
use super::Scheduled;
use super::batcher::{Effect, Lane};
use super::serve::{ClockTime, Request, ServeOptions, Time};
use crate::base::event::{Span, Tick};
use crate::base::requests::{
    Amount, Ending, Failure, Finish, InFlight, Outcome, Part, Planned, RequestLog, Usage,
};
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use crate::workload::{Load, Next, Questions, Report, Send, Serving, Stats, Stopped, Work};

/// How long requests in flight are waited for after the last one came: an overloaded engine would go on for as long as it
/// is behind.
const DRAIN: Seconds = Seconds::new(60.0);

/// A scheduler as it serves a load.
#[derive(Debug)]
pub(super) struct Loaded<'a, S> {
    scheduled: &'a mut Scheduled<S>,
    options: ServeOptions,
}

impl<'a, S> Loaded<'a, S> {
    pub(super) fn new(scheduled: &'a mut Scheduled<S>, options: ServeOptions) -> Self {
        Self { scheduled, options }
    }
}

impl<S: StepEngine> Serving for Loaded<'_, S> {
    type Error = Error;

    fn drive(
        &mut self,
        load: &mut Load,
        questions: &Questions,
        log: &mut RequestLog,
        interrupt: &Interrupt,
    ) -> Result<Report, Error> {
        self.scheduled.serve_load(&mut ClockTime, &self.options, Driven::of(load, questions, log), interrupt)
    }
}

/// A load under way.
pub(super) struct Driven<'a> {
    load: &'a mut Load,
    questions: &'a Questions,
    log: &'a mut RequestLog,
    /// Requests that are not over, by their index.
    in_flight: BTreeMap<u32, (InFlight, Planned)>,
    prompt: Vec<u32>,
    stats: Stats,
    work: Work,
}

impl<'a> Driven<'a> {
    pub(super) fn of(load: &'a mut Load, questions: &'a Questions, log: &'a mut RequestLog) -> Self {
        Self {
            load,
            questions,
            log,
            in_flight: BTreeMap::new(),
            prompt: Vec::new(),
            stats: Stats::default(),
            work: Work::default(),
        }
    }

    /// Notes the request, and makes its prompt.
    fn begin(&mut self, send: Send) -> Planned {
        let Send { request: index, warmup, released, .. } = send;
        let asked = self.questions.lengths.at(index);
        self.questions.prompts.tokens(index, warmup, asked.prompt_tokens, &mut self.prompt);
        let planned = send.planned(asked);
        // No client had to pick it up and send it.
        let slot = self.log.start(planned, released);
        self.log.sent(slot, released);
        self.in_flight.insert(index, (slot, planned));
        planned
    }

    fn token(&mut self, owner: u32, at: Tick) {
        if let Some((slot, _)) = self.in_flight.get(&owner) {
            self.log.delivered(*slot, at, Part::Answer, Amount::Tokens(1));
        }
    }

    fn finish(&mut self, owner: u32, at: Tick, finish: Finish, cached: u32) {
        let Some((slot, planned)) = self.in_flight.get(&owner) else { return };
        let output_tokens = u32::try_from(self.log.deliveries_so_far(*slot)).unwrap_or(u32::MAX);
        let usage =
            Usage { prompt_tokens: planned.prompt_tokens, cached_tokens: Some(cached), output_tokens };
        self.end(
            owner,
            Outcome { at, ending: Ending::Completed, finish, usage: Some(usage), tokenizer: None },
        );
    }

    fn end(&mut self, owner: u32, outcome: Outcome) {
        if let Some((slot, _)) = self.in_flight.remove(&owner) {
            self.log.end(slot, outcome);
            let known = self.load.ended(owner, outcome.at);
            debug_assert!(known.is_ok(), "each request ends once");
        }
    }

    /// Ends the load before its own end, and with it every request.
    fn stop(mut self, at: Tick, stopped: Stopped) -> Report {
        self.load.stop();
        match &stopped {
            Stopped::EngineFailed(failure) => {
                (0..self.in_flight.len()).for_each(|_| self.stats.count(failure));
                self.cut(at, failure.ending);
            }
            _ => self.cut(at, Ending::CutByUs),
        }
        Report { stopped: Some(stopped), ..self.report() }
    }

    /// Ends every request in flight.
    fn cut(&mut self, at: Tick, ending: Ending) {
        while let Some(owner) = self.in_flight.keys().next().copied() {
            self.end(owner, Outcome { at, ending, finish: Finish::NotSaid, usage: None, tokenizer: None });
        }
    }

    fn report(self) -> Report {
        Report { stats: self.stats, stopped: None, processor_time: None, work: Some(self.work) }
    }
}

impl<S: StepEngine> Scheduled<S> {
    /// Serves a load by any clock. What the cache held is gone before and after.
    pub(super) fn serve_load(
        &mut self,
        time: &mut impl Time,
        options: &ServeOptions,
        driven: Driven<'_>,
        interrupt: &Interrupt,
    ) -> Result<Report, Error> {
        let longest = driven.questions.lengths.longest();
        let request = Request {
            arrival: Seconds::ZERO,
            prompt: vec![0; longest.prompt_tokens as usize],
            output_tokens: longest.output_tokens,
            cancel: None,
        };
        self.bounds().check_requests(&[request])?;
        self.begin_serving(options);
        let report = self.serve_all_of(time, driven, interrupt);
        // Also after a stop: what was cut is over.
        self.batcher.clear();
        self.learn();
        Ok(report)
    }

    fn serve_all_of(
        &mut self,
        time: &mut impl Time,
        mut driven: Driven<'_>,
        interrupt: &Interrupt,
    ) -> Report {
        let mut all_sent: Option<Tick> = None;
        loop {
            if interrupt.requested() {
                return driven.stop(time.now(), Stopped::Interrupted);
            }
            let due = loop {
                let now = time.now();
                match driven.load.next(now) {
                    Next::Send(send) => {
                        let planned = driven.begin(send);
                        self.batcher.submit(planned.index, &driven.prompt, planned.output_tokens, false);
                    }
                    Next::WaitUntil(due) => break Some(due),
                    // All slots are taken, and more will be sent.
                    Next::WaitForEnd if driven.load.over().is_none() => break None,
                    Next::WaitForEnd => {
                        if now.since(*all_sent.get_or_insert(now)) <= DRAIN {
                            break None;
                        }
                        driven.cut(now, Ending::CutByUs);
                    }
                    Next::Over => return driven.report(),
                }
            };
            match (self.step(Lane::Both, LogitsWanted::Nothing, interrupt, || time.now()), due) {
                (Ok(Some((start, end))), _) => self.book(start, end, &mut driven),
                (Ok(None), Some(due)) if driven.in_flight.is_empty() => {
                    let from = time.now();
                    time.rest(due);
                    rested(&mut driven.work, Span { from, to: time.now() });
                }
                (Err(Error::Interrupted), _) => return driven.stop(time.now(), Stopped::Interrupted),
                (Ok(None), _) => {
                    let stuck = self.failed("requests wait and none can run".to_owned());
                    return driven.stop(time.now(), failed(&stuck));
                }
                (Err(error), _) => return driven.stop(time.now(), failed(&error)),
            }
        }
    }

    /// Notes what a step did.
    fn book(&mut self, start: Tick, end: Tick, driven: &mut Driven<'_>) {
        let plan = self.batcher.planned();
        let step = plan.event(plan.phase(), start, end);
        driven.work.preemptions += self.batcher.preempted().len() as u64;
        driven.work.recomputed_tokens += u64::from(step.recomputed_tokens);
        driven.work.non_finite_steps += u32::from(self.output.non_finite);
        driven.work.steps.push(step);
        self.batcher.apply(&self.output.next, |effect| match effect {
            Effect::Token { owner, .. } => driven.token(owner, end),
            Effect::Finished { owner, stopped, cached } => {
                let finish = if stopped { Finish::Stop } else { Finish::Length };
                driven.finish(owner, end, finish, cached);
            }
        });
    }
}

/// Adds a rest; with no step since the last it is the same, with a look at the interrupt between.
fn rested(work: &mut Work, rest: Span) {
    let stepped = work.steps.last().map_or(Tick::default(), |step| step.end);
    match work.rests.last_mut() {
        Some(last) if stepped <= last.from => last.to = rest.to,
        _ => work.rests.push(rest),
    }
}

fn failed(error: &Error) -> Stopped {
    Stopped::EngineFailed(Failure::new(Ending::EngineFailed, error.to_string()))
}
