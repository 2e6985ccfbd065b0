//! Dollars from outside: a record priced by hand, and priced again.

use crate::support::{Bench, quick};

fn figure(cost: &serde_json::Value, name: &str) -> f64 {
    cost[format!("usd_per_million_{name}_tokens")]["value"]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {cost}"))
}

#[test]
fn the_figures_equal_price_over_measured_rate() {
    let record = Bench::new().json(&quick(&["--json", "--output", "-"]));
    let rate = |metric: &str| {
        let all = record["measurements"].as_array().expect("measurements");
        all.iter().find(|m| m["metric"] == metric).expect(metric)["value"].as_f64().expect("a number")
    };
    let by_hand = |rate: f64| 2.49 / 3600.0 * 1e6 / rate;
    let (input, output) =
        (by_hand(rate("prefill_tokens_per_second")), by_hand(rate("decode_tokens_per_second")));
    let cost = &record["cost"];
    for (name, expected) in [
        ("input", input),
        ("output", output),
        ("blended", (3.0 * input + output) / 4.0),
        ("all_output", output + input * 8.0 / 4.0),
    ] {
        let found = figure(cost, name);
        assert!((found / expected - 1.0).abs() < 1e-9, "{name}: {found} is not {expected}");
    }
    assert_eq!(cost["price"]["usd_per_hour"], 2.49);
}

#[test]
fn a_record_is_priced_again_and_not_edited() {
    let bench = Bench::new();
    assert_eq!(bench.run(&quick(&[])).code, 0);
    let path = bench.records().remove(0);
    let before = std::fs::read(&path).expect("a record");
    let name = path.to_str().expect("a path");
    let own = bench.json(&["cost", "--json", name]);
    let twice = bench.json(&["cost", "--json", "--price-per-hour", "4.98", name]);
    let idle = bench.json(&["cost", "--json", "--utilization", "50%", name]);
    for name in ["input", "output", "blended", "all_output"] {
        let own = figure(&own[0]["cost"], name);
        for other in [&twice, &idle] {
            assert!((figure(&other[0]["cost"], name) / own - 2.0).abs() < 1e-9, "{name}");
        }
    }
    assert_eq!(std::fs::read(&path).expect("a record"), before);
    let text = bench.run(&["cost", name]);
    assert!(text.code == 0 && text.stdout.contains("Cost at $2.49 an hour"), "{}", text.stdout);
}

#[test]
fn an_api_that_is_named_is_compared_with() {
    let bench = Bench::new();
    let record = bench.json(&quick(&["--json", "--output", "-", "--api", "openai/gpt-4o-mini"]));
    let comparison = &record["cost"]["api_comparison"][0];
    assert_eq!(comparison["api"], "openai/gpt-4o-mini");
    assert_eq!(comparison["same_model"], false);
    // 8 input tokens and 4 output tokens.
    let mix = (8.0 * comparison["input_usd_per_million"].as_f64().expect("input")
        + 4.0 * comparison["output_usd_per_million"].as_f64().expect("output"))
        / 12.0;
    assert!((comparison["mix_usd_per_million"].as_f64().expect("mix") - mix).abs() < 1e-12);
}

#[test]
fn without_a_price_the_catalogs_for_such_a_machine_is_taken() {
    let bench = Bench::new();
    let record = bench.json(&["run", "-p", "8", "-n", "4", "-r", "2", "--json", "--output", "-"]);
    let price = &record["cost"]["price"];
    assert!(price["usd_per_hour"].as_f64().expect("a price") > 0.0);
    assert!(price["label"].as_str().is_some_and(|label| !label.is_empty()));
    assert!(price["source"].as_str().is_some_and(|source| !source.is_empty()));
}
