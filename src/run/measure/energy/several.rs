//! The energy of a row on several GPUs: what each took, added up.

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
    let add = |value: fn(&EnergyWindow) -> Option<f64>| -> Option<f64> {
        windows.iter().map(|window| Some(value(window)? * scaled(window))).sum()
    };
    let reason = |of: fn(&EnergyWindow) -> &Option<String>| {
        let (index, reason) =
            windows.iter().enumerate().find_map(|(index, window)| Some((index, of(window).as_ref()?)))?;
        Some(format!("of GPU {index}: {reason}"))
    };
    let most = |value: fn(&EnergyWindow) -> Option<f64>| windows.iter().filter_map(value).reduce(f64::max);
    let range = |value: fn(&EnergyWindow) -> Option<[u32; 2]>| {
        let ranges = windows.iter().filter_map(value);
        ranges.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])])
    };
    let mut reasons: Vec<String> = Vec::new();
    for reason in windows.iter().flat_map(|window| &window.reasons) {
        if !reasons.contains(reason) {
            reasons.push(reason.clone());
        }
    }
    let celsius = windows.iter().filter_map(|window| window.celsius);
    let joules = add(|window| window.joules);
    Some(EnergyWindow {
        joules,
        joules_reason: reason(|window| &window.joules_reason),
        method: joules.and_then(|_| {
            // The weakest method names the sum.
            let methods = windows.iter().filter_map(|window| window.method.as_deref());
            methods.max().map(str::to_owned)
        }),
        method_reason: reason(|window| &window.method_reason),
        error_bound_share: joules.and_then(|_| most(|window| window.error_bound_share)),
        error_bound_share_reason: reason(|window| &window.error_bound_share_reason),
        idle_subtracted_joules: add(|window| window.idle_subtracted_joules),
        idle_subtracted_joules_reason: reason(|window| &window.idle_subtracted_joules_reason),
        counter_joules: add(|window| window.counter_joules),
        counter_joules_reason: reason(|window| &window.counter_joules_reason),
        integral_joules: add(|window| window.integral_joules),
        integral_joules_reason: reason(|window| &window.integral_joules_reason),
        mean_watts: windows.iter().map(|window| window.mean_watts).sum(),
        mean_watts_reason: reason(|window| &window.mean_watts_reason),
        peak_watts: None,
        peak_watts_reason: Some("the peaks of several GPUs need not come at once".to_owned()),
        throttled_share: most(|window| window.throttled_share),
        power_capped_share: most(|window| window.power_capped_share),
        celsius: celsius.reduce(|a, b| [a[0].max(b[0]), a[1].max(b[1])]),
        sm_mhz: range(|window| window.sm_mhz),
        memory_mhz: range(|window| window.memory_mhz),
        grade: joules.and_then(|_| windows.iter().filter_map(|window| window.grade).max()),
        grade_reason: reason(|window| &window.grade_reason),
        reasons,
        ..first.clone()
    })
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
            phase: "serving".to_owned(),
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
        assert_eq!(sum.grade, one.grade.max(two.grade));
        assert!(sum.grade.is_some_and(|grade| grade <= Grade::B), "{sum:?}");
        assert_eq!((sum.peak_watts, sum.method.as_deref()), (None, Some("counter")));
    }

    #[test]
    fn what_is_not_known_of_one_is_not_known_of_all() {
        let still = window(0.0, 10, 40);
        let sum = sum(&[window(300.0, 10, 40), still]).expect("two windows");
        assert_eq!((sum.joules, sum.mean_watts, sum.grade), (None, None, None));
        let reason = sum.joules_reason.expect("a reason");
        assert!(reason.starts_with("of GPU 1: the counter did not move"), "{reason}");
    }
}
