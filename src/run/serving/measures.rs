//! A driven row as a record has it: measurements with their samples, and the entry of the serving section.

use std::collections::BTreeMap;

use crate::base::known::Known;
use crate::base::requests::{self, CountedBy, Ending};
use crate::base::stats::Interval;
use crate::base::units::Seconds;
use crate::record::serving::{Client, Failure, Goodput, ServedRow, TokenLengths};
use crate::record::{Measurement, Metric, Percentiles, Samples, Unknown};
use crate::run::measure::serving::{Figure, Lengths, Percentile};

use super::{Driven, Level};

/// Most samples of one figure that are kept: one a request, and a row may have a million.
const MOST_SAMPLES: usize = 100_000;

/// All measurements of a row.
pub(super) fn measurements(driven: &Driven) -> Vec<Measurement> {
    let length = driven.serving.steady.window.clone().map(|window| window.length().get());
    let window = Figure {
        metric: Metric::DurationSeconds,
        ci95: Err("one window".to_owned()),
        percentiles: Vec::new(),
        n: 1,
        samples: length.iter().copied().collect(),
        value: length,
        method: "length of the steady window",
    };
    driven.serving.figures.iter().chain([&window]).map(|figure| measurement(driven, figure)).collect()
}

fn measurement(driven: &Driven, figure: &Figure) -> Measurement {
    let (cell, value) = (Known::new(driven.cell.clone()), figure.value.clone().into());
    Measurement {
        formula: figure.formula(),
        ci95: pair(&figure.ci95).into(),
        percentiles: percentiles(&figure.percentiles),
        n: figure.n,
        samples: samples(figure),
        ..Measurement::new(figure.metric.clone(), cell, value, figure.method)
    }
}

/// An interval as the two numbers that a record has.
fn pair(interval: &Result<Interval, String>) -> Result<[f64; 2], String> {
    interval.as_ref().map(|interval| [interval.low, interval.high]).map_err(Clone::clone)
}

fn samples(figure: &Figure) -> Samples {
    let unit = if figure.percentiles.is_empty() { "a block of the window" } else { "a request" };
    let mut samples = Samples::inline(format!("{}, {unit}", figure.metric.unit()), Vec::new());
    let why = if figure.samples.len() > MOST_SAMPLES {
        format!("{} samples; above {MOST_SAMPLES} none are kept", figure.samples.len())
    } else if figure.samples.is_empty() && figure.n > 0 {
        "not kept individually".to_owned()
    } else {
        samples.values = Known::new(figure.samples.clone());
        return samples;
    };
    samples.values = Known::unknown(why);
    samples
}

fn percentiles(found: &[Percentile]) -> Percentiles {
    let mut all = Percentiles::default();
    for percentile in found {
        let (value, ci95) = match percentile.q {
            q if q < 0.7 => (&mut all.p50, &mut all.p50_ci95),
            q if q < 0.925 => (&mut all.p90, &mut all.p90_ci95),
            q if q < 0.97 => (&mut all.p95, &mut all.p95_ci95),
            _ => (&mut all.p99, &mut all.p99_ci95),
        };
        *value = Some(percentile.value.clone().into());
        *ci95 = Some(pair(&percentile.ci95).into());
    }
    all
}

/// The entry of the serving section.
pub(super) fn row(driven: &Driven) -> ServedRow {
    let Driven { serving, stats, off, .. } = driven;
    let counts = &serving.counts;
    let level = driven.row.level;
    let burstiness = match level {
        Level::Closed { .. } => Err("a request follows another"),
        Level::Open { burstiness, .. } => burstiness.ok_or("all gaps are the same"),
    };
    let rate = level.requests_per_second();
    let window = serving.steady.window.clone();
    let none = || "no request was completed".to_owned();
    let uncounted = || if off.counted == 0 { "they were not counted".to_owned() } else { none() };
    let goodput = serving.goodput.ok_or_else(|| "no goal was given; --slo gives one".to_owned());
    let goodput = goodput.and_then(|found| {
        let (share, ci95) = found.share.zip(found.share_ci95).ok_or("no request was due")?;
        Ok(Goodput { good: found.good, due: found.due, share, share_ci95: [ci95.low, ci95.high] })
    });
    let client: Known<Client> = match driven.work {
        Some(_) => Known::unknown("an engine in this process answered, with no client before it"),
        None => Known::new(client(driven)),
    };
    let failure = |(ending, count, failure): &(Ending, u64, requests::Failure)| Failure {
        ending: ending.name().to_owned(),
        count: *count,
        first: crate::base::redact::text(&failure.detail).into_owned(),
    };
    ServedRow {
        row: driven.row.label.clone(),
        cell: driven.cell.clone(),
        pace: if rate.is_some() { "open" } else { "closed" }.to_owned(),
        max_concurrency: level.max_concurrency().ok_or("not bounded").into(),
        requests_per_second: rate.ok_or("a request follows another").into(),
        burstiness: burstiness.into(),
        ended_by: driven.ended_by.clone(),
        warmup_requests: driven.warmup_requests as u64,
        measured_seconds: driven.measured.get(),
        steady_seconds: window.map(|window| window.length().get()).into(),
        in_flight: serving.steady.in_flight,
        littles_law: serving.steady.little.clone().into(),
        requests: named(counts.endings.iter().map(|(ending, count)| (ending.name(), *count))),
        requests_unsent: counts.unsent as u64,
        finishes: named(counts.finishes.iter().map(|(finish, count)| (finish.name(), *count))),
        tokens_counted_by: named(counts.counted_by.iter().map(|(by, count)| (counted_by(*by), *count))),
        prompt_tokens: counts.prompt_tokens.map(lengths).ok_or_else(none).into(),
        output_tokens: counts.output_tokens.map(lengths).ok_or_else(uncounted).into(),
        cached_share: counts.cached_share.ok_or("the server does not say").into(),
        goodput: goodput.into(),
        client,
        failures: stats.failures.iter().map(failure).collect(),
        unknown: Unknown::new(),
    }
}

fn client(driven: &Driven) -> Client {
    Client {
        connections_opened: driven.stats.opened,
        requests_sent_again: driven.stats.reopened,
        processor_seconds: driven.processor_time.map(Seconds::get).ok_or("the system does not say").into(),
        send_lag_p99_seconds: driven.send_lag.ok_or("no request was measured").into(),
        receive_lag_p99_seconds: driven.receive_lag.ok_or("the system does not stamp what arrives").into(),
    }
}

fn named<'a>(counts: impl Iterator<Item = (&'a str, u32)>) -> BTreeMap<String, u64> {
    counts.map(|(name, count)| (name.to_owned(), u64::from(count))).collect()
}

fn lengths(found: Lengths) -> TokenLengths {
    TokenLengths { least: found.least, mean: found.mean, most: found.most }
}

fn counted_by(by: CountedBy) -> &'static str {
    match by {
        CountedBy::Usage => "usage",
        CountedBy::Deliveries => "deliveries",
        CountedBy::Tokenizer => "tokenizer",
        CountedBy::Nobody => "nobody",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percentile(q: f64, value: Result<f64, String>, ci95: Result<Interval, String>) -> Percentile {
        Percentile { q, value, ci95 }
    }

    #[test]
    fn each_percentile_stands_in_its_field_with_its_interval_or_the_reason() {
        let few = || Err("9 requests; it takes 72".to_owned());
        let found = percentiles(&[
            percentile(0.5, Ok(1.0), Ok(Interval { low: 0.5, high: 2.0 })),
            percentile(0.9, Ok(2.0), Err("not independent".to_owned())),
            percentile(0.95, few(), Err("9 requests; it takes 72".to_owned())),
            percentile(0.99, Ok(4.0), Ok(Interval { low: 3.0, high: 5.0 })),
        ]);
        let known = |value: f64| Some(Known::new(value));
        assert_eq!((found.p50, found.p50_ci95), (known(1.0), Some(Known::new([0.5, 2.0]))));
        assert_eq!((found.p90, found.p90_ci95), (known(2.0), Some(Known::unknown("not independent"))));
        assert_eq!(found.p95, Some(Known::unknown("9 requests; it takes 72")));
        assert_eq!((found.p99, found.p99_ci95), (known(4.0), Some(Known::new([3.0, 5.0]))));
        assert_eq!(percentiles(&[]), Percentiles::default());
    }
}
