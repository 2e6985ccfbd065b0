//! The engine on tiny random models of each architecture, and on a real one.

mod folder;
mod oracle;
mod real;

use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;

use crate::base::event::{Event, Phase};
use crate::base::sys::Interrupt;
use crate::engine::{Demand, Device, Engine, Error, Outcome, Schedule, SequencePlan};
use crate::model::{Header, Model, Source, gguf};

use super::{Options, VERSION, can_run, load, supports};
use infercost_testing::{Tiny, VOCABULARY};

const ALL: [&str; 5] = ["llama", "qwen2", "qwen3", "gemma3", "phi3"];

fn open(path: &Path, header: Header) -> Box<dyn Engine> {
    let source =
        if path.is_dir() { Source::Safetensors(path.to_owned()) } else { Source::Gguf(path.to_owned()) };
    let model = Model { id: "test".to_owned(), header, source, origin: String::new() };
    load(&model, &Options::default(), &Interrupt::default()).unwrap()
}

/// A tiny model in a folder that lives as long as the engine is wanted.
fn tiny(shape: &Tiny) -> (tempfile::TempDir, Box<dyn Engine>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = shape.write(&path);
    let engine = open(&path, header);
    (folder, engine)
}

fn tokens(count: usize, salt: usize) -> Vec<u32> {
    (0..count).map(|i| u32::try_from((i * 37 + salt * 101 + 7) % VOCABULARY).unwrap()).collect()
}

fn plan(context: Vec<u32>, prompt: Vec<u32>, output_tokens: u32) -> SequencePlan {
    SequencePlan { context, prompt, output_tokens }
}

fn run(engine: &mut dyn Engine, sequences: Vec<SequencePlan>) -> (Outcome, Vec<Event>) {
    let mut events = Vec::new();
    let outcome = engine.run(&Schedule { sequences }, &mut events, &Interrupt::default()).unwrap();
    (outcome, events)
}

fn greedy(engine: &mut dyn Engine, sequences: Vec<SequencePlan>) -> Vec<Vec<u32>> {
    run(engine, sequences).0.tokens
}

#[test]
fn the_version_in_records_is_the_one_that_is_linked() {
    let lock = include_str!("../../../../Cargo.lock");
    let manifest = include_str!("../../../../Cargo.toml");
    for name in ["candle-core", "candle-nn", "candle-transformers"] {
        let linked = format!("name = \"{name}\"\nversion = \"{VERSION}\"\n");
        assert!(lock.contains(&linked), "Cargo.lock has another {name} than {VERSION}");
        assert!(manifest.contains(&format!("{name} = \"={VERSION}\"")), "Cargo.toml lets another {name} in");
    }
}

#[test]
fn every_architecture_runs_with_finite_logits_and_repeats_itself() {
    for architecture in ALL {
        let (_folder, mut engine) = tiny(&Tiny::of(architecture));
        let (outcome, events) = run(&mut *engine, vec![plan(vec![], tokens(20, 0), 8)]);
        assert_eq!(outcome.non_finite_steps, 0, "{architecture}");
        assert_eq!(outcome.tokens[0].len(), 8, "{architecture}");
        assert_eq!(events.len(), 16, "{architecture}");
        assert_eq!(
            greedy(&mut *engine, vec![plan(vec![], tokens(20, 0), 8)]),
            outcome.tokens,
            "{architecture}"
        );
        assert_ne!(
            greedy(&mut *engine, vec![plan(vec![], tokens(20, 1), 8)]),
            outcome.tokens,
            "{architecture}"
        );
    }
}

/// Asserts that a sequence got the same tokens twice, up to a first choice between two that were all but equal: one row
/// and several go through different kernels of candle's on some processors.
fn agree(engine: &mut dyn Engine, plan: &SequencePlan, found: &[u32], alone: &[u32], what: &str) {
    let Some(differs) = found.iter().zip(alone).position(|(one, other)| one != other) else {
        assert_eq!(found.len(), alone.len(), "{what}");
        return;
    };
    // The two likeliest tokens' distance as a share of the logits' spread, and the likeliest.
    let mut choice = |fed: &[u32]| {
        let logits = engine.logits(&[fed.to_vec()], &Interrupt::default()).unwrap().remove(0);
        let mean = logits.iter().sum::<f32>() / logits.len() as f32;
        let spread = logits.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / logits.len() as f32;
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        ((logits[order[0]] - logits[order[1]]) / spread.sqrt(), u32::try_from(order[0]).unwrap())
    };
    let mut fed = [&plan.context[..], &plan.prompt].concat();
    let mut gap = f32::INFINITY;
    if plan.prompt.is_empty() {
        // The choice after the context is fed, and not among the tokens.
        let (first, token) = choice(&fed);
        gap = first;
        fed.push(token);
    }
    fed.extend(&alone[..differs]);
    gap = gap.min(choice(&fed).0);
    assert!(gap < 0.1, "{what}: {found:?}, alone {alone:?}, apart by {gap} of the spread");
}

#[test]
fn a_batch_gives_each_sequence_what_it_gives_alone() {
    for (architecture, dtype) in
        ALL.into_iter().flat_map(|name| [(name, GgmlDType::Q8_0), (name, GgmlDType::F16)])
    {
        let (_folder, mut engine) = tiny(&Tiny { dtype, ..Tiny::of(architecture) });
        let try_run = |engine: &mut dyn Engine, sequences: Vec<SequencePlan>| {
            engine.run(&Schedule { sequences }, &mut Vec::new(), &Interrupt::default())
        };
        let with = |context: usize, prompt: usize| -> Vec<_> {
            (0..3).map(|salt| plan(tokens(context, salt), tokens(prompt, salt + 9), 6)).collect()
        };
        let alone = |engine: &mut dyn Engine, sequences: &[SequencePlan]| -> Vec<_> {
            sequences.iter().flat_map(|plan| greedy(engine, vec![plan.clone()])).collect()
        };
        if architecture == "qwen3" {
            let error = try_run(&mut *engine, with(1, 0)).unwrap_err().to_string();
            assert!(error.contains("batch of 3") && error.contains("`-b 1`"), "{error}");
            continue;
        }
        for sequences in [with(1, 0), with(40, 0), with(0, 1)] {
            let alone = alone(&mut *engine, &sequences);
            let together = greedy(&mut *engine, sequences.clone());
            for (number, plan) in sequences.iter().enumerate() {
                let what = format!("{architecture} {dtype:?} sequence {number}");
                agree(&mut *engine, plan, &together[number], &alone[number], &what);
            }
        }
        let prompts = with(0, 17);
        if dtype == GgmlDType::Q8_0 || architecture == "gemma3" {
            let error = try_run(&mut *engine, prompts).unwrap_err().to_string();
            assert!(error.contains("3 prompts of 17 tokens") && error.contains("`-p 0`"), "{error}");
        } else {
            let alone = alone(&mut *engine, &prompts);
            assert_eq!(greedy(&mut *engine, prompts), alone, "{architecture} {dtype:?}");
        }
    }
}

#[test]
fn a_prompt_behind_a_context_is_the_same_prompt_or_refused() {
    for architecture in ALL {
        let (_folder, mut engine) = tiny(&Tiny::of(architecture));
        let whole = tokens(60, 3);
        let expected = greedy(&mut *engine, vec![plan(vec![], whole.clone(), 6)]);
        for split in [1, 2, 30, 59] {
            let sequences = vec![plan(whole[..split].to_vec(), whole[split..].to_vec(), 6)];
            let refused = match (architecture, split) {
                (_, 59) => false,
                ("gemma3", _) | ("qwen3", 1) => true,
                _ => false,
            };
            let schedule = Schedule { sequences };
            let result = engine.run(&schedule, &mut Vec::new(), &Interrupt::default());
            if refused {
                assert!(
                    matches!(result, Err(Error::Unsupported { .. })),
                    "{architecture} {split}: {result:?}"
                );
            } else {
                assert_eq!(result.unwrap().tokens, expected, "{architecture} split at {split}");
            }
        }
    }
}

#[test]
fn a_context_is_fed_once_and_then_kept() {
    for architecture in ALL {
        let (_folder, mut engine) = tiny(&Tiny::of(architecture));
        // Longer than two context steps of 512, where the model's window allows.
        let length = if architecture == "gemma3" { 300 } else { 1025 };
        let sequences = vec![plan(tokens(length, 5), vec![], 5)];
        let (first, events) = run(&mut *engine, sequences.clone());
        assert_eq!(context_tokens(&events), length, "{architecture}");
        let (second, events) = run(&mut *engine, sequences.clone());
        assert_eq!(second, first, "{architecture}");
        let again = if architecture == "qwen2" { length } else { 0 };
        assert_eq!(context_tokens(&events), again, "{architecture}");

        // The whole as one prompt gives the same: its first choice is the one after the context.
        let whole = greedy(&mut *engine, vec![plan(vec![], tokens(length, 5), 6)]);
        assert_eq!(whole[0][1..], first.tokens[0], "{architecture}");
        // The context can come back, and another one replaces it.
        assert_eq!(run(&mut *engine, sequences).0, first, "{architecture}");
        let (_, events) = run(&mut *engine, vec![plan(tokens(length, 6), vec![], 2)]);
        assert_eq!(context_tokens(&events), length, "{architecture}");
    }
}

fn context_tokens(events: &[Event]) -> usize {
    let fed = events.iter().map(|event| match event {
        Event::Step(step) if step.phase == Phase::Context => step.prompt_tokens as usize,
        _ => 0,
    });
    fed.sum()
}

#[test]
fn events_tell_the_steps_in_order() {
    let (_folder, mut engine) = tiny(&Tiny::of("llama"));
    let sequences = vec![plan(tokens(4, 0), tokens(1, 1), 3), plan(tokens(4, 2), tokens(1, 3), 3)];
    let (outcome, events) = run(&mut *engine, sequences);
    let steps: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Step(s) => Some((s.phase, s.sequences, s.prompt_tokens, s.output_tokens)),
            Event::Token(_) | Event::Request(_) => None,
        })
        .collect();
    assert_eq!(
        steps,
        [
            // A quantized head takes one token of each sequence only.
            (Phase::Context, 2, 2, 0),
            (Phase::Context, 2, 2, 0),
            (Phase::Context, 2, 2, 0),
            (Phase::Context, 2, 2, 0),
            (Phase::Prefill, 2, 2, 2),
            (Phase::Decode, 2, 0, 2),
            (Phase::Decode, 2, 0, 2)
        ]
    );
    let mut seen = vec![Vec::new(); 2];
    let mut last_end = None;
    for event in &events {
        match event {
            Event::Step(step) => {
                assert!(step.start < step.end);
                last_end = Some(step.end);
            }
            Event::Token(token) => {
                assert_eq!(Some(token.at), last_end);
                seen[token.sequence as usize].push(token.token);
            }
            Event::Request(event) => panic!("{event:?} in a schedule"),
        }
    }
    assert_eq!(seen, outcome.tokens);
    let (_, events) = run(&mut *engine, vec![plan(vec![], tokens(9, 0), 0)]);
    assert!(matches!(events[..], [Event::Step(step)] if step.prompt_tokens == 9 && step.output_tokens == 0));
}

#[test]
fn an_interrupt_stops_before_the_next_step() {
    let (folder, mut engine) = tiny(&Tiny::of("llama"));
    let interrupt = Interrupt::default();
    interrupt.request();
    let schedule = Schedule { sequences: vec![plan(vec![], tokens(9, 0), 4)] };
    let mut events = Vec::new();
    assert!(matches!(engine.run(&schedule, &mut events, &interrupt), Err(Error::Interrupted)));
    assert!(events.is_empty());
    let path = folder.path().join("tiny.gguf");
    let model = Model {
        id: String::new(),
        header: gguf::read(&path).unwrap().header,
        source: Source::Gguf(path),
        origin: String::new(),
    };
    assert!(matches!(load(&model, &Options::default(), &interrupt), Err(Error::Interrupted)));
}

#[test]
fn a_file_that_ends_in_its_head_is_not_taken_for_a_tied_one() {
    let shape = Tiny { tied: false, ..Tiny::of("llama") };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = shape.write(&path);
    let head = header.tensor("output.weight").unwrap().clone();
    let bytes = std::fs::read(&path).unwrap();
    // candle reads the head before the blocks; a file that ends in the middle of the head fails there.
    std::fs::write(&path, &bytes[..usize::try_from(head.offset).unwrap() + 1000]).unwrap();
    let model = Model { id: String::new(), header, source: Source::Gguf(path), origin: String::new() };
    let error = load(&model, &Options::default(), &Interrupt::default()).err().unwrap();
    assert!(matches!(error, Error::Load { .. }), "{error}");
}

#[test]
fn what_candle_ignores_is_a_caveat() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = Tiny { rope_factors: true, ..Tiny::of("llama") }.write(&path);
    assert!(header.has_rope_factors);
    let engine = open(&path, header);
    assert_eq!(engine.capabilities().caveats.len(), 1, "{:?}", engine.capabilities().caveats);
    assert!(engine.capabilities().caveats[0].contains("rope_freqs.weight"));
    let (_folder, plain) = tiny(&Tiny::of("llama"));
    assert!(plain.capabilities().caveats.is_empty(), "{:?}", plain.capabilities().caveats);
    assert_eq!(plain.capabilities().max_context, 2048);
    let (_folder, gemma) = tiny(&Tiny::of("gemma3"));
    assert!(gemma.capabilities().caveats[0].contains("SiLU"));
    assert_eq!(gemma.capabilities().max_context, 512);
}

#[test]
fn metadata_that_gguf_lets_be_absent_may_be() {
    for architecture in ALL {
        let (_folder, mut whole) = tiny(&Tiny::of(architecture));
        let without: &[_] = match architecture {
            // Gemma's head is not width / heads wide by default, and Qwen3's need not be.
            "gemma3" => &["rope.dimension_count", "rope.freq_base"],
            _ => &["rope.dimension_count", "rope.freq_base", "key_length", "value_length"],
        };
        let (_folder, mut bare) = tiny(&Tiny { without, ..Tiny::of(architecture) });
        let sequences = vec![plan(vec![], tokens(50, 1), 4)];
        let same = greedy(&mut *whole, sequences.clone()) == greedy(&mut *bare, sequences);
        assert!(same, "{architecture}");
    }
}

#[test]
fn metadata_that_change_the_computation_are_refused_or_a_caveat() {
    let load_with = |architecture, key, value| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        let header = Tiny { with: vec![(key, value)], ..Tiny::of(architecture) }.write(&path);
        let source = Source::Gguf(path);
        let model = Model { id: String::new(), header, source, origin: String::new() };
        load(&model, &Options::default(), &Interrupt::default())
            .map(|engine| engine.capabilities().caveats.clone())
    };
    for architecture in ["llama", "phi3"] {
        let key =
            if architecture == "llama" { "llama.rope.dimension_count" } else { "phi3.rope.dimension_count" };
        let error = load_with(architecture, key, Value::U32(32)).unwrap_err().to_string();
        assert!(error.contains("rotate 32 of a head's 64 elements"), "{error}");
    }
    for (architecture, key, value, word) in [
        ("llama", "llama.rope.scaling.type", Value::String("yarn".to_owned()), "yarn"),
        ("phi3", "phi3.rope.freq_base", Value::F32(250_000.0), "250000"),
        ("phi3", "phi3.attention.sliding_window", Value::U32(1000), "1000"),
    ] {
        let caveats = load_with(architecture, key, value).unwrap();
        assert!(caveats.len() == 1 && caveats[0].contains(word), "{key}: {caveats:?}");
    }
    assert_eq!(
        load_with("llama", "llama.rope.scaling.type", Value::String("none".to_owned())).unwrap().len(),
        0
    );
}

#[test]
fn refusals_before_loading_name_what_and_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let header = Tiny::of("llama").write(&folder.path().join("tiny.gguf"));
    assert!(supports(&header).is_ok());
    let refuse = |change: &dyn Fn(&mut Header)| {
        let mut changed = header.clone();
        change(&mut changed);
        supports(&changed).unwrap_err().to_string()
    };
    let error = refuse(&|h| h.spec.architecture = "mamba".to_owned());
    assert!(error.contains("`mamba`") && error.contains("qwen2"), "{error}");
    assert!(refuse(&|h| h.spec.architecture = "qwen3moe".to_owned()).contains("experts"));
    assert!(refuse(&|h| h.spec.head_size = 80).contains("80"));
    assert!(refuse(&|h| h.spec.kv_heads = 3).contains("multiple"));
    let error = refuse(&|h| h.tensors.retain(|tensor| tensor.name != "blk.1.ffn_up.weight"));
    assert!(error.contains("`blk.1.ffn_up.weight`"), "{error}");
    let error = refuse(&|h| h.tensors[4].name = "blk.0.ffn_gate_exps.weight".to_owned());
    assert!(error.contains("mixture of experts"), "{error}");
}

#[test]
fn rows_are_refused_before_loading_too() {
    let folder = tempfile::tempdir().unwrap();
    let header = |architecture| Tiny::of(architecture).write(&folder.path().join("tiny.gguf"));
    let row = |batch, context, prompt, output| Demand { batch, context, prompt, output, device: Device::Cpu };
    let (llama, qwen) = (header("llama"), header("qwen3"));
    assert!(can_run(&llama, row(8, 1, 0, 32)).is_ok());
    assert!(can_run(&llama, row(1, 100, 128, 1)).is_ok());
    assert!(can_run(&llama, row(1, 0, 2049, 1)).unwrap_err().to_string().contains("made for 2048"));
    assert!(can_run(&llama, row(2, 0, 128, 1)).unwrap_err().to_string().contains("2 prompts of 128 tokens"));
    assert!(can_run(&qwen, row(2, 1, 0, 1)).unwrap_err().to_string().contains("batch of 2"));
    // On a GPU candle's quantized Qwen3 takes another path, which knows batches.
    assert!(can_run(&qwen, Demand { device: Device::Cuda(0), ..row(2, 1, 0, 1) }).is_ok());
}

#[test]
fn every_weight_format_runs() {
    use GgmlDType::{BF16, F16, F32, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    for dtype in [F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K] {
        let (_folder, mut engine) = tiny(&Tiny { dtype, ..Tiny::of("llama") });
        let (outcome, _) = run(&mut *engine, vec![plan(vec![], tokens(40, 0), 4)]);
        assert_eq!(outcome.non_finite_steps, 0, "{dtype:?}");
    }
}
