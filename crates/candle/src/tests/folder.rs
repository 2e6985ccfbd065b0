//! Unquantized networks: the same weights as a GGUF file's, from a safetensors folder.

use candle_core::quantized::GgmlDType;

use super::{ALL, context_tokens, greedy, open, plan, run, tiny, tokens};
use crate::base::sys::Interrupt;
use crate::engine::{Engine, Error, Schedule};
use crate::model::{Model, Source};
use crate::{Options, load, supports};
use infercost_testing::Tiny;

fn folder(shape: &Tiny) -> (tempfile::TempDir, Box<dyn Engine>) {
    let folder = tempfile::tempdir().unwrap();
    let header = shape.write_folder(folder.path());
    let engine = open(folder.path(), header);
    (folder, engine)
}

#[test]
fn a_folder_and_a_file_of_the_same_weights_say_the_same() {
    for architecture in ALL {
        let shape = Tiny { dtype: GgmlDType::F32, ..Tiny::of(architecture) };
        let (_file, mut quantized) = tiny(&shape);
        let (_folder, mut plain) = folder(&shape);
        let sequences = vec![plan(vec![], tokens(40, 2), 12)];
        let (outcome, _) = run(&mut *plain, sequences.clone());
        assert_eq!(outcome.non_finite_steps, 0, "{architecture}");
        // candle's quantized Gemma 3 has another activation; how far that goes is the oracle's to say.
        if architecture != "gemma3" {
            assert_eq!(greedy(&mut *quantized, sequences), outcome.tokens, "{architecture}");
        }
        assert!(plain.capabilities().caveats.is_empty(), "{:?}", plain.capabilities().caveats);
    }
}

#[test]
fn batches_contexts_and_prompts_behind_them_change_nothing() {
    for architecture in ALL {
        let (_folder, mut engine) = folder(&Tiny::of(architecture));
        let sequences: Vec<_> = (0..3).map(|salt| plan(vec![], tokens(60, salt), 6)).collect();
        let alone: Vec<_> =
            sequences.iter().flat_map(|plan| greedy(&mut *engine, vec![plan.clone()])).collect();
        assert_eq!(greedy(&mut *engine, sequences.clone()), alone, "{architecture}");
        for split in [1, 30, 59] {
            let parts: Vec<_> = sequences
                .iter()
                .map(|whole| plan(whole.prompt[..split].to_vec(), whole.prompt[split..].to_vec(), 6))
                .collect();
            for _ in 0..2 {
                assert_eq!(greedy(&mut *engine, parts.clone()), alone, "{architecture} split at {split}");
            }
        }
        let length = if architecture == "gemma3" { 400 } else { 1100 };
        let whole = greedy(&mut *engine, vec![plan(vec![], tokens(length, 7), 5)]);
        let context = vec![plan(tokens(length, 7), vec![], 4)];
        for fed in [length, 0] {
            let (outcome, events) = run(&mut *engine, context.clone());
            assert_eq!(outcome.tokens[0], whole[0][1..], "{architecture}");
            assert_eq!(context_tokens(&events), fed, "{architecture}");
        }
    }
}

#[test]
fn heads_of_another_size_run_as_mistral() {
    let shape = Tiny { head_size: 32, tied: false, ..Tiny::of("llama") };
    let (_folder, mut engine) = folder(&shape);
    assert_eq!(run(&mut *engine, vec![plan(vec![], tokens(20, 0), 4)]).0.non_finite_steps, 0);
    let file = tempfile::tempdir().unwrap();
    let header = shape.write(&file.path().join("tiny.gguf"));
    assert!(matches!(supports(&header), Err(Error::Unsupported { .. })));
}

#[test]
fn gemma_with_several_key_value_heads_is_refused_unquantized() {
    let folder = tempfile::tempdir().unwrap();
    let header = Tiny { kv_heads: 2, ..Tiny::of("gemma3") }.write_folder(folder.path());
    let error = supports(&header).unwrap_err().to_string();
    assert!(error.contains("2 key/value heads") && error.contains("GGUF"), "{error}");
}

#[test]
fn weights_that_are_not_as_described_end_in_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut header = Tiny::of("llama").write_folder(folder.path());
    header.spec.feed_forward = 1024;
    let model = Model {
        id: String::new(),
        header,
        source: Source::Safetensors(folder.path().to_owned()),
        origin: String::new(),
    };
    let error = load(&model, &Options::default(), &Interrupt::default()).err().unwrap().to_string();
    assert!(error.contains("`model.layers.0.mlp.gate_proj.weight` has shape [512, 256]"), "{error}");
    let interrupt = Interrupt::default();
    interrupt.request();
    assert!(matches!(load(&model, &Options::default(), &interrupt), Err(Error::Interrupted)));
}

#[test]
fn positions_end_where_the_config_says() {
    let (_folder, mut engine) = folder(&Tiny::of("llama"));
    let schedule = Schedule { sequences: vec![plan(vec![], tokens(2048, 0), 2)] };
    let error = engine.run(&schedule, &mut Vec::new(), &Interrupt::default()).unwrap_err().to_string();
    assert!(error.contains("2049 positions") && error.contains("made for 2048"), "{error}");
}
