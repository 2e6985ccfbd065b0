//! Requests that come, wait, lose their pages and are taken back: each must get the tokens that it gets alone.

use std::process::Command;
use std::time::Duration;

use candle_core::quantized::GgmlDType;

use super::{ALL, greedy, open, options, tokens};
use crate::Options;
use crate::base::clock;
use crate::base::event::{Event, Tick};
use crate::base::random::SplitMix64;
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use crate::fused::{Isa, KvType, back_end};
use crate::model::{Model, Source};
use crate::schedule::{Ending, Request, Scheduled, ServeOptions, Served};
use crate::{Capabilities, Error, SequencePlan, StepBatch, StepEngine, StepLimits, StepOutput};
use infercost_testing::Tiny;

/// The engine with fewer pages than its sequences can fill, so that some must give way.
pub(super) struct FewPages<S> {
    pub(super) engine: S,
    pub(super) pages: u32,
}

impl<S: StepEngine> StepEngine for FewPages<S> {
    fn capabilities(&self) -> &Capabilities {
        self.engine.capabilities()
    }

    fn limits(&self) -> StepLimits {
        StepLimits { pages: self.pages, ..self.engine.limits() }
    }

    fn step(&mut self, batch: &StepBatch<'_>, output: &mut StepOutput) -> Result<(), Error> {
        self.engine.step(batch, output)
    }
}

pub(super) fn requests(count: u32, seed: u64) -> Vec<Request> {
    let mut random = SplitMix64::new(seed);
    (0..count)
        .map(|index| {
            let arrival = Seconds::new(f64::from(random.below(20)) / 1e3);
            // Half of them begin like another one.
            let mut prompt = tokens(random.below(150) as usize, (index % 2 * index) as usize);
            prompt.extend(tokens(1 + random.below(40) as usize, index as usize + 50));
            let cancel =
                (random.below(6) == 0).then(|| arrival + Seconds::new(f64::from(random.below(60)) / 1e3));
            Request { arrival, prompt, output_tokens: 1 + random.below(30), cancel }
        })
        .collect()
}

pub(super) fn check(served: &Served, alone: &[Vec<u32>], what: &str) {
    for (number, (request, alone)) in served.requests.iter().zip(alone).enumerate() {
        match request.ending {
            Ending::Finished => assert_eq!(request.tokens, *alone, "{what}, request {number}"),
            Ending::Cancelled | Ending::Stopped => {
                assert_eq!(request.tokens, alone[..request.tokens.len()], "{what}");
            }
        }
    }
}

#[test]
fn whoever_waits_or_loses_its_pages_gets_the_tokens_that_it_gets_alone() {
    let requests = requests(40, 11);
    for (architecture, kv_type) in ALL.into_iter().zip([KvType::F16, KvType::Q8_0].into_iter().cycle()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        let header = Tiny { dtype: GgmlDType::Q8_0, ..Tiny::of(architecture) }.write(&path);
        let options = Options { kv_type, ..options(Isa::detect(), 2, 8) };
        let mut engine = open(&path, header.clone(), &options);
        let alone: Vec<Vec<u32>> = requests
            .iter()
            .map(|request| {
                let prompt = request.prompt.clone();
                let output_tokens = request.output_tokens;
                greedy(&mut *engine, vec![SequencePlan { prompt, output_tokens, ..SequencePlan::default() }])
                    .remove(0)
            })
            .collect();
        let model = Model { id: String::new(), header, source: Source::Gguf(path), origin: String::new() };
        let engine = back_end(&model, &options, &Interrupt::default(), &|_| ()).unwrap();
        let mut scheduled = Scheduled::new(FewPages { engine, pages: 9 });
        let mut preemptions = 0;
        for (share_prefixes, chunk) in [(false, None), (false, Some(33)), (true, None), (true, Some(64))] {
            let how = ServeOptions {
                share_prefixes,
                tokens_per_step: chunk,
                spare_pages: Some(0),
                ..ServeOptions::default()
            };
            let served = scheduled.serve(&requests, &how, &mut Vec::new(), &Interrupt::default()).unwrap();
            check(&served, &alone, &format!("{architecture} {kv_type:?} {how:?}"));
            preemptions += served.preemptions;
            assert!(served.requests.iter().filter(|r| r.ending == Ending::Finished).count() > 20);
        }
        assert!(preemptions > 0, "{architecture}: nobody had to give way");
    }
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Whether this process is the one that runs the soak and nothing else.
const ALONE: &str = "INFERCOST_SOAK_ALONE";

/// The memory looked at is the whole process's, so it runs in one of its own.
#[test]
#[allow(clippy::print_stderr, reason = "says how far it came")]
#[allow(clippy::disallowed_methods, reason = "what it says to itself is no setting of the program")]
fn a_hundred_thousand_steps_leak_neither_pages_nor_memory() {
    if std::env::var_os(ALONE).is_some() {
        return soak();
    }
    let name = "fused::tests::serving::a_hundred_thousand_steps_leak_neither_pages_nor_memory";
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let done = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("steps in"), "{said}");
    eprint!("{said}");
}

#[allow(clippy::print_stderr, reason = "says how far it came")]
fn soak() {
    const STEPS: usize = 100_000;
    const LONGEST: Duration = Duration::from_mins(2);
    let spent = |start: Tick| clock::now().since(start).get();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = Tiny { dtype: GgmlDType::Q8_0, ..Tiny::of("llama") }.write(&path);
    let model = Model { id: String::new(), header, source: Source::Gguf(path), origin: String::new() };
    // One thread: with other tests running, two would wait for each other most of the time.
    let engine = back_end(&model, &options(Isa::detect(), 1, 8), &Interrupt::default(), &|_| ()).unwrap();
    let mut scheduled = Scheduled::new(FewPages { engine, pages: 9 });
    let (mut steps, mut finished, mut cancelled, mut preemptions) = (0, 0, 0, 0);
    let mut sizes = Vec::new();
    let start = clock::now();
    for round in 0.. {
        if steps >= STEPS || spent(start) > LONGEST.as_secs_f64() {
            break;
        }
        // Always as many, so that what a round itself holds has the same size.
        let requests = requests(100, round);
        let how = ServeOptions {
            share_prefixes: round % 2 == 1,
            tokens_per_step: (round % 3 == 1).then_some(40),
            spare_pages: Some(0),
            ..ServeOptions::default()
        };
        let mut events: Vec<Event> = Vec::with_capacity(100_000);
        let served = scheduled.serve(&requests, &how, &mut events, &Interrupt::default()).unwrap();
        assert_eq!(scheduled.pages_held(), 0, "round {round}");
        steps += events.iter().filter(|event| matches!(event, Event::Step(_))).count();
        preemptions += served.preemptions;
        let done = served.requests.iter().filter(|request| request.ending == Ending::Finished).count();
        finished += done;
        cancelled += requests.len() - done;
        drop((events, served));
        sizes.push(resident());
    }
    // The first quarter finds its size; what leaks 40 bytes a step adds 3 MB after it.
    let (early, late) = sizes.split_at(sizes.len() / 4);
    let [early, late] = [early, late].map(|sizes| sizes.iter().max().copied().unwrap_or(0));
    eprintln!(
        "{steps} steps in {:.1} s, {finished} requests finished, {cancelled} cancelled, {preemptions} preempted; \
         {early} bytes in memory at most in the first quarter, {late} after it",
        spent(start)
    );
    assert!(preemptions > 100 && finished > 1000 && cancelled > 100);
    assert!(late < early + 3_000_000, "{early} bytes at first, {late} later");
}
