//! Calibrates a power sensor: polls it as fast as it answers while a known load pattern runs.
//!
//! Three phases: idle, under a constant load, and under a square wave whose period is not a multiple of any
//! sensor's, so that it sweeps through the sensor's phases. [`sensor::analyse`] interprets the polls.
//! Without a load there is only the idle phase, which still reveals period and step.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::base::clock;
use crate::base::event::{EnergyReading, PowerKind, PowerSample, Span, Tick, Trace};
use crate::base::known::{self, Known};
use crate::base::units::Seconds;
use crate::cuda::Load;
use crate::record::Sensor;
use crate::telemetry::Source;
use crate::telemetry::sensor::{self, SquareWave};

/// Pause between two polls.
const POLL: Duration = Duration::from_millis(1);
/// A source that fails this often in a row is given up.
const MOST_FAILURES: u32 = 100;

/// The length of each phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Idle, before the load.
    pub rest: Seconds,
    /// Under a constant load: long enough to compare windows of 5 s with the whole.
    pub constant: Seconds,
    /// Period of the square wave, of which half is under load.
    pub period: Seconds,
    /// Number of periods.
    pub periods: u32,
    /// Idle, if there is no load.
    pub alone: Seconds,
}

impl Default for Timing {
    /// 45 seconds in total, 10 without a load.
    fn default() -> Self {
        Self {
            rest: Seconds::new(5.0),
            constant: Seconds::new(20.0),
            period: Seconds::new(0.37),
            periods: 54,
            alone: Seconds::new(10.0),
        }
    }
}

/// A load on the device.
pub trait Busy: Send {
    /// Keeps the device busy for `time`, and returns the actual span.
    ///
    /// # Errors
    /// A human-readable reason.
    fn run(&mut self, time: Seconds) -> Result<Span, String>;
}

impl Busy for Load {
    fn run(&mut self, time: Seconds) -> Result<Span, String> {
        Self::run(self, time)
    }
}

/// A calibrated sensor.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Calibration {
    /// `nvml` or `rapl`.
    pub source: &'static str,
    /// Which device.
    pub device: String,
    /// Version of the driver that serves its sensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The file in which it is kept for `bench run`.
    pub kept_in: Known<PathBuf>,
    /// What its energy covers.
    pub scope: &'static str,
    /// Its period, step, window and shortest valid measurement.
    pub sensor: Sensor,
    /// Why no load ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_load: Option<String>,
    /// Spans of the square wave under load, in seconds from the first poll.
    pub load_on_seconds: Vec<[f64; 2]>,
    /// Every power value that differs from the previous one of its kind.
    pub figures: Vec<Figure>,
    /// Failed readings, without repetition.
    pub failures: Vec<String>,
}

/// A power value as it appeared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// When it was first seen, in seconds from the first poll.
    pub at_seconds: f64,
    /// `instant`, `average` or `unspecified`.
    pub kind: &'static str,
    /// The value.
    pub watts: f64,
}

/// Polls `source` idle and under `load`, or only idle for the reason that there is no load.
///
/// # Errors
/// A human-readable reason if the source has neither an energy counter nor power, or fails permanently.
pub fn calibrate<L: Busy>(
    source: &mut dyn Source,
    load: Result<L, String>,
    timing: &Timing,
) -> Result<Calibration, String> {
    let description = source.description().clone();
    if let (Some(counter), Some(power)) = (&description.no_counter, &description.no_power) {
        return Err(format!("{} has no sensor: {counter}; {power}", description.device));
    }
    let mut poller = Poller { source, trace: Trace::default(), failed: 0 };
    let first = clock::now();
    let shape = match load {
        Ok(mut load) => poller.under_load(&mut load, timing)?,
        Err(reason) => {
            poller.poll_until(|| clock::now().since(first) >= timing.alone)?;
            Err(reason)
        }
    };
    let trace = poller.trace;
    let constant = shape.as_ref().ok().map(|shape| shape.constant);
    let wave = shape.as_ref().map(|shape| &shape.wave).map_err(String::as_str);
    Ok(Calibration {
        source: description.name,
        device: description.device,
        driver: description.driver,
        kept_in: Known::unknown("not kept yet"),
        scope: description.scope.name(),
        sensor: sensor::analyse(&trace, constant, wave),
        load_on_seconds: shape.as_ref().map_or_else(|_| Vec::new(), |shape| since(&shape.wave, first)),
        no_load: shape.err(),
        figures: figures(&trace, first),
        failures: trace.failures,
    })
}

/// When the load ran.
struct Shape {
    constant: Span,
    wave: SquareWave,
}

struct Poller<'a> {
    source: &'a mut dyn Source,
    trace: Trace,
    failed: u32,
}

impl Poller<'_> {
    /// Polls in this thread while the load runs in another; the inner `Err` is why the load stopped.
    fn under_load(&mut self, load: &mut dyn Busy, timing: &Timing) -> Result<Result<Shape, String>, String> {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let shape = drive(load, timing);
                done.store(true, Ordering::Relaxed);
                shape
            });
            let polled = self.poll_until(|| done.load(Ordering::Relaxed) || worker.is_finished());
            let shape = worker.join().unwrap_or_else(|_| Err("the load's thread ended early".to_owned()));
            polled.map(|()| shape)
        })
    }

    fn poll_until(&mut self, done: impl Fn() -> bool) -> Result<(), String> {
        while !done() {
            self.poll()?;
            clock::sleep(POLL);
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<(), String> {
        let (no_counter, no_power) = {
            let description = self.source.description();
            (description.no_counter.is_some(), description.no_power.is_some())
        };
        let mut reasons = Vec::new();
        // The timestamp is taken after the reading: the value had appeared by then.
        if !no_counter {
            match self.source.energy() {
                Ok(joules) => self.trace.energy.push(EnergyReading { at: clock::now(), joules }),
                Err(reason) => reasons.push(reason),
            }
        }
        if !no_power {
            match self.source.power() {
                Ok(figures) => {
                    let at = clock::now();
                    let sample = |(kind, watts)| PowerSample { at, watts, kind };
                    self.trace.power.extend(figures.into_iter().map(sample));
                }
                Err(reason) => reasons.push(reason),
            }
        }
        self.failed = if reasons.is_empty() { 0 } else { self.failed + 1 };
        for reason in reasons {
            if !self.trace.failures.contains(&reason) {
                self.trace.failures.push(reason);
            }
        }
        if self.failed >= MOST_FAILURES {
            return Err(format!("the sensors do not respond: {}", self.trace.failures.join("; ")));
        }
        Ok(())
    }
}

/// Idle, constant load, idle, square wave, idle.
fn drive(load: &mut dyn Busy, timing: &Timing) -> Result<Shape, String> {
    let half = timing.period * 0.5;
    let rest = |time: Seconds| clock::sleep(Duration::from_secs_f64(time.get().max(0.0)));
    rest(timing.rest);
    let constant = load.run(timing.constant)?;
    rest(timing.rest * 0.5);
    let mut wave = SquareWave::default();
    let begin = clock::now();
    for n in 0..timing.periods {
        // On a fixed grid, so that a late wake-up does not shift everything after it.
        rest(timing.period * f64::from(n) - clock::now().since(begin));
        wave.on.push(load.run(half)?);
    }
    rest(timing.rest * 0.5);
    Ok(Shape { constant, wave })
}

fn since(wave: &SquareWave, first: Tick) -> Vec<[f64; 2]> {
    wave.on.iter().map(|span| [span.from.since(first).get(), span.to.since(first).get()]).collect()
}

fn figures(trace: &Trace, first: Tick) -> Vec<Figure> {
    let mut last: Vec<(PowerKind, f64)> = Vec::new();
    let mut figures = Vec::new();
    for sample in &trace.power {
        let watts = sample.watts.get();
        let before = last.iter_mut().find(|(kind, _)| *kind == sample.kind);
        let new = if let Some((_, before)) = before {
            std::mem::replace(before, watts).to_bits() != watts.to_bits()
        } else {
            last.push((sample.kind, watts));
            true
        };
        if new {
            figures.push(Figure {
                at_seconds: sample.at.since(first).get(),
                kind: sample.kind.name(),
                watts,
            });
        }
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{ClockSample, ThrottledTime};
    use crate::base::units::{Joules, Watts};
    use crate::telemetry::{Description, Scope};
    use std::sync::Arc;

    /// A board that draws 100 W at rest and 600 W under load, and publishes both at once.
    struct Board {
        description: Description,
        busy: Arc<AtomicBool>,
        energy: f64,
        last: Tick,
        fails: bool,
    }

    impl Source for Board {
        fn description(&self) -> &Description {
            &self.description
        }

        fn energy(&mut self) -> Result<Joules, String> {
            let now = clock::now();
            self.energy += now.since(self.last).get() * self.watts();
            self.last = now;
            if self.fails { Err("the board is lost".to_owned()) } else { Ok(Joules::new(self.energy)) }
        }

        fn power(&mut self) -> Result<Vec<(PowerKind, Watts)>, String> {
            if self.fails {
                return Err("the board is lost".to_owned());
            }
            Ok(vec![(PowerKind::Instant, Watts::new(self.watts()))])
        }

        fn clocks(&mut self) -> ClockSample {
            ClockSample::default()
        }

        fn throttled(&mut self) -> ThrottledTime {
            ThrottledTime::default()
        }
    }

    impl Board {
        fn new(busy: Arc<AtomicBool>) -> Self {
            let description = Description {
                name: "nvml",
                device: "GPU-1".to_owned(),
                driver: None,
                scope: Scope::Gpu,
                no_counter: None,
                no_power: None,
            };
            Self { description, busy, energy: 0.0, last: clock::now(), fails: false }
        }

        fn watts(&self) -> f64 {
            if self.busy.load(Ordering::Relaxed) { 600.0 } else { 100.0 }
        }
    }

    struct Switch(Arc<AtomicBool>);

    impl Busy for Switch {
        fn run(&mut self, time: Seconds) -> Result<Span, String> {
            let from = clock::now();
            self.0.store(true, Ordering::Relaxed);
            clock::sleep(Duration::from_secs_f64(time.get()));
            self.0.store(false, Ordering::Relaxed);
            Ok(Span { from, to: clock::now() })
        }
    }

    const SHORT: Timing = Timing {
        rest: Seconds::new(0.02),
        constant: Seconds::new(0.1),
        period: Seconds::new(0.037),
        periods: 12,
        alone: Seconds::new(0.05),
    };

    #[test]
    fn figures_follow_the_load_that_ran() {
        let busy = Arc::new(AtomicBool::new(false));
        let mut board = Board::new(Arc::clone(&busy));
        let found = calibrate(&mut board, Ok(Switch(busy)), &SHORT).expect("measured");
        assert_eq!(found.no_load, None);
        assert_eq!(found.load_on_seconds.len(), 12);
        assert_eq!(found.failures, Vec::<String>::new());
        // Each stretch of load is seen as a rise within it, whatever the machine's scheduler does.
        let rises: Vec<f64> = found
            .figures
            .iter()
            .filter(|figure| figure.watts > 500.0)
            .map(|figure| figure.at_seconds)
            .collect();
        let seen =
            found.load_on_seconds.iter().filter(|[from, to]| rises.iter().any(|at| from <= at && at <= to));
        assert!(seen.count() >= 6, "{found:?}");
        assert_eq!(found.sensor.power[0].kind, "instant");
    }

    #[test]
    fn without_a_load_there_is_rest_and_a_reason() {
        let mut board = Board::new(Arc::default());
        let found =
            calibrate(&mut board, Err::<Switch, _>("no CUDA here".to_owned()), &SHORT).expect("measured");
        assert_eq!(found.no_load.as_deref(), Some("no CUDA here"));
        assert_eq!(found.sensor.power[0].window_seconds, None);
        assert_eq!(found.sensor.power[0].window_seconds.reason(), Some("no CUDA here"));
        assert!(found.load_on_seconds.is_empty());
    }

    #[test]
    fn a_board_that_is_lost_ends_it() {
        let mut board = Board::new(Arc::default());
        board.fails = true;
        let error =
            calibrate(&mut board, Err::<Switch, _>(String::new()), &Timing::default()).expect_err("lost");
        assert!(error.contains("the board is lost"), "{error}");
        board.description.no_counter = Some("MIG".to_owned());
        board.description.no_power = Some("MIG".to_owned());
        let error =
            calibrate(&mut board, Err::<Switch, _>(String::new()), &SHORT).expect_err("nothing to poll");
        assert!(error.contains("has no sensor: MIG"), "{error}");
    }
}
