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
