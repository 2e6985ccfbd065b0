//! Micro-benchmarks of what a measurement relies on: kernels, the scheduler, statistics, parsing, the meter itself.
//!
//! `scripts/micro` runs them and takes their medians into a store, where `bench regress history` looks for changes.
//! Kernels are timed through whole steps of a network of two layers on one thread: what a kernel is called does not
//! matter then, and neither does how it is cut.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use infercost::base::clock;
use infercost::base::event::{Event, Phase, StepEvent, Tick, TokenEvent};
use infercost::base::random::SplitMix64;
use infercost::base::stats::{ChangeRules, change_points, t_interval};
use infercost::base::sys::{self, Interrupt};
use infercost::catalog::{Catalog, ModelRow};
use infercost::engine::fused::{self, Isa};
use infercost::engine::schedule::Scheduled;
use infercost::engine::{
    Capabilities, Engine, Error, Options, Schedule, SequencePlan, StepBatch, StepEngine, StepLimits,
    StepOutput,
};
use infercost::hardware::telemetry::host;
use infercost::model::{Model, Source, Synthetic, gguf};
use infercost::record::{read, write};
use infercost::regress::gate::{Margin, Pairs, decide};
use infercost::report::exchange;
use infercost::run::measure::{RowTrials, Trial, measurements};
use infercost::run::plan::{Row, RowKind};

fn row(id: &str) -> ModelRow {
    let models = Catalog::bundled().models;
    models.into_iter().find(|row| row.id == id).expect("a row of the bundled catalog")
}

fn sequences(count: usize, prompt: u32, output_tokens: u32) -> Schedule {
    let plan = SequencePlan { context: Vec::new(), prompt: (1..=prompt).collect(), output_tokens };
    Schedule { sequences: vec![plan; count] }
}

fn run(engine: &mut dyn Engine, schedule: &Schedule) {
    let mut events: Vec<Event> = Vec::new();
    engine.run(schedule, &mut events, &Interrupt::default()).expect("it runs");
    black_box(events);
}

fn kernels(c: &mut Criterion) {
    let mut group = c.benchmark_group("kernels");
    for quant in ["f32", "f16", "q8_0", "q4_0", "q4_1"] {
        let mut small = row("smollm2-135m");
        (small.shape.layers, small.shape.vocabulary) = (2, 1024);
        let synthetic = Synthetic::new(&small, quant, 0).expect("a format that can be made");
        let model = Model {
            id: format!("small:{quant}"),
            header: synthetic.header().clone(),
            origin: synthetic.origin().to_owned(),
            source: Source::Synthetic(synthetic),
        };
        let best = Isa::detect();
        for isa in Isa::ALL.into_iter().filter(|isa| *isa <= best) {
            let options = Options {
                max_positions: Some(128),
                max_batch: Some(1),
                threads: Some(1),
                isa: Some(isa),
                ..Options::default()
            };
            let mut engine = fused::load(&model, &options, &Interrupt::default(), &|_| ()).expect("it loads");
            let name = format!("{quant} {isa}");
            for (what, prompt, output) in [("prefill 64", 64, 1), ("decode 16", 1, 17)] {
                let schedule = sequences(1, prompt, output);
                group.throughput(Throughput::Elements(u64::from(prompt.max(output - 1))));
                group.bench_function(BenchmarkId::new(&name, what), |b| {
                    b.iter(|| run(&mut *engine, &schedule));
                });
            }
        }
    }
    group.finish();
}

/// A back end that takes no time, so that what is left is the scheduler's.
struct Idle(Capabilities);

impl StepEngine for Idle {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    fn limits(&self) -> StepLimits {
        StepLimits { vocabulary: 1024, pages: 1024, tokens_per_step: 512 }
    }

    fn step(&mut self, batch: &StepBatch<'_>, output: &mut StepOutput) -> Result<(), Error> {
        output.next.clear();
        output.next.extend(batch.sequences.iter().filter(|sequence| sequence.yields).map(|_| 1));
        output.logits.clear();
        output.non_finite = false;
        Ok(())
    }
}

fn schedule(c: &mut Criterion) {
    let mut group = c.benchmark_group("schedule");
    let capabilities = Capabilities {
        engine: "idle",
        version: "0".to_owned(),
        device: "none".to_owned(),
        threads: None,
        max_batch: 64,
        max_context: 4096,
        kv_type: "none",
        caveats: Vec::new(),
        choices: Vec::new(),
        kernels: None,
    };
    let mut engine = Scheduled::new(Idle(capabilities));
    for count in [1, 16, 64] {
        let schedule = sequences(count, 128, 64);
        group.throughput(Throughput::Elements(64 * count as u64));
        group.bench_function(format!("{count} sequences"), |b| b.iter(|| run(&mut engine, &schedule)));
    }
    group.finish();
}

fn statistics(c: &mut Criterion) {
    let mut group = c.benchmark_group("statistics");
    let mut random = SplitMix64::new(1);
    let mut normal = |n: usize| (0..n).map(|_| 100.0 + random.normal()).collect::<Vec<f64>>();
    let samples = normal(1000);
    group.bench_function("t interval of 1000", |b| b.iter(|| t_interval(black_box(&samples), 0.95)));
    let metrics: Vec<Pairs> = (0..6)
        .map(|number| Pairs {
            metric: number.to_string(),
            more_is_better: true,
            margin: Margin(0.03),
            values: normal(12).into_iter().zip(normal(12)).map(|(a, b)| [a, b]).collect(),
        })
        .collect();
    group.bench_function("gate of 6 metrics", |b| b.iter(|| decide(black_box(&metrics), 0.02)));
    let mut series = normal(300);
    series[150..].iter_mut().for_each(|value| *value *= 1.05);
    group.bench_function("change points of 300", |b| {
        b.iter(|| change_points(black_box(&series), &ChangeRules::default()));
    });
    group.finish();
}

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parsing");
    let large = Synthetic::new(&row("llama-3-70b"), "q4_0", 0).expect("a format that can be made");
    group.bench_function("GGUF header of 70B", |b| {
        b.iter(|| gguf::parse(large.reader(), large.length(), Path::new("large")).expect("a header"));
    });
    let catalog = Catalog::bundled();
    let argv = ["bench".to_owned()];
    let options = exchange::Options {
        format: None,
        model: None,
        gpu: None,
        gpus: None,
        price_per_hour: None,
        catalog: &catalog,
        today: jiff::civil::date(2026, 11, 25),
        now: jiff::Timestamp::UNIX_EPOCH,
        argv: &argv,
    };
    let path = Path::new("tests/data/exchange/llama-bench.json");
    let bytes = std::fs::read(path).expect("a file of the tests");
    let import = || exchange::import_from(path, bytes.as_slice(), &options).expect("records");
    group.bench_function("llama-bench's JSON", |b| b.iter(import));
    let record = write::to_json(&import()[0]).expect("JSON");
    group.bench_function("a record", |b| b.iter(|| read::parse(black_box(&record)).expect("a record")));
    group.bench_function("the catalog", |b| b.iter(Catalog::bundled));
    group.finish();
}

fn meter(c: &mut Criterion) {
    let mut group = c.benchmark_group("meter");
    group.bench_function("two looks at the clock", |b| b.iter(|| (clock::now(), clock::now())));
    group.bench_function("use of the process", |b| b.iter(sys::usage));
    group.bench_function("load of the host", |b| b.iter(host::read));
    let row = Row { kind: RowKind::Decode { output_tokens: 128 }, batch: 1, depth: 0 };
    let event = |number: u64| {
        let [start, end] = [number, number + 1].map(|at| Tick::from_nanos(at * 1_000_000));
        let step = StepEvent {
            phase: Phase::Decode,
            start,
            end,
            sequences: 1,
            prompt_tokens: 0,
            fed_output_tokens: 1,
            recomputed_tokens: 0,
            output_tokens: 1,
        };
        [Event::Step(step), Event::Token(TokenEvent { sequence: 0, at: end, token: 1 })]
    };
    let events: Vec<Event> = (0..128).flat_map(event).collect();
    group.bench_function("a trial of 128 tokens", |b| {
        b.iter(|| Trial::from_events(&row, black_box(&events)).expect("a trial"));
    });
    let trial = Trial::from_events(&row, &events).expect("a trial");
    let trials = RowTrials { row, warmup: Vec::new(), trials: vec![trial; 20] };
    group.bench_function("a row of 20 trials", |b| b.iter(|| measurements(black_box(&trials))));
    group.finish();
}

fn quick() -> Criterion {
    Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

criterion_group! {
    name = micro;
    config = quick();
    targets = kernels, schedule, statistics, parsing, meter
}
criterion_main!(micro);
