//! Prices by prompt length: collects what a file says about each length into tiers.
//!
//! A tier replaces the price of the whole request, not only of the tokens above its length (the files' own calculators do
//! the same). Input or output without a price at a length keep that of the length below; a cached price does not, since
//! files that know one at every length say so. A tier is never dropped: if one cannot be read, its row is rejected.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::intake::BadField;
use crate::ApiPrice;
use crate::api_prices::{InputOutput, LongContextTier};
use crate::base::json::Node;

/// What is known about prompts above one length.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) input: Option<Decimal>,
    pub(super) output: Option<Decimal>,
    pub(super) cached: Option<Decimal>,
    pub(super) cache_write: Option<Decimal>,
    pub(super) batch_input: Option<Decimal>,
    pub(super) batch_output: Option<Decimal>,
}

/// The lengths of one row.
#[derive(Debug, Default)]
pub(super) struct Ladder(BTreeMap<u64, Step>);

impl Ladder {
    /// Prompts above `tokens`.
    pub(super) fn above(&mut self, tokens: u64) -> &mut Step {
        self.0.entry(tokens).or_default()
    }

    /// The lengths, short ones first.
    pub(super) fn steps(&mut self) -> impl Iterator<Item = &mut Step> {
        self.0.values_mut()
    }

    /// The tiers of `row`, whose base prices are known.
    pub(super) fn put(self, row: &mut ApiPrice) -> Result<(), BadField> {
        let (mut input, mut output) = (row.input_usd_per_mtok, row.output_usd_per_mtok);
        let mut tiers = Vec::with_capacity(self.0.len());
        for (above_input_tokens, step) in self.0 {
            (input, output) = (step.input.unwrap_or(input), step.output.unwrap_or(output));
            if let Some(cached) = step.cached.filter(|cached| *cached > input) {
                let reason = format!("is more than uncached input ({input} USD per million tokens)");
                let field = format!("cached input above {above_input_tokens} tokens");
                return Err(BadField { field, value: cached.to_string(), reason });
            }
            tiers.push(LongContextTier {
                above_input_tokens,
                input,
                output,
                cached_input: step.cached,
                cache_write: step.cache_write,
                batch: step
                    .batch_input
                    .zip(step.batch_output)
                    .map(|(input, output)| InputOutput { input, output }),
            });
        }
        row.long_context_tiers = tiers;
        Ok(())
    }
}

/// A number of tokens above zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a count")]
pub(super) fn tokens(node: Option<&Node>) -> Option<u64> {
    match node {
        Some(Node::Number(number)) if (1.0..1e12).contains(number) => Some(*number as u64),
        Some(Node::Text(text)) => {
            text.trim().parse::<f64>().ok().filter(|n| (1.0..1e12).contains(n)).map(|n| n as u64)
        }
        _ => None,
    }
}
