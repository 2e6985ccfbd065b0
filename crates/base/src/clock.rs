//! The only file that reads the clock.
//!
//! One monotonic clock for all intervals, the wall clock for dates only. The clock's own resolution
//! and overhead are measured, since an interval close to them is meaningless.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the only access to the system's clocks and to sleeping"
)]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use super::event::Tick;
use super::units::Seconds;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The current moment on the monotonic clock.
pub fn now() -> Tick {
    Tick::from_nanos(u64::try_from(ORIGIN.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// The current date and time, in UTC.
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Today, in UTC.
pub fn today() -> jiff::civil::Date {
    wall().to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// Suspends the calling thread.
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// The clock's overhead and resolution on this machine.
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
