//! The traces and faults, and the table of them in `docs/power.md`.

use super::{measured_together, relative};
use crate::support::fake_nvml::{CounterScript, GpuScript, PowerScript, Trace};

/// Traces of known energy. Data-centre sensors: a counter of 100 ms steps, 25 ms seen of each 100, a second averaged.
pub(super) fn traces() -> Vec<(&'static str, GpuScript)> {
    let of = |watts: Trace| GpuScript { watts, ..GpuScript::default() };
    vec![
        ("constant, 650 W", of(Trace::constant(650.0))),
        ("ramp, 200 to 650 W in 8 s", of(Trace::Ramp { from: 200.0, to: 650.0, seconds: 8.0 })),
        (
            "square, 0.73 s, half at 690 W, half at 120 W",
            of(Trace::Square { period: 0.73, duty: 0.5, low: 120.0, high: 690.0 }),
        ),
        (
            "square, 0.1 s: the sensor's own period",
            of(Trace::Square { period: 0.1, duty: 0.5, low: 120.0, high: 690.0 }),
        ),
        (
            "square, 20 ms: a decode step",
            of(Trace::Square { period: 0.02, duty: 0.8, low: 250.0, high: 520.0 }),
        ),
        (
            "bursts of 0.15 s in 0.7 s",
            of(Trace::Bursts { every: 0.7, length: 0.15, low: 300.0, high: 650.0, seed: 7 }),
        ),
    ]
}

pub(super) struct Fault {
    pub(super) name: &'static str,
    /// What the record says of it.
    pub(super) word: &'static str,
    /// Whether the energy is null then.
    pub(super) null: bool,
    /// Whether the sensor shows something false that only a second one tells.
    pub(super) lies: bool,
}

pub(super) fn faults() -> Vec<(Fault, GpuScript)> {
    let load = Trace::constant(600.0);
    let gpu = || GpuScript { watts: load.clone(), ..GpuScript::default() };
    let counter = |counter: CounterScript| GpuScript { counter, ..gpu() };
    let fault = |name, word| Fault { name, word, null: false, lies: false };
    let no_counter = vec!["nvmlDeviceGetTotalEnergyConsumption".to_owned()];
    vec![
        (
            fault("counter reset", "went back"),
            counter(CounterScript { start: 90_000.0, reset_at: Some(4.0), ..CounterScript::default() }),
        ),
        (
            fault("counter frozen", "did not move"),
            counter(CounterScript { frozen_at: Some(0.5), ..CounterScript::default() }),
        ),
        (
            fault("counter stops half-way", "the counter stopped"),
            counter(CounterScript { frozen_at: Some(4.5), ..CounterScript::default() }),
        ),
        (
            Fault { lies: true, ..fault("counter 10% high", "disagree") },
            counter(CounterScript { gain: 1.1, ..CounterScript::default() }),
        ),
        (
            fault("power sensor 4% low", "differ"),
            GpuScript { power: PowerScript { gain: 0.96, ..PowerScript::default() }, ..gpu() },
        ),
        (
            fault("no counter", "not supported"),
            GpuScript { unsupported: no_counter.clone(), unsupported_fields: vec![191], ..gpu() },
        ),
        (
            fault("power sensor reads zero", "reads 0 W"),
            GpuScript { power: PowerScript { zero: true, ..PowerScript::default() }, ..gpu() },
        ),
        (
            Fault { null: true, ..fault("GPU lost", "the GPU is lost") },
            GpuScript { lost_at: Some(4.0), ..gpu() },
        ),
        (Fault { null: true, ..fault("cut into slices", "MIG") }, GpuScript { mig: true, ..gpu() }),
        (
            fault("held back by heat", "held back"),
            GpuScript { throttle: vec![(0.0, 0), (3.0, 0x40)], ..gpu() },
        ),
        (
            fault("warms by 30 °C", "temperature"),
            GpuScript { celsius: Trace::Ramp { from: 40.0, to: 75.0, seconds: 8.0 }, ..gpu() },
        ),
    ]
}

/// Prints the table; `scripts/power-table` puts it into the page.
#[test]
#[ignore = "prints the table of docs/power.md; known_energy_is_found and each_fault_is_seen hold it"]
fn print() {
    let percent =
        |share: f64| if share.is_nan() { "–".to_owned() } else { format!("{:+.2}%", share * 100.0) };
    eprintln!("| trace | true energy | counter | samples | grade |\n|---|---|---|---|---|");
    for (name, window, truth) in measured_together(traces()) {
        eprintln!(
            "| {name} | {truth:.0} J | {} | {} | {} |",
            percent(relative(*window.joules, truth)),
            percent(relative(*window.integral_joules, truth)),
            window.grade.map_or("–".to_owned(), |grade| format!("{grade:?}")),
        );
    }
    eprintln!("| **fault** | **true energy** | **figure given** | **method** | **grade, reason** |");
    for (fault, window, truth) in measured_together(faults()) {
        let why = window.reasons.first().map(String::as_str).or(window.joules.reason()).unwrap_or_default();
        eprintln!(
            "| {} | {truth:.0} J | {} | {} | {} {why} |",
            fault.name,
            percent(relative(*window.joules, truth)),
            window.method.as_deref().unwrap_or("null").to_owned(),
            window.grade.map_or(String::new(), |grade| format!("{grade:?}:")),
        );
    }
}
