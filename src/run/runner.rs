//! The one place that joins engine and measure: load, check the output, then each row's warm-up and trials.
//!
//! The runner prints nothing: it tells an [`Observer`] where it is. It stops between two steps when the
//! user asks to, and what was measured until then is kept; so it is when the engine fails.

use crate::base::clock;
use crate::base::event::{Event, PhaseEdge, Span};
use crate::base::sys::Interrupt;
use crate::base::units::{Seconds, Watts};
use crate::engine::{Capabilities, Engine, Error as EngineError, Outcome, Schedule, SequencePlan};
use crate::hardware::telemetry::Recorder;

use super::measure::{self, RowTrials, Trial, energy};
use super::plan::{Limits, Row};
use super::prompts;

/// Most trials of a row's warm-up.
const MOST_WARMUP: usize = 5;
/// Share of a row's time that its warm-up may take.
const WARMUP_SHARE: f64 = 0.25;
/// Two successive warm-up trials that differ by less than this are steady.
const STEADY: f64 = 0.03;
/// A doubled batch must raise throughput by this factor to be doubled again.
const WORTH_DOUBLING: f64 = 1.03;
/// Tokens of the greedy continuation that a record keeps.
pub const GREEDY_TOKENS: u32 = 32;

/// Why a run produced nothing, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine's events are not those of the row: a fault of the engine.
    #[error("{row}: {source}")]
    Events {
        /// The row.
        row: String,
        /// What is wrong with them.
        source: measure::TrialError,
    },
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Measuring the idle device.
    Idle,
    /// Reading the weights.
    Load,
    /// Continuing the fixed prompt.
    Greedy,
    /// Warming a row up.
    Warmup,
    /// Measuring a row.
    Measure,
    /// Running sequences alone and together.
    Agreement,
}

impl Stage {
    /// The stage's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "measuring the idle device",
            Self::Load => "loading",
            Self::Greedy => "checking the output",
            Self::Warmup => "warming up",
            Self::Measure => "measuring",
            Self::Agreement => "comparing a batch with single sequences",
        }
    }
}

/// A report of where the run is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// The row's label, once there is one.
    pub row: Option<String>,
    /// Rows finished and rows known of.
    pub rows: (usize, usize),
    /// Trials of this row so far.
    pub trials: usize,
    /// Time left at most; `None` when nothing bounds it.
    pub left: Option<Seconds>,
}

/// Is told where the run is; called between trials, never inside one.
pub trait Observer {
    /// The run has come to `progress`.
    fn update(&mut self, progress: &Progress);
}

/// What to run.
pub struct Job<'a> {
    /// Rows in their order.
    pub rows: &'a [Row],
    /// When a row is over.
    pub limits: Limits,
    /// Seed of the prompts.
    pub seed: u64,
    /// Entries in the vocabulary.
    pub vocabulary: u32,
    /// Tokens of the fixed prompt, when the model's text means something.
    pub greedy_prompt: Option<Vec<u32>>,
    /// The rows of a larger batch, when batches are to grow and this one fits.
    pub next_batch: Option<&'a dyn Fn(u32) -> Option<Vec<Row>>>,
    /// Records the sensors beside the run, when energy is measured.
    pub recorder: Option<&'a Recorder>,
    /// Whether the user wants to stop.
    pub interrupt: &'a Interrupt,
}

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    /// Power of the device before the model was loaded, or why it is not known; `None` without a recorder.
    pub idle: Option<Result<Watts, String>>,
    /// The stretch in which that was measured.
    pub idle_span: Option<Span>,
    /// Seconds from the first byte read to an engine that can step.
    pub load: Option<Seconds>,
    /// What the engine said of itself; `None` when it was not loaded.
    pub capabilities: Option<Capabilities>,
    /// The rows in the order in which they ran.
    pub rows: Vec<MeasuredRow>,
    /// Whether the largest batch gives what single sequences give; `None` when every row ran one sequence.
    pub agreement: Option<Agreement>,
    /// Tokens of the greedy continuation.
    pub greedy: Option<Vec<u32>>,
    /// What ended the run before its end.
    pub stopped: Option<Stopped>,
    /// Why batches grew no further, when the device's memory ended it.
    pub growth_ended: Option<String>,
}

/// What ended a run before its end.
#[derive(Debug)]
pub struct Stopped {
    /// Where it was.
    pub stage: Stage,
    /// The row's label, when it was in one.
    pub row: Option<String>,
    /// What failed; `None` when the user asked to stop.
    pub error: Option<Error>,
}

impl Stopped {
    /// Whether the user asked for it.
    pub fn by_user(&self) -> bool {
        self.error.is_none()
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = if self.by_user() { "was interrupted" } else { "failed" };
        write!(f, "the run {verb} while {}", self.stage.name())?;
        if let Some(row) = &self.row {
            write!(f, " {row}")?;
        }
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// One row with the evidence for its checks.
#[derive(Debug)]
pub struct MeasuredRow {
    /// Its trials.
    pub trials: RowTrials,
    /// Output tokens that were asked for and did not come.
    pub missing_tokens: u64,
    /// Steps with non-finite logits.
    pub non_finite_steps: u32,
    /// Whether the last two warm-up trials agreed.
    pub steady: bool,
    /// The stretch of its trials as the sensors saw it; `None` without a recorder.
    pub window: Option<energy::Window>,
}

/// Loads the engine with `load` and runs `job`.
///
/// # Errors
/// [`Error`] when the engine fails before any row was measured. After that what was measured comes back as a
/// [`Finished`] that says what ended the run, as it does when the user asks to stop.
pub fn run(
    job: &Job<'_>,
    load: impl FnOnce() -> Result<Box<dyn Engine>, EngineError>,
    observer: &mut dyn Observer,
) -> Result<Finished, Error> {
    let mut finished = Finished {
        idle: None,
        idle_span: None,
        load: None,
        capabilities: None,
        rows: Vec::new(),
        agreement: None,
        greedy: None,
        stopped: None,
        growth_ended: None,
    };
    let by_user = |stage| Some(Stopped { stage, row: None, error: None });
    if let Some(recorder) = job.recorder {
        let rows = (0, job.rows.len());
        let left = job.limits.max_time_seconds;
        observer.update(&Progress { stage: Stage::Idle, row: None, rows, trials: 0, left });
        let (span, watts) = idle_power(recorder, job.interrupt);
        (finished.idle, finished.idle_span) = (Some(watts), Some(span));
        if job.interrupt.requested() {
            finished.stopped = by_user(Stage::Idle);
            return Ok(finished);
        }
    }
    observer.update(&Progress {
        stage: Stage::Load,
        row: None,
        rows: (0, job.rows.len()),
        trials: 0,
        left: job.limits.max_time_seconds,
    });
    let begin = clock::now();
    let mut engine = match load() {
        Ok(engine) => engine,
        Err(EngineError::Interrupted) => {
            finished.stopped = by_user(Stage::Load);
            return Ok(finished);
        }
        Err(error) => return Err(error.into()),
    };
    finished.load = Some(clock::now().since(begin));
    finished.capabilities = Some(engine.capabilities().clone());
    let mut runner = Runner {
        job,
        engine: engine.as_mut(),
        observer,
        spent: Seconds::ZERO,
        total: job.rows.len(),
        spans: Vec::new(),
        at: (Stage::Load, None),
    };
    let Err(error) = runner.all(&mut finished) else { return Ok(finished) };
    let (stage, row) = runner.at;
    let error = match error {
        Error::Engine(EngineError::Interrupted) => None,
        error if finished.rows.is_empty() => return Err(error),
        error => Some(error),
    };
    finished.stopped = Some(Stopped { stage, row, error });
    Ok(finished)
}

/// Tokens of each sequence when a batch is compared with single sequences, and outputs behind them.
const AGREEMENT_TOKENS: u32 = 8;
const AGREEMENT_OUTPUTS: u32 = 4;

/// A batch's logits beside those of its sequences run alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Sequences of the batch.
    pub batch: u32,
    /// Of these, run alone as well.
    pub sequences: usize,
    /// Of these, with the same greedy choice.
    pub same_choice: usize,
    /// Largest difference of a sequence: root mean square of its logits' differences ÷ their standard deviation.
    pub worst_share: f64,
    /// By how much a token that the batch chose in its last step of outputs falls short of the best one, at most:
    /// the sequence is fed alone what the batch fed it, and its logits' standard deviation is the unit. `None` when
    /// the engine takes no prompts in batches.
    pub worst_choice: Option<f64>,
}

impl Agreement {
    /// The batch chose the last of `tokens`; `alone` are the logits behind the others.
    fn chosen(&mut self, alone: &[f32], token: u32) {
        let (_, deviation) = spread(alone);
        let best = alone.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let own = alone.get(token as usize).copied().unwrap_or(f32::NAN);
        let short = (f64::from(best) - f64::from(own)) / deviation;
        let worst = self.worst_choice.unwrap_or(0.0);
        self.worst_choice = Some(if short.is_nan() { f64::INFINITY } else { worst.max(short) });
    }

    fn take(&mut self, alone: &[f32], together: &[f32]) {
        let (n, deviation) = spread(alone);
        let squares = alone.iter().zip(together).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
        let share = (squares.sum::<f64>() / n).sqrt() / deviation;
        // A NaN is the worst there is.
        self.worst_share = if share.is_nan() { f64::INFINITY } else { self.worst_share.max(share) };
        self.same_choice += usize::from(argmax(alone) == argmax(together));
    }
}

/// How many there are, and their standard deviation.
fn spread(logits: &[f32]) -> (f64, f64) {
    let n = logits.len().max(1) as f64;
    let mean = logits.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    (n, (logits.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt())
}

fn argmax(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}

struct Runner<'a> {
    job: &'a Job<'a>,
    engine: &'a mut dyn Engine,
    observer: &'a mut dyn Observer,
    /// Time in trials so far, warm-up included.
    spent: Seconds,
    /// Rows known of.
    total: usize,
    /// Own and context stretches of the schedules that ran since they were last cleared.
    spans: Vec<[Option<Span>; 2]>,
    /// Where the run is, and the row's label.
    at: (Stage, Option<String>),
}

impl Runner<'_> {
    fn all(&mut self, finished: &mut Finished) -> Result<(), Error> {
        // Every row is checked before the first runs: a refusal at the end would lose the rows before it.
        for row in self.job.rows {
            self.accepts(row)?;
        }
        if let Some(prompt) = &self.job.greedy_prompt {
            self.report(Stage::Greedy, None, 0, 0);
            let sequence =
                SequencePlan { context: Vec::new(), prompt: prompt.clone(), output_tokens: GREEDY_TOKENS };
            let schedule = Schedule { sequences: vec![sequence] };
            let outcome = self.engine.run(&schedule, &mut Vec::new(), self.job.interrupt)?;
            finished.greedy = outcome.tokens.into_iter().next();
        }
        let mut rows: Vec<Row> = self.job.rows.to_vec();
        let mut previous_best = 0.0;
        let mut batch_begin = 0;
        let mut index = 0;
        while index < rows.len() {
            self.total = rows.len();
            match self.row(rows[index], index, finished) {
                // Memory is where growing may end; a row that was asked for must be measured.
                Err(Error::Engine(error @ EngineError::OutOfMemory { .. }))
                    if index >= self.job.rows.len() =>
                {
                    finished.growth_ended = Some(error.to_string());
                    break;
                }
                other => other?,
            }
            index += 1;
            if index == rows.len()
                && let Some(next_batch) = self.job.next_batch
            {
                let best = best_rate(&finished.rows[batch_begin..]);
                if best >= previous_best * WORTH_DOUBLING {
                    previous_best = best;
                    batch_begin = index;
                    let grown = next_batch(rows[index - 1].batch * 2).into_iter().flatten();
                    rows.extend(grown.filter(|row| self.accepts(row).is_ok()));
                }
            }
        }
        self.agreement(finished)
    }

    /// Feeds the largest batch that ran some tokens and lets it go on, and its first, middle and last sequence alone.
    fn agreement(&mut self, finished: &mut Finished) -> Result<(), Error> {
        let batch = finished.rows.iter().map(|row| row.trials.row.batch).max().unwrap_or(1);
        if batch < 2 {
            return Ok(());
        }
        self.report(Stage::Agreement, None, self.total, 0);
        let contexts = prompts::contexts(batch, AGREEMENT_TOKENS, self.job.vocabulary, self.job.seed);
        let together = self.engine.logits(&contexts, self.job.interrupt)?;
        let mut sequences = vec![0, contexts.len() / 2, contexts.len() - 1];
        sequences.dedup();
        let mut found = Agreement {
            batch,
            sequences: sequences.len(),
            same_choice: 0,
            worst_share: 0.0,
            worst_choice: None,
        };
        for &sequence in &sequences {
            let alone = self.engine.logits(&contexts[sequence..=sequence], self.job.interrupt)?;
            found.take(&alone[0], &together[sequence]);
        }
        let plan = |prompt: &Vec<u32>| SequencePlan {
            context: Vec::new(),
            prompt: prompt.clone(),
            output_tokens: AGREEMENT_OUTPUTS,
        };
        let schedule = Schedule { sequences: contexts.iter().map(plan).collect() };
        if self.engine.accepts(&schedule).is_ok() {
            let outcome = self.engine.run(&schedule, &mut Vec::new(), self.job.interrupt)?;
            for sequence in sequences {
                // Fewer tokens than asked for are another check's to find.
                let Some((last, before)) = outcome.tokens[sequence].split_last() else { continue };
                let fed = [&contexts[sequence][..], before].concat();
                let alone = self.engine.logits(&[fed], self.job.interrupt)?;
                found.chosen(&alone[0], *last);
            }
        }
        finished.agreement = Some(found);
        Ok(())
    }

    fn accepts(&self, row: &Row) -> Result<(), EngineError> {
        self.engine.accepts(&prompts::schedule(row, self.job.vocabulary, self.job.seed, 0))
    }

    fn row(&mut self, row: Row, index: usize, finished: &mut Finished) -> Result<(), Error> {
        let limits = self.job.limits;
        // Rows of larger batches may follow, so a growing run keeps time back for them.
        let waiting = self.total - index + if self.job.next_batch.is_some() { 4 } else { 0 };
        let share = limits
            .max_time_seconds
            .map(|total| Seconds::new((total - self.spent).get().max(0.0) / waiting.max(1) as f64));
        let mut measured = MeasuredRow {
            trials: RowTrials { row, warmup: Vec::new(), trials: Vec::new() },
            missing_tokens: 0,
            non_finite_steps: 0,
            steady: false,
            window: None,
        };
        let limits = limits.for_row(share);

        let mut spent = Seconds::ZERO;
        loop {
            self.report(Stage::Warmup, Some(&row), index, measured.trials.warmup.len());
            let trial = self.trial(row, measured.trials.warmup.len(), Seconds::ZERO, &mut measured)?;
            spent += trial.length();
            let before = measured.trials.warmup.last().map(Trial::length);
            let now = trial.length();
            measured.trials.warmup.push(trial);
            measured.steady = before.is_some_and(|before| (now.get() / before.get() - 1.0).abs() <= STEADY);
            let over = share.is_some_and(|share| spent.get() >= share.get() * WARMUP_SHARE);
            if measured.steady || over || measured.trials.warmup.len() >= MOST_WARMUP {
                break;
            }
        }

        let mut in_trials = Seconds::ZERO;
        // What the warm-up did is not in the window.
        self.spans.clear();
        let begin = self.job.recorder.map(Recorder::edge);
        while !limits.row_is_done(
            measured.trials.trials.len(),
            measure::half_width(&measured.trials.trials),
            in_trials,
            share.map(|share| share - spent),
        ) {
            self.report(Stage::Measure, Some(&row), index, measured.trials.trials.len());
            let number = MOST_WARMUP + measured.trials.trials.len();
            match self.trial(row, number, limits.trial_seconds, &mut measured) {
                Ok(trial) => {
                    in_trials += trial.length();
                    measured.trials.trials.push(trial);
                }
                Err(error) => {
                    measured.window = self.window(begin);
                    // What this row has so far is still true.
                    if !measured.trials.trials.is_empty() {
                        finished.rows.push(measured);
                    }
                    return Err(error);
                }
            }
        }
        measured.window = self.window(begin);
        finished.rows.push(measured);
        Ok(())
    }

    /// Closes the window that `begin` opened, over the schedules that ran since.
    fn window(&mut self, begin: Option<PhaseEdge>) -> Option<energy::Window> {
        let (begin, recorder) = begin.zip(self.job.recorder)?;
        let end = recorder.edge();
        let spans = std::mem::take(&mut self.spans);
        let of = |part: usize| spans.iter().filter_map(|spans| spans[part]).collect();
        Some(energy::Window { begin, end, own: of(0), context: of(1) })
    }

    /// One sample: the row's schedule, repeated until it has lasted `at_least`, then averaged.
    fn trial(
        &mut self,
        row: Row,
        number: usize,
        at_least: Seconds,
        measured: &mut MeasuredRow,
    ) -> Result<Trial, Error> {
        let schedule = prompts::schedule(&row, self.job.vocabulary, self.job.seed, number);
        let mut parts = Vec::new();
        let mut lasted = Seconds::ZERO;
        while parts.is_empty() || lasted < at_least {
            let mut events: Vec<Event> = Vec::with_capacity(events_expected(&row));
            let outcome = self.engine.run(&schedule, &mut events, self.job.interrupt)?;
            self.spans.push(energy::spans(&events));
            let trial = Trial::from_events(&row, &events)
                .map_err(|source| Error::Events { row: row.label(), source })?;
            measured.missing_tokens += missing(&schedule, &outcome);
            measured.non_finite_steps += outcome.non_finite_steps;
            self.spent += trial.length();
            lasted += trial.length();
            parts.push(trial);
        }
        Ok(Trial::average(parts))
    }

    fn report(&mut self, stage: Stage, row: Option<&Row>, done: usize, trials: usize) {
        self.at = (stage, row.map(Row::label));
        let left = self.job.limits.max_time_seconds.map(|total| total - self.spent);
        self.observer.update(&Progress {
            stage,
            row: self.at.1.clone(),
            rows: (done, self.total),
            trials,
            left: left.map(|left| if left < Seconds::ZERO { Seconds::ZERO } else { left }),
        });
    }
}

/// How long the idle device is measured.
const IDLE: Seconds = Seconds::new(2.0);

/// Power of the device while nothing runs on it, by its counter, and the stretch that was watched.
fn idle_power(recorder: &Recorder, interrupt: &Interrupt) -> (Span, Result<Watts, String>) {
    let begin = recorder.edge();
    recorder.watch(IDLE, &|| interrupt.requested());
    let end = recorder.edge();
    let span = Span { from: begin.at, to: end.at };
    let watts = || {
        let (from, to) = (begin.energy?.reading, end.energy?.reading);
        let watts = (to.joules - from.joules) / to.at.since(from.at);
        if watts.get() > 0.0 {
            Ok(watts)
        } else {
            Err("the counter did not move while the device idled".to_owned())
        }
    };
    (span, watts())
}

/// Steps and tokens that a row reports, so that no allocation falls between two steps.
fn events_expected(row: &Row) -> usize {
    let steps = row.output_tokens() as usize + 2;
    // A context or a prompt may be fed in chunks.
    steps * (row.batch as usize + 1) + 1024
}

fn missing(schedule: &Schedule, outcome: &Outcome) -> u64 {
    let expected = schedule.sequences.iter().map(|sequence| sequence.output_tokens as usize);
    let found = outcome.tokens.iter().map(Vec::len).chain(std::iter::repeat(0));
    expected.zip(found).map(|(expected, found)| expected.saturating_sub(found) as u64).sum()
}

/// The best rate among rows of one batch, output tokens first: that is what batching is for.
fn best_rate(rows: &[MeasuredRow]) -> f64 {
    let of = |metric: &str| {
        rows.iter()
            .flat_map(|row| measure::measurements(&row.trials))
            .filter(|m| m.metric == metric)
            .filter_map(|m| m.value)
            .fold(0.0, f64::max)
    };
    let decode = of("decode_tokens_per_second");
    if decode > 0.0 { decode } else { of("prefill_tokens_per_second") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{EventSink, Phase, StepEvent, Tick};
    use crate::run::plan::RowKind;
    use crate::run::plan::limits::Asked;

    /// An engine whose steps last a given time, so that the loop is tested without waiting.
    struct Scripted {
        capabilities: Capabilities,
        now_ns: u64,
        /// Length of the k-th schedule's every step.
        step_ns: Box<dyn Fn(usize, u32) -> u64>,
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
            };
            let step_ns = Box::new(step_ns);
            Self {
                capabilities,
                now_ns: 0,
                step_ns,
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
            _: &Interrupt,
        ) -> Result<Outcome, EngineError> {
            if self.runs == self.stop_after {
                return Err((self.stop)());
            }
            let batch = u32::try_from(schedule.sequences.len()).expect("small");
            let first = &schedule.sequences[0];
            let prefill = u32::from(!first.prompt.is_empty());
            for step in 0..first.output_tokens {
                let length = (self.step_ns)(self.runs, batch);
                let is_prefill = step < prefill;
                events.take(Event::Step(StepEvent {
                    phase: if is_prefill { Phase::Prefill } else { Phase::Decode },
                    start: Tick::from_nanos(self.now_ns),
                    end: Tick::from_nanos(self.now_ns + length),
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
                self.now_ns += length;
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

    fn job<'a>(rows: &'a [Row], asked: Asked, interrupt: &'a Interrupt) -> Job<'a> {
        Job {
            rows,
            limits: Limits::resolve(asked).expect("no conflict"),
            seed: 0,
            vocabulary: 100,
            greedy_prompt: None,
            next_batch: None,
            recorder: None,
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
        let expected =
            [Stage::Load, Stage::Greedy, Stage::Warmup, Stage::Warmup, Stage::Measure, Stage::Measure];
        assert_eq!(names, expected);
        assert_eq!(finished.greedy.as_deref().map(<[u32]>::len), Some(GREEDY_TOKENS as usize));
        assert_eq!(finished.rows[0].trials.trials.len(), 2);
    }

    #[test]
    fn a_slow_start_is_warm_up_and_not_measured() {
        let (rows, interrupt) = ([decode_row(1)], Interrupt::default());
        let job = job(&rows, Asked::default(), &interrupt);
        // 3 ms, 2 ms, then 1 ms a step.
        let engine = || {
            Ok(Scripted::boxed(|run, _| [3_000_000, 2_000_000].get(run).copied().unwrap_or(1_000_000), 99))
        };
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

    #[test]
    fn every_row_gets_a_trial_though_time_is_up() {
        let (rows, interrupt) = ([decode_row(1), decode_row(2), decode_row(4)], Interrupt::default());
        let asked = Asked { max_time: Some(Seconds::new(1.0)), ..Asked::default() };
        let engine = || Ok(Scripted::boxed(|_, _| 1_000_000_000, 99));
        let finished = run(&job(&rows, asked, &interrupt), engine, &mut Stages::default()).expect("runs");
        let trials: Vec<usize> = finished.rows.iter().map(|row| row.trials.trials.len()).collect();
        assert_eq!(trials, [1, 1, 1]);
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
        let broken =
            || EngineError::Step { engine: "scripted", what: "a step".into(), reason: "broken".into() };
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
        assert!(
            finished.stopped.is_some_and(|stopped| !stopped.by_user()) && finished.growth_ended.is_none()
        );
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
}
