//! The largest batch against its sequences alone: whether a sequence reads another's data.

use crate::base::units::Seconds;
use crate::engine::{Schedule, SequencePlan};
use crate::run::estimate::Pace;
use crate::run::prompts;

use super::{Error, Finished, Runner, Stage};

/// Tokens of each sequence when a batch is compared with single sequences, and outputs after them.
const AGREEMENT_TOKENS: u32 = 8;
const AGREEMENT_OUTPUTS: u32 = 4;

/// A batch's logits next to those of its sequences run alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Sequences of the batch.
    pub batch: u32,
    /// Of these, run alone as well.
    pub sequences: usize,
    /// Of these, with the same greedy choice.
    pub same_choice: usize,
    /// Largest difference of a sequence: root mean square of its logits' differences ÷ their standard deviation.
    pub worst_share: f64,
    /// By how much a token that the batch chose in its last step of outputs falls short of the best one, at most:
    /// the sequence is fed alone what the batch fed it, and its logits' standard deviation is the unit. `None` when
    /// the engine takes no prompts in batches.
    pub worst_choice: Option<f64>,
}

impl Agreement {
    /// The batch chose the last of `tokens`; `alone` are the logits after the others.
    fn chosen(&mut self, alone: &[f32], token: u32) {
        let (_, deviation) = spread(alone);
        let best = alone.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let own = alone.get(token as usize).copied().unwrap_or(f32::NAN);
        let short = (f64::from(best) - f64::from(own)) / deviation;
        let worst = self.worst_choice.unwrap_or(0.0);
        self.worst_choice = Some(if short.is_nan() { f64::INFINITY } else { worst.max(short) });
    }

    fn take(&mut self, alone: &[f32], together: &[f32]) {
        let (n, deviation) = spread(alone);
        let squares = alone.iter().zip(together).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2));
        let share = (squares.sum::<f64>() / n).sqrt() / deviation;
        // A NaN is the worst there is.
        self.worst_share = if share.is_nan() { f64::INFINITY } else { self.worst_share.max(share) };
        self.same_choice += usize::from(argmax(alone) == argmax(together));
    }
}

/// How many there are, and their standard deviation.
fn spread(logits: &[f32]) -> (f64, f64) {
    let n = logits.len().max(1) as f64;
    let mean = logits.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    (n, (logits.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt())
}

pub(super) fn argmax(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
}

/// How long comparing a batch of this size takes.
pub(super) fn seconds(pace: &Pace, batch: u32) -> Seconds {
    let together = pace.prompt(batch, 0, AGREEMENT_TOKENS) * 2.0 + pace.steps(batch, 0, AGREEMENT_OUTPUTS);
    // Three sequences alone, without and with what the batch fed them.
    together + pace.prompt(1, 0, AGREEMENT_TOKENS + AGREEMENT_OUTPUTS) * 6.0
}

impl Runner<'_> {
    /// Feeds some tokens to the largest batch and lets it go on, and to its first, middle and last sequence alone.
    pub(super) fn agreement(&mut self, finished: &mut Finished) -> Result<(), Error> {
        let batch = finished.rows.iter().map(|row| row.trials.row.batch).max().unwrap_or(1);
        if batch < 2 {
            return Ok(());
        }
        if let Some(left) = self.too_late_to_compare(batch) {
            finished.agreement_skipped = Some(format!(
                "no time was left to compare a batch with single sequences: {left} of --max-time"
            ));
            return Ok(());
        }
        self.report(Stage::Agreement, None, 0);
        let contexts = prompts::contexts(batch, AGREEMENT_TOKENS, self.job.vocabulary, self.job.seed);
        let together = self.engine.logits(&contexts, self.job.interrupt)?;
        let mut sequences = vec![0, contexts.len() / 2, contexts.len() - 1];
        sequences.dedup();
        let mut found = Agreement {
            batch,
            sequences: sequences.len(),
            same_choice: 0,
            worst_share: 0.0,
            worst_choice: None,
        };
        for &sequence in &sequences {
            let alone = self.engine.logits(&contexts[sequence..=sequence], self.job.interrupt)?;
            found.take(&alone[0], &together[sequence]);
        }
        let plan = |prompt: &Vec<u32>| SequencePlan {
            context: Vec::new(),
            prompt: prompt.clone(),
            output_tokens: AGREEMENT_OUTPUTS,
        };
        let schedule = Schedule { sequences: contexts.iter().map(plan).collect() };
        if self.engine.accepts(&schedule).is_ok() {
            let outcome = self.engine.run(&schedule, &mut Vec::new(), self.job.interrupt)?;
            for sequence in sequences {
                // Another check finds fewer tokens than asked for.
                let Some((last, before)) = outcome.tokens[sequence].split_last() else { continue };
                let fed = [&contexts[sequence][..], before].concat();
                let alone = self.engine.logits(&[fed], self.job.interrupt)?;
                found.chosen(&alone[0], *last);
            }
        }
        finished.agreement = Some(found);
        Ok(())
    }

    /// The time left, where it is too little for the comparison.
    fn too_late_to_compare(&self, batch: u32) -> Option<Seconds> {
        let left = self.budget.left()?;
        let needed = self.job.pace.map_or(Seconds::ZERO, |pace| seconds(pace, batch)) * self.slower;
        let over = self.budget.end().is_some_and(|end| self.budget.now().after(needed) > end);
        over.then_some(left)
    }
}
