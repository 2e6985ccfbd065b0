//! Command lines that people type and that are wrong: each is answered by one sentence that says what is wrong, the
//! value, what is supported and the way out.
//!
//! `tests/data/command-lines.txt` has them with the exit code and the words; after a change of words,
//! `UPDATE_COMMAND_LINES=1 cargo test --test outside command_lines` writes them anew, and the difference is read.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Bench, SMALL, quick};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/command-lines.txt");

/// Words of the parser, of Rust or of a trace, which mean nothing to the user.
const JARGON: [&str; 14] = [
    "panicked",
    "RUST_BACKTRACE",
    "unexpected argument",
    "unrecognized subcommand",
    "invalid value",
    "invalid digit",
    "is not in 1..",
    "For more information",
    "required arguments",
    "Usage:",
    "tip:",
    "Error(",
    "Some(",
    "os error 2)",
];

/// A folder with what the lines name.
fn folder() -> Bench {
    let bench = Bench::new();
    bench.file("model.gguf", b"GGUF\x03\0\0\0");
    bench.file("taken.json", b"{}");
    bench.file("text.txt", b"text");
    let rows = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/exchange/llama-bench.json");
    bench.file("llama-bench.json", &fs::read(rows).expect("a file"));
    bench
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn each_wrong_line_says_what_is_wrong_and_the_way_out() {
    let bench = folder();
    let there = names(bench.folder());
    let table = fs::read_to_string(TABLE).expect("the table");
    let lines: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("$ bench ")).collect();
    assert!(lines.len() >= 60, "{} lines", lines.len());
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    for line in &lines {
        let args: Vec<&str> = line.split(' ').collect();
        let ran = bench.run(&args);
        found.push(format!("$ bench {line}\nexit {}\n{}", ran.code, ran.stderr));
        let mut complain =
            |what: &str| wrong.push(format!("bench {line}: {what}\n{}{}", ran.stdout, ran.stderr));
        if !matches!(ran.code, 1 | 2 | 13) {
            complain("an exit code that says something else");
        }
        if !ran.stdout.is_empty() {
            complain("stdout is not empty");
        }
        if ran.stderr.lines().count() != 1 || !ran.stderr.starts_with("error: ") {
            complain("not one sentence");
        }
        for word in JARGON.iter().filter(|word| ran.stderr.contains(**word)) {
            complain(&format!("`{word}` is no word for a user"));
        }
        if names(bench.folder()) != there {
            complain("something was left in the folder");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let found = found.join("\n");
    if std::env::var_os("UPDATE_COMMAND_LINES").is_some() {
        fs::write(TABLE, found).expect("the table is written");
        return;
    }
    let blocks =
        |text: &str| -> Vec<String> { text.split("\n\n").map(|block| block.trim().to_owned()).collect() };
    let differ: Vec<String> = blocks(&table)
        .iter()
        .zip(blocks(&found))
        .filter(|(expected, found)| *expected != found)
        .map(|(expected, found)| format!("expected:\n{expected}\nfound:\n{found}\n"))
        .collect();
    assert!(table == found, "{}", differ.join("\n"));
}

/// What llama-bench's users type, and what they get: its rows, which come back as the same figures.
#[test]
fn rows_in_llama_benchs_words_come_back_as_the_same_figures() {
    let bench = Bench::new();
    for form in ["json", "jsonl", "csv", "md"] {
        let ran = bench.run(&quick(&["-pg", "8,4", "-o", form]));
        assert_eq!(ran.code, 0, "{form}: {}", ran.stderr);
        assert!(!bench.folder().join(form).exists(), "a folder called {form}");
        // The record is kept anyway, and its path is printed next to the rows.
        let kept = bench.records().pop().expect("a record");
        assert!(ran.stderr.contains("results/"), "{form}: {}", ran.stderr);
        let record: Value = serde_json::from_slice(&fs::read(&kept).expect("a file")).expect("JSON");
        fs::remove_file(kept).expect("removed");
        if form == "md" {
            assert!(ran.stdout.starts_with("| model "), "{}", ran.stdout);
            for row in ["pp8 |", "tg4 |", "pp8+tg4 |"] {
                assert!(ran.stdout.contains(row), "{row}: {}", ran.stdout);
            }
            continue;
        }
        let name = format!("rows.{form}");
        bench.file(&name, ran.stdout.as_bytes());
        let model = ["--model", "smollm2-135m:q4_0", "--price-per-hour", "2.49"];
        let again = bench.json(&[&["import", &name, "-o", "-"][..], &model].concat());
        for metric in ["prefill_tokens_per_second", "decode_tokens_per_second", "total_tokens_per_second"] {
            let value = |record: &Value| {
                let all = record["measurements"].as_array().expect("measurements");
                let found = all.iter().find(|one| one["metric"] == metric).expect(metric);
                found["value"].as_f64().expect("a value")
            };
            let (before, after) = (value(&record), value(&again));
            assert!((before / after - 1.0).abs() < 1e-6, "{form} {metric}: {before} and {after}");
        }
    }
}

#[test]
fn a_file_gets_the_record_once() {
    let bench = Bench::new();
    let ran = bench.run(&quick(&["-o", "x.json"]));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let first = fs::read(bench.folder().join("x.json")).expect("the record");
    assert_eq!(names(bench.folder()), ["x.json"]);
    assert_eq!(bench.run(&["cost", "x.json"]).code, 0);
    let ran = bench.run(&quick(&["--export-json", "x.json"]));
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("never overwritten"), "{}", ran.stderr);
    assert_eq!(fs::read(bench.folder().join("x.json")).expect("the record"), first);
}

#[test]
fn habits_of_other_tools_do_what_was_meant() {
    let bench = Bench::new();
    let plan = |args: &[&str]| bench.json(&[&["run", "--dry-run", "--json"], args].concat());
    for to in ["json", "-"] {
        let plan = bench.json(&["run", "--dry-run", "-p", "8", "-n", "4", "-b", "1", "-o", to, SMALL]);
        assert_eq!(plan["rows"].as_array().map(Vec::len), Some(2), "{plan}");
    }
    let ran = bench.run(&["run", "--dry-run", "-o", "csv", SMALL]);
    assert!(ran.code == 2 && ran.stderr.contains("a plan has no rows"), "{}", ran.stderr);
    let rows = |plan: &Value| -> Vec<String> {
        let rows = plan["rows"].as_array().expect("rows").iter();
        rows.map(|row| row["label"].as_str().expect("a label").to_owned()).collect()
    };
    // The model without a flag, lists with commas, layers on the CPU, a KV cache of 8 bits.
    let found = plan(&[
        SMALL, "-p", "512,1024", "-n", "64", "-ngl", "0", "-ctk", "q8_0", "-ctv", "q8_0", "-fa", "auto",
    ]);
    assert_eq!(rows(&found), ["pp512", "pp1024", "tg64"]);
    assert_eq!((&found["device"], &found["kv_type"]), (&"cpu".into(), &"q8_0".into()));
    let found =
        plan(&["-m", SMALL, "--input-len", "32", "--output-len", "16", "--max-seconds", "30", "--runs", "3"]);
    assert_eq!(rows(&found), ["pp32", "tg16"]);
    let ran = bench.run(&["run", SMALL, "-ngl", "99"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert!(ran.stderr.contains("--device cpu"), "{}", ran.stderr);
    for (args, says) in [
        (&["help", "run"][..], "--prompt-tokens"),
        (&["run", "--help"], "--prompt-tokens"),
        (&["help"], "Commands:"),
    ] {
        let ran = bench.run(args);
        assert!(ran.code == 0 && ran.stdout.contains(says), "{args:?}: {}", ran.stdout);
    }
    // llama-bench's `-b 2048` is another thing, and that is said.
    let ran = bench.run(&["run", SMALL, "--dry-run", "-b", "512"]);
    assert!(ran.stderr.contains("parallel sequences"), "{} {}", ran.stdout, ran.stderr);
}
