//! One check a file: evidence in, verdict out.
//!
//! A check never looks at the machine: everything it needs is in [`Evidence`], so it can be tried on
//! given numbers. Its evidence says what it saw even when it found nothing wrong.

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
use crate::record::{Check, Energy, Validity, Verdict};

use super::measure::roofline::Utilization;
use super::runner::{Agreement, MeasuredRow, Stage};

/// What the checks look at.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The rows with their trials.
    pub rows: &'a [MeasuredRow],
    /// What the engine does wrong or differently on this model.
    pub caveats: &'a [String],
    /// The largest batch beside its sequences alone.
    pub agreement: Option<Agreement>,
    /// Where the user stopped the run.
    pub interrupted: Option<Stage>,
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
    /// What happened on the machine beside the run.
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

fn check(name: &str, verdict: Verdict, evidence: String) -> Check {
    Check { name: name.to_owned(), verdict, evidence }
}

/// Seconds of the shortest step that was measured.
pub fn shortest_step(evidence: &Evidence<'_>) -> Option<f64> {
    meter::shortest_step(evidence)
}

/// The labels of the rows for which `wrong` holds.
fn labels<'a>(rows: &'a [MeasuredRow], wrong: impl Fn(&MeasuredRow) -> bool + 'a) -> Vec<String> {
    rows.iter().filter(|row| wrong(row)).map(|row| row.trials.row.label()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::measure::{RowTrials, Trial};
    use crate::run::plan::{Row, RowKind};

    fn row(trials: usize) -> MeasuredRow {
        let trial = Trial {
            first_token: None,
            decode: Some(Seconds::new(0.08)),
            gaps: vec![Seconds::new(0.01); 8],
            split: [Seconds::ZERO, Seconds::new(0.08)],
            delivered: 8,
        };
        let row = Row { kind: RowKind::Decode { output_tokens: 8 }, batch: 1, depth: 0 };
        MeasuredRow {
            trials: RowTrials { row, warmup: vec![trial.clone(); 2], trials: vec![trial; trials] },
            missing_tokens: 0,
            non_finite_steps: 0,
            steady: true,
            window: None,
        }
    }

    fn verdict<'a>(
        rows: &'a [MeasuredRow],
        change: impl FnOnce(&mut Evidence<'a>),
    ) -> (Verdict, Vec<String>) {
        let mut evidence = Evidence {
            rows,
            caveats: &[],
            agreement: None,
            interrupted: None,
            clock: ClockQuality { precision: Seconds::new(1e-8), overhead: Seconds::new(3e-8) },
            meter: Seconds::new(1e-7),
            debug_build: false,
            repetitions: None,
            energy: None,
            host: None,
            on_processor: true,
            gpu_processes: None,
            gpu_processes_during: None,
            roofline: Err("not measured"),
        };
        change(&mut evidence);
        let validity = validate(&evidence);
        let wrong = validity.checks.iter().filter(|check| check.verdict != Verdict::Valid);
        (validity.verdict, wrong.map(|check| check.name.clone()).collect())
    }

    #[test]
    fn a_clean_run_is_valid() {
        assert_eq!(verdict(&[row(5)], |_| ()), (Verdict::Valid, vec![]));
    }

    #[test]
    fn each_fault_is_named_by_its_own_check() {
        let one = |name: &str, found: (Verdict, Vec<String>), expected: Verdict| {
            assert_eq!(found, (expected, vec![name.to_owned()]));
        };
        let mut short = row(5);
        short.missing_tokens = 3;
        one("tokens_complete", verdict(&[short], |_| ()), Verdict::Invalid);
        let mut broken = row(5);
        broken.non_finite_steps = 1;
        one("finite_logits", verdict(&[broken], |_| ()), Verdict::Invalid);
        one("sample_count", verdict(&[row(1)], |_| ()), Verdict::Suspect);
        one("sample_count", verdict(&[row(2)], |e| e.repetitions = Some(5)), Verdict::Suspect);
        let mut drifting = row(5);
        drifting.steady = false;
        for (index, trial) in drifting.trials.trials.iter_mut().enumerate() {
            trial.split[1] = Seconds::new(0.08 * (1.0 + index as f64 / 5.0));
        }
        one("steady_state", verdict(&[drifting], |_| ()), Verdict::Suspect);
        one("meter_overhead", verdict(&[row(5)], |e| e.meter = Seconds::new(2e-4)), Verdict::Suspect);
        one("release_build", verdict(&[row(5)], |e| e.debug_build = true), Verdict::Suspect);
        one("run_complete", verdict(&[row(5)], |e| e.interrupted = Some(Stage::Measure)), Verdict::Invalid);
        let caveats = ["rope_freqs.weight is ignored".to_owned()];
        let rows = [row(5)];
        let evidence = Evidence {
            rows: &rows,
            caveats: &caveats,
            agreement: None,
            interrupted: None,
            clock: ClockQuality { precision: Seconds::new(1e-8), overhead: Seconds::new(3e-8) },
            meter: Seconds::new(1e-7),
            debug_build: false,
            repetitions: None,
            energy: None,
            host: None,
            on_processor: true,
            gpu_processes: None,
            gpu_processes_during: None,
            roofline: Err("not measured"),
        };
        assert_eq!(validate(&evidence).verdict, Verdict::Suspect);
    }

    #[test]
    fn energy_of_another_device_or_of_a_broken_counter_is_suspect() {
        use crate::run::energy;
        let mut sensed = energy::none("none");
        assert_eq!(verdict(&[row(5)], |e| e.energy = Some(&sensed)).0, Verdict::Valid);
        (sensed.source, sensed.scope) = (Some("nvml".into()), Some("gpu".into()));
        assert_eq!(verdict(&[row(5)], |e| e.energy = Some(&sensed)).0, Verdict::Valid);
        sensed.scope = Some("other-device".into());
        let found = verdict(&[row(5)], |e| e.energy = Some(&sensed));
        assert_eq!(found, (Verdict::Suspect, vec!["energy_sensors".to_owned()]));
    }

    #[test]
    fn others_on_the_machine_and_a_clock_that_was_set_are_suspect() {
        let quiet =
            HostWindow { foreign_share: Some(0.01), stolen_share: Some(0.0), ..HostWindow::default() };
        let found = |host: HostWindow, gpu: Option<usize>| {
            verdict(&[row(5)], |e| (e.host, e.gpu_processes) = (Some(host), gpu)).1
        };
        assert_eq!(found(quiet, Some(0)), Vec::<String>::new());
        assert_eq!(found(HostWindow { foreign_share: Some(0.06), ..quiet }, None), ["foreign_load"]);
        assert_eq!(found(HostWindow { stolen_share: Some(0.02), ..quiet }, None), ["foreign_load"]);
        assert_eq!(found(quiet, Some(1)), ["foreign_load"]);
        assert_eq!(found(HostWindow { quota_share: Some(0.02), ..quiet }, None), ["foreign_load"]);
        let during = |count| verdict(&[row(5)], |e| e.gpu_processes_during = Some(count)).1;
        assert_eq!((during(0), during(1)), (vec![], vec!["foreign_load".to_owned()]));
        let hot = HostWindow { thermal_events: Some(1), ..quiet };
        assert_eq!(found(HostWindow { thermal_events: Some(0), ..quiet }, None), Vec::<String>::new());
        assert_eq!(found(hot, None), ["clocks_held_back"]);
        let beside_a_gpu = verdict(&[row(5)], |e| (e.host, e.on_processor) = (Some(hot), false));
        assert_eq!(beside_a_gpu.0, Verdict::Valid);
        assert_eq!(found(HostWindow { clock_step_seconds: -3600.0, ..quiet }, None), ["clock_step"]);
    }

    #[test]
    fn faster_than_the_device_is_invalid() {
        let cell = row(5).trials.row.cell();
        let at = |beyond_cache: f64, fastest_compute: f64| {
            let (cell, bandwidth) = (cell.clone(), None);
            [Utilization {
                cell,
                seconds: 0.01,
                bytes: 1e9,
                operations: 1e9,
                bandwidth,
                beyond_cache,
                compute: 4.0 * fastest_compute,
                fastest_compute,
            }]
        };
        for (rows, expected) in [
            (at(1.0, 0.5), Verdict::Valid),
            (at(1.06, 0.5), Verdict::Invalid),
            (at(0.0, 1.04), Verdict::Valid),
            (at(0.0, 1.06), Verdict::Invalid),
        ] {
            assert_eq!(verdict(&[row(5)], |e| e.roofline = Ok(&rows)).0, expected, "{rows:?}");
        }
    }

    #[test]
    fn a_batch_that_disagrees_with_its_sequences_is_invalid() {
        let of = |worst_share, worst_choice| {
            let agreement = Agreement { batch: 8, sequences: 3, same_choice: 3, worst_share, worst_choice };
            verdict(&[row(5)], |e| e.agreement = Some(agreement))
        };
        let found = |share| of(share, None);
        assert_eq!(found(0.02), (Verdict::Valid, vec![]));
        assert_eq!(found(0.2), (Verdict::Invalid, vec!["batch_agreement".to_owned()]));
        assert_eq!(found(f64::INFINITY).0, Verdict::Invalid);
        assert_eq!(of(0.02, Some(0.19)).0, Verdict::Valid);
        assert_eq!(of(0.02, Some(0.21)).0, Verdict::Invalid, "the steps of outputs count too");
    }

    #[test]
    fn asking_for_few_repetitions_is_not_a_fault() {
        assert_eq!(verdict(&[row(2)], |e| e.repetitions = Some(2)).0, Verdict::Valid);
    }

    #[test]
    fn no_row_at_all_is_invalid() {
        let (verdict, names) = verdict(&[], |_| ());
        assert_eq!(verdict, Verdict::Invalid);
        assert_eq!(names, ["sample_count"]);
    }
}
