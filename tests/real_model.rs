//! The real SmolLM2-135M, from its GGUF file to a record.

use crate::support::{Bench, real_model};

#[test]
fn the_real_model_speaks_and_its_record_is_valid_but_for_the_build() {
    let Some(path) = real_model() else { return };
    let bench = Bench::new();
    let path = path.to_str().expect("a path");
    let record = bench.json(&[
        "run",
        "--model",
        path,
        "-p",
        "16",
        "-n",
        "8",
        "-r",
        "3",
        "--price-per-hour",
        "2.49",
        "--json",
        "--output",
        "-",
    ]);
    assert_eq!(record["model"]["architecture"], "llama");
    assert_eq!(record["model"]["quantization"], "Q4_1");
    assert_eq!(record["model"]["sha256"], "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53");
    let greedy = &record["quality"]["greedy"];
    assert_eq!(greedy["tokens"].as_array().expect("tokens").len(), 32);
    assert!(greedy["text"].as_str().expect("text").contains("Paris"), "{greedy}");
    for check in record["validity"]["checks"].as_array().expect("checks") {
        if !["release_build", "steady_state", "foreign_load"]
            .contains(&check["name"].as_str().expect("a name"))
        {
            assert!(["valid", "not_checked"].iter().any(|fine| check["verdict"] == *fine), "{check}");
        }
    }
}

#[test]
fn a_truncated_file_is_refused_with_the_bytes_that_are_missing() {
    let Some(path) = real_model() else { return };
    let bench = Bench::new();
    let bytes = std::fs::read(path).expect("the model");
    let half = bench.file("half.gguf", &bytes[..bytes.len() / 2]);
    let ran = bench.run(&["run", "--model", half.to_str().expect("a path")]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("half.gguf") && ran.stderr.contains("missing"), "{}", ran.stderr);
    assert_eq!(bench.records().len(), 0);
}
