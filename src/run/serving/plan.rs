//! The load that a server will get, resolved and printable before the first request.

use std::path::PathBuf;

use serde::Serialize;

use crate::base::failure::Usage;
use crate::base::text::count;
use crate::base::units::Seconds;
use crate::run::measure::serving::Goals;
use crate::workload::{self, Arrivals, Lengths, Pace, Process};

use super::search;

/// Requests in flight where neither they nor a rate were asked for: alone, a few, and many.
const CONCURRENCY: [u32; 3] = [1, 8, 32];
/// Lengths where none were asked for.
const PROMPT_TOKENS: u32 = 512;
const OUTPUT_TOKENS: u32 = 128;
/// How long a row is when nothing bounds it.
const ROW: Seconds = Seconds::new(40.0);
/// The shortest row.
const SHORTEST: Seconds = Seconds::new(1.0);

/// What was typed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Asked {
    /// `-p`.
    pub prompt_tokens: Vec<u32>,
    /// `-n`.
    pub output_tokens: Vec<u32>,
    /// `--pg`.
    pub joint: Vec<(u32, u32)>,
    /// Prompt and output where none were asked for [default: 512 and 128].
    pub default_lengths: Option<(u32, u32)>,
    /// `--random-prefix-len`.
    pub prefix_tokens: Vec<u32>,
    /// `--random-range-ratio`.
    pub range_ratio: Option<f64>,
    /// `--lengths`.
    pub lengths: Option<PathBuf>,
    /// `--max-concurrency`.
    pub concurrency: Vec<u32>,
    /// `--request-rate`, in requests a second; infinite for all at once.
    pub rates: Vec<f64>,
    /// `--burstiness`; infinite for constant gaps.
    pub burstiness: Option<f64>,
    /// `--max-time`.
    pub max_time: Option<Seconds>,
    /// `--num-prompts`.
    pub requests: Option<u32>,
    /// `--num-warmups`.
    pub warmups: Option<u32>,
    /// `--slo`.
    pub goals: Goals,
    /// `--find max-rate`, with the share of requests that must be good.
    pub find_share: Option<f64>,
    /// `--seed`.
    pub seed: u64,
    /// `--salt`, or a random one.
    pub salt: u64,
}

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "pace", rename_all = "snake_case")]
pub enum Level {
    /// A request follows another.
    Closed {
        /// Requests in flight.
        max_concurrency: u32,
    },
    /// By a schedule.
    Open {
        /// Requests due a second, on average.
        requests_per_second: f64,
        /// Shape of the Gamma distribution of the gaps, 1 for Poisson; `null` for constant gaps.
        burstiness: Option<f64>,
        /// The most requests in flight; `null` for no limit.
        max_concurrency: Option<u32>,
    },
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedRow {
    /// Its name: `512+128 c8`.
    pub label: String,
    /// Prompt tokens, before they are spread; `null` where a file has the lengths.
    pub prompt_tokens: Option<u32>,
    /// The same for output tokens.
    pub output_tokens: Option<u32>,
    /// Tokens before the prompt that all requests share, so that a server may have them in its cache.
    pub prefix_tokens: u32,
    /// How requests come.
    #[serde(flatten)]
    pub level: Level,
}

/// Everything decided before the first request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Rows in the order in which they run.
    pub rows: Vec<PlannedRow>,
    /// vLLM's `--random-range-ratio`.
    pub random_range_ratio: f64,
    /// File of lengths.
    pub lengths: Option<PathBuf>,
    /// Bound on the sending of all rows; `null` when each has its own.
    pub max_time_seconds: Option<Seconds>,
    /// Bound on the sending of each row; `null` when `max_time_seconds` is shared, or requests alone end a row.
    pub row_seconds: Option<Seconds>,
    /// Requests of a row.
    pub num_prompts: Option<u32>,
    /// Requests before them; `null` for as many as are in flight, or a tenth of an open loop's time.
    pub num_warmups: Option<u32>,
    /// The share of requests that must be good at the rate that is searched for; `null` where rows are measured as planned.
    pub find_share: Option<f64>,
    /// What a request must keep to be good.
    #[serde(skip)]
    pub goals: Goals,
    /// Seed of lengths and arrivals.
    pub seed: u64,
    /// What decides the prompts' text.
    pub salt: u64,
}

impl Plan {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// [`Usage`] for flags that make no sense together.
    pub fn resolve(asked: Asked) -> Result<Self, Usage> {
        let shapes = shapes(&asked)?;
        let levels = if asked.find_share.is_some() {
            searched(&asked, shapes.len() * asked.prefix_tokens.len().max(1))?
        } else {
            levels(&asked)?
        };
        let file = asked.lengths.as_ref().map(|path| {
            path.file_name()
                .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
        });
        let mut rows = Vec::new();
        let prefixes = if asked.prefix_tokens.is_empty() { &[0][..] } else { &asked.prefix_tokens };
        let each = shapes.iter().flat_map(|shape| prefixes.iter().map(move |prefix| (shape, *prefix)));
        for (shape, prefix_tokens) in each {
            let mut lengths = match (shape, &file) {
                (Some((prompt, output)), _) => format!("{prompt}+{output}"),
                (None, file) => file.clone().unwrap_or_default(),
            };
            if prefix_tokens > 0 {
                lengths = format!("{lengths} @ d{prefix_tokens}");
            }
            rows.extend(levels.iter().map(|level| PlannedRow {
                label: match asked.find_share {
                    Some(_) => format!("{lengths} max-rate"),
                    None => format!("{lengths} {}", level.label()),
                },
                prompt_tokens: shape.map(|shape| shape.0),
                output_tokens: shape.map(|shape| shape.1),
                prefix_tokens,
                level: *level,
            }));
        }
        if let Some(time) = asked.max_time
            && time.get() < SHORTEST.get() * rows.len() as f64
        {
            let reason = format!(
                "{} share it, and a row takes at least {SHORTEST}; give more time or fewer rows",
                count(rows.len(), "row")
            );
            return Err(Usage::new(format!("--max-time {time}"), reason));
        }
        Ok(Self {
            rows,
            random_range_ratio: asked.range_ratio.unwrap_or(0.0),
            lengths: asked.lengths,
            max_time_seconds: asked.max_time.or(asked.find_share.map(|_| search::LONGEST)),
            row_seconds: (asked.max_time.is_none() && asked.requests.is_none() && asked.find_share.is_none())
                .then_some(ROW),
            num_prompts: asked.requests,
            num_warmups: asked.warmups,
            goals: asked.goals,
            find_share: asked.find_share,
            seed: asked.seed,
            salt: asked.salt,
        })
    }

    /// How long the next row may be, when so much time is spent and so many rows are left; `None` without a bound.
    pub fn share(&self, spent: Seconds, left: usize) -> Option<Seconds> {
        let shared =
            self.max_time_seconds.map(|all| Seconds::new(((all - spent).get() / left as f64).max(0.0)));
        shared.or(self.row_seconds)
    }

    /// Whether a share is too short for a row.
    pub fn is_too_short(share: Option<Seconds>) -> bool {
        share.is_some_and(|share| share < SHORTEST * 0.5)
    }

    /// The lengths of a row; `file` are those of the file, where one was named.
    ///
    /// # Errors
    /// [`workload::Error`] for a ratio that is none.
    pub fn lengths(&self, row: &PlannedRow, file: Option<&Lengths>) -> Result<Lengths, workload::Error> {
        match (file, row.prompt_tokens, row.output_tokens) {
            (Some(file), ..) => Ok(file.clone().with_prefix(row.prefix_tokens)),
            (None, prompt, output) => {
                let around = workload::Asked {
                    prompt_tokens: prompt.unwrap_or(PROMPT_TOKENS),
                    output_tokens: output.unwrap_or(OUTPUT_TOKENS),
                };
                Ok(Lengths::uniform(around, self.random_range_ratio, self.seed)?
                    .with_prefix(row.prefix_tokens))
            }
        }
    }

    /// The lengths as text.
    pub fn lengths_in_words(&self) -> String {
        match (&self.lengths, self.random_range_ratio) {
            (Some(path), _) => crate::base::text::path(path),
            (None, 0.0) => "fixed".to_owned(),
            (None, ratio) => format!("uniform, ± {}%", (ratio * 1e4).round() / 100.0),
        }
    }
}

impl PlannedRow {
    /// The name of a row of the same lengths at this load.
    pub fn label_at(&self, level: Level) -> String {
        let lengths = self.label.rsplit_once(' ').map_or(&self.label[..], |(lengths, _)| lengths);
        format!("{lengths} {}", level.label())
    }
}

impl Level {
    fn label(self) -> String {
        match self {
            Self::Closed { max_concurrency } => format!("c{max_concurrency}"),
            Self::Open { requests_per_second, max_concurrency: None, .. } => {
                format!("{requests_per_second}/s")
            }
            Self::Open { requests_per_second, max_concurrency: Some(limit), .. } => {
                format!("{requests_per_second}/s c{limit}")
            }
        }
    }

    /// The most requests in flight.
    pub fn max_concurrency(self) -> Option<u32> {
        match self {
            Self::Closed { max_concurrency } => Some(max_concurrency),
            Self::Open { max_concurrency, .. } => max_concurrency,
        }
    }

    /// Requests due a second, where they come by a schedule.
    pub fn requests_per_second(self) -> Option<f64> {
        match self {
            Self::Closed { .. } => None,
            Self::Open { requests_per_second, .. } => Some(requests_per_second),
        }
    }

    /// As the driver of a load takes it.
    ///
    /// # Errors
    /// [`workload::Error`] for a rate or burstiness that is none.
    pub fn pace(self, seed: u64) -> Result<Pace, workload::Error> {
        Ok(match self {
            Self::Closed { max_concurrency } => Pace::Closed { concurrency: max_concurrency },
            Self::Open { requests_per_second, burstiness, max_concurrency } => {
                let process = match burstiness {
                    None => Process::Constant,
                    Some(1.0) => Process::Poisson,
                    Some(burstiness) => Process::Gamma { burstiness },
                };
                let arrivals = Arrivals::new(process, requests_per_second, seed)?;
                Pace::Open { arrivals, most_in_flight: max_concurrency }
            }
        })
    }
}

/// The loads that each shape is measured at.
fn levels(asked: &Asked) -> Result<Vec<Level>, Usage> {
    let Asked { concurrency, rates, burstiness, .. } = asked;
    let all_at_once = rates.iter().any(|rate| rate.is_infinite());
    if all_at_once && rates.len() > 1 {
        return Err(Usage::new(
            "--request-rate",
            "`inf` cannot be combined with other rates: without a schedule, --max-concurrency is the load",
        ));
    }
    if rates.is_empty() || all_at_once {
        if burstiness.is_some() {
            return Err(Usage::new(
                "--burstiness",
                "it shapes the gaps of a schedule; give --request-rate, or leave it out",
            ));
        }
        if all_at_once && concurrency.is_empty() {
            let reason = "all requests at once have no steady state; give --max-concurrency N, such as 32";
            return Err(Usage::new("--request-rate inf", reason));
        }
        let levels = if concurrency.is_empty() { &CONCURRENCY[..] } else { concurrency };
        return Ok(levels.iter().map(|number| Level::Closed { max_concurrency: *number }).collect());
    }
    if concurrency.len() > 1 {
        let reason = "with --request-rate it is a single limit on requests in flight; a list works only without --request-rate";
        return Err(Usage::new("--max-concurrency", reason));
    }
    let shape = burstiness.unwrap_or(1.0);
    Ok(rates
        .iter()
        .map(|rate| Level::Open {
            requests_per_second: *rate,
            burstiness: shape.is_finite().then_some(shape),
            max_concurrency: concurrency.first().copied(),
        })
        .collect())
}

/// The load of a search: rates that it finds itself.
fn searched(asked: &Asked, shapes: usize) -> Result<Vec<Level>, Usage> {
    if asked.goals == Goals::default() {
        let reason =
            "it finds the highest rate that keeps the goals; give them with --slo ttft:2000,tpot:200";
        return Err(Usage::new("--find max-rate", reason));
    }
    if !asked.rates.is_empty() {
        return Err(Usage::new("--request-rate", "--find max-rate finds the rate; leave one out"));
    }
    if asked.concurrency.len() > 1 {
        let reason = "with --find max-rate it is a single limit on requests in flight";
        return Err(Usage::new("--max-concurrency", reason));
    }
    if shapes > 1 {
        return Err(Usage::new("-p and -n", "a search uses one pair of lengths; give one number each"));
    }
    let shape = asked.burstiness.unwrap_or(1.0);
    Ok(vec![Level::Open {
        // Until it is searched.
        requests_per_second: 1.0,
        burstiness: shape.is_finite().then_some(shape),
        max_concurrency: asked.concurrency.first().copied(),
    }])
}

/// Prompt and output lengths; `None` means those of a file.
fn shapes(asked: &Asked) -> Result<Vec<Option<(u32, u32)>>, Usage> {
    let Asked { prompt_tokens, output_tokens, joint, range_ratio, lengths, .. } = asked;
    let typed = !prompt_tokens.is_empty() || !output_tokens.is_empty() || !joint.is_empty();
    if lengths.is_some() {
        if typed || range_ratio.is_some() {
            let reason = "the file has the lengths; leave -p, -n, --pg and --random-range-ratio out";
            return Err(Usage::new("--lengths", reason));
        }
        return Ok(vec![None]);
    }
    let or = |given: &[u32], default: u32| if given.is_empty() { vec![default] } else { given.to_vec() };
    let mut shapes = Vec::new();
    let (prompt_default, output_default) = asked.default_lengths.unwrap_or((PROMPT_TOKENS, OUTPUT_TOKENS));
    // `--pg` alone asks for these alone.
    if joint.is_empty() || !prompt_tokens.is_empty() || !output_tokens.is_empty() {
        let outputs = or(output_tokens, output_default);
        for prompt in or(prompt_tokens, prompt_default) {
            shapes.extend(outputs.iter().map(|output| (prompt, *output)));
        }
    }
    shapes.extend(joint);
    if shapes.iter().any(|(prompt, output)| *prompt == 0 || *output == 0) {
        let reason = "a load's requests need at least one token of each";
        return Err(Usage::new("-p and -n", reason));
    }
    Ok(shapes.into_iter().map(Some).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(asked: Asked) -> Result<Vec<String>, String> {
        let plan = Plan::resolve(asked).map_err(|error| error.to_string())?;
        Ok(plan.rows.into_iter().map(|row| row.label).collect())
    }

    fn asked() -> Asked {
        Asked::default()
    }

    fn some_goal() -> Goals {
        Goals { time_to_first_token: Some(Seconds::new(2.0)), ..Goals::default() }
    }

    #[test]
    fn without_a_word_it_is_a_sweep_of_three() {
        let plan = Plan::resolve(asked()).expect("a plan");
        assert_eq!(
            plan.rows.iter().map(|row| &row.label[..]).collect::<Vec<_>>(),
            ["512+128 c1", "512+128 c8", "512+128 c32"]
        );
        assert_eq!(plan.share(Seconds::new(100.0), 1), Some(Seconds::new(40.0)));
    }

    #[test]
    fn every_length_is_asked_at_every_load() {
        let lists = Asked {
            prompt_tokens: vec![128, 512],
            output_tokens: vec![32],
            joint: vec![(7, 5)],
            rates: vec![0.5, 2.0],
            ..asked()
        };
        assert_eq!(
            labels(Asked { concurrency: vec![64], ..lists }).expect("rows"),
            [
                "128+32 0.5/s c64",
                "128+32 2/s c64",
                "512+32 0.5/s c64",
                "512+32 2/s c64",
                "7+5 0.5/s c64",
                "7+5 2/s c64"
            ]
        );
        let cached = Asked { prefix_tokens: vec![0, 256], concurrency: vec![2], ..asked() };
        assert_eq!(labels(cached).expect("rows"), ["512+128 c2", "512+128 @ d256 c2"]);
        let only = Asked { joint: vec![(7, 5)], concurrency: vec![2], ..asked() };
        assert_eq!(labels(only).expect("rows"), ["7+5 c2"]);
        let file = Asked { lengths: Some("a/trace.jsonl".into()), concurrency: vec![2], ..asked() };
        assert_eq!(labels(file).expect("rows"), ["trace.jsonl c2"]);
    }

    #[test]
    fn flags_that_make_no_sense_together_are_refused_by_name() {
        let two = vec![1, 2];
        for (wrong, words) in [
            (Asked { burstiness: Some(2.0), ..asked() }, "--burstiness: it shapes the gaps of a schedule"),
            (Asked { rates: vec![f64::INFINITY], ..asked() }, "--request-rate inf: all requests at once"),
            (Asked { rates: vec![1.0, f64::INFINITY], ..asked() }, "`inf` cannot be combined"),
            (
                Asked { rates: vec![1.0], concurrency: two, ..asked() },
                "--max-concurrency: with --request-rate",
            ),
            (
                Asked { lengths: Some("x".into()), prompt_tokens: vec![1], ..asked() },
                "--lengths: the file has",
            ),
            (Asked { find_share: Some(0.9), ..asked() }, "--find max-rate: it finds the highest rate"),
            (
                Asked { find_share: Some(0.9), goals: some_goal(), prompt_tokens: vec![1, 2], ..asked() },
                "-p and -n: a search uses one pair",
            ),
            (
                Asked { find_share: Some(0.9), goals: some_goal(), rates: vec![1.0], ..asked() },
                "--request-rate: --find max-rate finds the rate",
            ),
            (Asked { output_tokens: vec![0], ..asked() }, "-p and -n: a load's requests need"),
            (Asked { max_time: Some(Seconds::new(2.0)), ..asked() }, "--max-time 2.00 s: 3 rows share it"),
        ] {
            let said = labels(wrong).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
        let closed = Asked { rates: vec![f64::INFINITY], concurrency: vec![4], ..asked() };
        assert_eq!(labels(closed).expect("rows"), ["512+128 c4"]);
    }

    #[test]
    fn time_is_shared_by_the_rows_left() {
        let plan = Plan::resolve(Asked { max_time: Some(Seconds::new(60.0)), ..asked() }).expect("a plan");
        assert_eq!(plan.share(Seconds::ZERO, 3), Some(Seconds::new(20.0)));
        assert_eq!(plan.share(Seconds::new(50.0), 1), Some(Seconds::new(10.0)));
        assert!(Plan::is_too_short(plan.share(Seconds::new(61.0), 1)));
        let counted = Plan::resolve(Asked { requests: Some(100), ..asked() }).expect("a plan");
        assert_eq!(counted.share(Seconds::ZERO, 3), None);
    }

    #[test]
    fn a_search_is_bounded_without_a_word() {
        let search = |max_time| Asked { find_share: Some(0.9), goals: some_goal(), max_time, ..asked() };
        let bound = |asked| Plan::resolve(asked).expect("a plan").max_time_seconds;
        assert_eq!(bound(search(None)), Some(Seconds::new(600.0)));
        assert_eq!(bound(search(Some(Seconds::new(90.0)))), Some(Seconds::new(90.0)));
    }

    #[test]
    fn an_infinite_burstiness_is_constant_gaps() {
        let plan = Plan::resolve(Asked { rates: vec![3.0], burstiness: Some(f64::INFINITY), ..asked() });
        let level = plan.expect("a plan").rows[0].level;
        assert_eq!(level, Level::Open { requests_per_second: 3.0, burstiness: None, max_concurrency: None });
        let expected = Arrivals::new(Process::Constant, 3.0, 1).expect("arrivals");
        let pace = level.pace(1).expect("a pace");
        assert_eq!(pace, Pace::Open { arrivals: expected, most_in_flight: None });
    }
}
