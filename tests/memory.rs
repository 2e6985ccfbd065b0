//! Memory that is not there: refused by name where planning sees it, and a sentence with exit code 1 wherever it runs
//! out anyway. Limits are set by the shell that starts the program, as its users do.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::support::{Bench, Ran, ran};

/// The smallest run there is, its record thrown away.
const SMALL: &str =
    "run -q --model synthetic:smollm2-135m:q4_0 -p 2 -n 0 -r 1 --price-per-hour 1 --output - --threads 2";

/// Runs `bench` under a limit of the shell's, in KiB.
fn limited(bench: &Bench, flag: &str, kib: u64, args: &str) -> Ran {
    let program = env!("CARGO_BIN_EXE_bench");
    let command = bench.command(&[]);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("ulimit {flag} {kib}; exec '{program}' {args}"));
    shell.current_dir(bench.folder()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    ran(&shell.output().expect("a shell"))
}

/// Whether a run under a limit ended as it must: with a record, or with one sentence and exit code 1. Below what the
/// dynamic loader and the runtime need there is no program to say anything.
fn is_well_ended(ran: &Ran) -> bool {
    let one = ran.stderr.lines().filter(|line| line.starts_with("error: ")).count() == 1;
    let quiet = !["panicked", "stack backtrace", "overflowed", "Aborted"]
        .iter()
        .any(|word| ran.stderr.contains(word));
    quiet && (ran.code == 0 || ran.code == 1 && one)
}

#[test]
fn a_limit_on_addresses_is_seen_by_the_plan_and_named() {
    let bench = Bench::new();
    let args = "run --model synthetic:llama-3.2-1b:q8_0 --device cpu --dry-run";
    for (flag, kib, name) in [("-v", 1_200_000, "ulimit -v"), ("-d", 1_000_000, "ulimit -d")] {
        let ran = limited(&bench, flag, kib, args);
        assert_eq!(ran.code, 1, "{}", ran.stderr);
        assert!(ran.stderr.contains("of memory") && ran.stderr.contains(name), "{}", ran.stderr);
    }
}

#[test]
fn memory_that_runs_out_anywhere_ends_with_a_sentence() {
    let bench = Bench::new();
    let outcomes: Vec<(u64, Ran)> =
        [80, 120, 160, 200, 240, 280].map(|mib| (mib, limited(&bench, "-v", mib << 10, SMALL))).into();
    for (mib, ran) in &outcomes {
        // Killed by the kernel or refused by the loader before `main`.
        let started = ran.code != -1 && ran.code != 127;
        assert!(!started || is_well_ended(ran), "{mib} MiB: {} {}", ran.code, ran.stderr);
    }
    assert!(outcomes.iter().any(|(_, ran)| ran.code == 1), "none was short of memory");
}
