//! What each assumption does to the result: the headline cell priced again with one value changed at a time.
//!
//! A value's alternatives are its natural ones where it has some (the price range of the rows a median was taken
//! from, utilizations that services see, common mixes), else 10% to either side.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;

use crate::catalog::Catalog;
use crate::record::{Cell, Figure, Measurement};

use super::assumption::Chosen;
use super::owned::{Owned, Residual};
use super::scenario::{Basis, Scenario};

/// Utilizations that are tried: always busy, well filled, usual, a service with quiet nights.
pub const UTILIZATIONS: [f64; 4] = [1.0, 0.7, 0.4, 0.25];
/// Input tokens for each output token: a chat's equal parts, the trackers' blend, documents.
pub const MIXES: [f64; 3] = [1.0, 3.0, 10.0];
const CACHED: [f64; 4] = [0.0, 0.25, 0.5, 0.75];
/// Alternatives closer than this are the value itself.
const SAME: f64 = 1e-9;

/// One assumption and what its alternatives give.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensitivity {
    /// `utilization`, `price_per_hour` …
    pub assumption: &'static str,
    /// Unit of the values.
    pub unit: &'static str,
    /// The value that was taken.
    pub base: f64,
    /// Where the alternatives come from.
    pub alternatives: &'static str,
    /// Each alternative with its result.
    pub trials: Vec<Trial>,
    /// The largest change among them, without its sign, as a share.
    pub largest_change: f64,
}

/// One alternative.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// The value tried.
    pub value: f64,
    /// USD per million tokens with it.
    pub usd_per_million_tokens: f64,
    /// Against the unchanged result, as a share.
    pub change: f64,
}

/// What is varied: the scenario, over these measurements, in this cell.
pub struct Subject<'a> {
    /// All assumptions.
    pub scenario: &'a Scenario,
    /// The record's.
    pub measurements: &'a [Measurement],
    /// The cell whose result is looked at.
    pub cell: &'a Cell,
    /// Its input tokens for each output token.
    pub ratio: f64,
}

impl Subject<'_> {
    fn result(&self, scenario: &Scenario, ratio: Option<f64>) -> Option<Figure> {
        scenario.usd_per_million(self.measurements, self.cell, ratio)
    }
}

/// Every assumption's effect, the largest first.
pub fn sensitivity(subject: &Subject<'_>, catalog: &Catalog) -> Vec<Sensitivity> {
    let Some(base) = subject.result(subject.scenario, None) else { return Vec::new() };
    let mut all = Table { subject, base: base.value, rows: Vec::new() };
    all.vary(
        "utilization",
        "share",
        "common ones",
        subject.scenario.utilization.value,
        &UTILIZATIONS,
        |s, u| {
            s.utilization.value = u;
        },
    );
    all.price();
    all.owned(catalog);
    let overhead = subject.scenario.overhead_usd_per_hour.value.to_f64().unwrap_or(0.0);
    if overhead > 0.0 {
        all.vary("overhead", "USD/h", "none and twice", overhead, &[0.0, 2.0 * overhead], |s, usd| {
            s.overhead_usd_per_hour.value = Decimal::from_f64_retain(usd).unwrap_or_default();
        });
    }
    let cached = subject.scenario.cached_share.value;
    all.vary("cached_share", "share", "common ones", cached, &CACHED, |s, share| {
        s.cached_share.value = share;
    });
    let mixes = MIXES
        .iter()
        .filter_map(|ratio| Some((*ratio, subject.result(subject.scenario, Some(*ratio))?.value)));
    all.push("mix", "input : 1", "common ones", subject.ratio, mixes.collect());
    if let Some([low, high]) = base.ci95 {
        // Dollars turn speed round: the dear end is the slow one.
        let ends = [high, low].map(|usd| (base.value / usd, usd));
        all.push("measured_speed", "of the measured", "ends of its 95% interval", 1.0, ends.into());
    }
    let mut rows = all.rows;
    rows.sort_by(|a, b| b.largest_change.total_cmp(&a.largest_change));
    rows
}

struct Table<'a> {
    subject: &'a Subject<'a>,
    base: f64,
    rows: Vec<Sensitivity>,
}

impl Table<'_> {
    /// Tries `values` in place of `base`.
    fn vary(
        &mut self,
        assumption: &'static str,
        unit: &'static str,
        alternatives: &'static str,
        base: f64,
        values: &[f64],
        set: impl Fn(&mut Scenario, f64),
    ) {
        let subject = self.subject;
        let results = values.iter().filter_map(|value| {
            let mut scenario = subject.scenario.clone();
            set(&mut scenario, *value);
            Some((*value, subject.result(&scenario, None)?.value))
        });
        self.push(assumption, unit, alternatives, base, results.collect());
    }

    fn push(
        &mut self,
        assumption: &'static str,
        unit: &'static str,
        alternatives: &'static str,
        base: f64,
        results: Vec<(f64, f64)>,
    ) {
        let others = results.into_iter().filter(|(value, _)| (value - base).abs() > SAME * base.abs());
        let trials: Vec<Trial> = others
            .map(|(value, usd)| Trial { value, usd_per_million_tokens: usd, change: usd / self.base - 1.0 })
            .collect();
        let largest_change = trials.iter().map(|trial| trial.change.abs()).fold(0.0, f64::max);
        if largest_change > SAME {
            self.rows.push(Sensitivity { assumption, unit, base, alternatives, trials, largest_change });
        }
    }

    fn price(&mut self) {
        let Basis::Rent(chosen) = &self.subject.scenario.basis else { return };
        let Ok(price) = &chosen.value else { return };
        let base = price.usd_per_hour.to_f64().unwrap_or(f64::NAN);
        let (values, alternatives) = match price.range_usd_per_hour {
            Some([low, high]) if low < high => ([low, high], "lowest and highest row"),
            _ => ([0.9 * base, 1.1 * base], "10% to either side"),
        };
        self.vary("price_per_hour", "USD/h", alternatives, base, &values, |scenario, usd| {
            if let Basis::Rent(Chosen { value: Ok(price), .. }) = &mut scenario.basis {
                price.usd_per_hour = Decimal::from_f64_retain(usd).unwrap_or(price.usd_per_hour);
            }
        });
    }

    fn owned(&mut self, catalog: &Catalog) {
        let scenario = self.subject.scenario;
        let Basis::Owned { owned, .. } = &scenario.basis else { return };
        let change = |set: fn(&mut Owned, f64)| {
            move |scenario: &mut Scenario, value: f64| {
                if let Basis::Owned { owned, .. } = &mut scenario.basis {
                    set(owned, value);
                }
            }
        };
        let either_side = "10% to either side";
        let purchase = owned.purchase_usd.to_f64().unwrap_or(f64::NAN);
        let set = |owned: &mut Owned, usd: f64| {
            // The residual stays what it is, in dollars.
            owned.residual =
                Residual::Usd(Decimal::from_f64_retain(owned.residual_usd()).unwrap_or_default());
            owned.purchase_usd = Decimal::from_f64_retain(usd).unwrap_or(owned.purchase_usd);
        };
        self.vary("purchase", "USD", either_side, purchase, &[0.9 * purchase, 1.1 * purchase], change(set));
        let years = [owned.years - 1.0, owned.years + 1.0];
        let years: Vec<f64> = years.into_iter().filter(|years| *years >= 1.0).collect();
        self.vary("years", "years", "one less, one more", owned.years, &years, change(|o, n| o.years = n));
        let residual = [0.0, 0.2 * purchase];
        self.vary(
            "residual",
            "USD",
            "nothing, a fifth",
            owned.residual_usd(),
            &residual,
            change(|o, usd| {
                o.residual = Residual::Usd(Decimal::from_f64_retain(usd).unwrap_or_default());
            }),
        );
        let interest = [(owned.interest - 0.05).max(0.0), owned.interest + 0.05];
        self.vary(
            "interest",
            "share/year",
            "5 points to either side",
            owned.interest,
            &interest,
            change(|o, rate| o.interest = rate),
        );
        let kwh = catalog.electricity.iter().filter_map(|row| row.usd_per_kwh.to_f64());
        let kwh = kwh.fold([f64::INFINITY, 0f64], |[low, high], usd| [low.min(usd), high.max(usd)]);
        let base = scenario.usd_per_kwh.value;
        self.vary("electricity", "USD/kWh", "cheapest and dearest row", base, &kwh, |s, usd| {
            s.usd_per_kwh.value = usd;
        });
        self.vary("pue", "x", "good and poor", scenario.pue.value, &[1.1, 1.8], |s, pue| s.pue.value = pue);
        if let Some(watts) = scenario.watts {
            self.vary("watts", "W", either_side, watts, &[0.9 * watts, 1.1 * watts], |s, watts| {
                s.watts = Some(watts);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::known::Known;
    use crate::cost::owned::Owned;
    use crate::record::{Metric, Phase};

    fn rate(metric: Metric, prompt_tokens: u32, output_tokens: u32, phase: Phase, value: f64) -> Measurement {
        let cell =
            Cell { prompt_tokens, output_tokens, batch: 1, depth: 0, phase, requests_per_second: None };
        let ci95 = Known::new([0.98 * value, 1.02 * value]);
        Measurement { ci95, n: 5, ..Measurement::new(metric, Known::new(cell), Known::new(value), "") }
    }

    fn chosen<T>(value: T) -> Chosen<T> {
        Chosen {
            value,
            origin: crate::cost::assumption::Origin::Default,
            source: String::new(),
            observed: None,
        }
    }

    /// An owned machine: each of its assumptions moves the result its way, and by its share of the hour.
    #[test]
    fn each_assumption_of_an_owned_machine_moves_the_result() {
        let owned = Owned {
            purchase_usd: Decimal::from(40_000),
            years: 4.0,
            residual: Residual::Share(0.0),
            interest: 0.1,
            colocation_usd_per_kw_month: Decimal::ZERO,
            provisioned_kw: 0.0,
        };
        let scenario = Scenario {
            basis: Basis::Owned { owned, residual: chosen(()), interest: chosen(()) },
            gpus: chosen(1),
            overhead_usd_per_hour: chosen(Decimal::ZERO),
            utilization: chosen(1.0),
            blend_ratio: chosen(3.0),
            cached_share: chosen(0.0),
            cached_cost_share: chosen(0.0),
            price_ratio: None,
            usd_per_kwh: chosen(0.1),
            pue: chosen(1.5),
            watts: Some(700.0),
            idle_watts: None,
        };
        let measurements = [
            rate(Metric::PrefillTokensPerSecond, 384, 0, Phase::Prefill, 3000.0),
            rate(Metric::DecodeTokensPerSecond, 0, 128, Phase::Decode, 300.0),
        ];
        let cell = Cell {
            prompt_tokens: 384,
            output_tokens: 128,
            batch: 1,
            depth: 0,
            phase: Phase::Pair,
            requests_per_second: None,
        };
        let subject = Subject { scenario: &scenario, measurements: &measurements, cell: &cell, ratio: 3.0 };
        let found = sensitivity(&subject, &Catalog::bundled());
        let change = |name: &str, value: f64| {
            let row = found.iter().find(|row| row.assumption == name).unwrap_or_else(|| panic!("{name}"));
            let trial = row.trials.iter().find(|trial| (trial.value / value - 1.0).abs() < 1e-9);
            trial.unwrap_or_else(|| panic!("{value} in {row:?}")).change
        };
        // 1.440506 of capital and 0.7 x 1.5 x 0.1 = 0.105 of electricity an hour.
        let hour = 1.440_506_866 + 0.105;
        assert!((change("purchase", 44_000.0) - 0.144_050_686_6 / hour).abs() < 1e-8);
        assert!((change("watts", 770.0) - 0.0105 / hour).abs() < 1e-8);
        assert!((change("utilization", 0.25) - 3.0).abs() < 1e-9);
        assert!(change("years", 3.0) > 0.0 && change("years", 5.0) < 0.0);
        assert!(change("interest", 0.05) < 0.0 && change("residual", 8000.0) < 0.0);
        // A quarter of the tokens takes 10/13 of the time: at 1:1 a half of them 10/11.
        let (at_3, at_1) = ((3.0 + 10.0) / 4.0, 5.5);
        assert!((change("mix", 1.0) - (at_1 / at_3 - 1.0)).abs() < 1e-9);
        assert!(found.is_sorted_by(|a, b| a.largest_change >= b.largest_change));
    }
}
