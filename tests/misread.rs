//! Files of other tools that were misread once, and folders that hold a record twice: what is said of each kind now.

use std::path::Path;

use infercost::base::redact;
use serde_json::Value;

use crate::support::{Bench, Ran};

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exchange").join(name);
    path.to_string_lossy().into_owned()
}

fn text(name: &str) -> String {
    std::fs::read_to_string(data(name)).expect("a file")
}

/// Imports a file's text; the one record, and what was said on the way.
fn of_text(bench: &Bench, text: &str, more: &[&str]) -> (Value, Ran) {
    let file = bench.file("given.json", text.as_bytes());
    let file = file.to_str().expect("a path");
    let ran = bench.run(&[&["import", file, "-o", "-"], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    (serde_json::from_str(&ran.stdout).expect("one record"), ran)
}

fn imported(bench: &Bench, name: &str, more: &[&str]) -> (Value, Ran) {
    of_text(bench, &text(name), more)
}

fn gpus(record: &Value) -> Vec<&str> {
    let gpus = record["environment"]["gpus"].as_array().expect("a list");
    gpus.iter().map(|gpu| gpu["name"].as_str().expect("a name")).collect()
}

fn hour(record: &Value) -> Option<f64> {
    record["cost"]["price"]["usd_per_hour"].as_f64()
}

fn measured<'a>(record: &'a Value, metric: &str) -> &'a Value {
    let all = record["measurements"].as_array().expect("measurements");
    all.iter().find(|m| m["metric"] == metric).unwrap_or_else(|| panic!("no {metric}"))
}

fn near(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
}

#[test]
fn what_the_run_used_is_billed_and_not_what_the_machine_has() {
    let bench = Bench::new();
    let file = text("llama-bench-devices.json");
    let one = hour(&imported(&bench, "llama-bench-devices.json", &[]).0).expect("the price of one");
    let all = file.replace("\"devices\": \"CUDA0\"", "\"devices\": \"auto\"");
    let (four, _) = of_text(&bench, &all, &[]);
    assert_eq!(gpus(&four).len(), 4);
    near(&four["cost"]["price"]["usd_per_hour"], 4.0 * one);
    for (name, of) in [
        ("llama-bench-devices.json", "`devices` is CUDA0"),
        ("llama-bench-tensor-split.json", "`tensor_split` is 1/0/0/0"),
    ] {
        let (record, ran) = imported(&bench, name, &[]);
        assert_eq!(gpus(&record), ["NVIDIA H100 80GB HBM3"], "{name}");
        near(&record["cost"]["price"]["usd_per_hour"], one);
        let said = format!("the machine has 4 × NVIDIA H100 80GB HBM3, and {of}: 1 counted");
        assert!(ran.stderr.contains(&said), "{}", ran.stderr);
        assert!(record["imported"]["notes"].to_string().contains(of), "{}", record["imported"]["notes"]);
    }
    for cpu in ["\"devices\": \"none\"", "\"devices\": \"auto\", \"n_gpu_layers\": 0"] {
        let (record, _) = of_text(&bench, &file.replace("\"devices\": \"CUDA0\"", cpu), &[]);
        assert_eq!((gpus(&record).len(), &record["engine"]["device"]), (0, &"cpu".into()), "{cpu}");
        assert!(hour(&record).is_none(), "{cpu}");
    }
    // An integrated GPU next to the card, and a second card of another kind that was used as well.
    let two = |other: &str| {
        let names =
            "NVIDIA H100 80GB HBM3, NVIDIA H100 80GB HBM3, NVIDIA H100 80GB HBM3, NVIDIA H100 80GB HBM3";
        all.replace(names, &format!("NVIDIA H100 80GB HBM3, {other}"))
    };
    let (record, ran) = of_text(&bench, &two("AMD Radeon Graphics (RADV RENOIR)"), &[]);
    near(&record["cost"]["price"]["usd_per_hour"], one);
    assert!(ran.stderr.contains("not counted, integrated: AMD Radeon Graphics"), "{}", ran.stderr);
    let (record, _) = of_text(&bench, &two("NVIDIA A100-SXM4-80GB"), &[]);
    assert_eq!(gpus(&record).len(), 2);
    assert!(hour(&record).is_some_and(|usd| usd > one), "both are paid for");
    let (record, ran) = of_text(&bench, &two("NVIDIA A100-SXM4-80GB"), &["--gpu", "h100"]);
    near(&record["cost"]["price"]["usd_per_hour"], one);
    assert!(ran.stderr.contains("not counted, of another kind: 1 GPU"), "{}", ran.stderr);
}

#[test]
fn a_count_on_the_command_line_is_taken_and_another_kind_refused() {
    let bench = Bench::new();
    let (record, ran) = imported(&bench, "llama-bench-devices.json", &["--gpus", "2"]);
    assert_eq!(gpus(&record).len(), 2);
    assert!(ran.stderr.contains("the file says 1 GPU, but --gpus says 2, which is used"), "{}", ran.stderr);
    let evidence = record["validity"]["checks"][0]["evidence"].as_str().expect("words");
    assert!(evidence.contains("--gpus says 2"), "{evidence}");
    let other = bench.run(&["import", &data("llama-bench-devices.json"), "--gpu", "a100", "--gpus", "1"]);
    assert!(other.code == 2 && other.stderr.contains("--gpu says a100"), "{}", other.stderr);
    // A server of SGLang that tells its settings says how many GPUs it has, and not which.
    let server = "\"server_info\": {\"model_path\": \"meta-llama/Llama-3.1-8B-Instruct\", \"version\": \"0.5.23\", \"tp_size\": 4, \"dp_size\": 4, \"pp_size\": 2, \"enable_dp_attention\": true}";
    let told = text("sglang-serving.jsonl").replacen("\"server_info\": null", server, 1);
    let (record, _) = of_text(&bench, &told, &["--gpu", "h100"]);
    assert_eq!(gpus(&record).len(), 8);
    let (record, _) = of_text(&bench, &told, &[]);
    let reason = record["environment"]["gpus_reason"].as_str().expect("a reason");
    assert!(reason.contains("8 GPUs but not which model"), "{reason}");
}

#[test]
fn the_tool_is_told_by_marks_of_its_own_and_the_date_is_the_files() {
    let bench = Bench::new();
    for (name, format, tool, created) in [
        ("vllm-serve-0.4.json", "vllm-serve-json", "vllm bench serve", "2024-05-22T09:00:00Z"),
        ("aiperf-early.json", "aiperf-json", "aiperf", "2025-10-15T06:00:01.123456Z"),
        ("guidellm-0.4.json", "guidellm-json", "guidellm", "2026-11-24T01:54:06.536Z"),
        ("guidellm-0.3.json", "guidellm-json", "guidellm", "2025-07-01T09:00:00.25Z"),
    ] {
        let (record, _) = imported(&bench, name, &[]);
        assert_eq!(record["imported"]["format"], format, "{name}");
        assert_eq!(record["imported"]["tool"], tool, "{name}");
        assert_eq!(record["created"], created, "{name}");
        assert_eq!(record["imported"]["measured"], record["created"], "{name}");
    }
    let (old, _) = imported(&bench, "vllm-serve-0.4.json", &[]);
    near(&measured(&old, "total_tokens_per_second")["value"], 900.0);
    assert_eq!(measured(&old, "time_to_first_token_seconds")["formula"], "vllm.serve.ttft/1");
    let (early, _) = imported(&bench, "aiperf-early.json", &[]);
    assert_eq!(
        (&early["imported"]["requests_completed"], &early["imported"]["requests_failed"]),
        (&80.into(), &7.into())
    );
    assert!(
        early["validity"]["checks"].to_string().contains("7 of 87 requests failed"),
        "{}",
        early["validity"]
    );
    let (old, _) = imported(&bench, "guidellm-0.3.json", &[]);
    assert_eq!(old["model"]["catalog_id"], "smollm2-135m");
    assert_eq!(old["imported"]["requests_failed"], 1);
    assert!(old["imported"]["notes"].to_string().contains("TPOT"), "{}", old["imported"]["notes"]);
    assert!(!old["measurements"].to_string().contains("guidellm.time_per_output_token"), "another formula");
    // The first releases of vLLM wrote the rate of requests under a name of its own.
    let first = text("vllm-serve-0.4.json").replace("\"request_throughput\"", "\"request_inthroughput\"");
    near(&measured(&of_text(&bench, &first, &[]).0, "requests_per_second")["value"], 2.0);
    // With the marks of neither client it is not guessed whose it is, and a flag says it.
    let bare =
        text("vllm-serve-0.4.json").replace("\"tokenizer_id\"", "\"x\"").replace("\"best_of\"", "\"y\"");
    let bare = bench.file("bare.json", bare.as_bytes());
    let bare = bare.to_str().expect("a path");
    let refused = bench.run(&["import", bare]);
    assert!(refused.code == 1 && refused.stderr.contains("--input-format"), "{}", refused.stderr);
    assert_eq!(bench.run(&["import", bare, "--input-format", "vllm-serve"]).code, 0);
    // Rows of two tools are not rows of the first one.
    let mixed = format!("{}\n{}", text("vllm-serve-0.4.json"), text("aiperf-early.json"));
    let mixed = bench.run(&["import", bench.file("mixed.json", mixed.as_bytes()).to_str().expect("a path")]);
    assert!(mixed.code == 1 && mixed.stderr.contains("split them into separate files"), "{}", mixed.stderr);
}

#[test]
fn rows_that_are_no_cell_are_left_out_counted_and_named() {
    let bench = Bench::new();
    let (record, ran) = imported(&bench, "inferencex-agentic.json", &[]);
    near(&measured(&record, "total_tokens_per_second")["value"], 3600.0);
    let kept = &record["imported"];
    assert_eq!(kept["rows_left_out_count"], 1);
    let named = kept["rows_left_out"][0].as_str().expect("a name");
    assert!(named.starts_with("row 1: `scenario_type` is `agentic-coding`"), "{named}");
    assert!(ran.stderr.contains("1 row left out: row 1: `scenario_type`"), "{}", ran.stderr);
    let rows: Vec<Value> = serde_json::from_str(&text("inferencex-agentic.json")).expect("JSON");
    let only = bench.file("only.json", serde_json::json!([rows[0], rows[0]]).to_string().as_bytes());
    let only = bench.run(&["import", only.to_str().expect("a path")]);
    assert!(
        only.code == 1 && only.stderr.contains("none of its 2 rows is a benchmark cell"),
        "{}",
        only.stderr
    );

    let (record, _) = imported(&bench, "inferencex-power.json", &[]);
    let kept = &record["imported"];
    assert_eq!(kept["rows_left_out_count"], 3);
    let named = kept["rows_left_out"].to_string();
    for part in ["row 4: `tput_per_gpu` is 0", "row 5: `error` is `torch.OutOfMemoryError", "row 6: `task`"] {
        assert!(named.contains(part), "{part} in {named}");
    }
    let evidence = record["validity"]["checks"][0]["evidence"].as_str().expect("words");
    assert!(
        evidence.contains("left out: 1 row of dead runs, 1 row with an error, 1 row of evaluations"),
        "{evidence}"
    );
    // A dead run among others of vLLM, SGLang and llama-bench loses nothing else.
    let serve: Value = serde_json::from_str(&text("vllm-serve.json")).expect("JSON");
    let mut dead = serve.clone();
    dead["completed"] = 0.into();
    let lines = format!("{serve}\n{dead}\n");
    let (record, _) = of_text(&bench, &lines, &["--model", "smollm2-135m"]);
    assert!(
        record["imported"]["rows_left_out"][0]
            .as_str()
            .is_some_and(|row| row.starts_with("line 2: `completed` is 0"))
    );
    let rows: Vec<Value> = serde_json::from_str(&text("llama-bench.json")).expect("JSON");
    let mut dead = rows[1].clone();
    dead["samples_ns"] = serde_json::json!([]);
    dead["avg_ns"] = 0.into();
    dead["n_gen"] = 4096.into();
    let (record, _) = of_text(&bench, &serde_json::json!([rows[0], dead, rows[1]]).to_string(), &[]);
    assert_eq!(
        (&record["imported"]["rows_left_out_count"], record["workload"]["rows"].as_array().map(Vec::len)),
        (&1.into(), Some(2))
    );
    // A row that says what cannot be is still an error.
    let wrong = serde_json::json!([rows[0], { "n_prompt": -1, "n_gen": 0, "avg_ns": 5 }]).to_string();
    assert_eq!(
        bench.run(&["import", bench.file("wrong.json", wrong.as_bytes()).to_str().expect("a path")]).code,
        1
    );
}

#[test]
fn power_that_its_tool_found_valid_is_taken() {
    let bench = Bench::new();
    let (record, ran) = imported(&bench, "inferencex-power.json", &["--price-per-hour", "10"]);
    let energy = &record["energy"];
    assert_eq!((&energy["grade"], &energy["scope"]), (&"C".into(), &"gpu".into()));
    let windows = energy["windows"].as_array().expect("windows");
    assert_eq!(windows.len(), 1, "one row of three has valid power");
    assert_eq!(windows[0]["cell"]["batch"], 64);
    near(&windows[0]["joules"], 735_000.0);
    near(&windows[0]["mean_watts"], 2450.0);
    near(&windows[0]["seconds"], 300.0);
    assert_eq!(windows[0]["output_tokens"], 540_000);
    near(&measured(&record, "power_watts")["value"], 2450.0);
    near(&measured(&record, "energy_joules")["value"], 735_000.0);
    let each = measured(&record, "joules_per_output_token_alone");
    near(&each["value"], 1.361_111);
    assert_eq!(each["formula"], "inferencex.joules_per_output_token/1");
    near(&measured(&record, "joules_per_total_token")["value"], 0.680_556);
    // The three ways to share the energy out are not added up into a bill of electricity.
    assert!(record["cost"]["electricity"].is_null(), "{}", record["cost"]["electricity"]);
    assert!(
        ran.stderr.contains("`power_valid` 0") && ran.stderr.contains("has no `power_valid`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_total_whose_lengths_nobody_recorded_still_has_a_price() {
    let bench = Bench::new();
    let more = ["--model", "llama-3.1-8b", "--price-per-hour", "3.60"];
    let (record, _) = imported(&bench, "vllm-throughput.json", &more);
    let rate = measured(&record, "total_tokens_per_second")["value"].as_f64().expect("a rate");
    let cost = &record["cost"];
    near(&cost["usd_per_million_total_tokens"]["value"], 3.60 / 3600.0 * 1e6 / rate);
    assert!(cost["usd_per_million_output_tokens"].is_null() && cost["headline_cell"].is_null(), "{cost}");
}

#[test]
fn a_rate_that_its_own_totals_contradict_is_named() {
    let bench = Bench::new();
    let said = imported(&bench, "vllm-serve-nan.json", &[]).1.stderr;
    let expected =
        "contradicts itself: `output_throughput` is 3.10, but total_output_tokens ÷ duration is 0.400";
    assert!(said.contains(expected), "{said}");
    for name in ["vllm-serve.json", "vllm-throughput.json", "sglang-serving.jsonl"] {
        let said = imported(&bench, name, &["--model", "smollm2-135m"]).1.stderr;
        assert!(!said.contains("contradicts"), "{name}: {said}");
    }
    let faster = text("vllm-throughput.json").replace("\"tokens_per_second\": ", "\"tokens_per_second\": 9");
    let said = of_text(&bench, &faster, &["--model", "smollm2-135m"]).1.stderr;
    assert!(said.contains("`tokens_per_second` is 9"), "{said}");
}

#[test]
fn a_figure_that_was_not_measured_is_null_with_its_reason() {
    let bench = Bench::new();
    let (record, _) = imported(&bench, "vllm-serve-nan.json", &[]);
    for metric in ["time_per_output_token_seconds", "inter_token_latency_seconds"] {
        let found = measured(&record, metric);
        let reason = found["value_reason"].as_str().expect("a reason");
        assert!(found["value"].is_null() && found["n"] == 0, "{found}");
        assert!(reason.contains("the file says NaN: a request has one output token"), "{reason}");
    }
    near(&measured(&record, "time_to_first_token_seconds")["value"], 2.185_983_452);
    // Zeros where nothing was measured, infinities and nulls in the other tools' files.
    let changed = |name: &str, path: &[&str], value: Value| {
        let mut file: Value = serde_json::from_str(&text(name).replace("Infinity", "0")).expect("JSON");
        let mut at = &mut file;
        for part in path {
            at = match part.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[*part],
            };
        }
        *at = value;
        of_text(&bench, &file.to_string(), &["--model", "smollm2-135m"]).0
    };
    let ttft = "time_to_first_token_seconds";
    for (name, path, metric) in [
        ("vllm-serve-0.4.json", vec!["mean_tpot_ms"], "time_per_output_token_seconds"),
        ("vllm-serve-0.4.json", vec!["mean_ttft_ms"], ttft),
        ("sglang-serving.jsonl", vec!["mean_tpot_ms"], "time_per_output_token_seconds"),
        ("aiperf.json", vec!["time_to_first_token", "avg"], ttft),
        ("trtllm-bench.json", vec!["streaming_metrics", "avg_ttft_ms"], ttft),
        ("inferencex.json", vec!["0", "mean_ttft"], ttft),
        (
            "guidellm.json",
            vec!["benchmarks", "0", "metrics", "time_to_first_token_ms", "successful", "mean"],
            ttft,
        ),
    ] {
        for value in [Value::Null, 0.into(), "NaN".into(), "Infinity".into()] {
            let record = changed(name, &path, value.clone());
            let found = measured(&record, metric);
            assert!(found["value"].is_null() && found["value_reason"].is_string(), "{name} {value}: {found}");
            assert!(hour(&record).is_some() || record["cost"]["price_reason"].is_string());
        }
    }
}

#[test]
fn failed_requests_are_in_no_distribution() {
    let bench = Bench::new();
    let file: Value = serde_json::from_str(&text("vllm-serve-failed.json")).expect("JSON");
    let mut without = file.clone();
    without.as_object_mut().expect("an object").remove("errors");
    let mut negative = without.clone();
    for index in 0..4 {
        negative["ttfts"][index] = (-1).into();
    }
    for file in [file, without, negative] {
        let (record, _) = of_text(&bench, &file.to_string(), &[]);
        for metric in [
            "time_to_first_token_seconds",
            "request_output_tokens",
            "request_input_tokens",
            "end_to_end_latency_seconds",
        ] {
            let found = measured(&record, metric);
            assert_eq!(found["n"], 6, "{metric}");
            let samples = found["samples"]["values"].as_array().expect("samples");
            assert!(
                samples.iter().all(|sample| sample.as_f64().is_some_and(|sample| sample > 0.0)),
                "{found}"
            );
        }
        assert_eq!(measured(&record, "inter_token_latency_seconds")["n"], 30);
        assert_eq!(record["imported"]["requests_failed"], 4);
    }
    // SGLang's client keeps the same lists.
    let mut file: Value =
        serde_json::from_str(&text("sglang-serving.jsonl").replace("Infinity", "0")).expect("JSON");
    file["completed"] = 7.into();
    file["errors"][3] = "connection reset".into();
    let (record, _) = of_text(&bench, &file.to_string(), &["--model", "smollm2-135m"]);
    assert_eq!(measured(&record, "time_to_first_token_seconds")["n"], 7);
}

#[test]
fn a_model_string_is_taken_apart_or_kept_as_it_is() {
    let bench = Bench::new();
    let scout = "llama4 17Bx16E (Scout) Q4_K - Medium";
    let (record, _) = imported(&bench, "llama-bench-scout.json", &[]);
    assert_eq!(record["model"]["quantization"], "Q4_K_M");
    assert_eq!(record["model"]["architecture"], "llama4");
    assert_eq!(record["imported"]["fields"]["model_type"], scout);
    let file = text("llama-bench-scout.json");
    let (record, ran) = of_text(&bench, &file.replace(scout, "llama 7B MOSTLY Q4_0"), &[]);
    assert_eq!(record["model"]["quantization"], "Q4_0");
    assert!(ran.stderr.contains("the file's name says Q4_K_M, but llama.cpp says Q4_0"), "{}", ran.stderr);
    let odd = file.replace(scout, "my own mixture").replace("-Q4_K_M-00001-of-00002.gguf", ".gguf");
    let (record, ran) = of_text(&bench, &odd, &[]);
    assert_eq!(record["imported"]["fields"]["model_type"], "my own mixture");
    for field in ["quantization", "architecture"] {
        assert!(record["model"][field].is_null(), "{}", record["model"]);
        assert!(record["model"][format!("{field}_reason")].is_string(), "{}", record["model"]);
    }
    assert!(ran.stderr.contains("its model string `my own mixture` does not match any"), "{}", ran.stderr);
}

#[test]
fn a_record_that_is_there_twice_is_counted_once() {
    let bench = Bench::new();
    let file = text("llama-bench.json");
    let import = |file: &str, usd: &str| of_text(&bench, file, &["--price-per-hour", usd]).0;
    let one = import(&file, "1");
    // A run of the day after.
    let other = import(&file.replace("2026-11-24T", "2026-11-25T"), "1");
    bench.file("kept/one.json", one.to_string().as_bytes());
    bench.file("kept/again.json", serde_json::to_string_pretty(&one).expect("JSON").as_bytes());
    bench.file("kept/old/one.json", one.to_string().as_bytes());
    bench.file("kept/other.json", other.to_string().as_bytes());
    std::os::unix::fs::symlink("one.json", bench.folder().join("kept/link.json")).expect("a link");
    let count = |ran: &Ran| ran.stderr.matches("counted once").count();

    let ran = bench.run(&["cost", "--json", "kept"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((found["records"].as_array().map(Vec::len), count(&ran)), (Some(2), 3), "{}", ran.stderr);
    let named = ["kept/one.json", "kept/link.json", "kept/other.json", "kept/old/one.json"];
    let ran = bench.run(&[&["compare", "--json"], &named[..]].concat());
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((found["comparisons"].as_array().map(Vec::len), count(&ran)), (Some(1), 2), "{}", ran.stderr);
    let ran = bench.run(&["export", "--format", "llama-bench", "kept"]);
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((rows.len(), count(&ran)), (4, 3), "two records of two rows");
    let ran = bench.run(&["regress", "history", "kept", "--json", "--least-points", "1"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&found["files"]["copies"], count(&ran)), (&3.into(), 3), "{}", ran.stderr);
    for line in found["series"].as_array().expect("series") {
        assert_eq!(line["n"], 2, "{line}");
    }
    // The same file imported again has an id of its own, and measured nothing again.
    bench.file("kept/reimported.json", import(&file, "1").to_string().as_bytes());
    let ran = bench.run(&["cost", "--json", "kept"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((found["records"].as_array().map(Vec::len), count(&ran)), (Some(2), 4), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("are one measurement, given.json imported twice; counted once"),
        "{}",
        ran.stderr
    );
    let ran = bench.run(&["regress", "history", "kept", "--json", "--least-points", "1"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    for line in found["series"].as_array().expect("series") {
        assert_eq!(line["n"], 2, "{line}");
    }
    // At another price it is priced as well.
    bench.file("kept/repriced.json", import(&file, "2").to_string().as_bytes());
    let ran = bench.run(&["cost", "--json", "kept"]);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(found["records"].as_array().map(Vec::len), Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("imported twice, at two prices; both are used"), "{}", ran.stderr);
    // Two records that differ and claim one id are both taken, and said to be so.
    let mut changed = one;
    changed["created"] = "2026-01-01T00:00:00Z".into();
    let changed = bench.file("changed.json", changed.to_string().as_bytes());
    let ran = bench.run(&["cost", "--json", "kept/one.json", changed.to_str().expect("a path")]);
    assert!(ran.code == 0 && ran.stderr.contains("but differ; both are used"), "{}", ran.stderr);
}

#[test]
fn what_a_folder_has_besides_records_is_named_however_it_is_broken() {
    let bench = Bench::new();
    let whole = imported(&bench, "llama-bench.json", &["--price-per-hour", "1"]).0.to_string();
    bench.file("kept/one.json", whole.as_bytes());
    let cut = |bytes: usize| whole.as_bytes()[..bytes].to_vec();
    // One record proves nothing, broken files or none.
    let history = ["regress", "history", "kept", "--least-points", "1"];
    let code = bench.run(&history).code;
    for (name, bytes) in
        [("a.json", cut(900)), ("b.json", cut(15)), ("c.json", b"{}".to_vec()), ("d.json", b"junk".to_vec())]
    {
        let path = bench.file(&format!("kept/{name}"), &bytes);
        for args in [["cost", "kept"], ["compare", "kept"]] {
            let ran = bench.run(&args);
            assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
            assert!(ran.stderr.contains(&format!("kept/{name}: left out, ")), "{name}: {}", ran.stderr);
        }
        let ran = bench.run(&history);
        let said = ran.stderr.contains(&format!("{name}: left out, "));
        assert!(ran.code == code && said, "{name}: {} {}", ran.code, ran.stderr);
        // Alone in a folder, or named itself, it is an error.
        bench.file("alone/x.json", &bytes);
        for args in [["cost", "alone"], ["cost", path.to_str().expect("a path")]] {
            let ran = bench.run(&args);
            assert_eq!(ran.code, 1, "{name}: {}", ran.stderr);
        }
        std::fs::remove_file(path).expect("removed");
    }
    // Other files of this program are no accident.
    bench.file("kept/verdict.json", br#"{"schema": "infercost.gate/1"}"#);
    let ran = bench.run(&["cost", "kept"]);
    assert!(ran.code == 0 && !ran.stderr.contains("left out"), "{}", ran.stderr);
}

/// Exports a record in another tool's words.
fn exported(bench: &Bench, record: &Value, format: &str) -> Value {
    let path = bench.file("record.json", record.to_string().as_bytes());
    bench.json(&["export", path.to_str().expect("a path"), "--format", format])
}

#[test]
fn an_export_says_nothing_that_was_not_measured() {
    let bench = Bench::new();
    // InferenceX has means by request and rates, and neither the run's length nor its requests.
    let (record, _) = imported(&bench, "inferencex-power.json", &[]);
    let path = bench.file("record.json", record.to_string().as_bytes());
    let ran = bench.run(&["export", path.to_str().expect("a path"), "--format", "vllm"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let objects: Vec<Value> = ran.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(!objects.is_empty(), "{}", ran.stdout);
    for object in &objects {
        for name in [
            "date",
            "duration",
            "completed",
            "num_prompts",
            "total_input_tokens",
            "total_output_tokens",
            "ttfts",
            "latencies",
            "request_rate",
            "request_throughput",
        ] {
            assert!(object.get(name).is_none(), "{name} in {object}");
        }
        assert!(object["output_throughput"].as_f64().is_some_and(|rate| rate > 0.0), "{object}");
        assert!(object["mean_ttft_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{object}");
    }
    // vLLM's own file has all of it.
    let (record, _) = imported(&bench, "vllm-serve.json", &["--model", "smollm2-135m"]);
    let object = exported(&bench, &record, "vllm");
    let said: Value =
        serde_json::from_str(&text("vllm-serve.json").replace("Infinity", "null")).expect("JSON");
    for name in ["date", "completed", "num_prompts", "total_input_tokens", "total_output_tokens", "ttfts"] {
        assert_eq!(object[name], said[name], "{name}");
    }
    near(&object["duration"], said["duration"].as_f64().expect("seconds"));
    // Rows of other tools as llama-bench's: whose program it was and how far its trials lay apart is not known.
    let more = ["--model", "smollm2-135m:q4_1"];
    let lines = text("llama-batched-bench-shared.jsonl");
    let (record, _) = of_text(&bench, lines.lines().next().expect("a line"), &more);
    let rows = exported(&bench, &record, "llama-bench");
    for name in ["build_commit", "cpu_info", "gpu_info", "test_time", "stddev_ns", "samples_ns"] {
        assert!(rows[0].get(name).is_some_and(Value::is_null), "{name} in {rows}");
    }
    // Without samples in the file there are none in the export, and it is still a run of the CPU.
    let file = data("llama-bench.csv");
    let record = bench.json(&["import", &file, "-o", "-"]);
    let rows = exported(&bench, &record, "llama-bench");
    assert!(rows[0]["samples_ns"].is_null() && rows[0]["stddev_ns"].is_null(), "{rows}");
    assert_eq!(rows[0]["build_commit"], "sdist");
}

#[test]
fn a_part_of_a_gpu_has_no_price_of_a_whole_one() {
    let bench = Bench::new();
    let file = text("llama-bench-devices.json").replace("\"CUDA0\"", "\"auto\"");
    let of = |gpus: &str| file.replace(&["NVIDIA H100 80GB HBM3"; 4].join(", "), gpus);
    for (name, kind) in
        [("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "a MIG slice"), ("GRID A100-10C", "a virtual GPU")]
    {
        for more in [vec![], vec!["--gpu", "a100"]] {
            let (record, _) = of_text(&bench, &of(name), &more);
            assert_eq!(hour(&record), None, "{name} {more:?}");
            let reason = record["cost"]["price_reason"].as_str().expect("a reason");
            assert!(reason.contains(kind) && reason.contains("--price-per-hour"), "{reason}");
            assert!(record["environment"]["gpus"][0]["catalog_id"].is_null(), "{name}");
        }
        let (record, _) = of_text(&bench, &of(name), &["--price-per-hour", "0.4"]);
        assert_eq!(hour(&record), Some(0.4), "{name}");
    }
    // A card that the catalog does not have is not another one.
    let path = bench.file("other.json", of("H100, Tesla K80").as_bytes());
    let path = path.to_str().expect("a path");
    for gpu in ["a100", "l4"] {
        let ran = bench.run(&["import", path, "--gpu", gpu, "-o", "-"]);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains("--price-per-hour USD sets the rent"), "{}", ran.stderr);
    }
    let path = bench.file("k80.json", of("Tesla K80").as_bytes());
    let ran = bench.run(&["import", path.to_str().expect("a path"), "--gpu", "a100", "-o", "-"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("`Tesla K80`, which is not in the catalog"),
        "{}",
        ran.stderr
    );
    // One that names no model may be.
    let (record, ran) = of_text(&bench, &of("NVIDIA Graphics Device"), &["--gpu", "h100"]);
    assert!(
        hour(&record).is_some() && ran.stderr.contains("priced as --gpu h100-sxm5-80gb"),
        "{}",
        ran.stderr
    );
    // A device over RPC is on another machine, whatever this one has.
    let (record, ran) = of_text(&bench, &of("NVIDIA H100 80GB HBM3, RPC[10.0.0.1:50052]"), &[]);
    assert!(hour(&record).is_none() && ran.stderr.contains("on another machine"), "{}", ran.stderr);
    // The family alone: which of its cards was taken.
    let (_, ran) = imported(&bench, "vllm-serve.json", &["--gpu", "a100", "--model", "smollm2-135m"]);
    assert!(
        ran.stderr.contains("--gpu a100 means a100-sxm4-40gb here; it may also be a100-sxm4-80gb"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_deployment_without_gpus_or_lengths_is_no_cell() {
    let bench = Bench::new();
    let rows: Value = serde_json::from_str(&text("inferencex.json")).expect("JSON");
    for (field, reason) in
        [("tp", "`tp` is 0, so the number of GPUs is unknown"), ("isl", "`isl` is 0"), ("osl", "`osl` is 0")]
    {
        let mut changed = rows.clone();
        changed[1][field] = 0.into();
        let (record, ran) = of_text(&bench, &changed.to_string(), &[]);
        assert!(ran.stderr.contains("2 rows left out") && ran.stderr.contains(reason), "{}", ran.stderr);
        // The file has a disaggregated row as well.
        assert_eq!(record["imported"]["rows_left_out_count"], 2);
    }
    // SGLang's sizes count the GPUs of all nodes together.
    let mut line: Value = serde_json::from_str(
        &text("sglang-serving.jsonl").lines().next().expect("a line").replace("Infinity", "null"),
    )
    .expect("JSON");
    let mut of = |tensor: u32, nodes: u32| {
        line["server_info"] =
            serde_json::json!({ "tp_size": tensor, "nnodes": nodes, "pp_size": 1, "dp_size": 1 });
        of_text(&bench, &line.to_string(), &["--gpu", "h100-sxm5-80gb", "--model", "smollm2-135m"])
    };
    let (record, ran) = of(16, 2);
    assert_eq!(gpus(&record).len(), 16);
    assert!(ran.stderr.contains("the server ran on 2 nodes, 16 GPUs in total"), "{}", ran.stderr);
    let (_, ran) = of(3, 2);
    assert!(ran.stderr.contains("cannot be divided among `nnodes` 2"), "{}", ran.stderr);
}

#[test]
fn what_stands_before_each_line_of_a_log_is_left_out() {
    let bench = Bench::new();
    let plain = imported(&bench, "llama-bench.json", &[]).0;
    for prefix in ["0: ", "2026-11-24T02:01:26.123456789Z ", "bench-1  | "] {
        let logged: String = text("llama-bench.json").lines().flat_map(|line| [prefix, line, "\n"]).collect();
        let (record, ran) = of_text(&bench, &format!("srun: job 17 queued\n{logged}"), &[]);
        assert_eq!(record["measurements"], plain["measurements"], "{prefix}");
        assert!(ran.stderr.contains("left out before each line: the log prefix"), "{}", ran.stderr);
    }
}

#[test]
fn what_is_no_result_says_what_to_do_with_it() {
    let bench = Bench::new();
    let record = imported(&bench, "llama-bench.json", &[]).0.to_string();
    std::fs::create_dir_all(bench.folder().join("folder")).expect("a folder");
    let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/prices");
    for (name, bytes, expected) in [
        (
            "r.json.gz",
            b"\x1f\x8b\x08\x00\x00".to_vec(),
            "it is compressed (gzip); unpack it first: gunzip -k FILE",
        ),
        ("record.json", record.into_bytes(), "it is already a record of this program"),
        (
            "model.gguf",
            b"GGUF\x03\x00\x00\x00".to_vec(),
            "it is a model; measure it with `bench run --model FILE`",
        ),
        (
            "litellm.json",
            std::fs::read(prices.join("litellm.json")).expect("a file"),
            "import it with `bench catalog update --from FILE`",
        ),
        (
            "vms.csv",
            std::fs::read(prices.join("skypilot/lambda/vms.csv")).expect("a file"),
            "import it with `bench catalog update --from FILE`",
        ),
    ] {
        let path = bench.file(name, &bytes);
        let ran = bench.run(&["import", path.to_str().expect("a path")]);
        assert!(ran.code == 1 && ran.stderr.contains(expected), "{name}: {} {}", ran.code, ran.stderr);
    }
    let ran = bench.run(&["import", "folder"]);
    assert!(ran.code == 1 && ran.stderr.contains("it is a folder; name the files in it"), "{}", ran.stderr);
    let ran = bench.run(&["catalog", "update", "--from", &data("vllm-serve.json")]);
    assert!(
        ran.code == 1 && ran.stderr.contains("import results with `bench import FILE`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_record_without_cells_says_why_it_has_no_price() {
    let bench = Bench::new();
    let (record, _) =
        imported(&bench, "vllm-latency.json", &["--model", "smollm2-135m", "--price-per-hour", "1"]);
    let reason = record["cost"]["usd_per_million_output_tokens_reason"].as_str().expect("a reason");
    assert!(reason.contains("vllm bench latency does not record the lengths"), "{reason}");
    let path = bench.file("latency.json", record.to_string().as_bytes());
    let ran = bench.run(&["cost", path.to_str().expect("a path")]);
    assert!(
        ran.stdout.contains("does not record the lengths") && !ran.stdout.contains("(-p)"),
        "{}",
        ran.stdout
    );
}

/// Redaction takes nothing out of what the tools really write: their files have no secrets in them.
#[test]
fn real_files_lose_nothing() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut folders = ["exchange", "prices", "records"].map(|folder| data.join(folder)).to_vec();
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            read += 1;
            assert_eq!(redact::text(&text), text, "{}", path.display());
            for line in std::iter::once(text.as_str()).chain(text.lines()) {
                let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
                let mut left_out = Vec::new();
                assert_eq!(redact::value("", value.clone(), &mut left_out), value, "{}", path.display());
                assert_eq!(left_out, Vec::<String>::new(), "{}", path.display());
            }
        }
    }
    assert!(read > 30, "{read} files");
}

/// A folder may be named after a key: no view shows its path as it is.
#[test]
fn a_path_with_a_secret_is_shown_without_it() {
    let bench = Bench::new();
    let folder = bench.folder().join("sk-EXAMPLE-do-not-share-123");
    std::fs::create_dir(&folder).expect("a folder");
    let to = folder.to_str().expect("a path");
    let ran = bench.run(&["import", &data("vllm-serve.json"), "-o", to]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("sk-EXAMPLE"), "{}{}", ran.stdout, ran.stderr);
    let svg = folder.join("x.svg");
    for args in [
        &["cost", to][..],
        &["cost", to, "--json"],
        &["cost", to, "--together", "--json"],
        &["compare", to],
        &["compare", to, "--json"],
        &["forecast", to, "--svg", svg.to_str().expect("a path")],
        &["forecast", to, "--json"],
        &["regress", "history", to],
        &["regress", "history", to, "--json"],
        &["cost", &format!("{to}/none.json")],
    ] {
        let ran = bench.run(args);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(!said.contains("sk-EXAMPLE"), "{args:?}: {said}");
    }
}
