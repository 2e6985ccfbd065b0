//! One API price against this machine: the price at the mix, and where break-even lies.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::base::known::{self, Known};
use crate::base::units::figure;
use crate::catalog::{ApiPrice, age_days};

use super::terms::{Asked, Here};
use crate::cost::api_price::{batch, standard};
use crate::cost::margin::{CostLine, Estimate};
use crate::cost::scenario::Scenario;
use crate::record::ApiComparison;
pub use crate::record::Tier;

/// Said where cached input is asked about and only the price of new input is known.
pub const NOT_CACHED: &str = "no price of cached input is known: priced as uncached";

/// One price against this machine.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Row {
    /// `provider/model`.
    pub api: String,
    /// Whether it sells the record's model.
    pub same_model: bool,
    /// Which of its prices.
    pub tier: Tier,
    /// The provider's own figures for input and output, exact.
    #[serde(skip)]
    pub(super) exact: [Decimal; 2],
    /// USD per million input tokens, the cached share at its price.
    pub input_usd_per_million: f64,
    /// USD per million output tokens.
    pub output_usd_per_million: f64,
    /// What a request costs besides its tokens, USD; absent when nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_request: Option<f64>,
    /// USD per million tokens at the mix, the fee of a request of the cell's lengths included.
    pub usd_per_million: f64,
    /// USD for the text of a million of the record's tokens; `null` when the two are not known to be the same.
    pub usd_per_million_own_tokens: Known<f64>,
    /// USD per million characters of the text that was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_characters: Option<f64>,
    /// This machine ÷ API, below 1 this machine is cheaper; token for token where they were not counted.
    pub ratio: Estimate,
    /// Utilization from which this machine is cheaper; above 1 never.
    pub break_even_utilization: Known<Estimate>,
    /// Whether any load makes this machine cheaper.
    pub can_win: bool,
    /// Tokens a month from which one machine that is always on is cheaper.
    pub break_even_tokens_per_month: Known<f64>,
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
    pub fn comparable(&self) -> f64 {
        self.usd_per_million_own_tokens.unwrap_or(self.usd_per_million)
    }

    /// The row as a record keeps it.
    pub(super) fn recorded(&self, here: &Here) -> ApiComparison {
        let [input_usd_per_million, output_usd_per_million] = self.exact;
        ApiComparison {
            api: self.api.clone(),
            tier: self.tier,
            input_usd_per_million,
            output_usd_per_million,
            usd_per_request: self.usd_per_request,
            mix_usd_per_million: self.usd_per_million,
            here_usd_per_million: here.usd_per_million.value,
            ratio: self.ratio.value,
            ratio_ci95: self.ratio.ci95.ok_or("the cost here has no interval").into(),
            same_model: self.same_model,
            source: self.source.clone(),
            observed: self.observed.clone(),
            stale: self.stale,
        }
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
    /// The tier's price against this machine; `None` when the tier has none for a prompt of this length.
    pub(super) fn row(&self, price: &ApiPrice, tier: Tier) -> Option<Row> {
        let mut notes = Vec::new();
        if self.twins {
            let mix = self.mix([&price.input_usd_per_mtok, &price.output_usd_per_mtok].map(usd));
            notes.push(format!("its {} is the one at ${}", price.source_model_id, figure(mix, 3)));
        }
        let asked = match tier {
            Tier::Standard => standard(price, self.length(), self.asked.today),
            Tier::Batch => batch(price, self.length())?,
        };
        notes.extend(asked.notes.iter().cloned());
        let cached = self.scenario.cached_share.value;
        if cached > 0.0 {
            notes.extend(match (tier, asked.cached_input) {
                (Tier::Standard, Some(_)) => None,
                (Tier::Standard, None) => Some(NOT_CACHED.to_owned()),
                (Tier::Batch, _) => Some("cached input in a batch is priced at the batch price".to_owned()),
            });
        }
        if price.deprecated {
            notes.push("the provider is withdrawing it".to_owned());
        }
        let exact = [asked.input_with(cached), asked.output];
        let [input, output] = exact.map(|price| usd(&price));
        let cell = &self.here.cell;
        let request = f64::from(cell.prompt_tokens) + f64::from(cell.output_tokens);
        let mix = self.mix([input, output]) + asked.fee_per_million(request);
        let own = match (self.same_model, self.asked.counted) {
            (true, _) => Ok(mix),
            // The API takes its own tokens for the text of a million of ours.
            (false, Some(counted)) => Ok(mix * counted.api_tokens as f64 / counted.own_tokens as f64),
            (false, None) => Err("another model's tokens, and no text was counted in both"),
        };
        let rival = own.unwrap_or(mix);
        let break_even = self.line.break_even(rival);
        let can_win = break_even.is_some_and(|u| u.value <= 1.0);
        let per_month = break_even
            .map(|u| u.value * self.here.capacity_tokens_per_month)
            .filter(|_| can_win)
            .ok_or("no load makes this machine cheaper: it would need more tokens than it can serve");
        let counted = self.asked.counted;
        Some(Row {
            api: price.id(),
            same_model: self.same_model,
            tier,
            exact,
            input_usd_per_million: input,
            output_usd_per_million: output,
            usd_per_request: asked.usd_per_request.map(|fee| usd(&fee)),
            usd_per_million: mix,
            usd_per_million_own_tokens: own.into(),
            usd_per_million_characters: counted.map(|counted| {
                let tokens = if self.same_model { counted.own_tokens } else { counted.api_tokens };
                mix * tokens as f64 / counted.characters as f64
            }),
            ratio: Estimate::of(self.here.usd_per_million, |here| here / rival),
            break_even_utilization: break_even
                .ok_or("the API asks less than the electricity of the work alone")
                .into(),
            can_win,
            break_even_tokens_per_month: per_month.into(),
            usd_per_month: self.asked.tokens_per_month.map(|tokens| tokens * rival / 1e6),
            notes,
            source: price.source.clone(),
            observed: price.as_of.to_string(),
            age_days: age_days(price.as_of, self.asked.today),
            stale: price.is_stale(self.asked.today),
        })
    }

    /// USD per million tokens at the mix.
    fn mix(&self, [input, output]: [f64; 2]) -> f64 {
        (self.here.input_to_output * input + output) / (self.here.input_to_output + 1.0)
    }

    /// Tokens of the prompt, the context before it included.
    fn length(&self) -> u64 {
        u64::from(self.here.cell.prompt_tokens) + u64::from(self.here.cell.depth)
    }
}

fn usd(price: &Decimal) -> f64 {
    price.to_f64().unwrap_or(f64::NAN)
}
