//! `bench regress`: verdicts with their exit codes, and a gate that holds when things go wrong.
//!
//! The programs under the gate are small scripts that print a record of this build with figures of a known ratio, so a
//! verdict is known in advance; that real programs go through is shown by `scripts/gate-self`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Bench, quick};

/// A folder with a record of this build, called undisturbed whatever else ran meanwhile.
struct Stand {
    bench: Bench,
    record: Value,
}

impl Stand {
    fn new() -> Self {
        let bench = Bench::new();
        let ran = bench.run(&quick(&["--json", "--output", "-"]));
        let mut record: Value = serde_json::from_str(&ran.stdout).expect("a record");
        for check in record["validity"]["checks"].as_array_mut().expect("checks") {
            check["verdict"] = "valid".into();
        }
        Self { bench, record }
    }

    /// A record whose program takes `factor` times as long for everything.
    fn slower(&self, factor: f64) -> Value {
        let mut record = self.record.clone();
        for measurement in record["measurements"].as_array_mut().expect("measurements") {
            let Some(value) = measurement["value"].as_f64() else { continue };
            let rate = measurement["unit"] == "tokens/s";
            measurement["value"] = if rate { value / factor } else { value * factor }.into();
            if measurement["metric"] == "inter_token_latency_seconds" {
                // A quick run has too few gaps for tails of its own.
                measurement["p99"] = (2.0 * value * factor).into();
            }
        }
        record
    }

    fn write(&self, name: &str, record: &Value) -> PathBuf {
        self.bench.file(name, record.to_string().as_bytes())
    }

    /// A program whose k-th run prints a record that is `factor` times slower, give or take `noise`.
    fn program(&self, name: &str, factor: f64, noise: &[f64]) -> PathBuf {
        for (number, noise) in noise.iter().enumerate() {
            self.write(&format!("{name}.d/{number}.json"), &self.slower(factor * (1.0 + noise)));
        }
        let folder = self.bench.folder().join(format!("{name}.d"));
        let script = format!(
            "#!/bin/sh\ncd '{}'\nn=$(cat count 2>/dev/null || echo 0)\necho $(((n + 1) % {})) >count\ncat \"$n.json\"\n",
            folder.display(),
            noise.len()
        );
        self.script(name, &script)
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.bench.file(name, text.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        path
    }

    fn gate(&self, a: &Path, b: &Path, more: &[&str]) -> (i32, Value, String) {
        let (a, b) = (a.to_str().expect("text"), b.to_str().expect("text"));
        let base = ["regress", "gate", "--baseline", a, "--candidate", b, "--json"];
        let ran = self.bench.run(&[&base[..], more].concat());
        let result = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
        (ran.code, result, ran.stderr)
    }
}

const QUIET: [f64; 12] =
    [0.004, -0.003, 0.001, 0.002, -0.004, 0.003, -0.001, -0.002, 0.003, 0.001, -0.003, -0.001];
const LOUD: [f64; 12] = [0.06, -0.05, 0.02, -0.07, 0.05, 0.04, -0.06, 0.03, -0.04, 0.06, -0.02, -0.05];

#[test]
fn each_verdict_has_its_exit_code() {
    let here = Stand::new();
    let a = here.program("a", 1.0, &QUIET);
    let (code, result, said) = here.gate(&a, &here.program("slow", 1.10, &QUIET), &[]);
    assert_eq!((code, &result["verdict"]), (10, &"FAIL".into()), "{said}");
    let worst = &result["decision"]["findings"][0];
    // Every figure is slower by the same, so the stated order says which is named first.
    let names: Vec<&str> = result["decision"]["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| finding["metric"].as_str().and_then(|name| name.split(' ').next()).expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "prefill_tokens_per_second",
            "decode_tokens_per_second",
            "time_to_first_token_seconds",
            "time_per_output_token_seconds"
        ]
    );
    let slowdown = worst["slowdown"].as_f64().expect("a figure");
    assert!((slowdown - 0.10).abs() < 0.01, "{slowdown}");
    assert_eq!(result["replicates"].as_array().map(Vec::len), Some(12));
    let tail = &result["decision"]["reported"][0];
    assert_eq!(tail["metric"], "inter_token_latency_seconds p99 tg4");
    assert!(tail["slowdown"].as_f64().is_some_and(|slowdown| (slowdown - 0.10).abs() < 0.01), "{tail}");
    let order: String = result["replicates"]
        .as_array()
        .expect("twelve")
        .iter()
        .map(|r| r["program"].as_str().expect("A or B"))
        .collect();
    assert_eq!(order, "ABBAABBAABBA");

    let (code, result, _) = here.gate(&a, &here.program("same", 1.0, &QUIET), &[]);
    assert_eq!((code, &result["verdict"]), (0, &"PASS".into()));

    let (code, result, _) =
        here.gate(&a, &here.program("loud", 1.02, &LOUD), &["--pairs", "4", "--max-pairs", "8"]);
    assert_eq!((code, &result["verdict"]), (11, &"INCONCLUSIVE".into()));
    assert_eq!(result["replicates"].as_array().map(Vec::len), Some(16));
    assert!(
        result["decision"]["findings"][0]["pairs_needed"].as_u64().is_some_and(|pairs| pairs > 8),
        "{result}"
    );

    let (code, _, said) = here.gate(&a, Path::new("/nowhere/bench"), &[]);
    assert_eq!(code, 13, "{said}");
    assert!(said.contains("--candidate /nowhere/bench"), "{said}");
    assert_eq!(here.gate(&a, &a, &["--margin", "90%"]).0, 2);
    assert_eq!(here.gate(&a, &a, &["--pairs", "4", "--max-pairs", "3"]).0, 2);
    let (code, _, said) = here.gate(&a, &a, &["--", "--json"]);
    assert!(code == 2 && said.contains("--json"), "{said}");
    for given in ["--output=zz", "-ozz"] {
        let (code, _, said) = here.gate(&a, &a, &["--", given]);
        assert!(code == 2 && said.contains(given), "{said}");
    }
    // A name without a folder is the file here, and not the program of that name in PATH.
    here.program("true", 1.10, &QUIET);
    let (code, result, said) = here.gate(&a, Path::new("true"), &[]);
    assert_eq!((code, &result["verdict"]), (10, &"FAIL".into()), "{said}");
    let (code, _, said) = here.gate(here.bench.folder(), &a, &[]);
    assert!(code == 1 && said.contains("--baseline takes the program"), "{said}");
}

#[test]
fn what_measured_something_else_or_elsewhere_is_incomparable_by_name() {
    let here = Stand::new();
    let a = here.program("a", 1.0, &QUIET);
    for (key, fields, name) in [("series_key", "series_fields", "threads"), ("box_key", "box_fields", "boot")]
    {
        let mut record = here.slower(1.0);
        record["fingerprint"][key] = "other".into();
        record["fingerprint"][fields][name] = "another".into();
        let record = here.write("other.json", &record);
        let b = here.script(&format!("b-{name}"), &format!("#!/bin/sh\ncat '{}'\n", record.display()));
        let (code, result, _) = here.gate(&a, &b, &["--pairs", "2"]);
        assert_eq!((code, &result["verdict"]), (12, &"INCOMPARABLE".into()));
        let reason = result["reason"].as_str().expect("a reason");
        assert!(reason.contains(name) && reason.contains("another"), "{reason}");
    }
    let mut hot = here.slower(1.0);
    hot["validity"]["checks"][0] = serde_json::json!({
        "name": "clocks_held_back", "verdict": "suspect", "evidence": "held back for 40% of the time",
    });
    let hot = here.write("hot.json", &hot);
    let b = here.script("hot", &format!("#!/bin/sh\ncat '{}'\n", hot.display()));
    let (code, result, _) = here.gate(&a, &b, &["--pairs", "6", "--patience", "0"]);
    assert_eq!(code, 12);
    let reason = result["reason"].as_str().expect("a reason");
    assert!(reason.contains("0 of 6 replicates of A") && reason.contains("6 of 6 of B"), "{reason}");
    assert!(reason.contains("40% of the time"), "{reason}");
    assert_eq!(result["disturbed"]["replicates"], serde_json::json!([0, 6]));
}

/// On a machine that others use, what they take is noise for both: kept, named, and paid for.
#[test]
fn a_disturbance_of_both_is_named_and_kept_and_only_what_one_lost_more_costs() {
    let here = Stand::new();
    let stolen = |name: &str, factor: f64, shares: [f64; 6]| {
        for (number, share) in shares.into_iter().enumerate() {
            let mut record = here.slower(factor * (1.0 + QUIET[number]));
            for check in record["validity"]["checks"].as_array_mut().expect("checks") {
                if check["name"] == "foreign_load" && share > 0.0 {
                    check["verdict"] = "suspect".into();
                    check["evidence"] = format!("the hypervisor took {:.1}%", share * 100.0).into();
                }
            }
            for field in ["foreign_processor_share", "quota_held_back_share"] {
                record["telemetry"][field] = 0.0.into();
            }
            record["telemetry"]["stolen_processor_share"] = share.into();
            here.write(&format!("{name}.d/{number}.json"), &record);
        }
        let folder = here.bench.folder().join(format!("{name}.d"));
        here.script(
            name,
            &format!(
                "#!/bin/sh\ncd '{}'\nn=$(cat count 2>/dev/null || echo 0)\necho $(((n + 1) % 6)) >count\ncat \"$n.json\"\n",
                folder.display()
            ),
        )
    };
    let rules = ["--pairs", "6", "--max-pairs", "6", "--patience", "0"];
    let a = stolen("a", 1.0, [0.02, 0.0, 0.02, 0.0, 0.02, 0.0]);
    let (code, result, said) = here.gate(&a, &stolen("b", 1.0, [0.0, 0.02, 0.0, 0.02, 0.02, 0.0]), &rules);
    assert_eq!((code, &result["verdict"]), (0, &"PASS".into()), "{said}");
    assert_eq!(result["disturbed"]["replicates"], serde_json::json!([3, 3]));
    assert!(result["disturbed"]["width"].as_f64().is_some_and(|width| width < 1e-9), "{result}");
    let named = result["replicates"].as_array().expect("twelve").iter();
    assert_eq!(
        named.filter(|r| r["disturbed_by"].as_str().is_some_and(|by| by.contains("took 2.0%"))).count(),
        6
    );
    assert!(said.contains("pair 1, A: disturbed, foreign_load: the hypervisor took 2.0%"), "{said}");
    // B lost 4.5% on average and A 1%, which may have cost B twice the 3.5% between them: 10% is not beyond that.
    let (code, result, said) = here.gate(&a, &stolen("c", 1.10, [0.09, 0.0, 0.09, 0.0, 0.09, 0.0]), &rules);
    assert_eq!((code, &result["verdict"]), (11, &"INCONCLUSIVE".into()), "{said}");
    assert!(
        result["disturbed"]["width"].as_f64().is_some_and(|width| (width - 0.07).abs() < 1e-9),
        "{result}"
    );
    // A slowdown that the difference cannot explain is still proven.
    let (code, result, said) = here.gate(&a, &stolen("d", 1.30, [0.09, 0.0, 0.09, 0.0, 0.09, 0.0]), &rules);
    assert_eq!((code, &result["verdict"]), (10, &"FAIL".into()), "{said}");
    let ran = here.bench.run(&["regress", "check", result["folder"].as_str().expect("a folder")]);
    assert_eq!(ran.code, 10);
    assert!(
        ran.stdout.contains("6 of 12 replicates were disturbed and kept (A 3, B 3); each bound is"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_replicate_that_crashes_or_hangs_is_tried_once_more() {
    let here = Stand::new();
    let a = here.program("a", 1.0, &QUIET);
    let record = here.write("good.json", &here.slower(1.0));
    let once = |name: &str, fault: &str| {
        here.script(
            name,
            &format!(
                "#!/bin/sh\n[ -e '{name}.seen' ] || {{ touch '{name}.seen'; {fault}; }}\ncat '{}'\n",
                record.display()
            ),
        )
    };
    for (name, fault, word) in [
        ("crashes", "echo 'out of luck' >&2; exit 1", "out of luck"),
        ("dies", "kill -9 $$", "signal 9"),
        ("hangs", "exec sleep 60", "longer than"),
        ("lies", "echo '{\"schema\": \"infercost.record/1\"'; exit 0", "cannot be read"),
    ] {
        let (code, result, said) =
            here.gate(&a, &once(name, fault), &["--pairs", "2", "--max-pairs", "2", "--timeout", "1s"]);
        assert!(matches!(code, 0 | 10 | 11), "{name}: {said}");
        let replicates = result["replicates"].as_array().expect("four");
        let retried: Vec<&str> = replicates.iter().filter_map(|r| r["retried_because"].as_str()).collect();
        assert!(retried.len() == 1 && retried[0].contains(word), "{name}: {retried:?}");
    }
    let usage = here.script(
        "usage",
        "#!/bin/sh\necho \"error: unexpected argument '--bogus'\" >&2\necho 'try --help' >&2\necho >>runs\nexit 2\n",
    );
    let (code, _, said) = here.gate(&a, &usage, &["--pairs", "2", "--", "--bogus"]);
    assert!(code == 2 && said.contains("error: unexpected argument '--bogus'"), "{code}: {said}");
    assert_eq!(fs::read_to_string(here.bench.folder().join("runs")).expect("run once"), "\n");
    let always = here.script("always", "#!/bin/sh\necho 'no such model' >&2\nexit 13\n");
    let (code, result, _) = here.gate(&a, &always, &["--pairs", "2"]);
    assert_eq!((code, &result["verdict"]), (12, &"INCOMPARABLE".into()));
    let reason = result["reason"].as_str().expect("a reason");
    assert!(reason.contains("exit code 13: no such model") && reason.contains(".log"), "{reason}");
}

/// The whole gate's processes, killed without a chance to tidy up.
#[test]
fn a_gate_that_is_killed_goes_on_and_mixes_nothing() {
    let here = Stand::new();
    let slow = |name: &str| {
        let record = here.write(&format!("{name}.json"), &here.slower(if name == "b" { 1.2 } else { 1.0 }));
        here.script(
            name,
            &format!("#!/bin/sh\nsleep 0.05\necho run >>'{name}.runs'\ncat '{}'\n", record.display()),
        )
    };
    let (a, b) = (slow("a"), slow("b"));
    let (a_text, b_text) = (a.to_str().expect("text"), b.to_str().expect("text"));
    let args = ["regress", "gate", "--baseline", a_text, "--candidate", b_text, "--pairs", "6", "--json"];
    for kill in 0..6u64 {
        let mut child =
            here.bench.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(40 + 37 * kill));
        child.kill().expect("killed");
        child.wait().expect("gone");
    }
    let (code, result, said) = here.gate(&a, &b, &["--pairs", "6"]);
    assert_eq!(code, 10, "{said}");
    let replicates = result["replicates"].as_array().expect("twelve");
    assert_eq!(replicates.len(), 12);
    assert!(replicates.iter().any(|r| r["resumed"] == true), "nothing was kept: {result}");
    for replicate in replicates {
        let file = Path::new(result["folder"].as_str().expect("a folder"))
            .join(replicate["file"].as_str().expect("a name"));
        let record: Value =
            serde_json::from_slice(&fs::read(here.bench.folder().join(file)).expect("there")).expect("whole");
        let slow = replicate["program"] == "B";
        let rate = |record: &Value| record["measurements"][0]["value"].as_f64().expect("a figure");
        assert_eq!(rate(&record) < rate(&here.record), slow, "the replicates are mixed up: {replicate}");
    }
    // Asked again, a gate that is over is not reopened.
    let (_, again, _) = here.gate(&a, &b, &["--pairs", "6"]);
    assert_ne!(again["folder"], result["folder"]);
}

#[test]
fn two_gates_do_not_run_at_once_and_ctrl_c_keeps_what_is_there() {
    let here = Stand::new();
    let record = here.write("r.json", &here.slower(1.0));
    let a = here.script("a", &format!("#!/bin/sh\necho $$ >>pids\nsleep 0.3\ncat '{}'\n", record.display()));
    let a_text = a.to_str().expect("text");
    let args = ["regress", "gate", "--baseline", a_text, "--candidate", a_text, "--pairs", "6"];
    let mut child =
        here.bench.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let kept = |here: &Stand| {
        let gates = fs::read_dir(here.bench.folder().join("results/gates")).into_iter().flatten().flatten();
        gates
            .flat_map(|gate| fs::read_dir(gate.path()).into_iter().flatten().flatten())
            .filter(|file| file.path().extension().is_some_and(|e| e == "json"))
            .count()
    };
    let begin = Instant::now();
    while kept(&here) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(30), "no replicate came");
        std::thread::sleep(Duration::from_millis(10));
    }
    let (code, _, said) = here.gate(&a, &a, &["--pairs", "6"]);
    assert!(code == 1 && said.contains("another gate is running"), "{code}: {said}");
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let before = kept(&here);
    assert!(before >= 1);
    // Its own replicate ended with it.
    let pids = fs::read_to_string(here.bench.folder().join("pids")).expect("written");
    let last = pids.lines().last().expect("one").to_owned();
    std::thread::sleep(Duration::from_millis(100));
    let state = fs::read_to_string(format!("/proc/{last}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(" Z "), "{state}");
    let (code, result, _) = here.gate(&a, &a, &["--pairs", "6"]);
    assert_eq!(code, 0);
    let resumed =
        result["replicates"].as_array().expect("twelve").iter().filter(|r| r["resumed"] == true).count();
    assert!(resumed >= before, "{resumed} of {before}");
}

#[test]
fn a_check_of_records_says_what_a_gate_says() {
    let here = Stand::new();
    let (a, b) = (here.program("a", 1.0, &QUIET), here.program("slow", 1.10, &QUIET));
    let (_, gate, _) = here.gate(&a, &b, &[]);
    let folder = gate["folder"].as_str().expect("a folder");
    let check = |more: &[&str]| {
        let ran = here.bench.run(&[&["regress", "check"], more].concat());
        (ran.code, ran.stdout, ran.stderr)
    };
    assert_eq!(check(&[]).0, 2);
    let (code, text, _) = check(&["--baseline", folder, "--candidate", folder, "--json"]);
    assert_eq!(code, 10);
    let checked: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(checked["decision"], gate["decision"]);
    let (code, text, _) = check(&["--baseline", folder, "--candidate", folder]);
    assert!(code == 10 && text.contains("FAIL") && text.contains("decode_tokens_per_second tg4"), "{text}");
    assert!(text.contains("pair SD 0.0% to 0.0% over 6 pairs") && text.contains("not gated"), "{text}");
    let again = check(&[folder, folder]);
    assert_eq!((again.0, &again.1), (code, &text));
    assert_eq!(check(&[folder]).1, text);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let plain = check(&["--baseline", folder]);
    assert!(plain.0 == 2 && plain.2.contains("--candidate"), "{}", plain.2);
    let one = here.write("one.json", &here.slower(1.0));
    let one = one.to_str().expect("text");
    let two = here.write("two.json", &here.slower(1.0));
    let (code, text, _) = check(&["--baseline", one, "--candidate", two.to_str().expect("text")]);
    assert!(code == 12 && text.contains("no replicates"), "{text}");
    assert_eq!(check(&["--baseline", "/nowhere.json", "--candidate", one]).0, 13);
    // Records that are no gate's are not compared with themselves.
    let plain = here.write("plain/1.json", &here.slower(1.0));
    here.write("plain/2.json", &here.slower(1.0));
    let plain = plain.parent().and_then(Path::to_str).expect("text");
    for given in [&[plain][..], &[plain, plain], &["--baseline", one, "--candidate", one]] {
        let (code, _, said) = check(given);
        assert!(code == 2 && said.contains("not a gate's folder"), "{given:?}: {code}: {said}");
    }
    let empty = here.bench.folder().join("empty");
    fs::create_dir(&empty).expect("a folder");
    let (code, _, said) = check(&["--baseline", empty.to_str().expect("text"), "--candidate", one]);
    assert!(code == 1 && said.contains("no record"), "{said}");
}

#[test]
fn a_verdict_goes_out_in_every_form_that_ci_reads() {
    let here = Stand::new();
    let (a, b) = (here.program("a", 1.0, &QUIET), here.program("slow", 1.10, &QUIET));
    let forms = [
        "--markdown",
        "m.md",
        "--junit",
        "j.xml",
        "--bencher",
        "b.json",
        "--prometheus",
        "p.prom",
        "--annotations",
    ];
    here.bench.file("m.md", b"before\n");
    let (code, _, said) = here.gate(&a, &b, &[&forms[..], &["--label", "3f2a91c"]].concat());
    assert_eq!(code, 10, "{said}");
    assert!(said.contains("::error title=infercost gate FAIL::") && said.contains("in 3f2a91c"), "{said}");
    let read = |name: &str| fs::read_to_string(here.bench.folder().join(name)).expect(name);
    let markdown = read("m.md");
    assert!(
        markdown.starts_with("before\n### FAIL: 3f2a91c")
            && markdown.contains("decode_tokens_per_second tg4"),
        "{markdown}"
    );
    assert!(read("j.xml").contains("<failure message="));
    let metrics: Value = serde_json::from_str(&read("b.json")).expect("JSON");
    assert!(
        metrics["decode_tokens_per_second tg4"]["slowdown_percent"]["value"]
            .as_f64()
            .is_some_and(|x| x > 8.0)
    );
    assert!(read("p.prom").contains("verdict=\"FAIL\"} 1"));
    let (code, _, said) = here.gate(&a, &b, &["--junit", "/nowhere/j.xml", "--pairs", "2"]);
    assert!(
        code == 1 && said.contains("/nowhere/j.xml") && said.contains("`--junit FILE`"),
        "{code}: {said}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_ends_it_with_its_name() {
    let here = Stand::new();
    let a = here.program("a", 1.0, &QUIET);
    let file = here.bench.file("taken", b"");
    let (code, _, said) = here.gate(&a, &a, &["--output", file.to_str().expect("text")]);
    assert!(code == 1 && said.contains("taken"), "{code}: {said}");
}

/// Sixty nights, 6% slower from the 40th on.
fn nights(here: &Stand, folder: &str) -> PathBuf {
    series(here, folder, 60, 40, 1.06)
}

/// So many nights, slower by a factor from one of them on.
fn series(here: &Stand, folder: &str, nights: usize, from: usize, factor: f64) -> PathBuf {
    for night in 0..nights {
        let wobble = QUIET[night * 5 % 12];
        let mut record = here.slower(if night < from { 1.0 } else { factor } * (1.0 + wobble));
        record["created"] = format!("2026-{:02}-{:02}T03:00:00Z", 1 + night / 28, 1 + night % 28).into();
        record["tool"]["commit"] = format!("{night:012x}").into();
        record["validity"]["verdict"] = "valid".into();
        here.write(&format!("{folder}/{night:03}.json"), &record);
    }
    here.bench.folder().join(folder)
}

/// Half as much time again from the middle on: 13 points cannot prove it and say so, from 14 on no length hides it.
#[test]
fn a_history_that_cannot_see_a_step_says_so() {
    let here = Stand::new();
    let look = |folder: &Path, more: &[&str]| {
        here.bench.run(&[&["regress", "history", folder.to_str().expect("text")], more].concat())
    };
    for (nights, from) in [(9, 4), (13, 6)] {
        let ran = look(&series(&here, &format!("few{nights}"), nights, from, 1.5), &[]);
        let said = format!("{nights} points: no step of any size can be proven at p = 0.001; 14 are needed");
        assert!(
            ran.code == 11 && ran.stdout.contains(&said) && ran.stdout.contains("inconclusive"),
            "{}",
            ran.stdout
        );
        assert!(!ran.stdout.contains("no change"), "{}", ran.stdout);
    }
    for (nights, from) in [(14, 7), (17, 8), (20, 16)] {
        let ran = look(&series(&here, &format!("enough{nights}"), nights, from, 1.5), &[]);
        let moved = format!("between {:012x} (2026", from - 1);
        assert!(ran.code == 10 && ran.stdout.contains(&moved), "{nights}, {from}: {}", ran.stdout);
    }
    // Nothing moved, and the smallest step that would have been found is given.
    let level = series(&here, "level", 20, 20, 1.0);
    let ran = look(&level, &[]);
    assert!(
        ran.code == 0 && ran.stdout.contains("halfway through the last 20 points would be detected"),
        "{}",
        ran.stdout
    );
    let ran = look(&level, &["--json"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(found["series"][0]["points_needed"], 14);
    assert!(
        found["series"][0]["smallest_step"].as_f64().is_some_and(|step| (0.01..0.05).contains(&step)),
        "{found}"
    );
    // What nothing was looked at in is no all-clear either.
    fs::create_dir(here.bench.folder().join("empty")).expect("a folder");
    let empty = here.bench.folder().join("empty");
    for more in [&[][..], &["--json"]] {
        let ran = look(&empty, more);
        assert!(
            ran.code == 11 && (ran.stdout + &ran.stderr).contains("inconclusive: there are no records here"),
            "{}",
            ran.code
        );
    }
    let page = here.bench.folder().join("page.html");
    look(&here.bench.folder().join("few9"), &["--html", page.to_str().expect("text")]);
    let page = fs::read_to_string(page).expect("written");
    assert!(page.contains("No conclusion") && !page.contains("No slowdown that nobody"), "{page}");
}

#[test]
fn a_history_names_the_commits_between_which_it_got_slower() {
    let here = Stand::new();
    let folder = nights(&here, "nightly");
    let folder = folder.to_str().expect("text");
    let look = |more: &[&str]| {
        let ran = here.bench.run(&[&["regress", "history", folder, "--json"], more].concat());
        (ran.code, serde_json::from_str::<Value>(&ran.stdout).unwrap_or(Value::Null), ran.stderr)
    };
    let (code, found, said) = look(&[]);
    assert_eq!(code, 10, "{said}");
    let series = found["series"].as_array().expect("two");
    assert_eq!(series.len(), 2, "{found}");
    for line in series {
        let changes = line["changes"].as_array().expect("one");
        assert_eq!(changes.len(), 1, "{line}");
        assert_eq!(
            (&changes[0]["from"][0], &changes[0]["to"][0]),
            (&"000000000027".into(), &"000000000028".into())
        );
        let slowdown = changes[0]["slowdown"].as_f64().expect("a figure");
        assert!((slowdown - 0.06).abs() < 0.01, "{slowdown}");
    }
    assert_eq!((&found["files"]["read"], &found["files"]["known"]), (&60.into(), &0.into()));

    let (code, found, _) = look(&[
        "--metric",
        "decode_tokens_per_second",
        "--acknowledge",
        "000000000028",
        "--note",
        "safer softmax",
    ]);
    assert_eq!((code, &found["series"][0]["changes"][0]["acknowledged"]), (0, &"safer softmax".into()));
    assert_eq!(found["files"]["known"], 60);
    // The other metric's change is still unknown.
    assert_eq!(look(&[]).0, 10);
    for wrong in ["", "000000000027"] {
        let (code, _, said) = look(&["--acknowledge", wrong]);
        assert!(code == 2 && said.contains("changes begin at 000000000028"), "{code}: {said}");
    }
    let whole = format!("000000000028{}", "a".repeat(28));
    assert_eq!(look(&["--acknowledge", &whole]).0, 0);
    assert_eq!(look(&["--reindex"]).1["files"]["read"], 60);

    let page = here.bench.folder().join("page.html");
    let ran = here.bench.run(&["regress", "history", folder, "--html", page.to_str().expect("text")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for needle in [
        "decode_tokens_per_second tg4",
        "between 000000000027 (2026-02-12) and 000000000028",
        "safer softmax",
    ] {
        assert!(ran.stdout.contains(needle), "no {needle} in\n{}", ran.stdout);
    }
    let page = fs::read_to_string(page).expect("written");
    assert!(page.contains("safer softmax") && page.contains("<svg") && !page.contains("http"), "{page}");
    // The page says of what its figures are, and has a drawing for a phone.
    let model = here.record["model"]["name"].as_str().expect("a name");
    assert!(page.contains(model) && page.contains("tokens/s") && page.contains("class=\"narrow\""), "{page}");

    let (code, _, said) = {
        let ran = here.bench.run(&["regress", "history", "/nowhere"]);
        (ran.code, ran.stdout, ran.stderr)
    };
    assert!(code == 13 && said.contains("/nowhere") && said.contains("bench run"), "{said}");
    for (given, word) in [(["--metric", "nosuch"], "--metric nosuch"), (["--series", "zzz"], "--series zzz")]
    {
        let ran = here.bench.run(&[&["regress", "history", folder], &given[..]].concat());
        assert!(ran.code == 11 && ran.stdout.contains(word), "{}: {}", ran.code, ran.stdout);
    }
    assert_eq!(look(&["--least-points", "0"]).0, 2);
    fs::write(Path::new(folder).join("acknowledged.toml"), "[[change]]\nlabe = 1\n").expect("written");
    let (code, _, said) = look(&[]);
    assert!(code == 1 && said.contains("acknowledged.toml") && said.contains("labe"), "{said}");
}
