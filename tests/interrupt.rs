//! A signal in each phase: what was measured is kept, the exit code says which signal it was.

use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{Bench, SMALL};

fn signal(child: &Child, name: &str) {
    let status =
        std::process::Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(status.expect("kill").success());
}

/// Starts a long run, sends `name` after `delay` and returns the exit code with the records left.
fn interrupted(args: &[&str], name: &str, delay: Duration) -> (i32, Vec<serde_json::Value>, String) {
    let bench = Bench::new();
    let mut child =
        bench.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    std::thread::sleep(delay);
    signal(&child, name);
    let status = child.wait().expect("it ends");
    let mut stderr = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut stderr).expect("text");
    let records = bench.records().into_iter().map(|path| {
        serde_json::from_str(&std::fs::read_to_string(path).expect("a file")).expect("a whole record")
    });
    (status.code().unwrap_or(-1), records.collect(), stderr)
}

const LONG: &[&str] =
    &["run", "--model", SMALL, "-p", "32", "-n", "16", "--max-time", "600s", "--precision", "0.01%"];

#[test]
fn a_signal_at_any_moment_leaves_whole_records_or_none() {
    for (name, code, millis) in
        [("INT", 130, 5), ("INT", 130, 120), ("TERM", 143, 400), ("INT", 130, 900), ("INT", 130, 2500)]
    {
        let (exit, records, stderr) = interrupted(LONG, name, Duration::from_millis(millis));
        // Before the handler stands the signal ends the process by itself.
        assert!(exit == code || (millis < 50 && exit == -1), "{name} after {millis} ms: {exit}\n{stderr}");
        assert!(records.len() <= 1);
        for record in &records {
            assert_eq!(record["command"]["interrupted"], code);
            assert_eq!(record["validity"]["verdict"], "invalid");
        }
        if millis >= 2500 {
            assert_eq!(records.len(), 1, "a run of 2.5 s has something to keep\n{stderr}");
        }
    }
}

/// A command that starts the program, by another one.
fn started_by(bench: &Bench, starter: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(starter[0]);
    command.args(&starter[1..]).arg(env!("CARGO_BIN_EXE_bench"));
    let plain = bench.command(&[]);
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(bench.folder()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// `timeout` signals the program and then the group that both are in.
#[test]
fn what_a_timeout_ends_is_kept() {
    for name in ["INT", "TERM"] {
        let bench = Bench::new();
        let status = started_by(&bench, &["timeout", "-s", name, "3"]).args(LONG).status();
        assert_eq!(status.expect("the program starts").code(), Some(124));
        assert_eq!(bench.records().len(), 1, "{name}");
    }
}

/// As a script starts what it puts in the background: Ctrl-C is meant for what is in front.
#[test]
fn ctrl_c_stays_ignored_where_it_was() {
    let bench = Bench::new();
    let mut command = started_by(&bench, &["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]);
    command.args(["run", "--model", SMALL, "-p", "8", "-n", "4", "--max-time", "2s"]);
    let mut child = command.spawn().expect("the program starts");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(child.try_wait().expect("its state"), None, "it ended too soon");
    signal(&child, "INT");
    let status = child.wait().expect("it ends");
    assert_ne!(status.code(), Some(130));
    let records = bench.records();
    assert_eq!(records.len(), 1);
    let text = std::fs::read_to_string(&records[0]).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(record["command"]["interrupted"], serde_json::Value::Null);
}

#[test]
fn loading_a_large_model_can_be_interrupted() {
    let args = ["run", "--model", "synthetic:llama-3.2-1b:q8_0", "-p", "8", "-n", "4"];
    let (exit, records, stderr) = interrupted(&args, "INT", Duration::from_millis(700));
    assert_eq!(exit, 130, "{stderr}");
    assert_eq!(records.len(), 1, "{stderr}");
}
