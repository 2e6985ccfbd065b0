//! One row within its share of the time: a look ahead, warm-up, trials.
//!
//! A row whose trial is long against its share, or unknown, is begun with parts of itself, a sixteenth and a quarter
//! as long, and a sixty-fourth where nothing is known: they predict the trial's length before it begins, and warm the
//! engine up. A trial begins when it is expected to end within the share. A row too long for one trial is returned
//! with the time one would take.

use crate::base::event::{Event, PhaseEdge, Tick};
use crate::base::units::Seconds;
use crate::engine::{Error as EngineError, Outcome, Schedule};
use crate::hardware::telemetry::Recorder;
use crate::run::budget::Watch;
use crate::run::measure::{self, RowTrials, Trial, energy};
use crate::run::plan::Row;
use crate::run::prompts;

use super::{Error, Finished, MeasuredRow, Runner, Stage};

/// Most trials of a row's warm-up.
pub(super) const MOST_WARMUP: usize = 5;
/// Share of a row's time that its warm-up may take.
const WARMUP_SHARE: f64 = 0.25;
/// Two successive warm-up trials that differ by less than this are steady.
const STEADY: f64 = 0.03;
/// A trial predicted to take less than the share ÷ this gets no look-ahead: the estimate may be that wrong.
const FAR_OFF: f64 = 10.0;
/// Parts of a row that are run before it; the first where nothing foretells its length.
const PARTS: [u32; 3] = [64, 16, 4];
/// A trial that a part predicts may take this many times as long.
pub(super) const UNSURE: f64 = 1.15;

/// When what runs for a row must end.
#[derive(Clone, Copy)]
struct Ends {
    /// The row's share is over, and nothing more is begun.
    share: Option<Tick>,
    /// What still runs is cut.
    cut: Option<Tick>,
}

/// What the schedules so far took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Seconds of a prompt's token, and of a decode step.
    prompt_token: Option<f64>,
    step: Option<f64>,
    /// The shortest schedule.
    shortest: Option<Seconds>,
}

impl Seen {
    fn take(&mut self, row: &Row, trial: &Trial) {
        let [input, output] = trial.split.map(Seconds::get);
        let (fed, steps) = (fed(row), f64::from(row.decode_steps()));
        self.prompt_token = if fed > 0.0 { Some(input / fed) } else { self.prompt_token };
        self.step = if steps > 0.0 { Some(output / steps) } else { self.step };
        let length = trial.length();
        self.shortest = Some(self.shortest.filter(|shortest| *shortest < length).unwrap_or(length));
    }

    /// How long a trial of `row` may take, and whether schedules of its kind say so.
    fn predict(&self, row: &Row) -> Option<(Seconds, bool)> {
        let (fed, steps) = (fed(row), f64::from(row.decode_steps()));
        let of_kind = (fed > 0.0) <= self.prompt_token.is_some() && (steps > 0.0) <= self.step.is_some();
        let seconds = fed * self.prompt_token.unwrap_or(0.0) + steps * self.step.unwrap_or(0.0);
        Some((
            self.shortest.filter(|shortest| shortest.get() > seconds).unwrap_or(Seconds::new(seconds)),
            of_kind,
        ))
        .filter(|_| self.shortest.is_some())
    }
}

/// Prompt tokens of all sequences.
fn fed(row: &Row) -> f64 {
    f64::from(row.prompt_tokens()) * f64::from(row.batch)
}

/// One sample.
enum Sample {
    Whole(Trial),
    /// It could not end in time; it would have taken this long.
    Cut(Seconds),
}

/// What is known of a row's trial before the first.
enum LookAhead {
    /// Its length; `None` where it is short enough not to matter.
    Fits(Option<Seconds>),
    /// It does not fit.
    TooLong(Seconds),
}

impl Runner<'_> {
    /// Measures a row within `share`; gives the length of a trial, as far as it is known, where not one fits. `known` is
    /// that length from an earlier attempt.
    pub(super) fn row(
        &mut self,
        row: Row,
        share: Option<Seconds>,
        known: Option<Seconds>,
        finished: &mut Finished,
    ) -> Result<Option<Seconds>, Error> {
        let begin = self.budget.now();
        let end = share.map(|share| begin.after(share));
        let mut measured = MeasuredRow {
            trials: RowTrials { row, warmup: Vec::new(), trials: Vec::new() },
            missing_tokens: 0,
            non_finite_steps: 0,
            steady: false,
            cut: false,
            window: None,
        };
        let limits = self.job.limits.for_row(share);
        let mut expected = match known {
            Some(_) => known,
            None => match self.look_ahead(row, end, &mut measured)? {
                LookAhead::Fits(expected) => expected,
                LookAhead::TooLong(trial) => return Ok(Some(trial)),
            },
        };

        let within_share = Ends { share: end, cut: end };
        let warmup_end = share.map(|share| begin.after(share * WARMUP_SHARE));
        while measured.trials.warmup.len() < MOST_WARMUP {
            let now = self.budget.now();
            if let (Some(end), Some(expected)) = (warmup_end, expected)
                && now.after(expected) > end
            {
                break;
            }
            self.report(Stage::Warmup, Some(&row), measured.trials.warmup.len());
            let now = self.budget.now();
            let number = measured.trials.warmup.len();
            let trial = match self.trial(row, number, Seconds::ZERO, within_share, &mut measured)? {
                Sample::Whole(trial) => trial,
                Sample::Cut(trial) => return Ok(Some(trial)),
            };
            expected = Some(self.budget.now().since(now));
            let before = measured.trials.warmup.last().map(Trial::length);
            let length = trial.length();
            measured.trials.warmup.push(trial);
            measured.steady =
                before.is_some_and(|before| (length.get() / before.get() - 1.0).abs() <= STEADY);
            if measured.steady {
                break;
            }
        }

        let ends = Ends { share: end, cut: self.budget.end() };
        let mut in_trials = Seconds::ZERO;
        // What the warm-up did is not in the window.
        self.spans.clear();
        let window = self.job.recorder.map(Recorder::edge);
        loop {
            let done = measured.trials.trials.len();
            if limits.row_is_done(done, measure::half_width(&measured.trials.trials), in_trials) {
                break;
            }
            let now = self.budget.now();
            if let (Some(end), Some(expected)) = (end, expected)
                && now.after(expected) > end
            {
                if done == 0 {
                    return Ok(Some(expected));
                }
                break;
            }
            self.report(Stage::Measure, Some(&row), done);
            let now = self.budget.now();
            match self.trial(row, MOST_WARMUP + done, limits.trial_seconds, ends, &mut measured) {
                Ok(Sample::Whole(trial)) => {
                    in_trials += trial.length();
                    self.compare_with_expected(&row, &trial);
                    measured.trials.trials.push(trial);
                }
                Ok(Sample::Cut(trial)) if done == 0 => return Ok(Some(trial)),
                Ok(Sample::Cut(_)) => {
                    measured.cut = true;
                    break;
                }
                Err(error) => {
                    measured.window = self.window(window);
                    // What this row has so far is still true.
                    if !measured.trials.trials.is_empty() {
                        finished.rows.push(measured);
                    }
                    return Err(error);
                }
            }
            expected = Some(self.budget.now().since(now));
        }
        // The sensors saw what was cut as well, and none of its tokens count.
        measured.window = self.window(window).filter(|_| !measured.cut);
        self.observer.measured(&measured);
        finished.rows.push(measured);
        Ok(None)
    }

    /// Tells from parts of the row how long its trial will be, unless that is known to be short.
    fn look_ahead(
        &mut self,
        row: Row,
        end: Option<Tick>,
        measured: &mut MeasuredRow,
    ) -> Result<LookAhead, Error> {
        let Some(end) = end else { return Ok(LookAhead::Fits(None)) };
        let room = end.since(self.budget.now());
        let expected = self.expected(&row);
        let seconds = expected.map(|(seconds, _)| seconds);
        if let Some((seconds, sure)) = expected {
            if self.job.pace.is_some_and(|pace| pace.least(&row) > room) {
                return Ok(LookAhead::TooLong(seconds));
            }
            if sure && seconds * FAR_OFF <= room {
                return Ok(LookAhead::Fits(None));
            }
        }
        let parts = if expected.is_some_and(|(_, sure)| sure) { &PARTS[1..] } else { &PARTS };
        let mut known: Option<Seconds> = None;
        let mut before = None;
        for &divisor in parts {
            // A short row's parts are the same one.
            let Some(part) = row.part(divisor).filter(|part| before != Some(*part)) else { continue };
            before = Some(part);
            let room = end.since(self.budget.now());
            // A longer part takes at most what the shorter one before it suggests.
            let of_part = known.map(|known| known * (1.0 / f64::from(divisor)));
            let of_part = of_part.or(self.expected(&part).map(|(seconds, _)| seconds));
            if of_part.is_some_and(|seconds| seconds > room) {
                return Ok(LookAhead::TooLong(known.or(seconds).unwrap_or(room)));
            }
            self.report(Stage::Warmup, Some(&row), 0);
            let ends = Ends { share: Some(end), cut: Some(end) };
            let number = MOST_WARMUP + divisor as usize * 1_000_000;
            match self.trial(part, number, Seconds::ZERO, ends, measured)? {
                Sample::Whole(trial) => known = Some(row.from_part(&part, trial.split)),
                Sample::Cut(cut) => {
                    // The context alone may be what takes so long.
                    return Ok(LookAhead::TooLong(seconds.filter(|seconds| *seconds > cut).unwrap_or(cut)));
                }
            }
            if known.is_some_and(|known| known * 4.0 <= end.since(self.budget.now())) {
                break;
            }
        }
        match known {
            Some(known) if known * UNSURE > end.since(self.budget.now()) => Ok(LookAhead::TooLong(known)),
            known => Ok(LookAhead::Fits(known)),
        }
    }

    /// How long a row takes by the machine's peaks, else by what ran before, and whether that says much.
    fn expected(&self, row: &Row) -> Option<(Seconds, bool)> {
        match self.job.pace {
            Some(pace) => Some((pace.context(row) + pace.trial(row), true)),
            None => self.seen.predict(row),
        }
    }

    /// By how much the machine is slower than its peaks suggest.
    fn compare_with_expected(&mut self, row: &Row, trial: &Trial) {
        if let Some(pace) = self.job.pace {
            self.slower = (trial.length().get() / pace.trial(row).get().max(f64::MIN_POSITIVE)).max(1.0);
        }
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
        ends: Ends,
        measured: &mut MeasuredRow,
    ) -> Result<Sample, Error> {
        let schedule = prompts::schedule(&row, self.job.vocabulary, self.job.seed, number);
        let mut parts = Vec::new();
        let mut lasted = Seconds::ZERO;
        while parts.is_empty() || lasted < at_least {
            let begin = self.budget.now();
            let (events, outcome) = match self.watched(&schedule, ends.cut, events_expected(&row))? {
                Ok(ran) => ran,
                Err(_) if !parts.is_empty() => break,
                Err(seconds) => return Ok(Sample::Cut(seconds)),
            };
            self.spans.push(energy::spans(&events));
            let trial = Trial::from_events(&row, &events)
                .map_err(|source| Error::Events { row: row.label(), source })?;
            measured.missing_tokens += missing(&schedule, &outcome);
            measured.non_finite_steps += outcome.non_finite_steps;
            self.seen.take(&row, &trial);
            lasted += trial.length();
            parts.push(trial);
            let now = self.budget.now();
            if ends.share.is_some_and(|end| now.after(now.since(begin)) > end) {
                break;
            }
        }
        Ok(Sample::Whole(Trial::average(parts)))
    }

    /// Runs a schedule; gives what it would have taken where it was cut.
    pub(super) fn watched(
        &mut self,
        schedule: &Schedule,
        end: Option<Tick>,
        capacity: usize,
    ) -> Result<Result<(Vec<Event>, Outcome), Seconds>, EngineError> {
        let stop = self.job.interrupt.child();
        let mut watch = Watch::new(schedule, end, &stop, capacity);
        let ran = self.engine.run(schedule, &mut watch, &stop);
        match (ran, watch.cut) {
            (Err(EngineError::Interrupted), Some(cut)) if !self.job.interrupt.requested() => Ok(Err(cut)),
            (ran, _) => Ok(Ok((watch.events, ran?))),
        }
    }
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
