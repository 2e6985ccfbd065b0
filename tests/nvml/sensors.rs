//! Readings against the script's truth, and the reason where there is none.

use infercost::base::clock;
use infercost::base::event::{PowerKind, Throttle};
use infercost::base::units::{Seconds, Watts};
use infercost::hardware::telemetry::{Rate, Recorder, Scope, Source as _};

use super::source;
use crate::support::fake_nvml::{CounterScript, FakeNvml, GpuScript, PowerScript, Script, Trace, monotonic};

#[test]
fn the_counter_and_both_powers_are_read_in_their_units() {
    let fake = FakeNvml::gpu(GpuScript {
        watts: Trace::constant(412.5),
        counter: CounterScript { step: 0.0, ..CounterScript::default() },
        ..GpuScript::default()
    });
    let mut source = source(&fake);
    let description = source.description();
    assert_eq!((description.name, description.scope), ("nvml", Scope::Gpu));
    assert_eq!(description.device, "GPU-00000000-fa4e-0000-0000-000000000000");
    assert_eq!((&description.no_counter, &description.no_power), (&None, &None));
    assert_eq!(description.driver.as_deref(), Some("570.86.15"));

    let before = fake.now();
    let joules = source.energy().expect("a counter").get();
    let after = fake.now();
    let truth = |at: f64| 1000.0 + 412.5 * at;
    assert!((truth(before) - 0.001..=truth(after) + 0.001).contains(&joules), "{joules}");
    let power = source.power().expect("both fields");
    assert_eq!(power, [(PowerKind::Instant, Watts::new(412.5)), (PowerKind::Average, Watts::new(412.5))]);
}

#[test]
fn the_two_powers_differ_as_their_windows_do() {
    // Ten seconds into the trace a square wave of 100 ms is high for the first 40 ms of each period.
    let fake = FakeNvml::new(Script {
        origin: Some(monotonic() - 10_000_000_000),
        gpu: vec![GpuScript {
            watts: Trace::Square { period: 0.1, duty: 0.4, low: 100.0, high: 600.0 },
            power: PowerScript { phase: 0.03, gain: 1.05, ..PowerScript::default() },
            ..GpuScript::default()
        }],
        ..Script::default()
    });
    let power = source(&fake).power().expect("both fields");
    // The instant value is always made within the high part, the average over ten periods.
    let shown: Vec<f64> = power.iter().map(|(_, watts)| watts.get()).collect();
    assert!((shown[0] - 630.0).abs() < 0.01 && (shown[1] - 315.0).abs() < 0.01, "{shown:?}");
}

#[test]
fn what_an_older_driver_lacks_is_replaced_or_given_up() {
    let fields = "nvmlDeviceGetFieldValues";
    let counter = "nvmlDeviceGetTotalEnergyConsumption";
    let usage = "nvmlDeviceGetPowerUsage";
    let opened = |hidden: &[&str]| source(&FakeNvml::without(Script::default(), hidden));

    let mut source = opened(&[fields]);
    assert_eq!(source.power(), Ok(vec![(PowerKind::Unspecified, Watts::new(300.0))]));
    assert!(source.energy().is_ok());

    let mut source = opened(&[counter]);
    assert!(source.energy().expect("the field of energy").get() >= 1000.0);
    assert_eq!(source.power().map(|power| power.len()), Ok(2));

    let mut source = opened(&[fields, counter, usage]);
    let no_function = "this driver's library has no such function";
    assert!(source.energy().expect_err("no counter").contains(no_function));
    assert!(source.power().expect_err("no power").contains(no_function));
    let description = source.description();
    assert!(description.no_counter.is_some() && description.no_power.is_some(), "{description:?}");
    assert_eq!(source.clocks().sm_mhz, Some(1980), "the rest works on");
}

#[test]
fn what_a_gpu_does_not_support_is_a_reason() {
    let cases: [(GpuScript, Option<&str>, Option<&str>); 4] = [
        (
            GpuScript {
                unsupported: vec!["nvmlDeviceGetTotalEnergyConsumption".to_owned()],
                unsupported_fields: vec![191],
                ..GpuScript::default()
            },
            Some("not supported by this GPU"),
            None,
        ),
        (GpuScript { mig: true, ..GpuScript::default() }, Some("MIG"), Some("MIG")),
        (
            GpuScript { power: PowerScript { zero: true, ..PowerScript::default() }, ..GpuScript::default() },
            None,
            Some("0 W"),
        ),
        (
            GpuScript {
                unsupported: vec!["nvmlDeviceGetPowerUsage".to_owned()],
                unsupported_fields: vec![185, 186],
                ..GpuScript::default()
            },
            None,
            Some("not supported by this GPU"),
        ),
    ];
    for (script, no_counter, no_power) in cases {
        let mut source = source(&FakeNvml::gpu(script.clone()));
        let description = source.description().clone();
        for (why, expected, read) in [
            (description.no_counter, no_counter, source.energy().err()),
            (description.no_power, no_power, source.power().err()),
        ] {
            assert_eq!(why.is_some(), expected.is_some(), "{why:?} {script:?}");
            assert_eq!(read, why, "a reading fails for the same reason");
            assert!(why.is_none_or(|why| why.contains(expected.unwrap_or_default())), "{script:?}");
        }
    }
}

#[test]
fn one_kind_of_power_is_enough() {
    let script = GpuScript { unsupported_fields: vec![186], ..GpuScript::default() };
    let mut source = source(&FakeNvml::gpu(script));
    assert_eq!(source.power(), Ok(vec![(PowerKind::Average, Watts::new(300.0))]));
}

#[test]
fn a_module_without_a_sensor_of_its_gpu_is_named_as_such() {
    let mut source = source(&FakeNvml::gpu(GpuScript {
        power: PowerScript { module_only: true, module_watts: 150.0, ..PowerScript::default() },
        ..GpuScript::default()
    }));
    assert_eq!(source.description().scope, Scope::Module);
    assert_eq!(source.power().expect("of the module")[0], (PowerKind::Instant, Watts::new(450.0)));
}

#[test]
fn a_gpu_lost_while_it_is_read_says_so() {
    let fake = FakeNvml::gpu(GpuScript { lost_at: Some(1.5), ..GpuScript::default() });
    let mut source = source(&fake);
    assert!(source.energy().is_ok() && source.power().is_ok(), "lost too early, at {} s", fake.now());
    while fake.now() < 1.5 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(source.energy().expect_err("lost").contains("the GPU is lost"));
    assert!(source.power().expect_err("lost").contains("the GPU is lost"));
    assert_eq!(source.clocks().sm_mhz, None);
    assert_eq!(source.throttled().power_cap, None);
}

#[test]
fn the_counter_shows_what_the_script_makes_of_it() {
    let at_ten = |counter: CounterScript| {
        let fake = FakeNvml::new(Script {
            origin: Some(monotonic() - 10_050_000_000),
            gpu: vec![GpuScript { watts: Trace::constant(100.0), counter, ..GpuScript::default() }],
            ..Script::default()
        });
        let joules = source(&fake).energy().expect("a counter").get();
        (joules, fake.now())
    };
    // Opened within the second: the counter is at a whole step no later than now.
    let (joules, now) = at_ten(CounterScript::default());
    let steps = (joules - 1000.0) / 10.0;
    assert!((steps - steps.round()).abs() < 1e-9 && steps >= 100.0 && steps * 0.1 <= now, "{joules}");
    let frozen = CounterScript { frozen_at: Some(4.05), ..CounterScript::default() };
    assert!((at_ten(frozen).0 - 1400.0).abs() < 1e-6);
    let (joules, now) = at_ten(CounterScript { reset_at: Some(9.0), ..CounterScript::default() });
    assert!(joules <= 100.0 * (now - 9.0) + 1e-6, "{joules}");
    let (joules, now) = at_ten(CounterScript { jump: Some([5.0, -500.0]), ..CounterScript::default() });
    assert!(joules <= 500.0 + 100.0 * now + 1e-6, "{joules}");
}

#[test]
fn throttling_is_counted_under_either_numbering_of_the_fields() {
    for driver in ["570.86.15", "580.65.06", "580.82.07", "590.10"] {
        let fake = FakeNvml::new(Script {
            driver: driver.to_owned(),
            origin: Some(monotonic() - 10_000_000_000),
            gpu: vec![GpuScript {
                // 2 s of power cap, 1 s of heat of both kinds, half a second of brake.
                throttle: vec![(1.0, 4), (3.0, 32), (3.5, 8 | 64), (4.0, 8 | 128), (4.5, 0), (5.0, 1)],
                ..GpuScript::default()
            }],
            ..Script::default()
        });
        let mut source = source(&fake);
        let time = source.throttled();
        let seconds = [time.power_cap, time.thermal, time.power_brake].map(|time| time.map(Seconds::get));
        assert_eq!(seconds, [Some(2.0), Some(1.0), Some(0.5)], "{driver}");
        assert_eq!(source.clocks().throttle, Some(Throttle::default()));
    }
    // A driver that hides its version: the ids could mean either, so only what has one meaning is told.
    let script = Script {
        missing: vec!["nvmlSystemGetDriverVersion".to_owned()],
        gpu: vec![GpuScript {
            unsupported: vec!["nvmlDeviceGetViolationStatus".to_owned()],
            ..GpuScript::default()
        }],
        ..Script::default()
    };
    let time = source(&FakeNvml::new(script)).throttled();
    assert!(time.power_cap.is_some() && time.thermal.is_none() && time.power_brake.is_none(), "{time:?}");
}

#[test]
fn clocks_temperature_and_reasons_come_with_one_reading() {
    let fake = FakeNvml::gpu(GpuScript {
        sm_mhz: Trace::constant(1410.0),
        celsius: Trace::constant(81.0),
        throttle: vec![(0.0, 4 | 32)],
        ..GpuScript::default()
    });
    let sample = source(&fake).clocks();
    assert_eq!((sample.sm_mhz, sample.memory_mhz, sample.celsius), (Some(1410), Some(2619), Some(81.0)));
    let expected = Throttle { power_cap: true, thermal: true, ..Throttle::default() };
    assert_eq!(sample.throttle, Some(expected));
}

#[test]
fn recorded_energy_is_the_true_one_within_its_edges() {
    let fake = FakeNvml::gpu(GpuScript {
        watts: Trace::Square { period: 0.37, duty: 0.4, low: 90.0, high: 650.0 },
        counter: CounterScript { phase: 0.041, ..CounterScript::default() },
        ..GpuScript::default()
    });
    let recorder = Recorder::start(Box::new(source(&fake)), Rate::default()).expect("a thread");
    let origin = fake.now() - clock::now().nanos() as f64 / 1e9;
    let begin = recorder.edge().energy.expect("a counter");
    std::thread::sleep(std::time::Duration::from_millis(900));
    let end = recorder.edge().energy.expect("a counter");
    let recorded = recorder.stop();
    assert!(begin.aligned && end.aligned, "{begin:?} {end:?}");
    let joules = end.reading.joules.get() - begin.reading.joules.get();
    let at = |edge: &infercost::base::event::EnergyEdge| origin + edge.reading.at.nanos() as f64 / 1e9;
    let truth = fake.true_joules(0, at(&begin), at(&end));
    let bound = 650.0 * (begin.uncertainty.get() + end.uncertainty.get()) + 0.01;
    assert!((joules - truth).abs() <= bound, "{joules} J, in truth {truth} J, within {bound} J");
    let kinds = |kind| recorded.trace.power.iter().filter(|sample| sample.kind == kind).count();
    assert!(kinds(PowerKind::Instant) > 5 && kinds(PowerKind::Instant) == kinds(PowerKind::Average));
    assert_eq!(recorded.trace.failures, [] as [String; 0]);
}
