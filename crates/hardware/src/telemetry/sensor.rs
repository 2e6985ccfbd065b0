//! Characterizes a power sensor from polls: its period, step, averaging window and shortest valid measurement.
//!
//! Data sheets say "±5 W"; measured boards differ (Yang, Adámek and Armour, "Part-time Power Measurements", SC'24: an H100
//! publishes every 100 ms the average of the last 25 ms). So each machine is measured: period and step need only polling,
//! the window needs a known load pattern.

use crate::base::event::{EnergyReading, PowerKind, PowerSample, Span, Tick, Trace};
use crate::base::stats::median;
use crate::base::units::Seconds;
use crate::record::{Counter, PowerSensor, Sensor, Unknown};

/// A known load pattern: on during `on`, off in between.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SquareWave {
    /// The spans under load, in order.
    pub on: Vec<Span>,
}

/// Characterizes the polled sensors.
///
/// `constant` is a span of the trace under a constant load, for the shortest window; `wave` is the load that ran, or why
/// none did.
pub fn analyse(trace: &Trace, constant: Option<Span>, wave: Result<&SquareWave, &str>) -> Sensor {
    let counter = counter(&trace.energy, constant);
    let mut kinds: Vec<PowerKind> = trace.power.iter().map(|sample| sample.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let times: Vec<Tick> = if trace.energy.len() > trace.power.len() {
        trace.energy.iter().map(|reading| reading.at).collect()
    } else {
        trace.power.iter().map(|sample| sample.at).collect()
    };
    let gaps: Vec<f64> =
        times.windows(2).map(|pair| pair[1].since(pair[0]).get()).filter(|gap| *gap > 0.0).collect();
    let poll = median(&gaps);
    Sensor {
        origin: String::new(),
        counter: counter
            .ok_or_else(|| match trace.energy.len() {
                0 => "the counter was not read".to_owned(),
                _ => "the counter was updated fewer than three times".to_owned(),
            })
            .into(),
        power_reason: kinds.is_empty().then(|| "no power value was read".to_owned()),
        power: kinds
            .into_iter()
            .map(|kind| {
                let samples: Vec<PowerSample> =
                    trace.power.iter().copied().filter(|sample| sample.kind == kind).collect();
                power(kind, &samples, wave)
            })
            .collect(),
        poll_seconds: poll.ok_or("the sensors were polled fewer than two times").into(),
        unknown: Unknown::new(),
    }
}

/// The readings right after each update of the counter.
fn steps(readings: &[EnergyReading]) -> Vec<EnergyReading> {
    let moved = |pair: &&[EnergyReading]| pair[1].joules != pair[0].joules;
    readings.windows(2).filter(moved).map(|pair| pair[1]).collect()
}

fn counter(readings: &[EnergyReading], constant: Option<Span>) -> Option<Counter> {
    let steps = steps(readings);
    if steps.len() < 3 {
        return None;
    }
    let periods: Vec<f64> = steps.windows(2).map(|pair| pair[1].at.since(pair[0].at).get()).collect();
    let joules: Vec<f64> = steps.windows(2).map(|pair| (pair[1].joules - pair[0].joules).get()).collect();
    let inside: Vec<EnergyReading> = steps
        .iter()
        .copied()
        .filter(|step| constant.is_none_or(|span| span.from <= step.at && step.at <= span.to))
        .collect();
    let shortest = constant.and_then(|_| shortest_window(&inside));
    Some(Counter {
        period_seconds: median(&periods)?,
        step_joules: median(&joules)?,
        steps: steps.len(),
        shortest_window_seconds: shortest
            .ok_or_else(|| match constant {
                Some(_) => "no window of the constant load agreed with the whole within 1%".to_owned(),
                None => "no constant load ran".to_owned(),
            })
            .into(),
    })
}

/// The smallest number of updates for which every window shows the overall power within 1%, as a time.
fn shortest_window(steps: &[EnergyReading]) -> Option<f64> {
    let (first, last) = (steps.first()?, steps.last()?);
    let watts = |a: &EnergyReading, b: &EnergyReading| (b.joules - a.joules).get() / b.at.since(a.at).get();
    let whole = watts(first, last);
    (1..steps.len() / 2).find_map(|span| {
        let mut stretches = steps.iter().zip(&steps[span..]);
        let honest = stretches.all(|(a, b)| (watts(a, b) / whole - 1.0).abs() <= 0.01);
        honest.then(|| last.at.since(first.at).get() / (steps.len() - 1) as f64 * span as f64)
    })
}

fn power(kind: PowerKind, samples: &[PowerSample], wave: Result<&SquareWave, &str>) -> PowerSensor {
    let changes: Vec<PowerSample> =
        samples.windows(2).filter(|pair| pair[1].watts != pair[0].watts).map(|pair| pair[1]).collect();
    let periods: Vec<f64> = changes.windows(2).map(|pair| pair[1].at.since(pair[0].at).get()).collect();
    let period = (periods.len() >= 2).then(|| median(&periods)).flatten();
    let fit = wave.map_err(str::to_owned).and_then(|wave| fit(&changes, wave));
    PowerSensor {
        kind: kind.name().to_owned(),
        period_seconds: period.ok_or("the power value changed fewer than three times").into(),
        window_seconds: fit.as_ref().map(|(window, _)| window.get()).map_err(String::as_str).into(),
        lag_seconds: fit.as_ref().map(|(_, lag)| lag.get()).map_err(String::as_str).into(),
    }
}

/// Windows and lags to try, in milliseconds.
const WINDOWS_MS: [u32; 14] = [5, 10, 15, 20, 25, 30, 40, 50, 75, 100, 200, 400, 700, 1000];
const LAGS_MS: [u32; 12] = [0, 5, 10, 20, 30, 40, 50, 60, 75, 100, 125, 150];
/// A fit that leaves more than this share of the variance unexplained is rejected.
const UNEXPLAINED: f64 = 0.1;

/// The window and lag that best explain the published values: each value should be a linear function of the share of its
/// window that was under load.
fn fit(changes: &[PowerSample], wave: &SquareWave) -> Result<(Seconds, Seconds), String> {
    let (Some(first), Some(last)) = (wave.on.first(), wave.on.last()) else {
        return Err("no load ran".to_owned());
    };
    let inside: Vec<&PowerSample> =
        changes.iter().filter(|sample| first.to <= sample.at && sample.at <= last.to).collect();
    if inside.len() < 20 {
        return Err(format!(
            "only {} power values appeared under the square wave; 20 are needed",
            inside.len()
        ));
    }
    let watts: Vec<f64> = inside.iter().map(|sample| sample.watts.get()).collect();
    let mut best: Option<(f64, u32, u32)> = None;
    for window in WINDOWS_MS {
        for lag in LAGS_MS {
            let shares: Vec<f64> =
                inside.iter().map(|sample| share_on(wave, sample.at, window, lag)).collect();
            let Some(unexplained) = unexplained(&shares, &watts) else { continue };
            if best.is_none_or(|(least, ..)| unexplained < least) {
                best = Some((unexplained, window, lag));
            }
        }
    }
    match best {
        Some((unexplained, window, lag)) if unexplained <= UNEXPLAINED => {
            let seconds = |ms: u32| Seconds::new(f64::from(ms) / 1e3);
            Ok((seconds(window), seconds(lag)))
        }
        Some((unexplained, ..)) => Err(format!(
            "no window explains the power values: the best leaves {:.0}% of their variance",
            unexplained * 100.0
        )),
        None => Err("the power values did not vary under the square wave".to_owned()),
    }
}

/// Share of load within the window of `window` milliseconds that ends `lag` milliseconds before `at`.
fn share_on(wave: &SquareWave, at: Tick, window: u32, lag: u32) -> f64 {
    let to = at.nanos().saturating_sub(u64::from(lag) * 1_000_000);
    let from = to.saturating_sub(u64::from(window) * 1_000_000);
    let on: u64 =
        wave.on.iter().map(|span| span.to.nanos().min(to).saturating_sub(span.from.nanos().max(from))).sum();
    on as f64 / (to - from).max(1) as f64
}

/// Share of the variance of `y` that a straight line in `x` leaves unexplained; `None` if either does not vary.
fn unexplained(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        xx += (x - mean_x).powi(2);
        xy += (x - mean_x) * (y - mean_y);
        yy += (y - mean_y).powi(2);
    }
    (xx > 0.0 && yy > 0.0).then(|| 1.0 - xy * xy / (xx * yy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::{Joules, Watts};

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
    fn tick(seconds: f64) -> Tick {
        Tick::from_nanos((seconds * 1e9).round() as u64)
    }

    fn wave(period: f64, count: usize) -> SquareWave {
        let on = |k: usize| {
            let from = 1.0 + k as f64 * period;
            Span { from: tick(from), to: tick(from + period / 2.0) }
        };
        SquareWave { on: (0..count).map(on).collect() }
    }

    /// A sensor that publishes every `period` the mean of the `window` before, polled every millisecond.
    fn polled(wave: &SquareWave, period: f64, window: u32, kind: PowerKind) -> Trace {
        let mut trace = Trace::default();
        let mut joules = 0.0;
        let mut last_step = 0;
        for ms in 0..20_000u32 {
            let now = f64::from(ms) / 1e3;
            let published = (now / period).floor();
            let watts = 100.0 + 500.0 * share_on(wave, tick(published * period), window, 0);
            // The last digits of a real sensor are never the same twice.
            let noise = (published * 0.7).sin() * 0.5;
            trace.power.push(PowerSample { at: tick(now), watts: Watts::new(watts + noise), kind });
            if ms / 100 != last_step {
                last_step = ms / 100;
                joules += 40.0;
            }
            trace.energy.push(EnergyReading { at: tick(now), joules: Joules::new(joules) });
        }
        trace
    }

    #[test]
    fn period_step_and_window_are_found() {
        // 0.37 s is not a multiple of the sensor's period, so the wave sweeps through its phases.
        let wave = wave(0.37, 50);
        for (window, kind) in
            [(25, PowerKind::Instant), (100, PowerKind::Instant), (1000, PowerKind::Average)]
        {
            let trace = polled(&wave, 0.1, window, kind);
            let sensor = analyse(&trace, Some(Span { from: tick(0.0), to: tick(20.0) }), Ok(&wave));
            let power = &sensor.power[0];
            assert!((power.period_seconds.expect("a period") - 0.1).abs() < 0.002, "{power:?}");
            let found = power.window_seconds.expect("a window");
            assert!((found - f64::from(window) / 1e3).abs() < 1e-9, "{window} ms: {power:?}");
            let counter = sensor.counter.as_ref().expect("a counter");
            assert!(
                (counter.period_seconds - 0.1).abs() < 0.002 && (counter.step_joules - 40.0).abs() < 1e-9
            );
            assert!(counter.shortest_window_seconds.expect("constant") <= 0.2, "{counter:?}");
        }
    }

    #[test]
    fn without_a_load_the_window_is_null_with_the_reason() {
        let wave = wave(0.37, 50);
        let trace = polled(&wave, 0.1, 25, PowerKind::Instant);
        let sensor = analyse(&trace, None, Err("no CUDA here"));
        assert_eq!(sensor.power[0].window_seconds, None);
        assert_eq!(sensor.power[0].window_seconds.reason(), Some("no CUDA here"));
        assert!(sensor.power[0].period_seconds.is_some());
    }

    #[test]
    fn a_frozen_counter_has_no_period() {
        let readings = |ms: u32| EnergyReading { at: tick(f64::from(ms) / 1e3), joules: Joules::new(7.0) };
        let trace = Trace { energy: (0..1000).map(readings).collect(), ..Trace::default() };
        let sensor = analyse(&trace, None, Err(""));
        assert_eq!(sensor.counter, None);
        assert!(sensor.counter.reason().expect("a reason").contains("updated fewer than three times"));
    }
}
