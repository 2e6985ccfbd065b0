//! Traces of known energy, seen through sensors with the faults of real ones.

use super::*;
use crate::base::event::{EnergyEdge, EnergyReading, PowerKind, PowerSample, Throttle, Tick};
use crate::record::Grade;
use crate::run::plan::RowKind;

const IDLE: f64 = 70.0;
/// The load lasts from 2 s to 8 s.
const LOAD: (f64, f64) = (2.0, 8.0);

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn tick(seconds: f64) -> Tick {
    Tick::from_nanos((seconds * 1e9).round() as u64)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
/// Energy of `watts` between two moments, in millisecond steps.
fn energy(watts: &dyn Fn(f64) -> f64, from: f64, to: f64) -> f64 {
    let steps = ((to - from) * 1e3).round() as u32;
    (0..steps).map(|k| watts(from + (f64::from(k) + 0.5) / 1e3) / 1e3).sum()
}

/// Publishes every 100 ms: the mean of 25 ms, and the mean of a second. Polled every 50 ms.
fn trace(watts: &dyn Fn(f64) -> f64) -> Trace {
    let mut trace = Trace::default();
    for poll in 0..200u32 {
        let now = 0.02 + f64::from(poll) * 0.05;
        let published = (now * 10.0).floor() / 10.0;
        for (kind, window) in [(PowerKind::Instant, 0.025), (PowerKind::Average, 1.0)] {
            let from = f64::max(published - window, 0.0);
            let mean =
                if published > from { energy(watts, from, published) / (published - from) } else { IDLE };
            trace.power.push(PowerSample { at: tick(now), watts: Watts::new(mean), kind });
        }
        trace
            .energy
            .push(EnergyReading { at: tick(now), joules: Joules::new(energy(watts, 0.0, published)) });
        trace.clocks.push(ClockSample {
            at: tick(now),
            sm_mhz: Some(1500 + poll),
            celsius: Some(40.0),
            throttle: Some(Throttle::default()),
            ..ClockSample::default()
        });
    }
    trace
}

/// The edge after the first step of the counter at or after `seconds`.
fn edge(watts: &dyn Fn(f64) -> f64, seconds: f64) -> PhaseEdge {
    let step = (seconds * 10.0).ceil() / 10.0;
    let reading = EnergyReading { at: tick(step + 0.0005), joules: Joules::new(energy(watts, 0.0, step)) };
    let energy = Ok(EnergyEdge { reading, uncertainty: Seconds::new(0.001), aligned: true });
    PhaseEdge { at: reading.at, energy, throttled: ThrottledTime::default() }
}

fn window(watts: &dyn Fn(f64) -> f64) -> Window {
    Window {
        begin: edge(watts, LOAD.0 - 0.03),
        end: edge(watts, LOAD.1 + 0.01),
        own: vec![Span { from: tick(LOAD.0 + 0.002), to: tick(LOAD.1) }],
        context: vec![],
    }
}

fn device(trace: &Trace) -> Device<'_> {
    Device {
        trace,
        idle: Ok(Watts::new(IDLE)),
        no_power: None,
        module: false,
        other_device: false,
        shortest: SHORTEST,
    }
}

fn row() -> Row {
    Row { kind: RowKind::Decode { output_tokens: 100 }, batch: 2, depth: 0 }
}

fn under_load(shape: impl Fn(f64) -> f64) -> impl Fn(f64) -> f64 {
    move |t| if (LOAD.0..LOAD.1).contains(&t) { shape(t - LOAD.0) } else { IDLE }
}

#[test]
fn known_energy_is_found_by_both_methods() {
    type Shape = Box<dyn Fn(f64) -> f64>;
    let shapes: [(&str, Shape); 4] = [
        ("constant", Box::new(under_load(|_| 650.0))),
        ("ramp", Box::new(under_load(|t| 200.0 + 75.0 * t))),
        ("square 0.7 s", Box::new(under_load(|t| if (t / 0.7).fract() < 0.5 { 700.0 } else { 250.0 }))),
        ("bursts", Box::new(under_load(|t| if (t * 1.3).fract() < 0.2 || t > 5.0 { 690.0 } else { 320.0 }))),
    ];
    for (name, watts) in &shapes {
        let trace = trace(watts);
        let found = of_row(&row(), &window(watts), &device(&trace));
        let truth = energy(watts, LOAD.0, LOAD.1);
        let joules = found.joules.expect("a counter");
        assert!((joules / truth - 1.0).abs() < 0.01, "{name}: counter {joules} of {truth}");
        let whole = energy(watts, 2.0, 8.1);
        let integral = found.integral_joules.expect("samples");
        assert!((integral / whole - 1.0).abs() < 0.02, "{name}: integral {integral} of {whole}");
        assert_eq!((*found.grade, &found.reasons), (Some(Grade::A), &vec![]), "{name}");
        assert_eq!(found.output_tokens, 200);
    }
}

#[test]
fn without_a_counter_the_samples_give_the_energy_and_the_grade_says_so() {
    let watts = under_load(|_| 650.0);
    let trace = trace(&watts);
    let mut window = window(&watts);
    window.begin.energy = Err("no such function".into());
    let found = of_row(&row(), &window, &device(&trace));
    let truth = energy(&watts, LOAD.0, LOAD.1);
    assert!((found.joules.expect("samples") / truth - 1.0).abs() < 0.02, "{found:?}");
    assert_eq!((found.method.as_deref(), *found.grade), (Some("samples"), Some(Grade::C)));
    assert!(found.counter_joules.reason().expect("a reason").contains("no such function"));
}

#[test]
fn instant_samples_alone_are_integrated_by_trapezoid() {
    let watts = under_load(|t| 200.0 + 75.0 * t);
    let mut trace = trace(&watts);
    trace.power.retain(|sample| sample.kind == PowerKind::Instant);
    let found = of_row(&row(), &window(&watts), &device(&trace));
    let whole = energy(&watts, 2.0, 8.1);
    assert!((found.integral_joules.expect("samples") / whole - 1.0).abs() < 0.02, "{found:?}");
}

#[test]
fn a_counter_that_lies_is_null_or_graded() {
    let watts = under_load(|_| 650.0);
    let trace = trace(&watts);
    let joules = |edge: &PhaseEdge| edge.energy.as_ref().expect("made so").reading.joules;
    let set = |edge: &mut PhaseEdge, joules: Joules| {
        if let Ok(edge) = &mut edge.energy {
            edge.reading.joules = joules;
        }
    };
    // Reset, frozen: no counter, and the samples take over.
    for (end, word) in [(Joules::new(3.0), "went back"), (joules(&window(&watts).begin), "did not move")] {
        let mut window = window(&watts);
        set(&mut window.end, end);
        let found = of_row(&row(), &window, &device(&trace));
        assert_eq!(found.counter_joules, None);
        assert!(found.counter_joules.reason().expect("a reason").contains(word));
        assert_eq!(found.grade, Some(Grade::C));
    }
    // Off by a tenth: the samples disagree.
    let mut window = window(&watts);
    let end = joules(&window.end);
    set(&mut window.end, end + Joules::new(400.0));
    let found = of_row(&row(), &window, &device(&trace));
    assert_eq!(found.grade, Some(Grade::C));
    assert!(found.reasons[0].contains("disagree"), "{:?}", found.reasons);
}

#[test]
fn nothing_at_all_is_null_with_both_reasons() {
    let watts = under_load(|_| 650.0);
    let mut window = window(&watts);
    window.end.energy = Err("the GPU is lost".into());
    let found = of_row(&row(), &window, &device(&Trace::default()));
    assert_eq!((*found.joules, *found.grade), (None, None));
    let reason = found.joules.reason().expect("a reason");
    assert!(reason.contains("the GPU is lost") && reason.contains("no power value was read"), "{reason}");
    // A sensor that is there and reads nothing true is not called absent.
    let nothing = Trace::default();
    let zero = Device { no_power: Some("the power sensor reads 0 W"), ..device(&nothing) };
    let begin = window.begin.energy.clone();
    window.end.energy = begin;
    let found = of_row(&row(), &window, &zero);
    let reason = found.joules.reason().expect("a reason");
    assert_eq!(reason, "the counter did not move; the power sensor reads 0 W");
    window.end.energy = Err("the GPU is lost".into());
    let metrics = measurements(&of_row(&row(), &window, &device(&Trace::default())));
    assert!(metrics.iter().all(|m| m.value.is_none() && m.value.reason().is_some()), "{metrics:?}");
}

#[test]
fn a_hole_in_the_samples_is_not_bridged() {
    let watts = under_load(|_| 650.0);
    let mut trace = trace(&watts);
    trace.power.retain(|sample| !(4.0..5.5).contains(&(sample.at.nanos() as f64 / 1e9)));
    let found = of_row(&row(), &window(&watts), &device(&trace));
    assert!(found.integral_joules.reason().expect("a hole").contains("gap"));
    assert_eq!(found.grade, Some(Grade::B));
}

#[test]
fn contexts_are_shared_by_time_up_to_a_limit() {
    let watts = under_load(|_| 650.0);
    let trace = trace(&watts);
    let mut window = window(&watts);
    let from = window.own[0].from;
    window.context = vec![Span { from, to: tick(2.6) }];
    window.own[0].from = tick(2.6);
    let found = of_row(&row(), &window, &device(&trace));
    let truth = energy(&watts, 2.6, 8.0);
    assert!((found.joules.expect("shared") / truth - 1.0).abs() < 0.01, "{found:?}");
    assert_eq!(found.grade, Some(Grade::B), "{:?}", found.reasons);
    window.context[0].to = tick(5.0);
    window.own[0].from = tick(5.0);
    let found = of_row(&row(), &window, &device(&trace));
    assert!(found.joules.reason().expect("too much context").contains("context took"));
}

#[test]
fn throttling_is_taken_from_the_counters_and_from_the_polls() {
    let watts = under_load(|_| 650.0);
    let mut trace = trace(&watts);
    let mut window = window(&watts);
    let time = |seconds: f64| ThrottledTime {
        power_cap: Some(Seconds::new(seconds * 2.0)),
        thermal: Some(Seconds::new(seconds)),
        power_brake: None,
    };
    window.begin.throttled = time(1.0);
    window.end.throttled = time(1.61);
    let found = of_row(&row(), &window, &device(&trace));
    assert!((found.throttled_share.expect("a counter") - 0.1).abs() < 1e-3, "{found:?}");
    assert!((found.power_capped_share.expect("a counter") - 0.2).abs() < 2e-3);
    assert_eq!(found.grade, Some(Grade::B));
    for sample in &mut trace.clocks {
        sample.throttle = Some(Throttle { thermal: true, ..Throttle::default() });
    }
    assert_eq!(of_row(&row(), &window, &device(&trace)).throttled_share, Some(1.0));
}

#[test]
fn joint_rows_do_not_say_whose_joules_they_are() {
    let watts = under_load(|_| 650.0);
    let trace = trace(&watts);
    let row = Row { kind: RowKind::Joint { prompt_tokens: 10, output_tokens: 5 }, batch: 1, depth: 0 };
    let found = measurements(&of_row(&row, &window(&watts), &device(&trace)));
    let of = |metric: &str| {
        found.iter().find(|m| m.metric.as_str() == metric).expect("present").value.clone().into_option()
    };
    assert!(of("energy_joules").is_some() && of("power_watts").is_some());
    assert_eq!((of("joules_per_input_token"), of("joules_per_output_token")), (None, None));
}

#[test]
fn an_edge_is_found_afterwards_at_the_next_step_that_polls_saw() {
    let ms = |count: u64| Tick::from_nanos(count * 1_000_000);
    // Polled every 50 ms, it steps by 40 J every 100 ms.
    let reading = |n: u64| EnergyReading { at: ms(50 * n), joules: Joules::new((n / 2 * 40) as f64) };
    let trace = Trace { energy: (0..40).map(reading).collect(), ..Trace::default() };
    let edge = edge_in(&trace, ms(420));
    let found = edge.energy.expect("a step");
    assert_eq!((edge.at, found.reading), (ms(500), reading(10)));
    assert_eq!((found.uncertainty, found.aligned), (Seconds::new(0.05), true));
    // A moment at which a step was seen is its own edge.
    assert_eq!(edge_in(&trace, ms(500)).at, ms(500));
    assert_eq!(edge_in(&trace, ms(501)).at, ms(600));
    let late = edge_in(&trace, ms(1960));
    assert_eq!((late.at, late.energy.is_err()), (ms(1960), true));
    assert!(edge_in(&Trace::default(), ms(5)).energy.is_err());
}
