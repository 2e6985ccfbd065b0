//! The highest rate at which requests meet their goals: a bracket, then bisection.
//!
//! One request at a time shows the best that the server can do: goals missed then are missed at every rate. Starting
//! from that rate, each probe is a row at twice the rate until one misses the goals, or at half the rate until one
//! keeps them; then at the geometric mean of the highest rate that kept them and the lowest that missed them, until
//! the two are close.
//!
//! A rate keeps the goals if the whole 95% interval of the share of good requests is above the requested share, and
//! misses them if the whole interval is below, or if requests pile up: then a longer row would miss them. Anything
//! else is unclear; such a row is run once more, twice as long, and if it is still unclear the search continues by
//! the measured share, and the answer's interval stays wide.

use crate::base::clock;
use crate::base::stats::share_interval;
use crate::base::units::Seconds;
use crate::record::Metric;
use crate::run::measure::serving::Figure;
use crate::workload::{self, Stopped};

use super::row::{self, Driven, Job, Length, Told};
use super::{Error, Level, PlannedRow};

/// Smallest number of requests of a probe: if this many are all good, the interval of their share is above 94%.
const FEWEST: u32 = 64;
/// Seconds of a probe at least.
const SHORTEST: f64 = 10.0;
/// Requests of the row that is loaded by one at a time.
const ALONE: u32 = 24;
/// The two ends of the answer may be so far apart.
const CLOSE: f64 = 1.05;
/// The first rate, as a multiple of that of one request at a time: servers batch.
const ABOVE_ALONE: f64 = 2.0;
/// Rates that are tried at most.
const MOST_STEPS: u32 = 24;
/// Default limit on the time of a search.
pub(super) const LONGEST: Seconds = Seconds::new(600.0);
const CONFIDENCE: f64 = 0.95;

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// The share of requests that must be good.
    pub share: f64,
    /// Each row that was tried, in that order.
    pub probes: Vec<Probe>,
    /// The highest rate that kept the goals; why there is none.
    pub kept: Result<f64, String>,
    /// The lowest rate that missed them, of those above; why there is none.
    pub missed: Result<f64, String>,
}

/// A rate that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// The rate.
    pub requests_per_second: f64,
    /// Good requests.
    pub good: u64,
    /// Requests that were due.
    pub due: u64,
    /// Whether requests piled up.
    pub grows: bool,
    /// What that says.
    pub verdict: Verdict,
}

/// What a rate did to the goals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They were kept.
    Kept,
    /// They were missed.
    Missed,
    /// Too few requests to tell.
    Unclear,
}

impl Verdict {
    /// Its name in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Missed => "missed",
            Self::Unclear => "unclear",
        }
    }
}

impl Probe {
    fn of(requests_per_second: f64, driven: &Driven, share: f64) -> Self {
        let found = driven.serving.goodput;
        let (good, due) = found.map_or((0, 0), |found| (found.good, found.due));
        let grows = driven.serving.steady.grows;
        let interval = share_interval(good, due, CONFIDENCE);
        let verdict = match interval {
            _ if grows => Verdict::Missed,
            Some(interval) if interval.low >= share => Verdict::Kept,
            Some(interval) if interval.high < share => Verdict::Missed,
            _ => Verdict::Unclear,
        };
        Self { requests_per_second, good, due, grows, verdict }
    }

    /// Whether the share itself keeps the goals, however sure that is.
    fn looks_kept(&self, share: f64) -> bool {
        !self.grows && self.due > 0 && self.good as f64 >= share * self.due as f64
    }
}

/// Searches on what serves; the rows that were driven and what ended it before its end.
///
/// # Errors
/// As a row.
pub(super) fn rates<E>(
    job: &Job<'_>,
    share: f64,
    served_by: &mut dyn workload::Serving<Error = E>,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<(Vec<Driven>, Option<Stopped>, Search), Error>
where
    Error: From<E>,
{
    let mut searching = Searching {
        job,
        share,
        served_by,
        tell,
        begin: clock::now(),
        rows: Vec::new(),
        probes: Vec::new(),
        stopped: None,
        driven: 0,
    };
    let kept = searching.search()?;
    let (kept, missed) = match kept {
        Ok((kept, missed)) => (Ok(kept), missed),
        Err(reason) => (Err(reason.clone()), Err(reason)),
    };
    let Searching { mut rows, probes, stopped, .. } = searching;
    for row in &mut rows {
        let rate = row.row.level.requests_per_second();
        let probe = probes.iter().find(|probe| Some(probe.requests_per_second) == rate);
        // A row that only began the search is not what it is for.
        row.serving.figures.push(keeps_goals(probe.is_some_and(|probe| probe.verdict == Verdict::Kept)));
    }
    Ok((rows, stopped, Search { share, probes, kept, missed }))
}

/// Whether a row keeps the goals: the cost at the top of a record is that of one that does.
fn keeps_goals(kept: bool) -> Figure {
    let value = if kept { 1.0 } else { 0.0 };
    Figure {
        metric: Metric::KeepsGoals,
        value: Ok(value),
        ci95: Err("yes or no".to_owned()),
        percentiles: Vec::new(),
        n: 1,
        samples: vec![value],
        method: "1 where the 95% interval of the share of good requests lies above the share asked for, else 0",
    }
}

struct Searching<'a, E> {
    job: &'a Job<'a>,
    share: f64,
    served_by: &'a mut dyn workload::Serving<Error = E>,
    tell: &'a mut dyn FnMut(Told<'_>),
    begin: crate::base::event::Tick,
    rows: Vec<Driven>,
    probes: Vec<Probe>,
    stopped: Option<Stopped>,
    /// Rows so far, those that a longer one replaced among them: each has prompts of its own.
    driven: usize,
}

/// The best rate that kept the goals, and the least above it that missed them.
type Bracket = (f64, Result<f64, String>);

impl<E> Searching<'_, E>
where
    Error: From<E>,
{
    fn search(&mut self) -> Result<Result<Bracket, String>, Error> {
        const NO_TIME: &str = "the run ended first; --max-time gives it more time";
        let Some(alone) = self.alone()? else { return Ok(Err(NO_TIME.to_owned())) };
        let mut rate = match alone {
            Ok(rate) => round(rate * ABOVE_ALONE),
            Err(reason) => return Ok(Err(reason)),
        };
        // What is unclear narrows where to look, and not the answer: that is between `kept` and `missed`.
        let (mut kept, mut missed, mut from, mut to) = (None, None, None, None);
        for _ in 0..MOST_STEPS {
            rate = match (from, to) {
                (None, None) => rate,
                (Some(from), None) => round(from * 2.0),
                (None, Some(to)) => round(to / 2.0),
                (Some(from), Some(to)) if to / from <= CLOSE => break,
                (Some(from), Some(to)) => {
                    let middle = round(f64::sqrt(from * to));
                    if middle <= from || middle >= to {
                        break;
                    }
                    middle
                }
            };
            let Some(verdict) = self.probe(rate)? else { break };
            if verdict == Verdict::Kept || verdict == Verdict::Unclear && self.last_looks_kept() {
                from = Some(rate);
            } else {
                to = Some(rate);
            }
            match verdict {
                Verdict::Kept => kept = Some(rate),
                Verdict::Missed => missed = Some(rate),
                Verdict::Unclear => {}
            }
        }
        let why = |what: &str| {
            let over = self.stopped.is_some() || self.is_over(rate);
            if over { NO_TIME.to_owned() } else { format!("no rate that was tried clearly {what} the goals") }
        };
        let Some(kept) = kept else { return Ok(Err(why("kept"))) };
        Ok(Ok((kept, missed.ok_or_else(|| why("missed")))))
    }

    /// One request at a time: the rate of that, or why no rate keeps the goals; `None` when it came to nothing.
    fn alone(&mut self) -> Result<Option<Result<f64, String>>, Error> {
        let level = Level::Closed { max_concurrency: 1 };
        let length = Length { time: None, requests: Some(ALONE) };
        if !self.drive(level, length)? {
            return Ok(None);
        }
        let Some(driven) = self.rows.last() else { return Ok(None) };
        let good = driven.serving.goodput;
        if good.is_some_and(|found| found.due > 0 && found.good * 2 < found.due) {
            return Ok(Some(Err("a request alone already misses the goals".to_owned())));
        }
        let latency = driven.serving.figures.iter().find(|f| f.metric == Metric::EndToEndLatencySeconds);
        let seconds = latency.and_then(|figure| figure.value.clone().ok()).filter(|seconds| *seconds > 0.0);
        Ok(Some(seconds.map(|seconds| 1.0 / seconds).ok_or_else(|| "no request was completed".to_owned())))
    }

    /// Tries a rate, twice where that was not clear; `None` when there is no time or the run is over.
    fn probe(&mut self, rate: f64) -> Result<Option<Verdict>, Error> {
        let Level::Open { burstiness, max_concurrency, .. } = self.job.plan.rows[0].level else {
            return Ok(None);
        };
        let level = Level::Open { requests_per_second: rate, burstiness, max_concurrency };
        for times in [1, 2] {
            if self.is_over(rate) {
                break;
            }
            let length =
                Length { time: None, requests: Some(requests(rate, self.job.plan.num_prompts) * times) };
            if !self.drive(level, length)? {
                return Ok(None);
            }
            let Some(driven) = self.rows.last() else { return Ok(None) };
            let probe = Probe::of(rate, driven, self.share);
            if times == 2 {
                // The longer row represents both.
                self.probes.pop();
                self.rows.swap_remove(self.rows.len() - 2);
            }
            self.probes.push(probe);
            if self.probes.last().is_some_and(|probe| probe.verdict != Verdict::Unclear) {
                break;
            }
        }
        Ok(self
            .probes
            .last()
            .filter(|probe| probe.requests_per_second.total_cmp(&rate).is_eq())
            .map(|p| p.verdict))
    }

    fn last_looks_kept(&self) -> bool {
        self.probes.last().is_some_and(|probe| probe.looks_kept(self.share))
    }

    /// Whether another probe would take longer than there is time for.
    fn is_over(&self, rate: f64) -> bool {
        let longest = self.job.plan.max_time_seconds.unwrap_or(LONGEST);
        let next = Seconds::new(f64::from(requests(rate, self.job.plan.num_prompts)) / rate);
        self.stopped.is_some() || clock::now().since(self.begin) + next > longest
    }

    /// Drives a row; whether the run goes on.
    fn drive(&mut self, level: Level, length: Length) -> Result<bool, Error> {
        let planned = &self.job.plan.rows[0];
        let row = PlannedRow { label: planned.label_at(level), level, ..planned.clone() };
        let number = self.driven;
        self.driven += 1;
        (self.tell)(Told::Begins { row: &row, number: (number, number + 1), time: None });
        let (driven, stopped) = row::drive(self.job, self.served_by, &row, number, length)?;
        (self.tell)(Told::Over(&driven));
        self.rows.push(driven);
        self.stopped = stopped;
        Ok(self.stopped.is_none())
    }
}

/// Requests of a probe.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above zero, and saturates")]
fn requests(rate: f64, asked: Option<u32>) -> u32 {
    asked.unwrap_or_else(|| FEWEST.max((rate * SHORTEST).ceil() as u32))
}

/// A rate of three digits: its row has a name.
fn round(rate: f64) -> f64 {
    let digits = 10f64.powf(2.0 - rate.log10().floor());
    (rate * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::event::Tick;
    use crate::base::requests::{
        Amount, Ending, Finish, InFlight, Outcome, Part, Planned, RequestLog, Usage,
    };
    use crate::base::sys::Interrupt;
    use crate::run::measure::serving::Goals;
    use crate::run::serving::{Asked, Plan, Prompting};
    use crate::workload::{Load, Next, Questions, Report, Serving, Stats};

    /// A server that serves one request after the other, each in the same time, on a clock of its own that does not wait.
    struct OneByOne {
        service: Seconds,
        free: Tick,
        /// Requests in flight by when they end.
        ends: BTreeMap<(Tick, u32), (InFlight, Planned)>,
    }

    impl OneByOne {
        fn end_until(&mut self, now: Tick, load: &mut Load, log: &mut RequestLog) {
            while let Some(first) = self.ends.first_entry().filter(|first| first.key().0 <= now) {
                let ((at, index), (slot, planned)) = first.remove_entry();
                log.delivered(slot, at, Part::Answer, Amount::Tokens(planned.output_tokens));
                let Planned { prompt_tokens, output_tokens, .. } = planned;
                let usage = Usage { prompt_tokens, cached_tokens: Some(0), output_tokens };
                let (ending, finish) = (Ending::Completed, Finish::Length);
                log.end(slot, Outcome { at, ending, finish, usage: Some(usage), tokenizer: None });
                load.ended(index, at).expect("in flight");
            }
        }
    }

    impl Serving for OneByOne {
        type Error = Error;

        fn drive(
            &mut self,
            load: &mut Load,
            questions: &Questions,
            log: &mut RequestLog,
            _: &Interrupt,
        ) -> Result<Report, Error> {
            let mut now = log.begin();
            self.free = now;
            loop {
                self.end_until(now, load, log);
                let end = self.ends.first_key_value().map(|(first, _)| first.0);
                now = match load.next(now) {
                    Next::Send(send) => {
                        let asked = questions.lengths.at(send.request);
                        let planned = Planned {
                            index: send.request,
                            warmup: send.warmup,
                            intended: send.intended,
                            released: send.released,
                            prompt_tokens: asked.prompt_tokens,
                            output_tokens: asked.output_tokens,
                        };
                        let slot = log.start(planned, now);
                        log.sent(slot, now);
                        self.free = self.free.max(now).after(self.service);
                        self.ends.insert((self.free, send.request), (slot, planned));
                        now
                    }
                    Next::WaitUntil(due) => end.map_or(due, |end| end.min(due)),
                    Next::WaitForEnd => end.expect("something is in flight"),
                    Next::Over => {
                        let stats = Stats::default();
                        return Ok(Report { stats, stopped: None, processor_time: None, work: None });
                    }
                };
            }
        }
    }

    /// Searches on a server of 20 requests a second; gives what it found.
    fn found(burstiness: f64, ttft_ms: f64) -> Search {
        let goals = Goals { time_to_first_token: Some(Seconds::new(ttft_ms / 1e3)), ..Goals::default() };
        let asked = Asked { find_share: Some(0.9), goals, burstiness: Some(burstiness), ..Asked::default() };
        let plan = Plan::resolve(asked).expect("a plan");
        let interrupt = Interrupt::default();
        let prompting = Prompting { vocabulary: None, as_text: false };
        let job = Job { plan: &plan, file: None, prompting, interrupt: &interrupt };
        let mut server =
            OneByOne { service: Seconds::new(0.05), free: Tick::default(), ends: BTreeMap::new() };
        let (rows, stopped, search) = rates(&job, 0.9, &mut server, &mut |_| ()).expect("a search");
        assert_eq!((stopped, rows.len()), (None, search.probes.len() + 1));
        let mut labels: Vec<&str> = rows.iter().map(|row| row.row.label.as_str()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), rows.len(), "no rate is tried twice");
        let keeps = rows.iter().filter(|row| {
            let figure = row.serving.figures.iter().find(|figure| figure.metric == Metric::KeepsGoals);
            figure.is_some_and(|figure| figure.value == Ok(1.0))
        });
        assert_eq!(keeps.count(), search.probes.iter().filter(|p| p.verdict == Verdict::Kept).count());
        search
    }

    #[test]
    fn a_known_knee_is_found_within_its_interval() {
        // At even gaps no request waits below 20 requests per second, and every one does above.
        let search = found(f64::INFINITY, 150.0);
        let (kept, missed) = (search.kept.clone().expect("a rate"), search.missed.clone().expect("a rate"));
        assert!(kept <= 20.0 && 20.0 <= missed && missed / kept < 1.06, "{search:?}");
        // Poisson arrivals wait for each other before that, and 200 of them come by chance up to a seventh faster or slower.
        let search = found(1.0, 500.0);
        let (kept, missed) = (search.kept.clone().expect("a rate"), search.missed.clone().expect("a rate"));
        assert!(10.0 < kept && kept < 23.0 && kept < missed && missed < 30.0, "{search:?}");
    }

    #[test]
    fn goals_that_a_request_alone_misses_are_missed_at_every_rate() {
        let search = found(1.0, 40.0);
        assert!(search.probes.is_empty());
        let reason = search.kept.expect_err("no rate");
        assert!(reason.contains("alone already misses the goals"), "{reason}");
    }

    #[test]
    fn rates_have_three_digits_and_probes_enough_requests() {
        for (rate, rounded) in [(0.123_456, 0.123), (1.0, 1.0), (37.777, 37.8), (12_345.0, 12_300.0)] {
            assert!((round(rate) / rounded - 1.0_f64).abs() < 1e-12, "{rate}");
        }
        assert_eq!([requests(0.1, None), requests(100.0, None), requests(5.0, Some(7))], [64, 1000, 7]);
    }
}
