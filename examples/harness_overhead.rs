//! Does the harness add anything? The runner of `bench run` against a bare loop over candle, trial by trial.
//!
//! Both have the same file in this one process, so a pair is seconds apart and shares the machine's mood:
//! with a fresh process for each side, pairs on a shared machine differed by several percent. The order is
//! ABBA, so a drift cancels. Printed for prefill and for decode: the ratio of the harness's speed to the
//! bare loop's, the median with its 95% interval, and whether that lies inside 3%. Exit code 1 when one does not.
//!
//! ```text
//! harness_overhead MODEL.gguf [-p 32] [-n 16] [--pairs 200]
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints")]
#![allow(
    clippy::disallowed_methods,
    reason = "the bare loop may not use base::clock, so it reads time itself"
)]

#[path = "bare_candle/bare.rs"]
#[allow(dead_code, reason = "the greedy text is compared elsewhere")]
mod bare;

use std::process::ExitCode;

use bare::{Bare, Outcome};
use infercost::base::clock;
use infercost::base::stats::{mean, median, sample_sd};
use infercost::base::sys::Interrupt;
use infercost::base::units::Seconds;
use infercost::candle;
use infercost::catalog::Catalog;
use infercost::model::Request;
use infercost::model::hub::HubSettings;
use infercost::model::resolve::{Reach, Sources};
use infercost::run::measure::Trial;
use infercost::run::plan::{Limits, Row, RowKind, limits::Asked};
use infercost::run::runner::{self, Job, Observer, Progress, Stage};

const BAR: f64 = 0.03;
const WARMUP: usize = 3;

/// Runs the bare loop between the runner's trials.
struct Pairs {
    bare: Bare,
    prompt: usize,
    output: usize,
    /// Seconds of the bare loop, prefill and decode.
    seconds: [Vec<f64>; 2],
    failure: Option<String>,
}

impl Pairs {
    fn time(&mut self, phase: usize) -> Outcome<()> {
        let time = |bare: &mut Bare| match phase {
            0 => bare.time_prefill(self.prompt),
            _ => bare.time_decode(1, self.output),
        };
        if self.seconds[phase].is_empty() {
            for _ in 0..WARMUP {
                time(&mut self.bare)?;
            }
        }
        let seconds = time(&mut self.bare)?;
        self.seconds[phase].push(seconds);
        Ok(())
    }
}

impl Observer for Pairs {
    fn update(&mut self, progress: &Progress) {
        let Some(row) = progress.row.as_deref().filter(|_| progress.stage == Stage::Measure) else { return };
        let phase = usize::from(row.starts_with("tg"));
        // B0 H0 H1 B1 B2 H2 H3 B3 …: this is called before trial H(trials).
        let turns = match (progress.trials, progress.trials % 2) {
            (0, _) => 1,
            (_, 0) => 2,
            _ => 0,
        };
        for _ in 0..turns {
            if let Err(error) = self.time(phase) {
                self.failure = Some(error.to_string());
            }
        }
    }
}

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, flags @ ..] = arguments.as_slice() else {
        return Err("usage: harness_overhead MODEL.gguf [-p 32] [-n 16] [--pairs 200]".into());
    };
    let flag = |name: &str, default: u32| {
        let given = flags.windows(2).find(|pair| pair[0] == name);
        given.map_or(Ok(default), |pair| pair[1].parse())
    };
    let (prompt, output, pairs) = (flag("-p", 32)?, flag("-n", 16)?, flag("--pairs", 200)? as usize);
    if pairs < 2 || pairs % 2 == 1 || prompt == 0 || output == 0 {
        return Err("--pairs must be even and at least 2, -p and -n at least 1".into());
    }

    let catalog = Catalog::bundled();
    let (interrupt, hub) = (Interrupt::install()?, HubSettings::from_env());
    let sources = Sources { catalog: &catalog, hub: &hub, seed: 0, progress: &(), interrupt: &interrupt };
    let model = sources.open(&Request::parse(path)?, Reach::Weights)?;
    let row = |kind| Row { kind, batch: 1, depth: 0 };
    let rows =
        [row(RowKind::Prefill { prompt_tokens: prompt }), row(RowKind::Decode { output_tokens: output })];
    // The bare trial of the last pair is run before one more trial of the harness, which is dropped.
    let asked = Asked {
        repetitions: Some(pairs + 1),
        max_time: Some(Seconds::new(7.0 * 86_400.0)),
        ..Asked::default()
    };
    let job = Job {
        rows: &rows,
        limits: Limits::resolve(asked)?,
        seed: 0,
        vocabulary: model.header.spec.vocabulary,
        greedy_prompt: None,
        next_batch: None,
        recorder: None,
        pace: None,
        now: &clock::now,
        interrupt: &interrupt,
    };
    let mut observer = Pairs {
        bare: Bare::load(path)?,
        prompt: prompt as usize,
        output: output as usize,
        seconds: [Vec::new(), Vec::new()],
        failure: None,
    };
    let load = || candle::load(&model, &candle::Options::default(), &interrupt);
    let finished = runner::run(&job, load, &mut observer)?;
    if let Some(failure) = observer.failure {
        return Err(failure.into());
    }

    if let Some(stopped) = finished.stopped {
        return Err(stopped.to_string().into());
    }

    let mut inside = true;
    for (phase, name) in ["prefill", "decode"].into_iter().enumerate() {
        let of = |trial: &Trial| if phase == 0 { trial.first_token } else { trial.decode };
        let harness = finished.rows[phase].trials.trials.iter().filter_map(of).map(Seconds::get);
        let logs: Vec<f64> = observer.seconds[phase]
            .iter()
            .zip(harness)
            .take(pairs)
            .map(|(bare, harness)| (bare / harness).ln())
            .collect();
        for (number, log) in logs.iter().enumerate() {
            println!("{name} pair {:2}: {:.4}", number + 1, log.exp());
        }
        let Some((middle, low, high)) = median_interval(&logs) else {
            return Err("an interval of the median takes at least 6 pairs".into());
        };
        let (low, high) = (low.exp(), high.exp());
        let ok = 1.0 - BAR <= low && high <= 1.0 + BAR;
        inside &= ok;
        println!(
            "{name}: median {:.4} of the bare loop's speed, 95% {low:.4} to {high:.4}, {} pairs, mean {:.4}, \
             pair SD {:.2}%: {} 3%",
            middle.exp(),
            logs.len(),
            mean(&logs).unwrap_or(f64::NAN).exp(),
            sample_sd(&logs).unwrap_or(f64::NAN) * 100.0,
            if ok { "inside" } else { "OUTSIDE" }
        );
    }
    Ok(if inside { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The median with its 95% interval by order statistics: on a shared machine the pairs have heavy tails (a SD
/// of 12% and single pairs off by 40% were seen), which a t interval of the mean pays for and this does not.
fn median_interval(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    // The k-th smallest and largest, with P(fewer than k of n on one side) at most 2.5% (normal approximation).
    let k = (n / 2.0 - 0.98 * n.sqrt()).floor();
    if k < 1.0 {
        return None;
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and n")]
    let k = k as usize;
    Some((median(values)?, sorted[k - 1], sorted[sorted.len() - k]))
}
