//! `bench catalog`: bundled rows with their sources, and the user's own over them.

use crate::support::Bench;

#[test]
fn every_listed_row_has_a_source() {
    let bench = Bench::new();
    for kind in ["gpus", "models", "prices"] {
        let text = bench.run(&["catalog", kind]);
        assert_eq!(text.code, 0, "{}", text.stderr);
        assert!(text.stdout.lines().count() > 5, "{kind}: {}", text.stdout);
        let json = bench.run(&["catalog", kind, "--json"]);
        let _: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON and nothing else");
    }
}

#[test]
fn a_nearest_name_is_suggested() {
    let bench = Bench::new();
    for (args, suggestion) in [
        (["run", "--gpu", "h10"].as_slice(), "h100"),
        (&["run", "--model", "lama-3-70b:q4_k_m"], "llama-3-70b"),
        (&["run", "--model", "synthetic:smollm2-135"], "smollm2-135m"),
        (&["run", "--api", "openai/gpt-4o-min"], "openai/gpt-4o-mini"),
    ] {
        let ran = bench.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(suggestion), "{args:?}: {}", ran.stderr);
    }
}

fn data(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/prices").join(name);
    path.to_string_lossy().into_owned()
}

const IMPORTED: &str = ".config/infercost/prices/imported-api.toml";

#[test]
fn an_update_is_shown_before_it_is_taken() {
    let bench = Bench::new();
    let file = data("litellm.json");
    let update = ["catalog", "update", "--observed", "2026-11-25", "--from", &file];
    let dry = bench.run(&update);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    for words in [
        "litellm, 12 rows",
        "prices of 2026-11-25, by --observed",
        "refused:",
        "`input_cost_per_token` is 0.0: free or unknown",
        "1 mode image_generation",
        "deepinfra/deepseek-v3: 0.32/0.89",
        "nothing was written; --yes applies the changes",
    ] {
        assert!(dry.stdout.contains(words), "{words}: {}", dry.stdout);
    }
    assert!(!bench.folder().join(IMPORTED).exists());

    let taken = bench.run(&[&update[..], &["--yes"]].concat());
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(taken.stdout.contains(IMPORTED), "{}", taken.stdout);
    let shown = bench.json(&["catalog", "show", "deepinfra/deepseek-v3", "--json"]);
    assert_eq!(shown["rows"][0]["output_usd_per_mtok"], 0.89);
    assert_eq!(shown["rows"][0]["as_of"], "2026-11-25");
    assert_eq!(shown["rows"][0]["kept"]["max_input_tokens"], 163_840);
    // A second time there is nothing new, and an older copy changes nothing.
    let again = bench.json(&[&update[..], &["--json"]].concat());
    let fates: std::collections::BTreeSet<&str> =
        again["api"].as_array().expect("rows").iter().filter_map(|row| row["fate"].as_str()).collect();
    assert_eq!(fates.into_iter().collect::<Vec<_>>(), ["seen_again"]);
    assert!(again["written"].is_null() && again["written_reason"].is_string());
    let older =
        bench.json(&["catalog", "update", "--observed", "2026-01-01", "--from", &file, "--yes", "--json"]);
    assert_eq!(older["written_reason"], "nothing to import");
}

#[test]
fn rents_of_an_update_move_the_default_price_and_a_row_by_hand_stays() {
    let bench = Bench::new();
    let config = bench.folder().join("mine");
    let own = "[[rental]]\nprovider = \"vast\"\ngpu = \"h100-nvl-94gb\"\nkind = \"community\"\nusd_per_gpu_hour = 1.99\n\
               observed = \"2026-01-01\"\nsource = \"our invoice of January\"\n";
    bench.file("mine/prices/rental.toml", own.as_bytes());
    let config = config.to_string_lossy().into_owned();
    let (lambda, vast) = (data("gpuhunt/lambdalabs.csv"), data("skypilot/vast/vms.csv"));
    let update =
        ["catalog", "update", "--config", &config, "--observed", "2026-11-25", "--from", &lambda, &vast];
    // The rents of one cloud move some default by more than 30%.
    let taken = bench.json(&[&update[..], &["--yes", "--accept", "--json"]].concat());
    assert_eq!(taken["files"].as_array().map(Vec::len), Some(2));
    let fate = |id: &str| {
        let rows = taken["rental"].as_array().expect("rows");
        rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("{id}: {rows:?}"))["fate"].clone()
    };
    assert_eq!(fate("vast/h100-nvl-94gb/community"), "yours");
    assert_eq!(fate("lambda/h100-sxm5-80gb/on_demand"), "changed");
    let moved = taken["defaults"].as_array().expect("defaults");
    assert!(moved.iter().any(|row| row["gpu"] == "h100-sxm5-80gb"), "{moved:?}");
    let prices = bench.json(&["catalog", "prices", "--config", &config, "--gpu", "h100-nvl-94gb", "--json"]);
    let vast: Vec<&serde_json::Value> =
        prices["rental"].as_array().expect("rows").iter().filter(|row| row["provider"] == "vast").collect();
    assert_eq!((vast.len(), &vast[0]["usd_per_gpu_hour"]), (1, &serde_json::json!(1.99)));
    assert!(!bench.folder().join(".config").exists(), "--config is where it goes");
}

/// Nine clouds that ask $50 for an H100 move its default, whatever the catalog says; a spot price moves none.
#[test]
fn a_default_price_that_moves_far_is_taken_only_when_accepted() {
    let bench = Bench::new();
    let text = "InstanceType,AcceleratorName,AcceleratorCount,Price,SpotPrice,Region\n8xH100-SXM,H100-SXM,8,400,8,us\n";
    let files: Vec<String> = (1..10)
        .map(|n| bench.file(&format!("cloud{n}.csv"), text.as_bytes()).to_string_lossy().into_owned())
        .collect();
    let mut update = vec!["catalog", "update", "--from"];
    update.extend(files.iter().map(String::as_str));
    let dry = bench.run(&update);
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(dry.stdout.contains("held back, needs --accept"), "{}", dry.stdout);

    let held = bench.run(&[&update[..], &["--yes"]].concat());
    assert_eq!(held.code, 1, "{}", held.stdout);
    assert!(held.stderr.contains("held back: the default price of h100-sxm5-80gb"), "{}", held.stderr);
    let price = || {
        let prices = bench.json(&["catalog", "prices", "--gpu", "h100-sxm5-80gb", "--json"]);
        let rows = prices["rental"].as_array().expect("rows").clone();
        let of = |kind: &str| {
            let ours = |row: &&serde_json::Value| {
                row["kind"] == kind && row["provider"].as_str().is_some_and(|name| name.starts_with("cloud"))
            };
            rows.iter().filter(ours).count()
        };
        (of("on_demand"), of("spot"))
    };
    assert_eq!(price(), (0, 9), "the other rows are taken");

    let taken = bench.run(&[&update[..], &["--yes", "--accept"]].concat());
    assert_eq!(taken.code, 0, "{}", taken.stderr);
    assert!(taken.stdout.contains("accepted"), "{}", taken.stdout);
    assert_eq!(price(), (9, 9));
}

#[test]
fn a_file_of_an_archive_needs_its_day() {
    let bench = Bench::new();
    let text =
        r#"{"m": {"litellm_provider": "x", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}"#;
    let path = bench.file("map.json", text.as_bytes());
    let file = std::fs::File::options().append(true).open(&path).expect("the file");
    let day = std::time::UNIX_EPOCH + std::time::Duration::from_hours(87_648);
    file.set_modified(day).expect("a date");
    let path = path.to_string_lossy().into_owned();
    let ran = bench.run(&["catalog", "update", "--from", &path]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    assert!(ran.stderr.contains("1980-01-01") && ran.stderr.contains("--observed DATE"), "{}", ran.stderr);
    assert_eq!(bench.run(&["catalog", "update", "--observed", "2026-11-25", "--from", &path]).code, 0);
}

#[test]
fn a_price_file_that_cannot_be_used_is_a_clear_error() {
    let bench = Bench::new();
    let file = |name: &str, text: &str| bench.file(name, text.as_bytes()).to_string_lossy().into_owned();
    let bad = file(
        "bad.json",
        r#"{"m": {"litellm_provider": "x", "input_cost_per_token": 0, "output_cost_per_token": 1}}"#,
    );
    let other = file("other.json", r#"{"speed": 1}"#);
    let litellm = data("litellm.json");
    let gcp = data("skypilot/gcp/vms.csv");
    let (bad, other, litellm, gcp) = (bad.as_str(), other.as_str(), litellm.as_str(), gcp.as_str());
    for (args, code, words) in [
        (["not-there.json"].as_slice(), 13, "no such file"),
        (&[other], 1, "its object has `speed`"),
        (&[bad], 1, "none of its 1 row can be used; the first: line 1, `m`"),
        (&[litellm, "--provider", "nobody"], 2, "its providers are bedrock"),
        (&[litellm, "--observed", "2999-01-01"], 2, "is in the future"),
        (&[litellm, "--observed", "soon"], 2, "a day is written like"),
        (&[gcp], 1, "can be used; the price of an accelerator without a machine (2 of them)"),
        (&[litellm, "--config", "/nonexist", "--yes"], 13, "no such folder; --config takes"),
        // One bad file, and nothing of the good one is taken.
        (&[litellm, other, "--yes"], 1, "other.json"),
    ] {
        let ran = bench.run(&[&["catalog", "update", "--from"][..], args].concat());
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
    }
    assert!(!bench.folder().join(IMPORTED).exists());
}

#[test]
fn a_change_says_which_price_moved() {
    let bench = Bench::new();
    let text = r#"{"openai": {"models": {"gpt-4o": {"id": "gpt-4o", "cost": {"input": 2.5, "output": 9, "cache_read": 1.25}},
        "gpt-4o-mini\u001b[2J": {"id": "gpt-4o-mini\u001b[2J", "cost": {"input": 1, "output": 2}}}}}"#;
    let file = bench.file("api.json", text.as_bytes()).to_string_lossy().into_owned();
    let update = ["catalog", "update", "--observed", "2026-11-25", "--from", &file];
    let text = bench.run(&update).stdout;
    let line = text.lines().find(|line| line.contains("openai/gpt-4o:")).unwrap_or_default();
    assert!(line.contains("output -10.0%") && !line.contains("input +"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    let found = bench.json(&[&update[..], &["--json"]].concat());
    let change =
        found["api"].as_array().expect("rows").iter().find(|row| row["id"] == "openai/gpt-4o").expect("it");
    assert_eq!((&change["input_change"], &change["cached_input_change"]), (&0.0.into(), &0.0.into()));
    assert!((change["output_change"].as_f64().expect("known") + 0.1).abs() < 1e-12, "{change}");
}

#[test]
fn a_price_of_a_day_to_come_is_refused_by_name() {
    let bench = Bench::new();
    let own = "[[rental]]\nprovider = \"mine\"\ngpu = \"h100\"\nkind = \"on_demand\"\nusd_per_gpu_hour = 1.99\n\
               observed = \"2999-01-01\"\nsource = \"our invoice of January\"\n";
    bench.file("mine/prices/rental.toml", own.as_bytes());
    let ran = bench.run(&["catalog", "prices", "rental", "--config", "mine"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("rental.toml:6: `mine/h100/on_demand` is dated 2999-01-01, which is in the future"),
        "{}",
        ran.stderr
    );
}

/// 16 MiB of short rows fit a program that may map 600 MiB.
#[test]
fn memory_of_an_update_is_a_small_factor_of_the_file() {
    let bench = Bench::new();
    let row = r#""x":{"id":"x","cost":{"input":0}},"#;
    let text = format!(
        r#"{{"p":{{"models":{{{}"y":{{"cost":{{"input":1,"output":2}}}}}}}}}}"#,
        row.repeat((16 << 20) / row.len())
    );
    let file = bench.file("many.json", text.as_bytes());
    let program = env!("CARGO_BIN_EXE_bench");
    let script = format!("ulimit -v 614400; exec {program} catalog update --from {}", file.display());
    let ran = std::process::Command::new("/bin/sh").args(["-c", &script]).output().expect("a shell");
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(0), "{stderr}");
    let stdout = String::from_utf8_lossy(&ran.stdout);
    assert!(stdout.contains("p/y: 1/2") && stdout.contains("more (--verbose"), "{stdout}");
}

#[test]
fn a_synthetic_model_is_exported_as_a_file_that_runs() {
    let bench = Bench::new();
    let made =
        bench.json(&["catalog", "models", "--export", "synthetic:smollm2-135m:q4_0", "own.gguf", "--json"]);
    let path = bench.folder().join("own.gguf");
    assert_eq!(made["model"], "synthetic:smollm2-135m:q4_0");
    assert_eq!(made["bytes"].as_u64(), Some(std::fs::metadata(&path).expect("the file").len()));
    // To us the file is the same model as its recipe.
    let plan = bench.json(&["run", "--model", "own.gguf", "--dry-run", "--json"]);
    let recipe = bench.json(&["run", "--model", "synthetic:smollm2-135m:q4_0", "--dry-run", "--json"]);
    assert_eq!(plan["weight_bytes"], recipe["weight_bytes"]);
    assert_eq!(plan["quantization"], recipe["quantization"]);
    for (args, code, said) in [
        (["synthetic:smollm2-135m:q4_0", "own.gguf"], 1, "not overwritten"),
        (["synthetic:smollm2-135m:q4_0", "none/own.gguf"], 13, "its folder does not exist"),
        (["synthetic:smollm2-135m:q9", "b.gguf"], 2, "q9"),
        (["synthetic:smollm2-135", "b.gguf"], 2, "smollm2-135m"),
        (["smollm2-135m:q4_0", "b.gguf"], 2, "only synthetic"),
    ] {
        let ran = bench.run(&["catalog", "models", "--export", args[0], args[1]]);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
    let names: Vec<_> = std::fs::read_dir(bench.folder()).expect("a folder").collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

/// `prices h100` is what `prices --gpu h100` is; so are a model, a provider and a kind.
#[test]
fn a_price_is_asked_for_by_name() {
    let bench = Bench::new();
    let prices = |args: &[&str]| bench.json(&[&["catalog", "prices", "--json"], args].concat());
    for (name, same) in [
        ("h100", &["--gpu", "h100"][..]),
        ("h100-sxm5-80gb", &["--gpu", "h100-sxm5-80gb"]),
        ("llama-3.1-8b", &["--model", "llama-3.1-8b"]),
        ("openai", &["--provider", "openai"]),
    ] {
        assert_eq!(prices(&[name]), prices(same), "{name}");
    }
    assert!(prices(&["electricity"])["electricity"].is_array());
    let ran = bench.run(&["catalog", "prices", "h1000"]);
    assert!(ran.code == 2 && ran.stderr.contains("did you mean"), "{}", ran.stderr);
    let ran = bench.run(&["catalog", "prices", "h100", "--gpu", "a100"]);
    assert!(ran.code == 2 && ran.stderr.contains("give only one of them"), "{}", ran.stderr);
}
