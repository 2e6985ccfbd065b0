//! A driven row as a record has it: measurements with their samples, and the entry of the serving section.

use std::collections::BTreeMap;

use crate::base::requests::{self, CountedBy, Ending};
use crate::base::stats::Interval;
use crate::base::units::Seconds;
use crate::record::serving::{Client, Failure, Goodput, ServedRow, TokenLengths};
use crate::record::{Measurement, Percentiles, Samples, Unknown};
use crate::run::measure::serving::{Figure, Lengths, Percentile};

use super::{Driven, Level};

/// Most samples of one figure that are kept: one a request, and a row may have a million.
const MOST_SAMPLES: usize = 100_000;

/// All measurements of a row.
pub(super) fn measurements(driven: &Driven) -> Vec<Measurement> {
    let length = driven.serving.steady.window.clone().map(|window| window.length().get());
    let window = Figure {
        metric: "duration_seconds",
        unit: "s",
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
    let (value, value_reason) = split(figure.value.clone());
    let (ci95, ci95_reason) = split(pair(&figure.ci95));
    Measurement {
        metric: figure.metric.to_owned(),
        formula: figure.formula(),
        unit: figure.unit.to_owned(),
        value,
        value_reason,
        ci95,
        ci95_reason,
        percentiles: percentiles(&figure.percentiles),
        n: figure.n,
        method: figure.method.to_owned(),
        cell: Some(driven.cell.clone()),
        cell_reason: None,
        samples: samples(figure),
        unknown: Unknown::new(),
    }
}

/// An interval as the two numbers that a record has.
fn pair(interval: &Result<Interval, String>) -> Result<[f64; 2], String> {
    interval.as_ref().map(|interval| [interval.low, interval.high]).map_err(Clone::clone)
}

fn samples(figure: &Figure) -> Samples {
    let unit = if figure.percentiles.is_empty() { "a block of the window" } else { "a request" };
    let mut samples = Samples::inline(format!("{}, {unit}", figure.unit), Vec::new());
    let why = if figure.samples.len() > MOST_SAMPLES {
        format!("{} samples, of which none is kept past {MOST_SAMPLES}", figure.samples.len())
    } else if figure.samples.is_empty() && figure.n > 0 {
        "not kept one by one".to_owned()
    } else {
        samples.values = Some(figure.samples.clone());
        return samples;
    };
    (samples.values, samples.values_reason) = (None, Some(why));
    samples
}

fn percentiles(found: &[Percentile]) -> Percentiles {
    let mut all = Percentiles::default();
    for percentile in found {
        let (value, reason) = split(percentile.value.clone());
        let (ci95, ci95_reason) = split(pair(&percentile.ci95));
        let fields = match percentile.q {
            q if q < 0.7 => (&mut all.p50, &mut all.p50_reason, &mut all.p50_ci95, &mut all.p50_ci95_reason),
            q if q < 0.925 => {
                (&mut all.p90, &mut all.p90_reason, &mut all.p90_ci95, &mut all.p90_ci95_reason)
            }
            q if q < 0.97 => (&mut all.p95, &mut all.p95_reason, &mut all.p95_ci95, &mut all.p95_ci95_reason),
            _ => (&mut all.p99, &mut all.p99_reason, &mut all.p99_ci95, &mut all.p99_ci95_reason),
        };
        (*fields.0, *fields.1, *fields.2, *fields.3) = (Some(value), reason, Some(ci95), ci95_reason);
    }
    all
}

/// The entry of the serving section.
pub(super) fn row(driven: &Driven) -> ServedRow {
    let Driven { serving, stats, off, .. } = driven;
    let counts = &serving.counts;
    let level = driven.row.level;
    let (burstiness, burstiness_reason) = match level {
        Level::Closed { .. } => (None, Some("a request follows another".to_owned())),
        Level::Open { burstiness, .. } => {
            (burstiness, burstiness.is_none().then(|| "all gaps are the same".to_owned()))
        }
    };
    let rate = level.requests_per_second();
    let (steady_seconds, steady_seconds_reason) =
        split(serving.steady.window.clone().map(|window| window.length().get()));
    let (littles_law, littles_law_reason) = split(serving.steady.little.clone());
    let none = || "no request was completed".to_owned();
    let (prompt_tokens, prompt_tokens_reason) = split(counts.prompt_tokens.map(lengths).ok_or_else(none));
    let uncounted = || if off.counted == 0 { "nobody counted them".to_owned() } else { none() };
    let (output_tokens, output_tokens_reason) =
        split(counts.output_tokens.map(lengths).ok_or_else(uncounted));
    let (cached_share, cached_share_reason) =
        split(counts.cached_share.ok_or_else(|| "the server does not say".to_owned()));
    let goodput = serving.goodput.ok_or_else(|| "no goal was given; --slo gives one".to_owned());
    let goodput = goodput.and_then(|found| {
        let (share, ci95) = found.share.zip(found.share_ci95).ok_or("no request was due")?;
        Ok(Goodput { good: found.good, due: found.due, share, share_ci95: [ci95.low, ci95.high] })
    });
    let (goodput, goodput_reason) = split(goodput);
    let (client, client_reason) = split(match driven.work {
        Some(_) => Err("an engine in this process answered, with no client before it".to_owned()),
        None => Ok(client(driven)),
    });
    let failure = |(ending, count, failure): &(Ending, u64, requests::Failure)| Failure {
        ending: ending.name().to_owned(),
        count: *count,
        first: crate::base::redact::text(&failure.detail).into_owned(),
    };
    ServedRow {
        row: driven.row.label.clone(),
        cell: driven.cell.clone(),
        pace: if rate.is_some() { "open" } else { "closed" }.to_owned(),
        max_concurrency_reason: level.max_concurrency().is_none().then(|| "not bounded".to_owned()),
        max_concurrency: level.max_concurrency(),
        requests_per_second_reason: rate.is_none().then(|| "a request follows another".to_owned()),
        requests_per_second: rate,
        burstiness,
        burstiness_reason,
        ended_by: driven.ended_by.clone(),
        warmup_requests: driven.warmup_requests as u64,
        measured_seconds: driven.measured.get(),
        steady_seconds,
        steady_seconds_reason,
        in_flight: serving.steady.in_flight,
        littles_law,
        littles_law_reason,
        requests: named(counts.endings.iter().map(|(ending, count)| (ending.name(), *count))),
        requests_unsent: counts.unsent as u64,
        finishes: named(counts.finishes.iter().map(|(finish, count)| (finish.name(), *count))),
        tokens_counted_by: named(counts.counted_by.iter().map(|(by, count)| (counted_by(*by), *count))),
        prompt_tokens,
        prompt_tokens_reason,
        output_tokens,
        output_tokens_reason,
        cached_share,
        cached_share_reason,
        goodput,
        goodput_reason,
        client,
        client_reason,
        failures: stats.failures.iter().map(failure).collect(),
        unknown: Unknown::new(),
    }
}

fn client(driven: &Driven) -> Client {
    let unsaid = || "the system does not say".to_owned();
    let (processor_seconds, processor_seconds_reason) =
        split(driven.processor_time.map(Seconds::get).ok_or_else(unsaid));
    let (send_lag_p99_seconds, send_lag_p99_seconds_reason) =
        split(driven.send_lag.ok_or_else(|| "no request was measured".to_owned()));
    let (receive_lag_p99_seconds, receive_lag_p99_seconds_reason) =
        split(driven.receive_lag.ok_or_else(|| "the system does not stamp what arrives".to_owned()));
    Client {
        connections_opened: driven.stats.opened,
        requests_sent_again: driven.stats.reopened,
        processor_seconds,
        processor_seconds_reason,
        send_lag_p99_seconds,
        send_lag_p99_seconds_reason,
        receive_lag_p99_seconds,
        receive_lag_p99_seconds_reason,
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

pub(super) fn split<T>(known: Result<T, String>) -> (Option<T>, Option<String>) {
    match known {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(reason)),
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
        assert_eq!((found.p50, found.p50_ci95), (Some(Some(1.0)), Some(Some([0.5, 2.0]))));
        assert_eq!((found.p90, found.p90_ci95), (Some(Some(2.0)), Some(None)));
        assert_eq!((found.p95, found.p95_reason.as_deref()), (Some(None), Some("9 requests; it takes 72")));
        assert_eq!((found.p99, found.p99_ci95), (Some(Some(4.0)), Some(Some([3.0, 5.0]))));
        assert_eq!(found.p90_ci95_reason.as_deref(), Some("not independent"));
        assert_eq!(percentiles(&[]), Percentiles::default());
    }
}
