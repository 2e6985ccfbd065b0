//! The engine on the real SmolLM2-135M: its tokens are those of a bare loop over candle.

use std::fs::File;

use candle_core::quantized::gguf_file::Content;
use candle_core::{D, Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;

use super::{greedy, open, plan};
use crate::model::gguf;
use infercost_testing::real_model;

/// "The capital of France is" in this model's vocabulary.
const PROMPT: [u32; 5] = [504, 3575, 282, 4649, 314];

#[test]
fn the_first_32_greedy_tokens_are_those_of_a_bare_loop() {
    let Some(path) = real_model() else { return };
    let bare = {
        let mut file = File::open(&path).unwrap();
        let content = Content::read(&mut file).unwrap();
        let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
        let mut tokens: Vec<u32> = Vec::new();
        for _ in 0..32 {
            let (feed, position) = match tokens.last() {
                None => (PROMPT.to_vec(), 0),
                Some(last) => (vec![*last], PROMPT.len() + tokens.len() - 1),
            };
            let feed = Tensor::new(feed, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            let logits = model.forward(&feed, position).unwrap();
            tokens.push(logits.argmax(D::Minus1).unwrap().to_vec1::<u32>().unwrap()[0]);
        }
        tokens
    };
    let header = gguf::read(&path).unwrap().header;
    let mut engine = open(&path, header);
    let ours = greedy(&mut *engine, vec![plan(vec![], PROMPT.to_vec(), 32)]);
    assert_eq!(ours, [bare]);
    assert!(engine.capabilities().caveats.is_empty(), "{:?}", engine.capabilities().caveats);
    // " Paris": a real model that was loaded rightly knows it.
    assert_eq!(ours[0][0], 7042);
}
