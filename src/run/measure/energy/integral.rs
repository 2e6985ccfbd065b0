//! The second method: energy from power samples.
//!
//! Two kinds of samples need two rules. An instantaneous figure is integrated by trapezoid, and sees only the
//! sensor's short windows. A figure that averages the last second sees everything, and telescopes: the mean
//! power of a second, times that second, is its energy exactly, so figures one second apart are summed.

use crate::base::event::{PowerKind, PowerSample, Span, Tick};
use crate::base::units::{Joules, Seconds};

/// Seconds that an average figure covers.
const AVERAGED_NS: u64 = 1_000_000_000;
/// A figure that stays the same for longer than this is a constant, not a value waiting for the next.
const PLATEAU: Seconds = Seconds::new(0.25);
/// Samples this far apart leave a hole that no rule may bridge.
pub(super) const LARGEST_GAP: Seconds = Seconds::new(1.0);

/// The samples of the kind that suits best, and which that is.
pub(super) fn best_kind(samples: &[PowerSample]) -> Option<PowerKind> {
    [PowerKind::Average, PowerKind::Instant, PowerKind::Unspecified]
        .into_iter()
        .find(|kind| samples.iter().any(|sample| sample.kind == *kind))
}

/// Energy of `span` from the samples of `kind`.
///
/// # Errors
/// One sentence when the samples do not cover the span.
pub(super) fn integral(samples: &[PowerSample], kind: PowerKind, span: Span) -> Result<Joules, String> {
    let of_kind: Vec<(Tick, f64)> = samples
        .iter()
        .filter(|sample| sample.kind == kind)
        .map(|sample| (sample.at, sample.watts.get()))
        .collect();
    let points = changes(&of_kind);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Err("no power was sampled".to_owned());
    };
    if first.0 > span.from || last.0 < span.to {
        return Err("the power samples do not cover the window".to_owned());
    }
    let gap = largest_gap(&of_kind, span);
    if gap > LARGEST_GAP {
        return Err(format!("the power samples have a gap of {gap}"));
    }
    if kind == PowerKind::Average {
        return telescoped(&points, span);
    }
    // Trapezoids between the points inside, and the line cut at the window's edges.
    let inside = points.iter().copied().filter(|(at, _)| span.from < *at && *at < span.to);
    let edge = |at: Tick| (at, value(&points, at));
    let line: Vec<(Tick, f64)> =
        std::iter::once(edge(span.from)).chain(inside).chain(std::iter::once(edge(span.to))).collect();
    let joules = line.windows(2).map(|p| f64::midpoint(p[0].1, p[1].1) * p[1].0.since(p[0].0).get()).sum();
    Ok(Joules::new(joules))
}

/// Longest time without a sample in `span`.
pub(super) fn largest_gap(samples: &[(Tick, f64)], span: Span) -> Seconds {
    let reach = samples.windows(2).filter(|pair| pair[1].0 > span.from && pair[0].0 < span.to);
    reach.map(|pair| pair[1].0.since(pair[0].0)).fold(Seconds::ZERO, |a, b| if b > a { b } else { a })
}

fn telescoped(points: &[(Tick, f64)], span: Span) -> Result<Joules, String> {
    let length = span.to.nanos() - span.from.nanos();
    let whole = length / AVERAGED_NS;
    if whole == 0 {
        return Err("the window is shorter than the second the sensor averages over".to_owned());
    }
    let mut joules = 0.0;
    for second in 0..whole {
        joules += value(points, Tick::from_nanos(span.to.nanos() - second * AVERAGED_NS));
    }
    // What is left at the beginning, at the power of the first second.
    let rest = (length - whole * AVERAGED_NS) as f64 / 1e9;
    joules += rest * value(points, Tick::from_nanos(span.from.nanos() + AVERAGED_NS));
    Ok(Joules::new(joules))
}

/// The samples at which the figure changed: a sensor that publishes less often than it is polled shows its
/// value for a while, and only the first showing says when it was true.
fn changes(samples: &[(Tick, f64)]) -> Vec<(Tick, f64)> {
    let mut points: Vec<(Tick, f64)> = Vec::new();
    let mut last_seen: Option<(Tick, f64)> = None;
    for &(at, watts) in samples {
        let shown = points.last().copied();
        if shown.is_none_or(|(_, before)| before.to_bits() != watts.to_bits()) {
            // A plateau ends where it was last seen.
            if let (Some((since, _)), Some(seen)) = (shown, last_seen)
                && seen.0.since(since) > PLATEAU
            {
                points.push(seen);
            }
            points.push((at, watts));
        }
        last_seen = Some((at, watts));
    }
    if let (Some(last), Some(seen)) = (points.last(), last_seen)
        && seen.0 > last.0
    {
        points.push(seen);
    }
    points
}

/// The figure at `at`, between two points on the line that joins them.
fn value(points: &[(Tick, f64)], at: Tick) -> f64 {
    let after = points.partition_point(|(point, _)| *point < at);
    match (after.checked_sub(1).and_then(|before| points.get(before)), points.get(after)) {
        (Some(&(from, a)), Some(&(to, b))) => {
            let share = at.since(from).get() / to.since(from).get();
            a + (b - a) * share
        }
        (Some(&(_, watts)), None) | (None, Some(&(_, watts))) => watts,
        (None, None) => 0.0,
    }
}
