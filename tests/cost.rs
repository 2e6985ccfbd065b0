//! Dollars from outside: a record priced by hand, and priced again.

use serde_json::Value;

use crate::support::served::{Served, believed, served};
use crate::support::{Bench, SMALL, quick};

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
        let own = figure(&own["records"][0]["cost"], name);
        for other in [&twice, &idle] {
            assert!((figure(&other["records"][0]["cost"], name) / own - 2.0).abs() < 1e-9, "{name}");
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
fn another_tools_file_is_no_record_and_the_way_is_named() {
    let bench = Bench::new();
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exchange");
    for name in ["vllm-serve.json", "llama-bench.json", "llama-bench.jsonl"] {
        let path = data.join(name);
        let ran = bench.run(&["cost", path.to_str().expect("a path")]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.stderr);
        assert!(ran.stderr.contains("`bench import FILE` reads it"), "{name}: {}", ran.stderr);
    }
}

#[test]
fn without_a_price_the_catalogs_for_such_a_machine_is_taken() {
    let bench = Bench::new();
    let record =
        bench.json(&["run", "--model", SMALL, "-p", "8", "-n", "4", "-r", "2", "--json", "--output", "-"]);
    let price = &record["cost"]["price"];
    assert!(price["usd_per_hour"].as_f64().expect("a price") > 0.0);
    assert!(price["label"].as_str().is_some_and(|label| !label.is_empty()));
    assert!(price["source"].as_str().is_some_and(|source| !source.is_empty()));
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {value:#}"))
}

fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn the_speed_that_makes_a_million_cost_twenty_cents_on_an_h100() {
    let bench = Bench::new();
    let args = ["cost", "--target", "0.20", "--price-per-hour", "2.00,2.49,2.99"];
    let found = bench.json(&[&args[..], &["--json"]].concat());
    for (index, usd) in [2.00, 2.49, 2.99].into_iter().enumerate() {
        close(number(&found, &format!("/hours/{index}/target/tokens_per_second")), usd * 1e6 / 3600.0 / 0.20);
    }
    let text = bench.run(&args).stdout;
    for rate in ["2,778", "3,458", "4,153", "16,611"] {
        assert!(text.contains(rate), "{rate} in {text}");
    }
    let published = ["cost", "--price-per-hour", "2.49", "--tokens-per-second", "3378"];
    let found = bench.json(&[&published[..], &["--json"]].concat());
    close(number(&found, "/hours/0/published/usd_per_million"), 2.49 * 1e6 / 3600.0 / 3378.0);
    assert!(bench.run(&published).stdout.contains("$0.205 per million at 3,378 tokens/s"));
    // Eight GPUs at a price of one cost eight times, and two dollars of overhead come once.
    let eight = bench.json(
        &[&published[..], &["--gpus", "8", "--overhead-per-hour", "2", "--utilization", "50%", "--json"]]
            .concat(),
    );
    let expected = (8.0 * 2.49 + 2.0) * 1e6 / 3600.0 / 3378.0 / 0.5;
    close(number(&eight, "/hours/0/published/usd_per_million"), expected);
}

#[test]
fn an_owned_machine_is_paid_off_by_the_hour() {
    let bench = Bench::new();
    let owned = ["cost", "--json", "--target", "1", "--purchase", "40000", "--years", "4"];
    let found = bench.json(&owned);
    // 40,000 x 0.3154708 / 8,760, and 3,600 / 1e6 of it in tokens a second.
    close(number(&found, "/hours/0/price/usd_per_hour"), 40_000.0 * 0.315_470_803_706_095_7 / 8760.0);
    assert!(
        found["hours"][0]["notes"][0]
            .as_str()
            .is_some_and(|note| note.contains("electricity is not included"))
    );
    let drawn =
        bench.json(&[&owned[..], &["--watts", "700", "--pue", "1.5", "--electricity", "0.10"]].concat());
    let electricity =
        number(&drawn, "/hours/0/price/usd_per_hour") - number(&found, "/hours/0/price/usd_per_hour");
    assert!((electricity - 0.105).abs() < 1e-9, "{electricity}");
    // A rent contains its electricity: there is nothing to give watts for.
    let refused = bench.run(&["cost", "--target", "1", "--price-per-hour", "2", "--watts", "700"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
}

#[test]
fn every_assumption_is_listed_and_shown_in_its_effect() {
    let bench = Bench::new();
    assert_eq!(bench.run(&quick(&[])).code, 0);
    let path = bench.records().remove(0);
    let name = path.to_str().expect("a path");
    let view = &bench.json(&["cost", "--json", "--utilization", "70%", name])["records"][0];
    let listed = |name: &str| {
        let all = view["assumptions"].as_array().expect("assumptions");
        all.iter().find(|a| a["name"] == name).unwrap_or_else(|| panic!("{name} in {all:?}"))
    };
    assert_eq!(
        (&listed("utilization")["value"], &listed("utilization")["from"]),
        (&0.7.into(), &"flag".into())
    );
    assert_eq!(listed("price_per_hour")["from"], "record");
    assert_eq!(listed("cached_share")["from"], "default");
    let effects = view["sensitivity"].as_array().expect("effects");
    let sizes: Vec<f64> = effects.iter().map(|e| e["largest_change"].as_f64().expect("a share")).collect();
    assert!(sizes.len() >= 3 && sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
    let utilization = effects.iter().find(|e| e["assumption"] == "utilization").expect("its effect");
    let at = |share: f64| {
        let trials = utilization["trials"].as_array().expect("trials");
        trials.iter().find(|t| t["value"] == share).expect("tried")["change"].as_f64().expect("a share")
    };
    assert!((at(1.0) + 0.3).abs() < 1e-9 && (at(0.25) - 1.8).abs() < 1e-9);
}

#[test]
fn a_margin_is_not_a_markup() {
    let bench = Bench::new();
    assert_eq!(bench.run(&quick(&[])).code, 0);
    let path = bench.records().remove(0);
    let name = path.to_str().expect("a path");
    let view = &bench.json(&["cost", "--json", "--sell", "1000,3000", "--margin", "60%", name])["records"][0];
    let cost = number(view, "/cost/usd_per_million_total_tokens/value");
    // 8 input and 4 output tokens.
    let price = (2.0 * 1000.0 + 3000.0) / 3.0;
    close(number(view, "/margin/revenue_usd_per_million"), price);
    close(number(view, "/margin/gross_margin/value"), 1.0 - cost / price);
    close(number(view, "/margin/markup/value"), price / cost - 1.0);
    close(number(view, "/margin/break_even_utilization/value"), cost / price);
    close(number(view, "/price_for_margin/usd_per_million_total_tokens/value"), cost / 0.4);
    let text = bench.run(&["cost", "--sell", "1000", name]).stdout;
    assert!(text.contains("50% margin is 100% markup"), "{text}");
    for wrong in [["--gpus", "-1"], ["--max-age", "-1"], ["--target", "1e-30"], ["--price-per-hour", "1e9"]] {
        let ran = bench.run(&["cost", name, wrong[0], wrong[1]]);
        assert_eq!(ran.code, 2, "{wrong:?}");
        let said = ran.stderr;
        assert!(said.contains(wrong[0]) && !said.contains("unexpected argument"), "{wrong:?}: {said}");
    }
    for wrong in
        [["--margin", "100%"], ["--sell", "free"], ["--gpus", "0"], ["--cached", "-1"], ["--gpus", "8"]]
    {
        assert_eq!(bench.run(&["cost", name, wrong[0], wrong[1]]).code, 2, "{wrong:?}");
    }
}

#[test]
fn a_servers_mixes_are_told_apart_and_one_alone_is_not() {
    let bench = Bench::new();
    let cells: Vec<Served> = [(8192, 128), (2048, 512), (1024, 1024), (256, 1024)]
        .map(|(input, output)| {
            let seconds = f64::from(input) / 20_000.0 + f64::from(output) / 2500.0;
            Served { input, output, batch: 64, requests_per_second: 1.0 / seconds }
        })
        .into();
    let all = served(&bench, "all.json", &cells);
    let one = served(&bench, "one.json", &cells[..1]);
    let cost = &bench.json(&["cost", "--json", "--price-per-hour", "2.49", &all])["records"][0]["cost"];
    for (name, rate) in [("input", 20_000.0), ("output", 2500.0)] {
        assert!((figure(cost, name) / (2.49 / 3600.0 * 1e6 / rate) - 1.0).abs() < 1e-6, "{name}");
    }
    let cost = &bench.json(&["cost", "--json", "--price-per-hour", "2.49", &one])["records"][0]["cost"];
    assert!(cost["usd_per_million_input_tokens"].is_null());
    let reason = cost["usd_per_million_input_tokens_reason"].as_str().expect("a reason");
    assert!(reason.contains("not separable: 1 input:output ratio"), "{reason}");
    close(figure(cost, "total"), 2.49 / 3600.0 * 1e6 / (8320.0 * cells[0].requests_per_second));
    // Asked for, and labelled.
    let text = bench.run(&["cost", "--price-per-hour", "2.49", "--price-ratio", "4", &one]).stdout;
    assert!(text.contains("allocated at the price ratio 4, not measured"), "{text}");
    // The cached share has the API's price for it, as in `compare`.
    let more = ["--price-ratio", "4", "--cached", "90%", "--api", "openai/gpt-4o-mini"];
    let args = ["cost", "--json", "--price-per-hour", "2.49"];
    let cost = &bench.json(&[&args[..], &more, &[one.as_str()]].concat())["records"][0]["cost"];
    // 8,192 in and 128 out; 0.15, cached 0.075, and 0.60 USD a million.
    let mix = (8192.0 * (0.1 * 0.15 + 0.9 * 0.075) + 128.0 * 0.60) / 8320.0;
    let sold = cost["api_comparison"].as_array().expect("prices");
    let of = |api: &Value| api["api"] == "openai/gpt-4o-mini" && api["tier"] == "standard";
    close(number(sold.iter().find(|api| of(api)).expect("it"), "/mix_usd_per_million"), mix);
    let args =
        ["compare", "--json", "--price-per-hour", "2.49", "--cached", "90%", "--api", "openai/gpt-4o-mini"];
    let compared = bench.json(&[&args[..], &[one.as_str()]].concat());
    let rows = compared["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["api"] == "openai/gpt-4o-mini" && row["tier"] == "standard");
    close(number(row.expect("its row"), "/usd_per_million"), mix);
    // Given together, three records of one mix each are as good as one of three.
    let parts: Vec<String> =
        (0..3).map(|at| served(&bench, &format!("part{at}.json"), &cells[at..=at])).collect();
    let mut args = vec!["cost", "--json", "--price-per-hour", "2.49", "--together"];
    args.extend(parts.iter().map(String::as_str));
    let cost = &bench.json(&args)["records"][0]["cost"];
    assert_eq!(cost["separations"][0]["cells"], 3);
    assert!((figure(cost, "input") / (2.49 / 3600.0 * 1e6 / 20_000.0) - 1.0).abs() < 1e-6);
}

/// By hand from the list: what each host bills, and the speed at which a machine at 2.49 USD an hour costs less.
#[test]
fn a_months_tokens_have_a_bill_and_a_speed_without_a_record() {
    let bench = Bench::new();
    let month = |more: &[&str]| {
        let args = ["cost", "--model", "gpt-oss-20b", "--input-per-month", "40B", "--output-per-month", "8B"];
        bench.json(&[&args[..], more, &["--json"]].concat())["month"].take()
    };
    let bare = month(&[]);
    assert!(
        bare["price"].is_null() && bare["price_reason"].as_str().is_some_and(|why| why.contains("--gpu"))
    );
    let bills = bare["bills"].as_array().expect("bills");
    let totals: Vec<f64> = bills.iter().map(|bill| number(bill, "/usd_per_month")).collect();
    assert!(totals.len() > 3 && totals.is_sorted(), "{totals:?}");
    assert!(bills.iter().any(|bill| bill["tier"] == "batch"), "groq sells it in batches");
    for bill in bills {
        let usd = 40_000.0 * number(bill, "/input_usd_per_million")
            + 8000.0 * number(bill, "/output_usd_per_million");
        close(number(bill, "/usd_per_month"), usd);
        assert!(bill["to_beat"].is_null());
    }
    let view = month(&["--hourly-cost", "2.49", "--utilization", "50%"]);
    close(number(&view, "/machine_usd_per_month"), 730.0 * 2.49);
    for bill in view["bills"].as_array().expect("bills") {
        let (usd, beat) = (number(bill, "/usd_per_month"), &bill["to_beat"]);
        // At that speed half an hour's tokens are worth the hour.
        let rate = number(beat, "/tokens_per_second_kept_busy");
        close(rate * 1800.0 * usd / 48e9, 2.49);
        let machines = number(beat, "/machines");
        assert!(machines * 730.0 * 2.49 < usd && usd <= (machines + 1.0) * 730.0 * 2.49, "{bill:#}");
        match beat["tokens_per_second_this_month"].as_f64() {
            Some(rate) => close(rate * machines * 730.0 * 1800.0, 48e9),
            None => assert!(machines < 1.0 && beat["tokens_per_second_this_month_reason"].is_string()),
        }
    }
    // Cached input at the provider's price for it.
    let cached = month(&["--cached", "50%"]);
    let of = |bill: &&Value| bill["cached_input_usd_per_million"].is_number();
    let bill = cached["bills"].as_array().expect("bills").iter().find(of).expect("one with such a price");
    close(number(bill, "/cached_input_usd"), 20_000.0 * number(bill, "/cached_input_usd_per_million"));
    close(number(bill, "/input_usd"), 20_000.0 * number(bill, "/input_usd_per_million"));
    // A machine by its GPU, at the catalog's rent, and a bill that no machine is below.
    let small = ["cost", "--input-per-month", "40M", "--output-per-month", "8M", "--model", "llama-3.1-8b"];
    let text = bench.run(&[&small[..], &["--gpu", "h100"]].concat());
    assert_eq!(text.code, 0, "{}", text.stderr);
    for part in [
        "A month of llama-3.1-8b: 40.0M input and 8.00M output tokens (5.00:1)",
        "never",
        "h100-sxm5-80gb",
        "kept busy",
    ] {
        assert!(text.stdout.contains(part), "{part} in {}", text.stdout);
    }
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 80), "{}", text.stdout);
    let markdown = bench.run(&[&small[..], &["--gpu", "h100", "-o", "md"]].concat()).stdout;
    assert!(
        markdown.starts_with("### A month of llama-3.1-8b") && markdown.contains("| --- | --- | ---: |"),
        "{markdown}"
    );
}

#[test]
fn what_a_month_needs_and_what_contradicts_it_is_said() {
    let bench = Bench::new();
    let path = served(
        &bench,
        "one.json",
        &[Served { input: 1500, output: 500, batch: 64, requests_per_second: 2.4 }],
    );
    let month = ["--input-per-month", "40M", "--output-per-month", "8M"];
    let named = [&month[..], &["--model", "llama-3.1-8b"]].concat();
    for (args, said) in [
        (vec![], "name a record or a folder of them"),
        (vec!["--input-per-month", "40M"], "--output-per-month"),
        (vec!["--output-per-month", "40M", "--model", "llama-3.1-8b"], "--input-per-month"),
        (month.to_vec(), "--model NAME"),
        (vec!["--model", "llama-3.1-8b"], "name a record"),
        ([&month[..], &["--model", "lama-3.1-8b"]].concat(), "did you mean `llama-3.1-8b`"),
        ([&month[..], &["--model", "smollm2-135m"]].concat(), "no API in the catalog sells smollm2-135m"),
        ([&named[..], &["--gpu", "h100", "--hourly-cost", "2"]].concat(), "cannot be used with"),
        ([&named[..], &["--gpu", "h1000"]].concat(), "did you mean"),
        ([&named[..], &["--target", "0.2"]].concat(), "cannot be combined"),
        ([&named[..], &["--blend", "3:1"]].concat(), "--blend"),
        ([&named[..], &["--utilization", "40%"]].concat(), "--gpu ID or --price-per-hour"),
        ([&named[..], &["--price-per-hour", "2,3"]].concat(), "one price"),
        ([&named[..], &[path.as_str()]].concat(), "bench compare RECORD"),
        (vec!["--gpu", "h100", &path], "the record names its GPU"),
        (vec!["--json", "-o", "md", &path], "conflicts with --json"),
    ] {
        let ran = bench.run(&[&["cost"][..], &args].concat());
        assert!(ran.code == 2 && ran.stderr.contains(said), "{args:?}: {} {}", ran.code, ran.stderr);
    }
    let ran = bench.run(&["compare", "--api", "llama-3.1-8b"]);
    assert!(ran.code == 2 && ran.stderr.contains("bench cost --model NAME"), "{}", ran.stderr);
}

#[test]
fn a_folder_is_a_line_a_record_and_a_table_in_markdown() {
    let bench = Bench::new();
    let cell = || [Served { input: 1500, output: 500, batch: 64, requests_per_second: 2.4 }];
    let first = served(&bench, "records/a.json", &cell());
    let mut other: Value =
        serde_json::from_str(&std::fs::read_to_string(&first).expect("a record")).expect("JSON");
    other["id"] = "another".into();
    bench.file("records/b.json", other.to_string().as_bytes());
    other["id"] = "broken".into();
    other["validity"]["verdict"] = "invalid".into();
    bench.file("records/c.json", other.to_string().as_bytes());
    // Long lists of samples are part of a record and no file of their own to a reader.
    let samples = "records/samples-d3897d1ed8142006b2a161eab34a1e55.json";
    bench.file(samples, b"[0.25]");
    let ran = bench.run(&["cost", "--price-per-hour", "2.49", "records"]);
    assert!(!ran.stderr.contains("samples-"), "{}", ran.stderr);
    assert!(
        ran.code == 0 && ran.stderr.contains("left out: ") && ran.stderr.contains("c.json"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.starts_with("2 records, USD per million tokens"), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("no verdict: suspect").count(), 2, "{}", ran.stdout);
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 82), "{}", ran.stdout);
    let full = bench.run(&["cost", "-v", "--price-per-hour", "2.49", "records"]).stdout;
    assert_eq!(full.matches("Cost at $2.49 an hour").count(), 2, "{full}");
    // Named alone it is refused, as before.
    assert_eq!(bench.run(&["cost", "records/c.json"]).code, 12);
    let table = bench.run(&["cost", "-o", "md", "--price-per-hour", "2.49", "records"]).stdout;
    assert_eq!(table.lines().filter(|line| line.starts_with("| records/")).count(), 2, "{table}");
    let json = bench.json(&["cost", "-o", "json", "--price-per-hour", "2.49", "records"]);
    assert_eq!(json["records"].as_array().map(Vec::len), Some(2));
    let one = believed(&bench, &first, 0.01);
    let table = bench.run(&["cost", "-o", "md", "--price-per-hour", "2.49", &one]).stdout;
    let said = bench.json(&["cost", "--json", "--price-per-hour", "2.49", &one]);
    let said = said["records"][0]["cost"]["verdict"]["text"].as_str().expect("words").to_owned();
    assert!(
        table.contains("100% busy") && table.contains(&format!("**Verdict** {said}")),
        "{said} in {table}"
    );
    let table = bench.run(&["compare", "-o", "md", "--price-per-hour", "2.49", &one]).stdout;
    assert!(table.contains(&format!("**Verdict** {said}")), "{said} in {table}");
}
