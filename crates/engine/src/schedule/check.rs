//! What a back end can be asked for: every bound that a schedule or a request can break, named before the first step.

use super::super::{Capabilities, Error, PAGE_POSITIONS, Schedule, SequencePlan, StepLimits};
use super::serve::Request;

/// Bounds of a back end with a model in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    engine: &'static str,
    pub(super) max_batch: u32,
    max_context: u32,
    limits: StepLimits,
}

/// Pages of the KV cache that a schedule fills at its end.
pub fn pages_needed(schedule: &Schedule) -> u64 {
    let of = |plan: &SequencePlan| {
        pages(positions(plan.context.len() as u64, plan.prompt.len() as u64, plan.output_tokens))
    };
    schedule.sequences.iter().map(of).sum()
}

/// Positions that the cache holds at the end of a sequence: its last output token is never fed, and with no prompt
/// the context's own choice is fed first.
fn positions(context: u64, prompt: u64, output_tokens: u32) -> u64 {
    let fed = if prompt == 0 { output_tokens } else { output_tokens.saturating_sub(1) };
    context + prompt + u64::from(fed)
}

fn pages(positions: u64) -> u64 {
    positions.div_ceil(u64::from(PAGE_POSITIONS))
}

impl Bounds {
    pub(super) fn of(capabilities: &Capabilities, limits: StepLimits) -> Self {
        Self {
            engine: capabilities.engine,
            // Every sequence of a batch decodes one token in the same step.
            max_batch: capabilities.max_batch.min(limits.tokens_per_step),
            max_context: capabilities.max_context,
            limits,
        }
    }

    /// Whether the schedule can run as one batch, with all of it in the cache at once.
    pub(super) fn check(&self, schedule: &Schedule) -> Result<(), Error> {
        let batch = schedule.sequences.len();
        if batch == 0 {
            return Err(self.unsupported("run a batch of 0".to_owned(), "ask for at least `-b 1`".to_owned()));
        }
        if batch > self.max_batch as usize {
            return Err(self.unsupported(
                format!("run a batch of {batch}"),
                format!("it takes at most {0} sequences at once here; ask for `-b {0}`", self.max_batch),
            ));
        }
        for (index, plan) in schedule.sequences.iter().enumerate() {
            let name = if batch == 1 { String::new() } else { format!(" (sequence {index} of {batch})") };
            self.check_sequence(&plan.context, &plan.prompt, plan.output_tokens, &name)?;
        }
        let needed = pages_needed(schedule);
        if needed > u64::from(self.limits.pages) {
            let most = u64::from(self.limits.pages) * batch as u64 / needed;
            let smaller = if most > 0 { format!("`-b {most}`, ") } else { String::new() };
            // A batch that grows ends here, as where a device says that it is full.
            return Err(Error::OutOfMemory {
                engine: self.engine,
                what: format!("{batch} sequences in {needed} pages of {PAGE_POSITIONS} positions"),
                reason: format!("{}; ask for {smaller}fewer tokens or a larger cache", self.cache()),
            });
        }
        Ok(())
    }

    /// Whether every request can run when it is alone.
    pub(super) fn check_requests(&self, requests: &[Request]) -> Result<(), Error> {
        for (index, request) in requests.iter().enumerate() {
            let name = format!(" (request {index} of {})", requests.len());
            if !request.arrival.get().is_finite() || request.cancel.is_some_and(|at| at.get().is_nan()) {
                return Err(self.unsupported(
                    format!("run a request without a time{name}"),
                    "arrival and cancellation are seconds from the start".to_owned(),
                ));
            }
            let positions = self.check_sequence(&[], &request.prompt, request.output_tokens, &name)?;
            if pages(positions) > u64::from(self.limits.pages) {
                return Err(self.unsupported(
                    format!("hold a sequence of {positions} positions{name}"),
                    format!("{}; ask for fewer tokens or a larger cache", self.cache()),
                ));
            }
        }
        Ok(())
    }

    /// The positions of one sequence, when it can run alone.
    fn check_sequence(
        &self,
        context: &[u32],
        prompt: &[u32],
        output_tokens: u32,
        name: &str,
    ) -> Result<u64, Error> {
        if context.is_empty() && prompt.is_empty() {
            return Err(self.unsupported(
                format!("run a sequence without a token{name}"),
                "give it a context or a prompt".to_owned(),
            ));
        }
        let vocabulary = self.limits.vocabulary;
        if let Some(token) = context.iter().chain(prompt).find(|token| **token >= vocabulary) {
            return Err(self.unsupported(
                format!("take token {token}{name}"),
                format!("the model's vocabulary ends at {}", vocabulary.saturating_sub(1)),
            ));
        }
        let (context, prompt) = (context.len() as u64, prompt.len() as u64);
        let positions = positions(context, prompt, output_tokens);
        if positions > u64::from(self.max_context) {
            let parts = [(context, "context"), (prompt, "prompt"), (u64::from(output_tokens), "output")];
            let parts = parts.into_iter().filter(|(tokens, _)| *tokens > 0);
            let sum: Vec<String> = parts.map(|(tokens, what)| format!("{tokens} of {what}")).collect();
            return Err(self.unsupported(
                format!("run a sequence of {positions} positions ({}){name}", sum.join(" + ")),
                format!("the limit here is {}; ask for fewer tokens", self.max_context),
            ));
        }
        Ok(positions)
    }

    fn cache(&self) -> String {
        let pages = self.limits.pages;
        format!("the KV cache has {pages} pages, {} positions", u64::from(pages) * u64::from(PAGE_POSITIONS))
    }

    fn unsupported(&self, what: String, reason: String) -> Error {
        Error::Unsupported { engine: self.engine, what, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Seconds;

    fn bounds(max_batch: u32, max_context: u32, pages: u32) -> Bounds {
        let limits = StepLimits { vocabulary: 10, pages, tokens_per_step: 8 };
        Bounds { engine: "toy", max_batch, max_context, limits }
    }

    fn plan(batch: usize, context: usize, prompt: usize, output_tokens: u32) -> Schedule {
        let sequence = SequencePlan { context: vec![1; context], prompt: vec![2; prompt], output_tokens };
        Schedule { sequences: vec![sequence; batch] }
    }

    #[test]
    fn positions_end_where_the_last_fed_token_stands() {
        for (schedule, allowed) in [
            (plan(1, 0, 100, 1), true),
            (plan(1, 0, 100, 0), true),
            (plan(1, 0, 100, 2), false),
            (plan(2, 1, 0, 99), true),
            (plan(2, 1, 0, 100), false),
            (plan(3, 1, 0, 1), false),
            (plan(1, 0, 0, 4), false),
            (plan(0, 1, 1, 1), false),
        ] {
            let result = bounds(2, 100, 4).check(&schedule);
            assert_eq!(result.is_ok(), allowed, "{schedule:?}: {result:?}");
        }
        assert_eq!([plan(3, 0, 64, 1), plan(3, 64, 0, 1)].map(|plan| pages_needed(&plan)), [3, 6]);
    }

    #[test]
    fn refusals_name_the_number_and_the_way_out() {
        let of = |schedule: &Schedule| bounds(4, 1000, 5).check(schedule).unwrap_err().to_string();
        assert!(of(&plan(0, 1, 1, 1)).contains("a batch of 0"));
        assert!(of(&plan(7, 0, 1, 1)).contains("ask for `-b 4`"));
        let long = of(&plan(1, 500, 600, 5));
        assert!(long.contains("1104 positions (500 of context + 600 of prompt + 5 of output)"), "{long}");
        let full = of(&plan(4, 0, 100, 1));
        assert!(full.contains("4 sequences in 8 pages") && full.contains("5 pages, 320 positions"), "{full}");
        assert!(full.contains("ask for `-b 2`, fewer"), "{full}");
        assert!(of(&plan(1, 0, 400, 1)).contains("ask for fewer tokens or"));
        let mut outside = plan(2, 0, 4, 1);
        outside.sequences[1].prompt[2] = 10;
        assert!(of(&outside).contains("token 10 (sequence 1 of 2)"));
    }

    #[test]
    fn a_request_that_can_never_fit_is_named() {
        let of = |prompt: usize, output_tokens: u32| {
            let request =
                Request { arrival: Seconds::ZERO, prompt: vec![1; prompt], output_tokens, cancel: None };
            let small = Request { prompt: vec![1], output_tokens: 1, ..request.clone() };
            bounds(4, 400, 5).check_requests(&[small, request]).map_err(|error| error.to_string())
        };
        assert_eq!(of(320, 1), Ok(()));
        let full = of(320, 2).unwrap_err();
        assert!(full.contains("321 positions (request 1 of 2)") && full.contains("320 positions;"), "{full}");
        assert!(of(400, 2).unwrap_err().contains("the limit here is 400"));
        assert!(of(0, 2).unwrap_err().contains("without a token (request 1 of 2)"));
    }
}
