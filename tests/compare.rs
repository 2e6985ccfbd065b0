//! `bench compare` from outside: break-even against prices known here, and what may not be compared.

use serde_json::Value;

use crate::support::served::{Served, believed, served};
use crate::support::{Bench, quick};

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {value:#}"))
}

fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
}

/// 3,600 input and 1,200 output tokens a second on one H100.
fn seventy_billion(bench: &Bench) -> String {
    served(bench, "70b.json", &[Served { input: 1500, output: 500, batch: 64, requests_per_second: 2.4 }])
}

fn row<'a>(view: &'a Value, api: &str, tier: &str) -> &'a Value {
    let rows = view["rows"].as_array().expect("rows");
    rows.iter()
        .find(|row| row["api"] == api && row["tier"] == tier)
        .unwrap_or_else(|| panic!("{api} {tier} in {rows:#?}"))
}

/// The rent over the revenue at saturation, and the rent of a month over the price: both by hand.
#[test]
fn break_even_is_rent_over_revenue_and_a_months_rent_over_the_price() {
    let bench = Bench::new();
    let path = seventy_billion(&bench);
    let view = bench.json(&["compare", "--json", "--price-per-hour", "2.49", &path]);
    let groq = row(&view, "groq/llama-3.3-70b", "standard");
    let [input, output] =
        ["/input_usd_per_million", "/output_usd_per_million"].map(|price| number(groq, price));
    let revenue = (3600.0 * input + 1200.0 * output) * 3600.0 / 1e6;
    close(number(groq, "/break_even_utilization/value"), 2.49 / revenue);
    let mix = (3.0 * input + output) / 4.0;
    close(number(groq, "/break_even_tokens_per_month"), 730.0 * 2.49 / mix * 1e6);
    assert_eq!(groq["can_win"], true);
    close(number(&view, "/here/capacity_tokens_per_month"), 4800.0 * 3600.0 * 730.0);
    assert_eq!((&view["here"]["service"], &groq["same_model"]), (&"online".into(), &true.into()));
    let standard =
        view["spread"].as_array().expect("tiers").iter().find(|s| s["tier"] == "standard").expect("hosts");
    assert!(
        number(standard, "/min") <= number(standard, "/median")
            && number(standard, "/median") <= number(standard, "/max")
    );
    assert!(number(standard, "/hosts") > 1.0);
    let text = bench.run(&["compare", "--price-per-hour", "2.49", &path]).stdout;
    assert_eq!(view["validity"], "suspect", "an imported record was never checked here");
    for part in ["groq/llama-3.3-70b", "Verdict", "llama-3.3-70b: MMLU 86", "lowest", "Figures  suspect: "] {
        assert!(text.contains(part), "{part} in {text}");
    }
    // Too dear to win at any load: no number of tokens, and the reason.
    let dear = bench.json(&["compare", "--json", "--price-per-hour", "200", &path]);
    let groq = row(&dear, "groq/llama-3.3-70b", "standard");
    assert!(groq["can_win"] == false && groq["break_even_tokens_per_month"].is_null(), "{groq:#}");
    assert!(groq["break_even_tokens_per_month_reason"].as_str().is_some_and(|why| why.contains("no load")));
}

#[test]
fn an_offline_record_is_held_against_the_batch_tier() {
    let bench = Bench::new();
    assert_eq!(bench.run(&quick(&[])).code, 0);
    let path = bench.records().remove(0);
    let name = path.to_str().expect("a path");
    let view =
        bench.json(&["compare", "--json", "--api", "openai/gpt-4o-mini", "--tokens-per-month", "1T", name]);
    assert_eq!(view["here"]["service"], "offline");
    let [standard, batch] = ["standard", "batch"].map(|tier| row(&view, "openai/gpt-4o-mini", tier));
    close(number(standard, "/usd_per_million"), 2.0 * number(batch, "/usd_per_million"));
    let verdict = view["verdict"]["text"].as_str().expect("a sentence");
    assert!(verdict.contains("openai/gpt-4o-mini (another model, batch)"), "{verdict}");
    assert_eq!((&view["verdict"]["answer"], &view["verdict"]["ratio"]), (&"no_verdict".into(), &Value::Null));
    // Enough machines for the tokens, and one fewer would not do.
    let (machines, capacity) =
        (number(&view, "/volume/machines"), number(&view, "/here/capacity_tokens_per_month"));
    assert!(machines * capacity >= 1e12 && (machines - 1.0) * capacity < 1e12);
    close(number(&view, "/volume/usd_per_month"), machines * 730.0 * 2.49);
    // Another mix is priced where input and output were timed apart.
    let mixed = bench.json(&["compare", "--json", "--mix", "1:1", name]);
    let cost = &bench.json(&["cost", "--json", name])["records"][0]["cost"];
    let part = |kind: &str| number(cost, &format!("/usd_per_million_{kind}_tokens/value"));
    close(number(&mixed, "/here/usd_per_million/value"), f64::midpoint(part("input"), part("output")));
    let seconds = 1.0 / number(&mixed, "/here/tokens_per_second");
    close(number(&mixed, "/here/usd_per_million/value"), 2.49 / 3600.0 * seconds * 1e6);
}

/// At 20 million tokens a month one machine idles nearly all of it: the verdict is about the two bills.
#[test]
fn with_tokens_a_month_the_verdict_is_about_the_bills() {
    let bench = Bench::new();
    let path = seventy_billion(&bench);
    let args = ["compare", "--price-per-hour", "2.49", "--tokens-per-month", "20M", &path];
    let view = bench.json(&[&args[..], &["--json"]].concat());
    // One run of a server, never checked here: the two bills, and neither a factor nor a side.
    let doubtful = view["verdict"]["text"].as_str().expect("a sentence");
    assert!(
        doubtful.starts_with("no verdict: the record is suspect") && !doubtful.contains('×'),
        "{doubtful}"
    );
    assert!(doubtful.contains("$1,818 a month here (1 machine, 0.159% busy) against $"), "{doubtful}");
    let trusted = believed(&bench, &path, 0.02);
    let view =
        bench.json(&["compare", "--price-per-hour", "2.49", "--tokens-per-month", "20M", &trusted, "--json"]);
    let about = view["verdict"]["api"].as_str().expect("an API");
    let there = number(row(&view, about, "standard"), "/usd_per_month");
    let here = number(&view, "/volume/usd_per_month");
    close(here, 730.0 * 2.49);
    assert!(here > there);
    let verdict = view["verdict"]["text"].as_str().expect("a sentence");
    assert!(
        verdict.starts_with("at 20.0 million tokens a month ") && verdict.contains("× dearer here"),
        "{verdict}"
    );
    assert!(verdict.contains("$1,818 a month here (1 machine, 0.159% busy) against $"), "{verdict}");
    close(number(&view, "/verdict/ratio/value"), here / there);
    let full = &view["verdict_at_utilization"];
    assert!(full["text"].as_str().is_some_and(|text| text.contains("100% busy")), "{full}");
    assert_eq!(full["answer"], "cheaper", "always busy it is");
    // Without a volume there is one verdict, and the months list says how many rows it leaves out, each with its tier.
    let plain = bench.json(&["compare", "--json", "--price-per-hour", "2.49", &path]);
    assert!(plain.get("verdict_at_utilization").is_none());
    let plain =
        bench.run(&["compare", "--price-per-hour", "2.49", "--tokens-per-month", "20M", &trusted]).stdout;
    assert!(plain.contains("whatever the volume: "), "{plain}");
    let text = bench.run(&args).stdout;
    let more = format!("and {} more, dearer", view["rows"].as_array().map_or(0, Vec::len) - 5);
    assert!(text.contains(&more), "{more} in {text}");
    let indented = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let months: Vec<&str> = text.lines().filter(indented).filter(|line| line.ends_with("a month")).collect();
    assert_eq!(months.len(), 5, "{text}");
    assert!(months.iter().all(|line| line.contains(" standard ") || line.contains(" batch ")), "{months:?}");
    for wrong in ["1e30", "0"] {
        let ran = bench.run(&["compare", "--tokens-per-month", wrong, &path]);
        assert!(ran.code == 2 && ran.stderr.contains("from 1 to 1,000,000T"), "{wrong}: {}", ran.stderr);
    }
}

#[test]
fn another_models_tokens_are_counted_where_both_tokenizers_are_at_hand() {
    let bench = Bench::new();
    let path = seventy_billion(&bench);
    // One tokenizer cuts at each letter, the other takes `ab` as one.
    let tokenizer = |name: &str, merges: &str| {
        let vocab = r#"{"a":0,"b":1,"ab":2}"#;
        let json = format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{{"type":"BPE","vocab":{vocab},"merges":[{merges}]}}}}"#
        );
        bench.file(name, json.as_bytes()).to_str().expect("a path").to_owned()
    };
    let (own, api) = (tokenizer("own.json", ""), tokenizer("api.json", r#""a b""#));
    let text = bench.file("text.txt", b"abababab").to_str().expect("a path").to_owned();
    let args = ["compare", "--json", "--price-per-hour", "2.49", "--api", "openai/gpt-4o-mini", &path];
    let plain = bench.json(&args);
    let note = plain["notes"].to_string();
    assert!(note.contains("tokens of one model are not tokens of another"), "{note}");
    assert!(row(&plain, "openai/gpt-4o-mini", "standard")["usd_per_million_own_tokens"].is_null());
    let more = ["--text", &text, "--tokenizer", &own, "--api-tokenizer", &api];
    let view = bench.json(&[&args[..], &more].concat());
    assert_eq!(
        (&view["counted"]["characters"], &view["counted"]["own_tokens"], &view["counted"]["api_tokens"]),
        (&8.into(), &8.into(), &4.into())
    );
    let other = row(&view, "openai/gpt-4o-mini", "standard");
    // Half the tokens for the same text: half the price for ours.
    close(number(other, "/usd_per_million_own_tokens"), number(other, "/usd_per_million") / 2.0);
    close(number(other, "/usd_per_million_characters"), number(other, "/usd_per_million") / 2.0);
    close(
        number(other, "/ratio/value"),
        number(&view, "/here/usd_per_million/value") / number(other, "/usd_per_million") * 2.0,
    );
    let same = row(&view, "groq/llama-3.3-70b", "standard");
    close(number(same, "/usd_per_million_own_tokens"), number(same, "/usd_per_million"));
}

#[test]
fn records_are_compared_only_where_they_measured_the_same() {
    let bench = Bench::new();
    assert_eq!(bench.run(&quick(&[])).code, 0);
    assert_eq!(bench.run(&quick(&[])).code, 0);
    let paths = bench.records();
    let [a, b] = [&paths[0], &paths[1]].map(|path| path.to_str().expect("a path"));
    let found = &bench.json(&["compare", "--json", a, b])["comparisons"][0];
    assert_eq!(
        (&found["fingerprints"]["same_series"], &found["fingerprints"]["same_box"]),
        (&true.into(), &true.into())
    );
    let metrics = found["metrics"].as_array().expect("metrics");
    let decode = metrics.iter().find(|m| m["metric"] == "decode_tokens_per_second").expect("its ratio");
    close(number(decode, "/ratio/value"), number(decode, "/other") / number(decode, "/baseline"));
    assert!(number(decode, "/ratio/ci95/0") < number(decode, "/ratio/value"));
    // Dollars turn speed round.
    let dollars = found["dollars"].as_array().expect("dollars");
    let output = dollars.iter().find(|m| m["metric"] == "usd_per_million_output_tokens").expect("its ratio");
    close(number(output, "/ratio/value") * number(decode, "/ratio/value"), 1.0);

    let seeded = bench.json(&quick(&["--seed", "1", "--json", "--output", "-"]));
    let other = bench.file("seeded.json", seeded.to_string().as_bytes());
    let other = other.to_str().expect("a path");
    let refused = bench.run(&["compare", a, other]);
    assert_eq!(refused.code, 12, "{}", refused.stderr);
    for part in ["seed (0 against 1)", "model_content", "--across model_content,seed"] {
        assert!(refused.stderr.contains(part), "{part} in {}", refused.stderr);
    }
    let across = &bench.json(&["compare", "--json", "--across", "model,seed", a, other])["comparisons"][0];
    assert!(across["caveats"].to_string().contains("across seed (0 against 1)"), "{across:#}");
    assert_eq!(bench.run(&["compare", "--across", "colour", a, b]).code, 2);
    // Another format is another file of the same model.
    let mut other_format = seeded.clone();
    other_format["fingerprint"]["series_fields"]["seed"] = "0".into();
    other_format["fingerprint"]["series_fields"]["quantization"] = "Q4_0".into();
    let path = bench.file("format.json", other_format.to_string().as_bytes());
    let args = ["compare", "--across", "quantization", a, path.to_str().expect("a path")];
    let ran = bench.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    other_format["model"]["catalog_id"] = "llama-3.2-1b".into();
    bench.file("format.json", other_format.to_string().as_bytes());
    let ran = bench.run(&args);
    assert!(ran.code == 12 && ran.stderr.contains("model_content"), "{}", ran.stderr);
    assert_eq!(bench.run(&["compare", "--api", "openai/gpt-4o-mini", a, b]).code, 2);

    let mut invalid = seeded;
    invalid["validity"]["verdict"] = "invalid".into();
    let invalid = bench.file("invalid.json", invalid.to_string().as_bytes());
    let invalid = invalid.to_str().expect("a path");
    assert_eq!(bench.run(&["compare", invalid]).code, 12);
    assert_eq!(bench.run(&["compare", "--allow-invalid", invalid]).code, 0);
}

#[test]
fn old_prices_are_an_error_when_asked_for() {
    let bench = Bench::new();
    let path = seventy_billion(&bench);
    let refused = bench.run(&["compare", "--price-per-hour", "2.49", "--max-age", "0", &path]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("--max-age allows 0 days"), "{}", refused.stderr);
    assert_eq!(bench.run(&["compare", "--price-per-hour", "2.49", "--max-age", "36500", &path]).code, 0);
}

/// The same record through `run`, `cost` and `compare`: one verdict in words and figures.
#[test]
fn run_cost_and_compare_give_one_verdict() {
    let bench = Bench::new();
    let run = ["run", "--model", "synthetic:llama-3.2-1b:q4_0", "-p", "4", "-n", "2", "-r", "2"];
    // The run's own verdict: the record is of a debug build, and so suspect.
    let ran = bench.run(&[&run[..], &["--price-per-hour", "2.49"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let path = bench.records().remove(0);
    let name = path.to_str().expect("a path").to_owned();
    let record: Value = serde_json::from_slice(&std::fs::read(&path).expect("a record")).expect("a record");
    let sealed = &record["cost"]["verdict"];
    assert_eq!(
        (&sealed["same_model"], &sealed["answer"]),
        (&true.into(), &"no_verdict".into()),
        "{sealed:#}"
    );
    assert!(sealed["ratio"].is_null() && sealed["utilization"] == 1.0);
    let block = |text: &str| -> String {
        let from = text.split("Verdict").nth(1).unwrap_or_else(|| panic!("no verdict in {text}"));
        let lines =
            from.lines().enumerate().take_while(|(at, line)| *at == 0 || line.starts_with("         "));
        lines.map(|(_, line)| line.trim()).collect::<Vec<_>>().join(" ")
    };
    let said = |text: &str| block(text).split(" another cell").next().unwrap_or_default().to_owned();
    let said_by_run = said(&ran.stdout);
    assert!(said_by_run.starts_with("no verdict: the record is suspect"), "{said_by_run}");
    assert!(said_by_run.contains("100% busy") && !said_by_run.contains('×'), "{said_by_run}");
    for command in ["cost", "compare"] {
        assert_eq!(said(&bench.run(&[command, &name]).stdout), said_by_run, "{command}");
    }
    // Believed and with intervals, at prices on either side: the two views agree, also about utilization and named APIs.
    let trusted = believed(&bench, &name, 0.03);
    let mut answers = Vec::new();
    for price in ["0.0001", "0.01", "2.49"] {
        for more in
            [&[][..], &["--utilization", "40%"], &["--api", "openai/gpt-4o-mini"], &["--cached", "50%"]]
        {
            let args = [&["--json", "--price-per-hour", price, &trusted], more].concat();
            let cost = bench.json(&[&["cost"][..], &args].concat());
            let compare = bench.json(&[&["compare"][..], &args].concat());
            let verdict = &compare["verdict"];
            assert_eq!(&cost["records"][0]["cost"]["verdict"], verdict, "{price} {more:?}");
            answers.push(verdict["answer"].as_str().expect("an answer").to_owned());
        }
    }
    for answer in ["cheaper", "dearer"] {
        assert!(answers.iter().any(|found| found == answer), "{answer} in {answers:?}");
    }
    // Green is for good news alone.
    let green = |args: &[&str]| {
        let text = bench.run(&[&["compare", "--color", "always"], args].concat()).stdout;
        text.lines().any(|line| line.contains("here") && line.contains("\u{1b}[32m"))
    };
    assert!(green(&["--price-per-hour", "0.0001", &trusted]));
    assert!(!green(&["--price-per-hour", "0.0001", &name]), "a suspect record");
    let mut unused: Value =
        serde_json::from_str(&std::fs::read_to_string(&trusted).expect("it")).expect("JSON");
    unused["environment"]["unused_gpu"] = serde_json::json!({
        "name": "NVIDIA L4", "reason": "this build has no engine for it", "command": "build one that has"
    });
    let unused = bench.file("unused.json", unused.to_string().as_bytes());
    let unused = unused.to_str().expect("a path");
    assert!(!green(&["--price-per-hour", "0.0001", unused]), "a GPU that was not used");
    let said = bench.run(&["cost", "--price-per-hour", "0.0001", unused]).stdout;
    assert!(block(&said).starts_with("no verdict: the CPU was measured, and the GPU"), "{said}");
}

/// A month's tokens by kind are their sum at their mix; a model means all its hosts.
#[test]
fn a_month_by_kind_and_a_model_for_its_hosts() {
    let bench = Bench::new();
    assert_eq!(bench.run(&quick(&[])).code, 0);
    let path = bench.records().remove(0);
    let name = path.to_str().expect("a path");
    let view =
        |args: &[&str]| bench.json(&[&["compare", "--json", "--api", "llama-3.1-8b", name], args].concat());
    let by_kind = view(&["--input-per-month", "40M", "--output-per-month", "8M"]);
    let together = view(&["--tokens-per-month", "48M", "--mix", "5:1"]);
    for part in ["volume", "rows", "verdict", "here"] {
        assert_eq!(by_kind[part], together[part], "{part}");
    }
    let rows = by_kind["rows"].as_array().expect("rows");
    let hosts: Vec<&Value> = rows.iter().filter(|row| row["tier"] == "standard").collect();
    assert_eq!(hosts.len(), 6, "{rows:#?}");
    for row in hosts {
        assert!(row["api"].as_str().is_some_and(|api| api.ends_with("/llama-3.1-8b")), "{row:#}");
        let usd = 40.0 * number(row, "/input_usd_per_million") + 8.0 * number(row, "/output_usd_per_million");
        close(number(row, "/usd_per_month"), usd);
    }
    for wrong in [
        &["--input-per-month", "40M"][..],
        &["--input-per-month", "40M", "--output-per-month", "8M", "--mix", "3:1"],
        &["--input-per-month", "40M", "--output-per-month", "8M", "--tokens-per-month", "48M"],
        &["--api", "llama-3.1-9b"],
        &["--api", "smollm2-135m"],
    ] {
        let ran = bench.run(&[&["compare", name], wrong].concat());
        assert_eq!(ran.code, 2, "{wrong:?}: {}", ran.stderr);
    }
}
