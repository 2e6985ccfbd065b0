//! `bench forecast` from outside: a class of the user's own with a curve known by hand, the bundled ones, and what is refused.

use serde_json::Value;

use crate::support::{Bench, quick};

/// A class whose cheapest price halves each year, from 8 USD in 2022, and one model below its gate.
fn halving(years: &[(i32, f64)]) -> Bench {
    let bench = Bench::new();
    let class = "[[class]]\nid = \"mine\"\nname = \"my class\"\nbenchmark = \"exam\"\nat_least = 50\nsource = \"house rule 1\"\n";
    bench.file("own/classes.toml", class.as_bytes());
    let score = |model: &str, percent: u32| {
        format!(
            "[[score]]\nmodel = \"{model}\"\nbenchmark = \"exam\"\npercent = {percent}\nsetting = \"once\"\nsource = \"house exam of 2026\"\n"
        )
    };
    let scores = score("a", 60) + &score("weak", 40);
    bench.file("own/scores.toml", scores.as_bytes());
    let point = |model: &str, day: &str, usd: f64| {
        format!(
            "[[point]]\nmodel = \"{model}\"\nprovider = \"house\"\ndate = \"{day}\"\ndate_kind = \"exact\"\ndate_basis = \"a bill\"\n\
             input_usd_per_mtok = {usd:?}\noutput_usd_per_mtok = {usd:?}\nsource = \"bill of {day}\"\n"
        )
    };
    let mut points = point("weak", "2022-06-01", 0.001) + &point("unknown", "2022-06-01", 0.001);
    for (year, usd) in years {
        points += &point("a", &format!("{year:04}-01-01"), *usd);
    }
    bench.file("own/prices/history.toml", points.as_bytes());
    bench
}

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {value}"))
}

#[test]
fn a_price_that_halves_each_year_halves_in_twelve_months() {
    let bench = halving(&[(2022, 8.0), (2023, 4.0), (2024, 2.0), (2024, 9.0), (2025, 1.0)]);
    let args = ["forecast", "--config", "own", "--class", "mine", "--json"];
    let found = bench.json(&[&args[..], &["--claim", "0.1@2027-01-01"]].concat());
    assert_eq!(found["record_lows"].as_array().map(Vec::len), Some(4));
    assert_eq!(found["excluded"]["below_gate"], 1);
    assert_eq!(found["fit"]["n"], 4);
    // Three of the years have 365 days, and a year counts 365.25.
    assert!((number(&found, "/fit/yearly_factor/value") - 2.0).abs() < 0.005);
    assert!((number(&found, "/fit/halving_months/value") - 12.0).abs() < 0.02);
    assert!((number(&found, "/fit/theil_sen/yearly_factor/value") - 2.0).abs() < 0.005);
    // A quarter dollar on that day, so a tenth is not there.
    assert!((number(&found, "/claim/foreseen/usd_per_million") - 0.25).abs() < 0.005);
    assert_eq!(found["claim"]["verdict"], "contradicted");
    // Half of today's last price: a year after it.
    let args =
        [&args[..], &["--use-case", "500,500", "--tasks-per-month", "1000", "--budget", "0.5"]].concat();
    let found = bench.json(&args);
    assert!((number(&found, "/use_case/needed_usd_per_million") - 0.5).abs() < 1e-12);
    let day = found["use_case"]["day"]["expected"].as_str().expect("a day").to_owned();
    assert!(day.starts_with("2025-12-3") || day.starts_with("2026-01-0"), "{day}");
    assert_eq!(found["use_case"]["viable_now"], Value::Null);
    let reason = found["use_case"]["viable_now_reason"].as_str().unwrap_or_default();
    assert!(reason.contains("no API in the catalog sells a model of the my class"), "{reason}");
}

#[test]
fn three_points_are_points_and_no_rate() {
    let bench = halving(&[(2022, 8.0), (2023, 4.0), (2024, 2.0)]);
    let args = ["forecast", "--config", "own", "--class", "mine"];
    let text = bench.run(&args);
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert!(text.stdout.contains("n = 3: a rate needs at least 4 points"), "{}", text.stdout);
    assert!(
        text.stdout.matches("house/a").count() == 3 && !text.stdout.contains("a year"),
        "{}",
        text.stdout
    );
    let found = bench.json(&[&args[..], &["--json"]].concat());
    assert!(
        found["fit"].is_null() && found["fit_reason"].as_str().is_some_and(|reason| reason.contains("n = 3"))
    );
    assert_eq!(found["curve"], serde_json::json!([]));
}

#[test]
fn without_flags_it_says_all_of_it_in_eighty_columns() {
    let ran = Bench::new().run(&["forecast"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for needle in [
        "GPT-4 class: MMLU of at least 83",
        "× a year",
        "halves in",
        "Theil-Sen",
        "dated only",
        "100.0× in 16 months",
        "\"GPT-4 class under $0.01 a million by 2027-01-01\"",
        "Assumed",
        "●",
        "░",
    ] {
        assert!(ran.stdout.contains(needle), "{needle} is not in\n{}", ran.stdout);
    }
    assert!(!ran.stdout.contains('\x1b'));
    for line in ran.stdout.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn the_drawing_goes_to_a_file_and_json_alone_to_stdout() {
    let bench = Bench::new();
    for class in ["gpt-4", "gpt-3.5", "gpt-3"] {
        let found = bench.json(&["forecast", "--json", "--class", class, "--svg", "plot.svg"]);
        let svg = std::fs::read_to_string(bench.folder().join("plot.svg")).expect("a drawing");
        let lows = found["record_lows"].as_array().expect("lows").len();
        assert!(svg.starts_with("<svg xmlns=") && svg.trim_end().ends_with("</svg>"));
        // One disc a low and one in the legend.
        assert_eq!(svg.matches("<circle class=\"strong\"").count(), lows + 1, "{class}");
        assert!(svg.contains("USD per million tokens, logarithmic") && svg.contains("prefers-color-scheme"));
    }
}

#[test]
fn a_use_case_is_priced_by_hand() {
    let bench = Bench::new();
    let args =
        ["forecast", "--json", "--input-tokens", "3000", "--output-tokens", "1000", "--calls-per-task", "2"];
    let more = [
        "--success-rate",
        "80%",
        "--cached",
        "50%",
        "--api",
        "openai/gpt-4o",
        "--value-per-task",
        "0.1",
        "--margin",
        "60%",
    ];
    let found = bench.json(&[&args[..], &more[..]].concat());
    let standing = &found["use_case"]["standings"][0];
    let price = |name: &str| number(standing, &format!("/basis/{name}_usd_per_million"));
    let (input, cached, output) = (price("input"), price("cached_input"), price("output"));
    let by_hand = 2.5 * (3000.0 * (0.5 * input + 0.5 * cached) + 1000.0 * output) / 1e6;
    assert!((number(standing, "/usd_per_task") / by_hand - 1.0).abs() < 1e-12);
    assert!((number(&found, "/use_case/limit/usd_per_task") - 0.04).abs() < 1e-12);
    assert_eq!(found["use_case"]["viable_now"], by_hand <= 0.04);
    // The curve is drawn at the task's own mix.
    assert!((number(&found, "/blend_ratio") - 3.0).abs() < 1e-12);
}

#[test]
fn a_record_stands_beside_the_curve() {
    let bench = Bench::new();
    assert_eq!(bench.run(&quick(&[])).code, 0);
    let path = bench.records().remove(0);
    let name = path.to_str().expect("a path");
    let record: Value = serde_json::from_slice(&std::fs::read(&path).expect("a record")).expect("JSON");
    let found = bench.json(&["forecast", "--json", "--allow-invalid", "--use-case", "300,100", name]);
    let cost = |kind: &str| number(&record, &format!("/cost/usd_per_million_{kind}_tokens/value"));
    let (input, output) = (cost("input"), cost("output"));
    assert!((number(&found, "/own/0/usd_per_million") / ((3.0 * input + output) / 4.0) - 1.0).abs() < 1e-12);
    assert!(
        found["own"][0]["in_class"].is_null()
            && found["own"][0]["in_class_reason"].as_str().is_some_and(|reason| reason.contains("synthetic"))
    );
    let standing = &found["use_case"]["standings"][0];
    assert_eq!(standing["basis"]["kind"], "record");
    assert!(
        (number(standing, "/usd_per_task") / ((300.0 * input + 100.0 * output) / 1e6) - 1.0).abs() < 1e-12
    );
    // The curve is that of the prices alone.
    let alone = bench.json(&["forecast", "--json", "--use-case", "300,100"]);
    assert_eq!(found["fit"], alone["fit"]);
    assert_eq!(found["own"][0]["validity"], record["validity"]["verdict"]);
    assert_eq!(found["own"][0]["date_basis"], "measured");
    let text = bench.run(&["forecast", "--allow-invalid", name]).stdout;
    // A debug build is never valid.
    assert!(text.contains("    the record is ") && !text.contains("its file has no date"), "{text}");
    assert!(
        text.contains("◆ measured here")
            && text.contains("a cost, not a price")
            && text.contains("synthetic"),
        "{text}"
    );

    // The same measured on weights whose published score passes the gate.
    let mut real = record.clone();
    real["model"]["synthetic"] = false.into();
    real["model"]["catalog_id"] = "llama-3.3-70b".into();
    let real = bench.file("real.json", real.to_string().as_bytes());
    let args = ["forecast", "--json", "--allow-invalid", real.to_str().expect("a path")];
    assert_eq!(bench.json(&args)["own"][0]["in_class"], true);
    let mut broken = record.clone();
    broken["validity"]["verdict"] = "invalid".into();
    let invalid = bench.file("invalid.json", broken.to_string().as_bytes());
    let refused = bench.run(&["forecast", invalid.to_str().expect("a path")]);
    assert_eq!(refused.code, 12, "{}", refused.stderr);
    broken["validity"]["verdict"] = "valid".into();
    broken["cost"]["usd_per_million_output_tokens"] = Value::Null;
    broken["cost"]["usd_per_million_output_tokens_reason"] = "nobody looked".into();
    let costless = bench.file("costless.json", broken.to_string().as_bytes());
    let refused = bench.run(&["forecast", costless.to_str().expect("a path")]);
    assert!(refused.code == 12 && refused.stderr.contains("nobody looked"), "{}", refused.stderr);
}

#[test]
fn what_cannot_be_answered_says_why() {
    let bench = Bench::new();
    for (args, code, needle) in [
        (&["--class", "gpt-44"][..], 2, "did you mean `gpt-4`"),
        (&["--api", "openai/gpt-4o-mni", "--use-case", "1,1"], 2, "openai/gpt-4o-mini"),
        (&["--api", "openai/gpt-4o"], 2, "--use-case IN,OUT"),
        (&["--use-case", "3000"], 2, "3000,500"),
        (&["--use-case", "3000,500", "--blend", "3:1"], 2, "cannot be used with"),
        (&["--use-case", "3000,500", "--budget", "5"], 2, "--tasks-per-month"),
        (&["--use-case", "1,1", "--value-per-task", "1", "--margin", "100%"], 2, "below 100%"),
        (&["--input-tokens", "5"], 2, "--output-tokens"),
        (&["--cached", "50%"], 2, "--cached: it describes a use case"),
        (&["--use-case", "-1,5"], 2, "3000,500"),
        (&["--use-case", "1,1", "--value-per-task", "-1"], 2, "expected a number above 0"),
        (&["--claim", "-1@2027-01-01"], 2, "0.01@2027-01-01"),
        (&["--claim", "0.01"], 2, "0.01@2027-01-01"),
        (&["--until", "soon"], 2, "2027-01-01"),
        (&["--tasks-per-month", "5"], 2, "--use-case IN,OUT"),
        (&["nothing.json"], 13, "nothing.json"),
        (&["--svg", "no/such/folder/plot.svg"], 1, "--svg FILE"),
    ] {
        let ran = bench.run(&[&["forecast"], args].concat());
        assert_eq!(ran.code, code, "{args:?}\n{}{}", ran.stdout, ran.stderr);
        assert!(ran.stderr.contains(needle), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_last_day_far_away_is_drawn_all_the_same_and_one_in_the_past_is_refused() {
    let bench = Bench::new();
    for until in ["2020-01-01", "2024-06-01"] {
        let ran = bench.run(&["forecast", "--until", until]);
        assert!(ran.code == 2 && ran.stderr.contains("--until"), "{until}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{until} has passed")), "{until}: {}", ran.stderr);
    }
    let far = bench.run(&["forecast", "--claim", "0.05@9999-01-01"]);
    assert!(
        far.code == 0 && !far.stdout.contains("$0.00e0") && far.stdout.contains("about $0"),
        "{}",
        far.stdout
    );
    for until in ["2100-01-01", "9999-12-31"] {
        let found = bench.json(&["forecast", "--json", "--until", until, "--svg", "plot.svg"]);
        assert!(found["curve"].as_array().is_some_and(|curve| !curve.is_empty()), "{until}");
        let text = bench.run(&["forecast", "--until", until]);
        assert!(text.code == 0 && text.stdout.contains('●'), "{until}: {}", text.stderr);
    }
}

#[test]
fn absurd_prices_and_days_are_drawn_without_a_panic() {
    let bench = halving(&[(1, 1e-20), (2, 9e-21), (1000, 1e-22), (2026, 1e-27), (9999, 1.0)]);
    let ran = bench.run(&["forecast", "--config", "own", "--class", "mine", "--svg", "plot.svg"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for line in ran.stdout.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    let svg = std::fs::read_to_string(bench.folder().join("plot.svg")).expect("a drawing");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}
