//! `bench regress` on other people's engines: a gate over two commands, records imported from their files, and an exit code
//! of `compare`.
//!
//! The commands are small scripts that print what llama-bench or vLLM prints with times of a known ratio.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Bench;

const QUIET: [f64; 6] = [0.004, -0.003, 0.001, 0.002, -0.004, 0.003];

/// A row of llama-bench, `factor` times as slow as its neighbour.
fn row(test: (u32, u32), factor: f64, threads: u32, commit: &str) -> Value {
    let ns = (1e9 * factor).round();
    json!({
        "build_commit": commit, "build_number": 6123, "cpu_info": "a CPU", "gpu_info": "", "backends": "CPU",
        "model_filename": "models/m.gguf", "model_type": "llama 256M Q4_1", "model_size": 96_576_768,
        "model_n_params": 134_515_008, "n_threads": threads, "type_k": "f16", "type_v": "f16", "n_gpu_layers": 0,
        "n_prompt": test.0, "n_gen": test.1, "n_depth": 0, "test_time": "2026-11-24T02:01:26Z",
        "avg_ns": ns, "samples_ns": [ns],
    })
}

fn lines(factor: f64, threads: u32, commit: &str) -> String {
    let rows = [(512, 0), (0, 128)].map(|test| row(test, factor, threads, commit).to_string());
    rows.join("\n") + "\n"
}

fn script(bench: &Bench, name: &str, text: &str) -> PathBuf {
    let path = bench.file(name, text.as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// A program that prints its k-th output, from the first again after the last, and logs on stderr as llama-bench does.
fn printing(bench: &Bench, name: &str, outputs: &[String], to: &str) -> String {
    for (number, output) in outputs.iter().enumerate() {
        bench.file(&format!("{name}.d/{number}"), output.as_bytes());
    }
    let folder = bench.folder().join(format!("{name}.d"));
    let text = format!(
        "#!/bin/sh\nd='{}'\nn=$(cat \"$d/count\" 2>/dev/null || echo 0)\necho $(((n + 1) % {})) >\"$d/count\"\necho loading >&2\ncat \"$d/$n\"{to}\n",
        folder.display(),
        outputs.len()
    );
    format!("'{}' -m 'a model.gguf'", script(bench, name, &text).display())
}

fn llama(bench: &Bench, name: &str, factor: f64, threads: u32) -> String {
    let outputs = QUIET.map(|noise| lines(factor * (1.0 + noise), threads, "4d3b1f2a9"));
    printing(bench, name, &outputs, "")
}

fn gate(bench: &Bench, a: &str, b: &str, more: &[&str]) -> (i32, Value, String) {
    let base =
        ["regress", "gate", "--baseline-command", a, "--candidate-command", b, "--patience", "0", "--json"];
    let ran = bench.run(&[&base[..], more].concat());
    (ran.code, serde_json::from_str(&ran.stdout).unwrap_or(Value::Null), ran.stderr)
}

#[test]
fn two_commands_are_compared_as_two_programs_are() {
    let bench = Bench::new();
    let a = llama(&bench, "a", 1.0, 2);
    let (code, result, said) = gate(&bench, &a, &a, &["--pairs", "6"]);
    assert_eq!((code, &result["verdict"]), (0, &"PASS".into()), "{said}");
    assert!(result["notes"][0].as_str().is_some_and(|note| note.contains("the same command")), "{result}");
    // One thread against two is what the commands say, and no reason to refuse.
    let (code, result, said) = gate(&bench, &a, &llama(&bench, "one", 1.8, 1), &["--pairs", "6"]);
    assert_eq!((code, &result["verdict"]), (10, &"FAIL".into()), "{said}");
    let findings = result["decision"]["findings"].as_array().expect("two");
    let names: Vec<&str> = findings.iter().filter_map(|finding| finding["metric"].as_str()).collect();
    assert_eq!(names, ["prefill_tokens_per_second pp512", "decode_tokens_per_second tg128"]);
    assert!(
        findings[0]["slowdown"].as_f64().is_some_and(|slowdown| (slowdown - 0.8).abs() < 0.02),
        "{result}"
    );
    assert!(result["notes"][0].as_str().is_some_and(|note| note.contains("threads (2 vs 1)")), "{result}");
    assert_eq!(result["label"], "4d3b1f2a9 b6123");
    assert!(
        result["candidate"]["command"].as_str().is_some_and(|command| command.contains("'a model.gguf'"))
    );
    // What is kept is a record as `bench import` makes it, and can be checked again.
    let folder = result["folder"].as_str().expect("a folder");
    let record = bench.folder().join(folder).join("01-A.json");
    let record: Value = serde_json::from_slice(&fs::read(record).expect("kept")).expect("JSON");
    assert_eq!(record["imported"]["tool"], "llama-bench");
    // A check of the gate's folder decides as the gate did, finished or not.
    let verdict = bench.folder().join(folder).join("verdict.json");
    for finished in [true, false] {
        if !finished {
            fs::remove_file(&verdict).expect("removed");
        }
        let ran = bench.run(&["regress", "check", folder, "--json"]);
        let again: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        let findings = again["decision"]["findings"].as_array().map_or(0, Vec::len);
        assert_eq!((ran.code, findings), (10, 2), "{finished}: {again} {}", ran.stderr);
        assert!(again["notes"].to_string().contains("threads (2 vs 1)"), "{again}");
    }
}

#[test]
fn a_result_that_is_printed_again_is_no_replicate() {
    let bench = Bench::new();
    let kept = printing(&bench, "kept", &[lines(1.0, 2, "4d3b1f2a9")], "");
    let (code, result, said) = gate(&bench, &kept, &llama(&bench, "b", 1.0, 2), &["--pairs", "2"]);
    let reason = result["reason"].as_str().unwrap_or_default();
    assert!(code == 12 && reason.contains("pairs 1 and 2 of A have the same time"), "{code} {reason} {said}");
}

#[test]
fn a_result_is_read_from_the_file_that_the_command_writes() {
    let bench = Bench::new();
    let served = |factor: f64| {
        let text = include_str!("data/exchange/vllm-serve.json");
        let mut found: Value = serde_json::from_str(text).expect("JSON");
        for (field, value) in found.as_object_mut().expect("an object") {
            let scale = if field.ends_with("_ms") || field == "duration" {
                factor
            } else if field.ends_with("_throughput") {
                1.0 / factor
            } else {
                continue;
            };
            *value = (value.as_f64().expect("a number") * scale).into();
        }
        found.to_string()
    };
    let file = bench.folder().join("served.json");
    let to = format!(" >'{}'", file.display());
    let program = |name: &str, factor: f64| {
        printing(&bench, name, &QUIET.map(|noise| served(factor * (1.0 + noise))), &to)
    };
    let (a, b) = (program("a", 1.0), program("b", 1.2));
    let result = ["--pairs", "6", "--result", "served.json"];
    let (code, found, said) = gate(&bench, &a, &b, &result);
    assert_eq!((code, &found["verdict"]), (10, &"FAIL".into()), "{said}");
    assert!(found["decision"]["findings"].to_string().contains("output_tokens_per_second"), "{found}");
    assert_eq!(gate(&bench, &a, &a, &result).0, 0);
    // The file of another day is no result of today's command.
    let silent = script(&bench, "silent", "#!/bin/sh\nexit 0\n");
    let (code, _, said) = gate(&bench, &silent.display().to_string(), &a, &result);
    assert!(code == 2 && said.contains("did not write served.json"), "{code}: {said}");
}

#[test]
fn a_command_that_cannot_be_run_or_read_says_why() {
    let bench = Bench::new();
    let a = llama(&bench, "a", 1.0, 2);
    for (command, code, word) in [
        ("no-such-program-here -x", 13, "--candidate-command no-such-program-here"),
        ("a > out.json", 2, "`>` needs a shell"),
        ("OMP_NUM_THREADS=1 a", 2, "env OMP_NUM_THREADS=1"),
        ("echo hello", 2, "its stdout has no readable result"),
    ] {
        let (found, _, said) = gate(&bench, &a, command, &[]);
        assert!(found == code && said.contains(word), "{command}: {found}: {said}");
    }
    let twice = printing(&bench, "twice", &[lines(1.0, 1, "4d3b1f2a9") + &lines(1.0, 2, "4d3b1f2a9")], "");
    let (code, _, said) = gate(&bench, &a, &twice, &[]);
    assert!(code == 2 && said.contains("the results of 2 setups"), "{code}: {said}");
    let table = "echo '| model | size | params | backend | threads | test | t/s |'";
    let (code, _, said) = gate(&bench, table, &a, &[]);
    assert!(code == 2 && said.contains("-o jsonl"), "{code}: {said}");
    let (code, result, _) = gate(&bench, &a, "sh -c 'echo out of memory >&2; exit 3'", &[]);
    let reason = result["reason"].as_str().unwrap_or_default().to_owned();
    assert!(code == 12 && reason.contains("exit code 3: out of memory"), "{code}: {reason}");
    // Halves of the two ways to name programs do not mix.
    let ran = bench.run(&["regress", "gate", "--baseline", "x", "--candidate-command", "y"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert_eq!(bench.run(&["regress", "gate", "--baseline-command", "x"]).code, 2);
}

fn alive(pid: &str) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

/// Waits for what must come soon.
fn soon(what: &str, done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A command that starts others: all of them end with it, when its time is over, at Ctrl-C, and when it leaves them.
#[test]
fn a_commands_whole_group_ends_with_it() {
    let bench = Bench::new();
    let a = llama(&bench, "a", 1.0, 2);
    let pids = bench.folder().join("pids");
    let last = || fs::read_to_string(&pids).unwrap_or_default().lines().last().map(str::to_owned);
    // It starts one that does not care to be asked, and waits for it.
    let text = format!(
        "#!/bin/sh\nsh -c 'trap \"\" TERM; echo $$ >>\"{0}\"; while :; do sleep 0.05; done' &\nwait\n",
        pids.display()
    );
    let hangs = script(&bench, "hangs", &text).display().to_string();
    let (code, result, _) = gate(&bench, &hangs, &a, &["--timeout", "0.3s"]);
    assert!(
        code == 12 && result["reason"].as_str().is_some_and(|reason| reason.contains("longer than")),
        "{result}"
    );
    soon("the timeout left one", || last().is_some_and(|pid| !alive(&pid)));

    let before = last();
    let args = ["regress", "gate", "--baseline-command", &hangs, "--candidate-command", &a];
    let mut child = bench.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    soon("it did not start", || last() != before);
    let told = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(told.expect("kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    soon("Ctrl-C left one", || last().is_some_and(|pid| !alive(&pid)));

    // It ends well and leaves one running.
    let output = bench.file("good.jsonl", lines(1.0, 2, "4d3b1f2a9").as_bytes());
    let text = format!(
        "#!/bin/sh\nsh -c 'echo $$ >>\"{}\"; exec sleep 60' >/dev/null 2>&1 &\nsleep 0.05\ncat '{}'\n",
        pids.display(),
        output.display()
    );
    let leaves = script(&bench, "leaves", &text).display().to_string();
    let (code, _, said) = gate(&bench, &leaves, &leaves, &["--pairs", "2", "--max-pairs", "2"]);
    // It prints one result each time.
    assert_eq!(code, 12, "{said}");
    soon("one was left", || last().is_some_and(|pid| !alive(&pid)));
}

#[test]
fn a_check_takes_other_tools_files_and_the_history_their_commits() {
    let bench = Bench::new();
    // A file with six runs of each, one after another.
    let runs =
        |factor: f64, commit: &str| QUIET.map(|noise| lines(factor * (1.0 + noise), 2, commit)).concat();
    bench.file("old.jsonl", runs(1.0, "1111111aa").as_bytes());
    bench.file("new.jsonl", runs(1.1, "2222222bb").as_bytes());
    let check = |args: &[&str]| bench.run(&[&["regress", "check", "--json"], args].concat());
    let ran = check(&["old.jsonl", "new.jsonl"]);
    assert_eq!(ran.code, 10, "{}{}", ran.stdout, ran.stderr);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(found["label"] == "2222222bb b6123" && found["looks"]["pairs"][0] == 6, "{found}");
    assert!(
        found["notes"][0].as_str().is_some_and(|note| note.contains("do not say which machine")),
        "{found}"
    );
    // The same of the records that an import makes of them.
    for name in ["old", "new"] {
        let ran = bench.run(&["import", &format!("{name}.jsonl"), "-o", name]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    let again = check(&["old", "new"]);
    assert_eq!(again.code, 10, "{}{}", again.stdout, again.stderr);
    assert_eq!(check(&["old.jsonl", "old"]).code, 0);
    bench.file("notes.txt", b"hello");
    let ran = check(&["old.jsonl", "notes.txt"]);
    assert!(ran.code == 1 && ran.stderr.contains("notes.txt"), "{}: {}", ran.code, ran.stderr);

    // A night each, and another build from the tenth on: the tool's own commit names the change.
    for night in 0..20u32 {
        let (factor, commit) = if night < 10 { (1.0, "1111111aa") } else { (1.1, "2222222bb") };
        let mut text = String::new();
        for test in [(512, 0), (0, 128)] {
            let mut row = row(test, factor * (1.0 + QUIET[night as usize % 6]), 2, commit);
            row["test_time"] = format!("2026-10-{:02}T03:00:00Z", night + 1).into();
            text += &(row.to_string() + "\n");
        }
        bench.file(&format!("nights/{night}.jsonl"), text.as_bytes());
        let file = format!("nights/{night}.jsonl");
        assert_eq!(bench.run(&["import", &file, "-o", "store"]).code, 0);
    }
    let ran = bench.run(&["regress", "history", "store"]);
    assert_eq!(ran.code, 10, "{}", ran.stdout);
    let moved = "between 1111111aa b6123 (2026-10-10) and 2222222bb b6123 (2026-10-11)";
    assert!(ran.stdout.contains(moved), "{}", ran.stdout);
    // A file without a date counts on the day of its import, and every view that uses the day says so.
    let mut undated = row((512, 0), 1.1, 2, "2222222bb");
    undated.as_object_mut().expect("an object").remove("test_time");
    bench.file("undated.jsonl", undated.to_string().as_bytes());
    let ran = bench.run(&["import", "undated.jsonl", "-o", "store"]);
    assert!(ran.code == 0 && ran.stderr.contains("the file has no date"), "{}", ran.stderr);
    for _ in 0..2 {
        let ran = bench.run(&["regress", "history", "store"]);
        assert_eq!(ran.stderr.matches("its file had no date").count(), 1, "{}", ran.stderr);
    }
    let found = bench.run(&["regress", "history", "store", "--json"]).stdout;
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found["files"]["undated"], 1);
    let known = ["regress", "history", "store", "--acknowledge", "2222222bb", "--note", "known"];
    assert_eq!(bench.run(&known).code, 0);
}

#[test]
fn compare_has_an_exit_code_for_a_proven_slowdown_on_request() {
    let bench = Bench::new();
    let imported = |name: &str, factor: f64, trials: &[f64]| {
        let mut text = String::new();
        for test in [(512, 0), (0, 128)] {
            let mut row = row(test, factor, 2, "4d3b1f2a9");
            row["samples_ns"] = trials.iter().map(|noise| (1e9 * factor * (1.0 + noise)).round()).collect();
            text += &(row.to_string() + "\n");
        }
        bench.file(&format!("{name}.jsonl"), text.as_bytes());
        let ran = bench.run(&["import", &format!("{name}.jsonl"), "-o", name]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let folder = bench.folder().join(name);
        let record = fs::read_dir(folder).expect("there").next().expect("one").expect("one").path();
        record.display().to_string()
    };
    let (a, slow) = (imported("a", 1.0, &QUIET), imported("slow", 1.1, &QUIET));
    let (same, one) = (imported("same", 1.002, &QUIET), imported("one", 2.0, &[0.0]));
    let compare = |b: &str, more: &[&str]| bench.run(&[&["compare", &a, b], more].concat());
    let flag = ["--fail-on-slowdown"];
    // Imported records are suspect, so neither side is called faster, in words or in green.
    let ran = compare(&slow, &["--color", "always"]);
    assert!(
        ran.code == 0 && ran.stdout.contains("no verdict: a record is suspect (imported)"),
        "{}",
        ran.stdout
    );
    for claim in ["\u{1b}[32m", "\u{1b}[31m", "faster", "slower", " to 0."] {
        assert!(!ran.stdout.contains(claim), "{claim:?} in {}", ran.stdout);
    }
    let text = compare(&slow, &["-o", "md"]).stdout;
    assert!(text.contains("| no verdict |") && text.contains("a record is suspect (imported)"), "{text}");
    let found = &bench.json(&["compare", "--json", &a, &slow])["comparisons"][0];
    assert_eq!(found["doubts"][0]["doubt"], "suspect");
    let metrics = found["metrics"].as_array().expect("metrics");
    assert!(metrics.iter().all(|figure| figure["difference"] == "no_verdict"), "{metrics:?}");
    let ran = compare(&slow, &flag);
    assert!(
        ran.code == 10 && ran.stderr.contains("decode_tokens_per_second tg128"),
        "{}: {}",
        ran.code,
        ran.stderr
    );
    assert!(ran.stderr.contains("if the figures of suspect records are right"), "{}", ran.stderr);
    let ran = compare(&same, &flag);
    assert!(ran.code == 0 && ran.stderr.contains("no slowdown is proven"), "{}: {}", ran.code, ran.stderr);
    // Twice the time in one trial proves nothing, and says so.
    let ran = compare(&one, &flag);
    assert!(ran.code == 11 && ran.stderr.contains("inconclusive"), "{}: {}", ran.code, ran.stderr);
    assert_eq!(bench.run(&["compare", &a, "--fail-on-slowdown"]).code, 2);
    assert_eq!(bench.run(&["compare", &slow, &a, "--fail-on-slowdown"]).code, 0);
    assert!(Path::new(&a).exists());
}
