//! The same tokens bought from an API: cheapest first, and by how much.

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive as _, ToPrimitive as _};

use crate::catalog::{self, ApiPrice, Catalog};
use crate::record::{ApiComparison, Cost};

use super::assess::{headline_cell, mix};

/// What is compared with when no API serves the model and none was named: a price that many know.
pub(super) const FAMILIAR: &str = "openai/gpt-4o-mini";

/// Fills in `cost.api_comparison` at the headline cell's own mix of input and output.
///
/// With `named` empty, every API that serves the catalog's model `catalog_id`; when there is none, one
/// that many know, marked as another model. Where all are of another model, the note says so. `cached_share` of the input is taken at the API's price for it, where it
/// has one.
///
/// # Errors
/// [`catalog::Error::Unknown`] when a named API is not in the catalog.
pub fn api_comparison(
    cost: &mut Cost,
    catalog_id: Option<&str>,
    named: &[String],
    cached_share: f64,
    catalog: &Catalog,
    today: Date,
) -> Result<(), catalog::Error> {
    let served_as = served_as(catalog_id, catalog);
    let same = |row: &ApiPrice| served_as == Some(row.model.as_str());
    let mut rows: Vec<&ApiPrice> = Vec::new();
    if named.is_empty() {
        rows.extend(catalog.api_prices.iter().filter(|row| same(row)));
        if rows.is_empty() {
            rows.extend(catalog.api(FAMILIAR).ok());
        }
    } else {
        for id in named {
            rows.push(catalog.api(id)?);
        }
    }
    cost.api_comparison.clear();
    cost.api_comparison_note = None;
    let Some((top, here)) = headline_cell(cost).and_then(|cell| Some((cell, mix(cell)?))) else {
        let reason =
            cost.headline_cell_reason.clone().unwrap_or_else(|| "there is no priced cell".to_owned());
        cost.api_comparison_reason = Some(format!("nothing to compare: {reason}"));
        return Ok(());
    };
    let here = here.value;
    let cached = Decimal::from_f64(cached_share).unwrap_or_default();
    let [input, output] = top.tokens.map(|count| count as f64);
    let mut found: Vec<ApiComparison> = rows
        .into_iter()
        .map(|row| {
            let usd = |price: Decimal| price.to_f64().unwrap_or(f64::NAN);
            let input_price = with_cached(row, cached);
            let mix = (usd(input_price) * input + usd(row.output_usd_per_mtok) * output) / (input + output);
            ApiComparison {
                api: format!("{}/{}", row.provider, row.model),
                input_usd_per_million: input_price,
                output_usd_per_million: row.output_usd_per_mtok,
                mix_usd_per_million: mix,
                here_usd_per_million: here,
                ratio: here / mix,
                same_model: same(row),
                source: row.source.clone(),
                observed: row.as_of.to_string(),
                stale: row.is_stale(today),
            }
        })
        .collect();
    found.sort_by(|a, b| a.mix_usd_per_million.total_cmp(&b.mix_usd_per_million));
    cost.api_comparison_reason = found.is_empty().then(|| {
        "no API in the catalog serves this model; name another with --api provider/model".to_owned()
    });
    if !found.is_empty() && !found.iter().any(|api| api.same_model) {
        let why = match served_as {
            None => "no API in the catalog sells this model",
            Some(_) => "none of the APIs named sells this model",
        };
        cost.api_comparison_note = Some(why.to_owned());
    }
    cost.api_comparison = found;
    Ok(())
}

/// The price of an input token of which so many come from the cache.
fn with_cached(row: &ApiPrice, share: Decimal) -> Decimal {
    let input = row.input_usd_per_mtok;
    match row.cached_input_usd_per_mtok {
        Some(cached) if !share.is_zero() => ((Decimal::ONE - share) * input + share * cached).normalize(),
        _ => input,
    }
}

/// The word under which the catalog's API rows sell the model.
pub(super) fn served_as<'a>(catalog_id: Option<&str>, catalog: &'a Catalog) -> Option<&'a str> {
    catalog_id.and_then(|id| catalog.model(id).ok()).and_then(|row| row.api_model.as_deref())
}
