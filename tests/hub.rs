//! A model on the hub from outside: what a plan asks a server for.

use std::io::Read as _;
use std::process::Command;

use infercost::catalog::{Catalog, Shape};
use infercost::model::Synthetic;

use crate::support::{Bench, ran};

#[path = "support/hub_server.rs"]
mod hub_server;

use hub_server::HubServer;

/// A llama of 36 MiB, nearly all of it one tensor.
fn large() -> Vec<u8> {
    let mut row = Catalog::bundled().model("llama-3.2-1b").expect("a bundled preset").clone();
    let (layers, width, feed_forward) = (1, 64, 128);
    let (heads, kv_heads, head_size) = (2, 1, 32);
    row.shape =
        Shape { layers, width, feed_forward, heads, kv_heads, head_size, vocabulary: 550_000, ..row.shape };
    let mut bytes = Vec::new();
    let synthetic = Synthetic::new(&row, "q8_0", 1).expect("a model");
    synthetic.reader().read_to_end(&mut bytes).expect("the model's bytes");
    bytes
}

fn on_hub(bench: &Bench, server: &HubServer, args: &[&str]) -> Command {
    let mut command = bench.command(args);
    command.env("HF_ENDPOINT", server.url()).env("HF_HOME", bench.folder().join("hf"));
    command
}

#[test]
fn a_plan_of_a_file_on_the_hub_asks_for_ranges_alone() {
    let bench = Bench::new();
    let server = HubServer::start();
    server.put("org/repo/model-Q8_0.gguf", large(), &"ab".repeat(32));
    for name in ["hf:org/repo/model-Q8_0.gguf", "hf:org/repo"] {
        let before = server.downloads("model-Q8_0.gguf").len();
        let args = ["run", "--model", name, "--dry-run", "--json"];
        let ran = ran(&on_hub(&bench, &server, &args).output().expect("the program starts"));
        assert_eq!(ran.code, 0, "{name}: {}", ran.stderr);
        let plan: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a plan");
        assert_eq!(
            (&plan["model"], &plan["quantization"]),
            (&"hf:org/repo/model-Q8_0.gguf".into(), &"Q8_0".into())
        );
        let asked = server.downloads("model-Q8_0.gguf").split_off(before);
        assert!(!asked.is_empty() && asked.iter().all(|seen| seen.range.is_some()), "{asked:?}");
        assert!(asked.iter().map(|seen| seen.body_bytes).sum::<u64>() < 1 << 20, "{asked:?}");
    }
}
