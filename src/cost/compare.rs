//! The same tokens bought from an API: cheapest first, and by how much.

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::catalog::{self, ApiPrice, Catalog};
use crate::record::{ApiComparison, Cost};

use super::api_price::standard;
use super::assess::{headline_cell, mix};

/// What is compared with when no API serves the model and none was named: a price that many know.
pub(super) const FAMILIAR: &str = "openai/gpt-4o-mini";

/// Fills in `cost.api_comparison` at the headline cell's own mix of input and output.
///
/// With `named` empty, every API that serves the catalog's model `catalog_id`; when there is none, one
/// that many know, marked as another model. Where all are of another model, the note says so. `cached_share` of the input is
/// taken at the API's price for it, where it has one; a long prompt at its price for long prompts, and a fee for each
/// request is spread over its tokens.
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
    let [input, output] = top.tokens.map(|count| count as f64);
    let length = u64::from(top.cell.prompt_tokens) + u64::from(top.cell.depth);
    let request = f64::from(top.cell.prompt_tokens) + f64::from(top.cell.output_tokens);
    let mut found: Vec<ApiComparison> = rows
        .into_iter()
        .map(|row| {
            let usd = |price: Decimal| price.to_f64().unwrap_or(f64::NAN);
            let asked = standard(row, length, today);
            let input_price = asked.input_with(cached_share);
            let tokens = (usd(input_price) * input + usd(asked.output) * output) / (input + output);
            let mix = tokens + asked.fee_per_million(request);
            ApiComparison {
                api: format!("{}/{}", row.provider, row.model),
                input_usd_per_million: input_price,
                output_usd_per_million: asked.output,
                usd_per_request: asked.usd_per_request.map(usd),
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

/// The word under which the catalog's API rows sell the model.
pub(super) fn served_as<'a>(catalog_id: Option<&str>, catalog: &'a Catalog) -> Option<&'a str> {
    catalog_id.and_then(|id| catalog.model(id).ok()).and_then(|row| row.api_model.as_deref())
}
