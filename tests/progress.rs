//! The progress line on terminals of several widths: one line, never more, whatever is said in it.

use crate::support::{Bench, terminal};

const RUN: &[&str] = &[
    "run",
    "--model",
    "synthetic:smollm2-135m:q4_0",
    "-p",
    "2",
    "-n",
    "1",
    "-r",
    "1",
    "--price-per-hour",
    "1",
];

fn check(columns: u16, room: usize) {
    let bench = Bench::new();
    let shown = terminal::run(bench.command(RUN), columns);
    assert!(matches!(shown.code, 0 | 12), "{columns}: {}", shown.text);
    let lines = shown.drawn();
    assert!(lines.iter().any(|line| line.contains("meas")), "{columns}: {:?}", shown.text);
    for line in lines {
        assert!(!line.contains('\n') && line.chars().count() < room, "{columns}: {line:?}");
    }
    // What stays is how long it will take and the two rows; a further line feed would be a line that scrolls away.
    let stays: Vec<&str> = shown.text.lines().filter(|line| !line.ends_with("\x1b[K")).collect();
    assert_eq!(shown.text.matches('\n').count(), 3, "{columns}: {stays:?}");
    for said in ["takes about ", "pp2: ", "tg1: "] {
        assert!(stays.iter().any(|line| line.contains(said)), "{columns}: {said} {stays:?}");
    }
}

#[test]
fn a_narrow_terminal_does_not_scroll() {
    check(40, 40);
    check(20, 20);
}

#[test]
fn a_terminal_that_does_not_say_its_width_does_not_scroll() {
    check(0, 40);
}

#[test]
fn a_log_gets_each_row_as_it_finishes() {
    let bench = Bench::new();
    let ran = bench.run(RUN);
    let lines: Vec<&str> = ran.stderr.lines().collect();
    assert!(lines[0].starts_with("takes about ") && lines[0].contains("to load the model"), "{}", ran.stderr);
    for row in ["pp2: ", "tg1: "] {
        let found =
            lines.iter().filter(|line| line.starts_with(row) && line.contains("tokens/s, 95% ± ")).count();
        assert_eq!(found, 1, "{row} {}", ran.stderr);
    }
    let quiet = bench.run(&[RUN, &["-q"]].concat());
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_run_says_that_no_row_fits_and_what_it_would_take() {
    let bench = Bench::new();
    let args =
        ["run", "--model", "synthetic:smollm2-135m:q4_0", "-p", "8192", "-n", "0", "--max-time", "0.1s"];
    let ran = bench.run(&args);
    assert_eq!((ran.code, bench.records().len()), (1, 0), "{}", ran.stderr);
    let said =
        ran.stderr.lines().find(|line| line.contains("no row fits into --max-time 0.1s")).expect("a reason");
    assert!(said.contains("pp8192 takes about ") && said.contains("s for one trial of each"), "{said}");
}

#[test]
fn a_row_that_does_not_fit_is_named_and_the_others_are_measured() {
    let bench = Bench::new();
    let args = ["run", "--model", "synthetic:smollm2-135m:q4_0", "-p", "8192", "-n", "4", "--max-time", "2s"];
    let ran = bench.run(&[&args[..], &["--price-per-hour", "1", "--device", "cpu"]].concat());
    assert!(matches!(ran.code, 0 | 12), "{}", ran.stderr);
    assert!(ran.stderr.contains("pp8192 left out: one trial takes about "), "{}", ran.stderr);
    assert!(ran.stdout.contains("pp8192 left out: one trial takes about "), "{}", ran.stdout);
    let text = std::fs::read_to_string(&bench.records()[0]).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&text).expect("a record");
    let left_out = &record["workload"]["rows_left_out"][0];
    assert_eq!(left_out["row"], "pp8192");
    assert!(left_out["trial_seconds"].as_f64().expect("seconds") > 0.5, "{left_out}");
    let checks = record["validity"]["checks"].as_array().expect("checks");
    let complete = checks.iter().find(|check| check["name"] == "run_complete").expect("made");
    assert!(
        complete["verdict"] == "valid"
            && complete["evidence"].as_str().is_some_and(|e| e.contains("pp8192 left out"))
    );
    // Seconds with the loaded model, which the bound is of: no assertion of an absolute time, only that it is told.
    assert!(record["telemetry"]["measuring_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
}
