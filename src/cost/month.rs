//! A month's tokens without a record: what each API bills for them, and the speed at which a machine is cheaper.
//!
//! A machine that is always on costs `730 × rent` a month whatever it serves. Kept busy it beats a price `P` at
//! `rent × 1e6 ÷ (3600 × utilization × P)` tokens a second. For the month's tokens alone, `n` machines may be rented where
//! `n × 730 × rent` is below the bill, and each must serve its `n`th part; where one costs more than the bill, no speed helps.

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;

use crate::base::known::{self, Known};
use crate::catalog::{ApiPrice, Catalog, age_days};
use crate::record::{Price, Tier};

use super::api_price::{self, batch, standard};
use super::assumption::Assumption;
use super::compare_api::{CompareError, NOT_CACHED, SECONDS_PER_MONTH};
use super::owned::HOURS_PER_MONTH;

/// How a note on a price for long prompts ends.
const LONG_PROMPTS: &str = "have a different price";

/// The tokens of a month and who may be asked for them.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Input tokens a month.
    pub input_tokens: f64,
    /// Output tokens a month.
    pub output_tokens: f64,
    /// Share of the input that the provider has cached.
    pub cached_share: f64,
    /// The model, whose hosts are asked.
    pub model: &'a str,
    /// APIs named besides.
    pub named: &'a [String],
    /// Days a price may be old.
    pub max_age_days: Option<i64>,
    /// The day.
    pub today: Date,
}

/// A machine that might serve them.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// The price of its hour.
    pub price: Price,
    /// Share of the hour in which it can be kept busy.
    pub utilization: f64,
}

/// What one price bills, and what beats it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bill {
    /// `provider/model`.
    pub api: String,
    /// Which of its prices.
    pub tier: Tier,
    /// USD per million input tokens.
    pub input_usd_per_million: f64,
    /// USD per million cached input tokens; `null` where no such price is known.
    pub cached_input_usd_per_million: Option<f64>,
    /// USD per million output tokens.
    pub output_usd_per_million: f64,
    /// USD a month for input that is not cached.
    pub input_usd: f64,
    /// USD a month for cached input.
    pub cached_input_usd: f64,
    /// USD a month for output.
    pub output_usd: f64,
    /// USD a month in all.
    pub usd_per_month: f64,
    /// USD per million tokens at this mix.
    pub usd_per_million: f64,
    /// What a machine must do to be cheaper; `null` without the price of one.
    pub to_beat: Option<ToBeat>,
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

/// Tokens per second, input and output alike at the month's mix, above which a machine is cheaper.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct ToBeat {
    /// While busy, of a machine that is kept as busy as was said, whatever the month's tokens are.
    pub tokens_per_second_kept_busy: f64,
    /// While busy, for the month's tokens alone; `null` where one machine costs more than the bill.
    pub tokens_per_second_this_month: Known<f64>,
    /// Machines that together cost less than the bill.
    pub machines: u64,
    /// Tokens a month at this mix whose bill is what one machine costs.
    pub break_even_tokens_per_month: f64,
}

/// What a month costs.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct View {
    /// The model, as asked.
    pub model: String,
    /// Input tokens a month.
    pub input_tokens_per_month: f64,
    /// Output tokens a month.
    pub output_tokens_per_month: f64,
    /// Share of the input that the provider has cached.
    pub cached_share: f64,
    /// The price of a machine's hour; `null` when none was given.
    pub price: Known<Price>,
    /// USD a month of one machine that is always on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine_usd_per_month: Option<f64>,
    /// Share of the hour in which it is busy.
    pub utilization: f64,
    /// Every price, cheapest first.
    pub bills: Vec<Bill>,
    /// Every assumption with its value and where it came from.
    pub assumptions: Vec<Assumption>,
    /// What to keep in mind.
    pub notes: Vec<String>,
}

/// What each API bills for the month that is `asked` for, and what `machine` must do to beat it.
///
/// # Errors
/// The catalog's when a model or an API is not in it; [`super::Error::Stale`] when a price is older than it may be.
pub fn month(asked: &Asked<'_>, machine: Option<&Machine>, catalog: &Catalog) -> Result<View, CompareError> {
    let mut prices = catalog.api_or_hosts(asked.model)?;
    for name in asked.named {
        for row in catalog.api_or_hosts(name)? {
            if !prices.iter().any(|other| std::ptr::eq(*other, row)) {
                prices.push(row);
            }
        }
    }
    let mut bills = Vec::new();
    for price in &prices {
        let what = format!("the price of {}", price.id());
        super::check_age(&what, Some(&price.as_of.to_string()), asked.max_age_days, asked.today)?;
        // The length of the requests is unknown: prices of short ones.
        let mut of_price =
            vec![bill(price, Tier::Standard, &standard(price, 0, asked.today), asked, machine)];
        of_price.extend(batch(price, 0).map(|found| bill(price, Tier::Batch, &found, asked, machine)));
        // Two endpoints of one host look the same in a table.
        if prices.iter().filter(|other| other.id() == price.id()).count() > 1 {
            for bill in &mut of_price {
                let which = format!("its {} bills ${:.2}", price.source_model_id, bill.usd_per_month);
                bill.notes.insert(0, which);
            }
        }
        bills.extend(of_price);
    }
    bills.sort_by(|a, b| a.usd_per_month.total_cmp(&b.usd_per_month));
    let mut notes = Vec::new();
    if bills.iter().any(|bill| bill.notes.iter().any(|note| note.ends_with(LONG_PROMPTS))) {
        notes.push("requests are assumed to be short: prices for long prompts are not included".to_owned());
    }
    let known = |bill: &&Bill| bill.tier == Tier::Standard && bill.cached_input_usd_per_million.is_some();
    if asked.cached_share <= 0.0 && bills.iter().any(|bill| known(&bill)) {
        let names: Vec<&str> = bills.iter().filter(known).map(|bill| bill.api.as_str()).collect();
        notes.push(format!("input found in the cache is cheaper at {}: --cached SHARE", names.join(", ")));
    }
    Ok(View {
        model: asked.model.to_owned(),
        input_tokens_per_month: asked.input_tokens,
        output_tokens_per_month: asked.output_tokens,
        cached_share: asked.cached_share,
        machine_usd_per_month: machine.map(|machine| usd(&machine.price.usd_per_hour) * HOURS_PER_MONTH),
        price: machine
            .map(|machine| machine.price.clone())
            .ok_or("no machine; name one with --gpu ID or --price-per-hour USD")
            .into(),
        utilization: machine.map_or(1.0, |machine| machine.utilization),
        bills,
        assumptions: Vec::new(),
        notes,
    })
}

fn bill(
    price: &ApiPrice,
    tier: Tier,
    found: &api_price::Asked,
    asked: &Asked<'_>,
    machine: Option<&Machine>,
) -> Bill {
    let mut notes: Vec<String> =
        found.notes.iter().filter(|note| !note.starts_with("with its fee")).cloned().collect();
    if let Some(fee) = found.usd_per_request {
        notes.push(format!("its fee of ${} a request is not included", fee.normalize()));
    }
    if let Some(long) = price.long_context_tiers.iter().map(|tier| tier.above_input_tokens).min() {
        notes.push(format!("prompts above {long} input tokens {LONG_PROMPTS}"));
    }
    if price.deprecated {
        notes.push("the provider is withdrawing it".to_owned());
    }
    let cached = found.cached_input;
    if asked.cached_share > 0.0 && cached.is_none() {
        notes.push(match tier {
            Tier::Standard => NOT_CACHED.to_owned(),
            Tier::Batch => "cached input in a batch is priced at the batch price".to_owned(),
        });
    }
    let [input, output] = [found.input, found.output].map(|price| usd(&price));
    let cached_price = cached.map(|price| usd(&price));
    let millions = asked.input_tokens / 1e6;
    let cached_input_usd = asked.cached_share * millions * cached_price.unwrap_or(input);
    let input_usd = (1.0 - asked.cached_share) * millions * input;
    let output_usd = asked.output_tokens / 1e6 * output;
    let usd_per_month = input_usd + cached_input_usd + output_usd;
    let tokens = asked.input_tokens + asked.output_tokens;
    Bill {
        api: price.id(),
        tier,
        input_usd_per_million: input,
        cached_input_usd_per_million: cached_price,
        output_usd_per_million: output,
        input_usd,
        cached_input_usd,
        output_usd,
        usd_per_month,
        usd_per_million: usd_per_month / tokens * 1e6,
        to_beat: machine.map(|machine| to_beat(usd_per_month, tokens, machine)),
        notes,
        source: price.source.clone(),
        observed: price.as_of.to_string(),
        age_days: age_days(price.as_of, asked.today),
        stale: price.is_stale(asked.today),
    }
}

fn to_beat(bill: f64, tokens: f64, machine: &Machine) -> ToBeat {
    let hour = usd(&machine.price.usd_per_hour);
    let month = hour * HOURS_PER_MONTH;
    // The most that together cost less than the bill.
    let machines = ((bill / month).ceil() - 1.0).max(0.0);
    let this_month = (machines >= 1.0)
        .then(|| tokens / (machines * SECONDS_PER_MONTH * machine.utilization))
        .ok_or("one machine costs more than the bill at any speed");
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of machines, zero or more"
    )]
    ToBeat {
        tokens_per_second_kept_busy: hour / 3600.0 * tokens / (machine.utilization * bill),
        tokens_per_second_this_month: this_month.into(),
        machines: machines as u64,
        break_even_tokens_per_month: month / bill * tokens,
    }
}

fn usd(price: &Decimal) -> f64 {
    price.to_f64().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::given_price;

    fn machine(usd_per_hour: &str, utilization: f64) -> Machine {
        Machine { price: given_price(usd_per_hour.parse().expect("a price")), utilization }
    }

    /// 1 USD an hour is 730 a month. A bill of 1,500 pays for two machines, 1,460 for one, 700 for none.
    #[test]
    fn as_many_machines_as_the_bill_pays_for_share_the_tokens() {
        let tokens = 730.0 * 3600.0 * 1000.0;
        for (bill, machines, rate) in [
            (1500.0, 2, Some(500.0)),
            (1460.0, 1, Some(1000.0)),
            (731.0, 1, Some(1000.0)),
            (730.0, 0, None),
            (700.0, 0, None),
        ] {
            let found = to_beat(bill, tokens, &machine("1", 1.0));
            assert_eq!(found.machines, machines, "{bill}");
            let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-12;
            match (*found.tokens_per_second_this_month, rate) {
                (Some(found), Some(expected)) => assert!(close(found, expected), "{bill}: {found}"),
                (None, None) => assert!(found.tokens_per_second_this_month.reason().is_some()),
                other => panic!("{bill}: {other:?}"),
            }
            // Kept busy, a million tokens cost what the API asks for them.
            let per_million = bill / tokens * 1e6;
            assert!(close(1e6 / 3600.0 / found.tokens_per_second_kept_busy, per_million), "{found:?}");
            assert!(close(found.break_even_tokens_per_month, 730.0 / per_million * 1e6));
            // Half as busy, twice as fast.
            let half = to_beat(bill, tokens, &machine("1", 0.5));
            assert!(close(half.tokens_per_second_kept_busy, 2.0 * found.tokens_per_second_kept_busy));
        }
    }
}
