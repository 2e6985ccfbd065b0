//! The formulas, one row of logits at a time.
//!
//! Sums are in double precision. A standard error treats the scored tokens as independent samples, as llama-perplexity
//! does: sd ÷ √n. Tokens of one text are not quite that, so it is a lower bound.

use serde::Serialize;

/// What a row of logits says of the token that follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// −ln of the probability of that token, in nats.
    pub surprise: f64,
}

impl Row {
    /// The row's surprise at `next`; `None` when a logit is no finite number or there is no such token.
    pub fn of(logits: &[f32], next: u32) -> Option<Self> {
        let logit = f64::from(*logits.get(next as usize)?);
        let finite = logits.iter().all(|logit| logit.is_finite());
        finite.then(|| Self { surprise: log_sum(logits) - logit })
    }
}

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error, in the same unit.
    pub standard_error: f64,
}

/// Sums over scored tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn add(&mut self, sample: f64) {
        self.count += 1;
        self.sum += sample;
        self.squares += sample * sample;
    }

    /// `None` under two samples.
    fn mean(&self) -> Option<Estimate> {
        if self.count < 2 {
            return None;
        }
        let count = self.count as f64;
        let value = self.sum / count;
        let variance = (self.squares / count - value * value).max(0.0);
        Some(Estimate { value, standard_error: (variance / (count - 1.0)).sqrt() })
    }
}

/// How surprised a model was by a text.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores(Sums);

impl Scores {
    /// Adds a scored token.
    pub fn add(&mut self, row: Row) {
        self.0.add(row.surprise);
    }

    /// Scored tokens.
    pub fn count(&self) -> usize {
        self.0.count
    }

    /// e to the mean surprise; its standard error is that of the mean times the perplexity.
    pub fn perplexity(&self) -> Option<Estimate> {
        let mean = self.0.mean()?;
        let value = mean.value.exp();
        Some(Estimate { value, standard_error: mean.standard_error * value })
    }
}

/// How far a model is from its reference.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Agreement {
    divergence: Sums,
    same_choice: Sums,
}

impl Agreement {
    /// Adds a scored token: the logits of both after the same text.
    pub fn add(&mut self, reference: &[f32], model: &[f32]) {
        let (log_reference, log_model) = (log_sum(reference), log_sum(model));
        let mut divergence = 0.0;
        for (theirs, ours) in reference.iter().zip(model) {
            let log_share = f64::from(*theirs) - log_reference;
            #[allow(clippy::cast_possible_truncation, reason = "a share needs no more than single precision")]
            let share = f64::from((log_share as f32).exp());
            divergence += share * (log_share - (f64::from(*ours) - log_model));
        }
        self.divergence.add(divergence);
        self.same_choice.add(f64::from(u8::from(choice(reference) == choice(model))));
    }

    /// Compared tokens.
    pub fn count(&self) -> usize {
        self.divergence.count
    }

    /// Mean over the scored tokens of Σ p·ln(p ÷ q), p the reference's probabilities and q the model's, in nats.
    pub fn divergence(&self) -> Option<Estimate> {
        self.divergence.mean()
    }

    /// Share of the scored tokens after which both have the same most probable token.
    pub fn top1(&self) -> Option<Estimate> {
        self.same_choice.mean()
    }
}

/// ln Σ eˣ.
fn log_sum(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - largest).exp())).sum();
    f64::from(largest) + sum.ln()
}

/// The first of the largest.
fn choice(logits: &[f32]) -> usize {
    let better = |best: usize, index: usize| if logits[index] > logits[best] { index } else { best };
    (1..logits.len()).fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6 * expected.abs().max(1e-3), "{found} and {expected}");
    }

    #[test]
    fn perplexity_is_e_to_the_mean_surprise() {
        // Probabilities 1/2, 1/4, 1/4, and another row with 1/8 and 7/8.
        let first = [2f32.ln(), 0.0, 0.0].map(|logit| logit + 30.0);
        let second = [0.0, 7f32.ln()];
        near(Row::of(&first, 0).unwrap().surprise, 2f64.ln());
        near(Row::of(&second, 0).unwrap().surprise, 8f64.ln());
        let mut scores = Scores::default();
        assert_eq!(scores.perplexity(), None);
        scores.add(Row::of(&first, 0).unwrap());
        assert_eq!(scores.perplexity(), None);
        scores.add(Row::of(&second, 0).unwrap());
        let found = scores.perplexity().unwrap();
        // √(2 · 8) = 4; the surprises are ln 4 ∓ ln 2, so their mean's error is ln 2.
        near(found.value, 4.0);
        near(found.standard_error, 4.0 * 2f64.ln());
        assert_eq!(scores.count(), 2);
    }

    #[test]
    fn what_is_no_number_or_no_token_has_no_surprise() {
        for logits in [[0.0, f32::NAN], [0.0, f32::INFINITY], [f32::NEG_INFINITY, 0.0]] {
            assert_eq!(Row::of(&logits, 0), None, "{logits:?}");
        }
        assert_eq!(Row::of(&[0.0, 1.0], 2), None);
        assert!(Row::of(&[0.0, 1.0], 1).is_some());
    }

    #[test]
    fn divergence_is_that_of_the_definition_and_zero_from_oneself() {
        let even = [0.0f32, 0.0, 0.0, 0.0];
        let odd = [7f32.ln(), 0.0, 0.0, 0.0];
        let mut agreement = Agreement::default();
        agreement.add(&even, &odd);
        agreement.add(&odd, &even);
        // Of the logits as they are rounded.
        let seven = f64::from(odd[0]).exp();
        let shares = [seven, 1.0, 1.0, 1.0].map(|share| share / (seven + 3.0));
        let forth: f64 = shares.iter().map(|q| 0.25 * (0.25f64 / q).ln()).sum();
        let back: f64 = shares.iter().map(|p| p * (p / 0.25f64).ln()).sum();
        near(agreement.divergence().unwrap().value, f64::midpoint(forth, back));
        // A difference of the two, whose shares are in single precision.
        let error = agreement.divergence().unwrap().standard_error;
        assert!((error - (forth - back).abs() / 2.0).abs() < 1e-7 * forth, "{error}: {forth} and {back}");
        // The first of equal ones is chosen, which is the larger one of the other.
        near(agreement.top1().unwrap().value, 1.0);
        let mut same = Agreement::default();
        let shifted = [0.1, 1.0, 0.1, 0.1];
        for (reference, model) in [(odd, odd), (even, even), (odd, shifted), (odd, odd)] {
            same.add(&reference, &model);
        }
        let found = same.top1().unwrap();
        near(found.value, 0.75);
        near(found.standard_error, (0.75 * 0.25 / 3.0f64).sqrt());
        let mut alike = Agreement::default();
        for logits in [odd, even, shifted] {
            alike.add(&logits, &logits);
        }
        assert_eq!(alike.divergence(), Some(Estimate { value: 0.0, standard_error: 0.0 }));
    }
}
