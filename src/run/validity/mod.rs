//! One check a file: evidence in, verdict out.
//!
//! A check never looks at the machine: everything it needs is in [`Evidence`], so it can be tried on
//! given numbers. Its evidence says what it saw even when it found nothing wrong, and where it saw nothing its verdict is
//! [`Verdict::NotChecked`]: what was not checked has not passed.

mod batch_agreement;
mod build;
mod caveats;
mod clock_step;
mod energy_device;
mod finite;
mod foreign_load;
mod interrupted;
mod meter;
mod roofline;
mod samples;
mod steady;
mod throttled;
mod tokens;

use crate::base::clock::ClockQuality;
use crate::base::units::Seconds;
use crate::hardware::telemetry::host::HostWindow;
use crate::record::{Check, Energy, ROOFLINE, Validity, Verdict};

use super::measure::roofline::Utilization;
use super::runner::{Agreement, LeftOut, MeasuredRow, Stopped};

/// What the checks look at.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The rows with their trials.
    pub rows: &'a [MeasuredRow],
    /// What the engine does wrong or differently on this model; `None` when it was not loaded.
    pub caveats: Option<&'a [String]>,
    /// The largest batch next to its sequences alone.
    pub agreement: Option<Agreement>,
    /// Why it was not looked at though a batch ran.
    pub agreement_skipped: Option<&'a str>,
    /// Rows for which the time was too short.
    pub left_out: &'a [LeftOut],
    /// What ended the run before its end.
    pub stopped: Option<&'a Stopped>,
    /// Why batches grew no further, when memory or time ended it.
    pub growth_ended: Option<&'a str>,
    /// The clock's own precision and cost.
    pub clock: ClockQuality,
    /// Cost of metering one step.
    pub meter: Seconds,
    /// Whether the program was built without optimisation for measuring.
    pub debug_build: bool,
    /// Whether `--repetitions` was given: then few samples were asked for.
    pub repetitions: Option<usize>,
    /// The energy as the record will have it.
    pub energy: Option<&'a Energy>,
    /// What else happened on the machine during the run.
    pub host: Option<HostWindow>,
    /// Whether the processor did the work, so that its heat matters.
    pub on_processor: bool,
    /// Processes on the GPU before the run, when one computes and NVML says so.
    pub gpu_processes: Option<usize>,
    /// Most other processes that were seen on the GPU while the run went on.
    pub gpu_processes_during: Option<u32>,
    /// The rows against the device's measured peaks, or why there are none.
    pub roofline: Result<&'a [Utilization], &'a str>,
}

/// Whether a row is faster than the measured peaks allow, by more than these can be off.
pub fn breaks_the_ceiling(rows: &[Utilization]) -> bool {
    roofline::broken(rows)
}

/// What the check `foreign_load` would call too much on the host; empty when the box was quiet.
pub fn disturbances(host: HostWindow) -> Vec<String> {
    let [wrong, ..] = foreign_load::on_host(Some(host));
    wrong
}

/// Makes every check.
pub fn validate(evidence: &Evidence<'_>) -> Validity {
    Validity::of(vec![
        tokens::run(evidence),
        finite::run(evidence),
        batch_agreement::run(evidence),
        caveats::run(evidence),
        samples::run(evidence),
        steady::run(evidence),
        meter::run(evidence),
        build::run(evidence),
        interrupted::run(evidence),
        energy_device::run(evidence),
        throttled::run(evidence),
        foreign_load::run(evidence),
        clock_step::run(evidence),
        roofline::run(evidence),
    ])
}

/// What is known about an engine in this process besides the figures of its load.
#[derive(Debug)]
pub struct Machine<'a> {
    /// What the engine does wrong or differently on this model.
    pub caveats: &'a [String],
    /// The energy as the record will have it.
    pub energy: &'a Energy,
    /// What else happened on the machine during the run.
    pub host: HostWindow,
    /// Whether the processor did the work.
    pub on_processor: bool,
    /// Processes on the GPU before the run.
    pub gpu_processes: Option<usize>,
    /// Most other processes that were seen on it meanwhile.
    pub gpu_processes_during: Option<u32>,
}

/// The checks of program, engine and machine, which are the same for whatever was measured on them.
pub fn of_machine(machine: &Machine<'_>) -> Vec<Check> {
    let evidence = Evidence {
        rows: &[],
        caveats: Some(machine.caveats),
        agreement: None,
        agreement_skipped: None,
        left_out: &[],
        stopped: None,
        growth_ended: None,
        clock: ClockQuality { precision: Seconds::ZERO, overhead: Seconds::ZERO },
        meter: Seconds::ZERO,
        debug_build: cfg!(debug_assertions),
        repetitions: None,
        energy: Some(machine.energy),
        host: Some(machine.host),
        on_processor: machine.on_processor,
        gpu_processes: machine.gpu_processes,
        gpu_processes_during: machine.gpu_processes_during,
        roofline: Err(""),
    };
    let checks = [caveats::run, build::run, energy_device::run, throttled::run, foreign_load::run];
    checks.map(|check| check(&evidence)).into()
}

fn check(name: &str, verdict: Verdict, evidence: String) -> Check {
    Check { name: name.to_owned(), verdict, evidence }
}

/// A check that could not be made, and why.
fn unmade(name: &str, why: impl Into<String>) -> Check {
    check(name, Verdict::NotChecked, why.into())
}

/// Every check under its name, none of them made: for figures measured by another tool.
pub fn none_made(why: &str) -> Vec<Check> {
    NAMES.iter().map(|name| unmade(name, why)).collect()
}

/// The checks in the order in which they stand in a record.
const NAMES: [&str; 14] = [
    "tokens_complete",
    "finite_logits",
    "batch_agreement",
    "engine_caveats",
    "sample_count",
    "steady_state",
    "meter_overhead",
    "release_build",
    "run_complete",
    "energy_sensors",
    "clocks_held_back",
    "foreign_load",
    "clock_step",
    ROOFLINE,
];

/// Seconds of the shortest step that was measured.
pub fn shortest_step(evidence: &Evidence<'_>) -> Option<f64> {
    meter::shortest_step(evidence)
}

/// The labels of the rows for which `wrong` holds.
fn labels<'a>(rows: &'a [MeasuredRow], wrong: impl Fn(&MeasuredRow) -> bool + 'a) -> Vec<String> {
    rows.iter().filter(|row| wrong(row)).map(|row| row.trials.row.label()).collect()
}

#[cfg(test)]
mod tests;
