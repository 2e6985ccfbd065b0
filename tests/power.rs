//! Energy through the whole chain: a library that behaves like NVML, the program's own loading path, the recorder,
//! the edges and the arithmetic, against traces of known energy.

use std::time::Duration;

use infercost::base::clock;
use infercost::base::event::Span;
use infercost::base::known::Known;
use infercost::hardware::nvml::{self, NvmlSource, Wanted};
use infercost::hardware::telemetry::{Rate, Recorder, Source as _, calibration};
use infercost::record::{EnergyWindow, Grade};
use infercost::run::measure::energy::{self, Device, Window};
use infercost::run::plan::{Row, RowKind};

use crate::support::fake_nvml::{FakeNvml, GpuScript, Trace, monotonic};
use crate::support::{Bench, SMALL};

mod signals; // clocks and limits are put back, whatever the signal and the phase
mod table; // trace × method × error

/// A window of 6 s on a scripted GPU, and its true energy.
fn measured(script: GpuScript) -> (EnergyWindow, f64) {
    let fake = FakeNvml::gpu(script);
    let library = nvml::open(Some(&fake.library())).expect("the fake library");
    let gpu = nvml::select(library, &Wanted::Index(0)).expect("its GPU");
    let source = NvmlSource::open(&gpu).expect("it can be reached");
    let module = source.description().scope == infercost::hardware::telemetry::Scope::Module;
    let recorder = Recorder::start(Box::new(source), Rate::default()).expect("a thread");
    // The average of the last second needs one before it.
    std::thread::sleep(Duration::from_millis(1500));
    let begin = recorder.edge();
    std::thread::sleep(Duration::from_secs(6));
    let end = recorder.edge();
    std::thread::sleep(Duration::from_millis(120));
    // Ticks count from this process's own origin.
    let origin = monotonic() - clock::now().nanos();
    let truth = [begin.at, end.at].map(|tick| fake.seconds(origin + tick.nanos()));
    let truth = fake.true_joules(0, truth[0], truth[1]);
    let own = vec![Span { from: begin.at, to: end.at }];
    let window = Window { begin, end, own, context: Vec::new() };
    let recorded = recorder.stop();
    let device = Device {
        trace: &recorded.trace,
        idle: Err("the trace is the load"),
        no_power: recorded.description.no_power.as_deref(),
        module,
        other_device: false,
        shortest: energy::SHORTEST,
    };
    let row = Row { kind: RowKind::Decode { output_tokens: 100 }, batch: 1, depth: 0 };
    (energy::of_row(&row, &window, &device), truth)
}

/// Each script's window; they run in parallel, since each spends its 6 s asleep.
fn measured_together<T: Send>(scripts: Vec<(T, GpuScript)>) -> Vec<(T, EnergyWindow, f64)> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = scripts
            .into_iter()
            .map(|(name, script)| {
                scope.spawn(move || {
                    let (window, truth) = measured(script);
                    (name, window, truth)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("measured")).collect()
    })
}

fn relative(found: Option<f64>, truth: f64) -> f64 {
    found.map_or(f64::NAN, |found| found / truth - 1.0)
}

#[test]
fn known_energy_is_found() {
    for (name, window, truth) in measured_together(table::traces()) {
        let counter = relative(*window.joules, truth);
        let integral = relative(*window.integral_joules, truth);
        assert_eq!(window.method.as_deref(), Some("counter"), "{name}: {window:?}");
        assert!(counter.abs() < 0.01, "{name}: counter {counter:+.4}: {window:?}");
        assert!(integral.abs() < 0.02, "{name}: integral {integral:+.4}: {window:?}");
        assert!(matches!(*window.grade, Some(Grade::A | Grade::B)), "{name}: {:?}", window.reasons);
    }
}

#[test]
fn each_fault_is_seen() {
    for (fault, window, truth) in measured_together(table::faults()) {
        let error = relative(*window.joules, truth);
        assert!(*window.grade != Some(Grade::A), "{}: no fault was seen: {window:?}", fault.name);
        let said = serde_json::to_string(&window).expect("JSON");
        assert!(said.contains(fault.word), "{}: `{}` is not said: {said}", fault.name, fault.word);
        assert_eq!(window.joules.is_none(), fault.null, "{}: {window:?}", fault.name);
        // A figure that is given is right within what its grade leaves open, unless the sensor itself lies.
        assert!(fault.null || fault.lies || error.abs() < 0.03, "{}: {error:+.4} {window:?}", fault.name);
    }
}

#[test]
fn a_run_beside_a_scripted_gpu_has_joules_in_record_and_table() {
    let fake = FakeNvml::gpu(GpuScript { watts: Trace::constant(400.0), ..GpuScript::default() });
    let bench = Bench::new();
    let library = fake.library();
    let library = library.to_str().expect("text");
    let args = [
        "run",
        "--model",
        SMALL,
        "--device",
        "cpu",
        "--power",
        "nvml",
        "--nvml-library",
        library,
        "-p",
        "16",
        "-n",
        "8",
        "--max-time",
        "14s",
        "--json",
    ];
    let ran = bench.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let record: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a record");
    let energy = &record["energy"];
    assert_eq!((&energy["scope"], &energy["grade"]), (&"other-device".into(), &"D".into()));
    assert_eq!(energy["source"], "nvml");
    // Every row, the last one too, has both methods, and the trace that a plot is drawn from reaches over it.
    let windows = energy["windows"].as_array().expect("windows");
    let power = energy["traces"].as_array().expect("traces").iter().find(|t| t["sensor"] == "power_instant");
    let seconds = power.expect("power")["seconds"]["values"].as_array().expect("few samples");
    let last = seconds.last().and_then(serde_json::Value::as_f64).expect("a moment");
    assert_eq!(windows.len(), 2);
    for window in windows {
        let number = |name: &str| window[name].as_f64().unwrap_or_else(|| panic!("no {name} in {window}"));
        assert!((number("integral_joules") / number("counter_joules") - 1.0).abs() < 0.01, "{window}");
        assert!(number("begin_seconds") > 2.0 && number("begin_seconds") + number("seconds") <= last);
        assert_eq!(window["memory_mhz"], serde_json::json!([2619, 2619]));
    }
    // The counter's 100 ms steps and the sensor's period, seen while the GPU idled.
    let sensor = &energy["sensor"];
    assert!(
        sensor["origin"].as_str().is_some_and(|origin| origin.starts_with("measured at start")),
        "{sensor}"
    );
    let near = |value: &serde_json::Value, expected: f64| {
        let value = value.as_f64().unwrap_or_else(|| panic!("no figure in {sensor}"));
        assert!((value / expected - 1.0).abs() < 0.1, "{value} is not about {expected}: {sensor}");
    };
    near(&sensor["counter"]["period_seconds"], 0.1);
    near(&sensor["counter"]["step_joules"], 40.0);
    assert_eq!(record["validity"]["verdict"], "suspect");
    let figure = |metric: &str| {
        let of = record["measurements"].as_array().expect("rows");
        of.iter().find(|m| m["metric"] == metric).and_then(|m| m["value"].as_f64()).expect(metric)
    };
    // 400 W throughout: joules per token are 400 ÷ tokens/s, whatever the speed.
    for (joules, rate) in [
        ("joules_per_input_token", "prefill_tokens_per_second"),
        ("joules_per_output_token", "decode_tokens_per_second"),
    ] {
        let ratio = figure(joules) * figure(rate) / 400.0;
        assert!((ratio - 1.0).abs() < 0.05, "{joules}: {ratio}");
    }
    let electricity =
        record["cost"]["electricity"]["usd_per_million_output_tokens"].as_f64().expect("priced");
    let kwh = record["cost"]["electricity"]["usd_per_kwh"].as_f64().expect("a price");
    assert!((electricity / (figure("joules_per_output_token") / 3.6 * kwh) - 1.0).abs() < 1e-9);
    assert_eq!(record["environment"]["gpus"][0]["facts"]["power_limit_watts"], 700.0);
    for text in ["J/token", "watts", "other-device", "electricity"] {
        assert!(ran.stderr.contains(text), "no {text} in\n{}", ran.stderr);
    }
}

#[test]
fn a_calibration_of_this_gpu_and_driver_is_taken_over() {
    let fake = FakeNvml::gpu(GpuScript::default());
    let bench = Bench::new();
    let library = nvml::open(Some(&fake.library())).expect("the fake library");
    let gpu = nvml::select(library, &Wanted::Index(0)).expect("its GPU");
    let source = NvmlSource::open(&gpu).expect("it can be reached");
    let trace = infercost::base::event::Trace::default();
    let mut sensor = infercost::hardware::telemetry::sensor::analyse(&trace, None, Err("none"));
    sensor.counter = Known::new(infercost::record::Counter {
        period_seconds: 0.1,
        step_joules: 30.0,
        steps: 200,
        shortest_window_seconds: Known::new(7.5),
    });
    let day = jiff::civil::date(2026, 11, 20);
    let cache = bench.folder().join(".cache/infercost");
    let kept = calibration::store(&cache, source.description(), day, &sensor).expect("written");
    assert!(kept.starts_with(bench.folder()));
    let library = fake.library();
    let library = library.to_str().expect("text");
    let base = ["run", "--model", SMALL, "--device", "cpu", "--power", "nvml", "--nvml-library", library];
    let record = bench.json(&[&base[..], &["-p", "8", "-n", "0", "--max-time", "9s", "--json"]].concat());
    let sensor = &record["energy"]["sensor"];
    assert_eq!(sensor["origin"], "calibrated on 2026-11-20 with driver 570.86.15", "{sensor}");
    // The window was stretched to what this sensor needs.
    let seconds = record["energy"]["windows"][0]["seconds"].as_f64().expect("a window");
    assert!(seconds >= 7.4, "{seconds}");
}

#[test]
fn without_a_flag_another_device_is_never_measured() {
    let fake = FakeNvml::gpu(GpuScript::default());
    let bench = Bench::new();
    let library = fake.library();
    let library = library.to_str().expect("text");
    let base = ["run", "--model", SMALL, "--device", "cpu", "--nvml-library", library];
    let record = bench.json(&[&base[..], &["-p", "8", "-n", "4", "-r", "1", "--json"]].concat());
    assert_ne!(record["energy"]["source"], "nvml");
    assert!(
        record["energy"]["grade_reason"].is_string() || record["energy"]["source"] == "rapl",
        "{}",
        record["energy"]
    );
}
