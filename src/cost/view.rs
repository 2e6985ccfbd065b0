//! One record priced under a scenario, with all that was asked about it: `bench cost RECORD`.

use serde::Serialize;

use crate::catalog::Catalog;
use crate::record::{Apart, Cost, CostCell, Figure, Measurement};

use super::assess::{headline_cell, mix};
use super::assumption::Assumption;
use super::margin::{CostLine, Costs, Margin, PriceForMargin, Selling, margin, price_for};
use super::scenario::Scenario;
use super::sensitivity::{Sensitivity, Subject, sensitivity};
use super::target::{Distance, Target, target};

/// What is requested besides the cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// What tokens sell for.
    pub sell: Option<Selling>,
    /// The gross margin to find a price for.
    pub margin: Option<f64>,
    /// USD per million tokens that is to be reached.
    pub target: Option<f64>,
}

/// A record priced.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct View {
    /// The dollars, in a record's own form.
    pub cost: Cost,
    /// Every assumption with its value and where it came from.
    pub assumptions: Vec<Assumption>,
    /// What each of them does to the headline cell's USD per million tokens at its own mix, the largest effect first.
    pub sensitivity: Vec<Sensitivity>,
    /// With a cached share: USD per million prompt tokens that were computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_computed_input_tokens: Option<Figure>,
    /// The margin at the price asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<Margin>,
    /// The price for the margin asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_for_margin: Option<PriceForMargin>,
    /// The speed that reaches the cost asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// How far the measured speed is from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<Distance>,
    /// What to keep in mind about these figures.
    pub notes: Vec<String>,
}

/// Prices `measurements` under `scenario`; electricity and APIs are up to the caller.
pub fn view(measurements: &[Measurement], scenario: &Scenario, asked: Asked, catalog: &Catalog) -> View {
    let cost = scenario.assess(measurements);
    let mut view = View {
        assumptions: scenario.assumptions(),
        sensitivity: Vec::new(),
        usd_per_million_computed_input_tokens: None,
        margin: None,
        price_for_margin: None,
        target: None,
        distance: None,
        notes: Vec::new(),
        cost,
    };
    let Some((cell, now)) =
        headline_cell(&view.cost).cloned().and_then(|cell| mix(&cell).map(|now| (cell, now)))
    else {
        let why = view.cost.headline_cell.reason().unwrap_or("no cell was priced");
        if asked.sell.is_some() || asked.margin.is_some() || asked.target.is_some() {
            view.notes.push(format!("no margin and no target without a cost: {why}"));
        }
        return view;
    };
    let ratio = ratio(&cell);
    let subject = Subject { scenario, measurements, cell: &cell.cell, ratio };
    view.sensitivity = sensitivity(&subject, catalog);
    let cached = scenario.cached_share.value;
    if cached > 0.0 {
        view.usd_per_million_computed_input_tokens = cell
            .usd_per_million_input_tokens
            .filter(|_| cached < 1.0)
            .map(|figure| super::part::times(figure, 1.0 / scenario.assume().input_factor()));
        if cell.apart == Apart::Together {
            view.notes.push(
                "the cached share is applied only to API prices: this cell has no separate costs of input and output".to_owned(),
            );
        }
    }
    if cell.apart == Apart::Allocated {
        let ratio = scenario.price_ratio.unwrap_or(f64::NAN);
        view.notes.push(format!(
            "input and output: allocated at the price ratio {ratio}, not measured; their sum is measured"
        ));
    }
    let line = cost_line(scenario, measurements, &cell);
    let other = |ratio: f64| Some(scenario.usd_per_million(measurements, &cell.cell, Some(ratio))?.value);
    view.margin =
        asked.sell.zip(line).map(|(sell, line)| margin(&Costs { now, line, ratio, at_mix: &other }, sell));
    view.price_for_margin = asked.margin.map(|share| {
        let parts = [&cell.usd_per_million_input_tokens, &cell.usd_per_million_output_tokens];
        price_for(share, now, parts)
    });
    if let Some((usd, line)) = asked.target.zip(line) {
        let measured = tokens_per_second(&cell);
        // What an hour costs that serves at the measured speed.
        let usd_per_hour = line.at(1.0) * measured * 3600.0 / 1e6;
        let wanted = target(usd, usd_per_hour, scenario.utilization.value);
        view.distance = Some(Distance {
            measured_tokens_per_second: measured,
            reached: measured / wanted.tokens_per_second,
        });
        view.target = Some(wanted);
    }
    view
}

/// Input tokens for each output token.
pub(super) fn ratio(cell: &CostCell) -> f64 {
    cell.tokens[0] as f64 / cell.tokens[1] as f64
}

/// Input and output tokens per second while busy.
pub(super) fn tokens_per_second(cell: &CostCell) -> f64 {
    let seconds = cell.total_seconds.or_else(|| cell.seconds.map(|[input, output]| input + output));
    (cell.tokens[0] + cell.tokens[1]) as f64 / seconds.unwrap_or(f64::NAN)
}

/// The cost of a cell by utilization.
pub(super) fn cost_line(
    scenario: &Scenario,
    measurements: &[Measurement],
    cell: &CostCell,
) -> Option<CostLine> {
    let at = |utilization: f64| {
        scenario.at_utilization(utilization).usd_per_million(measurements, &cell.cell, None)
    };
    Some(CostLine::through(at(1.0)?, at(0.5)?.value))
}
