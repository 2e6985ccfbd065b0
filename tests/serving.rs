//! `bench run --url`: load on servers that answer as they are told, and on a real llama-server. The same load on the
//! engine here is in `here`, servers that are started for the run in `started`.

mod here;
mod started;

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infercost_base::clock;
use infercost_base::units::Seconds;
use serde_json::Value;

use crate::support::fake_nvml::{FakeNvml, GpuScript, Script, Trace};
use crate::support::{self, Bench, Ran};

#[allow(dead_code, reason = "the client's own tests use the rest")]
#[path = "../crates/endpoint/src/tests/truth.rs"]
mod truth;

use truth::{After, Answer, Server};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A token every 2 ms after 5 ms.
fn tokens() -> Answer {
    Answer::Tokens { first: ms(5), gap: ms(2), a_write: 1 }
}

/// A load of a second or two.
fn load<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--url", url, "-p", "16", "-n", "16", "--price-per-hour", "3.6"], more].concat()
}

fn record_of(bench: &Bench) -> Value {
    let written = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).expect("a file");
    let path = bench.records().into_iter().max_by_key(written).expect("a record");
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// What `run` leaves once each of its rows has a steady window: on a busy box it may take another go.
fn steady(run: impl Fn() -> Value) -> Value {
    for _ in 0..4 {
        let record = run();
        let rows = record["serving"]["rows"].as_array().expect("rows");
        if rows.iter().all(|row| row["steady_seconds"].is_number()) {
            return record;
        }
        eprintln!("not steady: {}", check(&record, "steady_state"));
    }
    panic!("no run was steady");
}

fn check<'a>(record: &'a Value, name: &str) -> &'a Value {
    let checks = record["validity"]["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} in {checks:?}"))
}

/// The measurement of a metric at so many requests in flight.
fn figure<'a>(record: &'a Value, metric: &str, batch: u64) -> &'a Value {
    let all = record["measurements"].as_array().expect("measurements");
    all.iter()
        .find(|m| m["metric"] == metric && m["cell"]["batch"] == batch)
        .unwrap_or_else(|| panic!("{metric} at {batch}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Every null has its reason, and the record fits the schema.
fn is_whole(bench: &Bench, record: &Value) {
    let mut unexplained = Vec::new();
    crate::record::nulls_without_reason("", record, &mut unexplained);
    unexplained.retain(|path| !(path.starts_with(".cost") && path.ends_with("ci95")));
    assert!(unexplained.is_empty(), "{unexplained:?}");
    let schema: Value = serde_json::from_str(&bench.run(&["schema"]).stdout).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let wrong: Vec<String> = validator.iter_errors(record).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_sweep_leaves_a_record_with_latencies_rates_prices_and_what_was_asked() {
    let server = Server::start(|_| tokens());
    let url = server.url();
    let bench = Bench::new();
    let more = [
        "--max-concurrency",
        "1,4",
        "--num-prompts",
        "150",
        "--gpu",
        "h100",
        "--gpus",
        "2",
        "--slo",
        "ttft:1000",
    ];
    let record = steady(|| {
        let ran = bench.run(&load(&url, &more));
        assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
        for word in ["16+16 c1: ", "16+16 c4: "] {
            assert!(ran.stderr.contains(word), "rows are told as they finish: {}", ran.stderr);
        }
        for word in ["output/s", "TTFT p50", "16+16 c4", "goodput", "Figures"] {
            assert!(ran.stdout.contains(word), "{word} is missing in\n{}", ran.stdout);
        }
        let wide = ran.stdout.lines().find(|line| line.chars().count() > 80 && !line.starts_with("Record"));
        assert_eq!(wide, None, "{}", ran.stdout);
        record_of(&bench)
    });
    assert_eq!(record["serving"]["server"]["model"], "truth");
    // Its address is here, but the named GPU is not: as with a tunnel.
    assert_eq!(record["serving"]["server"]["on_this_machine"], false);
    let why = check(&record, "same_machine")["evidence"].as_str().expect("evidence");
    assert!(
        why.contains("which this machine does not have, so the server is taken to be elsewhere"),
        "{why}"
    );
    assert!(record["environment"]["cpu"].is_null() && record["energy"]["source"].is_null());
    assert_eq!(record["serving"]["load"]["prompts"], "random token ids");
    let rows = record["serving"]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    for (row, concurrency) in rows.iter().zip([1, 4]) {
        assert_eq!(row["max_concurrency"], concurrency);
        assert_eq!(row["requests"].as_object().expect("endings").keys().collect::<Vec<_>>(), ["completed"]);
        assert_eq!(row["prompt_tokens"]["mean"], 16.0);
        assert_eq!(row["output_tokens"]["most"], 16);
        assert_eq!(
            row["tokens_counted_by"].as_object().expect("counts").keys().collect::<Vec<_>>(),
            ["usage"]
        );
        assert_eq!(row["goodput"]["good"], row["goodput"]["due"]);
        assert!(number(&row["client"]["send_lag_p99_seconds"]) < 1.0);
        assert!(number(&row["warmup_requests"]) >= f64::from(concurrency));
    }
    // The server writes the first token after 5 ms and the others 2 ms apart.
    let first = figure(&record, "time_to_first_token_seconds", 1);
    assert!(number(&first["p50"]) >= 0.005 && number(&first["p50_ci95"][0]) >= 0.004, "{first}");
    assert!(number(&first["p95"]) >= number(&first["p90"]), "{first}");
    assert_eq!(first["formula"], "infercost.serving.time_to_first_token_seconds/1");
    let each = figure(&record, "time_per_output_token_seconds", 1);
    assert!((0.0018..0.02).contains(&number(&each["p50"])), "{each}");
    let gaps = figure(&record, "inter_token_latency_seconds", 1);
    assert!(gaps["p50_ci95"].is_null() && gaps["p50_ci95_reason"].is_string(), "{gaps}");
    // Four at once are served in parallel.
    let rate = |batch| number(&figure(&record, "output_tokens_per_second", batch)["value"]);
    assert!(rate(4) > 2.0 * rate(1), "{} against {}", rate(4), rate(1));

    // Two GPUs at 3.60 USD are 0.002 USD a second.
    assert_eq!(record["cost"]["price"]["usd_per_hour"], 7.2);
    assert_eq!(
        record["environment"]["gpus"]
            .as_array()
            .expect("GPUs")
            .iter()
            .filter(|gpu| gpu["used"] == true)
            .count(),
        2
    );
    let total = number(&figure(&record, "total_tokens_per_second", 4)["value"]);
    let cell = &record["cost"]["cells"][1];
    assert_eq!((&cell["cell"]["batch"], &cell["cell"]["phase"]), (&4.into(), &"serving".into()));
    let usd = number(&cell["usd_per_million_total_tokens"]["value"]);
    assert!((usd - 2000.0 / total).abs() < 1e-9 * usd, "{usd} at {total} tokens/s");
    assert_eq!(record["cost"]["headline_cell"]["batch"], 4);

    for name in
        ["run_complete", "requests_failed", "lengths_obeyed", "prefix_cache", "usage_agrees", "same_machine"]
    {
        assert_eq!(check(&record, name)["verdict"], "valid", "{name}: {}", check(&record, name));
    }
    assert_eq!(check(&record, "roofline")["verdict"], "not_checked");
    for field in ["sha256", "weight_bytes", "layers"] {
        assert!(record["model"][field].is_null() && record["model"][format!("{field}_reason")].is_string());
    }
    is_whole(&bench, &record);
    let salt = |record: &Value| record["serving"]["load"]["salt"].as_str().expect("a salt").to_owned();
    let again =
        bench.json(&load(&url, &["--max-concurrency", "1", "--num-prompts", "5", "--json", "-o", "-"]));
    assert_ne!(salt(&record), salt(&again), "prompts differ from run to run");
    assert_eq!(again["serving"]["server"]["on_this_machine"], true);
    // Five requests are no steady state: there is no rate to export, and the export says so.
    let short = bench.file("short.json", again.to_string().as_bytes());
    let ran = bench.run(&["export", "--format", "vllm", &short.to_string_lossy()]);
    let says = "16+16 c1: no total_tokens_per_second, which vLLM's object has: 5 requests";
    assert!(ran.code == 12 && ran.stderr.contains(says), "{}", ran.stderr);
    assert!(again["environment"]["logical_cpus"].is_u64());
}

#[test]
fn three_mixes_at_one_concurrency_give_input_and_output_a_price_each() {
    // A prompt token takes 0.2 ms, an output token 2 ms.
    let server = Server::start(|asked| {
        let prompt = asked.body["prompt"].as_array().map_or(0, Vec::len);
        Answer::Tokens { first: Duration::from_micros(200 * prompt as u64) + ms(2), gap: ms(2), a_write: 1 }
    });
    let bench = Bench::new();
    let url = server.url();
    let args = [
        "run",
        "--url",
        &url,
        "--pg",
        "200,5",
        "--pg",
        "100,20",
        "--pg",
        "20,40",
        "--max-concurrency",
        "1",
        "--max-time",
        "12s",
        "--price-per-hour",
        "3.6",
        "--json",
        "-o",
        "-",
    ];
    let record = steady(|| bench.json(&args));
    let fit = &record["cost"]["separations"][0];
    let seconds = |name: &str| number(&fit[name]);
    let (input, output) = (seconds("seconds_per_input_token"), seconds("seconds_per_output_token"));
    assert!((input / 0.0002 - 1.0).abs() < 0.25, "{input}: {fit}");
    assert!((output / 0.002 - 1.0).abs() < 0.25, "{output}: {fit}");
    assert_eq!(record["cost"]["cells"][0]["apart"], "separated");
}

#[test]
fn an_open_loop_counts_from_when_a_request_was_due() {
    let server = Server::start(|_| Answer::Tokens { first: ms(20), gap: ms(1), a_write: 4 });
    let bench = Bench::new();
    let url = server.url();
    let more = ["--request-rate", "20,40", "--burstiness", "inf", "--max-time", "8s", "--json", "-o", "-"];
    let record = steady(|| bench.json(&load(&url, &more)));
    let rows = record["serving"]["rows"].as_array().expect("rows");
    for (row, rate) in rows.iter().zip([20.0, 40.0]) {
        assert_eq!((&row["pace"], &row["requests_per_second"]), (&"open".into(), &rate.into()));
        assert!(row["max_concurrency"].is_null() && row["burstiness"].is_null());
        let found = record["measurements"].as_array().expect("measurements").iter();
        let mut found = found.filter(|m| m["cell"]["requests_per_second"] == rate);
        let measured = found.find(|m| m["metric"] == "requests_per_second").expect("a rate");
        assert!((number(&measured["value"]) / rate - 1.0).abs() < 0.1, "{measured}");
    }
    let reason = record["cost"]["usd_per_million_input_tokens_reason"].as_str().expect("a reason");
    assert!(reason.contains("also idles"), "{reason}");
    // Twice the load at the same rent is half the price.
    assert_eq!(record["cost"]["headline_cell"]["requests_per_second"], 40.0);
}

/// A server that pauses for a second: two of some 400 requests wait for it, and all that were due meanwhile wait for these
/// two. A clock that starts when a request is sent hides that.
#[test]
fn a_pause_of_a_second_is_in_the_tail_of_what_was_due() {
    let begun = std::sync::OnceLock::new();
    let server = Server::start(move |asked| {
        if !asked.path.ends_with("/completions") {
            return tokens();
        }
        let since = begun.get_or_init(clock::now);
        let now = clock::now().since(*since).get();
        if (6.0..7.0).contains(&now) {
            clock::sleep(Duration::from_secs_f64(7.0 - now));
        }
        Answer::Tokens { first: ms(10), gap: ms(1), a_write: 1 }
    });
    let bench = Bench::new();
    let url = server.url();
    let more = [
        "--request-rate",
        "40",
        "--max-concurrency",
        "2",
        "--max-time",
        "12s",
        "-n",
        "4",
        "--json",
        "-o",
        "-",
    ];
    let record =
        bench.json(&["run", "--url", &url, "-p", "16"].iter().copied().chain(more).collect::<Vec<_>>());
    let p99 = |metric: &str| number(&figure(&record, metric, 2)["p99"]);
    let (due, sent) = (p99("time_to_first_token_seconds"), p99("time_to_first_token_after_send_seconds"));
    eprintln!("p99 of TTFT from when a request was due {due:.3} s, from when it was sent {sent:.3} s");
    assert!(due > 0.5, "{due}");
    assert!(sent < 0.1, "{sent}");
}

/// Runs against a server that fails in this way.
fn failing(answer: impl Fn(&truth::Asked) -> Answer + Send + Sync + 'static, more: &[&str]) -> (Ran, Bench) {
    let server = Server::start(answer);
    let bench = Bench::new();
    let url = server.url();
    let time: &[&str] = if more.contains(&"--max-time") { &[] } else { &["--max-time", "4s"] };
    let ran = bench.run(&load(&url, &[time, &["--max-concurrency", "2"], more].concat()));
    (ran, bench)
}

fn on_completions(asked: &truth::Asked, answer: Answer) -> Answer {
    if asked.path.ends_with("/models") { tokens() } else { answer }
}

#[test]
fn a_server_that_answers_nothing_ends_the_run_with_a_sentence_and_no_record() {
    let status = |status, body: &str| {
        let body = body.to_owned();
        move |_: &truth::Asked| Answer::Status(status, "", body.clone())
    };
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let bench = Bench::new();
    let refused = bench.run(&load(&format!("http://{closed}"), &[]));
    let stalled = |asked: &truth::Asked| on_completions(asked, Answer::Then(0, After::Silence));
    let broken =
        |asked: &truth::Asked| on_completions(asked, Answer::Status(500, "", "out of memory".to_owned()));
    let named = ["--served-model-name", "x"];
    for (what, (ran, bench), code, words) in [
        ("refused", (refused, bench), 13, "nothing listens at"),
        ("401", failing(status(401, "no key"), &[]), 1, "answered 401"),
        ("404", failing(status(404, "no such page"), &named), 13, "answered 404: no such page"),
        ("500", failing(broken, &[]), 1, "answered 500: out of memory"),
        ("stalled", failing(stalled, &["--timeout", "400ms"]), 1, "no token for 0.4 s"),
    ] {
        assert_eq!(ran.code, code, "{what}: {}", ran.stderr);
        let error = ran.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(error.contains(words) && error.contains("; "), "{what}: {}", ran.stderr);
        assert!(ran.stdout.is_empty() && bench.records().is_empty(), "{what}: {}", ran.stdout);
    }
}

#[test]
fn some_failures_are_counted_by_their_kind_and_make_the_record_suspect() {
    let answer = |asked: &truth::Asked| {
        if asked.index % 10 == 9 { Answer::Then(3, After::Cut) } else { tokens() }
    };
    let (ran, bench) = failing(answer, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let record = record_of(&bench);
    let row = &record["serving"]["rows"][0];
    assert!(number(&row["requests"]["closed_early"]) > 5.0, "{row}");
    assert_eq!(row["failures"][0]["ending"], "closed_early");
    let failed = check(&record, "requests_failed");
    assert_eq!((&failed["verdict"], &record["validity"]["verdict"]), (&"suspect".into(), &"suspect".into()));
    assert_eq!(record["cost"]["verdict"]["answer"], "no_verdict");
    assert!(ran.stdout.contains("closed_early"), "{}", ran.stdout);
}

#[test]
fn a_server_that_dies_in_mid_run_leaves_what_was_measured_and_says_so() {
    let answer = |asked: &truth::Asked| {
        if asked.index > 40 { on_completions(asked, Answer::Raw(Vec::new())) } else { tokens() }
    };
    let (ran, bench) = failing(answer, &["--max-time", "60s"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("what was measured before is kept in results/"), "{}", ran.stderr);
    let record = record_of(&bench);
    assert_eq!(record["validity"]["verdict"], "invalid");
    let evidence = check(&record, "run_complete")["evidence"].as_str().expect("text").to_owned();
    assert!(evidence.contains("no longer answers"), "{evidence}");
    assert_eq!(record["workload"]["rows"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_interrupt_leaves_a_record_that_says_so() {
    let server = Server::start(|_| tokens());
    let bench = Bench::new();
    let url = server.url();
    let args = load(&url, &["--max-concurrency", "2,4", "--max-time", "100s"]);
    let child =
        bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    std::thread::sleep(ms(2500));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("kill").success());
    let ran = support::ran(&child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    let record = record_of(&bench);
    assert_eq!(
        (&record["command"]["interrupted"], &record["validity"]["verdict"]),
        (&130.into(), &"invalid".into())
    );
    assert_eq!(record["workload"]["rows_left_out"][0]["row"], "16+16 c4");
}

#[test]
fn no_secret_of_the_way_to_a_server_reaches_a_record_or_a_message() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let server = Server::start(move |asked| {
        seen.lock().expect("a lock").push(asked.head.clone());
        let body = format!("no: {}", asked.head);
        if asked.head.contains("X-Refuse") { Answer::Status(401, "", body) } else { tokens() }
    });
    let bench = Bench::new();
    bench.file("key.txt", b"TopSecretKey123456789\n");
    let url = format!("{}/v1?token=InTheQuery777", server.url());
    let secrets = ["TopSecretKey123456789", "InAHeader888", "InTheQuery777"];
    let base = ["--api-key-file", "key.txt", "--header", "X-Team: InAHeader888", "--max-concurrency", "1"];
    for more in [&["--num-prompts", "4"][..], &["--header", "X-Refuse: yes"]] {
        let ran = bench.run(&load(&url, &[&base[..], more].concat()));
        for secret in secrets {
            assert!(!ran.stdout.contains(secret) && !ran.stderr.contains(secret), "{secret}: {}", ran.stderr);
        }
    }
    let kept = fs::read_to_string(bench.records().pop().expect("a record")).expect("text");
    assert!(secrets.iter().all(|secret| !kept.contains(secret)));
    let heads = heads.lock().expect("a lock").concat();
    for sent in [
        "Authorization: Bearer TopSecretKey123456789",
        "X-Team: InAHeader888",
        "/v1/completions?token=InTheQuery777",
    ] {
        assert!(heads.contains(sent), "{sent} was not sent");
    }
}

#[test]
fn chat_is_asked_with_words_and_a_cache_that_answers_is_seen() {
    let (ran, bench) = failing(|_| tokens(), &["--chat", "-p", "7"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let record = record_of(&bench);
    assert_eq!(record["serving"]["server"]["api"], "chat");
    assert_eq!(record["serving"]["load"]["prompts"], "random common words");
    // The server says that it knew three of seven prompt tokens.
    let cached = check(&record, "prefix_cache");
    assert_eq!(cached["verdict"], "suspect");
    assert!(cached["evidence"].as_str().is_some_and(|text| text.contains("42.9%")), "{cached}");
}

#[test]
fn others_on_the_server_are_seen_where_it_counts_its_tokens() {
    let run = |others: u64| {
        let made = Arc::new(AtomicU64::new(5000));
        let answer = move |asked: &truth::Asked| {
            if asked.path == "/metrics" {
                let page = format!(
                    "vllm:generation_tokens_total{{engine=\"0\"}} {}.0\n",
                    made.load(Ordering::SeqCst)
                );
                return Answer::Status(200, "Content-Type: text/plain\r\n", page);
            }
            made.fetch_add(asked.body["max_tokens"].as_u64().unwrap_or(0) + others, Ordering::SeqCst);
            tokens()
        };
        let (ran, bench) = failing(answer, &["--num-prompts", "20"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        check(&record_of(&bench), "foreign_requests").clone()
    };
    assert_eq!(run(0)["verdict"], "valid");
    assert_eq!(run(1)["verdict"], "suspect");
}

#[test]
fn a_dry_run_prints_the_plan_and_asks_nobody() {
    let bench = Bench::new();
    let args = ["run", "--url", "http://127.0.0.1:9", "--dry-run"];
    let plan = bench.json(&[&args[..], &["--json"]].concat());
    let labels: Vec<&str> =
        plan["rows"].as_array().expect("rows").iter().filter_map(|row| row["label"].as_str()).collect();
    assert_eq!(labels, ["512+128 c1", "512+128 c8", "512+128 c32"]);
    assert_eq!(plan["row_seconds"], 40.0);
    assert_eq!(bench.json(&[&args[..], &["-o", "-"]].concat())["rows"], plan["rows"]);
    let ran = bench.run(&args);
    assert!(ran.stdout.contains("512+128 c32") && ran.stdout.contains("40.0 s a row"), "{}", ran.stdout);
}

#[test]
fn records_of_a_server_are_priced_compared_and_followed_as_others_are() {
    let bench = Bench::new();
    let gap = Arc::new(AtomicU64::new(3));
    let told = Arc::clone(&gap);
    let server = Server::start(move |_| {
        let gap = ms(told.load(Ordering::SeqCst));
        Answer::Tokens { first: gap, gap, a_write: 1 }
    });
    let url = server.url();
    let run = |name: &str| -> Vec<String> {
        let one = |index: u32| {
            let file = format!("results/{name}{index}.json");
            let ran = bench.run(&load(&url, &["--max-concurrency", "2", "--max-time", "3s", "-o", &file]));
            assert_eq!(ran.code, 0, "{}", ran.stderr);
            bench.folder().join(file).display().to_string()
        };
        (0..3).map(one).collect()
    };
    let fast = run("fast");
    gap.store(6, Ordering::SeqCst);
    let slow = run("slow");

    let cost = bench.json(&["cost", &fast[0], "--price-per-hour", "7.2", "--json"]);
    let record: Value = serde_json::from_slice(&fs::read(&fast[0]).expect("a file")).expect("JSON");
    let of = |cost: &Value| number(&cost["usd_per_million_total_tokens"]["value"]);
    assert!((of(&cost["records"][0]["cost"]) / of(&record["cost"]) - 2.0).abs() < 1e-9, "twice the rent");
    let api = bench.run(&["compare", &fast[0], "--api", "openai/gpt-4o-mini"]);
    assert_eq!(api.code, 0, "{}", api.stderr);
    let both = bench.json(&["compare", &fast[0], &slow[0], "--json"]);
    let metrics = both["comparisons"][0]["metrics"].as_array().expect("metrics");
    let output = metrics.iter().find(|m| m["metric"] == "output_tokens_per_second").expect("a rate");
    assert!((0.4..0.65).contains(&number(&output["ratio"]["value"])), "{output}");
    let (baseline, candidate) =
        (["--baseline", &fast[0], &fast[1], &fast[2]], ["--candidate", &slow[0], &slow[1], &slow[2]]);
    let slower = bench.run(&[&["regress", "check"][..], &baseline, &candidate].concat());
    assert_eq!(slower.code, 10, "{}\n{}", slower.stdout, slower.stderr);
    let history = bench.run(&["regress", "history", "results"]);
    // Six points are too few for a change point, and that is said.
    assert_eq!(history.code, 11, "{}", history.stderr);
    assert!(history.stdout.contains("output_tokens_per_second"), "{}", history.stdout);
}

#[test]
fn a_gate_over_two_servers_finds_the_slower_one() {
    let server =
        |gap: u64| Server::start(move |_| Answer::Tokens { first: ms(gap), gap: ms(gap), a_write: 1 });
    let (fast, slow) = (server(10), server(30));
    let bench = Bench::new();
    let (fast, slow) = (fast.url(), slow.url());
    let gate = [
        "regress",
        "gate",
        "--baseline-url",
        &fast,
        "--candidate-url",
        &slow,
        "--pairs",
        "3",
        "--max-pairs",
        "3",
    ];
    let load = ["--", "-p", "8", "-n", "4", "--max-concurrency", "2", "--max-time", "2s"];
    let ran = bench.run(&[&gate[..], &["--patience", "0", "--json"], &load].concat());
    assert_eq!(ran.code, 10, "{}\n{}", ran.stdout, ran.stderr);
    let result: Value = serde_json::from_str(&ran.stdout).expect("a result");
    let findings = result["decision"]["findings"].as_array().expect("findings");
    let tpot = findings
        .iter()
        .find(|found| found["metric"].as_str().is_some_and(|name| name.starts_with("time_per_output")));
    let slowdown = number(&tpot.expect("TPOT is gated")["slowdown"]);
    assert!((1.4..2.6).contains(&slowdown), "{slowdown}");
    assert!(result["notes"].to_string().contains("two servers"), "{}", result["notes"]);
}

#[test]
fn the_energy_of_a_servers_gpu_that_is_here_is_that_of_its_steady_window() {
    let fake = FakeNvml::gpu(GpuScript { watts: Trace::constant(400.0), ..GpuScript::default() });
    let server = Server::start(|_| tokens());
    let bench = Bench::new();
    let (url, library) = (server.url(), fake.library().display().to_string());
    let args = [
        "run",
        "--url",
        &url,
        "-p",
        "16",
        "-n",
        "16",
        "--max-concurrency",
        "2",
        "--max-time",
        "8s",
        "--gpu",
        "h100",
        "--nvml-library",
        &library,
        "--json",
        "-o",
        "-",
    ];
    let record = steady(|| bench.json(&args));
    assert_eq!(record["serving"]["server"]["on_this_machine"], true);
    let gpus = record["environment"]["gpus"].as_array().expect("GPUs");
    assert_eq!(
        (gpus.len(), &gpus[0]["used"], &gpus[0]["name"]),
        (1, &true.into(), &"NVIDIA H100 80GB HBM3".into())
    );
    assert!(
        record["cost"]["price"]["label"].as_str().is_some_and(|label| label.contains("h100")),
        "{}",
        record["cost"]
    );
    let window = &record["energy"]["windows"][0];
    assert!((number(&window["mean_watts"]) / 400.0 - 1.0).abs() < 0.03, "{window}");
    let steady = number(&record["serving"]["rows"][0]["steady_seconds"]);
    assert!((number(&window["seconds"]) - steady).abs() < 0.5, "{steady}: {window}");
    let total = number(&figure(&record, "total_tokens_per_second", 2)["value"]);
    let joules = number(&figure(&record, "joules_per_total_token", 2)["value"]);
    assert!((joules * total / 400.0 - 1.0).abs() < 0.05, "{joules} J at {total} tokens/s");
    assert!(figure(&record, "joules_per_output_token", 2)["value"].is_null());
}

#[test]
fn the_energy_of_a_server_on_several_gpus_is_added_up_or_said_to_be_unknown() {
    let gpu = |watts: f64, uuid: &str| GpuScript {
        watts: Trace::constant(watts),
        uuid: uuid.to_owned(),
        ..GpuScript::default()
    };
    let fake =
        FakeNvml::new(Script { gpu: vec![gpu(400.0, "GPU-a"), gpu(250.0, "GPU-b")], ..Script::default() });
    let server = Server::start(|_| tokens());
    let bench = Bench::new();
    let (url, library) = (server.url(), fake.library().display().to_string());
    let run = |gpus: &str, time: &str| {
        let more = ["--max-concurrency", "2", "--max-time", time, "--gpus", gpus, "--nvml-library", &library];
        bench.json(&load(&url, &[&more[..], &["--json", "-o", "-"]].concat()))
    };
    let record = steady(|| run("2", "8s"));
    let window = &record["energy"]["windows"][0];
    assert!((number(&window["mean_watts"]) / 650.0 - 1.0).abs() < 0.03, "{window}");
    assert_eq!(record["energy"]["device"], "GPU-a, GPU-b");
    assert!(window["peak_watts"].is_null() && window["peak_watts_reason"].is_string(), "{window}");
    let sensors = record["energy"]["traces"].as_array().expect("traces");
    assert!(sensors.iter().any(|trace| trace["sensor"] == "power_instant of GPU-b"), "{sensors:?}");

    let record = run("1", "2s");
    assert!(record["energy"]["windows"].as_array().is_some_and(Vec::is_empty));
    let reason = record["energy"]["source_reason"].as_str().expect("a reason");
    assert!(reason.contains("it is not known which 1 the server uses"), "{reason}");
}

#[test]
fn a_real_server_is_measured_priced_and_its_death_noticed() {
    let Some(server) = infercost_testing::Server::for_load() else { return };
    let url = server.url();
    let bench = Bench::new();
    let fixed = ["run", "--url", &url, "-p", "32", "-n", "16", "--price-per-hour", "0.1"];
    let ran = bench.run(&[&fixed[..], &["--max-concurrency", "4", "--max-time", "30s"]].concat());
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let record = record_of(&bench);
    assert_eq!(record["engine"]["name"], "llamacpp");
    assert_eq!(record["model"]["catalog_id"], "smollm2-135m");
    assert_eq!(record["serving"]["load"]["ignore_eos"], true);
    for name in ["run_complete", "requests_failed", "lengths_obeyed", "usage_agrees"] {
        assert_eq!(check(&record, name)["verdict"], "valid", "{}", check(&record, name));
    }
    let row = &record["serving"]["rows"][0];
    assert_eq!((&row["prompt_tokens"]["mean"], &row["output_tokens"]["mean"]), (&32.0.into(), &16.0.into()));
    let tpot = figure(&record, "time_per_output_token_seconds", 4);
    assert!(number(&tpot["value"]) > 0.0005, "{tpot}");

    // Short requests, so that some are answered before the server is gone.
    let short = ["run", "--url", &url, "-p", "8", "-n", "2", "--price-per-hour", "0.1", "--num-warmups", "0"];
    let args = [&short[..], &["--max-concurrency", "2", "--max-time", "300s"]].concat();
    let child =
        bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    std::thread::sleep(ms(9000));
    drop(server);
    let ran = support::ran(&child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing listens at") && ran.stderr.contains("is kept in"), "{}", ran.stderr);
    assert_eq!(record_of(&bench)["validity"]["verdict"], "invalid");
}

/// A server that serves one request after the other, each in 50 ms: 20 a second and no more.
fn one_after_the_other() -> Server {
    let free = Mutex::new(clock::now());
    Server::start(move |asked| {
        if !asked.path.ends_with("completions") {
            return tokens();
        }
        let mut free = free.lock().expect("a lock");
        let now = clock::now();
        *free = free.max(now).after(Seconds::new(0.05));
        let first = Duration::from_secs_f64(free.since(now).get());
        Answer::Tokens { first, gap: ms(0), a_write: 16 }
    })
}

#[test]
fn the_highest_rate_that_keeps_the_goals_is_found_and_priced_there() {
    let server = one_after_the_other();
    let bench = Bench::new();
    let url = server.url();
    let more = ["--find", "max-rate", "--slo", "ttft:150", "--burstiness", "inf", "--num-prompts", "128"];
    let ran = bench.run(&load(&url, &more));
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    let record = record_of(&bench);
    let found = &record["serving"]["search"];
    let (kept, missed) =
        (number(&found["max_requests_per_second"]), number(&found["missed_at_requests_per_second"]));
    assert!(15.0 < kept && kept < 21.0 && 19.0 < missed && missed < 25.0, "{kept} to {missed}: {found}");
    assert!(ran.stdout.contains("max rate "), "{}", ran.stdout);
    assert_eq!(record["cost"]["headline_cell"]["requests_per_second"], kept);
    let cells = record["cost"]["cells"].as_array().expect("cells");
    assert!(cells.iter().any(|cell| cell["cell"]["requests_per_second"] == kept));
    assert_eq!(record["workload"]["rows"][0], "16+16 max-rate");

    let hopeless = bench.json(&load(&url, &["--find", "max-rate", "--slo", "ttft:5", "--json", "-o", "-"]));
    let reason = hopeless["serving"]["search"]["max_requests_per_second_reason"].as_str().expect("a reason");
    assert!(reason.contains("alone already misses the goals"), "{reason}");
    let without = bench.run(&load(&url, &["--find", "max-rate"]));
    assert_eq!(without.code, 2);
    assert!(without.stderr.contains("give them with --slo"), "{}", without.stderr);
}
