//! A record against buying the same tokens: every host of the model and every API named, at the workload's own mix.
//!
//! With `c` the cost of a million tokens here by utilization and `P` the API's price at the same mix:
//! break-even utilization `u* = fixed ÷ (P − work)`, for a rent `rent per hour ÷ revenue per hour at saturation`; above
//! 1 no load is enough. Break-even tokens a month `T* = u* × capacity`, which for a rent is `730 × rent ÷ P`: an
//! always-on machine must be paid for whatever it serves. Where an API's model is another one, its tokens are other
//! tokens; a correction needs both tokenizers on one text ([`Counted`]).

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;

use crate::base::stats;
use crate::catalog::{ApiPrice, Catalog, age_days};
use crate::record::{Cell, CostCell, Figure, Measurement, Record};

use super::Error;
use super::assess::{at_mix, headline_cell, mix};
use super::assumption::Assumption;
use super::compare::{FAMILIAR, served_as};
use super::margin::{CostLine, Estimate};
use super::owned::HOURS_PER_MONTH;
use super::quality::{QualityNote, quality_note};
use super::scenario::Scenario;
use super::view::{ratio, tokens_per_second};

const SECONDS_PER_MONTH: f64 = HOURS_PER_MONTH * 3600.0;

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// APIs named, beside the model's own hosts.
    pub named: &'a [String],
    /// Input tokens for each output token instead of the workload's own.
    pub mix: Option<f64>,
    /// Tokens a month that are to be served.
    pub tokens_per_month: Option<f64>,
    /// One text in both models' tokens.
    pub counted: Option<&'a Counted>,
    /// Days a price may be old.
    pub max_age_days: Option<i64>,
    /// The day.
    pub today: Date,
}

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

/// How the record's figures came about: the tier of the same kind is its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// All sequences start together, without queueing or a bound on latency: like a batch tier.
    Offline,
    /// Requests were served: like a standard tier.
    Online,
}

/// This machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Here {
    /// The cell that is compared.
    pub cell: Cell,
    /// How its figures came about.
    pub service: Service,
    /// Input tokens for each output token.
    pub input_to_output: f64,
    /// USD per million tokens at that mix and at the utilization asked for.
    pub usd_per_million: Figure,
    /// USD an hour costs.
    pub usd_per_hour: f64,
    /// Share of the hour in which the engine is busy.
    pub utilization: f64,
    /// Tokens per second while busy.
    pub tokens_per_second: f64,
    /// Tokens of a month, always busy.
    pub capacity_tokens_per_month: f64,
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

/// Prices of one tier over the hosts of the record's model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// Which tier.
    pub tier: Tier,
    /// Number of hosts.
    pub hosts: usize,
    /// Lowest USD per million tokens at the mix.
    pub min: f64,
    /// The middle.
    pub median: f64,
    /// Highest.
    pub max: f64,
}

/// Serving so many tokens a month.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Volume {
    /// Tokens a month.
    pub tokens_per_month: f64,
    /// Machines like this one that serve them at the utilization asked for.
    pub machines: u64,
    /// Their utilization then.
    pub utilization: f64,
    /// What they cost a month, always on.
    pub usd_per_month: f64,
}

/// A record against APIs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// This machine.
    pub here: Here,
    /// Every price, cheapest first.
    pub rows: Vec<Row>,
    /// Over the hosts of the record's model.
    pub spread: Vec<Spread>,
    /// The tokens a month asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// One text in both models' tokens.
    pub counted: Option<Counted>,
    /// Why it is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_reason: Option<String>,
    /// How well each model answers, as far as the catalog knows.
    pub quality: Vec<QualityNote>,
    /// The answer in a sentence.
    pub verdict: String,
    /// The cheapest price of the like tier: what the verdict is about.
    pub verdict_api: Option<String>,
    /// Every assumption with its value and where it came from.
    pub assumptions: Vec<Assumption>,
    /// What to keep in mind.
    pub notes: Vec<String>,
}

/// Compares `measurements` of `record`, priced under `scenario`, with API prices.
///
/// # Errors
/// [`Error::Incomparable`] when nothing was priced, or a mix was asked for and input and output were not told apart;
/// [`Error::Stale`] when a price is older than it may be; the catalog's when an API is not in it.
pub fn compare(
    record: &Record,
    scenario: &Scenario,
    asked: &Asked<'_>,
    catalog: &Catalog,
) -> Result<View, CompareError> {
    let measurements = &record.measurements;
    let (here, line) = here(record, measurements, scenario, asked)?;
    let mut notes = Vec::new();
    let served = served_as(record.model.catalog_id.as_deref(), catalog);
    let prices = prices(served, asked.named, catalog, &mut notes)?;
    let mut rows = Vec::new();
    for price in prices {
        let what = format!("the price of {}", price.id());
        super::check_age(&what, Some(&price.as_of.to_string()), asked.max_age_days, asked.today)?;
        let same_model = served == Some(price.model.as_str());
        let context = Context { here: &here, line, same_model, scenario, asked };
        rows.push(context.row(price, Tier::Standard));
        rows.extend(price.batch.is_some().then(|| context.row(price, Tier::Batch)));
    }
    rows.sort_by(|a, b| comparable(a).total_cmp(&comparable(b)));
    let others = rows.iter().any(|row| !row.same_model);
    if others && asked.counted.is_none() {
        notes.push(
            "tokens of one model are not tokens of another: the same text can differ by 5 to 30%; count it with --text, --tokenizer and --api-tokenizer"
                .to_owned(),
        );
    }
    notes.push(match here.service {
        Service::Offline => {
            "this record is offline: its sequences start together and nothing bounds latency, like a batch tier; a standard price buys answers at once".to_owned()
        }
        Service::Online => {
            "this record is of a server under load, like a standard tier; read it at the latency you need".to_owned()
        }
    });
    let (verdict, verdict_api) = verdict(&here, &rows);
    let mut models: Vec<&str> =
        rows.iter().map(|row| row.api.rsplit('/').next().unwrap_or_default()).collect();
    if !rows.iter().any(|row| row.same_model) {
        models.insert(0, record.model.catalog_id.as_deref().unwrap_or(&record.model.name));
    }
    let mut seen: Vec<&str> = Vec::new();
    models.retain(|model| {
        !seen.contains(model) && {
            seen.push(model);
            true
        }
    });
    Ok(View {
        spread: [Tier::Standard, Tier::Batch].into_iter().filter_map(|tier| spread(&rows, tier)).collect(),
        volume: asked.tokens_per_month.map(|tokens| volume(tokens, &here, line)),
        counted: asked.counted.copied(),
        counted_reason: asked.counted.is_none().then(|| {
            "no text was counted; --text FILE --tokenizer FILE --api-tokenizer FILE does".to_owned()
        }),
        quality: models.into_iter().map(|model| quality_note(model, catalog)).collect(),
        // There is no blend here: the mix is the workload's own, or the one asked for.
        assumptions: scenario.assumptions().into_iter().filter(|a| a.name != "blend_ratio").collect(),
        verdict,
        verdict_api,
        here,
        rows,
        notes,
    })
}

/// Why a record was not compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The cost room's own.
    #[error(transparent)]
    Cost(#[from] Error),
    /// An API that is not in the catalog.
    #[error(transparent)]
    Catalog(#[from] crate::catalog::Error),
}

/// What one million tokens is compared by: text for text where it was counted.
fn comparable(row: &Row) -> f64 {
    row.usd_per_million_own_tokens.unwrap_or(row.usd_per_million)
}

fn here(
    record: &Record,
    measurements: &[Measurement],
    scenario: &Scenario,
    asked: &Asked<'_>,
) -> Result<(Here, CostLine), Error> {
    let cost = scenario.assess(measurements);
    let cell: &CostCell = headline_cell(&cost).ok_or_else(|| {
        let reason = cost.headline_cell_reason.as_deref().unwrap_or("no cell was priced");
        Error::Incomparable(format!("{} has no cost to compare: {reason}", record.id))
    })?;
    let at = |scenario: &Scenario| scenario.usd_per_million(measurements, &cell.cell, asked.mix);
    let apart = || {
        let reason = cell.usd_per_million_input_tokens_reason.as_deref().unwrap_or("not told apart");
        Error::Incomparable(format!(
            "another mix needs input and output apart, and in {} they are not: {reason}",
            record.id
        ))
    };
    let now = match asked.mix {
        Some(ratio) => at_mix(cell, ratio),
        None => mix(cell),
    }
    .ok_or_else(apart)?;
    let full = at(&scenario.at_utilization(1.0)).ok_or_else(apart)?;
    let half = at(&scenario.at_utilization(0.5)).ok_or_else(apart)?;
    let line = CostLine::through(full, half.value);
    let tokens_per_second = match (asked.mix, cell.seconds) {
        // So many tokens of the mix in a second: each kind takes its own time.
        (Some(ratio), Some([input, output])) => {
            let each = [input / cell.tokens[0] as f64, output / cell.tokens[1] as f64];
            (ratio + 1.0) / (ratio * each[0] + each[1])
        }
        _ => tokens_per_second(cell),
    };
    let here = Here {
        service: if cell.cell.phase == "serving" { Service::Online } else { Service::Offline },
        input_to_output: asked.mix.unwrap_or_else(|| ratio(cell)),
        usd_per_million: now,
        usd_per_hour: line.at(1.0) * tokens_per_second * 3600.0 / 1e6,
        utilization: scenario.utilization.value,
        tokens_per_second,
        capacity_tokens_per_month: tokens_per_second * SECONDS_PER_MONTH,
        cell: cell.cell.clone(),
    };
    Ok((here, line))
}

/// The model's own hosts and the APIs named; without either, one that many know.
fn prices<'a>(
    served: Option<&str>,
    named: &[String],
    catalog: &'a Catalog,
    notes: &mut Vec<String>,
) -> Result<Vec<&'a ApiPrice>, crate::catalog::Error> {
    let mut found: Vec<&ApiPrice> = served.map_or_else(Vec::new, |model| catalog.api_hosts(model));
    for id in named {
        let row = catalog.api(id)?;
        if !found.iter().any(|other| std::ptr::eq(*other, row)) {
            found.push(row);
        }
    }
    if found.is_empty() {
        notes.push(
            "no API in the catalog is known to serve this model; a familiar price of another stands in for it".to_owned(),
        );
        found.push(catalog.api(FAMILIAR)?);
    }
    Ok(found)
}

struct Context<'a> {
    here: &'a Here,
    line: CostLine,
    same_model: bool,
    scenario: &'a Scenario,
    asked: &'a Asked<'a>,
}

impl Context<'_> {
    fn row(&self, price: &ApiPrice, tier: Tier) -> Row {
        let mut notes = Vec::new();
        let [input, output] = self.list_price(price, tier, &mut notes);
        let mix = (self.here.input_to_output * input + output) / (self.here.input_to_output + 1.0);
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

    /// USD per million input and output tokens: the tier's, for so long an input, with so much of it cached.
    fn list_price(&self, price: &ApiPrice, tier: Tier, notes: &mut Vec<String>) -> [f64; 2] {
        let usd = |price: Decimal| price.to_f64().unwrap_or(f64::NAN);
        let length = u64::from(self.here.cell.prompt_tokens) + u64::from(self.here.cell.depth);
        let long = price
            .long_context_tiers
            .iter()
            .filter(|long| length > long.above_input_tokens)
            .max_by_key(|long| long.above_input_tokens);
        let [input, output] = match (tier, &price.batch, long) {
            (Tier::Batch, Some(batch), _) => [usd(batch.input), usd(batch.output)],
            (_, _, Some(long)) => {
                notes.push(format!("its price above {} input tokens", long.above_input_tokens));
                [usd(long.input), usd(long.output)]
            }
            _ => [usd(price.input_usd_per_mtok), usd(price.output_usd_per_mtok)],
        };
        let cached = self.scenario.cached_share.value;
        let effective = match (tier, price.cached_input_usd_per_mtok) {
            _ if cached == 0.0 => input,
            (Tier::Standard, Some(price)) => (1.0 - cached) * input + cached * usd(price),
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
}

fn spread(rows: &[Row], tier: Tier) -> Option<Spread> {
    let prices: Vec<f64> =
        rows.iter().filter(|row| row.same_model && row.tier == tier).map(|row| row.usd_per_million).collect();
    Some(Spread {
        tier,
        hosts: prices.len(),
        min: prices.iter().copied().reduce(f64::min)?,
        median: stats::median(&prices)?,
        max: prices.iter().copied().reduce(f64::max)?,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of machines, above zero")]
fn volume(tokens: f64, here: &Here, line: CostLine) -> Volume {
    let machines = (tokens / (here.capacity_tokens_per_month * here.utilization)).ceil().max(1.0);
    let utilization = tokens / (machines * here.capacity_tokens_per_month);
    Volume {
        tokens_per_month: tokens,
        machines: machines as u64,
        utilization,
        usd_per_month: tokens / 1e6 * line.at(utilization),
    }
}

/// The answer: against the cheapest host of the same model in the tier that is this record's like, else the
/// cheapest price there is.
fn verdict(here: &Here, rows: &[Row]) -> (String, Option<String>) {
    let like = match here.service {
        Service::Offline => Tier::Batch,
        Service::Online => Tier::Standard,
    };
    let found = [(true, Some(like)), (true, None), (false, Some(like)), (false, None)].into_iter().find_map(
        |(same, tier)| {
            rows.iter().find(|row| row.same_model == same && tier.is_none_or(|tier| row.tier == tier))
        },
    );
    let Some(row) = found else { return ("nothing to compare with".to_owned(), None) };
    let tier = match row.tier {
        Tier::Standard => "standard",
        Tier::Batch => "batch",
    };
    let whose = if row.same_model { "the cheapest host of the same model" } else { "another model" };
    let number = |value: f64| crate::base::units::significant(value, 2);
    let share = |value: f64| format!("{}%", crate::base::units::significant(value * 100.0, 3));
    let price = match row.ratio.ci95 {
        Some([low, high]) if low <= 1.0 && 1.0 <= high => "no difference in price is shown".to_owned(),
        _ if row.ratio.value <= 1.0 => format!("{}x cheaper here", number(1.0 / row.ratio.value)),
        _ => format!("{}x dearer here", number(row.ratio.value)),
    };
    let load = match (row.break_even_utilization, row.break_even_tokens_per_month) {
        (Some(u), Some(tokens)) => format!(
            "one machine that is always on is cheaper from {} utilization, {} million tokens a month",
            share(u.value),
            millions(tokens)
        ),
        (Some(u), None) => format!("no load makes it cheaper (break-even at {} utilization)", share(u.value)),
        (None, _) => "no load makes it cheaper".to_owned(),
    };
    let text = format!("{price} than {} ({whose}, {tier}); {load}", row.api);
    (text, Some(row.api.clone()))
}

/// Tokens in millions, as people read them.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, above zero")]
fn millions(tokens: f64) -> String {
    let millions = tokens / 1e6;
    if millions >= 100.0 {
        crate::base::units::thousands(millions.round() as u64)
    } else {
        crate::base::units::significant(millions, 3)
    }
}
