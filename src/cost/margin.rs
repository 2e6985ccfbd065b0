//! Selling tokens: the gross margin a price leaves, the price a margin needs, the utilization below which nothing is
//! left.
//!
//! `gross margin = (price − cost) ÷ price` and `markup = (price − cost) ÷ cost`: a margin of 50% is a markup of 100%.
//! At utilization `u` the cost of a million tokens is `fixed ÷ u + follows the work`; a rent has no second part.

use serde::Serialize;

use crate::base::known::{self, Known};
pub use crate::record::Estimate;
use crate::record::Figure;

use super::sensitivity::{MIXES, UTILIZATIONS};

/// Said wherever a margin is printed.
pub const MARGIN_IS_NOT_MARKUP: &str = "gross margin is the share of the price that is left, markup the share added to the cost: 50% margin is 100% markup";

/// What a million tokens sell for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Selling {
    /// USD per million input tokens.
    pub input_usd_per_million: f64,
    /// USD per million output tokens.
    pub output_usd_per_million: f64,
}

impl Selling {
    /// USD per million tokens at `ratio` input tokens for each output token.
    pub fn at_mix(self, ratio: f64) -> f64 {
        (ratio * self.input_usd_per_million + self.output_usd_per_million) / (ratio + 1.0)
    }
}

/// The cost of a million tokens by utilization: `fixed ÷ u + work`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostLine {
    /// USD per million tokens that every hour costs, busy or not, at full utilization.
    pub fixed: Figure,
    /// The part that only a busy hour costs.
    pub work: f64,
}

impl CostLine {
    /// From the costs at full and at half utilization, which are the line's two unknowns.
    pub fn through(full: Figure, half: f64) -> Self {
        let fixed = half - full.value;
        let scale = fixed / full.value;
        Self {
            fixed: Figure { value: fixed, ci95: full.ci95.map(|ci| ci.map(|end| end * scale)) },
            work: full.value - fixed,
        }
    }

    /// USD per million tokens.
    pub fn at(&self, utilization: f64) -> f64 {
        self.fixed.value / utilization + self.work
    }

    /// The utilization at which `price` covers the cost; above 1 no load is enough. None when the price does not even
    /// pay for the work.
    pub fn break_even(&self, price: f64) -> Option<Estimate> {
        // Speed moves both parts together.
        let at = |fixed: f64| {
            let left = price - self.work * fixed / self.fixed.value;
            if left > 0.0 { fixed / left } else { f64::INFINITY }
        };
        Some(Estimate::of(self.fixed, at)).filter(|found| found.value.is_finite())
    }
}

/// The margin at a selling price.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Margin {
    /// What tokens sell for.
    pub sell: Selling,
    /// Input tokens for each output token, the headline cell's own.
    pub input_to_output: f64,
    /// USD a million tokens bring at that mix.
    pub revenue_usd_per_million: f64,
    /// USD a million tokens cost at that mix and at the utilization asked for.
    pub cost_usd_per_million: Figure,
    /// Share of the price that is left.
    pub gross_margin: Estimate,
    /// Share that is added to the cost.
    pub markup: Estimate,
    /// Utilization at which nothing is left; above 1 no load is enough.
    pub break_even_utilization: Known<Estimate>,
    /// Gross margin by utilization.
    pub by_utilization: Vec<MarginAt>,
    /// Gross margin by mix, at the requested utilization; empty if input and output are not separate.
    pub by_mix: Vec<MarginAt>,
    /// Why it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_mix_reason: Option<String>,
    /// What margin is and is not.
    pub statement: &'static str,
}

/// One point of a margin's sensitivity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MarginAt {
    /// Utilization, or input tokens for each output token.
    pub at: f64,
    /// Share of the price that is left.
    pub gross_margin: f64,
    /// Share that is added to the cost.
    pub markup: f64,
}

/// What costs are known about a cell.
pub struct Costs<'a> {
    /// At the mix and the utilization asked for.
    pub now: Figure,
    /// By utilization.
    pub line: CostLine,
    /// Input tokens for each output token.
    pub ratio: f64,
    /// USD per million tokens at another mix; `None` if input and output are not separate.
    pub at_mix: &'a dyn Fn(f64) -> Option<f64>,
}

/// The margin that selling at these prices leaves.
pub fn margin(costs: &Costs<'_>, sell: Selling) -> Margin {
    let price = sell.at_mix(costs.ratio);
    let at = |at: f64, price: f64, cost: f64| MarginAt {
        at,
        gross_margin: 1.0 - cost / price,
        markup: price / cost - 1.0,
    };
    let by_mix: Vec<MarginAt> = MIXES
        .iter()
        .filter_map(|ratio| Some(at(*ratio, sell.at_mix(*ratio), (costs.at_mix)(*ratio)?)))
        .collect();
    let break_even = costs.line.break_even(price);
    Margin {
        sell,
        input_to_output: costs.ratio,
        revenue_usd_per_million: price,
        cost_usd_per_million: costs.now,
        gross_margin: Estimate::of(costs.now, |cost| 1.0 - cost / price),
        markup: Estimate::of(costs.now, |cost| price / cost - 1.0),
        break_even_utilization: break_even
            .ok_or("the price does not even pay for the electricity of the work")
            .into(),
        by_utilization: UTILIZATIONS.iter().map(|u| at(*u, price, costs.line.at(*u))).collect(),
        by_mix_reason: by_mix
            .is_empty()
            .then(|| "input and output were not told apart, so another mix has no cost".to_owned()),
        by_mix,
        statement: MARGIN_IS_NOT_MARKUP,
    }
}

/// The price that leaves a margin.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct PriceForMargin {
    /// The margin asked for.
    pub gross_margin: f64,
    /// The same as a markup.
    pub markup: f64,
    /// USD per million tokens, input and output alike, at the headline cell's mix.
    pub usd_per_million_total_tokens: Figure,
    /// USD per million input tokens at that margin on input alone.
    pub usd_per_million_input_tokens: Known<Figure>,
    /// USD per million output tokens at that margin on output alone.
    pub usd_per_million_output_tokens: Known<Figure>,
    /// What margin is and is not.
    pub statement: &'static str,
}

/// The price that leaves `gross_margin` on these costs: of all tokens, of input, of output.
pub fn price_for(gross_margin: f64, total: Figure, [input, output]: [&Known<Figure>; 2]) -> PriceForMargin {
    let price = |cost: Figure| super::part::times(cost, 1.0 / (1.0 - gross_margin));
    let part = |cost: &Known<Figure>| cost.as_result().copied().map(price).into();
    PriceForMargin {
        gross_margin,
        markup: gross_margin / (1.0 - gross_margin),
        usd_per_million_total_tokens: price(total),
        usd_per_million_input_tokens: part(input),
        usd_per_million_output_tokens: part(output),
        statement: MARGIN_IS_NOT_MARKUP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, relative: f64) -> Figure {
        Figure { value, ci95: Some([value * (1.0 - relative), value * (1.0 + relative)]) }
    }

    /// 3,600 in and 1,200 out tokens a second on one H100 at 2.49 USD, sold at 0.59 and 0.79 USD a million: revenue
    /// 11.06 USD an hour, break-even at 22.5%, margin at 60% utilization 62.5%; at 0.10 and 0.32, break-even at 93%.
    #[test]
    fn the_worked_example_of_a_served_seventy_billion_model() {
        let full = 2.49 / 3600.0 / 4800.0 * 1e6;
        let line = CostLine::through(figure(full, 0.02), 2.0 * full);
        let costs =
            Costs { now: Figure { value: full / 0.6, ci95: None }, line, ratio: 3.0, at_mix: &|_| None };
        let sell = |input, output| Selling { input_usd_per_million: input, output_usd_per_million: output };
        let found = margin(&costs, sell(0.59, 0.79));
        let u = found.break_even_utilization.expect("some load is enough");
        assert!((found.revenue_usd_per_million * 4800.0 * 3600.0 / 1e6 - 11.0592).abs() < 1e-9);
        assert!((u.value - 2.49 / 11.0592).abs() < 1e-12, "{u:?}");
        let [low, high] = u.ci95.expect("an interval");
        assert!((low / u.value - 0.98).abs() < 1e-9 && (high / u.value - 1.02).abs() < 1e-9);
        assert!((found.gross_margin.value - (1.0 - 2.49 / 11.0592 / 0.6)).abs() < 1e-12);
        assert!((found.gross_margin.value - 0.625).abs() < 1e-3);
        // GM = MU / (1 + MU), at every point.
        for point in &found.by_utilization {
            assert!((point.gross_margin - point.markup / (1.0 + point.markup)).abs() < 1e-12);
        }
        assert!(found.by_mix.is_empty() && found.by_mix_reason.is_some());
        let cheap = margin(&costs, sell(0.10, 0.32)).break_even_utilization.expect("some load");
        assert!((cheap.value - 0.93).abs() < 1e-3, "{cheap:?}");
    }

    /// Revenue 6.45 times the cost: a markup of 545% and a margin of 84.5%.
    #[test]
    fn a_markup_is_not_a_margin() {
        let price = price_for(
            0.844_961_240_310,
            figure(1.0, 0.1),
            [&Known::unknown("not told apart"), &Known::new(figure(2.0, 0.1))],
        );
        assert!((price.markup - 5.45).abs() < 1e-6, "{price:?}");
        assert!((price.usd_per_million_total_tokens.value - 6.45).abs() < 1e-6);
        assert!((price.usd_per_million_output_tokens.expect("known").value - 12.9).abs() < 1e-6);
        assert!(price.usd_per_million_input_tokens.reason() == Some("not told apart"));
    }

    /// fixed 3, work 1: at half utilization 7; a price of 4 breaks even at 1, of 2.5 at 2, of 1 never.
    #[test]
    fn what_only_work_costs_does_not_grow_with_idleness() {
        let line = CostLine::through(figure(4.0, 0.0), 7.0);
        assert!((line.fixed.value - 3.0).abs() < 1e-12 && (line.work - 1.0).abs() < 1e-12);
        assert!((line.at(0.25) - 13.0).abs() < 1e-12);
        let u = |price: f64| line.break_even(price).map(|found| found.value);
        assert!((u(4.0).expect("some") - 1.0).abs() < 1e-12 && (u(2.5).expect("some") - 2.0).abs() < 1e-12);
        assert_eq!(u(1.0), None);
    }
}
