//! The loop itself.

use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use candle_core::quantized::gguf_file;
use candle_core::{D, Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// A Llama of stock candle on the CPU.
pub(crate) struct Bare {
    model: ModelWeights,
    device: Device,
    vocabulary: u32,
}

impl Bare {
    pub(crate) fn load(path: &str) -> Outcome<Self> {
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

    pub(crate) fn greedy(&mut self, prompt: &[u32], output: usize) -> Outcome<Vec<u32>> {
        let mut tokens = vec![self.step(prompt, 0)?];
        while tokens.len() < output {
            let last = tokens[tokens.len() - 1];
            tokens.push(self.step(&[last], prompt.len() + tokens.len() - 1)?);
        }
        Ok(tokens)
    }

    pub(crate) fn time_prefill(&mut self, prompt: usize) -> Outcome<f64> {
        let tokens = self.some_tokens(prompt)?;
        self.model.clear_kv_cache();
        let start = Instant::now();
        self.step(&tokens, 0)?;
        Ok(start.elapsed().as_secs_f64())
    }

    pub(crate) fn time_decode(&mut self, depth: usize, output: usize) -> Outcome<f64> {
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
