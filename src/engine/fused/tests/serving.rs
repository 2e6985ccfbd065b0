//! Requests that come, wait, lose their pages and are taken back: each must get the tokens that it gets alone.

use candle_core::quantized::GgmlDType;

use super::{ALL, greedy, open, options, tokens};
use crate::base::random::SplitMix64;
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use crate::engine::choice::Options;
use crate::engine::fused::cpu::CpuEngine;
use crate::engine::fused::{Isa, KvType, back_end};
use crate::engine::schedule::{Ending, Request, Scheduled, ServeOptions, Served};
use crate::engine::testing::Tiny;
use crate::engine::{Capabilities, Error, SequencePlan, StepBatch, StepEngine, StepLimits, StepOutput};
use crate::model::{Model, Source};

/// The engine with fewer pages than its sequences can fill, so that some must give way.
struct FewPages {
    engine: CpuEngine,
    pages: u32,
}

impl StepEngine for FewPages {
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

fn requests(count: u32, seed: u64) -> Vec<Request> {
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

fn check(served: &Served, alone: &[Vec<u32>], what: &str) {
    for (number, (request, alone)) in served.requests.iter().zip(alone).enumerate() {
        match request.ending {
            Ending::Finished => assert_eq!(request.tokens, *alone, "{what}, request {number}"),
            Ending::Cancelled => assert_eq!(request.tokens, alone[..request.tokens.len()], "{what}"),
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
