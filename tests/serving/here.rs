//! The load of `bench run` on the engine in its process.

use super::{check, figure, is_whole, number, record_of, steady};
use crate::support::fake_nvml::{FakeNvml, GpuScript};
use crate::support::{self, Bench};

/// A load on the engine in this process, of a model that a test measures in a second.
fn here<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let model = ["run", "--model", support::SMALL, "--device", "cpu", "--power", "none"];
    [&model[..], &["-p", "16", "-n", "8", "--price-per-hour", "3.6"], more].concat()
}

#[test]
fn the_same_load_on_an_engine_in_this_process_leaves_the_same_table_and_record() {
    let bench = Bench::new();
    let record = steady(|| {
        let ran = bench.run(&here(&["--max-concurrency", "1,3", "--max-time", "24s", "--slo", "ttft:60000"]));
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        for word in
            ["load on the engine in this process", "output/s", "TTFT p50", "16+8 c3", "goodput", "Figures"]
        {
            assert!(ran.stdout.contains(word), "{word} is missing in\n{}", ran.stdout);
        }
        record_of(&bench)
    });
    assert!(record["serving"]["server"].is_null() && record["serving"]["server_reason"].is_string());
    let rows = record["serving"]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert!(row["client"].is_null() && row["client_reason"].is_string());
        assert_eq!(row["requests"].as_object().expect("endings").keys().collect::<Vec<_>>(), ["completed"]);
        assert_eq!(
            (&row["prompt_tokens"]["mean"], &row["output_tokens"]["mean"]),
            (&16.0.into(), &8.0.into())
        );
        assert_eq!(row["cached_share"], 0.0);
        assert_eq!(row["goodput"]["good"], row["goodput"]["due"]);
    }
    for name in ["run_complete", "requests_failed", "lengths_obeyed", "prefix_cache", "finite_logits"] {
        assert_eq!(check(&record, name)["verdict"], "valid", "{name}: {}", check(&record, name));
    }
    let names = record["validity"]["checks"].as_array().expect("checks");
    assert!(names.iter().all(|check| check["name"] != "client_lag" && check["name"] != "same_machine"));
    assert_eq!(record["engine"]["name"], "fused");
    assert!(record["model"]["weight_bytes"].is_u64() && record["environment"]["cpu"].is_string());

    // Input and output are separated by the steps, and add up to the rent.
    for (cell, batch) in record["cost"]["cells"].as_array().expect("cells").iter().zip([1, 3]) {
        assert_eq!((&cell["apart"], &cell["cell"]["batch"]), (&"measured".into(), &batch.into()));
        let rate = |metric| number(&figure(&record, metric, batch)["value"]);
        let usd = |kind: &str| number(&cell[format!("usd_per_million_{kind}_tokens")]["value"]);
        let spent =
            usd("input") * rate("input_tokens_per_second") + usd("output") * rate("output_tokens_per_second");
        assert!((spent / 1e6 / 0.001 - 1.0).abs() < 1e-6, "{spent} at {cell}");
        // Alone no prompt comes while an answer is written, and three of the same length begin and end together.
        assert!(number(&cell["mixed_time_share"]) < 0.2, "{cell}");
    }
    is_whole(&bench, &record);
}

#[test]
fn a_schedule_on_an_engine_in_this_process_counts_from_when_requests_are_due() {
    let bench = Bench::new();
    let more = ["--request-rate", "2", "--max-concurrency", "2", "--max-time", "30s", "--json", "-o", "-"];
    let record = steady(|| bench.json(&here(&more)));
    let row = &record["serving"]["rows"][0];
    assert_eq!((&row["pace"], &row["max_concurrency"]), (&"open".into(), &2.into()));
    assert_eq!(record["cost"]["cells"][0]["apart"], "measured", "idle time is paid for as the work is");
    assert!(
        number(&record["cost"]["cells"][0]["mixed_time_share"]) > 0.0,
        "prompts come while others are answered"
    );
    assert_eq!(record["command"]["plan"]["most_at_once"], 2);
    let lag = record["measurements"].as_array().expect("measurements").iter();
    let lag =
        lag.filter(|m| m["metric"] == "send_lag_seconds").map(|m| number(&m["value"])).fold(0.0, f64::max);
    assert!(lag == 0.0, "nobody sends: {lag}");
}

#[test]
fn flags_of_a_server_and_of_trials_have_no_place_in_a_load_here() {
    let bench = Bench::new();
    for (flag, words) in [
        (&["--chat"][..], "--chat: it is for a server"),
        (&["--gpus", "2"], "--gpus: the engine in this process uses one GPU"),
        (&["-b", "4"], "--batch: a load has no batch"),
        (&["--power-limit", "350,500"], "--power-limit: a load makes one record; give one limit"),
        (&["--precision", "1%"], "--precision: a load has no trials"),
        (&["--engine", "candle"], "engine candle cannot serve requests that come and go"),
        (&["-p", "9000"], "it needs 9008 positions"),
    ] {
        let ran = bench.run(&[&here(&["--max-concurrency", "2", "--dry-run"]), flag].concat());
        assert!(ran.code == 2 || ran.code == 1, "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    let plan = bench.run(&here(&["--request-rate", "2", "--dry-run"]));
    assert!(plan.stdout.contains("fused on cpu") && plan.stdout.contains("16+8 2/s"), "{}", plan.stdout);
}

#[test]
fn clocks_and_a_power_limit_hold_for_a_load_here_and_are_put_back() {
    let fake = FakeNvml::gpu(GpuScript::default());
    let bench = Bench::new();
    let library = fake.library().display().to_string();
    let model = ["run", "--model", support::SMALL, "--device", "cpu", "--power", "nvml"];
    let set = ["--nvml-library", &library, "--lock-clocks", "1410", "--power-limit", "350"];
    let load = ["-p", "8", "-n", "4", "--max-concurrency", "1", "--num-prompts", "2", "--json", "-o", "-"];
    let record = bench.json(&[&model[..], &set, &load].concat());
    let gpu = &record["environment"]["gpus"][0]["facts"];
    assert_eq!(
        (&gpu["lock_clocks_mhz_set_by_this_run"], &gpu["power_limit_set_by_this_run_watts"]),
        (&1410.into(), &350.0.into())
    );
    assert_eq!(record["fingerprint"]["treatment_fields"]["flag.lock_clocks_mhz"], "1410");
    let setters = fake.setters();
    let mut calls: Vec<&str> =
        setters.iter().filter_map(|line| line.split_once(' ')).map(|(_, call)| call).collect();
    // Both are put back; in which order doesn't matter.
    calls[2..].sort_unstable();
    assert_eq!(calls, ["lock clocks 1410 1410", "power limit 350000", "power limit 700000", "reset clocks"]);
}
