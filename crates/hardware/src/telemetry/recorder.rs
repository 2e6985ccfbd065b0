//! Polls a source at a fixed rate from its own thread, and at the edges of a phase from the caller's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Description, Source, sensor};
use crate::base::event::{EnergyEdge, EnergyReading, PhaseEdge, PowerSample, ThrottledTime, Trace};
use crate::base::units::{Joules, Seconds};
use crate::base::{clock, sys};
use crate::record::Sensor;

/// The polling rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Time between two readings of power and energy: half the 100 ms at which data-centre GPUs publish. A sensor that turns
    /// out to publish more often is polled more often.
    pub power: Duration,
    /// Clocks and temperature are read with every this many readings.
    pub clocks_every: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { power: Duration::from_millis(50), clocks_every: 10 }
    }
}

/// Time between two polls for an edge.
const POLL: Duration = Duration::from_millis(1);
/// Longest wait for an update of a counter with unknown period: three times the 100 ms of the slowest one ever reported.
/// With a known period, the wait is three periods.
const LONGEST_WAIT: Seconds = Seconds::new(0.3);
const PERIODS_TO_WAIT: f64 = 3.0;
/// Upper bound of the wait, whatever the period.
const MOST_WAIT: Seconds = Seconds::new(2.0);
/// Power is never polled more often than this.
const FASTEST: Duration = Duration::from_millis(10);

/// A thread that records a source's readings.
pub struct Recorder {
    description: Description,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Option<Seconds>>>,
}

struct Shared {
    source: Mutex<Box<dyn Source>>,
    trace: Mutex<Trace>,
    stop: AtomicBool,
    /// Nanoseconds between two readings.
    period: AtomicU64,
    /// The sensors' calibration, once known.
    sensor: OnceLock<Sensor>,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The source.
    pub description: Description,
    /// Its readings.
    pub trace: Trace,
    /// The sensors' calibration; `None` if they were neither calibrated nor watched.
    pub sensor: Option<Sensor>,
    /// Processor time of the recorder's thread, if the system reports it.
    pub processor_time: Option<Seconds>,
    /// Wall time from start to stop.
    pub wall_time: Seconds,
}

impl Recorder {
    /// Starts recording.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(source: Box<dyn Source>, rate: Rate) -> std::io::Result<Self> {
        let description = source.description().clone();
        let shared = Arc::new(Shared {
            source: Mutex::new(source),
            trace: Mutex::new(Trace::default()),
            stop: AtomicBool::new(false),
            period: AtomicU64::new(nanos(rate.power)),
            sensor: OnceLock::new(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || shared.record(rate))?
        };
        Ok(Self { description, shared, thread: Some(thread) })
    }

    /// What is recorded.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Adopts an earlier calibration of the sensors.
    pub fn know(&self, sensor: Sensor) {
        self.shared.know(sensor);
    }

    /// Watches the sensors of the idle device for `time`: if they are not calibrated yet, polls them every millisecond to
    /// find their period and step. Ends early if `stop` returns true.
    pub fn watch(&self, time: Seconds, stop: &dyn Fn() -> bool) {
        let begin = clock::now();
        let known = self.shared.sensor.get().is_some();
        let mut trace = Trace::default();
        while clock::now().since(begin) < time && !stop() {
            if known {
                clock::sleep(Duration::from_millis(50));
            } else {
                self.shared.read_into(&mut trace, false);
                clock::sleep(POLL);
            }
        }
        if !known {
            let found = sensor::analyse(&trace, None, Err("bench doctor --calibrate-power measures it"));
            self.shared.know(Sensor { origin: "measured at start, on the idle device".to_owned(), ..found });
        }
    }

    /// Records an edge of a phase: waits for the counter's next update, at most three of its periods.
    ///
    /// A counter that is updated every 100 ms, read at an arbitrary moment, is off by up to one update (70 J at 700 W); right
    /// after its update it is off only by the time between two polls.
    pub fn edge(&self) -> PhaseEdge {
        let energy = self.energy_edge();
        let at = match &energy {
            Ok(edge) => edge.reading.at,
            Err(_) => clock::now(),
        };
        PhaseEdge { at, energy, throttled: self.throttled() }
    }

    /// Stops and returns what was recorded.
    pub fn stop(mut self) -> Recorded {
        let processor_time = self.join();
        let trace = std::mem::take(&mut *lock(&self.shared.trace));
        let times = || trace.energy.iter().map(|e| e.at).chain(trace.power.iter().map(|p| p.at));
        let wall_time = times().max().zip(times().min()).map_or(Seconds::ZERO, |(to, from)| to.since(from));
        let sensor = self.shared.sensor.get().cloned();
        Recorded { description: self.description.clone(), trace, sensor, processor_time, wall_time }
    }

    fn energy_edge(&self) -> Result<EnergyEdge, String> {
        if let Some(reason) = &self.description.no_counter {
            return Err(reason.clone());
        }
        let longest = self.shared.longest_wait();
        let begin = clock::now();
        let first = self.shared.energy()?;
        let mut previous = first.at;
        loop {
            clock::sleep(POLL);
            let reading = self.shared.energy()?;
            let aligned = reading.joules != first.joules;
            if aligned || reading.at.since(begin) >= longest {
                let uncertainty = reading.at.since(if aligned { previous } else { begin });
                return Ok(EnergyEdge { reading, uncertainty, aligned });
            }
            previous = reading.at;
        }
    }

    fn throttled(&self) -> ThrottledTime {
        lock(&self.shared.source).throttled()
    }

    fn join(&mut self) -> Option<Seconds> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take()?.join().ok()?
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.join();
    }
}

impl Shared {
    fn record(&self, rate: Rate) -> Option<Seconds> {
        let mut round = 0u32;
        let mut next = clock::now().nanos();
        while !self.stop.load(Ordering::Relaxed) {
            self.read(round.is_multiple_of(rate.clocks_every));
            round = round.wrapping_add(1);
            // A fixed grid: a slow reading does not stretch the period, and a missed one is not repeated.
            let period = self.period.load(Ordering::Relaxed);
            let now = clock::now().nanos();
            next = (next + period).max(now);
            clock::sleep(Duration::from_nanos(next - now));
        }
        // The last edge came after the last reading, and samples must cover it.
        self.read(true);
        sys::thread_time()
    }

    fn know(&self, sensor: Sensor) {
        // Half the shortest period, so that no value is missed.
        let shortest = sensor.power.iter().filter_map(|power| *power.period_seconds).reduce(f64::min);
        if let Some(period) = shortest {
            let half = nanos(Duration::from_secs_f64((period / 2.0).clamp(0.0, 60.0)));
            self.period.fetch_min(half.max(nanos(FASTEST)), Ordering::Relaxed);
        }
        // Set only once: a second calibration within a run would belong to another device.
        self.sensor.get_or_init(|| sensor);
    }

    fn longest_wait(&self) -> Seconds {
        let period = self.sensor.get().and_then(|sensor| Some(sensor.counter.as_ref()?.period_seconds));
        period.map_or(LONGEST_WAIT, |period| {
            Seconds::new((period * PERIODS_TO_WAIT).clamp(3.0 * POLL.as_secs_f64(), MOST_WAIT.get()))
        })
    }

    fn read(&self, clocks: bool) {
        let mut found = Trace::default();
        self.read_into(&mut found, clocks);
        let mut trace = lock(&self.trace);
        trace.energy.append(&mut found.energy);
        trace.power.append(&mut found.power);
        trace.clocks.append(&mut found.clocks);
        for failure in found.failures {
            if !trace.failures.contains(&failure) {
                trace.failures.push(failure);
            }
        }
    }

    fn read_into(&self, trace: &mut Trace, clocks: bool) {
        let (energy, power, state) = {
            let mut source = lock(&self.source);
            let energy = source.description().no_counter.is_none().then(|| source.energy());
            let energy = energy.map(|energy| (clock::now(), energy));
            let power = source.description().no_power.is_none().then(|| source.power());
            let power = power.map(|power| (clock::now(), power));
            let state = clocks.then(|| {
                let mut state = source.clocks();
                state.at = clock::now();
                state
            });
            (energy, power, state)
        };
        match energy {
            Some((at, Ok(joules))) => trace.energy.push(EnergyReading { at, joules }),
            Some((_, Err(reason))) => trace.failed("energy", &reason),
            None => {}
        }
        match power {
            Some((at, Ok(kinds))) => {
                let samples = kinds.into_iter().map(|(kind, watts)| PowerSample { at, watts, kind });
                trace.power.extend(samples);
            }
            Some((_, Err(reason))) => trace.failed("power", &reason),
            None => {}
        }
        trace.clocks.extend(state);
    }

    fn energy(&self) -> Result<EnergyReading, String> {
        let joules: Joules = lock(&self.source).energy()?;
        Ok(EnergyReading { at: clock::now(), joules })
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Ignores poisoning: a thread that panicked while holding the lock left a consistent source and trace.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
