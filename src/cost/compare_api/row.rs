//! One API price against this machine: the price at the mix, and where break-even lies.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;

use crate::catalog::{ApiPrice, age_days};

use super::verdict::three;
use super::{Asked, Here};
use crate::cost::margin::{CostLine, Estimate};
use crate::cost::scenario::Scenario;

/// One text, counted by two tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Characters of the text.
    pub characters: u64,
    /// Its tokens by the record's model.
    pub own_tokens: u64,
    /// Its tokens by the API's model.
    pub api_tokens: u64,
}

/// Which price of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Answered at once.
    Standard,
    /// Answered within hours.
    Batch,
}

/// One price against this machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `provider/model`.
    pub api: String,
    /// Whether it sells the record's model.
    pub same_model: bool,
    /// Which of its prices.
    pub tier: Tier,
    /// USD per million input tokens, the cached share at its price.
    pub input_usd_per_million: f64,
    /// USD per million output tokens.
    pub output_usd_per_million: f64,
    /// USD per million tokens at the mix.
    pub usd_per_million: f64,
    /// USD for the text of a million of the record's tokens; `null` when the two are not known to be the same.
    pub usd_per_million_own_tokens: Option<f64>,
    /// Why it is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_own_tokens_reason: Option<String>,
    /// USD per million characters of the text that was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_characters: Option<f64>,
    /// This machine ÷ API, below 1 this machine is cheaper; token for token where they were not counted.
    pub ratio: Estimate,
    /// Utilization from which this machine is cheaper; above 1 never.
    pub break_even_utilization: Option<Estimate>,
    /// Why it is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even_utilization_reason: Option<String>,
    /// Whether any load makes this machine cheaper.
    pub can_win: bool,
    /// Tokens a month from which one machine that is always on is cheaper.
    pub break_even_tokens_per_month: Option<f64>,
    /// Why it is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even_tokens_per_month_reason: Option<String>,
    /// What the API asks for the tokens a month that are to be served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_month: Option<f64>,
    /// What to keep in mind about this price.
    pub notes: Vec<String>,
    /// Where it comes from.
    pub source: String,
    /// The last day it can have been checked (YYYY-MM-DD).
    pub observed: String,
    /// Days since.
    pub age_days: i64,
    /// Whether it is older than such prices should be.
    pub stale: bool,
}

impl Row {
    /// What a million tokens is compared by: text for text where it was counted.
    pub(super) fn comparable(&self) -> f64 {
        self.usd_per_million_own_tokens.unwrap_or(self.usd_per_million)
    }
}

/// What a price is held against.
pub(super) struct Context<'a> {
    pub(super) here: &'a Here,
    pub(super) line: CostLine,
    pub(super) same_model: bool,
    /// Whether the provider has several prices under this id.
    pub(super) twins: bool,
    pub(super) scenario: &'a Scenario,
    pub(super) asked: &'a Asked<'a>,
}

impl Context<'_> {
    /// The tier's price against this machine.
    pub(super) fn row(&self, price: &ApiPrice, tier: Tier) -> Row {
        let mut notes = Vec::new();
        if self.twins {
            let mix = self.mix([&price.input_usd_per_mtok, &price.output_usd_per_mtok].map(usd));
            notes.push(format!("its {} is the one at ${}", price.source_model_id, three(mix)));
        }
        let [input, output] = self.list_price(price, tier, &mut notes);
        let mix = self.mix([input, output]);
        let own = match (self.same_model, self.asked.counted) {
            (true, _) => Ok(mix),
            // The API takes its own tokens for the text of a million of ours.
            (false, Some(counted)) => Ok(mix * counted.api_tokens as f64 / counted.own_tokens as f64),
            (false, None) => Err("another model's tokens, and no text was counted in both".to_owned()),
        };
        let rival = own.as_ref().copied().unwrap_or(mix);
        let break_even = self.line.break_even(rival);
        let can_win = break_even.is_some_and(|u| u.value <= 1.0);
        let per_month = break_even
            .map(|u| u.value * self.here.capacity_tokens_per_month)
            .filter(|_| can_win)
            .ok_or_else(|| {
                "no load makes this machine cheaper: it would need more tokens than it can serve".to_owned()
            });
        let counted = self.asked.counted;
        Row {
            api: price.id(),
            same_model: self.same_model,
            tier,
            input_usd_per_million: input,
            output_usd_per_million: output,
            usd_per_million: mix,
            usd_per_million_own_tokens_reason: own.as_ref().err().cloned(),
            usd_per_million_own_tokens: own.ok(),
            usd_per_million_characters: counted.map(|counted| {
                let tokens = if self.same_model { counted.own_tokens } else { counted.api_tokens };
                mix * tokens as f64 / counted.characters as f64
            }),
            ratio: Estimate::of(self.here.usd_per_million, |here| here / rival),
            break_even_utilization: break_even,
            break_even_utilization_reason: break_even
                .is_none()
                .then(|| "the API asks less than the electricity of the work alone".to_owned()),
            can_win,
            break_even_tokens_per_month_reason: per_month.as_ref().err().cloned(),
            break_even_tokens_per_month: per_month.ok(),
            usd_per_month: self.asked.tokens_per_month.map(|tokens| tokens * rival / 1e6),
            notes,
            source: price.source.clone(),
            observed: price.as_of.to_string(),
            age_days: age_days(price.as_of, self.asked.today),
            stale: price.is_stale(self.asked.today),
        }
    }

    /// USD per million tokens at the mix.
    fn mix(&self, [input, output]: [f64; 2]) -> f64 {
        (self.here.input_to_output * input + output) / (self.here.input_to_output + 1.0)
    }

    /// USD per million input and output tokens: the tier's, for so long an input, with so much of it cached.
    fn list_price(&self, price: &ApiPrice, tier: Tier, notes: &mut Vec<String>) -> [f64; 2] {
        let length = u64::from(self.here.cell.prompt_tokens) + u64::from(self.here.cell.depth);
        let long = price
            .long_context_tiers
            .iter()
            .filter(|long| length > long.above_input_tokens)
            .max_by_key(|long| long.above_input_tokens);
        let [input, output] = match (tier, &price.batch, long) {
            (Tier::Batch, Some(batch), _) => [usd(&batch.input), usd(&batch.output)],
            (_, _, Some(long)) => {
                notes.push(format!("its price above {} input tokens", long.above_input_tokens));
                [usd(&long.input), usd(&long.output)]
            }
            _ => self.base_price(price, notes),
        };
        let cached = self.scenario.cached_share.value;
        let effective = match (tier, price.cached_input_usd_per_mtok) {
            _ if cached == 0.0 => input,
            (Tier::Standard, Some(price)) => (1.0 - cached) * input + cached * usd(&price),
            (Tier::Standard, None) => {
                notes.push("no price of cached input is known: taken as not cached".to_owned());
                input
            }
            (Tier::Batch, _) => {
                notes.push("cached input in a batch is taken at the batch price".to_owned());
                input
            }
        };
        if price.deprecated {
            notes.push("the provider is withdrawing it".to_owned());
        }
        [effective, output]
    }

    /// The standard price of the day: an announced change holds from its date.
    fn base_price(&self, price: &ApiPrice, notes: &mut Vec<String>) -> [f64; 2] {
        if let Some(window) = price.time_of_day.first() {
            notes.push(format!("another price from {} to {} UTC", window.from_utc, window.to_utc));
        }
        match &price.scheduled_change {
            Some(change) if change.date <= self.asked.today => {
                notes.push(format!("the price announced for {} on", change.date));
                [usd(&change.input), usd(&change.output)]
            }
            change => {
                notes.extend(change.as_ref().map(|change| {
                    format!("from {} on {} input, {} output", change.date, change.input, change.output)
                }));
                [usd(&price.input_usd_per_mtok), usd(&price.output_usd_per_mtok)]
            }
        }
    }
}

fn usd(price: &Decimal) -> f64 {
    price.to_f64().unwrap_or(f64::NAN)
}
