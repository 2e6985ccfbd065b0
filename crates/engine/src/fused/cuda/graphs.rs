//! Decode steps as CUDA graphs: a step of some shape is recorded when it first comes, and done again by one call from then on.
//!
//! What differs from step to step (tokens, positions, pages) lies in memory that the recorded kernels read. What they are
//! launched with depends on the number of tokens and on how many parts of attention the longest context has; both are rounded
//! up, so that few recordings serve all steps: to a [`Bucket`]. Neither changes a bit of a result: a token's row does not
//! depend on other rows, and a part beyond a context adds nothing.
//!
//! Whatever keeps a driver from recording is said in the record, and kernels are launched one by one.

use crate::base::text::count;
use crate::fused::kv::PAGE;
use crate::hardware::cuda::{Fault, Recorded};
use crate::{Launches, LogitsWanted, StepBatch, StepOutput, StepSequence};

use super::CudaEngine;
use super::buffers::{Bucket, Parts, pages_of};
use super::launch::{Kernels, PART, replay};
use super::pass;

/// Tokens of a step that is recorded at most: a larger one takes so long that its launches don't show.
const MOST_TOKENS: usize = 256;
/// Recordings that are kept; the oldest goes first.
const MOST_RECORDED: usize = 64;

/// What was recorded, or why nothing is.
#[derive(Debug)]
pub(super) struct Graphs {
    recorded: Vec<(Parts, Recorded)>,
    /// Why kernels are launched one by one.
    off: Option<String>,
    /// Most sequences, and pages of one.
    most_tokens: usize,
    most_pages: usize,
    spare_page: u32,
}

impl Graphs {
    /// For batches of up to `batch` sequences of so many positions; `spare_page` is the page of the cache that no sequence has.
    pub(super) fn new(launches: Launches, batch: u32, positions: u32, spare_page: u32) -> Self {
        let off = match launches {
            Launches::Graphs => None,
            Launches::Single => Some("as requested"),
            Launches::Watched => Some("each is waited for"),
        };
        Self {
            recorded: Vec::new(),
            off: off.map(str::to_owned),
            most_tokens: batch as usize,
            most_pages: pages_of(positions) as usize,
            spare_page,
        }
    }

    /// What the record says.
    pub(super) fn said(&self) -> String {
        match &self.off {
            None => format!(
                "decode steps of up to {} are CUDA graphs, checked at load",
                count(self.most_tokens.min(MOST_TOKENS), "sequence")
            ),
            Some(why) => format!("kernels are launched one by one, without CUDA graphs: {why}"),
        }
    }

    /// Whether steps are recorded.
    pub(super) fn are_used(&self) -> bool {
        self.off.is_none()
    }

    fn stop(&mut self, why: String) {
        self.recorded.clear();
        self.off = Some(why);
    }

    /// The shape that a step is brought to, if it is one that is recorded: each sequence has one token and wants the next.
    pub(super) fn bucket(&self, batch: &StepBatch<'_>) -> Option<Bucket> {
        let decodes = |sequence: &StepSequence| sequence.token_count == 1 && sequence.yields;
        let live = batch.sequences.len();
        let is_recorded = self.off.is_none()
            && batch.logits == LogitsWanted::Nothing
            && live <= MOST_TOKENS.min(self.most_tokens)
            && batch.sequences.iter().all(decodes);
        if !is_recorded {
            return None;
        }
        let tokens = rounded(live).min(self.most_tokens);
        let last = batch.sequences.iter().map(|sequence| sequence.position).max()? as usize;
        let parts = (last / PAGE + 1).div_ceil(PART).next_power_of_two();
        let (pages_seen, page_words) = ((parts * PART).min(self.most_pages), 1 + tokens * self.most_pages);
        (batch.pages.len() < page_words && last / PAGE < self.most_pages).then_some(Bucket {
            tokens,
            pages_seen,
            page_words,
            spare_page: self.spare_page,
        })
    }

    /// Does a step of a bucket whose launches depend on `parts` alone: again, or for the first time. Where it can't be recorded,
    /// neither this nor any later one is.
    ///
    /// # Errors
    /// What the driver says of launches one by one.
    pub(super) fn run(
        &mut self,
        kernels: &Kernels,
        parts: &Parts,
        step: impl Fn() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let known = self.recorded.iter().position(|(of, _)| of == parts);
        let replayed = known.map_or_else(
            || {
                let recorded = Recorded::new(kernels.queue(), &step)?;
                if self.recorded.len() == MOST_RECORDED {
                    self.recorded.remove(0);
                }
                self.recorded.push((*parts, recorded));
                Ok(self.recorded.len() - 1)
            },
            Ok,
        );
        let replayed = replayed.and_then(|number| replay(&self.recorded[number].1));
        replayed.or_else(|fault| {
            self.stop(fault.to_string());
            step()
        })
    }
}

/// So many tokens, or a few more: a multiple of what a kernel takes at once where there are several.
fn rounded(tokens: usize) -> usize {
    match tokens {
        0..=8 => tokens,
        9..=64 => tokens.next_multiple_of(8),
        _ => tokens.next_multiple_of(32),
    }
}

/// One step with launches one by one, and the same again recorded: logits with other bits end the use of graphs.
///
/// # Errors
/// What the driver says of launches one by one.
pub(super) fn check(engine: &mut CudaEngine) -> Result<(), Fault> {
    if !engine.graphs.are_used() {
        return Ok(());
    }
    let pages = [engine.graphs.spare_page];
    let sequence = StepSequence {
        first_token: 0,
        token_count: 1,
        position: 0,
        first_page: 0,
        page_count: 1,
        yields: true,
    };
    let batch = |logits| StepBatch {
        tokens: &[0],
        pages: &pages,
        sequences: std::slice::from_ref(&sequence),
        logits,
    };
    let mut output = StepOutput::default();
    // A step that hands logits over is not recorded.
    pass::step(engine, &batch(LogitsWanted::Yielded), &mut output)?;
    let expected = std::mem::take(&mut output.logits);
    pass::step(engine, &batch(LogitsWanted::Nothing), &mut output)?;
    let mut found = vec![0.0; expected.len()];
    engine.kernels.queue().read(engine.buffers.logits(), &mut found)?;
    let differ = |(one, other): (&f32, &f32)| one.to_bits() != other.to_bits();
    if engine.graphs.are_used() && expected.iter().zip(&found).any(differ) {
        engine.graphs.stop("a recorded step gives other logits".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graphs() -> Graphs {
        Graphs::new(Launches::Graphs, 100, 64 * 20, 7)
    }

    fn bucket(graphs: &Graphs, positions: &[u32], change: impl Fn(&mut StepBatch<'_>)) -> Option<Bucket> {
        let mut pages = Vec::new();
        let mut sequences = Vec::new();
        for (number, position) in positions.iter().enumerate() {
            let page_count = *position as usize / PAGE + 1;
            sequences.push(StepSequence {
                first_token: number,
                token_count: 1,
                position: *position,
                first_page: pages.len(),
                page_count,
                yields: true,
            });
            pages.extend((0..page_count).map(|page| u32::try_from(page).unwrap()));
        }
        let tokens = vec![3; positions.len()];
        let mut batch = StepBatch {
            tokens: &tokens,
            pages: &pages,
            sequences: &sequences,
            logits: LogitsWanted::Nothing,
        };
        change(&mut batch);
        graphs.bucket(&batch)
    }

    #[test]
    fn steps_are_brought_to_few_shapes() {
        let graphs = graphs();
        let of = |positions: &[u32]| bucket(&graphs, positions, |_| ()).unwrap();
        let shape = |positions: &[u32]| (of(positions).tokens, of(positions).pages_seen);
        assert_eq!(shape(&[0]), (1, 8));
        // The last position of the first part, the first of the second, of the third, and of the fourth, which the pages end.
        assert_eq!([511, 512, 1024, 1279].map(|at| shape(&[at]).1), [8, 16, 20, 20]);
        assert_eq!(shape(&[5, 600, 70]), (3, 16));
        assert_eq!([8, 9, 17, 65, 97].map(|count| shape(&vec![3; count]).0), [8, 16, 24, 96, 100]);
        assert_eq!(of(&[3; 9]).page_words, 1 + 16 * 20);
    }

    #[test]
    fn other_steps_are_not_recorded() {
        let graphs = graphs();
        assert_eq!(bucket(&graphs, &[3; 101], |_| ()), None);
        assert_eq!(bucket(&graphs, &[64 * 20], |_| ()), None);
        assert_eq!(bucket(&graphs, &[3], |batch| batch.logits = LogitsWanted::Yielded), None);
        let prompt = StepSequence {
            first_token: 0,
            token_count: 2,
            position: 0,
            first_page: 0,
            page_count: 1,
            yields: true,
        };
        let chunk = StepSequence { token_count: 1, yields: false, ..prompt };
        for other in [prompt, chunk] {
            let batch = StepBatch {
                tokens: &[1, 2],
                pages: &[0],
                sequences: &[other],
                logits: LogitsWanted::Nothing,
            };
            assert_eq!(graphs.bucket(&batch), None);
        }
        for launches in [Launches::Single, Launches::Watched] {
            assert_eq!(bucket(&Graphs::new(launches, 100, 640, 7), &[3], |_| ()), None);
        }
    }
}
