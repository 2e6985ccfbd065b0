//! A bare loop over stock candle that uses nothing of this project.
//!
//! It is here to be compared with: its greedy tokens must be the engine's, and its speed the harness's.
//! So a step does what the engine's step does: tokens to a tensor, one forward pass, argmax on the
//! device, ids back on the host.
//!
//! ```text
//! bare_candle greedy MODEL.gguf --prompt-ids 1,2,3 [-n 32]         the first greedy ids, as JSON
//! bare_candle bench  MODEL.gguf [-p 128] [-n 32] [-d 1] [-r 5]     seconds of each repetition, as JSON
//! ```
//!
//! `bench` times the prompt of P tokens in one forward pass (`-p 0`: not at all), and N decode steps
//! behind an untimed context of D tokens. Architecture: llama.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]
#![allow(clippy::disallowed_methods, reason = "it may not use base::clock, so it reads time itself")]

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use candle_core::quantized::gguf_file;
use candle_core::{D, Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, path, flags @ ..] = arguments.as_slice() else {
        return Err(
            "usage: bare_candle greedy|bench MODEL.gguf [-p P] [-n N] [-d D] [-r R] [--prompt-ids a,b,c]"
                .into(),
        );
    };
    let flag = |name: &str| flags.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].as_str());
    let number = |name: &str, default: usize| flag(name).map_or(Ok(default), str::parse);
    let output = number("-n", 32)?;
    let mut bare = Bare::load(path)?;
    match mode.as_str() {
        "greedy" => {
            let ids = flag("--prompt-ids").ok_or("greedy needs --prompt-ids")?;
            let prompt = ids.split(',').map(|id| id.trim().parse()).collect::<Result<Vec<u32>, _>>()?;
            println!("{{\"tokens\": {:?}}}", bare.greedy(&prompt, output)?);
        }
        "bench" => {
            let (prompt, depth) = (number("-p", 128)?, number("-d", 1)?);
            let mut prefill = Vec::new();
            let mut decode = Vec::new();
            for _ in 0..number("-r", 5)? {
                if prompt > 0 {
                    prefill.push(bare.time_prefill(prompt)?);
                }
                if output > 0 {
                    decode.push(bare.time_decode(depth, output)?);
                }
            }
            println!(
                "{{\"prompt_tokens\": {prompt}, \"output_tokens\": {output}, \"depth\": {depth}, \
                 \"threads\": {}, \"prefill_seconds\": {prefill:?}, \"decode_seconds\": {decode:?}}}",
                candle_core::utils::get_num_threads()
            );
        }
        other => return Err(format!("unknown mode `{other}`: greedy or bench").into()),
    }
    Ok(())
}

struct Bare {
    model: ModelWeights,
    device: Device,
    vocabulary: u32,
}

impl Bare {
    fn load(path: &str) -> Outcome<Self> {
        let device = Device::Cpu;
        let mut reader = BufReader::new(File::open(path)?);
        let content = gguf_file::Content::read(&mut reader)?;
        let embedding = content.tensor_infos.get("token_embd.weight").ok_or("no token_embd.weight")?;
        let vocabulary = u32::try_from(embedding.shape.dims()[0])?;
        let model = ModelWeights::from_gguf(content, &mut reader, &device)?;
        Ok(Self { model, device, vocabulary })
    }

    /// One step: the greedy choice after `tokens`, which start at `position`.
    fn step(&mut self, tokens: &[u32], position: usize) -> Outcome<u32> {
        let tokens = Tensor::from_slice(tokens, (1, tokens.len()), &self.device)?;
        let logits = self.model.forward(&tokens, position)?;
        Ok(logits.argmax(D::Minus1)?.to_vec1::<u32>()?[0])
    }

    fn greedy(&mut self, prompt: &[u32], output: usize) -> Outcome<Vec<u32>> {
        let mut tokens = vec![self.step(prompt, 0)?];
        while tokens.len() < output {
            let last = tokens[tokens.len() - 1];
            tokens.push(self.step(&[last], prompt.len() + tokens.len() - 1)?);
        }
        Ok(tokens)
    }

    fn time_prefill(&mut self, prompt: usize) -> Outcome<f64> {
        let tokens = self.some_tokens(prompt)?;
        self.model.clear_kv_cache();
        let start = Instant::now();
        self.step(&tokens, 0)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn time_decode(&mut self, depth: usize, output: usize) -> Outcome<f64> {
        let context = self.some_tokens(depth)?;
        self.model.clear_kv_cache();
        let mut last = self.step(&context, 0)?;
        let start = Instant::now();
        for position in depth..depth + output {
            last = self.step(&[last], position)?;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Tokens all over the vocabulary by a fixed formula.
    fn some_tokens(&self, count: usize) -> Outcome<Vec<u32>> {
        let count = u32::try_from(count)?;
        Ok((0..count).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) % self.vocabulary).collect())
    }
}
