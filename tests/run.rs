//! `bench run` on synthetic weights: no file, no network, no GPU.

use infercost::engine::fused::Isa;

use crate::support::{Bench, SMALL, quick};

#[test]
fn without_flags_it_measures_a_model_that_an_api_sells_where_the_machine_is_fit_for_it() {
    let bench = Bench::new();
    let plan = |args: &[&str]| {
        let ran = bench.run(&[&["run", "--dry-run", "--json", "--device", "cpu"], args].concat());
        let plan: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a plan");
        (plan, ran.stderr)
    };
    let (small, said) = plan(&["--isa", "portable"]);
    assert_eq!(small["model"], SMALL);
    assert!(said.contains("no API sells it") && said.contains("portable"), "{said}");
    let (sold, said) = plan(&[]);
    // A processor with portable code alone runs this test too.
    if sold["isa"] != "portable" {
        assert_eq!(sold["model"], "synthetic:llama-3.2-1b:q4_k_m");
        assert!(said.contains("no --model: measuring synthetic:llama-3.2-1b:q4_k_m"), "{said}");
        // More sequences than any machine has the memory for, with the small model too; its error is the run's.
        let (short, said) = plan(&["-b", "4000", "-p", "0", "-n", "8000"]);
        assert_eq!(short["model"], SMALL, "{said}");
        assert!(said.contains("llama-3.2-1b:q4_k_m: ") && said.contains("of memory"), "{said}");
    }
}

#[test]
fn a_model_that_nobody_sells_has_a_verdict_without_a_factor() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "--model", SMALL, "--max-time", "10s"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(!ran.stderr.contains("no --model"), "{}", ran.stderr);
    let verdict = ran.stdout.split("Verdict").nth(1).expect("a verdict");
    // Lines are broken where the width ends.
    let verdict = verdict.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(verdict.contains("no API in the catalog sells this model"), "{verdict}");
    assert!(verdict.contains("another model") && !verdict.contains('×'), "{verdict}");
    for word in ["pp128", "tg32", "input", "output", "blended 3:1", "all output", "Verdict"] {
        assert!(ran.stdout.contains(word), "{word} is missing in\n{}", ran.stdout);
    }
    let widest = ran.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80) || widest_is_a_path(&ran.stdout), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\x1b'), "colours must be off when piped");
    assert_eq!(bench.records().len(), 1);
}

fn widest_is_a_path(text: &str) -> bool {
    text.lines().filter(|line| line.chars().count() > 80).all(|line| line.starts_with("Record"))
}

#[test]
fn json_is_the_record_and_nothing_else() {
    let bench = Bench::new();
    let record = bench.json(&quick(&["--json", "--output", "-"]));
    assert_eq!(record["schema"], "infercost.record/1");
    assert_eq!(record["model"]["synthetic"], true);
    assert!(record["model"]["sha256"].is_null() && record["model"]["sha256_reason"].is_string());
    assert!(record["quality"]["greedy"].is_null() && record["quality"]["greedy_reason"].is_string());
    assert_eq!(bench.records().len(), 0, "--output - writes no file");
}

#[test]
fn lists_and_ranges_make_rows() {
    let bench = Bench::new();
    let labels = |args: &[&str]| -> Vec<String> {
        let plan = bench.json(&[&["run", "--dry-run", "--json"], args].concat());
        let rows = plan["rows"].as_array().expect("rows").iter();
        rows.map(|row| row["label"].as_str().expect("a label").to_owned()).collect()
    };
    assert_eq!(
        labels(&["-p", "16-64*2", "-n", "4,8", "-d", "0,32", "-pg", "8,4"]),
        [
            "pp16",
            "pp32",
            "pp64",
            "tg4",
            "tg8",
            "pp8+tg4",
            "pp16 @ d32",
            "pp32 @ d32",
            "pp64 @ d32",
            "tg4 @ d32",
            "tg8 @ d32",
            "pp8+tg4 @ d32"
        ]
    );
    // A flag given again adds to its list.
    assert_eq!(labels(&["-p", "0", "-n", "4", "-n", "8", "-b", "1-3"]).len(), 6);
}

#[test]
fn what_the_engine_cannot_do_is_refused_by_name_before_loading() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "--model", SMALL, "--engine", "candle", "-p", "16", "-n", "4", "-b", "2"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("2 prompts of 16 tokens") && ran.stderr.contains("-p 0"), "{}", ran.stderr);
    assert_eq!(bench.records().len(), 0);
}

#[test]
fn a_batch_at_depth_is_measured_and_each_token_accounted_for() {
    let bench = Bench::new();
    let record = bench.json(&[
        "run",
        "--model",
        SMALL,
        "-p",
        "0",
        "-n",
        "4",
        "-r",
        "2",
        "-b",
        "2",
        "-d",
        "16",
        "--price-per-hour",
        "1",
        "--json",
        "--output",
        "-",
    ]);
    let checks = record["validity"]["checks"].as_array().expect("checks");
    let tokens = checks.iter().find(|check| check["name"] == "tokens_complete").expect("the check");
    assert_eq!(tokens["verdict"], "valid", "{tokens}");
    let cost = &record["cost"];
    assert_eq!(cost["usd_per_million_input_tokens_reason"], "a prompt row (-p) was not measured in this run");
    assert!(cost["usd_per_million_output_tokens"]["value"].as_f64().expect("a figure") > 0.0);
}

#[test]
fn a_joint_row_at_depth_has_a_cell_of_its_own() {
    let bench = Bench::new();
    let record = bench.json(&quick(&["-pg", "8,4", "-d", "16", "--json", "--output", "-"]));
    let cells = record["cost"]["cells"].as_array().expect("cells").iter();
    let cells: Vec<_> = cells.map(|c| (c["cell"]["phase"].clone(), c["cell"]["depth"].clone())).collect();
    assert_eq!(cells, [("pair".into(), 16.into()), ("joint".into(), 16.into())]);
}

#[test]
fn a_growing_batch_doubles() {
    let bench = Bench::new();
    let record = bench.json(&[
        "run",
        "--model",
        SMALL,
        "--json",
        "--output",
        "-",
        "-p",
        "0",
        "-n",
        "4",
        "-b",
        "auto",
        "-r",
        "1",
        "--price-per-hour",
        "1",
    ]);
    let mut batches: Vec<u64> = record["measurements"]
        .as_array()
        .expect("measurements")
        .iter()
        .filter(|m| m["metric"] == "decode_tokens_per_second")
        .map(|m| m["cell"]["batch"].as_u64().expect("batch"))
        .collect();
    batches.truncate(2);
    assert_eq!(batches, [1, 2]);
}

#[test]
fn two_runs_at_once_never_meet() {
    let bench = Bench::new();
    let start = || bench.command(&quick(&[])).stdout(std::process::Stdio::null()).spawn().expect("starts");
    let mut running: Vec<_> = (0..4).map(|_| start()).collect();
    for child in &mut running {
        assert!(child.wait().expect("ends").success());
    }
    let records = bench.records();
    assert_eq!(records.len(), 4, "{records:?}");
}

#[test]
fn what_cannot_fit_or_run_is_refused_by_the_dry_run_as_by_the_run() {
    let bench = Bench::new();
    // An hour of work in a second.
    let hopeless = ["--model", SMALL, "-p", "512", "-n", "512", "-b", "512", "--max-time", "1s"];
    for dry in [&["--dry-run"][..], &[]] {
        let ran = bench.run(&[&["run"], &hopeless[..], dry].concat());
        assert_eq!(ran.code, 1, "{dry:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("no row fits into --max-time 1s"), "{dry:?}: {}", ran.stderr);
        // Before the weights are there.
        assert!(!ran.stderr.contains("loading"), "{dry:?}: {}", ran.stderr);
        let shown = ran.stdout.matches("left out unless it is faster").count();
        assert_eq!(shown, if dry.is_empty() { 0 } else { 2 }, "{}", ran.stdout);
    }
    let best = Isa::detect();
    if let Some(isa) = Isa::ALL.into_iter().find(|isa| *isa > best) {
        for dry in [&["--dry-run"][..], &[]] {
            let ran = bench.run(&[&["run", "--model", SMALL, "--isa", isa.label()], dry].concat());
            assert_eq!(ran.code, 2, "{dry:?}: {}", ran.stderr);
            assert!(ran.stderr.contains(&format!("{isa}: this processor only has {best}")), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_plan_for_a_gpu_that_is_elsewhere_says_what_fits_there() {
    let bench = Bench::new();
    let plan = |gpu: &str| {
        bench.run(&["run", "--dry-run", "--json", "--gpu", gpu, "--model", "synthetic:llama-3-70b:q4_k_m"])
    };
    let ran = plan("h100");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("(h100-sxm5-80gb) by its data sheet"), "{}", ran.stderr);
    let plan_of_h100: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a plan");
    let load = &plan_of_h100["fits"]["loads"][0];
    // 80 GiB less 40.3 of weights, activations, logits and context, in sequences of 256 positions of 327,680 bytes.
    assert_eq!((&load["batch_together"], &load["batch_staggered"]), (&506.into(), &673.into()));
    let small = plan("rtx-4090");
    assert_eq!(small.code, 1, "{}", small.stderr);
    assert!(small.stderr.contains("is available on rtx-4090-24gb by its data sheet"), "{}", small.stderr);
    let other = plan("mi300x");
    assert_eq!(other.code, 13, "{}", other.stderr);
    assert!(other.stderr.contains("measure it with --url"), "{}", other.stderr);
}

#[test]
fn the_dry_run_foresees_the_70b_by_arithmetic_and_loads_nothing() {
    let bench = Bench::new();
    let foresee = |engine: &str| {
        let model = "synthetic:llama-3-70b:q8_0";
        bench.run(&["run", "--engine", engine, "--model", model, "--dry-run", "--json", "--device", "cpu"])
    };
    let ran = foresee("candle");
    // A machine that has too little says so after the plan.
    assert!(ran.code == 0 || (ran.code == 1 && ran.stderr.contains("GiB of memory")), "{}", ran.stderr);
    let plan: serde_json::Value = serde_json::from_str(&ran.stdout).expect("the plan");
    let (layers, width, feed_forward, kv_width, vocabulary) =
        (80u64, 8192u64, 28_672u64, 1024u64, 128_256u64);
    let layer = 2 * width * width + 2 * width * kv_width + 3 * width * feed_forward;
    // 34 bytes for 32 elements; the head is not shared with the embedding; the norms are f32.
    let matrices = (layers * layer + 2 * vocabulary * width) / 32 * 34;
    let norms = (2 * layers + 1) * width * 4;
    assert_eq!(plan["weight_bytes"], matrices + norms);
    let parts = plan["memory"]["parts"].as_array().expect("parts");
    let part = |name: &str| {
        let found =
            parts.iter().find(|part| part[0] == name).unwrap_or_else(|| panic!("{name} in {parts:?}"));
        found[1].as_u64().expect("bytes")
    };
    assert_eq!(part("embedding as f32"), vocabulary * width * 4);
    // Our own engine keeps what is in the file, filled up to whole groups of rows, and no more.
    let own: serde_json::Value = serde_json::from_str(&foresee("fused").stdout).expect("the plan");
    let parts = own["memory"]["parts"].as_array().expect("parts");
    let weights = parts.iter().find(|part| part[0] == "weights").expect("weights");
    assert_eq!(weights[1], matrices + norms);
    assert_eq!(bench.records().len(), 0);
}
