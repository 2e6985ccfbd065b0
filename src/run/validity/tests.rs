//! Each verdict of each check on given numbers, the bounds included.

use super::*;
use crate::base::known::Known;
use crate::run::measure::{RowTrials, Trial};
use crate::run::plan::{Row, RowKind};
use crate::run::runner::Stage;

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
        cut: false,
        steady: true,
        window: None,
    }
}

/// Evidence that speaks against nothing, of a run during which nothing else was checked.
fn evidence(rows: &[MeasuredRow]) -> Evidence<'_> {
    Evidence {
        rows,
        caveats: Some(&[]),
        agreement: None,
        agreement_skipped: None,
        left_out: &[],
        stopped: None,
        growth_ended: None,
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
    }
}

fn verdict<'a>(rows: &'a [MeasuredRow], change: impl FnOnce(&mut Evidence<'a>)) -> (Verdict, Vec<String>) {
    let mut evidence = self::evidence(rows);
    change(&mut evidence);
    let validity = validate(&evidence);
    (validity.verdict, validity.doubts().map(|check| check.name.clone()).collect())
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
    let stopped = Stopped { stage: Stage::Measure, row: Some("tg8".to_owned()), error: None };
    let rows = [row(5)];
    one("run_complete", verdict(&rows, |e| e.stopped = Some(&stopped)), Verdict::Invalid);
    let caveats = ["rope_freqs.weight is ignored".to_owned()];
    let rows = [row(5)];
    let evidence = Evidence { caveats: Some(&caveats), ..evidence(&rows) };
    assert_eq!(validate(&evidence).verdict, Verdict::Suspect);
}

/// What a check says of evidence, and whether it passes for made.
fn said<'a>(
    name: &str,
    rows: &'a [MeasuredRow],
    change: impl FnOnce(&mut Evidence<'a>),
) -> (Verdict, String) {
    let mut evidence = self::evidence(rows);
    change(&mut evidence);
    let found = validate(&evidence);
    assert_eq!(found.checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>(), NAMES);
    assert!(found.checks.iter().all(|check| !check.evidence.is_empty()), "{found:?}");
    let check = found.checks.into_iter().find(|check| check.name == name).expect(name);
    (check.verdict, check.evidence)
}

#[test]
fn what_nobody_looked_at_has_not_passed() {
    let unmade = |name: &str, rows: &[MeasuredRow], change: fn(&mut Evidence<'_>), word: &str| {
        let (verdict, evidence) = said(name, rows, change);
        assert_eq!(verdict, Verdict::NotChecked, "{name}: {evidence}");
        assert!(evidence.contains(word), "{name}: {evidence}");
    };
    let five = [row(5)];
    unmade("roofline", &five, |e| e.roofline = Err("the run failed"), "the run failed");
    unmade("roofline", &five, |e| e.roofline = Ok(&[]), "no row");
    unmade("clock_step", &five, |_| (), "not read");
    unmade("energy_sensors", &five, |_| (), "no energy");
    unmade("clocks_held_back", &five, |_| (), "does not say");
    unmade("foreign_load", &five, |_| (), "not known");
    unmade("foreign_load", &five, |e| e.on_processor = false, "who else was on the GPU");
    unmade("engine_caveats", &five, |e| e.caveats = None, "not loaded");
    unmade("steady_state", &[row(2)], |_| (), "3 trials");
    for name in ["tokens_complete", "finite_logits", "meter_overhead", "steady_state"] {
        unmade(name, &[], |_| (), "");
    }
    let mut batch = row(5);
    batch.trials.row.batch = 4;
    unmade("batch_agreement", &[batch], |_| (), "the run ended");
    assert_eq!(said("batch_agreement", &five, |_| ()).0, Verdict::Valid, "a batch of one agrees with itself");
    // A host that says what others used was looked at, whatever else it keeps to itself.
    let host = HostWindow { foreign_share: Some(0.01), ..HostWindow::default() };
    let (verdict, evidence) = said("foreign_load", &five, |e| e.host = Some(host));
    assert!(verdict == Verdict::Valid && evidence.contains("hypervisor took is not known"), "{evidence}");
    let few = [row(5), row(2)];
    let (verdict, evidence) = said("steady_state", &few, |_| ());
    assert!(verdict == Verdict::Valid && evidence.contains("too few trials to see it in tg8"), "{evidence}");
}

#[test]
fn a_record_whose_ceiling_nobody_knows_says_so_and_is_no_worse() {
    let rows = [row(5)];
    let found = validate(&Evidence {
        host: Some(HostWindow { foreign_share: Some(0.0), ..HostWindow::default() }),
        roofline: Err("the run was interrupted"),
        ..evidence(&rows)
    });
    assert_eq!(found.verdict, Verdict::Valid);
    assert_eq!(found.not_checked, ["energy_sensors", "clocks_held_back", ROOFLINE]);
}

#[test]
fn a_failure_is_told_with_where_it_came_and_what_it_was() {
    let error = crate::engine::Error::Step {
        engine: "toy",
        what: "a step".to_owned(),
        reason: "out of luck".to_owned(),
    };
    let stopped =
        Stopped { stage: Stage::Warmup, row: Some("tg32 b256".to_owned()), error: Some(error.into()) };
    let rows = [row(5), row(5)];
    let (verdict, evidence) = said("run_complete", &rows, |e| e.stopped = Some(&stopped));
    assert_eq!(verdict, Verdict::Invalid);
    assert_eq!(
        evidence,
        "the run failed while warming up tg32 b256: engine toy failed in a step: out of luck; 2 rows measured before that"
    );
    let (verdict, evidence) = said("run_complete", &rows, |e| e.growth_ended = Some("no memory at b64"));
    assert!(verdict == Verdict::Valid && evidence.contains("no memory at b64"), "{evidence}");
}

#[test]
fn energy_of_another_device_or_of_a_broken_counter_is_suspect() {
    use crate::run::energy;
    let mut sensed = energy::none("none");
    assert_eq!(verdict(&[row(5)], |e| e.energy = Some(&sensed)).0, Verdict::Valid);
    (sensed.source, sensed.scope) = (Known::new("nvml".into()), Known::new("gpu".into()));
    assert_eq!(verdict(&[row(5)], |e| e.energy = Some(&sensed)).0, Verdict::Valid);
    sensed.scope = Known::new("other-device".into());
    let found = verdict(&[row(5)], |e| e.energy = Some(&sensed));
    assert_eq!(found, (Verdict::Suspect, vec!["energy_sensors".to_owned()]));
}

#[test]
fn others_on_the_machine_and_a_clock_that_was_set_are_suspect() {
    let quiet = HostWindow { foreign_share: Some(0.01), stolen_share: Some(0.0), ..HostWindow::default() };
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
