//! Asks a source at a fixed rate from a thread of its own, and at the edges of a phase from the caller's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Description, Source};
use crate::base::event::{EnergyEdge, EnergyReading, PhaseEdge, PowerSample, ThrottledTime, Trace};
use crate::base::units::{Joules, Seconds};
use crate::base::{clock, sys};

/// How often it asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Time between two readings of power and energy: half the 100 ms at which data-centre GPUs publish.
    pub power: Duration,
    /// Every this many readings, clocks and temperature are read too.
    pub clocks_every: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { power: Duration::from_millis(50), clocks_every: 10 }
    }
}

/// Time between two polls for an edge.
const POLL: Duration = Duration::from_millis(1);
/// Longest wait for the counter's step: three times the 100 ms of the slowest counter known.
const LONGEST_WAIT: Seconds = Seconds::new(0.3);

/// A thread that keeps what a source says.
pub struct Recorder {
    description: Description,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Option<Seconds>>>,
}

struct Shared {
    source: Mutex<Box<dyn Source>>,
    trace: Mutex<Trace>,
    stop: AtomicBool,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The source.
    pub description: Description,
    /// What it said.
    pub trace: Trace,
    /// Processor time of the recorder's thread, where the system says.
    pub processor_time: Option<Seconds>,
    /// Wall time from start to stop.
    pub wall_time: Seconds,
}

impl Recorder {
    /// Starts to record.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(source: Box<dyn Source>, rate: Rate) -> std::io::Result<Self> {
        let description = source.description().clone();
        let shared = Arc::new(Shared {
            source: Mutex::new(source),
            trace: Mutex::new(Trace::default()),
            stop: AtomicBool::new(false),
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

    /// Takes an edge of a phase: waits for the counter's next step, at most 0.3 s.
    ///
    /// A counter that advances every 100 ms, read at an arbitrary moment, is off by up to one step (70 J at
    /// 700 W); behind its step it is off by the time between two polls.
    pub fn edge(&self) -> PhaseEdge {
        let energy = self.energy_edge();
        let at = match &energy {
            Ok(edge) => edge.reading.at,
            Err(_) => clock::now(),
        };
        PhaseEdge { at, energy, throttled: self.throttled() }
    }

    /// Stops and gives what was recorded.
    pub fn stop(mut self) -> Recorded {
        let processor_time = self.join();
        let trace = std::mem::take(&mut *lock(&self.shared.trace));
        let times = || trace.energy.iter().map(|e| e.at).chain(trace.power.iter().map(|p| p.at));
        let wall_time = times().max().zip(times().min()).map_or(Seconds::ZERO, |(to, from)| to.since(from));
        Recorded { description: self.description.clone(), trace, processor_time, wall_time }
    }

    fn energy_edge(&self) -> Result<EnergyEdge, String> {
        if let Some(reason) = &self.description.no_counter {
            return Err(reason.clone());
        }
        let begin = clock::now();
        let first = self.shared.energy()?;
        let mut previous = first.at;
        loop {
            clock::sleep(POLL);
            let reading = self.shared.energy()?;
            let aligned = reading.joules != first.joules;
            if aligned || reading.at.since(begin) >= LONGEST_WAIT {
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
            // A fixed grid: a slow reading does not stretch the period, a missed one is not made up for.
            let period = u64::try_from(rate.power.as_nanos()).unwrap_or(u64::MAX);
            let now = clock::now().nanos();
            next = (next + period).max(now);
            clock::sleep(Duration::from_nanos(next - now));
        }
        sys::thread_time()
    }

    fn read(&self, clocks: bool) {
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
        let mut trace = lock(&self.trace);
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

/// A thread that panicked while it held the lock left a whole source and a whole trace behind.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
