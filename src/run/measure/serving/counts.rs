//! What was counted of a load: endings, reasons, lengths as they came out.

use std::collections::BTreeMap;

use crate::base::requests::{CountedBy, Ending, Finish, Request};

/// Counts over all measured requests, inside the steady window or not.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counts {
    /// Requests by how they ended.
    pub endings: BTreeMap<Ending, u32>,
    /// Requests that were due and never sent.
    pub unsent: usize,
    /// Completed requests by why the server says it stopped.
    pub finishes: BTreeMap<Finish, u32>,
    /// Completed requests by who counted their output tokens.
    pub counted_by: BTreeMap<CountedBy, u32>,
    /// Prompt lengths of completed requests, by the server's count where it gives one; `None` when none completed.
    pub prompt_tokens: Option<Lengths>,
    /// Output lengths of the completed requests whose tokens were counted.
    pub output_tokens: Option<Lengths>,
    /// Cached ÷ prompt tokens, over the completed requests of which the server says both.
    pub cached_share: Option<f64>,
}

/// Lengths as they came out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lengths {
    /// The shortest.
    pub least: u32,
    /// Their mean.
    pub mean: f64,
    /// The longest.
    pub most: u32,
}

impl Lengths {
    fn of(lengths: impl Iterator<Item = u32>) -> Option<Self> {
        let all: Vec<u32> = lengths.collect();
        let sum: u64 = all.iter().map(|length| u64::from(*length)).sum();
        let (least, most) = (*all.iter().min()?, *all.iter().max()?);
        Some(Self { least, mean: sum as f64 / all.len() as f64, most })
    }
}

/// Tokens of a request's prompt: the server's count, else the client's.
pub(super) fn prompt_tokens(request: &Request) -> u32 {
    request.usage.map_or(request.planned.prompt_tokens, |usage| usage.prompt_tokens)
}

impl Counts {
    pub(super) fn of(requests: &[&Request], unsent: usize) -> Self {
        let mut counts = Self { unsent, ..Self::default() };
        for request in requests {
            *counts.endings.entry(request.ending).or_default() += 1;
        }
        let completed = || requests.iter().filter(|request| request.ending == Ending::Completed);
        for request in completed() {
            *counts.finishes.entry(request.finish).or_default() += 1;
            *counts.counted_by.entry(request.counted_by).or_default() += 1;
        }
        counts.prompt_tokens = Lengths::of(completed().map(|request| prompt_tokens(request)));
        let counted = completed().filter(|request| request.counted_by != CountedBy::Nobody);
        counts.output_tokens = Lengths::of(counted.map(|request| request.output_tokens));
        let cached = completed().filter_map(|request| {
            let usage = request.usage?;
            Some((u64::from(usage.cached_tokens?), u64::from(usage.prompt_tokens)))
        });
        let (cached, prompt) = cached.fold((0, 0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
        counts.cached_share = (prompt > 0).then(|| cached as f64 / prompt as f64);
        counts
    }

    /// Requests that failed ÷ requests that ended otherwise than by our own cut; `None` of nothing.
    pub fn failed_share(&self) -> Option<f64> {
        let sum = |counts: fn(Ending) -> bool| -> u32 {
            self.endings.iter().filter(|(ending, _)| counts(**ending)).map(|(_, count)| count).sum()
        };
        let all = sum(|ending| ending != Ending::CutByUs);
        (all > 0).then(|| f64::from(sum(Ending::is_failure)) / f64::from(all))
    }
}
