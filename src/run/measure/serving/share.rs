//! An engine's time under load, divided between input and output.
//!
//! A step that feeds prompts alone is input, one that feeds outputs alone is output. A step that feeds both is split
//! in proportion to what its two parts would take on their own at their size ([`StepEvent::split`]), by the unmixed
//! steps of rows with the same lengths; never by token count. The time between two steps goes to the step before.
//! Idle time is paid for too and is divided in proportion to the work, so that the two add up to the window.

use crate::base::event::{Phase, Span, StepEvent, Tick};
use crate::base::stats::median;
use crate::base::units::Seconds;
use crate::record::Metric;
use crate::workload::Work;

use super::{Figure, Serving};

/// Input's and output's time of the steady window, and the share of it that had to be split; `alike` are the steps of all
/// rows with the same lengths.
pub fn shared_out(serving: &Serving, work: &Work, alike: &[&[StepEvent]]) -> [Figure; 3] {
    let shares = serving.steady.window.clone().and_then(|window| {
        let alone = Alone::of(&alike.iter().flat_map(|steps| steps.iter()))?;
        shares(work, window, &alone)
    });
    let figure = |metric, of: fn(&Shares) -> f64, method| Figure {
        metric,
        value: shares.as_ref().map(of).map_err(Clone::clone),
        ci95: Err("one window".to_owned()),
        percentiles: Vec::new(),
        n: work.steps.len(),
        samples: Vec::new(),
        method,
    };
    [
        figure(Metric::InputTimeSeconds, |shares| shares.input, TIME),
        figure(Metric::OutputTimeSeconds, |shares| shares.output, TIME),
        figure(Metric::MixedTimeShare, |shares| shares.mixed, MIXED),
    ]
}

const TIME: &str = "time of the window's steps, mixed ones split by what their parts take on their own, idle time divided in proportion";
const MIXED: &str = "time of steps that fed prompts and outputs together ÷ time of all steps of the window";

/// How a window's time was used.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Shares {
    input: f64,
    output: f64,
    mixed: f64,
}

fn shares(work: &Work, window: Span, alone: &Alone) -> Result<Shares, String> {
    let (mut sums, mut mixed) = ([0.0; 2], 0.0);
    let mut rests = work.rests.iter().peekable();
    for (index, step) in work.steps.iter().enumerate() {
        let next = work.steps.get(index + 1).map_or(step.end, |next| next.start);
        while rests.next_if(|rest| rest.from < step.end).is_some() {}
        let until = rests.peek().map_or(next, |rest| rest.from.min(next)).max(step.end);
        let time = within(Span { from: step.start, to: until }, window);
        if time == Seconds::ZERO {
            continue;
        }
        let [input, output] = step.split(alone.of_step(step)).map(Seconds::get);
        let share = input / (input + output).max(f64::MIN_POSITIVE);
        sums[0] += time.get() * share;
        sums[1] += time.get() * (1.0 - share);
        if step.phase == Phase::Mixed {
            mixed += time.get();
        }
    }
    let busy = sums[0] + sums[1];
    if busy <= 0.0 {
        return Err("no step lies in the window".to_owned());
    }
    let [input, output] = sums.map(|sum| sum / busy * window.length().get());
    Ok(Shares { input, output, mixed: mixed / busy })
}

/// How much of `span` lies in `window`.
fn within(span: Span, window: Span) -> Seconds {
    let [from, to]: [Tick; 2] = [span.from.max(window.from), span.to.min(window.to)];
    to.since(from)
}

/// The size of one part of a step, in tokens.
type Size = fn(&StepEvent) -> u32;

/// What the parts of a step take alone, by their size.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Alone {
    prompt: Line,
    output: Line,
}

impl Alone {
    /// By unmixed steps; where there are none of a kind, by what is left of mixed ones.
    fn of<'a>(steps: &(impl Iterator<Item = &'a StepEvent> + Clone)) -> Result<Self, String> {
        let length = |step: &StepEvent| step.end.since(step.start).get();
        let pure = |phase: Phase, size: Size| {
            let points = steps.clone().filter(move |step| step.phase == phase);
            Line::through(points.map(move |step| (size(step), length(step))))
        };
        let rest = |size: Size, other: Line, others: Size| {
            let mixed = steps.clone().filter(|step| step.phase == Phase::Mixed);
            Line::through(
                mixed.map(move |step| (size(step), (length(step) - other.at(others(step))).max(0.0))),
            )
        };
        let (prompts, outputs): (Size, Size) = (|step| step.prompt_tokens, |step| step.fed_output_tokens);
        let nothing = || "no step fed prompts or outputs alone, so mixed ones cannot be split".to_owned();
        // An answer of one token is over with its prompt, and then no step feeds outputs.
        let none = Line { least: 0.0, each: 0.0 };
        match (pure(Phase::Prefill, prompts), pure(Phase::Decode, outputs)) {
            (Some(prompt), Some(output)) => Ok(Self { prompt, output }),
            (Some(prompt), None) => {
                Ok(Self { prompt, output: rest(outputs, prompt, prompts).unwrap_or(none) })
            }
            (None, Some(output)) => {
                Ok(Self { output, prompt: rest(prompts, output, outputs).unwrap_or(none) })
            }
            (None, None) => Err(nothing()),
        }
    }

    fn of_step(self, step: &StepEvent) -> [Seconds; 2] {
        [self.prompt.at(step.prompt_tokens), self.output.at(step.fed_output_tokens)].map(Seconds::new)
    }
}

/// Seconds of a step by its size.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    least: f64,
    each: f64,
}

impl Line {
    /// Through the medians of each size, weighted by how often it came; through zero for one size alone, and where the line
    /// would cost less than nothing. `None` of no points.
    fn through(points: impl Iterator<Item = (u32, f64)>) -> Option<Self> {
        let mut points: Vec<(u32, f64)> = points.filter(|(size, _)| *size > 0).collect();
        points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let sizes: Vec<[f64; 3]> = points
            .chunk_by(|a, b| a.0 == b.0)
            .filter_map(|same| {
                let times: Vec<f64> = same.iter().map(|(_, time)| *time).collect();
                Some([f64::from(same[0].0), median(&times)?, same.len() as f64])
            })
            .collect();
        let sum = |of: fn(&[f64; 3]) -> f64| sizes.iter().map(of).sum::<f64>();
        let (n, x, y) = (sum(|p| p[2]), sum(|p| p[2] * p[0]), sum(|p| p[2] * p[1]));
        let (xx, xy) = (sum(|p| p[2] * p[0] * p[0]), sum(|p| p[2] * p[0] * p[1]));
        if n == 0.0 {
            return None;
        }
        let through_zero = Self { least: 0.0, each: xy / xx };
        let spread = n * xx - x * x;
        if sizes.len() < 2 || spread <= 0.0 {
            return Some(through_zero);
        }
        let each = (n * xy - x * y) / spread;
        let least = (y - each * x) / n;
        Some(match (least < 0.0, each < 0.0) {
            (true, _) => through_zero,
            (_, true) => Self { least: y / n, each: 0.0 },
            _ => Self { least, each },
        })
    }

    fn at(self, size: u32) -> f64 {
        self.least + self.each * f64::from(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine that takes `least` and 0.2 ms a prompt token and 3 ms an output token; 1 ms lies between two steps.
    fn steps(sizes: &[(u32, u32)], least: f64) -> Vec<StepEvent> {
        let mut now = 0;
        sizes
            .iter()
            .map(|(prompt, output)| {
                let start = Tick::from_nanos(now);
                let took = (least + 2e-4 * f64::from(*prompt) + 3e-3 * f64::from(*output)) * 1e9;
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time")]
                let end = Tick::from_nanos(now + took as u64);
                now = end.nanos() + 1_000_000;
                let phase = match (prompt, output) {
                    (_, 0) => Phase::Prefill,
                    (0, _) => Phase::Decode,
                    _ => Phase::Mixed,
                };
                StepEvent {
                    phase,
                    start,
                    end,
                    sequences: output + 1,
                    prompt_tokens: *prompt,
                    fed_output_tokens: *output,
                    recomputed_tokens: 0,
                    output_tokens: output + 1,
                }
            })
            .collect()
    }

    fn found(steps: &[StepEvent], rests: Vec<Span>, window: Span) -> Shares {
        let alone = Alone::of(&steps.iter()).expect("pure steps");
        let work = Work { steps: steps.to_vec(), rests, ..Work::default() };
        shares(&work, window, &alone).expect("steps in it")
    }

    fn all(steps: &[StepEvent]) -> Span {
        Span { from: steps[0].start, to: steps.last().expect("steps").end }
    }

    #[test]
    fn an_engine_of_known_cost_gives_both_parts_back() {
        let sizes = [(300, 0), (100, 3), (0, 4), (0, 4), (100, 3), (0, 4), (50, 2), (0, 3), (200, 0)];
        let steps = steps(&sizes, 0.0);
        let shares = found(&steps, Vec::new(), all(&steps));
        let (prompt, output) = (2e-4 * 750.0, 3e-3 * 23.0);
        // The gap after a step is the step's, so the shares are of a little more than the work.
        let length = all(&steps).length().get();
        assert!((shares.input + shares.output - length).abs() < 1e-9);
        assert!((shares.input / length - prompt / (prompt + output)).abs() < 0.02, "{shares:?}");
        assert!((shares.mixed - 0.3).abs() < 0.1, "{shares:?}");
    }

    #[test]
    fn a_steps_floor_is_split_as_each_part_would_have_it_alone() {
        // 10 ms whatever is fed: a mixed step of 100 + 3 tokens would be 30 ms and 19 ms alone.
        let steps = steps(&[(300, 0), (100, 0), (0, 4), (0, 1), (100, 3)], 0.01);
        let alone = Alone::of(&steps.iter()).expect("pure steps");
        let [prompt, output] = steps[4].split(alone.of_step(&steps[4])).map(Seconds::get);
        assert!((prompt + output - 0.039).abs() < 1e-9);
        assert!((prompt / output - 30.0 / 19.0).abs() < 1e-6, "{prompt} {output}");
    }

    #[test]
    fn idle_time_is_shared_out_as_the_work_was() {
        let mut steps = steps(&[(100, 0), (0, 1), (0, 1)], 0.0);
        // 20 ms of input, 3 + 3 of output, 74 ms of nothing after the first output.
        let rest = Span { from: Tick::from_nanos(25_000_000), to: Tick::from_nanos(98_000_000) };
        steps[2].start = Tick::from_nanos(98_000_000);
        steps[2].end = Tick::from_nanos(101_000_000);
        let window = Span { from: steps[0].start, to: Tick::from_nanos(101_000_000) };
        let shares = found(&steps, vec![rest], window);
        assert!((shares.input + shares.output - 0.101).abs() < 1e-9);
        assert!((shares.input / shares.output - 21.0 / 7.0).abs() < 1e-6, "{shares:?}");
        // Half of a window is half of it.
        let half = Span { from: window.from, to: Tick::from_nanos(10_000_000) };
        assert!((found(&steps, Vec::new(), half).input - 0.01).abs() < 1e-9);
    }

    #[test]
    fn without_a_pure_step_there_is_nothing_to_split_by() {
        assert!(Alone::of(&steps(&[(10, 2), (20, 3)], 0.0).iter()).is_err());
        let prompts = Alone::of(&steps(&[(10, 0), (20, 0), (10, 2)], 0.0).iter()).expect("prompts");
        assert!((prompts.output.at(2) - 6e-3).abs() < 1e-9);
    }
}
