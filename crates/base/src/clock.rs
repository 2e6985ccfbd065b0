//! The only file that reads time.
//!
//! One monotonic clock for all intervals, the wall clock for dates only. The clock's own precision
//! and cost are measured, since an interval near them says nothing.
#![expect(clippy::disallowed_methods, reason = "this is the one door to the system's clocks and to sleeping")]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::event::Tick;
use super::units::Seconds;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The present moment on the monotonic clock.
pub fn now() -> Tick {
    Tick::from_nanos(u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// The present date and time, in UTC.
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The day, in UTC: the age of a price is counted to it.
pub fn today() -> jiff::civil::Date {
    wall().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// Lets the calling thread rest.
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// What the clock itself costs and can resolve on this machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockQuality {
    /// Smallest non-zero difference seen between two readings.
    pub precision: Seconds,
    /// Mean cost of one reading.
    pub overhead: Seconds,
}

/// Measures the clock with 20,000 readings (about a millisecond).
pub fn measure_quality() -> ClockQuality {
    const READINGS: u32 = 20_000;
    let begin = now();
    let mut previous = begin;
    let mut precision = u64::MAX;
    for _ in 0..READINGS {
        let current = now();
        let step = current.nanos() - previous.nanos();
        if step > 0 {
            precision = precision.min(step);
        }
        previous = current;
    }
    let total = previous.since(begin);
    let precision = if precision == u64::MAX { total } else { Seconds::new(precision as f64 / 1e9) };
    ClockQuality { precision, overhead: total * (1.0 / f64::from(READINGS)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_never_goes_back() {
        let readings: Vec<Tick> = (0..1000).map(|_| now()).collect();
        assert!(readings.is_sorted());
    }

    #[test]
    fn quality_is_positive_and_sane() {
        let quality = measure_quality();
        assert!(quality.precision.get() > 0.0, "{quality:?}");
        assert!(quality.overhead.get() > 0.0 && quality.overhead.get() < 1e-3, "{quality:?}");
    }
}
