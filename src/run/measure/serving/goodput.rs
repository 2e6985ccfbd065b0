//! Requests that kept every goal. One that failed, was never sent, or had broken a goal when we cut it, missed.

use crate::base::event::Span;
use crate::base::requests::{Ending, Moment, Request};
use crate::base::stats::{Interval, share_interval};
use crate::base::units::Seconds;
use crate::record::Metric;

use super::{CONFIDENCE, Figure, between, time_per_output_token};

/// The most that a request may take; what is `None` is no goal. vLLM's `--goodput ttft:… tpot:… e2el:…`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Goals {
    /// Time to first token.
    pub time_to_first_token: Option<Seconds>,
    /// Time per output token; an answer of one delivery has none and keeps it.
    pub time_per_output_token: Option<Seconds>,
    /// Due until the last delivery.
    pub end_to_end_latency: Option<Seconds>,
}

/// How many requests kept the goals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goodput {
    /// Good requests ÷ length of the window.
    pub requests_per_second: f64,
    /// Good ÷ due within the window: vLLM divides by nothing, SGLang calls it attainment.
    pub share: Option<f64>,
    /// Wilson's 95% interval of the share.
    pub share_ci95: Option<Interval>,
    /// Good requests.
    pub good: u64,
    /// Requests due.
    pub due: u64,
}

impl Goodput {
    /// Of the requests due within `span`, and of `unsent` more; `None` without a goal.
    pub(super) fn of(goals: Goals, due: &[&Request], unsent: usize, span: Span) -> Option<Self> {
        if goals == Goals::default() {
            return None;
        }
        let verdicts: Vec<bool> = due.iter().filter_map(|request| goals.kept_by(request)).collect();
        let good = verdicts.iter().filter(|kept| **kept).count() as u64;
        let due = (verdicts.len() + unsent) as u64;
        let share_ci95 = share_interval(good, due, CONFIDENCE);
        let share = (due > 0).then(|| good as f64 / due as f64);
        let length = span.length().get();
        let requests_per_second = if length > 0.0 { good as f64 / length } else { 0.0 };
        Some(Self { requests_per_second, share, share_ci95, good, due })
    }

    pub(super) fn figure(&self) -> Figure {
        // The rate is the share of a number of requests that is given.
        let all = self.share.filter(|share| *share > 0.0).map(|share| self.requests_per_second / share);
        let ci95 = self.share_ci95.zip(all).map(|(share, all)| share.map(|share| share * all));
        Figure {
            metric: Metric::GoodputRequestsPerSecond,
            value: self
                .share
                .map(|_| self.requests_per_second)
                .ok_or_else(|| "no request was due".to_owned()),
            ci95: ci95.ok_or_else(|| "no request kept the goals".to_owned()),
            percentiles: Vec::new(),
            n: usize::try_from(self.due).unwrap_or(usize::MAX),
            samples: Vec::new(),
            method: "requests that kept every goal ÷ length of the window; Wilson's interval of their share",
        }
    }
}

impl Goals {
    /// Whether a request kept them; `None` when we cut it before that was clear.
    fn kept_by(self, request: &Request) -> Option<bool> {
        let due = Moment::from(request.planned.intended);
        let over = |goal: Option<Seconds>, time: Option<f64>| {
            goal.is_some_and(|goal| time.is_some_and(|time| time > goal.get()))
        };
        let broken = |last: Moment| {
            let first = if request.first == Moment::NEVER { last } else { request.first };
            over(self.time_to_first_token, between(due, first))
                || over(self.end_to_end_latency, between(due, last))
                || over(self.time_per_output_token, time_per_output_token(request))
        };
        match request.ending {
            Ending::Completed => Some(!broken(request.last)),
            Ending::CutByUs => broken(request.ended.into()).then_some(false),
            _ => Some(false),
        }
    }
}
