//! The one place that joins engine and measure: load, check the output, then each row's warm-up and trials.
//!
//! `--max-time` bounds all that is done with the loaded model: the fixed prompt, contexts, warm-up, trials, and the
//! comparison of a batch with single sequences. Rows share what is left evenly. One whose trial does not fit its share
//! waits until the others are done, then gets what they left, and is left out when that is too little as well.
//!
//! The runner prints nothing: it tells an [`Observer`] where it is. It stops between two steps when the
//! user asks to, and what was measured until then is kept; so it is when the engine fails.

mod agreement;
mod progress;
mod row;

use crate::base::clock;
use crate::base::event::{Span, Tick};
use crate::base::failure::{Class, Classed};
use crate::base::sys::Interrupt;
use crate::base::units::{Seconds, Watts};
use crate::engine::{Capabilities, Engine, Error as EngineError, Schedule, SequencePlan};
use crate::hardware::telemetry::Recorder;
use crate::record::Metric;

use super::budget::Budget;
use super::estimate::Pace;
use super::measure::{self, RowTrials, energy};
use super::plan::{Limits, Row};
use super::prompts;

pub use agreement::Agreement;
pub use progress::{Observer, Progress, Stage};

/// Share of the time that continuing the fixed prompt may take.
const GREEDY_SHARE: f64 = 0.25;
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
    /// Not one trial of any row fits into the time (exit code 1).
    #[error(
        "no row fits into --max-time {}: {}; give --max-time {} for one trial of each, lower -p, -n, -d or -b, or use a smaller model",
        seconds(*max_time),
        rows.iter().map(|row| format!("{} takes about {}", row.row.label(), row.trial)).collect::<Vec<_>>().join(", "),
        time_for(rows)
    )]
    NoTime {
        /// The bound.
        max_time: Seconds,
        /// The rows.
        rows: Vec<LeftOut>,
    },
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Engine(error) => error.class(),
            Self::Events { .. } | Self::NoTime { .. } => Class::Unusable,
        }
    }
}

fn seconds(time: Seconds) -> String {
    format!("{}s", time.get())
}

/// Whole seconds in which each of these rows has one trial and the parts of it that are run before.
fn time_for(rows: &[LeftOut]) -> String {
    let seconds = (rows.iter().map(|row| row.trial.get()).sum::<f64>() * 1.5).ceil();
    if seconds < 300.0 { format!("{seconds}s") } else { format!("{}m", (seconds / 60.0).ceil()) }
}

/// A row that was not measured for want of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeftOut {
    /// Which.
    pub row: Row,
    /// What one trial takes, as far as its first steps or the machine's peaks tell.
    pub trial: Seconds,
    /// What was left for it.
    pub left: Seconds,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "one trial takes about {}, and {} of --max-time were left for it", self.trial, self.left)
    }
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
    /// Records the sensors during the run, if energy is measured.
    pub recorder: Option<&'a Recorder>,
    /// How long work takes by the machine's peaks, where they were measured.
    pub pace: Option<&'a Pace>,
    /// The clock that bounds the run.
    pub now: &'a dyn Fn() -> Tick,
    /// Whether the user wants to stop.
    pub interrupt: &'a Interrupt,
}

/// What a run produced.
#[derive(Debug)]
pub struct Finished {
    /// Power of the device before the model was loaded, or why it is not known; `None` without a recorder.
    pub idle: Option<Result<Watts, String>>,
    /// The stretch in which that was measured.
    pub idle_span: Option<Span>,
    /// Seconds from the first byte read to an engine that can step.
    pub load: Option<Seconds>,
    /// What the engine reported about itself; `None` if it was not loaded.
    pub capabilities: Option<Capabilities>,
    /// The rows in the order in which they ran.
    pub rows: Vec<MeasuredRow>,
    /// The rows for which the time was too short.
    pub left_out: Vec<LeftOut>,
    /// Seconds from the loaded model to the end of the last row and check: what `--max-time` bounds.
    pub measuring: Option<Seconds>,
    /// Whether the largest batch gives what single sequences give; `None` when every row ran one sequence.
    pub agreement: Option<Agreement>,
    /// Why that was not looked at though a batch ran.
    pub agreement_skipped: Option<String>,
    /// Tokens of the greedy continuation.
    pub greedy: Option<Vec<u32>>,
    /// Why there is none though a prompt was given.
    pub greedy_skipped: Option<String>,
    /// What ended the run before its end.
    pub stopped: Option<Stopped>,
    /// Why batches grew no further, when the device's memory or the time ended it.
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
    /// Whether its last trial was cut, since it took so much longer than those before that the time was over.
    pub cut: bool,
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
        left_out: Vec::new(),
        measuring: None,
        agreement: None,
        agreement_skipped: None,
        greedy: None,
        greedy_skipped: None,
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
        budget: Budget::begin(job.now, job.limits.max_time_seconds),
        slower: 1.0,
        seen: row::Seen::default(),
        done: 0,
        total: job.rows.len(),
        spans: Vec::new(),
        at: (Stage::Load, None),
    };
    let ended = runner.all(&mut finished);
    finished.measuring = Some(runner.budget.spent());
    // Again: an engine may have had to choose anew.
    finished.capabilities = Some(runner.engine.capabilities().clone());
    let Err(error) = ended else { return Ok(finished) };
    let (stage, row) = runner.at;
    let error = match error {
        Error::Engine(EngineError::Interrupted) => None,
        error if finished.rows.is_empty() => return Err(error),
        error => Some(error),
    };
    finished.stopped = Some(Stopped { stage, row, error });
    Ok(finished)
}

struct Runner<'a> {
    job: &'a Job<'a>,
    engine: &'a mut dyn Engine,
    observer: &'a mut dyn Observer,
    budget: Budget<'a>,
    /// By what factor the last trial took longer than expected; at least 1.
    slower: f64,
    /// What ran so far.
    seen: row::Seen,
    /// Rows that are done with, measured or left out.
    done: usize,
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
        self.greedy(finished)?;
        let mut rows: Vec<Row> = self.job.rows.to_vec();
        let mut previous_best = 0.0;
        let mut batch_begin = 0;
        let mut index = 0;
        // Rows whose share was too short, with the length of a trial.
        let mut again: Vec<(Row, Seconds)> = Vec::new();
        while index < rows.len() {
            self.total = rows.len();
            let (row, asked) = (rows[index], index < self.job.rows.len());
            let share = self.share(rows.len() - index + again.len());
            match self.row(row, share, None, finished) {
                // Memory is where growing may end; a row that was asked for must be measured.
                Err(Error::Engine(error @ EngineError::OutOfMemory { .. })) if !asked => {
                    finished.growth_ended = Some(error.to_string());
                    break;
                }
                Err(error) => return Err(error),
                Ok(None) => self.done += 1,
                Ok(Some(trial)) if asked => again.push((row, trial)),
                Ok(Some(trial)) => {
                    let left = self.budget.left().unwrap_or_default();
                    finished.growth_ended =
                        Some(format!("{}: {}", row.label(), LeftOut { row, trial, left }));
                    break;
                }
            }
            index += 1;
            if index == rows.len()
                && let Some(next_batch) = self.job.next_batch
                && again.is_empty()
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
        // The shortest first, and one trial comes before an equal share: so most rows get into what is left.
        again.sort_by(|(_, one), (_, other)| one.get().total_cmp(&other.get()));
        for (index, &(row, trial)) in again.iter().enumerate() {
            let [share, all] = [again.len() - index, 1].map(|waiting| self.share(waiting));
            let share = share.zip(all).map(|(share, all)| {
                let one_trial = (trial * row::UNSURE).get().min(all.get());
                Seconds::new(one_trial.max(share.get()))
            });
            let left = share.unwrap_or_default();
            let too_long =
                if trial > left { Some(trial) } else { self.row(row, share, Some(trial), finished)? };
            if let Some(trial) = too_long {
                let left_out = LeftOut { row, trial, left };
                self.observer.left_out(&left_out);
                finished.left_out.push(left_out);
            }
            self.done += 1;
        }
        if let (true, Some(max_time)) = (finished.rows.is_empty(), self.job.limits.max_time_seconds) {
            return Err(Error::NoTime { max_time, rows: finished.left_out.clone() });
        }
        self.agreement(finished)
    }

    /// Continues the fixed prompt, unless that takes too much of the time.
    fn greedy(&mut self, finished: &mut Finished) -> Result<(), Error> {
        let Some(prompt) = &self.job.greedy_prompt else { return Ok(()) };
        let sequence =
            SequencePlan { context: Vec::new(), prompt: prompt.clone(), output_tokens: GREEDY_TOKENS };
        let schedule = Schedule { sequences: vec![sequence] };
        let end = self.budget.moment(GREEDY_SHARE);
        let expected = self.job.pace.map(|pace| {
            pace.prompt(1, 0, u32::try_from(prompt.len()).unwrap_or(u32::MAX))
                + pace.steps(1, 0, GREEDY_TOKENS)
        });
        let now = self.budget.now();
        let too_long = expected.filter(|expected| end.is_some_and(|end| now.after(*expected) > end));
        let ran = if let Some(expected) = too_long {
            Err(expected)
        } else {
            self.report(Stage::Greedy, None, 0);
            self.watched(&schedule, end, 0)?
        };
        match ran {
            Ok((_, outcome)) => finished.greedy = outcome.tokens.into_iter().next(),
            Err(seconds) => {
                finished.greedy_skipped = Some(format!(
                    "it takes about {seconds}, more than {:.0}% of --max-time",
                    GREEDY_SHARE * 100.0
                ));
            }
        }
        Ok(())
    }

    /// A row's time when `waiting` rows wait, itself included.
    fn share(&self, waiting: usize) -> Option<Seconds> {
        // Rows of larger batches may follow, so a growing run keeps time back for them.
        let waiting = waiting + if self.job.next_batch.is_some() { 4 } else { 0 };
        let batch = self.job.rows.iter().map(|row| row.batch).max().unwrap_or(1);
        let comparing = match self.job.pace {
            Some(pace) if batch > 1 => agreement::seconds(pace, batch) * self.slower,
            _ => Seconds::ZERO,
        };
        let left = (self.budget.left()? - comparing).get().max(0.0);
        Some(Seconds::new(left / waiting.max(1) as f64))
    }

    fn accepts(&self, row: &Row) -> Result<(), EngineError> {
        self.engine.accepts(&prompts::schedule(row, self.job.vocabulary, self.job.seed, 0))
    }

    fn report(&mut self, stage: Stage, row: Option<&Row>, trials: usize) {
        self.at = (stage, row.map(Row::label));
        let (row, rows, left) = (self.at.1.clone(), (self.done, self.total), self.budget.left());
        self.observer.update(&Progress { stage, row, rows, trials, left });
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

/// The best rate among rows of one batch, output tokens first: that is what batching is for.
fn best_rate(rows: &[MeasuredRow]) -> f64 {
    let of = |metric: Metric| {
        rows.iter()
            .flat_map(|row| measure::measurements(&row.trials))
            .filter(|m| m.metric == metric)
            .filter_map(|m| *m.value)
            .fold(0.0, f64::max)
    };
    let decode = of(Metric::DecodeTokensPerSecond);
    if decode > 0.0 { decode } else { of(Metric::PrefillTokensPerSecond) }
}

#[cfg(test)]
mod tests;
