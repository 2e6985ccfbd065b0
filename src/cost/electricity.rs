//! The electricity of a million tokens: joules per token at the price of a kWh.

use rust_decimal::prelude::ToPrimitive as _;

use crate::base::known::Known;
use crate::catalog::{self, Catalog};
use crate::record::{Cost, Electricity, Measurement, Metric};

/// The row of the catalog that is taken: data centres buy as commercial customers do.
const DEFAULT: &str = "us-commercial";
const JOULES_PER_KWH: f64 = 3.6e6;

/// Fills the electricity of `cost` at the catalog's price for data centres.
pub fn electricity(cost: &mut Cost, measurements: &[Measurement], catalog: &Catalog) {
    match kwh_price(None, catalog) {
        Ok(price) => electricity_at(cost, measurements, &price, None),
        Err(error) => cost.electricity = Known::unknown(error.to_string()),
    }
}

/// What a kWh costs.
#[derive(Debug, Clone, PartialEq)]
pub struct KwhPrice {
    /// USD.
    pub usd: f64,
    /// Whose price it is: the catalog row's id, or the flag.
    pub label: String,
    /// Where it was read.
    pub source: String,
    /// The day it was seen.
    pub observed: Option<String>,
}

/// The price of a kWh: a number of USD, the id of a row of the catalog, or without either its default row.
///
/// # Errors
/// [`catalog::Error::Unknown`] when there is no such row.
pub fn kwh_price(given: Option<&str>, catalog: &Catalog) -> Result<KwhPrice, catalog::Error> {
    if let Some(usd) = given.and_then(|text| text.trim_start_matches('$').parse::<f64>().ok()) {
        let flag = "--electricity".to_owned();
        return Ok(KwhPrice { usd, label: "given".to_owned(), source: flag, observed: None });
    }
    let row = catalog.electricity(given.unwrap_or(DEFAULT))?;
    Ok(KwhPrice {
        usd: row.usd_per_kwh.to_f64().unwrap_or(f64::NAN),
        label: row.id.clone(),
        source: row.source.clone(),
        observed: Some(row.observed.to_string()),
    })
}

/// Fills the electricity of `cost` from the joules per token of the headline cell, else of the first row; with `pue`
/// the building's share is in it.
pub fn electricity_at(cost: &mut Cost, measurements: &[Measurement], price: &KwhPrice, pue: Option<f64>) {
    let of = |metric: Metric| {
        let mut all = measurements.iter().filter(|m| m.metric == metric && m.value.is_some());
        let wanted = cost.headline_cell.as_ref();
        let in_headline = |m: &&Measurement| {
            m.cell.as_ref().zip(wanted).is_some_and(|(cell, top)| {
                (cell.batch, cell.depth) == (top.batch, top.depth)
                    && (cell.prompt_tokens == 0 || cell.prompt_tokens == top.prompt_tokens)
                    && (cell.output_tokens == 0 || cell.output_tokens == top.output_tokens)
            })
        };
        match wanted {
            Some(_) => all.find(in_headline),
            None => all.next(),
        }
        .and_then(|m| *m.value)
        .ok_or_else(|| "no energy was measured for this cell".to_owned())
    };
    let (input, output) = (of(Metric::JoulesPerInputToken), of(Metric::JoulesPerOutputToken));
    if let (Err(reason), Err(_)) = (&input, &output) {
        cost.electricity = Known::unknown(reason.as_str());
        return;
    }
    let usd_per_kwh = price.usd;
    let all = pue.unwrap_or(1.0);
    let usd = |joules: f64| 1e6 * joules * all / JOULES_PER_KWH * usd_per_kwh;
    cost.electricity = Known::new(Electricity {
        usd_per_kwh,
        label: price.label.clone(),
        source: price.source.clone(),
        observed: price.observed.clone().ok_or("given on the command line").into(),
        pue,
        usd_per_million_input_tokens: input.map(usd).into(),
        usd_per_million_output_tokens: output.map(usd).into(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Assumptions, assess};
    use crate::record::{Cell, Phase};

    fn joules(metric: Metric, prompt_tokens: u32, output_tokens: u32, batch: u32, value: f64) -> Measurement {
        let phase = if prompt_tokens > 0 { Phase::Prefill } else { Phase::Decode };
        let cell = Cell { prompt_tokens, output_tokens, batch, depth: 0, phase, requests_per_second: None };
        Measurement::new(metric, Known::new(cell), Known::new(value), "")
    }

    /// By hand: 3.6 J/token is 1 kWh per million tokens.
    #[test]
    fn joules_become_dollars_at_the_price_of_a_kwh() {
        let catalog = Catalog::bundled();
        let measured = [
            joules(Metric::JoulesPerInputToken, 128, 0, 1, 0.36),
            joules(Metric::JoulesPerOutputToken, 0, 32, 8, 1.0),
            joules(Metric::JoulesPerOutputToken, 0, 32, 1, 3.6),
        ];
        let mut cost = assess(&measured, Err("none".into()), Assumptions::default());
        let headline = Cell {
            prompt_tokens: 128,
            output_tokens: 32,
            batch: 1,
            depth: 0,
            phase: Phase::Pair,
            requests_per_second: None,
        };
        cost.headline_cell = Known::new(headline);
        electricity(&mut cost, &measured, &catalog);
        let found = cost.electricity.as_ref().expect("measured");
        let kwh = catalog.electricity(DEFAULT).expect("bundled").usd_per_kwh.to_f64().expect("a number");
        let [input, output] = [*found.usd_per_million_input_tokens, *found.usd_per_million_output_tokens];
        assert!((output.expect("its row") - kwh).abs() < 1e-12, "{output:?}");
        assert!((input.expect("its row") - kwh / 10.0).abs() < 1e-12, "{input:?}");
    }

    #[test]
    fn without_energy_it_is_null_with_the_reason() {
        let mut cost = assess(&[], Err("none".into()), Assumptions::default());
        electricity(&mut cost, &[], &Catalog::bundled());
        assert_eq!(cost.electricity, None);
        assert!(cost.electricity.reason().expect("a reason").contains("no energy"));
    }
}
