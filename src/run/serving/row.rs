//! One row: its load driven to the end, and reduced to its figures.

use crate::base::clock;
use crate::base::event::Span;
use crate::base::requests::{CountedBy, Ending, RequestLog};
use crate::base::stats::quantile;
use crate::base::sys::Interrupt;
use crate::base::units::Seconds;
use crate::record::Cell;
use crate::run::measure::serving::{self, Counts, Lengths as Realised, Observed, Serving};
use crate::workload::{self, Extent, Lengths, Load, Over, Questions, Stats, Stopped, Work};

use super::{Error, Level, Plan, PlannedRow, Prompting};

/// Share of a row's time that its warm-up may take.
const WARMUP: f64 = 0.15;
/// Share of a row's requests that an open loop's warm-up has, where requests bound it.
const WARMUP_REQUESTS: f64 = 0.1;
/// Lengths as they came out that are nearer to those asked for than this are called by those: a name that stays the same
/// from run to run.
const NEAR: f64 = 0.05;

/// A row that was driven.
#[derive(Debug)]
pub struct Driven {
    /// What was planned.
    pub row: PlannedRow,
    /// What its measurements belong to.
    pub cell: Cell,
    /// Its figures.
    pub serving: Serving,
    /// From the end of the warm-up to the end of sending.
    pub measured: Seconds,
    /// Requests of the warm-up.
    pub warmup_requests: usize,
    /// What ended the sending.
    pub ended_by: String,
    /// How far answers were from what was asked.
    pub off: Off,
    /// Median time per output token over all measured requests.
    pub median_tpot: Option<f64>,
    /// How late requests were taken up: the 99th percentile, in seconds.
    pub send_lag: Option<f64>,
    /// How long bytes lay in a socket: the 99th percentile, in seconds.
    pub receive_lag: Option<f64>,
    /// What the client did.
    pub stats: Stats,
    /// Processor time of the client.
    pub processor_time: Option<Seconds>,
    /// Output tokens of all its requests, those of the warm-up among them; `None` when some were not counted.
    pub generated: Option<u64>,
    /// What the engine did; `None` for a server.
    pub work: Option<Work>,
}

/// How far the answers of completed requests were from what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Off {
    /// Requests whose output tokens were counted.
    pub counted: usize,
    /// Of these, those with another number of output tokens than asked for.
    pub output: usize,
    /// Requests with a usage block.
    pub with_usage: usize,
    /// Of these, those whose prompt the server counts otherwise than the client, by more than a token that it may add.
    pub prompt: usize,
    /// Of these, those with fewer output tokens than deliveries, or than the client's own count.
    pub usage: usize,
}

/// What is told on the way, between rows.
#[derive(Debug)]
pub enum Told<'a> {
    /// This row begins.
    Begins {
        /// Which.
        row: &'a PlannedRow,
        /// Its number, from 0, and how many there are.
        number: (usize, usize),
        /// How long it is sent for at most.
        time: Option<Seconds>,
    },
    /// This row is over.
    Over(&'a Driven),
}

/// The rows to drive.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// What was planned.
    pub plan: &'a Plan,
    /// The lengths, where a file was named.
    pub file: Option<&'a Lengths>,
    /// What prompts are made of.
    pub prompting: Prompting,
    /// Whether the user wants to stop.
    pub interrupt: &'a Interrupt,
}

/// How long a row is: until the first of its ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Length {
    /// Of sending.
    pub(super) time: Option<Seconds>,
    /// Requests after the warm-up.
    pub(super) requests: Option<u32>,
}

/// Drives a row; `number` keeps its prompts apart from those of others.
pub(super) fn drive<E>(
    job: &Job<'_>,
    served_by: &mut dyn workload::Serving<Error = E>,
    row: &PlannedRow,
    number: usize,
    length: Length,
) -> Result<(Driven, Option<Stopped>), Error>
where
    Error: From<E>,
{
    let Job { plan, file, prompting, interrupt } = *job;
    let questions = Questions {
        lengths: plan.lengths(row, file)?,
        prompts: prompting.prompts(plan.salt, number, row.prefix_tokens)?,
        as_text: prompting.as_text,
    };
    let warmup = warmup(plan.num_warmups, row.level, length);
    let time =
        length.time.map(|share| share * (1.0 - warmup.time.map_or(0.0, |time| time.get() / share.get())));
    let measured = Extent { requests: length.requests, time };
    let begin = clock::now();
    let mut load = Load::new(row.level.pace(plan.seed)?, warmup, measured, begin)?;
    let mut log = RequestLog::new(begin);
    let report = served_by.drive(&mut load, &questions, &mut log, interrupt)?;

    let requests = || log.requests().iter().filter(|request| !request.planned.warmup);
    let from = load.measured_from().unwrap_or(begin);
    let to = match load.over() {
        Some(Over::Time) => load.measured_to(),
        // Cut short: until now.
        Some(Over::Stopped) => Some(clock::now()),
        _ => requests().map(|request| request.planned.released).max(),
    };
    let measured = Span { from, to: to.unwrap_or(from).max(from) };
    let unsent = load.unsent();
    let pace = match row.level {
        Level::Closed { max_concurrency } => serving::Pace::Closed { concurrency: max_concurrency },
        Level::Open { .. } => serving::Pace::Open,
    };
    let observed = Observed { log: &log, pace, measured, unsent: &unsent, goals: plan.goals };
    let serving = serving::measure(&observed);
    let send_lags: Vec<f64> = requests()
        .filter_map(|request| Some(request.started.get()?.since(request.planned.released).get()))
        .collect();
    let lag = &report.stats.receive_lag;
    let ended_by = match (&report.stopped, load.over()) {
        (Some(Stopped::Interrupted), _) => "an interrupt".to_owned(),
        (Some(Stopped::NoAnswers { in_a_row, last }), _) => {
            format!("{in_a_row} requests in a row that failed; the last: {}", last.detail)
        }
        (Some(Stopped::NotDrained), _) => {
            "requests that were still running long after the last was sent".to_owned()
        }
        (Some(Stopped::EngineFailed(failure)), _) => failure.detail.clone(),
        (None, Some(Over::Time)) => "time".to_owned(),
        (None, Some(Over::LogFull)) => "as many requests as a log can hold".to_owned(),
        (None, _) => "requests".to_owned(),
    };
    let driven = Driven {
        row: row.clone(),
        cell: cell(row, &serving.counts),
        measured: measured.length(),
        warmup_requests: log.requests().len() - requests().count(),
        ended_by,
        off: off(&log, prompting.as_text),
        median_tpot: median_tpot(&log),
        send_lag: quantile(&send_lags, 0.99),
        receive_lag: at_99(lag.total())
            .and_then(|rank| lag.at_rank(rank))
            .map(|nanoseconds| nanoseconds / 1e9),
        stats: report.stats,
        processor_time: report.processor_time,
        generated: generated(&log),
        work: report.work,
        serving,
    };
    Ok((driven, report.stopped))
}

/// The rank of the 99th percentile of so many.
fn at_99(total: u64) -> Option<u64> {
    total.checked_sub(1).map(|last| last - last / 100)
}

/// What comes before the measured part: a closed loop's first requests all start at once and are not like the rest.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32")]
fn warmup(asked: Option<u32>, level: Level, length: Length) -> Extent {
    if asked == Some(0) {
        return Extent::default();
    }
    let time = length.time.map(|time| time * WARMUP);
    let default = match level {
        Level::Closed { max_concurrency } => Some(max_concurrency),
        // By time, or else by requests.
        Level::Open { .. } if time.is_some() => None,
        Level::Open { .. } => length.requests.map(|all| (f64::from(all) * WARMUP_REQUESTS).ceil() as u32),
    };
    Extent { requests: asked.or(default), time }
}

/// The cell of a row: the lengths asked for when those that came out are near, else these.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the mean of u32s")]
fn cell(row: &PlannedRow, counts: &Counts) -> Cell {
    let length = |asked: Option<u32>, realised: Option<Realised>| match (asked, realised) {
        (Some(asked), Some(realised))
            if (realised.mean - f64::from(asked)).abs() <= NEAR * f64::from(asked) =>
        {
            asked
        }
        (_, Some(realised)) => realised.mean.round() as u32,
        (asked, None) => asked.unwrap_or(0),
    };
    // Of the prompt what each request has for itself.
    let shared = f64::from(row.prefix_tokens);
    let own = counts.prompt_tokens.map(|all| Realised { mean: (all.mean - shared).max(0.0), ..all });
    Cell {
        prompt_tokens: length(row.prompt_tokens, own),
        output_tokens: length(row.output_tokens, counts.output_tokens),
        batch: row.level.max_concurrency().unwrap_or(0),
        depth: row.prefix_tokens,
        phase: crate::record::Phase::Serving,
        requests_per_second: row.level.requests_per_second(),
    }
}

fn off(log: &RequestLog, as_text: bool) -> Off {
    let mut off = Off::default();
    let completed = |ending, warmup: bool| ending == Ending::Completed && !warmup;
    for request in log.requests().iter().filter(|r| completed(r.ending, r.planned.warmup)) {
        if request.counted_by != CountedBy::Nobody {
            off.counted += 1;
            off.output += usize::from(request.output_tokens != request.planned.output_tokens);
        }
        let Some(usage) = request.usage else { continue };
        off.with_usage += 1;
        // Words are as many tokens as they are; of ids a server adds one at most, to begin with.
        let extra = usage.prompt_tokens.checked_sub(request.planned.prompt_tokens);
        off.prompt += usize::from(!as_text && !matches!(extra, Some(0 | 1)));
        let recounted = request.recount.is_some_and(|own| own != usage.output_tokens);
        off.usage += usize::from(recounted || usage.output_tokens < request.deliveries);
    }
    off
}

/// Output tokens of all requests; `None` if the server may have generated some that were not counted.
fn generated(log: &RequestLog) -> Option<u64> {
    log.requests()
        .iter()
        .map(|request| (request.ending == Ending::Completed).then_some(u64::from(request.output_tokens)))
        .sum()
}

fn median_tpot(log: &RequestLog) -> Option<f64> {
    let each = log.requests().iter().filter(|r| !r.planned.warmup && r.ending == Ending::Completed);
    let times = each.filter_map(|request| {
        let later = request.output_tokens.checked_sub(request.first_tokens).filter(|later| *later > 0)?;
        Some(request.last.get()?.since(request.first.get()?).get() / f64::from(later))
    });
    quantile(&times.collect::<Vec<_>>(), 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(prompt_tokens: Option<u32>) -> PlannedRow {
        PlannedRow {
            label: "x".to_owned(),
            prompt_tokens,
            output_tokens: Some(100),
            prefix_tokens: 0,
            level: Level::Open { requests_per_second: 2.0, burstiness: None, max_concurrency: None },
        }
    }

    #[test]
    fn a_cell_bears_the_lengths_asked_for_unless_others_came_out() {
        let realised = |mean| Some(Realised { least: 1, mean, most: 1000 });
        let of = |asked, prompt, output| {
            let counts = Counts { prompt_tokens: prompt, output_tokens: output, ..Counts::default() };
            let cell = cell(&row(asked), &counts);
            (cell.prompt_tokens, cell.output_tokens)
        };
        assert_eq!(of(Some(512), realised(513.0), realised(96.0)), (512, 100));
        assert_eq!(of(Some(512), realised(700.4), realised(94.0)), (700, 94));
        assert_eq!(of(None, realised(33.3), None), (33, 100));
        let cell = cell(&row(Some(1)), &Counts::default());
        assert_eq!((cell.batch, cell.requests_per_second), (0, Some(2.0)));
    }

    #[test]
    fn a_warm_up_is_the_first_round_of_a_closed_loop_and_some_time_of_an_open_one() {
        let closed = Level::Closed { max_concurrency: 8 };
        let of_time = Length { time: Some(Seconds::new(40.0)), requests: None };
        let of_requests = Length { time: None, requests: Some(200) };
        let time = Some(Seconds::new(6.0));
        assert_eq!(warmup(None, closed, of_time), Extent { requests: Some(8), time });
        assert_eq!(warmup(None, row(None).level, of_time), Extent { requests: None, time });
        let counted = Extent { requests: Some(20), time: None };
        assert_eq!(warmup(None, row(None).level, of_requests), counted);
        assert_eq!(warmup(Some(0), closed, of_requests), Extent::default());
    }

    #[test]
    fn the_99th_percentile_of_few_is_the_largest() {
        assert_eq!(
            [0, 1, 2, 100, 101, 1000].map(at_99),
            [None, Some(0), Some(1), Some(99), Some(99), Some(990)]
        );
    }
}
