//! No step of our own engine allocates: an allocation is a lock and, now and then, a call of the system, in the middle
//! of what is timed. Counted by an allocator of the whole process, on every thread, hence an executable of its own with
//! one test in it. Between two steps lies the scheduler's work as well, so it is held to the same.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; this one counts and hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use infercost::base::event::{Event, EventSink, Phase};
use infercost::base::sys::Interrupt;
use infercost::catalog::{Catalog, ExpertShape, Shape};
use infercost::engine::Options;
use infercost::engine::{Engine, Schedule, SequencePlan};
use infercost::model::synthetic::Synthetic;
use infercost::model::{Model, Source};
use infercost::run::engines::Kind;

/// Forwards everything to the system's allocator and counts the requests.
struct Counting;

static ASKED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system's allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What had been asked of the allocator when each step was over.
struct Counts(Vec<(Phase, usize)>);

impl EventSink for Counts {
    fn take(&mut self, event: Event) {
        if let Event::Step(step) = event {
            assert!(self.0.len() < self.0.capacity(), "the counts themselves would allocate");
            self.0.push((step.phase, ASKED.load(Ordering::Relaxed)));
        }
    }
}

/// A preset made small: two blocks, rows of a few hundred. The width is no multiple of 256, so no tensor has a K-quant.
fn small(preset: &str, quant: &str) -> Model {
    let mut row = Catalog::bundled().model(preset).expect("a bundled preset").clone();
    row.shape = Shape {
        layers: 2,
        width: 288,
        feed_forward: 512,
        heads: 4,
        kv_heads: 2,
        head_size: 64,
        vocabulary: 320,
        context_length: 2048,
        experts: row.shape.experts.map(|_| ExpertShape { count: 20, used: 3, feed_forward: 256 }),
        ..row.shape
    };
    let synthetic = Synthetic::new(&row, quant, 1).expect("a model");
    Model {
        id: preset.to_owned(),
        header: synthetic.header().clone(),
        origin: synthetic.origin().to_owned(),
        source: Source::Synthetic(synthetic),
    }
}

/// Contexts, prompts of more than one step together, and outputs that reach into new pages of the cache.
fn schedule(sequences: u32) -> Schedule {
    let tokens = |count: u32, salt: u32| (0..count).map(|i| (i * 37 + salt * 101) % 320).collect();
    let sequences = (0..sequences).map(|salt| SequencePlan {
        context: tokens(300, salt),
        prompt: tokens(1100, salt + 7),
        output_tokens: 80,
    });
    Schedule { sequences: sequences.collect() }
}

fn run(engine: &mut dyn Engine, schedule: &Schedule) -> Counts {
    let mut counts = Counts(Vec::with_capacity(1000));
    engine.run(schedule, &mut counts, &Interrupt::default()).expect("a run");
    counts
}

#[test]
fn no_step_allocates() {
    let models = [
        ("llama-3.2-1b", "q4_0"),
        ("qwen2.5-7b", "f16"),
        ("gemma-3-1b", "q8_0"),
        ("qwen3-30b-a3b", "q4_0"),
        ("gpt-oss-20b", "mxfp4"),
    ];
    for (preset, quant) in models {
        let model = small(preset, quant);
        for threads in [1, 2] {
            let before = ASKED.load(Ordering::Relaxed);
            let options = Options {
                threads: Some(threads),
                max_batch: Some(3),
                max_positions: Some(1500),
                ..Options::default()
            };
            let mut engine = Kind::Fused.load(&model, &options, &Interrupt::default()).expect("an engine");
            assert!(ASKED.load(Ordering::Relaxed) > before, "loading allocates, so nothing is counted");
            for sequences in [1, 3] {
                let schedule = schedule(sequences);
                run(engine.as_mut(), &schedule);
                // Other contexts of the same length, so that they are fed again, and then the very same.
                for again in ["the contexts fed again", "the contexts kept"] {
                    if again.ends_with("again") {
                        run(engine.as_mut(), &self::schedule(1));
                    }
                    let counts = run(engine.as_mut(), &schedule).0;
                    let mut steps = 0;
                    for pair in counts.windows(2) {
                        let ((one, before), (next, after)) = (pair[0], pair[1]);
                        // Before a phase's first step its tokens are handed over.
                        if one == next {
                            steps += 1;
                            assert_eq!(
                                before, after,
                                "{preset} {quant}, {threads} threads, {next:?}, {again}"
                            );
                        }
                    }
                    let prompt = counts.iter().filter(|(phase, _)| *phase == Phase::Prefill).count();
                    assert!(prompt > 1 && steps > 60, "{prompt} steps of the prompt, {steps} looked at");
                }
            }
        }
    }
}
