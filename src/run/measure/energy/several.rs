//! The energy of a row on several GPUs: what each took, added up.

use crate::base::known::Known;
use crate::record::EnergyWindow;

/// One window of what each device took of the same row; `None` of no device.
///
/// Each device's energy is read at the steps of its own counter, so their windows differ by a fraction of a second; energies
/// are scaled to the length of the first. What is not known of one is not known of all.
pub fn sum(windows: &[EnergyWindow]) -> Option<EnergyWindow> {
    let first = windows.first()?;
    if windows.len() == 1 {
        return Some(first.clone());
    }
    let scaled = |window: &EnergyWindow| {
        if window.own_seconds > 0.0 { first.own_seconds / window.own_seconds } else { 1.0 }
    };
    let add = |of: Of<f64>, by: &dyn Fn(&EnergyWindow) -> f64| -> Known<f64> {
        let mut sum = 0.0;
        for (index, window) in windows.iter().enumerate() {
            match of(window).as_result() {
                Ok(value) => sum += value * by(window),
                Err(reason) => return Known::unknown(format!("of GPU {index}: {reason}")),
            }
        }
        Known::new(sum)
    };
    let mut reasons: Vec<String> = Vec::new();
    for reason in windows.iter().flat_map(|window| &window.reasons) {
        if !reasons.contains(reason) {
            reasons.push(reason.clone());
        }
    }
    let joules = add(|window| &window.joules, &scaled);
    let why = joules.reason().map(str::to_owned);
    let widest = |a: [u32; 2], b: [u32; 2]| [a[0].min(b[0]), a[1].max(b[1])];
    Some(EnergyWindow {
        // The weakest method names the sum.
        method: with(why.as_deref(), of_all(windows, |window| &window.method, Ord::max)),
        error_bound_share: with(
            why.as_deref(),
            of_all(windows, |window| &window.error_bound_share, f64::max),
        ),
        idle_subtracted_joules: add(|window| &window.idle_subtracted_joules, &scaled),
        counter_joules: add(|window| &window.counter_joules, &scaled),
        integral_joules: add(|window| &window.integral_joules, &scaled),
        mean_watts: add(|window| &window.mean_watts, &|_| 1.0),
        peak_watts: Known::unknown("the peaks of several GPUs need not coincide"),
        throttled_share: of_all(windows, |window| &window.throttled_share, f64::max),
        power_capped_share: of_all(windows, |window| &window.power_capped_share, f64::max),
        celsius: of_all(windows, |window| &window.celsius, |a, b| [a[0].max(b[0]), a[1].max(b[1])]),
        sm_mhz: of_all(windows, |window| &window.sm_mhz, widest),
        memory_mhz: of_all(windows, |window| &window.memory_mhz, widest),
        grade: with(why.as_deref(), of_all(windows, |window| &window.grade, Ord::max)),
        joules,
        reasons,
        ..first.clone()
    })
}

/// A field of a window.
type Of<T> = fn(&EnergyWindow) -> &Known<T>;

/// What is known of any of them, joined; else why it is not known of the first.
fn of_all<T: Clone>(windows: &[EnergyWindow], of: Of<T>, join: fn(T, T) -> T) -> Known<T> {
    let known = windows.iter().filter_map(|window| (**of(window)).clone()).reduce(join);
    known.map_or_else(|| of(&windows[0]).clone(), Known::new)
}

/// `value`, unless there is a reason why it cannot be known.
fn with<T>(why: Option<&str>, value: Known<T>) -> Known<T> {
    why.map_or(value, Known::unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{EnergyEdge, EnergyReading, PhaseEdge, Span, ThrottledTime, Tick, Trace};
    use crate::base::units::{Joules, Seconds};
    use crate::record::{Cell, Grade};
    use crate::run::measure::energy::{Device, SHORTEST, Window, of_window};

    /// A device that takes so many watts between these moments in seconds.
    fn window(watts: f64, from: u64, to: u64) -> EnergyWindow {
        let tick = |seconds: u64| Tick::from_nanos(seconds * 1_000_000_000);
        let edge = |seconds: u64| PhaseEdge {
            at: tick(seconds),
            energy: Ok(EnergyEdge {
                reading: EnergyReading { at: tick(seconds), joules: Joules::new(watts * seconds as f64) },
                uncertainty: Seconds::new(0.01),
                aligned: true,
            }),
            throttled: ThrottledTime::default(),
        };
        let own = vec![Span { from: tick(from), to: tick(to) }];
        let window = Window { begin: edge(from), end: edge(to), own, context: Vec::new() };
        let device = Device {
            trace: &Trace::default(),
            idle: Err("not seen"),
            no_power: None,
            module: false,
            other_device: false,
            shortest: SHORTEST,
        };
        let cell = Cell {
            prompt_tokens: 8,
            output_tokens: 8,
            batch: 4,
            depth: 0,
            phase: crate::record::Phase::Serving,
            requests_per_second: None,
        };
        of_window(cell, [100, 200], &window, &device)
    }

    #[test]
    fn the_energy_of_several_is_the_sum_and_its_grade_the_worst() {
        let [one, two] = [window(300.0, 10, 40), window(500.0, 11, 42)];
        let sum = sum(&[one.clone(), two.clone()]).expect("two windows");
        assert_eq!((sum.seconds, sum.input_tokens, sum.output_tokens), (30.0, 100, 200));
        assert!((sum.joules.expect("counters") - 800.0 * 30.0).abs() < 1e-6, "{sum:?}");
        assert!((sum.mean_watts.expect("counters") - 800.0).abs() < 1e-9);
        assert_eq!(*sum.grade, (*one.grade).max(*two.grade));
        assert!(sum.grade.is_some_and(|grade| grade <= Grade::B), "{sum:?}");
        assert_eq!((*sum.peak_watts, sum.method.as_deref()), (None, Some("counter")));
    }

    #[test]
    fn what_is_not_known_of_one_is_not_known_of_all() {
        let still = window(0.0, 10, 40);
        let sum = sum(&[window(300.0, 10, 40), still]).expect("two windows");
        assert_eq!((*sum.joules, *sum.mean_watts, *sum.grade), (None, None, None));
        let reason = sum.joules.reason().expect("a reason");
        assert!(reason.starts_with("of GPU 1: the counter did not move"), "{reason}");
    }
}
