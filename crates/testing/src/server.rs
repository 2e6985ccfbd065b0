//! A real llama-server: the judge of what a model's logits are.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use infercost_base::clock;

use crate::files::{llama_cpp, real_model};

/// A running server, ended when dropped.
pub struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts `program` on `model` with a KV cache of type `cache` and waits until it answers.
    pub fn start(program: &Path, model: &Path, cache: &str) -> Self {
        let threads = ["--ctx-size", "1024", "--threads", "2", "--parallel", "1"];
        let cache = ["--cache-type-k", cache, "--cache-type-v", cache, "--flash-attn", "off"];
        Self::with(program, model, &[threads, cache].concat())
    }

    /// A server of the real model for four requests at once on one thread; `None`, with a word about it, where program or
    /// model are not here.
    pub fn for_load() -> Option<Self> {
        let model = real_model()?;
        let program = llama_cpp("llama-server")?;
        Some(Self::with(&program, &model, &["--ctx-size", "2048", "--threads", "1", "--parallel", "4"]))
    }

    fn with(program: &Path, model: &Path, more: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::env::temp_dir().join(format!("llama-server-{port}.log"));
        let process = Command::new(program)
            .arg("--model")
            .arg(model)
            .args(["--port", &port.to_string(), "--no-warmup"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut server = Self { process, port };
        for _ in 0..600 {
            if ureq::get(format!("http://127.0.0.1:{port}/health")).call().is_ok() {
                drop(std::fs::remove_file(&log));
                return server;
            }
            let running = server.process.try_wait().unwrap().is_none();
            assert!(running, "llama-server ended:\n{}", std::fs::read_to_string(&log).unwrap());
            clock::sleep(Duration::from_millis(100));
        }
        panic!("llama-server did not answer within a minute");
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The most probable next tokens after `prompt`, with their log-probabilities.
    pub fn next(&self, prompt: &[u32]) -> Vec<(u32, f64)> {
        let ask = serde_json::json!({
            "prompt": prompt, "n_predict": 1, "n_probs": 10, "temperature": 0, "cache_prompt": false,
        });
        let url = format!("http://127.0.0.1:{}/completion", self.port);
        let mut answer = ureq::post(url).content_type("application/json").send(ask.to_string()).unwrap();
        let answer: serde_json::Value =
            serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        let top = answer["completion_probabilities"][0]["top_logprobs"].as_array().unwrap();
        let pair = |entry: &serde_json::Value| {
            (u32::try_from(entry["id"].as_u64().unwrap()).unwrap(), entry["logprob"].as_f64().unwrap())
        };
        top.iter().map(pair).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
