//! A record against buying the same tokens: every host of the model and every API named, at the workload's own mix.
//!
//! With `c` the cost of a million tokens here by utilization and `P` the API's price at the same mix:
//! break-even utilization `u* = fixed ÷ (P − work)`, for a rent `rent per hour ÷ revenue per hour at saturation`; above
//! 1 no load is enough. Break-even tokens a month `T* = u* × capacity`, which for a rent is `730 × rent ÷ P`: an
//! always-on machine must be paid for whatever it serves. Where an API's model is another one, its tokens are other
//! tokens; a correction needs both tokenizers on one text ([`Counted`]).

pub(super) mod row;
pub(super) mod terms;

use std::collections::BTreeSet;

use jiff::civil::Date;
use serde::Serialize;

use crate::base::failure::{Class, Classed};
use crate::base::known::{self, Known};
use crate::base::stats;
use crate::catalog::{ApiPrice, Catalog};
use crate::record::{Cost, CostCell, Measurement, Record};

use super::Error;
use super::assess::{at_mix, cheapest, headline_cell, mix, same_mix};
use super::assumption::Assumption;
use super::margin::CostLine;
use super::owned::HOURS_PER_MONTH;
use super::quality::{QualityNote, quality_note};
use super::scenario::Scenario;
use super::verdict::{self, Doubt, Verdict};
use super::view::{ratio, tokens_per_second};

use row::Context;
pub use row::{NOT_CACHED, Row, Tier};
pub use terms::{Asked, Counted, Here, Service, Volume};

pub(super) const SECONDS_PER_MONTH: f64 = HOURS_PER_MONTH * 3600.0;

/// What is compared with when no API serves the model and none was named: a price that many know.
const FAMILIAR: &str = "openai/gpt-4o-mini";

/// What is held against prices: a record, or several taken as one.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The record's id.
    id: &'a str,
    /// The model's name.
    model: &'a str,
    /// The catalog's row for it.
    catalog_id: Option<&'a str>,
    /// Every figure.
    measurements: &'a [Measurement],
    /// What speaks against a verdict on them.
    doubts: Vec<Doubt>,
}

impl<'a> Subject<'a> {
    /// One record.
    pub fn of(record: &'a Record) -> Self {
        Self::together(record, &[record], &record.measurements)
    }

    /// The `measurements` of several records as one, named after the first: as good as the worst of them.
    pub fn together(first: &'a Record, records: &[&Record], measurements: &'a [Measurement]) -> Self {
        Self {
            id: &first.id,
            model: &first.model.name,
            catalog_id: first.model.catalog_id.as_deref(),
            measurements,
            doubts: verdict::doubts(records),
        }
    }

    /// Every figure of it.
    pub fn measurements(&self) -> &'a [Measurement] {
        self.measurements
    }
}

/// Prices of one tier over the hosts of the record's model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// Which tier.
    pub tier: Tier,
    /// Number of prices.
    pub prices: usize,
    /// Number of hosts: some have several prices.
    pub hosts: usize,
    /// Lowest USD per million tokens at the mix.
    pub min: f64,
    /// The middle.
    pub median: f64,
    /// Highest.
    pub max: f64,
}

/// A record against APIs.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
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
    pub counted: Known<Counted>,
    /// How well each model answers, as far as the catalog knows.
    pub quality: Vec<QualityNote>,
    /// The answer; with tokens a month about their two bills. `null` without a price.
    pub verdict: Option<Verdict>,
    /// With tokens a month: the answer for a machine that is as busy as `utilization` says, whatever they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict_at_utilization: Option<Verdict>,
    /// Where another cell of the record turns the verdict round: both cells with their figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_cell: Option<String>,
    /// Every assumption with its value and where it came from.
    pub assumptions: Vec<Assumption>,
    /// What to keep in mind.
    pub notes: Vec<String>,
}

/// Fills in `api_comparison` and the verdict of `cost`, which is `subject` priced under `scenario`; the view that they are
/// from, where something was priced.
///
/// # Errors
/// As [`compare`], but that nothing was priced is said in the reasons.
pub fn fill(
    cost: &mut Cost,
    subject: &Subject<'_>,
    scenario: &Scenario,
    asked: &Asked<'_>,
    catalog: &Catalog,
) -> Result<Option<View>, CompareError> {
    cost.api_comparison = Vec::new();
    if headline_cell(cost).and_then(mix).is_none() {
        for id in asked.named {
            catalog.api_or_hosts(id)?;
        }
        let reason = cost.headline_cell.reason().unwrap_or("there is no priced cell");
        let reason = format!("nothing to compare: {reason}");
        cost.verdict = Known::unknown(reason.as_str());
        cost.api_comparison_reason = Some(reason);
        return Ok(None);
    }
    let view = compare(subject, cost, scenario, asked, catalog)?;
    cost.api_comparison = view.rows.iter().map(|row| row.recorded(&view.here)).collect();
    let none = "no API in the catalog has a price to compare with";
    cost.api_comparison_reason = cost.api_comparison.is_empty().then(|| none.to_owned());
    cost.verdict = view.verdict.clone().ok_or(none).into();
    Ok(Some(view))
}

/// [`fill`] for a record that was just measured, at its own price and as busy as it was.
///
/// # Errors
/// [`crate::catalog::Error::Unknown`] when an API that was named is not in the catalog.
pub fn fill_record(
    record: &mut Record,
    named: &[String],
    catalog: &Catalog,
    today: Date,
) -> Result<(), crate::catalog::Error> {
    let price = record.cost.price.clone().into_option().ok_or_else(|| "the record has no price".to_owned());
    let mut cost = record.cost.clone();
    let asked = Asked::own_mix(named, None, today);
    match fill(&mut cost, &Subject::of(record), &Scenario::as_measured(price), &asked, catalog) {
        Ok(_) => {}
        Err(CompareError::Catalog(error)) => return Err(error),
        Err(CompareError::Cost(error)) => {
            cost.api_comparison_reason = Some(error.to_string());
            cost.verdict = Known::unknown(error.to_string());
        }
    }
    record.cost = cost;
    Ok(())
}

/// Holds `subject`, which `scenario` prices at `cost`, against API prices.
///
/// # Errors
/// [`Error::Incomparable`] if nothing was priced, or a mix was requested but input and output are not separate;
/// [`Error::Stale`] when a price is older than it may be; the catalog's when an API is not in it.
pub fn compare(
    subject: &Subject<'_>,
    cost: &Cost,
    scenario: &Scenario,
    asked: &Asked<'_>,
    catalog: &Catalog,
) -> Result<View, CompareError> {
    let cell = headline(cost, asked.mix).ok_or_else(|| {
        let reason = cost.headline_cell.reason().unwrap_or("no cell was priced");
        Error::Incomparable(format!("{} has no cost to compare: {reason}", subject.id))
    })?;
    let at = |utilization: f64| scenario.at_utilization(utilization).assess(subject.measurements);
    let ends = [at(1.0), at(0.5)];
    let here_of = |cell: &CostCell| {
        let at = cost.cells.iter().position(|other| std::ptr::eq(other, cell))?;
        here(cell, [ends[0].cells.get(at)?, ends[1].cells.get(at)?], scenario, asked)
    };
    let (here, line) = here_of(cell).ok_or_else(|| {
        let reason = cell.usd_per_million_input_tokens.reason().unwrap_or("not told apart");
        Error::Incomparable(format!(
            "another mix needs separate costs of input and output, which {} does not have: {reason}",
            subject.id
        ))
    })?;
    let mut notes = Vec::new();
    let served = served_as(subject.catalog_id, catalog).or_else(|| catalog.sold_as(subject.model));
    let prices = prices(served, asked.named, catalog, &mut notes)?;
    let mut rows = Vec::new();
    for price in &prices {
        let what = format!("the price of {}", price.id());
        super::check_age(&what, Some(&price.as_of.to_string()), asked.max_age_days, asked.today)?;
        let same_model = served == Some(price.model.as_str());
        let twins = prices.iter().filter(|other| other.id() == price.id()).count() > 1;
        let context = Context { here: &here, line, same_model, twins, scenario, asked };
        let batch = context.row(price, Tier::Batch);
        if price.batch.is_some() && batch.is_none() {
            notes.push(format!("no batch price of {} is known for a prompt of this length", price.id()));
        }
        rows.extend(context.row(price, Tier::Standard).into_iter().chain(batch));
    }
    if scenario.cached_share.value > 0.0 && !here.apart {
        notes.push(
            "the cached share is applied to the APIs' prices but not to the cost here: this record has no separate costs of input and output".to_owned(),
        );
    }
    rows.sort_by(|a, b| a.comparable().total_cmp(&b.comparable()));
    let others = rows.iter().any(|row| !row.same_model);
    if others && asked.counted.is_none() {
        notes.push(
            "tokens of one model are not tokens of another: the same text can differ by 5 to 30%; count it with --text, --tokenizer and --api-tokenizer"
                .to_owned(),
        );
    }
    notes.push(match here.service {
        Service::Offline => {
            "this record is offline: its sequences start together without a latency limit, as in a batch tier; a standard price buys immediate answers".to_owned()
        }
        Service::Online => {
            "this record is of a server under load, as in a standard tier; compare it at the latency you need".to_owned()
        }
    });
    let volume = asked.tokens_per_month.map(|tokens| volume(tokens, &here, line));
    let decide = |volume| verdict::decide(&here, &subject.doubts, &rows, volume);
    let (verdict, about) = decide(volume.as_ref()).unzip();
    let verdict_at_utilization = volume.as_ref().and_then(|_| decide(None)).map(|(verdict, _)| verdict);
    let other_cell = about.and_then(|row| {
        let price = prices.iter().find(|price| price.id() == row.api && price.source == row.source)?;
        let others = cost.cells.iter().filter(|other| other.cell != here.cell);
        let others = others.filter_map(|other| {
            let (here, line) = here_of(other)?;
            let context =
                Context { here: &here, line, same_model: row.same_model, twins: false, scenario, asked };
            let found = context.row(price, row.tier)?;
            Some((here, found))
        });
        verdict::turned_round(&here, row, others)
    });
    let mut models: Vec<&str> =
        rows.iter().map(|row| row.api.rsplit('/').next().unwrap_or_default()).collect();
    if !rows.iter().any(|row| row.same_model) {
        models.insert(0, subject.catalog_id.unwrap_or(subject.model));
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
        volume,
        counted: asked
            .counted
            .copied()
            .ok_or_else(|| {
                "no text was counted; give --text, --tokenizer and --api-tokenizer FILE".to_owned()
            })
            .into(),
        quality: models.into_iter().map(|model| quality_note(model, catalog)).collect(),
        // There is no blend here: the mix is the workload's own, or the one asked for.
        assumptions: scenario.assumptions().into_iter().filter(|a| a.name != "blend_ratio").collect(),
        verdict,
        verdict_at_utilization,
        other_cell,
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

impl Classed for CompareError {
    fn class(&self) -> Class {
        match self {
            Self::Cost(error) => error.class(),
            Self::Catalog(error) => error.class(),
        }
    }
}

/// The cell that is compared: the record's own headline, but where a mix is asked for, one that was measured at it.
fn headline(cost: &Cost, mix: Option<f64>) -> Option<&CostCell> {
    let measured = mix.and_then(|asked| {
        let cells = cost.cells.iter().filter(|cell| same_mix(ratio(cell), asked));
        cheapest(cells.filter(|cell| at_mix(cell, asked).is_some()), self::mix)
    });
    measured.or_else(|| headline_cell(cost))
}

/// This machine at `cell`, which `ends` price at full and at half utilization; `None` for a mix at which it has no cost.
fn here(
    cell: &CostCell,
    ends: [&CostCell; 2],
    scenario: &Scenario,
    asked: &Asked<'_>,
) -> Option<(Here, CostLine)> {
    let at = |cell: &CostCell| match asked.mix {
        Some(ratio) => at_mix(cell, ratio),
        None => mix(cell),
    };
    let now = at(cell)?;
    let [full, half] = ends.map(at);
    let line = CostLine::through(full?, half?.value);
    let mix_measured = asked.mix.is_none_or(|mix| same_mix(ratio(cell), mix));
    let tokens_per_second = match (asked.mix, *cell.seconds) {
        // So many tokens of the mix in a second: each kind takes its own time.
        (Some(ratio), Some([input, output])) => {
            let each = [input / cell.tokens[0] as f64, output / cell.tokens[1] as f64];
            (ratio + 1.0) / (ratio * each[0] + each[1])
        }
        _ => tokens_per_second(cell),
    };
    let here = Here {
        service: if cell.cell.phase == crate::record::Phase::Serving {
            Service::Online
        } else {
            Service::Offline
        },
        input_to_output: asked.mix.unwrap_or_else(|| ratio(cell)),
        usd_per_million: now,
        usd_per_hour: line.at(1.0) * tokens_per_second * 3600.0 / 1e6,
        utilization: scenario.utilization.value,
        apart: cell.usd_per_million_input_tokens.is_some(),
        mix_measured,
        tokens_per_second,
        capacity_tokens_per_month: tokens_per_second * SECONDS_PER_MONTH,
        cell: cell.cell.clone(),
    };
    Some((here, line))
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
        for row in catalog.api_or_hosts(id)? {
            if !found.iter().any(|other| std::ptr::eq(*other, row)) {
                found.push(row);
            }
        }
    }
    if found.is_empty() {
        notes.push(
            "no API in the catalog is known to serve this model; a well-known price of another model is shown instead".to_owned(),
        );
        found.push(catalog.api(FAMILIAR)?);
    }
    Ok(found)
}

fn spread(rows: &[Row], tier: Tier) -> Option<Spread> {
    let rows = rows.iter().filter(|row| row.same_model && row.tier == tier);
    let (prices, hosts): (Vec<f64>, BTreeSet<&str>) =
        rows.map(|row| (row.usd_per_million, row.api.as_str())).unzip();
    Some(Spread {
        tier,
        prices: prices.len(),
        hosts: hosts.len(),
        min: prices.iter().copied().reduce(f64::min)?,
        median: stats::median(&prices)?,
        max: prices.iter().copied().reduce(f64::max)?,
    })
}

fn volume(tokens: f64, here: &Here, line: CostLine) -> Volume {
    // A machine that is slower by a factor costs that much more a token and serves that much less.
    let at = |slower: f64| {
        let capacity = here.capacity_tokens_per_month / slower;
        let machines = (tokens / (capacity * here.utilization)).ceil().max(1.0);
        let utilization = tokens / (machines * capacity);
        (machines, utilization, tokens / 1e6 * line.at(utilization) * slower)
    };
    let (machines, utilization, usd_per_month) = at(1.0);
    let figure = here.usd_per_million;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of machines, above zero"
    )]
    Volume {
        tokens_per_month: tokens,
        machines: machines as u64,
        utilization,
        usd_per_month,
        usd_per_month_ci95: figure.ci95.map(|ci| ci.map(|end| at(end / figure.value).2)),
    }
}

/// The word under which the catalog's API rows sell the model.
fn served_as<'a>(catalog_id: Option<&str>, catalog: &'a Catalog) -> Option<&'a str> {
    catalog_id.and_then(|id| catalog.model(id).ok()).and_then(|row| row.api_model.as_deref())
}
