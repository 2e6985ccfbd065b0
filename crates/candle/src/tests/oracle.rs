//! Tiny models of each architecture against llama.cpp on the same file.
//!
//! A llama-server answers with its log-probabilities for given token ids; ours come from the network's
//! logits. Weights and cache are f32 on both sides, so only the order of sums differs.

use std::fs::File;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};

use super::tokens;
use crate::base::sys::Interrupt;
use crate::network::{Loaded, Network};
use crate::{Options, gguf, supports, unquantized};
use infercost_testing::llama_cpp;
use infercost_testing::{Server, Tiny};

/// Largest difference of log-probabilities that the order of sums explains.
const TOLERANCE: f64 = 0.01;

fn log_probabilities(network: &mut dyn Network, prompt: &[u32]) -> Vec<f64> {
    let feed = Tensor::new(prompt, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let logits: Vec<f32> = network.forward(&feed, 0).unwrap().squeeze(0).unwrap().to_vec1().unwrap();
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    logits.iter().map(|logit| f64::from(logit - largest) - sum.ln()).collect()
}

/// The largest difference to the server's log-probabilities.
fn distance(network: &mut dyn Network, server: &Server, prompt: &[u32]) -> f64 {
    let ours = log_probabilities(network, prompt);
    let theirs = server.next(prompt);
    assert_eq!(theirs.len(), 10);
    theirs.iter().map(|(id, logprob)| (ours[*id as usize] - logprob).abs()).fold(0.0, f64::max)
}

/// A network's distance to llama.cpp and its caveats.
type Judged = (f64, Vec<String>);

/// Judges the GGUF network of `shape`, where there is one, and the safetensors network.
fn distances(shape: &Tiny, program: &Path, prompt: &[u32]) -> (Option<Judged>, Judged) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = shape.write(&path);
    let server = Server::start(program, &path, "f32");
    let (options, interrupt, device) = (Options::default(), Interrupt::default(), Device::Cpu);
    let judge = |mut loaded: Loaded| (distance(&mut *loaded.network, &server, prompt), loaded.caveats);
    let file = supports(&header).is_ok().then(|| {
        let reader = Box::new(File::open(&path).unwrap());
        judge(gguf::load(reader, &header, &options, &device, &interrupt).unwrap())
    });
    let header = shape.write_folder(folder.path());
    let plain = judge(unquantized::load(folder.path(), &header, &options, &device, &interrupt).unwrap());
    (file, plain)
}

#[test]
fn logits_are_those_of_llama_cpp_or_a_caveat_says_not() {
    let Some(program) = llama_cpp("llama-server") else { return };
    let f32 = |architecture| Tiny { dtype: GgmlDType::F32, ..Tiny::of(architecture) };
    let of_other_heads = Tiny { head_size: 32, tied: false, ..f32("llama") };
    let scaled = Tiny { rope_factors: true, ..f32("llama") };
    for shape in super::ALL.map(f32).into_iter().chain([of_other_heads, scaled]) {
        // Long enough for angles that half precision could not count, and within Gemma's window.
        let (file, (distance, caveats)) = distances(&shape, &program, &tokens(450, 4));
        assert!(distance < TOLERANCE && caveats.is_empty(), "{shape:?}: {distance} {caveats:?}");
        let wrong = shape.architecture == "gemma3" || shape.rope_factors;
        if let Some((distance, caveats)) = file {
            assert_eq!(distance > TOLERANCE, wrong, "{shape:?}: {distance}");
            assert_eq!(!caveats.is_empty(), wrong, "{shape:?}: {caveats:?}");
        }
    }
}
