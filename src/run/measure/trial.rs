//! One trial: the events of one schedule, turned into intervals.

use crate::base::event::{Event, Phase, StepEvent};
use crate::base::units::Seconds;
use crate::run::plan::Row;

/// The intervals of one trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// From submitting the prompt to its first output token on the host; `None` in a decode row.
    pub first_token: Option<Seconds>,
    /// From the first token to the last; in a decode row from the first decode step's start, since its
    /// context's token came before the clock. `None` when nothing was decoded.
    pub decode: Option<Seconds>,
    /// Gaps between consecutive deliveries of one sequence, one for each decode step.
    pub gaps: Vec<Seconds>,
    /// Time of input and of output: pure steps go wholly to their kind, the host's gap after a step to
    /// the step before it. Their sum is the trial's length.
    pub split: [Seconds; 2],
    /// Output tokens delivered, summed over the batch.
    pub delivered: u64,
}

impl Trial {
    /// The mean of trials of one row, as one sample; gaps are kept, all of them.
    ///
    /// `parts` is not empty: a trial runs its schedule at least once.
    pub fn average(parts: Vec<Self>) -> Self {
        let share = 1.0 / parts.len().max(1) as f64;
        let mut sum = Self {
            first_token: None,
            decode: None,
            gaps: Vec::new(),
            split: [Seconds::ZERO; 2],
            delivered: 0,
        };
        let add = |sum: Option<Seconds>, part: Option<Seconds>| {
            part.map(|part| sum.unwrap_or(Seconds::ZERO) + part * share).or(sum)
        };
        for part in parts {
            sum.first_token = add(sum.first_token, part.first_token);
            sum.decode = add(sum.decode, part.decode);
            sum.gaps.extend(part.gaps);
            sum.split = [sum.split[0] + part.split[0] * share, sum.split[1] + part.split[1] * share];
            sum.delivered += part.delivered;
        }
        sum
    }

    /// The trial's whole length.
    pub fn length(&self) -> Seconds {
        self.split[0] + self.split[1]
    }
}

/// Events that are not those of the row.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// The engine reported no step under the row's clock.
    #[error("the engine reported no {0} step")]
    NoStep(&'static str),
    /// A step mixed prompt and output tokens.
    #[error("a step mixed prompt and output tokens, which needs a workload's accounting")]
    Mixed,
}

impl Trial {
    /// Reads a trial's intervals from its events.
    ///
    /// # Errors
    /// [`TrialError`] when the steps a row must have are missing.
    pub fn from_events(row: &Row, events: &[Event]) -> Result<Self, TrialError> {
        let steps = |phase: Phase| {
            events.iter().filter_map(move |event| match event {
                Event::Step(step) if step.phase == phase => Some(*step),
                _ => None,
            })
        };
        let prefill: Vec<StepEvent> = steps(Phase::Prefill).collect();
        let decode: Vec<StepEvent> = steps(Phase::Decode).collect();
        if steps(Phase::Mixed).next().is_some() || decode.iter().any(|step| step.prompt_tokens > 0) {
            return Err(TrialError::Mixed);
        }
        let first_prefill = prefill.first();
        if row.prompt_tokens() > 0 && first_prefill.is_none() {
            return Err(TrialError::NoStep("prefill"));
        }
        let decode_expected = row.prompt_tokens() == 0 || row.output_tokens() > 1;
        if decode_expected && decode.is_empty() {
            return Err(TrialError::NoStep("decode"));
        }

        let submitted = first_prefill.map(|step| step.start);
        let first_token_at = prefill.last().map(|step| step.end);
        let first_token = submitted.zip(first_token_at).map(|(from, to)| to.since(from));
        let (decode_start, decode_end) = (decode.first().map(|s| s.start), decode.last().map(|s| s.end));
        // A token is there when its step ends; the first one of a decode row ended before the clock.
        let origin = first_token_at.or(decode_start);
        let decode_time = decode_end.zip(origin).map(|(to, from)| to.since(from));
        let mut previous = origin;
        let mut gaps = Vec::with_capacity(decode.len());
        for step in &decode {
            if let Some(from) = previous {
                gaps.push(step.end.since(from));
            }
            previous = Some(step.end);
        }
        let input = match (submitted, decode_start, first_token_at) {
            (Some(from), Some(to), _) | (Some(from), None, Some(to)) => to.since(from),
            _ => Seconds::ZERO,
        };
        let output = decode_end.zip(decode_start).map_or(Seconds::ZERO, |(to, from)| to.since(from));
        let delivered = prefill.iter().chain(&decode).map(|step| u64::from(step.output_tokens)).sum();
        Ok(Self { first_token, decode: decode_time, gaps, split: [input, output], delivered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::Tick;
    use crate::run::plan::RowKind;

    fn step(phase: Phase, start_ms: u64, end_ms: u64, prompt: u32, output: u32) -> Event {
        Event::Step(StepEvent {
            phase,
            start: Tick::from_nanos(start_ms * 1_000_000),
            end: Tick::from_nanos(end_ms * 1_000_000),
            sequences: 2,
            prompt_tokens: prompt,
            fed_output_tokens: if phase == Phase::Decode { output } else { 0 },
            recomputed_tokens: 0,
            output_tokens: output,
        })
    }

    fn close(found: Seconds, expected_ms: f64) {
        assert!((found.get() * 1e3 - expected_ms).abs() < 1e-9, "{found} is not {expected_ms} ms");
    }

    #[test]
    fn a_joint_row_of_given_times() {
        let row = Row { kind: RowKind::Joint { prompt_tokens: 8, output_tokens: 3 }, batch: 2, depth: 4 };
        let events = [
            step(Phase::Context, 0, 50, 8, 2),
            step(Phase::Prefill, 100, 140, 16, 2),
            step(Phase::Decode, 142, 150, 0, 2),
            step(Phase::Decode, 151, 161, 0, 2),
        ];
        let trial = Trial::from_events(&row, &events).expect("complete");
        close(trial.first_token.expect("a prompt"), 40.0);
        close(trial.decode.expect("two steps"), 21.0);
        close(trial.gaps[0], 10.0);
        close(trial.gaps[1], 11.0);
        // The host's 2 ms after the prefill are the prefill's, so the parts add up to the whole.
        close(trial.split[0], 42.0);
        close(trial.split[1], 19.0);
        close(trial.length(), 61.0);
        assert_eq!(trial.delivered, 6);
    }

    #[test]
    fn a_decode_row_starts_with_its_first_step() {
        let row = Row { kind: RowKind::Decode { output_tokens: 2 }, batch: 2, depth: 0 };
        let events = [
            step(Phase::Context, 0, 9, 2, 2),
            step(Phase::Decode, 20, 30, 0, 2),
            step(Phase::Decode, 30, 45, 0, 2),
        ];
        let trial = Trial::from_events(&row, &events).expect("complete");
        assert_eq!(trial.first_token, None);
        close(trial.decode.expect("two steps"), 25.0);
        close(trial.split[0], 0.0);
        assert_eq!(trial.delivered, 4);
    }

    #[test]
    fn missing_and_mixed_steps_are_named() {
        let row = Row { kind: RowKind::Prefill { prompt_tokens: 8 }, batch: 1, depth: 0 };
        assert_eq!(Trial::from_events(&row, &[]), Err(TrialError::NoStep("prefill")));
        let row = Row { kind: RowKind::Decode { output_tokens: 8 }, batch: 1, depth: 0 };
        assert_eq!(Trial::from_events(&row, &[]), Err(TrialError::NoStep("decode")));
        assert_eq!(Trial::from_events(&row, &[step(Phase::Decode, 0, 1, 4, 1)]), Err(TrialError::Mixed));
        assert_eq!(Trial::from_events(&row, &[step(Phase::Mixed, 0, 1, 4, 1)]), Err(TrialError::Mixed));
    }
}
