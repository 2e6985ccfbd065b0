//! `bench quality`: one object, nulls with reasons, and errors with the way out.

use crate::support::{Bench, real_model};

const SYNTHETIC: &str = crate::support::SMALL;

#[test]
fn synthetic_weights_have_no_figure_and_say_why() {
    let bench = Bench::new();
    bench.file("text.txt", b"Once upon a time");
    let found = bench.json(&["quality", "--model", SYNTHETIC, "--text", "text.txt", "--json"]);
    assert_eq!(found["schema"], "infercost.quality/1");
    assert_eq!(found["text"]["bytes"], 16);
    for name in ["perplexity", "reference_perplexity", "kl_divergence", "top1_agreement"] {
        assert!(found[name]["value"].is_null(), "{found}");
        assert!(
            found[name]["value_reason"].as_str().expect("a reason").contains("random weights"),
            "{found}"
        );
    }
    let text = bench.run(&["quality", "--model", SYNTHETIC, "--text", "text.txt"]);
    assert!(text.code == 0 && text.stdout.contains("none: synthetic:"), "{}{}", text.stdout, text.stderr);
}

#[test]
fn bad_input_is_named() {
    let bench = Bench::new();
    bench.file("text.txt", b"Once upon a time");
    bench.file("latin1.txt", b"na\xefve");
    let bad = |args: &[&str], code: i32, says: &[&str]| {
        let args: Vec<&str> = [&["quality", "--model", SYNTHETIC][..], args].concat();
        let ran = bench.run(&args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        for word in says {
            assert!(ran.stderr.contains(word), "{args:?}: `{word}` is not in {}", ran.stderr);
        }
    };
    bad(&[], 2, &["--text"]);
    bad(&["--text", "no-such.txt"], 13, &["no-such.txt does not exist"]);
    bad(&["--text", "."], 1, &["plain text"]);
    bad(&["--text", "/dev/zero"], 1, &["/dev/zero", "not a regular file"]);
    bad(&["--text", "latin1.txt"], 1, &["latin1.txt", "byte 2 is not UTF-8"]);
    bad(&["--text", "text.txt", "--ctx-size", "4"], 2, &["--ctx-size", "at least 8"]);
    bad(&["--text", "text.txt", "--ctx-size", "999999"], 1, &["--ctx-size 999999", "`context_length`"]);
    bad(&["--text", "text.txt", "--chunks", "0"], 2, &["--chunks"]);
    bad(&["--text", "text.txt", "--engine", "candle", "--isa", "avx2"], 2, &["--isa", "`fused`"]);
    bad(&["--text", "text.txt", "--reference", "no/such.gguf"], 13, &["no/such.gguf"]);
    bad(&["--text", "text.txt", "--device", "cuda"], 13, &["cuda"]);
}

#[test]
fn the_real_model_predicts_english_and_agrees_with_itself() {
    let Some(path) = real_model() else { return };
    let bench = Bench::new();
    let path = path.to_str().expect("a path");
    // Counting is easy, so a loaded model is not surprised; a broken one is, by tens of thousands.
    let text: Vec<String> = (1..140).map(|number| format!("This is sentence number {number}.")).collect();
    bench.file("text.txt", text.join("\n").as_bytes());
    bench.file("short.txt", b"Once upon a time there was");
    let short = bench.run(&["quality", "--model", path, "--text", "short.txt"]);
    assert_eq!(short.code, 1, "{}", short.stderr);
    assert!(
        short.stderr.contains("it has 6 tokens") && short.stderr.contains("at least 1024"),
        "{}",
        short.stderr
    );

    let args =
        ["quality", "--model", path, "--text", "text.txt", "--ctx-size", "64", "--chunks", "2", "--json"];
    let alone = bench.json(&args);
    let perplexity = alone["perplexity"]["value"].as_f64().expect("a figure");
    assert!((1.0..4.0).contains(&perplexity), "{alone}");
    assert_eq!(alone["perplexity"]["n"], 62);
    assert_eq!(alone["protocol"]["scored_from"], 32);
    assert_eq!(alone["protocol"]["beginning_of_sequence"], false);
    assert!(alone["kl_divergence"]["value_reason"].as_str().expect("a reason").contains("--reference"));

    let itself = bench.json(&[&args[..], &["--reference", path]].concat());
    assert_eq!(itself["kl_divergence"]["value"], 0.0);
    assert_eq!(itself["top1_agreement"]["value"], 1.0);
    assert_eq!(itself["reference_perplexity"]["value"], alone["perplexity"]["value"]);
    let engines = bench.json(&[&args[..], &["--reference-engine", "candle"]].concat());
    assert_eq!(engines["reference"]["engine"]["engine"], "candle");
    let divergence = engines["kl_divergence"]["value"].as_f64().expect("a figure");
    assert!(divergence > 0.0 && divergence < 0.01, "{engines}");

    let random = bench.json(&[&args[..], &["--reference", SYNTHETIC]].concat());
    assert!(random["kl_divergence"]["value"].is_null(), "{random}");
}
