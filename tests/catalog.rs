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
        (["synthetic:smollm2-135m:q4_0", "none/own.gguf"], 13, "no such folder"),
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
