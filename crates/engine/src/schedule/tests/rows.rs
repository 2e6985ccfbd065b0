//! Schedules of pure steps.

use super::super::Scheduled;
use super::toy::{NOT_A_NUMBER, Toy, VOCABULARY, expected, tokens};
use crate::base::event::{Event, Phase, StepEvent};
use crate::base::random::SplitMix64;
use crate::base::sys::Interrupt;
use crate::{Engine, Error, Outcome, Schedule, SequencePlan};

fn plan(context: usize, prompt: usize, output_tokens: u32, seed: u64) -> SequencePlan {
    SequencePlan { context: tokens(context, seed), prompt: tokens(prompt, !seed), output_tokens }
}

fn batch(count: u64, context: usize, prompt: usize, output_tokens: u32) -> Vec<SequencePlan> {
    (0..count).map(|seed| plan(context, prompt, output_tokens, seed)).collect()
}

/// What a plan's outputs must be.
fn outputs(plan: &SequencePlan) -> Vec<u32> {
    let fed = [&plan.context[..], &plan.prompt].concat();
    let own_choice = usize::from(plan.prompt.is_empty());
    expected(&fed, plan.output_tokens as usize + own_choice).split_off(own_choice)
}

fn run(engine: &mut Scheduled<Toy>, sequences: &[SequencePlan]) -> (Outcome, Vec<Event>) {
    let mut events = Vec::new();
    let schedule = Schedule { sequences: sequences.to_vec() };
    let outcome = engine.run(&schedule, &mut events, &Interrupt::default()).unwrap();
    for (found, plan) in outcome.tokens.iter().zip(sequences) {
        assert_eq!(*found, outputs(plan));
    }
    let reported = |index: usize| {
        events.iter().filter_map(move |event| match event {
            Event::Token(token) if token.sequence as usize == index => Some(token.token),
            _ => None,
        })
    };
    for (index, found) in outcome.tokens.iter().enumerate() {
        assert!(reported(index).eq(found.iter().copied()), "sequence {index}");
    }
    (outcome, events)
}

fn steps(events: &[Event]) -> Vec<StepEvent> {
    let step = |event: &Event| if let Event::Step(step) = event { Some(*step) } else { None };
    events.iter().filter_map(step).collect()
}

/// Phase, sequences, prompt tokens and output tokens of each step.
fn counts(events: &[Event]) -> Vec<(Phase, u32, u32, u32)> {
    let count = |step: StepEvent| (step.phase, step.sequences, step.prompt_tokens, step.output_tokens);
    steps(events).into_iter().map(count).collect()
}

#[test]
fn a_row_is_contexts_then_prompts_then_outputs() {
    let mut engine = Scheduled::new(Toy::new(64, 8));
    let (_, events) = run(&mut engine, &batch(2, 5, 7, 3));
    let expected = [
        (Phase::Context, 2, 8, 0),
        (Phase::Context, 1, 2, 0),
        (Phase::Prefill, 2, 8, 1),
        (Phase::Prefill, 1, 6, 1),
        (Phase::Decode, 2, 0, 2),
        (Phase::Decode, 2, 0, 2),
    ];
    assert_eq!(counts(&events), expected);
    // Nothing is chosen behind a chunk that another follows, nor behind a context that a prompt follows.
    assert_eq!(engine.back_end().yields, 6);
    let steps = steps(&events);
    assert!(steps.iter().all(|step| step.start <= step.end && step.recomputed_tokens == 0));
    assert!(steps.windows(2).all(|pair| pair[0].end <= pair[1].start));
    assert!(steps.iter().all(|s| s.fed_output_tokens == if s.phase == Phase::Decode { 2 } else { 0 }));
}

#[test]
fn rows_with_a_part_alone() {
    let mut engine = Scheduled::new(Toy::new(64, 512));
    let (outcome, events) = run(&mut engine, &batch(3, 0, 100, 0));
    assert_eq!(counts(&events), [(Phase::Prefill, 3, 300, 0)]);
    assert_eq!(outcome.tokens, vec![Vec::<u32>::new(); 3]);
    let (_, events) = run(&mut engine, &batch(3, 1, 0, 2));
    assert_eq!(
        counts(&events),
        [(Phase::Context, 3, 3, 0), (Phase::Decode, 3, 0, 3), (Phase::Decode, 3, 0, 3)]
    );
    assert_eq!(counts(&run(&mut engine, &batch(1, 0, 9, 1)).1), [(Phase::Prefill, 1, 9, 1)]);
    assert_eq!(counts(&run(&mut engine, &batch(1, 9, 0, 0)).1), [(Phase::Context, 1, 9, 0)]);
}

#[test]
fn any_batch_and_any_chunk_gives_each_sequence_what_it_gives_alone() {
    let mut random = SplitMix64::new(5);
    for round in 0..200 {
        let tokens_per_step = [1, 2, 7, 63, 64, 65, 512][random.below(7) as usize];
        let most = 8.min(tokens_per_step);
        let sequences: Vec<SequencePlan> = (0..=random.below(most))
            .map(|index| {
                let mut length = |bound: u32| if random.below(3) == 0 { 0 } else { random.below(bound) };
                let (context, prompt, output) = (length(200) as usize, length(200) as usize, length(130));
                let prompt = prompt.max(usize::from(context == 0));
                plan(context, prompt, output, u64::from(round * 100 + index))
            })
            .collect();
        let pages = super::super::pages_needed(&Schedule { sequences: sequences.clone() });
        // Exactly as many as it takes: neither a page nor a position is wasted.
        let mut engine = Scheduled::new(Toy::new(u32::try_from(pages).unwrap(), tokens_per_step));
        let (_, events) = run(&mut engine, &sequences);
        assert!(steps(&events).is_sorted_by_key(|step| step.phase as u8));
        // Again, with the contexts kept, and again from the beginning.
        run(&mut engine, &sequences);
        let contexts: Vec<Vec<u32>> = sequences.iter().map(|plan| plan.context.clone()).collect();
        if contexts.iter().all(|context| !context.is_empty()) {
            assert!(engine.logits(&contexts, &Interrupt::default()).is_ok());
        }
        run(&mut engine, &sequences);
        assert!(engine.batcher.pages().held() <= usize::try_from(pages).unwrap());
        engine.batcher.clear();
        assert_eq!(engine.batcher.pages().held(), 0);
    }
}

#[test]
fn a_context_is_filled_once_for_all_that_follows_it() {
    let mut engine = Scheduled::new(Toy::new(64, 512));
    let context_tokens = |events: &[Event]| {
        let context = steps(events).into_iter().filter(|step| step.phase == Phase::Context);
        context.map(|step| step.prompt_tokens).sum::<u32>()
    };
    let context =
        |engine: &mut Scheduled<Toy>, sequences: &[SequencePlan]| context_tokens(&run(engine, sequences).1);
    assert_eq!(context(&mut engine, &batch(2, 100, 5, 90)), 200);
    assert_eq!(context(&mut engine, &batch(2, 100, 5, 90)), 0);
    assert_eq!(context(&mut engine, &batch(2, 100, 70, 1)), 0);
    // What follows the context itself was never chosen: the last token of each is fed again, once.
    assert_eq!(context(&mut engine, &batch(2, 100, 0, 40)), 2);
    assert_eq!(context(&mut engine, &batch(2, 100, 0, 41)), 0);
    assert_eq!(context(&mut engine, &batch(2, 100, 30, 4)), 0);
    assert_eq!(context(&mut engine, &batch(2, 100, 0, 0)), 0);
    // Other contexts, other numbers of them, other lengths.
    assert_eq!(context(&mut engine, &batch(1, 100, 5, 5)), 100);
    assert_eq!(context(&mut engine, &[plan(100, 5, 5, 77)]), 100);
    assert_eq!(context(&mut engine, &[plan(99, 5, 5, 77)]), 99);
    let mut other = plan(99, 5, 5, 77);
    other.context[98] += 1;
    assert_eq!(context(&mut engine, &[other]), 99);
}

#[test]
fn an_interrupt_keeps_what_is_true_and_a_failure_forgets_the_cache() {
    let sequences = batch(2, 100, 70, 9);
    let schedule = Schedule { sequences: sequences.clone() };
    for stop in 1..24 {
        let interrupt = Interrupt::default();
        let mut toy = Toy::new(64, 16);
        toy.interrupts_in = Some((stop, interrupt.clone()));
        let mut engine = Scheduled::new(toy);
        let mut events = Vec::new();
        let stopped = engine.run(&schedule, &mut events, &interrupt);
        assert!(matches!(stopped, Err(Error::Interrupted)), "{stop}");
        let found = steps(&events);
        assert_eq!(found.len(), stop);
        let yielded: u32 = found.iter().map(|step| step.output_tokens).sum();
        assert_eq!(yielded as usize, events.len() - found.len());
        // What is whole is used again, and what is not is not.
        let (_, events) = run(&mut engine, &sequences);
        let again = steps(&events).iter().any(|step| step.phase == Phase::Context);
        assert_eq!(again, found.iter().map(|step| step.prompt_tokens).sum::<u32>() < 200, "{stop}");

        let mut toy = Toy::new(64, 16);
        toy.fails_in = Some(stop);
        let mut engine = Scheduled::new(toy);
        let failed = engine.run(&schedule, &mut Vec::new(), &Interrupt::default());
        assert!(matches!(failed, Err(Error::Step { .. })), "{stop}");
        assert_eq!(engine.batcher.pages().held(), 0);
        run(&mut engine, &sequences);
    }
    // In the last step there is nothing left to stop.
    let interrupt = Interrupt::default();
    let mut toy = Toy::new(64, 512);
    toy.interrupts_in = Some((1, interrupt.clone()));
    let one = Schedule { sequences: batch(2, 0, 70, 1) };
    assert!(Scheduled::new(toy).run(&one, &mut Vec::new(), &interrupt).is_ok());
}

#[test]
fn steps_whose_logits_are_no_numbers_are_counted() {
    let mut sequences = batch(2, 0, 40, 3);
    sequences[1].prompt[35] = NOT_A_NUMBER;
    let mut engine = Scheduled::new(Toy::new(64, 512));
    assert_eq!(run(&mut engine, &sequences).0.non_finite_steps, 1);
    // In a chunk from which nothing is chosen, no logits were looked at.
    let mut engine = Scheduled::new(Toy::new(64, 76));
    assert_eq!(run(&mut engine, &sequences).0.non_finite_steps, 0);
}

#[test]
fn logits_are_those_behind_the_last_token_or_behind_every_one() {
    let argmax = |row: &[f32]| u32::try_from(row.iter().position(|logit| *logit > 0.5).unwrap()).unwrap();
    let interrupt = Interrupt::default();
    for tokens_per_step in [5, 64, 512] {
        let mut engine = Scheduled::new(Toy::new(64, tokens_per_step));
        let contexts: Vec<Vec<u32>> = (0..5).map(|seed| tokens(100, seed)).collect();
        let found = engine.logits(&contexts, &interrupt).unwrap();
        assert_eq!(found.len(), 5);
        for (row, context) in found.iter().zip(&contexts) {
            assert_eq!(row.len(), VOCABULARY as usize);
            assert_eq!(argmax(row), expected(context, 1)[0]);
        }
        for from in [0, 1, 99, 150, 200] {
            let text = tokens(200, 8);
            let mut seen = Vec::new();
            let mut each = |position: usize, row: &[f32]| seen.push((position, argmax(row)));
            engine.every_logits(&text, from, &mut each, &interrupt).unwrap();
            let all: Vec<_> = (from..200).map(|at| (at, expected(&text[..=at], 1)[0])).collect();
            assert_eq!(seen, all);
        }
        assert_eq!(engine.batcher.pages().held(), 0);
        interrupt_is_told(&mut engine, &contexts);
    }
}

fn interrupt_is_told(engine: &mut Scheduled<Toy>, contexts: &[Vec<u32>]) {
    let interrupt = Interrupt::default();
    interrupt.request();
    assert!(matches!(engine.logits(contexts, &interrupt), Err(Error::Interrupted)));
    let every = engine.every_logits(&contexts[0], 0, &mut |_, _| {}, &interrupt);
    assert!(matches!(every, Err(Error::Interrupted)));
}

#[test]
fn what_cannot_run_is_refused_before_the_first_step() {
    let mut engine = Scheduled::new(Toy::new(4, 16));
    assert_eq!(engine.capabilities().max_batch, 16);
    // What needs more pages than there are ends a batch that grows, as a device that is full does.
    for (sequences, is_full) in [
        (vec![], false),
        (batch(17, 1, 0, 1), false),
        (batch(2, 0, 129, 1), true),
        (batch(1, 0, 200, 58), true),
        (batch(1, 0, 0, 1), false),
    ] {
        let schedule = Schedule { sequences };
        let mut events = Vec::new();
        let refused = engine.run(&schedule, &mut events, &Interrupt::default());
        let (unsupported, full) = match refused {
            Err(Error::Unsupported { .. }) => (true, false),
            Err(Error::OutOfMemory { .. }) => (false, true),
            _ => (false, false),
        };
        assert_eq!((unsupported, full), (!is_full, is_full), "{schedule:?}");
        assert_eq!((events.len(), engine.back_end().steps), (0, 0));
    }
    run(&mut engine, &batch(1, 0, 200, 57));
    assert!(engine.logits(&[], &Interrupt::default()).is_err());
    assert!(engine.logits(&[vec![1; 300]], &Interrupt::default()).is_err());
}
