//! What one API asks for a request of given lengths: the tier of its prompt's length, the price of the day, and its fee.
//!
//! The one place that reads a price row's conditions, so that a run's verdict, `compare`, `cost` and `forecast` cannot differ. A
//! condition that changes the price is applied or becomes a note; a price that is not known at this length is `None`
//! and never that of a short prompt.

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive as _;
use rust_decimal::prelude::ToPrimitive as _;

use crate::catalog::ApiPrice;

/// Prices of a request's tokens, USD per million, and its fee.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    /// Input tokens.
    pub(super) input: Decimal,
    /// Input tokens found in the provider's cache, where that price is known at this length.
    pub(super) cached_input: Option<Decimal>,
    /// Output tokens.
    pub(super) output: Decimal,
    /// What the request costs besides.
    pub(super) usd_per_request: Option<Decimal>,
    /// What to keep in mind.
    pub(super) notes: Vec<String>,
}

impl Asked {
    /// The price of an input token of which the share `cached` comes from the cache; without a price of cached input, of a new one.
    pub(super) fn input_with(&self, cached: f64) -> Decimal {
        let share = Decimal::from_f64(cached).unwrap_or_default();
        match self.cached_input {
            Some(price) if !share.is_zero() => {
                ((Decimal::ONE - share) * self.input + share * price).normalize()
            }
            _ => self.input,
        }
    }

    /// The fee, in USD per million of a request's `tokens`.
    pub(super) fn fee_per_million(&self, tokens: f64) -> f64 {
        match self.usd_per_request.and_then(|fee| fee.to_f64()) {
            Some(fee) if tokens > 0.0 => fee * 1e6 / tokens,
            _ => 0.0,
        }
    }
}

/// The standard price of a prompt of `input_tokens` on the day `today`.
pub(super) fn standard(price: &ApiPrice, input_tokens: u64, today: Date) -> Asked {
    let mut notes = Vec::new();
    let change = price.scheduled_change.as_ref();
    let mut asked = if let Some(tier) = price.tier_at(input_tokens) {
        notes.push(format!("its price above {} input tokens", tier.above_input_tokens));
        if let Some(change) = change.filter(|change| change.date <= today) {
            notes.push(format!("that price predates the change on {}", change.date));
        }
        Asked {
            input: tier.input,
            cached_input: tier.cached_input,
            output: tier.output,
            usd_per_request: price.usd_per_request,
            notes: Vec::new(),
        }
    } else {
        let (mut input, mut output) = (price.input_usd_per_mtok, price.output_usd_per_mtok);
        for window in &price.time_of_day {
            notes.push(format!("another price from {} to {} UTC", window.from_utc, window.to_utc));
        }
        match change {
            Some(change) if change.date <= today => {
                notes.push(format!("the price announced from {} on", change.date));
                (input, output) = (change.input, change.output);
            }
            Some(change) => {
                notes.push(format!(
                    "from {} on ${} input, ${} output",
                    change.date, change.input, change.output
                ));
            }
            None => {}
        }
        Asked {
            input,
            cached_input: price.cached_input_usd_per_mtok,
            output,
            usd_per_request: price.usd_per_request,
            notes: Vec::new(),
        }
    };
    extras(price, &mut notes);
    asked.notes = notes;
    asked
}

/// The price of the batch tier; `None` when none is known for a prompt of this length.
pub(super) fn batch(price: &ApiPrice, input_tokens: u64) -> Option<Asked> {
    let mut notes = Vec::new();
    let pair = match price.tier_at(input_tokens) {
        Some(tier) => {
            notes.push(format!("its price above {} input tokens", tier.above_input_tokens));
            tier.batch.as_ref()
        }
        None => price.batch.as_ref(),
    }?;
    extras(price, &mut notes);
    Some(Asked {
        input: pair.input,
        cached_input: None,
        output: pair.output,
        usd_per_request: price.usd_per_request,
        notes,
    })
}

/// What is charged besides tokens of the prompt and the answer, and what the row itself says.
fn extras(price: &ApiPrice, notes: &mut Vec<String>) {
    if let Some(fee) = price.usd_per_request {
        notes.push(format!("with its fee of ${} a request", fee.normalize()));
    }
    if let Some(reasoning) = price.reasoning_usd_per_mtok {
        notes.push(format!("tokens of hidden reasoning cost ${} per million", reasoning.normalize()));
    }
    notes.extend(price.note.clone().filter(|note| note.contains("peak") || note.contains("condition")));
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::catalog::api_prices::{InputOutput, LongContextTier};

    const TODAY: Date = date(2026, 11, 25);

    fn usd(text: &str) -> Decimal {
        text.parse().expect("a number")
    }

    fn price() -> ApiPrice {
        let catalog = crate::catalog::Catalog::bundled();
        let mut price = catalog.api("openai/gpt-4o-mini").expect("bundled").clone();
        price.input_usd_per_mtok = usd("5");
        price.output_usd_per_mtok = usd("30");
        price.cached_input_usd_per_mtok = Some(usd("0.5"));
        price.batch = Some(InputOutput { input: usd("2.5"), output: usd("15") });
        let tier = |above, input, output, batch: Option<(&str, &str)>| LongContextTier {
            above_input_tokens: above,
            input: usd(input),
            output: usd(output),
            cached_input: None,
            cache_write: None,
            batch: batch.map(|(input, output)| InputOutput { input: usd(input), output: usd(output) }),
        };
        price.long_context_tiers =
            vec![tier(1_000_000, "20", "60", None), tier(272_000, "10", "45", Some(("5", "22.5")))];
        price
    }

    #[test]
    fn a_prompts_length_picks_its_tier() {
        let price = price();
        for (tokens, input, output) in
            [(0, "5", "30"), (272_000, "5", "30"), (272_001, "10", "45"), (1_000_001, "20", "60")]
        {
            let asked = standard(&price, tokens, TODAY);
            assert_eq!((asked.input, asked.output), (usd(input), usd(output)), "{tokens}");
        }
        // The cached price is that of short prompts; for a long one none is known.
        assert_eq!(standard(&price, 1, TODAY).input_with(0.5), usd("2.75"));
        assert_eq!(standard(&price, 300_000, TODAY).input_with(0.5), usd("10"));
        assert_eq!(batch(&price, 300_000).map(|asked| asked.output), Some(usd("22.5")));
        assert_eq!(batch(&price, 2_000_000), None, "no batch price of so long a prompt is known");
    }

    /// 0.005 USD over 1000 + 250 tokens is 4 USD per million.
    #[test]
    fn a_fee_is_spread_over_the_tokens_of_its_request() {
        let mut price = price();
        assert!(standard(&price, 1, TODAY).fee_per_million(1250.0).abs() < 1e-12);
        price.usd_per_request = Some(usd("0.005"));
        price.reasoning_usd_per_mtok = Some(usd("60"));
        let asked = standard(&price, 1, TODAY);
        assert!((asked.fee_per_million(1250.0) - 4.0).abs() < 1e-12);
        let notes = asked.notes.join("; ");
        assert!(notes.contains("fee of $0.005 a request") && notes.contains("reasoning cost $60"), "{notes}");
    }
}
