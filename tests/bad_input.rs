//! Bad input: each a clear error with the way out, the exit code of the contract, no panic, and nothing
//! half-written.

use std::fs;
use std::process::Stdio;

use crate::support::{Bench, SMALL, quick};

/// Arguments, exit code, and words that the error must contain.
struct Bad {
    args: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

const TABLE: &[Bad] = &[
    Bad { args: &[], code: 2, says: &["Usage"] },
    Bad { args: &["fly"], code: 2, says: &["fly"] },
    Bad { args: &["run", "--flag-that-is-not"], code: 2, says: &["--flag-that-is-not"] },
    Bad { args: &["run", "--price-per-hour", "0"], code: 2, says: &["0", "from 0.000001 to 1,000,000"] },
    Bad { args: &["run", "--price-per-hour", "-2"], code: 2, says: &["-2"] },
    Bad { args: &["run", "--price-per-hour", "cheap"], code: 2, says: &["cheap", "2.49"] },
    Bad { args: &["run", "--price-per-hour", "NaN"], code: 2, says: &["NaN"] },
    Bad { args: &["run", "--precision", "0"], code: 2, says: &["share", "2%"] },
    Bad { args: &["run", "--precision", "150%"], code: 2, says: &["100%"] },
    Bad { args: &["run", "--max-time", "soon"], code: 2, says: &["soon", "60s"] },
    Bad { args: &["run", "--max-time", "-5s"], code: 2, says: &["-5s"] },
    Bad {
        args: &["run", "--tier", "publish", "--max-time", "60s"],
        code: 2,
        says: &["--max-time", "--tier"],
    },
    Bad { args: &["run", "--tier", "gold"], code: 2, says: &["gold", "nightly"] },
    Bad { args: &["run", "--repetitions", "0"], code: 2, says: &["0"] },
    Bad { args: &["run", "--repetitions", "-1"], code: 2, says: &["-1", "--repetitions"] },
    Bad { args: &["run", "-b", "-1"], code: 2, says: &["-1", "--batch"] },
    Bad { args: &["run", "-p", "-512"], code: 2, says: &["-512", "--prompt-tokens"] },
    Bad { args: &["run", "--power-limit", "-500"], code: 2, says: &["-500", "--power-limit"] },
    Bad { args: &["run", "-p", "many"], code: 2, says: &["many", "128-512"] },
    Bad { args: &["run", "-p", "512-128"], code: 2, says: &["512-128"] },
    Bad { args: &["run", "-p", "1-1000000"], code: 2, says: &["1000"] },
    Bad { args: &["run", "-p", "0", "-n", "0"], code: 2, says: &["nothing to measure"] },
    Bad { args: &["run", "-b", "0"], code: 2, says: &["at least 1"] },
    Bad { args: &["run", "--pg", "512"], code: 2, says: &["512,128"] },
    Bad { args: &["run", "--threads", "0"], code: 2, says: &["0"] },
    Bad { args: &["run", "--threads", "9999"], code: 1, says: &["--threads 9999", "logical processors"] },
    Bad { args: &["run", "--engine", "vllm"], code: 2, says: &["fused", "candle"] },
    Bad { args: &["run", "--isa", "avx10"], code: 2, says: &["avx10", "portable, avx2, avx512, avx512vnni"] },
    Bad {
        args: &["run", "--engine", "candle", "--isa", "avx2"],
        code: 2,
        says: &["--isa", "`fused`", "`candle`"],
    },
    Bad { args: &["run", "--engine", "candle", "--no-graphs"], code: 2, says: &["--no-graphs", "`fused`"] },
    Bad { args: &["run", "--device", "cpu", "--debug-kernels"], code: 2, says: &["--debug-kernels", "GPU"] },
    Bad { args: &["kernels", "check", "--device", "cpu"], code: 2, says: &["cuda or cuda:N"] },
    Bad { args: &["kernels", "check", "--model", "synthetic:llama-3.1-8b"], code: 2, says: &["--device"] },
    Bad { args: &["run", "--kv-type", "f8"], code: 2, says: &["f8", "f16"] },
    Bad { args: &["run", "--device", "gpu"], code: 2, says: &["gpu", "cuda"] },
    Bad { args: &["run", "--gpu", "h100"], code: 13, says: &["h100", "no NVIDIA GPU"] },
    Bad { args: &["run", "--gpu", "quantum-9"], code: 2, says: &["quantum-9"] },
    Bad { args: &["run", "--device", "cuda"], code: 13, says: &["cuda", "--device cpu"] },
    Bad { args: &["run", "--api", "nobody/nothing"], code: 2, says: &["nobody/nothing"] },
    Bad { args: &["run", "--model", ""], code: 2, says: &["empty"] },
    Bad { args: &["run", "--model", "no-such-model:q4_0"], code: 2, says: &["no-such-model"] },
    Bad { args: &["run", "--model", "no/such/file.gguf"], code: 13, says: &["no/such/file.gguf"] },
    Bad { args: &["run", "--model", "synthetic:smollm2-135m:q9_9"], code: 2, says: &["q9_9", "q8_0"] },
    Bad { args: &["run", "--model", "synthetic:gpt-9"], code: 2, says: &["gpt-9"] },
    Bad { args: &["run", "--model", "hf:org"], code: 13, says: &["org"] },
    Bad { args: &["run", "--model", "hf:org/repo/file.gguf"], code: 13, says: &["org/repo", "127.0.0.1"] },
    Bad { args: &["run", "--model", SMALL, "-p", "9000"], code: 1, says: &["9000", "positions"] },
    Bad {
        args: &["run", "--model", SMALL, "-p", "8", "-d", "100000"],
        code: 1,
        says: &["positions", "--depth"],
    },
    Bad { args: &["run", "--output", "/sys"], code: 1, says: &["/sys", "--output"] },
    Bad { args: &["run", "--output", "/dev/null/x"], code: 1, says: &["/dev/null", "--output"] },
    Bad { args: &["run", "--config", "/no/such/folder"], code: 13, says: &["/no/such/folder"] },
    Bad { args: &["cost"], code: 2, says: &["RECORD"] },
    Bad { args: &["cost", "nothing.json"], code: 13, says: &["nothing.json", "bench run"] },
    Bad { args: &["cost", "x.json", "--utilization", "0"], code: 2, says: &["share"] },
    Bad { args: &["cost", "x.json", "--utilization", "120%"], code: 2, says: &["100%"] },
    Bad { args: &["cost", "x.json", "--blend", "0:1"], code: 2, says: &["3:1"] },
    Bad { args: &["completions", "tcl"], code: 2, says: &["tcl"] },
];

#[test]
fn each_is_a_clear_error_with_the_way_out() {
    let bench = Bench::new();
    let mut wrong = Vec::new();
    for bad in TABLE {
        let ran = bench.run(bad.args);
        let mut complain =
            |what: &str| wrong.push(format!("{:?}: {what}\n{}{}", bad.args, ran.stdout, ran.stderr));
        if ran.code != bad.code {
            complain(&format!("exit code {} instead of {}", ran.code, bad.code));
        }
        if ran.stderr.contains("panicked") {
            complain("a panic reached the user");
        }
        for word in bad.says {
            if !ran.stderr.contains(word) {
                complain(&format!("`{word}` is not in the error"));
            }
        }
        if ran.stderr.trim().is_empty() {
            complain("nothing was said");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(bench.records(), Vec::<std::path::PathBuf>::new());
}

/// Files that are not what their name says.
#[test]
fn a_bad_model_file_is_named_with_its_fault() {
    let bench = Bench::new();
    let mut future = b"GGUF".to_vec();
    future.extend(99u32.to_le_bytes());
    future.extend([0; 16]);
    let mut billion = b"GGUF".to_vec();
    billion.extend(3u32.to_le_bytes());
    billion.extend(1_000_000_000u64.to_le_bytes());
    billion.extend(0u64.to_le_bytes());
    let mut lying = b"GGUF".to_vec();
    lying.extend(3u32.to_le_bytes());
    lying.extend(0u64.to_le_bytes());
    lying.extend(1u64.to_le_bytes());
    lying.extend(u64::MAX.to_le_bytes());
    for (name, content, says) in [
        ("empty.gguf", Vec::new(), "empty.gguf"),
        ("magic.gguf", b"GGML and then some more bytes".to_vec(), "magic"),
        ("future.gguf", future, "99"),
        ("billion.gguf", billion, "1000000000"),
        ("lying.gguf", lying, "lying.gguf"),
        ("text.gguf", b"<html>not found</html>".repeat(9), "web page"),
    ] {
        let path = bench.file(name, &content);
        let ran = bench.run(&["run", "--model", path.to_str().expect("a path")]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(says) && ran.stderr.contains(name), "{name}: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{name}: {}", ran.stderr);
    }
    fs::create_dir(bench.folder().join("folder")).expect("a folder");
    let ran = bench.run(&["run", "--model", "./folder"]);
    assert!(matches!(ran.code, 1 | 13) && ran.stderr.contains("config.json"), "{} {}", ran.code, ran.stderr);
}

#[test]
fn a_bad_record_is_named_with_its_field() {
    let bench = Bench::new();
    for (name, content, says) in [
        ("a.json", "not json", "not JSON"),
        ("b.json", "{}", "schema"),
        ("c.json", r#"{"schema":"infercost.record/9"}"#, "infercost.record/9"),
        ("d.json", r#"{"schema":"infercost.record/1"}"#, "missing field"),
    ] {
        bench.file(name, content.as_bytes());
        let ran = bench.run(&["cost", name]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(says) && ran.stderr.contains(name), "{name}: {}", ran.stderr);
    }
}

#[test]
fn an_invalid_record_is_refused_unless_asked_for() {
    let bench = Bench::new();
    let mut record = bench.json(&quick(&["--json", "--output", "-"]));
    record["validity"]["verdict"] = "invalid".into();
    record["validity"]["checks"][0]["verdict"] = "invalid".into();
    bench.file("invalid.json", record.to_string().as_bytes());
    let ran = bench.run(&["cost", "invalid.json"]);
    assert_eq!(ran.code, 12, "{}", ran.stderr);
    assert!(ran.stderr.contains("--allow-invalid"), "{}", ran.stderr);
    assert_eq!(bench.run(&["cost", "invalid.json", "--allow-invalid"]).code, 0);
}

#[test]
fn memory_is_estimated_before_loading() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "--model", "synthetic:llama-3-70b:f32", "--device", "cpu"]);
    // A machine with 300 GiB would really load it; none that runs this test by accident does.
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("GiB of memory") && ran.stderr.contains("available"), "{}", ran.stderr);
}

#[test]
fn a_full_disk_is_an_error_and_not_a_panic() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: this system has no /dev/full");
        return;
    };
    let bench = Bench::new();
    let mut command = bench.command(&quick(&[]));
    let output = command.args(["--json", "--output", "-"]).stdout(Stdio::from(full)).stderr(Stdio::piped());
    let output = output.output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("stdout") && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_reader_that_has_had_enough_is_no_error() {
    let bench = Bench::new();
    let mut child =
        bench.command(&["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
