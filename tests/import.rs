//! `bench import` on the files of `tests/data/exchange`, `cost` on what it writes, and `export` back.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Bench, SMALL, ran};

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exchange").join(name);
    path.to_string_lossy().into_owned()
}

/// The one record of a file.
fn imported(bench: &Bench, name: &str, more: &[&str]) -> Value {
    let file = data(name);
    let mut args = vec!["import", &file, "--output", "-"];
    args.extend(more);
    bench.json(&args)
}

/// Metric, cell (prompt, output, batch, depth) and value of every figure that has a cell.
fn figures(record: &Value) -> Vec<(String, [u64; 4], f64)> {
    let found =
        record["measurements"].as_array().expect("measurements").iter().filter(|m| m["cell"].is_object());
    found
        .map(|m| {
            let cell = ["prompt_tokens", "output_tokens", "batch", "depth"]
                .map(|name| m["cell"][name].as_u64().expect("a count"));
            (m["metric"].as_str().expect("a name").to_owned(), cell, m["value"].as_f64().expect("a value"))
        })
        .collect()
}

fn value(record: &Value, metric: &str, cell: [u64; 4]) -> f64 {
    let found = figures(record).into_iter().find(|(name, at, _)| name == metric && *at == cell);
    found.unwrap_or_else(|| panic!("no {metric} at {cell:?} in {:?}", figures(record))).2
}

fn near(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-6, "{found} is not {expected}");
}

/// The samples of llama-bench.json's first row, read by eye: the mean of its times, not of its rates.
#[test]
fn llama_bench_in_four_forms_is_one_kind_of_record() {
    let bench = Bench::new();
    let json: Value =
        serde_json::from_str(&std::fs::read_to_string(data("llama-bench.json")).expect("a file"))
            .expect("JSON");
    let record = imported(&bench, "llama-bench.json", &[]);
    let samples = |row: usize| -> Vec<f64> {
        json[row]["samples_ns"].as_array().expect("samples").iter().filter_map(Value::as_f64).collect()
    };
    let mean = |samples: Vec<f64>| samples.iter().sum::<f64>() / samples.len() as f64 / 1e9;
    near(value(&record, "prefill_tokens_per_second", [32, 0, 1, 0]), 32.0 / mean(samples(0)));
    near(value(&record, "decode_tokens_per_second", [0, 8, 1, 0]), 8.0 / mean(samples(1)));
    assert_eq!(record["measurements"][0]["samples"]["values"].as_array().map(Vec::len), Some(2));
    assert_eq!(record["measurements"][0]["formula"], "llama-bench.pp/1");
    assert_eq!(record["model"]["catalog_id"], "smollm2-135m");
    assert_eq!(record["model"]["quantization"], "Q4_1");
    assert_eq!(record["model"]["parameters"], 134_515_008);
    assert_eq!(record["engine"]["version"], "11434 (sdist)");
    assert_eq!(record["engine"]["device"], "cpu");
    assert_eq!(record["imported"]["fields"]["n_ubatch"], 512);
    assert_eq!(record["imported"]["rows"][0]["avg_ts"], json[0]["avg_ts"]);
    assert_eq!(record["validity"]["verdict"], "suspect");

    for (name, form) in [("llama-bench.csv", "csv"), ("llama-bench.sql", "sql")] {
        let record = imported(&bench, name, &[]);
        assert_eq!(record["imported"]["format"], format!("llama-bench-{form}"));
        assert_eq!(record["model"]["parameters"], 134_515_008, "{name}");
        assert_eq!(figures(&record).len(), 2, "{name}");
        assert!(record["measurements"][0]["ci95_reason"].is_string(), "{name} has no samples");
    }
    // One setup, six tests: pp, tg and pg at two depths.
    let record = imported(&bench, "llama-bench.jsonl", &[]);
    let rows: Vec<&str> =
        record["workload"]["rows"].as_array().expect("rows").iter().filter_map(Value::as_str).collect();
    assert_eq!(rows.len(), 6, "{rows:?}");
    assert!(rows.contains(&"pp32+tg8 @ d16"), "{rows:?}");
    let joint = value(&record, "end_to_end_latency_seconds", [32, 8, 1, 16]);
    near(value(&record, "total_tokens_per_second", [32, 8, 1, 16]), 40.0 / joint);
}

#[test]
fn llama_batched_bench_is_priced_by_its_parts() {
    let bench = Bench::new();
    let more = ["--model", "smollm2-135m:q4_1", "--price-per-hour", "3.60"];
    let record = imported(&bench, "llama-batched-bench.jsonl", &more);
    let text = std::fs::read_to_string(data("llama-batched-bench.jsonl")).expect("a file");
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for row in &rows {
        let batch = row["pl"].as_u64().expect("a count");
        let cell = [32, 8, batch, 0];
        near(value(&record, "input_time_seconds", cell), row["t_pp"].as_f64().expect("seconds"));
        near(value(&record, "decode_tokens_per_second", cell), row["speed_tg"].as_f64().expect("a rate"));
        near(value(&record, "total_tokens_per_second", cell), row["speed"].as_f64().expect("a rate"));
        // At 3.60 USD an hour a second costs 0.001 USD.
        let mut priced = record["cost"]["cells"].as_array().expect("cells").iter();
        let priced = priced.rfind(|c| c["cell"]["batch"] == batch).expect("priced");
        let usd = row["t_pp"].as_f64().expect("seconds") * 1e-3 * 1e6 / (32.0 * batch as f64);
        near(priced["usd_per_million_input_tokens"]["value"].as_f64().expect("a price"), usd);
    }
    // A shared prompt is read once: a prompt row of one sequence, and output rows after it.
    let shared = imported(&bench, "llama-batched-bench-shared.jsonl", &more);
    near(value(&shared, "prefill_tokens_per_second", [32, 0, 1, 0]), 74.357_567);
    near(value(&shared, "decode_tokens_per_second", [0, 8, 2, 32]), 44.772_278);
    let without = bench.run(&["import", &data("llama-batched-bench.jsonl")]);
    assert_eq!(without.code, 2);
    assert!(without.stderr.contains("does not record which model"), "{}", without.stderr);
}

/// Real output of vLLM's and SGLang's own clients against a local server.
#[test]
fn clients_of_a_server_give_serving_cells() {
    let bench = Bench::new();
    for (name, formula) in
        [("vllm-serve.json", "vllm.serve.ttft/1"), ("sglang-serving.jsonl", "sglang.serving.ttft/1")]
    {
        let said: Value = serde_json::from_str(
            &std::fs::read_to_string(data(name)).expect("a file").replace("Infinity", "0"),
        )
        .expect("JSON");
        let record = imported(&bench, name, &["--model", "smollm2-135m"]);
        let cell = [40, 8, 2, 0];
        near(
            value(&record, "output_tokens_per_second", cell),
            said["output_throughput"].as_f64().expect("a rate"),
        );
        near(
            value(&record, "input_tokens_per_second", cell),
            320.0 / said["duration"].as_f64().expect("seconds"),
        );
        near(
            value(&record, "time_to_first_token_seconds", cell),
            said["mean_ttft_ms"].as_f64().expect("ms") / 1e3,
        );
        near(
            value(&record, "time_per_output_token_seconds", cell),
            said["mean_tpot_ms"].as_f64().expect("ms") / 1e3,
        );
        assert_eq!(record["imported"]["requests_completed"], 8, "{name}");
        let of = |metric: &str| {
            let all = record["measurements"].as_array().expect("measurements");
            all.iter().find(|m| m["metric"] == metric).expect("the metric").clone()
        };
        assert_eq!(of("time_to_first_token_seconds")["formula"], formula);
        assert_eq!(of("time_to_first_token_seconds")["samples"]["values"].as_array().map(Vec::len), Some(8));
        let gaps =
            said["itls"].as_array().expect("lists").iter().map(|list| list.as_array().map_or(0, Vec::len));
        assert_eq!(of("inter_token_latency_seconds")["n"], gaps.sum::<usize>());
        near(
            of("time_to_first_token_seconds")["p99"].as_f64().expect("p99"),
            said["p99_ttft_ms"].as_f64().expect("ms") / 1e3,
        );
        assert!(record["engine"]["name"].is_null(), "a client does not know what served it");
    }
}

/// Real output of guidellm and AIPerf; what they call TPOT and ITL goes where its formula belongs.
#[test]
fn guidellms_and_aiperfs_names_are_told_apart() {
    let bench = Bench::new();
    let said: Value =
        serde_json::from_str(&std::fs::read_to_string(data("guidellm.json")).expect("a file")).expect("JSON");
    let metrics = &said["benchmarks"][0]["metrics"];
    let mean = |name: &str| metrics[name]["successful"]["mean"].as_f64().expect(name);
    let record = imported(&bench, "guidellm.json", &[]);
    let cell = [40, 8, 2, 0];
    near(value(&record, "time_per_output_token_seconds", cell), mean("inter_token_latency_ms") / 1e3);
    near(value(&record, "latency_per_output_token_seconds", cell), mean("time_per_output_token_ms") / 1e3);
    // The whole latency over all tokens: (first token + 7 gaps) ÷ 8.
    let all = (mean("time_to_first_token_ms") + 7.0 * mean("inter_token_latency_ms")) / 8.0;
    assert!((all / mean("time_per_output_token_ms") - 1.0).abs() < 0.01, "guidellm's TPOT has TTFT in it");
    let seconds = said["benchmarks"][0]["duration"].as_f64().expect("seconds");
    near(value(&record, "output_tokens_per_second", cell), 64.0 / seconds);
    assert_eq!(record["imported"]["tool_version"], "0.8.1");
    assert_eq!(record["command"]["seed"], 42);

    let said: Value =
        serde_json::from_str(&std::fs::read_to_string(data("aiperf.json")).expect("a file")).expect("JSON");
    let average = |name: &str| said[name]["avg"].as_f64().expect(name);
    let record = imported(&bench, "aiperf.json", &[]);
    near(value(&record, "time_per_output_token_seconds", cell), average("inter_token_latency") / 1e3);
    near(value(&record, "inter_token_latency_seconds", cell), average("inter_chunk_latency") / 1e3);
    near(value(&record, "input_tokens_per_second", cell), average("input_token_throughput"));
    assert_eq!(record["imported"]["tool_version"], "0.13.0");
    assert_eq!(record["model"]["catalog_id"], "smollm2-135m");
    let older = imported(&bench, "genai-perf.json", &[]);
    near(value(&older, "input_tokens_per_second", [512, 128, 10, 0]), 4.0 * 512.0);
}

/// The published TensorRT-LLM figure: 3,378 output tokens a second at 128/128 for 2.49 USD an hour are 0.205 USD.
#[test]
fn the_published_figure_is_priced() {
    let bench = Bench::new();
    let record = imported(&bench, "trtllm-bench.json", &["--price-per-hour", "2.49"]);
    let usd = record["cost"]["usd_per_million_all_output_tokens"]["value"].as_f64().expect("a price");
    near(usd, 2.49 / 3600.0 / 3378.0 * 1e6);
    assert!((usd - 0.205).abs() < 0.0005, "{usd}");
    assert_eq!(record["environment"]["gpus"][0]["catalog_id"], "h100-sxm5-80gb");
    // Without a price of one's own, the catalog's for the GPU that the file names.
    let record = imported(&bench, "trtllm-bench.json", &[]);
    assert!(record["cost"]["price"]["usd_per_hour"].as_f64().is_some_and(|usd| usd > 0.5));
}

#[test]
fn inferencex_rows_per_gpu_become_the_deployments() {
    let bench = Bench::new();
    let record = imported(&bench, "inferencex.json", &["--price-per-hour", "10"]);
    near(value(&record, "total_tokens_per_second", [1024, 1024, 64, 0]), 3600.0);
    assert_eq!(record["environment"]["gpus"].as_array().map(Vec::len), Some(4));
    let evidence = record["validity"]["checks"][0]["evidence"].as_str().expect("words");
    assert!(evidence.contains("left out: 1 row of disaggregated deployments"), "{evidence}");
    // Three mixes at one concurrency: `cost` tells input and output apart.
    assert!(record["cost"]["usd_per_million_input_tokens"]["value"].is_number());
}

/// The record's price is already that of its four GPUs; a price that is given is of one.
#[test]
fn the_price_of_a_record_with_gpus_counts_them_once() {
    let bench = Bench::new();
    let record = imported(&bench, "inferencex.json", &[]);
    let path = bench.file("ix.json", record.to_string().as_bytes());
    let path = path.to_str().expect("a path");
    let own = record["cost"]["price"]["usd_per_hour"].as_f64().expect("a price");
    let cost = bench.json(&["cost", "--json", "--gpus", "4", path]);
    near(cost["records"][0]["cost"]["price"]["usd_per_hour"].as_f64().expect("a price"), own);
    let compared = bench.json(&["compare", "--json", "--gpus", "4", path]);
    near(compared["here"]["usd_per_hour"].as_f64().expect("a price"), own);
    let given = bench.json(&["cost", "--json", "--gpus", "4", "--price-per-hour", "2", path]);
    near(given["records"][0]["cost"]["price"]["usd_per_hour"].as_f64().expect("a price"), 8.0);
}

/// Three cells of one deployment: what holds for one does not hold for all.
#[test]
fn a_cell_that_turns_the_verdict_round_is_named() {
    let bench = Bench::new();
    let record = imported(&bench, "inferencex.json", &[]);
    let path = bench.file("ix.json", record.to_string().as_bytes());
    let path = path.to_str().expect("a path");
    // At the API's price of the first cell's mix the first is just cheaper, the others dearer.
    let found = bench.json(&["compare", "--json", path]);
    let about = found["verdict"]["api"].as_str().expect("an API");
    let row =
        found["rows"].as_array().expect("rows").iter().find(|row| row["api"] == about).expect("its row");
    let ratio = row["ratio"]["value"].as_f64().expect("a ratio");
    let hour = found["here"]["usd_per_hour"].as_f64().expect("a price");
    let mut said = Vec::new();
    for share in [0.98, 1.02] {
        let price = (hour / ratio * share).to_string();
        let found = bench.json(&["compare", "--json", "--price-per-hour", &price, path]);
        said.extend(found["other_cell"].as_str().map(str::to_owned));
    }
    assert!(!said.is_empty(), "the cells of three mixes do not break even at one price");
    for text in &said {
        assert!(
            text.contains("1024+") && text.contains("costs less") && text.contains("costs more"),
            "{text}"
        );
    }
    // The cell that was measured at the mix, and no rate where none was.
    let measured = bench.json(&["compare", "--json", "--mix", "8:1", path]);
    assert_eq!(measured["here"]["cell"]["prompt_tokens"], 8192);
    assert_eq!(measured["here"]["mix_measured"], true);
    let text = bench.run(&["compare", "--mix", "5:1", path]).stdout;
    assert!(text.contains("5.00:1 was not measured") && !text.contains("tokens/s"), "{text}");
}

#[test]
fn a_flag_that_contradicts_the_file_is_an_error() {
    let bench = Bench::new();
    for (file, flag, value, said) in [
        ("inferencex.json", "--gpu", "a100", "the file says `h100`, but --gpu says a100"),
        ("llama-bench.json", "--gpu", "h100", "the file says that the CPU was used, but --gpu says h100"),
        ("llama-bench.json", "--gpus", "1", "the file says that the CPU was used, but --gpus says 1"),
    ] {
        let ran = bench.run(&["import", &data(file), flag, value]);
        assert_eq!(ran.code, 2, "{file} {flag}: {}", ran.stderr);
        assert!(ran.stderr.contains(said) && ran.stderr.contains("omit it"), "{file}: {}", ran.stderr);
    }
    assert!(bench.records().is_empty(), "nothing was written");
    // A count that says otherwise is taken, and noted.
    let ran = bench.run(&["import", &data("inferencex.json"), "--gpus", "8", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("the file says 4 GPUs, but --gpus says 8, which is used"), "{}", ran.stderr);
    let found: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let record = &found["imported"][0]["record"];
    assert_eq!(record["environment"]["gpus"].as_array().map(Vec::len), Some(8));
    assert!(record["imported"]["notes"].to_string().contains("--gpus says 8"), "{}", record["imported"]);
    std::fs::remove_file(&bench.records()[0]).expect("removed");
    // The form of the family that the file names is no contradiction, and neither is what it says itself.
    let record = imported(&bench, "inferencex.json", &["--gpu", "h100-pcie-80gb", "--gpus", "4"]);
    assert_eq!(record["environment"]["gpus"][3]["catalog_id"], "h100-pcie-80gb");
}

#[test]
fn flags_say_what_the_file_does_not() {
    let bench = Bench::new();
    let gpus = ["--gpu", "h100", "--gpus", "2", "--price-per-hour", "2.5", "--model", "hf:acme/new"];
    let record = imported(&bench, "vllm-serve.json", &gpus);
    assert_eq!(record["cost"]["price"]["usd_per_hour"], 5.0);
    assert_eq!(record["model"]["id"], "acme/new");
    assert_eq!(record["environment"]["gpus"].as_array().map(Vec::len), Some(2));
    let unknown = bench.run(&["import", &data("vllm-serve.json"), "--gpu", "h1000"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    let nothing = imported(&bench, "vllm-serve.json", &[]);
    assert!(nothing["cost"]["price"].is_null());
    let reason = nothing["cost"]["price_reason"].as_str().expect("a reason");
    assert!(reason.contains("--gpu ID"), "{reason}");
}

#[test]
fn what_is_imported_is_a_record_like_any_other() {
    let bench = Bench::new();
    let schema: Value = serde_json::from_str(&bench.run(&["schema"]).stdout).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    for name in FILES {
        let record = imported(&bench, name, &["--model", "smollm2-135m"]);
        let errors: Vec<String> = validator.iter_errors(&record).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        let mut found = Vec::new();
        crate::record::nulls_without_reason("", &record, &mut found);
        // The file's own fields are as they came; a price's interval has its reason in the cell's figures.
        found.retain(|path| !path.starts_with(".imported.fields") && !path.starts_with(".imported.rows"));
        found.retain(|path| !path.starts_with(".command.plan") && path.rsplit('.').next() != Some("ci95"));
        assert_eq!(found, Vec::<String>::new(), "{name}");
    }
    let files: Vec<String> = FILES.iter().map(|name| data(name)).collect();
    let mut args = vec!["import", "--model", "smollm2-135m", "--price-per-hour", "1"];
    args.extend(files.iter().map(String::as_str));
    let ran = bench.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let records = bench.records();
    assert_eq!(records.len(), FILES.len());
    for path in &records {
        let priced = bench.run(&["cost", &path.to_string_lossy(), "--price-per-hour", "2"]);
        assert_eq!(priced.code, 0, "{}: {}", path.display(), priced.stderr);
    }
}

const FILES: [&str; 16] = [
    "aiperf.json",
    "genai-perf.json",
    "guidellm.json",
    "guidellm-0.3.json",
    "inferencex.json",
    "inferencex-power.json",
    "llama-batched-bench.jsonl",
    "llama-bench.csv",
    "llama-bench.json",
    "llama-bench.jsonl",
    "llama-bench.sql",
    "sglang-serving.jsonl",
    "trtllm-bench.json",
    "vllm-latency.json",
    "vllm-serve.json",
    "vllm-serve-nan.json",
];

/// Imports, exports, imports again: every rate that the format can say is the same.
fn round_trip(name: &str, format: &str, metrics: &[&str]) {
    let bench = Bench::new();
    let ran = bench.run(&["import", &data(name)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let path: PathBuf = bench.records().remove(0);
    let exported = bench.run(&["export", &path.to_string_lossy(), "--format", format]);
    assert_eq!(exported.code, 0, "{}", exported.stderr);
    let file = bench.file("back.json", exported.stdout.as_bytes());
    let back = bench.json(&["import", &file.to_string_lossy(), "-o", "-"]);
    let before: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("a record")).expect("JSON");
    let mut compared = 0;
    for (metric, cell, rate) in figures(&before) {
        if metrics.contains(&metric.as_str()) {
            near(value(&back, &metric, cell), rate);
            compared += 1;
        }
    }
    assert!(compared >= 2, "{name}");
}

#[test]
fn out_and_in_again_keeps_the_rates() {
    let rows = ["prefill_tokens_per_second", "decode_tokens_per_second", "total_tokens_per_second"];
    round_trip("llama-bench.jsonl", "llama-bench", &rows);
    let served = [
        "input_tokens_per_second",
        "output_tokens_per_second",
        "total_tokens_per_second",
        "requests_per_second",
        "time_to_first_token_seconds",
        "time_per_output_token_seconds",
        "end_to_end_latency_seconds",
    ];
    for name in ["vllm-serve.json", "guidellm.json", "aiperf.json"] {
        round_trip(name, "vllm", &served);
    }
}

/// The keys that llama.cpp's compare script asks for, and a run of our own.
#[test]
fn a_run_of_our_own_goes_out_in_both_formats() {
    let bench = Bench::new();
    let ran =
        bench.run(&["run", "--model", SMALL, "-p", "8", "-n", "4", "--pg", "8,4", "-r", "2", "--quiet"]);
    assert!([0, 12].contains(&ran.code), "{}", ran.stderr);
    let path = bench.records().remove(0);
    let rows = bench.json(&["export", &path.to_string_lossy(), "--format", "llama-bench"]);
    let tests: Vec<[u64; 2]> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| ["n_prompt", "n_gen"].map(|name| row[name].as_u64().expect("a count")))
        .collect();
    assert_eq!(tests, [[8, 0], [0, 4], [8, 4]]);
    for key in [
        "build_commit",
        "test_time",
        "avg_ts",
        "cpu_info",
        "gpu_info",
        "backends",
        "n_gpu_layers",
        "use_mmap",
    ] {
        assert!(rows[0].get(key).is_some(), "{key}");
    }
    assert_eq!(rows[0]["samples_ns"].as_array().map(Vec::len), Some(2));
    let ran = bench.run(&["export", &path.to_string_lossy(), "--format", "vllm"]);
    assert!(
        ran.stderr.contains("without pp8, tg4: vllm bench serve has only rows with both"),
        "{}",
        ran.stderr
    );
    let object: Value = serde_json::from_str(&ran.stdout).expect("an object");
    assert_eq!(object["completed"], 2);
    assert_eq!(object["total_input_tokens"], 16);
    assert!(object["mean_ttft_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert!(object.as_object().expect("an object").values().all(|value| !value.is_null()));
}

/// Each message names file, place, field and value.
#[test]
fn a_dash_is_stdin() {
    let bench = Bench::new();
    let piped = |text: &str| {
        let file = bench.file("piped", text.as_bytes());
        let mut command = bench.command(&["import", "-", "-o", "-"]);
        ran(&command.stdin(std::fs::File::open(file).expect("a file")).output().expect("the program starts"))
    };
    let text = std::fs::read_to_string(data("llama-bench.jsonl")).expect("a file");
    let [from_stdin, from_file] = [
        serde_json::from_str(&piped(&text).stdout).expect("a record"),
        imported(&bench, "llama-bench.jsonl", &[]),
    ];
    assert_eq!(figures(&from_stdin), figures(&from_file));
    let wrong = piped("{}");
    assert!(wrong.code == 1 && wrong.stderr.contains("stdin: "), "{}", wrong.stderr);
}

#[test]
fn a_wrong_file_is_a_clear_error() {
    let bench = Bench::new();
    let row = std::fs::read_to_string(data("llama-bench.jsonl")).expect("a file");
    let first = row.lines().next().expect("a line").to_owned();
    let vllm = std::fs::read_to_string(data("vllm-serve.json")).expect("a file");
    let cases: [(&str, String, &str); 13] = [
        ("cut.json", first[..first.len() / 2].to_owned(), "cut.json:1: the file ends in the middle"),
        (
            "neg.jsonl",
            format!("{first}\n{}", first.replace("\"n_prompt\": 32", "\"n_prompt\": -32")),
            "neg.jsonl, line 2: `n_prompt` is -32, which is negative",
        ),
        (
            "nan.json",
            vllm.replacen("\"duration\": ", "\"duration\": NaN, \"was\": ", 1),
            "nan.json: `duration` is `NaN`, not a number",
        ),
        (
            "big.json",
            vllm.replacen("\"completed\": 8", "\"completed\": 1e999", 1),
            "`completed`: `1e999`: number out of range",
        ),
        (
            "none.json",
            vllm.replacen("\"completed\": 8", "\"completed\": 0", 1),
            "`completed` is 0: no request completed",
        ),
        (
            "text.json",
            vllm.replacen("\"completed\": 8", "\"completed\": \"all\"", 1),
            "`completed` is `all`, not a number",
        ),
        (
            "date.json",
            vllm.replacen("20261124-021044", "yesterday", 1),
            "`date` is `yesterday`, not a time such as 20261124-013502",
        ),
        (
            "ahead.json",
            vllm.replacen("20261124-021044", "29991124-021044", 1),
            "is in the future; correct it",
        ),
        (
            "rateless.json",
            vllm.replacen("\"output_throughput\": ", "\"output_throughput\": null, \"was\": ", 1),
            "`output_throughput` is missing",
        ),
        (
            "mute.json",
            vllm.replacen("\"total_output_tokens\": 62", "\"total_output_tokens\": 0", 1),
            "`total_output_tokens` is 0: no token was generated",
        ),
        (
            "list.json",
            vllm.replacen("\"ttfts\": [", "\"ttfts\": [-1, ", 1),
            "`ttfts[0]` is -1, which is negative",
        ),
        (
            "other.json",
            "{\"speed\": 5}".to_owned(),
            "its first object has `speed`, which matches no known format; supported: llama-bench",
        ),
        (
            "table.md",
            std::fs::read_to_string(data("llama-bench.md")).expect("a file"),
            "run llama-bench with `-o jsonl`",
        ),
    ];
    for (name, text, expected) in cases {
        let file = bench.file(name, text.as_bytes());
        let ran = bench.run(&["import", &file.to_string_lossy()]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected), "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains(name), "{name}: {}", ran.stderr);
    }
    assert_eq!(bench.run(&["import", "not-there.json"]).code, 13);
    assert_eq!(bench.run(&["import", &data("vllm-serve.json"), "--input-format", "excel"]).code, 2);
    assert!(bench.records().is_empty(), "nothing was written");
}

/// 16 MiB of empty lists fit a program that may map 1.2 GiB: a tree of general JSON values would not.
#[test]
fn memory_is_a_small_factor_of_the_file() {
    let bench = Bench::new();
    let text = format!(
        "{{\"n_prompt\": 1, \"n_gen\": 0, \"avg_ns\": 5000000, \"x\": [{}[]]}}",
        "[],".repeat((16 << 20) / 3)
    );
    let file = bench.file("deep.json", text.as_bytes());
    let program = env!("CARGO_BIN_EXE_bench");
    let script =
        format!("ulimit -v 1228800; exec {program} import {} --model smollm2-135m -o -", file.display());
    let ran = std::process::Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{stderr}");
}

/// Real files of guidellm and SGLang with a key in them, and one in each place that a record keeps text of.
#[test]
fn no_secret_of_a_file_or_a_command_line_is_in_a_record() {
    const KEY: &str = "sk-EXAMPLE-do-not-share-123";
    let bench = Bench::new();
    let text = |name: &str| std::fs::read_to_string(data(name)).expect("a file");
    let guidellm = text("guidellm.json")
        .replacen("\"api_key\": null", &format!("\"api_key\": \"{KEY}\""), 1)
        .replacen("\"metadata\": {", &format!("\"metadata\": {{\"argv\": [\"--api-key\", \"{KEY}\"], "), 1);
    let sglang = text("sglang-serving.jsonl").replacen(
        "\"tag\": null",
        &format!("\"tag\": \"Bearer {KEY}\", \"server_info\": {{\"apiKey\": \"{KEY}\", \"model_path\": \"https://me:{KEY}@hub/org/model?token={KEY}\"}}"),
        1,
    );
    let llama =
        text("llama-bench.jsonl").replace("\"build_commit\": \"", &format!("\"build_commit\": \"{KEY}"));
    let csv = text("llama-bench.csv").replacen("sdist", KEY, 1);
    let sql = text("llama-bench.sql").replacen("sdist", KEY, 1);
    for (name, text, path) in [
        ("guidellm.json", guidellm, "config.spec.backend.api_key"),
        ("sglang.jsonl", sglang, "server_info.apiKey"),
        ("llama.jsonl", llama, "build_commit"),
        ("llama.csv", csv, "build_commit"),
        ("llama.sql", sql, "build_commit"),
    ] {
        assert!(text.contains(KEY), "{name}");
        let file = bench.file(&format!("{KEY}-{name}"), text.as_bytes());
        let model = format!("hf:me:{KEY}@org/name");
        let file = file.to_string_lossy();
        let ran = bench.run(&["import", "--json", &file, "--model", &model]);
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        assert!(!ran.stdout.contains(KEY) && !ran.stderr.contains(KEY), "{name}: {}", ran.stdout);
        let record: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let left_out = record["imported"][0]["record"]["imported"]["left_out"].to_string();
        assert!(left_out.contains(path), "{name}: {left_out}");
    }
    for path in bench.records() {
        assert!(!path.to_string_lossy().contains(KEY), "{}", path.display());
        assert!(!std::fs::read_to_string(&path).expect("a record").contains(KEY), "{}", path.display());
        for args in [["cost", "--json"], ["export", "--format=vllm"], ["export", "--format=llama-bench"]] {
            let ran = bench.run(&[args[0], args[1], &path.to_string_lossy()]);
            assert!(!ran.stdout.contains(KEY) && !ran.stderr.contains(KEY), "{args:?}: {}", ran.stdout);
        }
    }
    let broken = bench.file("broken.json", format!("{KEY}\n").as_bytes());
    for args in [["import", &broken.to_string_lossy()], ["import", KEY], ["cost", &format!("--mix={KEY}")]] {
        let ran = bench.run(&args);
        assert_ne!(ran.code, 0);
        assert!(!ran.stderr.contains(KEY), "{}", ran.stderr);
    }
}

/// A record of before secrets were taken out is not shown with them again.
#[test]
fn an_older_records_secrets_are_not_shown() {
    let bench = Bench::new();
    let mut record = imported(&bench, "vllm-serve.json", &["--price-per-hour", "1"]);
    record["imported"]["rows"][0]["api_key"] = "sk-EXAMPLE-do-not-share-123".into();
    record["command"]["argv"] = serde_json::json!(["bench", "--api-key", "sk-EXAMPLE-do-not-share-123"]);
    let path = bench.file("old.json", record.to_string().as_bytes());
    for args in [["cost", "--json"], ["export", "--format=vllm"]] {
        let ran = bench.run(&[args[0], args[1], &path.to_string_lossy()]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(!ran.stdout.contains("sk-EXAMPLE"), "{}", ran.stdout);
    }
}

/// What llama-bench prints with its log in one stream, as each shell redirects it.
#[test]
fn a_log_around_the_rows_is_passed_over_and_counted() {
    let bench = Bench::new();
    let plain = imported(&bench, "llama-bench.jsonl", &[]);
    let rows = std::fs::read_to_string(data("llama-bench.jsonl")).expect("a file");
    let list = rows.trim().replace('\n', "llama_perf: done\nload: [1]\n,\n");
    let noisy =
        format!("ggml_cuda_init: found 1 CUDA devices:\r\n[INFO] {{x}}\r\n[\r\n{list}\r\n]\r\nbye\r\n");
    let mut utf16 = vec![0xff, 0xfe];
    utf16.extend(noisy.encode_utf16().flat_map(u16::to_le_bytes));
    for bytes in [noisy.as_bytes().to_vec(), utf16] {
        let file = bench.file("noisy.json", &bytes);
        let record = bench.json(&["import", &file.to_string_lossy(), "-o", "-"]);
        assert_eq!(figures(&record), figures(&plain));
        let evidence = record["validity"]["checks"][0]["evidence"].as_str().expect("words");
        assert!(evidence.contains("skipped: 13 lines that are not rows"), "{evidence}");
    }
    assert!(!plain["validity"].to_string().contains("skipped:"));
}
