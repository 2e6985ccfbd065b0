//! The loop with given step times, on a clock that only the steps advance.

use std::cell::Cell;
use std::sync::LazyLock;

use super::agreement::argmax;
use super::*;
use crate::base::event::{Event, EventSink, Phase, StepEvent};
use crate::engine::Outcome;
use crate::run::plan::RowKind;
use crate::run::plan::limits::Asked;

thread_local! {
    /// The clock: each test has a thread of its own.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

fn now() -> Tick {
    Tick::from_nanos(NOW.get())
}

/// An engine whose steps last a given time, so that the loop is tested without waiting.
struct Scripted {
    capabilities: Capabilities,
    /// Length of a step of the k-th schedule; a prompt's is one step, longer by `token_ns` for each of its tokens.
    step_ns: Box<dyn Fn(usize, u32) -> u64>,
    token_ns: u64,
    runs: usize,
    stop_after: usize,
    /// What it says when it stops.
    stop: fn() -> EngineError,
    batch_fault: f32,
    /// In a batch, the worst token is put out, not the best.
    wrong_outputs: bool,
}

impl Scripted {
    fn boxed(step_ns: impl Fn(usize, u32) -> u64 + 'static, stop_after: usize) -> Box<dyn Engine> {
        Box::new(Self::new(step_ns, stop_after))
    }

    fn new(step_ns: impl Fn(usize, u32) -> u64 + 'static, stop_after: usize) -> Self {
        let capabilities = Capabilities {
            engine: "scripted",
            version: "0".into(),
            device: "none".into(),
            threads: None,
            max_batch: 64,
            max_context: 4096,
            kv_type: "none",
            caveats: vec![],
            choices: vec![],
            kernels: None,
        };
        let step_ns = Box::new(step_ns);
        Self {
            capabilities,
            step_ns,
            token_ns: 0,
            runs: 0,
            stop_after,
            stop: || EngineError::Interrupted,
            batch_fault: 0.0,
            wrong_outputs: false,
        }
    }

    /// Logits of a sequence that begins with `first`; in a batch, every sequence but the first is off by what the
    /// test asks for.
    fn row(&self, index: usize, first: u32) -> Vec<f32> {
        let fault = if index > 0 { self.batch_fault } else { 0.0 };
        (0..50u8).map(|i| (first as f32 + f32::from(i)).sin() + fault * f32::from(i % 2)).collect()
    }
}

impl Engine for Scripted {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn accepts(&self, schedule: &Schedule) -> Result<(), EngineError> {
        if schedule.sequences.len() <= self.capabilities.max_batch as usize {
            return Ok(());
        }
        let (what, reason) = ("run it".into(), "the batch is too large".into());
        Err(EngineError::Unsupported { engine: "scripted", what, reason })
    }

    fn run(
        &mut self,
        schedule: &Schedule,
        events: &mut dyn EventSink,
        interrupt: &Interrupt,
    ) -> Result<Outcome, EngineError> {
        if self.runs == self.stop_after {
            return Err((self.stop)());
        }
        let batch = u32::try_from(schedule.sequences.len()).expect("small");
        let first = &schedule.sequences[0];
        let prefill = u32::from(!first.prompt.is_empty());
        for step in 0..first.output_tokens {
            if interrupt.requested() {
                self.runs += 1;
                return Err(EngineError::Interrupted);
            }
            let is_prefill = step < prefill;
            let fed = if is_prefill { first.prompt.len() as u64 * u64::from(batch) } else { 0 };
            let length = (self.step_ns)(self.runs, batch) + fed * self.token_ns;
            let now_ns = NOW.get();
            NOW.set(now_ns + length);
            events.take(Event::Step(StepEvent {
                phase: if is_prefill { Phase::Prefill } else { Phase::Decode },
                start: Tick::from_nanos(now_ns),
                end: Tick::from_nanos(now_ns + length),
                sequences: batch,
                prompt_tokens: if is_prefill {
                    u32::try_from(first.prompt.len()).expect("small") * batch
                } else {
                    0
                },
                fed_output_tokens: if is_prefill { 0 } else { batch },
                recomputed_tokens: 0,
                output_tokens: batch,
            }));
        }
        self.runs += 1;
        let of = |(index, plan): (usize, &SequencePlan)| {
            let first = plan.context.first().or(plan.prompt.first()).copied().unwrap_or(0);
            let mut row = self.row(0, first);
            if self.wrong_outputs && index > 0 {
                for logit in &mut *row {
                    *logit = -*logit;
                }
            }
            let choice = argmax(&row).expect("fifty logits");
            vec![u32::try_from(choice).expect("few"); plan.output_tokens as usize]
        };
        let tokens = schedule.sequences.iter().enumerate().map(of).collect();
        Ok(Outcome { tokens, non_finite_steps: 0 })
    }

    fn logits(&mut self, contexts: &[Vec<u32>], _: &Interrupt) -> Result<Vec<Vec<f32>>, EngineError> {
        Ok(contexts.iter().enumerate().map(|(index, context)| self.row(index, context[0])).collect())
    }

    fn every_logits(
        &mut self,
        tokens: &[u32],
        from: usize,
        each: &mut dyn FnMut(usize, &[f32]),
        interrupt: &Interrupt,
    ) -> Result<(), EngineError> {
        for position in from..tokens.len() {
            each(position, &self.logits(&[tokens[position..].to_vec()], interrupt)?[0]);
        }
        Ok(())
    }
}

#[derive(Default)]
struct Stages(Vec<(Stage, Option<String>)>);

impl Observer for Stages {
    fn update(&mut self, progress: &Progress) {
        self.0.push((progress.stage, progress.row.clone()));
    }
}

fn decode_row(batch: u32) -> Row {
    Row { kind: RowKind::Decode { output_tokens: 10 }, batch, depth: 0 }
}

/// Steps that are too short to be looked ahead for.
static SHORT: LazyLock<Pace> = LazyLock::new(|| Pace::of_steps(1e-9));

fn job<'a>(rows: &'a [Row], asked: Asked, interrupt: &'a Interrupt) -> Job<'a> {
    Job {
        rows,
        limits: Limits::resolve(asked).expect("no conflict"),
        seed: 0,
        vocabulary: 100,
        greedy_prompt: None,
        next_batch: None,
        recorder: None,
        pace: Some(&SHORT),
        now: &now,
        interrupt,
    }
}

#[test]
fn a_batch_is_compared_with_its_sequences_alone() {
    let (rows, interrupt) = ([decode_row(1), decode_row(8)], Interrupt::default());
    let job = job(&rows, Asked { repetitions: Some(2), ..Asked::default() }, &interrupt);
    let with = |fault: f32| {
        let load = || {
            let mut engine = Scripted::new(|_, _| 1_000_000, 99);
            engine.batch_fault = fault;
            Ok(Box::new(engine) as Box<dyn Engine>)
        };
        run(&job, load, &mut Stages::default()).expect("runs").agreement.expect("a batch ran")
    };
    let same =
        Agreement { batch: 8, sequences: 3, same_choice: 3, worst_share: 0.0, worst_choice: Some(0.0) };
    assert_eq!(with(0.0), same);
    // Half of the logits off by 1: root mean square 0.71; a sine's standard deviation is about 0.71.
    let found = with(1.0);
    assert!((found.worst_share - 1.0).abs() < 0.05, "{found:?}");
    assert!(with(f32::NAN).worst_share.is_infinite());
    let load = || {
        let mut engine = Scripted::new(|_, _| 1_000_000, 99);
        engine.wrong_outputs = true;
        Ok(Box::new(engine) as Box<dyn Engine>)
    };
    let found = run(&job, load, &mut Stages::default()).expect("runs").agreement.expect("a batch ran");
    // From the top of a sine to its bottom, at a standard deviation of 0.71.
    assert!(found.worst_choice.is_some_and(|short| (short - 2.83).abs() < 0.1), "{found:?}");
    assert!(found.worst_share.abs() < 1e-9);
    let alone = Job { rows: &rows[..1], ..job };
    let load = || Ok(Scripted::boxed(|_, _| 1_000_000, 99));
    assert_eq!(run(&alone, load, &mut Stages::default()).expect("runs").agreement, None);
}

#[test]
fn phases_come_in_order() {
    let (rows, interrupt) = ([decode_row(1)], Interrupt::default());
    let mut job = job(&rows, Asked { repetitions: Some(2), ..Asked::default() }, &interrupt);
    job.greedy_prompt = Some(vec![1, 2, 3]);
    let mut stages = Stages::default();
    let finished = run(&job, || Ok(Scripted::boxed(|_, _| 1_000_000, 99)), &mut stages).expect("runs");
    let names: Vec<Stage> = stages.0.iter().map(|(stage, _)| *stage).collect();
    let expected = [Stage::Load, Stage::Greedy, Stage::Warmup, Stage::Warmup, Stage::Measure, Stage::Measure];
    assert_eq!(names, expected);
    assert_eq!(finished.greedy.as_deref().map(<[u32]>::len), Some(GREEDY_TOKENS as usize));
    assert_eq!(finished.rows[0].trials.trials.len(), 2);
}

#[test]
fn a_slow_start_is_warm_up_and_not_measured() {
    let (rows, interrupt) = ([decode_row(1)], Interrupt::default());
    let job = job(&rows, Asked::default(), &interrupt);
    // 3 ms, 2 ms, then 1 ms a step.
    let engine =
        || Ok(Scripted::boxed(|run, _| [3_000_000, 2_000_000].get(run).copied().unwrap_or(1_000_000), 99));
    let finished = run(&job, engine, &mut Stages::default()).expect("runs");
    let row = &finished.rows[0];
    assert_eq!((row.trials.warmup.len(), row.trials.trials.len(), row.steady), (4, 5, true));
    assert!(row.trials.trials.iter().all(|trial| (trial.length().get() - 0.01).abs() < 1e-12));
}

#[test]
fn noise_goes_on_until_time_is_up() {
    let (rows, interrupt) = ([decode_row(1), decode_row(2)], Interrupt::default());
    let asked = Asked { max_time: Some(Seconds::new(4.0)), ..Asked::default() };
    // Alternates between 1 and 2 ms a step: 10 and 20 ms a trial, never within 2%.
    let engine = || Ok(Scripted::boxed(|run, _| if run % 3 == 0 { 2_000_000 } else { 1_000_000 }, 9999));
    let finished = run(&job(&rows, asked, &interrupt), engine, &mut Stages::default()).expect("runs");
    let seconds = |row: &MeasuredRow| -> f64 { row.trials.trials.iter().map(|t| t.length().get()).sum() };
    for row in &finished.rows {
        assert!((1.7..=2.1).contains(&seconds(row)), "{}", seconds(row));
    }
}

fn prefill_row(prompt_tokens: u32) -> Row {
    Row { kind: RowKind::Prefill { prompt_tokens }, batch: 1, depth: 0 }
}

/// Runs `rows` on an engine of these steps with nothing known before; gives what came and the time it took.
fn bounded(rows: &[Row], most: f64, engine: impl Fn() -> Scripted) -> (Result<Finished, Error>, f64) {
    let interrupt = Interrupt::default();
    let asked = Asked { max_time: Some(Seconds::new(most)), ..Asked::default() };
    let job = Job { pace: None, ..job(rows, asked, &interrupt) };
    let begin = now();
    let ended = run(&job, || Ok(Box::new(engine()) as Box<dyn Engine>), &mut Stages::default());
    (ended, now().since(begin).get())
}

#[test]
fn no_run_is_more_than_15_percent_over_its_time_and_no_row_is_silently_lost() {
    // From small models to large ones: a decode step of 1 ms to 4 s, and noise of up to 20% on each schedule.
    for step_ms in [1u64, 10, 50, 120, 300, 700, 1500, 4000] {
        for most in [10.0, 30.0, 90.0] {
            for seed in 0..5u64 {
                let noisy = move |run: usize, batch: u32| {
                    let noise = (run as u64 * 7 + seed * 13) % 21;
                    step_ms * 10_000 * (100 + noise) * u64::from(batch.min(2))
                };
                let engine = || {
                    let mut engine = Scripted::new(noisy, usize::MAX);
                    engine.token_ns = step_ms * 500_000;
                    engine
                };
                let rows = [prefill_row(128), decode_row(1), decode_row(2), decode_row(1)];
                let rows = &rows[..if seed % 2 == 0 { 2 } else { 3 }];
                let (ended, took) = bounded(rows, most, engine);
                let what = format!("{step_ms} ms, {most} s, {seed}: {took} s");
                assert!(took <= most * 1.15, "{what}");
                match ended {
                    Ok(finished) => {
                        assert_eq!(finished.rows.len() + finished.left_out.len(), rows.len(), "{what}");
                        assert!(finished.rows.iter().all(|row| !row.trials.trials.is_empty()), "{what}");
                        assert!(
                            finished.measuring.is_some_and(|seconds| (seconds.get() - took).abs() < 1e-6)
                        );
                        for row in &finished.left_out {
                            // What is left out would indeed not have fitted with the others.
                            assert!(row.trial > row.left * 0.8, "{what}: {row:?}");
                        }
                    }
                    Err(Error::NoTime { rows: left_out, .. }) => {
                        assert_eq!(left_out.len(), rows.len(), "{what}");
                        assert!(step_ms as f64 * 10e-3 > most / 4.0, "{what}");
                    }
                    Err(error) => panic!("{what}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_row_that_never_fits_is_named_before_it_begins_and_its_time_is_the_others() {
    // The prompt takes 64 s, the outputs 1 s.
    let engine = || {
        let mut engine = Scripted::new(|_, _| 100_000_000, usize::MAX);
        engine.token_ns = 500_000_000;
        engine
    };
    let (ended, took) = bounded(&[prefill_row(128), decode_row(1)], 30.0, engine);
    let finished = ended.expect("one row fits");
    let [left_out] = &finished.left_out[..] else { panic!("{:?}", finished.left_out) };
    assert_eq!(left_out.row, prefill_row(128));
    assert!((60.0..75.0).contains(&left_out.trial.get()), "{left_out:?}");
    assert!(finished.rows.len() == 1 && finished.rows[0].trials.trials.len() >= 5, "{took}");

    let (ended, took) = bounded(&[prefill_row(128)], 30.0, engine);
    let Err(error @ Error::NoTime { .. }) = ended else { panic!("{ended:?}") };
    assert!(took < 30.0, "{took}");
    let said = error.to_string();
    assert!(said.starts_with("no row fits into --max-time 30s: pp128 takes about 1 min "), "{said}");
    // A second of the prompt's first tokens costs a tenth of a second more.
    assert!(said.contains("give --max-time 9") || said.contains("--max-time 10"), "{said}");
}

#[test]
fn a_row_that_waited_gets_what_the_others_left() {
    // 12.8 s for the prompt: more than half of 22 s with its parts; the outputs are precise at once.
    let engine = || {
        let mut engine = Scripted::new(|_, _| 1_000_000, usize::MAX);
        engine.token_ns = 100_000_000;
        engine
    };
    let (ended, took) = bounded(&[prefill_row(128), decode_row(1)], 22.0, engine);
    let finished = ended.expect("both fit");
    let order: Vec<Row> = finished.rows.iter().map(|row| row.trials.row).collect();
    assert_eq!((order, finished.left_out.len()), (vec![decode_row(1), prefill_row(128)], 0), "{took}");
    assert_eq!(finished.rows[1].trials.trials.len(), 1);
    assert!(took <= 22.0 * 1.15, "{took}");
}

#[test]
fn a_trial_that_hangs_is_cut_and_the_row_says_so() {
    // A second a trial, noisy, and from the sixth schedule on a minute.
    let engine = || {
        Scripted::new(
            |run, _| match run {
                8.. => 6_000_000_000,
                odd if odd % 2 == 1 => 110_000_000,
                _ => 100_000_000,
            },
            usize::MAX,
        )
    };
    let (ended, took) = bounded(&[decode_row(1)], 20.0, engine);
    let finished = ended.expect("it has trials");
    let row = &finished.rows[0];
    assert!(row.cut && row.trials.trials.len() >= 2, "{took}");
    assert!(row.trials.trials.iter().all(|trial| trial.length() < Seconds::new(2.0)));
    assert!(took <= 20.0 * 1.15, "{took}");
    // A trial of a minute against a second before: the row must not pass for a quiet one.
    assert!(finished.stopped.is_none());
}

#[test]
fn what_the_peaks_say_cannot_fit_is_not_begun() {
    let (rows, interrupt) = ([decode_row(1)], Interrupt::default());
    let asked = Asked { max_time: Some(Seconds::new(5.0)), ..Asked::default() };
    let pace = Pace::of_steps(2.0);
    let mut job = job(&rows, asked, &interrupt);
    job.pace = Some(&pace);
    let begin = now();
    let ended = run(&job, || Ok(Scripted::boxed(|_, _| 2_000_000_000, 99)), &mut Stages::default());
    let Err(Error::NoTime { rows, .. }) = ended else { panic!("{ended:?}") };
    assert!((rows[0].trial.get() - 20.0).abs() < 5.0, "{rows:?}");
    assert!(now().since(begin).get() <= 5.75);
}

#[test]
fn an_interrupt_keeps_what_was_measured() {
    let (rows, interrupt) = ([decode_row(1), decode_row(2)], Interrupt::default());
    let job = job(&rows, Asked::default(), &interrupt);
    let finished =
        run(&job, || Ok(Scripted::boxed(|_, _| 1_000_000, 10)), &mut Stages::default()).expect("partial");
    // Row 1: 2 of warm-up and 5 trials; row 2: 2 of warm-up and one trial.
    let stopped = finished.stopped.expect("it did not come to its end");
    assert_eq!((stopped.stage, stopped.by_user()), (Stage::Measure, true));
    assert_eq!((finished.rows.len(), finished.rows[1].trials.trials.len()), (2, 1));
    let early = run(&job, || Err(EngineError::Interrupted), &mut Stages::default()).expect("partial");
    assert_eq!(early.stopped.map(|stopped| stopped.stage), Some(Stage::Load));
}

/// An engine that says this in its schedule number `after`.
fn failing(after: usize, stop: fn() -> EngineError) -> Box<dyn Engine> {
    let mut engine = Scripted::new(|_, batch| 1_000_000 * u64::from(batch.max(8)) / 8, after);
    engine.stop = stop;
    Box::new(engine)
}

#[test]
fn a_failing_engine_keeps_what_was_measured() {
    let (rows, interrupt) = ([decode_row(1), decode_row(2)], Interrupt::default());
    let job = job(&rows, Asked::default(), &interrupt);
    let broken = || EngineError::Step { engine: "scripted", what: "a step".into(), reason: "broken".into() };
    // Each row: 2 of warm-up and 5 trials.
    for (after, stage, whole, in_second) in [
        (7, Stage::Warmup, 1, 0),
        (9, Stage::Measure, 1, 0),
        (11, Stage::Measure, 2, 2),
        (14, Stage::Agreement, 2, 5),
    ] {
        let finished = run(&job, || Ok(failing(after, broken)), &mut Stages::default()).expect("partial");
        let stopped = finished.stopped.expect("it did not come to its end");
        assert_eq!((stopped.stage, stopped.by_user()), (stage, false), "{after}");
        assert!(stopped.to_string().contains("broken"), "{stopped}");
        assert_eq!((finished.rows.len(), finished.rows[0].trials.trials.len()), (whole, 5), "{after}");
        let trials = finished.rows.get(1).map_or(0, |row| row.trials.trials.len());
        assert_eq!(trials, in_second, "{after}");
    }
    let nothing = run(&job, || Ok(failing(1, broken)), &mut Stages::default());
    assert!(matches!(nothing, Err(Error::Engine(EngineError::Step { .. }))), "nothing was measured");
}

#[test]
fn memory_ends_growing_and_only_growing() {
    let (rows, interrupt) = ([decode_row(1)], Interrupt::default());
    let mut job = job(&rows, Asked { repetitions: Some(1), ..Asked::default() }, &interrupt);
    let next = |batch: u32| (batch <= 64).then(|| vec![decode_row(batch)]);
    job.next_batch = Some(&next);
    let full =
        || EngineError::OutOfMemory { engine: "scripted", what: "a step".into(), reason: "full".into() };
    // A row takes 2 of warm-up and 1 trial: the third row fails in its warm-up.
    let finished = run(&job, || Ok(failing(6, full)), &mut Stages::default()).expect("runs");
    let batches: Vec<u32> = finished.rows.iter().map(|row| row.trials.row.batch).collect();
    assert_eq!(batches, [1, 2]);
    assert!(finished.growth_ended.is_some_and(|why| why.contains("full")));
    let twice = [decode_row(1), decode_row(2)];
    let asked = Job { rows: &twice, next_batch: None, ..job };
    let finished = run(&asked, || Ok(failing(3, full)), &mut Stages::default()).expect("partial");
    assert!(finished.stopped.is_some_and(|stopped| !stopped.by_user()) && finished.growth_ended.is_none());
}

#[test]
fn what_the_engine_cannot_do_is_refused_before_anything_runs() {
    let (rows, interrupt) = ([decode_row(1), decode_row(65)], Interrupt::default());
    let job = job(&rows, Asked::default(), &interrupt);
    let mut stages = Stages::default();
    let refused = run(&job, || Ok(Scripted::boxed(|_, _| 1, 99)), &mut stages);
    assert!(matches!(refused, Err(Error::Engine(EngineError::Unsupported { .. }))));
    assert_eq!(stages.0.len(), 1, "nothing but loading happened: {:?}", stages.0);
}

#[test]
fn batches_grow_until_throughput_stops_rising() {
    let (rows, interrupt) = ([decode_row(1)], Interrupt::default());
    let mut job = job(&rows, Asked { repetitions: Some(1), ..Asked::default() }, &interrupt);
    let next = |batch: u32| (batch <= 64).then(|| vec![decode_row(batch)]);
    job.next_batch = Some(&next);
    // A step costs the same up to 8 sequences, then grows with them.
    let engine = || Ok(Scripted::boxed(|_, batch| 1_000_000 * u64::from(batch.max(8)) / 8, 999));
    let finished = run(&job, engine, &mut Stages::default()).expect("runs");
    let batches: Vec<u32> = finished.rows.iter().map(|row| row.trials.row.batch).collect();
    assert_eq!(batches, [1, 2, 4, 8, 16]);
}
