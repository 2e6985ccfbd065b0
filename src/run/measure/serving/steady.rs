//! From when to when a server was in a steady state, or why there is no such time.
//!
//! Closed loop: as long as at least 0.95 of its requests were in flight. Open loop: from the block of requests on
//! whose time per token is that of the second half of the run, if that is in the first half. Then both must be
//! stable: no trend in the time per token nor, in an open loop, in the number of requests in the system, and Little's
//! law must hold. The design follows mlcommons/endpoints (docs/steady-state-detection.md): time to first token is too
//! noisy to decide by, and a window is never chosen by the throughput in it.

use crate::base::event::{Span, Tick};
use crate::base::requests::{Ending, Moment, Request};
use crate::base::stats::{mean, median, theil_sen};
use crate::base::text::count;

use super::{Observed, Pace, between, holds, is_measured, seconds, time_per_output_token};

/// Blocks that a window is looked at in.
pub(super) const BLOCKS: usize = 20;

/// Share of a closed loop's requests that must be in flight.
const FULL: f64 = 0.95;

/// A drift of the time per token that matters, relative to its median.
const DRIFT: f64 = 0.05;

/// One of the number in the system. Waiting lines are long and short by turns; one that only grows ends at twice its mean.
const CROWD_DRIFT: f64 = 0.5;

/// How sure a trend must be: several are looked for, and few blocks of a waiting line are independent.
const SURE: f64 = 0.99;

/// How far off Little's law may be.
const LITTLE: f64 = 0.05;

/// The steady window.
#[derive(Debug, Clone, PartialEq)]
pub struct Steady {
    /// From when to when, or why never.
    pub window: Result<Span, String>,
    /// Rate × mean time in flight ÷ mean number in flight, over the window; why it was not looked at.
    pub little: Result<f64, String>,
    /// Mean number in flight over the window, or over everything measured if there is none.
    pub in_flight: f64,
    /// Whether requests of an open loop piled up: more came than were served.
    pub grows: bool,
}

impl Steady {
    pub(super) fn of(observed: &Observed<'_>) -> Self {
        let requests = observed.log.requests();
        let mut measured: Vec<&Request> = requests.iter().filter(|request| is_measured(request)).collect();
        measured.retain(|request| request.ending == Ending::Completed);
        measured.sort_by_key(|request| (request.planned.intended, request.planned.index));
        let found = match observed.pace {
            Pace::Closed { concurrency } => full_house(requests, concurrency, observed.measured),
            Pace::Open => plateau(&measured, observed.measured),
        };
        let span = found.clone().unwrap_or(observed.measured);
        let in_flight = mean_number(requests, span);
        let little = found.clone().and_then(|window| little(requests, window, in_flight));
        let crowd = (observed.pace == Pace::Open).then(|| crowd(observed, span)).flatten();
        let window = found.and_then(|window| {
            measured.retain(|request| holds(window, request.planned.intended));
            stands_still(&measured)?;
            if let Some(drift) = crowd.filter(|drift| drift.abs() >= CROWD_DRIFT) {
                return Err(format!("the number of requests in the system {}", changed(drift)));
            }
            match little {
                Ok(ratio) if (ratio - 1.0).abs() > LITTLE => Err(format!(
                    "Little's law is off by {:.0}%: arrivals and departures differ",
                    (ratio - 1.0).abs() * 100.0
                )),
                _ => Ok(window),
            }
        });
        let grows = crowd.is_some_and(|drift| drift >= CROWD_DRIFT);
        Self { window, little, in_flight, grows }
    }
}

/// From the first to the last moment at which the loop was full; it may not be so for a twentieth of the time between.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the concurrency")]
fn full_house(requests: &[Request], concurrency: u32, measured: Span) -> Result<Span, String> {
    let enough = (f64::from(concurrency) * FULL).ceil() as i64;
    let steps =
        steps(requests.iter().filter_map(|request| Some((request.started.get()?, Some(request.ended)))));
    let (mut first, mut last, mut full) = (None, None, 0);
    for (index, (at, number)) in steps.iter().enumerate() {
        let until = steps.get(index + 1).map_or(*at, |next| next.0);
        if *number < enough || until <= measured.from {
            continue;
        }
        let from = (*at).max(measured.from);
        first.get_or_insert(from);
        last = Some(until);
        full += until.nanos() - from.nanos();
    }
    let (Some(from), Some(to)) = (first, last) else {
        return Err(format!("there were never {enough} of {concurrency} requests in flight"));
    };
    let share = full as f64 / (to.nanos() - from.nanos()).max(1) as f64;
    if share < FULL {
        let seldom = (1.0 - share) * 100.0;
        return Err(format!(
            "fewer than {enough} of {concurrency} requests were in flight for {seldom:.0}% of the time"
        ));
    }
    Ok(Span { from, to })
}

/// From the first block of requests whose time per token is that of the second half of the run.
fn plateau(requests: &[&Request], measured: Span) -> Result<Span, String> {
    let n = requests.len();
    if n < 2 * BLOCKS {
        return Err(format!("{n} requests completed, and a steady state on a schedule needs {}", 2 * BLOCKS));
    }
    let medians = block_medians(requests, BLOCKS);
    if medians.len() < BLOCKS {
        return Err("too few answers have more than one delivery".to_owned());
    }
    let half = &medians[BLOCKS / 2..];
    let level = median(half).unwrap_or_default();
    let deviations: Vec<f64> = half.iter().map(|value| (value - level).abs()).collect();
    // Three robust standard deviations, and never narrower than a tenth.
    let band = (3.0 * 1.4826 * median(&deviations).unwrap_or_default()).max(0.1 * level);
    let settled =
        |block: &usize| medians[*block..=block + 1].iter().all(|value| (value - level).abs() <= band);
    match (0..=BLOCKS / 2).find(settled) {
        // The first block begins with what is measured: the time before its first request is part of the load.
        Some(0) => Ok(measured),
        Some(block) => Ok(Span { from: requests[block * n / BLOCKS].planned.intended, to: measured.to }),
        None => Err("the time per token had not settled by the middle of the run".to_owned()),
    }
}

/// The time per token of each block of requests, in the order in which they were due; of answers in one piece their latency.
fn block_medians(requests: &[&Request], blocks: usize) -> Vec<f64> {
    let one_piece = requests.iter().all(|request| time_per_output_token(request).is_none());
    let value = |request: &&Request| {
        if one_piece { between(request.sent, request.last) } else { time_per_output_token(request) }
    };
    let block = |block: usize| {
        let range = block * requests.len() / blocks..(block + 1) * requests.len() / blocks;
        median(&requests[range].iter().filter_map(value).collect::<Vec<_>>())
    };
    (0..blocks).filter_map(block).collect()
}

/// Whether the time per token has no trend.
fn stands_still(requests: &[&Request]) -> Result<(), String> {
    let blocks = BLOCKS.min(requests.len() / 2);
    if blocks < BLOCKS / 2 {
        let due = count(requests.len(), "request");
        return Err(format!("{due} due in the window completed, and a steady state needs {BLOCKS}"));
    }
    match drift(&block_medians(requests, blocks)) {
        Some(drift) if drift.abs() >= DRIFT => Err(format!("the time per token {}", changed(drift))),
        _ => Ok(()),
    }
}

/// How far the number of requests in the system moved, those that wait at the client among them; `None` when it may not have.
fn crowd(observed: &Observed<'_>, window: Span) -> Option<f64> {
    let requests = observed.log.requests();
    let sent = requests.iter().map(|request| (request.planned.intended, Some(request.ended)));
    let unsent = observed.unsent.iter().map(|due| (*due, None));
    let steps = steps(sent.chain(unsent));
    let length = window.to.nanos() - window.from.nanos();
    let edge = |block: usize| Tick::from_nanos(window.from.nanos() + length / BLOCKS as u64 * block as u64);
    let numbers: Vec<f64> =
        (0..BLOCKS).map(|block| mean_of(&steps, Span { from: edge(block), to: edge(block + 1) })).collect();
    drift(&numbers)
}

/// How far a series of blocks moved from its first to its last, relative to its median; `None` when it may not have.
fn drift(values: &[f64]) -> Option<f64> {
    let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(at, value)| (at as f64, *value)).collect();
    let trend = theil_sen(&points, SURE).filter(|trend| !trend.interval.contains(0.0))?;
    let level = median(values).filter(|level| *level > 0.0)?;
    Some(trend.slope * (values.len() - 1) as f64 / level)
}

fn changed(drift: f64) -> String {
    let how = if drift > 0.0 { "rose" } else { "fell" };
    format!("{how} by {:.0}% over the window", drift.abs() * 100.0)
}

/// Little's law (1961): requests that began within the window, times how long they took, against the number in flight.
fn little(requests: &[Request], window: Span, in_flight: f64) -> Result<f64, String> {
    let times: Vec<f64> = requests
        .iter()
        .filter(|request| request.started.get().is_some_and(|at| holds(window, at)))
        .filter_map(|request| between(request.started, Moment::from(request.ended)))
        .collect();
    let time = mean(&times).ok_or("no request began in the window")?;
    let length = window.length().get();
    // At the edges a request more or less is counted than was there.
    if length * LITTLE < time {
        return Err(format!(
            "the window of {} is shorter than 20 times a request's {}",
            window.length(),
            seconds(time)
        ));
    }
    Ok(times.len() as f64 * time / length / in_flight)
}

/// The number of requests between its changes: from each moment on. A request without an end stays.
fn steps(requests: impl Iterator<Item = (Tick, Option<Tick>)>) -> Vec<(Tick, i64)> {
    let mut changes: Vec<(Tick, i64)> =
        requests.flat_map(|(from, to)| std::iter::once((from, 1)).chain(to.map(|to| (to, -1)))).collect();
    changes.sort_unstable();
    let mut number = 0;
    for change in &mut changes {
        number += change.1;
        change.1 = number;
    }
    changes
}

/// The mean over `span`.
fn mean_of(steps: &[(Tick, i64)], span: Span) -> f64 {
    // From the last change before the span on.
    let begin = steps.partition_point(|(at, _)| *at <= span.from).saturating_sub(1);
    let mut sum = 0.0;
    for (index, (at, number)) in steps.iter().enumerate().skip(begin) {
        let until = steps.get(index + 1).map_or(span.to, |next| next.0).min(span.to);
        sum += until.since((*at).max(span.from)).get() * *number as f64;
        if until >= span.to {
            break;
        }
    }
    sum / span.length().get().max(f64::MIN_POSITIVE)
}

fn mean_number(requests: &[Request], span: Span) -> f64 {
    let in_flight = requests.iter().filter_map(|request| Some((request.started.get()?, Some(request.ended))));
    mean_of(&steps(in_flight), span)
}
