//! One row: its trials turned into measurements with intervals.
//!
//! A rate is tokens ÷ mean seconds, so its interval is the seconds' t interval under the same map and
//! the mean of rates (which a single fast trial pulls up) is never taken.

use crate::base::known::Known;
use crate::base::stats::{Interval, mean, median, quantile, t_interval, t_interval_positive};
use crate::base::text::count;
use crate::base::units::Seconds;
use crate::record::{Measurement, Metric, Percentiles, Samples};
use crate::run::plan::Row;

use super::trial::Trial;

const CONFIDENCE: f64 = 0.95;

/// The trials of one row, warm-up apart.
#[derive(Debug, Clone, PartialEq)]
pub struct RowTrials {
    /// The row.
    pub row: Row,
    /// Trials before the row was steady; kept and not used.
    pub warmup: Vec<Trial>,
    /// The measured trials, at least one unless the run was interrupted.
    pub trials: Vec<Trial>,
}

/// Relative half width of the 95% interval of a row's length; `None` under two trials.
pub fn half_width(trials: &[Trial]) -> Option<f64> {
    let lengths: Vec<f64> = trials.iter().map(|trial| trial.length().get()).collect();
    Some(t_interval(&lengths, CONFIDENCE)?.relative_half_width(mean(&lengths)?))
}

/// All measurements of one row, each with its raw samples.
pub fn measurements(trials: &RowTrials) -> Vec<Measurement> {
    let row = trials.row;
    let batch = f64::from(row.batch);
    let mut found = Vec::new();
    let of = |pick: fn(&Trial) -> Option<Seconds>| Series::of(trials, pick);

    if row.prompt_tokens() > 0 {
        let seconds = of(|trial| trial.first_token);
        let tokens = f64::from(row.prompt_tokens()) * batch;
        found.push(seconds.rate(row, Metric::PrefillTokensPerSecond, tokens));
        found.push(seconds.time(row, Metric::TimeToFirstTokenSeconds));
    }
    if row.output_tokens() > 0 {
        let decoded = row.decode_steps();
        if decoded > 0 {
            let seconds = of(|trial| trial.decode);
            found.push(seconds.rate(row, Metric::DecodeTokensPerSecond, f64::from(decoded) * batch));
            found.push(seconds.scaled(1.0 / f64::from(decoded)).time(row, Metric::TimePerOutputTokenSeconds));
            found.push(gaps(trials));
        }
    }
    if row.prompt_tokens() > 0 && row.output_tokens() > 0 {
        let seconds = of(|trial| Some(trial.length()));
        let output = f64::from(row.output_tokens()) * batch;
        found.push(seconds.rate(row, Metric::OutputTokensPerSecond, output));
        let total = output + f64::from(row.prompt_tokens()) * batch;
        found.push(seconds.rate(row, Metric::TotalTokensPerSecond, total));
        found.push(seconds.time(row, Metric::EndToEndLatencySeconds));
        found.push(of(|trial| Some(trial.split[0])).time(row, Metric::InputTimeSeconds));
        found.push(of(|trial| Some(trial.split[1])).time(row, Metric::OutputTimeSeconds));
    }
    found
}

/// Seconds of each trial, warm-up apart.
struct Series {
    values: Vec<f64>,
    warmup: Vec<f64>,
}

impl Series {
    fn of(trials: &RowTrials, pick: fn(&Trial) -> Option<Seconds>) -> Self {
        let seconds =
            |trials: &[Trial]| trials.iter().filter_map(pick).map(Seconds::get).collect::<Vec<f64>>();
        Self { values: seconds(&trials.trials), warmup: seconds(&trials.warmup) }
    }

    fn scaled(&self, factor: f64) -> Self {
        let scale = |values: &[f64]| values.iter().map(|value| value * factor).collect();
        Self { values: scale(&self.values), warmup: scale(&self.warmup) }
    }

    fn rate(&self, row: Row, metric: Metric, tokens: f64) -> Measurement {
        let map = move |seconds: f64| tokens / seconds;
        self.measurement(
            row,
            metric,
            map,
            "tokens ÷ mean seconds; t interval of the log of seconds, effective sample size",
        )
    }

    fn time(&self, row: Row, metric: Metric) -> Measurement {
        self.measurement(row, metric, |seconds| seconds, "mean; t interval of the log, effective sample size")
    }

    fn measurement(&self, row: Row, metric: Metric, map: impl Fn(f64) -> f64, method: &str) -> Measurement {
        let interval = t_interval_positive(&self.values, CONFIDENCE).map(|interval| interval.map(&map));
        let value = mean(&self.values).map(&map);
        let mut samples = Samples::inline("seconds per trial", self.values.clone());
        samples.warmup.clone_from(&self.warmup);
        finish(row, metric, value, interval, self.values.len(), method, samples)
    }
}

/// Every gap between two deliveries, pooled over the trials; its median, and tails with enough samples.
fn gaps(trials: &RowTrials) -> Measurement {
    let all = |trials: &[Trial]| -> Vec<f64> {
        trials.iter().flat_map(|trial| trial.gaps.iter().map(|gap| gap.get())).collect()
    };
    let values = all(&trials.trials);
    let n = values.len();
    let too_few = |needed: usize| format!("{}; it takes {needed}", count(n, "gap"));
    let tail = |q: f64, needed: usize| {
        let found = (n >= needed).then(|| quantile(&values, q)).flatten();
        Some(found.ok_or_else(|| too_few(needed)).into())
    };
    let mut samples = Samples::inline("seconds per gap", values.clone());
    samples.warmup = all(&trials.warmup);
    let value = median(&values);
    let mut found = finish(
        trials.row,
        Metric::InterTokenLatencySeconds,
        value,
        None,
        n,
        "median of all gaps (type 7)",
        samples,
    );
    found.ci95 = Known::unknown(
        "gaps of one trial are not independent; time_per_output_token_seconds has the interval over trials",
    );
    found.percentiles = Percentiles {
        p50: Some(value.ok_or_else(|| too_few(1)).into()),
        p90: tail(0.90, 20),
        p99: tail(0.99, 100),
        ..Percentiles::default()
    };
    found
}

fn finish(
    row: Row,
    metric: Metric,
    value: Option<f64>,
    interval: Option<Interval>,
    n: usize,
    method: &str,
    samples: Samples,
) -> Measurement {
    Measurement {
        ci95: interval
            .map(|interval| [interval.low, interval.high])
            .ok_or_else(|| format!("{n} trial(s); an interval needs two"))
            .into(),
        n,
        samples,
        ..Measurement::new(
            metric,
            Known::new(row.cell()),
            value.ok_or("no trial was finished").into(),
            method,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::RowKind;

    fn trial(first_token_ms: f64, gaps_ms: &[f64]) -> Trial {
        let seconds = |ms: f64| Seconds::new(ms / 1e3);
        let decode: f64 = gaps_ms.iter().sum();
        Trial {
            first_token: (first_token_ms > 0.0).then(|| seconds(first_token_ms)),
            decode: Some(seconds(decode)),
            gaps: gaps_ms.iter().map(|&ms| seconds(ms)).collect(),
            split: [seconds(first_token_ms), seconds(decode)],
            delivered: 0,
        }
    }

    fn value(found: &[Measurement], metric: &Metric) -> f64 {
        found.iter().find(|m| m.metric == *metric).and_then(|m| *m.value).expect("measured")
    }

    #[test]
    fn given_latencies_give_the_known_rates() {
        let row = Row { kind: RowKind::Joint { prompt_tokens: 100, output_tokens: 3 }, batch: 4, depth: 0 };
        let trials = RowTrials {
            row,
            warmup: vec![trial(900.0, &[90.0, 90.0])],
            trials: vec![trial(200.0, &[10.0, 30.0]), trial(300.0, &[20.0, 20.0])],
        };
        let found = measurements(&trials);
        // 400 prompt tokens in a mean of 0.25 s.
        assert!((value(&found, &Metric::PrefillTokensPerSecond) - 1600.0).abs() < 1e-9);
        // Two steps of 4 sequences in 40 ms.
        assert!((value(&found, &Metric::DecodeTokensPerSecond) - 200.0).abs() < 1e-9);
        assert!((value(&found, &Metric::TimePerOutputTokenSeconds) - 0.020).abs() < 1e-12);
        assert!((value(&found, &Metric::InterTokenLatencySeconds) - 0.020).abs() < 1e-12);
        assert!((value(&found, &Metric::OutputTokensPerSecond) - 12.0 / 0.29).abs() < 1e-9);
        assert!((value(&found, &Metric::TotalTokensPerSecond) - 412.0 / 0.29).abs() < 1e-9);
        let prefill = &found[0];
        assert_eq!((prefill.n, prefill.samples.warmup.len()), (2, 1));
        let [low, high] = prefill.ci95.expect("two trials");
        assert!(low < 1600.0 && 1600.0 < high);
    }

    #[test]
    fn no_tail_is_claimed_from_few_gaps() {
        let row = Row { kind: RowKind::Decode { output_tokens: 2 }, batch: 1, depth: 0 };
        let few = RowTrials { row, warmup: vec![], trials: vec![trial(0.0, &[10.0, 12.0]); 9] };
        let found = measurements(&few);
        let gaps = found.iter().find(|m| m.metric == Metric::InterTokenLatencySeconds).expect("a decode row");
        let Percentiles { p50, p90, p99, .. } = &gaps.percentiles;
        assert_eq!((gaps.n, p50), (18, &Some(Known::new(0.011))));
        assert_eq!(p90, &Some(Known::unknown("18 gaps; it takes 20")));
        assert_eq!(p99, &Some(Known::unknown("18 gaps; it takes 100")));
        let many = RowTrials { row, warmup: vec![], trials: vec![trial(0.0, &[10.0, 12.0]); 50] };
        let found = measurements(&many);
        let gaps = found.iter().find(|m| m.metric == Metric::InterTokenLatencySeconds).expect("a decode row");
        assert_eq!((gaps.n, gaps.percentiles.p99.clone()), (100, Some(Known::new(0.012))));
        assert!(
            found.iter().filter(|m| m.metric != gaps.metric).all(|m| m.percentiles == Percentiles::default()),
            "no distributions"
        );
    }

    #[test]
    fn one_trial_has_a_value_and_no_interval() {
        let row = Row { kind: RowKind::Prefill { prompt_tokens: 10 }, batch: 1, depth: 0 };
        let found = measurements(&RowTrials { row, warmup: vec![], trials: vec![trial(100.0, &[])] });
        assert_eq!(found[0].value.map(f64::round), Some(100.0));
        assert_eq!(found[0].ci95, None);
        assert!(found[0].ci95.reason().is_some());
    }
}
