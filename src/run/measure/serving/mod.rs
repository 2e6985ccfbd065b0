//! Requests in, figures of a load out: whatever served them and however they came.
//!
//! Latencies count from the moment at which a request was due, so that neither a busy client nor a queue hides. Rates
//! are of tokens delivered within the steady window; without one they are `null` with the reason, and the figures of
//! the whole run are next to them. Formulas are those of `docs/metrics.md`, under `infercost.serving.*`.

mod counts;
mod goodput;
mod latency;
mod rate;
mod share;
mod steady;

pub use counts::{Counts, Lengths};
pub use goodput::{Goals, Goodput};
pub use share::shared_out;
pub use steady::Steady;

use crate::base::event::{Span, Tick};
use crate::base::requests::{Ending, Moment, Request, RequestLog};
use crate::base::stats::{
    Interval, mean, quantile_interval, quantile_of_sorted, samples_for_quantile, t_interval_positive,
};
use crate::base::units::Seconds;
use crate::record::Metric;

const CONFIDENCE: f64 = 0.95;

/// The percentiles that are stated, when there are enough requests.
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// What makes requests due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// The end of the one before, with so many in flight.
    Closed {
        /// Requests in flight.
        concurrency: u32,
    },
    /// A schedule.
    Open,
}

/// A load that is over.
#[derive(Debug)]
pub struct Observed<'a> {
    /// All its requests.
    pub log: &'a RequestLog,
    /// How they came.
    pub pace: Pace,
    /// From the end of the warm-up to the end of sending.
    pub measured: Span,
    /// When those were due that were never sent.
    pub unsent: &'a [Tick],
    /// What a request must keep to be good.
    pub goals: Goals,
}

/// All that is measured of a load.
#[derive(Debug, Clone, PartialEq)]
pub struct Serving {
    /// The steady window.
    pub steady: Steady,
    /// The figures, each with its formula.
    pub figures: Vec<Figure>,
    /// Requests that kept the goals; `None` without a goal.
    pub goodput: Option<Goodput>,
    /// What was counted.
    pub counts: Counts,
}

/// One figure. What is not known says why.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name; the formula is `infercost.serving.NAME/1`.
    pub metric: Metric,
    /// The figure: of a distribution its mean.
    pub value: Result<f64, String>,
    /// 95% interval.
    pub ci95: Result<Interval, String>,
    /// Of a distribution p50, p90, p95 and p99; empty otherwise.
    pub percentiles: Vec<Percentile>,
    /// How many samples there are.
    pub n: usize,
    /// The samples themselves: of a distribution one a request in the order in which they were due, of a rate one a block
    /// of the window. Gaps are not kept individually.
    pub samples: Vec<f64>,
    /// How value and interval come from the samples.
    pub method: &'static str,
}

/// A percentile with the interval of its order statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentile {
    /// Which: 0.99 for p99.
    pub q: f64,
    /// The percentile.
    pub value: Result<f64, String>,
    /// 95% interval.
    pub ci95: Result<Interval, String>,
}

impl Figure {
    /// Id of its formula in `docs/metrics.md`.
    pub fn formula(&self) -> String {
        format!("infercost.serving.{}/1", self.metric)
    }

    /// The distribution of `samples`, one a request in the order in which they were due.
    fn distribution(metric: Metric, samples: &[f64]) -> Self {
        let n = samples.len();
        let none = || "no request has it".to_owned();
        let few = || format!("{n} requests; an interval needs two");
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let percentile = |q| Percentile {
            q,
            value: enough(n, q).and_then(|()| quantile_of_sorted(&sorted, q).ok_or_else(none)),
            ci95: enough(n, q).and_then(|()| quantile_interval(&sorted, q, CONFIDENCE).ok_or_else(none)),
        };
        Self {
            metric,
            value: mean(samples).ok_or_else(none),
            ci95: t_interval_positive(&block_means(samples), CONFIDENCE).ok_or_else(few),
            percentiles: QUANTILES.map(percentile).into(),
            n,
            samples: samples.to_vec(),
            method: "mean over requests; t interval of the log over the means of 20 blocks of them, effective sample size; \
                     percentiles of type 7 with the intervals of their order statistics",
        }
    }
}

/// The means of blocks of neighbours: requests that follow one another wait in the same line, blocks of them hardly do. As
/// they are when they are too few for blocks.
fn block_means(samples: &[f64]) -> Vec<f64> {
    let n = samples.len();
    if n < 2 * steady::BLOCKS {
        return samples.to_vec();
    }
    let block = |block: usize| &samples[block * n / steady::BLOCKS..(block + 1) * n / steady::BLOCKS];
    (0..steady::BLOCKS).filter_map(|index| mean(block(index))).collect()
}

/// Whether so many requests have such a percentile.
fn enough(requests: usize, q: f64) -> Result<(), String> {
    let needed = samples_for_quantile(q, CONFIDENCE);
    if requests >= needed { Ok(()) } else { Err(format!("{requests} requests; it takes {needed}")) }
}

/// Measures a load.
pub fn measure(observed: &Observed<'_>) -> Serving {
    let steady = Steady::of(observed);
    // Without a steady window latencies are those of all that was measured, and the reason is in `steady`.
    let span = steady.window.clone().unwrap_or(observed.measured);
    let mut due: Vec<&Request> =
        observed.log.requests().iter().filter(|request| is_measured(request)).collect();
    due.sort_by_key(|request| (request.planned.intended, request.planned.index));
    let within = |request: &&&Request| holds(span, request.planned.intended) || steady.window.is_err();
    let selected: Vec<&Request> = due.iter().filter(within).copied().collect();
    let completed: Vec<&Request> =
        selected.iter().filter(|request| request.ending == Ending::Completed).copied().collect();
    let mut figures = rate::figures(observed, &steady, &due);
    figures.extend(latency::figures(observed.log, span, &completed));
    let unsent = observed.unsent.iter().filter(|at| holds(span, **at) || steady.window.is_err()).count();
    let goodput = Goodput::of(observed.goals, &selected, unsent, span);
    figures.extend(goodput.as_ref().map(Goodput::figure));
    Serving { steady, figures, goodput, counts: Counts::of(&due, observed.unsent.len()) }
}

fn is_measured(request: &Request) -> bool {
    !request.planned.warmup
}

fn holds(span: Span, at: Tick) -> bool {
    span.from <= at && at < span.to
}

/// From one moment to another, if both came.
fn between(from: Moment, to: Moment) -> Option<f64> {
    Some(to.get()?.since(from.get()?).get())
}

/// (last − first delivery) ÷ (n − tokens of the first); `None` when all came at once.
fn time_per_output_token(request: &Request) -> Option<f64> {
    let later = request.output_tokens.checked_sub(request.first_tokens).filter(|later| *later > 0)?;
    let time = between(request.first, request.last)?;
    (request.deliveries > 1).then_some(time / f64::from(later))
}

fn seconds(value: f64) -> Seconds {
    Seconds::new(value)
}

#[cfg(test)]
mod tests;
