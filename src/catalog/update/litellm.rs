//! LiteLLM's `model_prices_and_context_window.json`: an object of models, USD per token.
//!
//! The field names are those of the file in the package of litellm 1.110.2 (2026-11). `sample_spec` explains the
//! others and is no model. A price off peak holds on some days of the week, which the catalog cannot say: it is
//! kept as it is, and the note says so.

use rust_decimal::Decimal;

use super::desk::{Bad, Desk, Prices, Took, kept, members, text};
use crate::base::json::Node;
use crate::catalog::ApiPrice;
use crate::catalog::api_prices::{InputOutput, LongContextTier};

const USED: [&str; 10] = [
    "litellm_provider",
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "input_cost_per_token_batches",
    "output_cost_per_token_batches",
    "source",
    "left_out",
    "model",
];

pub(super) fn read(root: &Node, desk: &mut Desk<'_>) {
    for (name, node) in members(root.fields().unwrap_or_default()) {
        let line = desk.line_of_member(name);
        if name == "sample_spec" {
            continue;
        }
        let Some(fields) = node.fields() else {
            desk.rows += 1;
            let value = super::money::written(Some(node));
            desk.refuse(
                line,
                name,
                Bad { field: String::new(), value, reason: "is not an object".to_owned() },
            );
            continue;
        };
        let theirs =
            text(fields, "litellm_provider").unwrap_or_else(|| name.split('/').next().unwrap_or(name));
        desk.look(theirs, name, line, |row| price(fields, row));
    }
}

fn price(fields: &[(Box<str>, Node)], mut row: ApiPrice) -> Result<Took, Bad> {
    let prices = Prices { inside: "", fields, scale: Decimal::from(1_000_000) };
    let mode = text(fields, "mode");
    if let Some(mode) = mode.filter(|mode| !matches!(*mode, "chat" | "completion" | "responses")) {
        return Ok(Took::Pass(format!("mode {}", crate::base::text::shown(mode))));
    }
    let priced = |name| prices.get(name).is_some_and(|node| *node != Node::Null);
    if !priced("input_cost_per_token") && !priced("output_cost_per_token") {
        return Ok(Took::Pass("no price per token".to_owned()));
    }
    let need = |name| prices.price(name)?.ok_or_else(|| prices.bad(name, "is missing"));
    row.input_usd_per_mtok = need("input_cost_per_token")?;
    row.output_usd_per_mtok = need("output_cost_per_token")?;
    let cached = "cache_read_input_token_cost";
    row.cached_input_usd_per_mtok = prices.cached(cached, prices.get(cached), row.input_usd_per_mtok)?;
    row.cache_write_usd_per_mtok = prices.beside("cache_creation_input_token_cost")?;
    let batch =
        (prices.beside("input_cost_per_token_batches")?, prices.beside("output_cost_per_token_batches")?);
    row.batch = batch.0.zip(batch.1).map(|(input, output)| InputOutput { input, output });
    for (name, _) in fields {
        let thousands =
            name.strip_prefix("input_cost_per_token_above_").and_then(|rest| rest.strip_suffix("k_tokens"));
        let Some(thousands) = thousands.and_then(|digits| digits.parse::<u32>().ok()) else { continue };
        let output = format!("output_cost_per_token_above_{thousands}k_tokens");
        if let Some((input, output)) = prices.beside(name)?.zip(prices.beside(&output)?) {
            let above_input_tokens = u64::from(thousands) * 1000;
            row.long_context_tiers.push(LongContextTier { above_input_tokens, input, output });
        }
    }
    row.long_context_tiers.sort_by_key(|tier| tier.above_input_tokens);
    row.long_context_tiers.dedup_by_key(|tier| tier.above_input_tokens);
    row.upstream = text(fields, "source").map(ToOwned::to_owned);
    if prices.get("off_peak_pricing").is_some() {
        row.note = Some("the peak price; off-peak prices are among the kept fields".to_owned());
    }
    row.kept = kept(members(fields), |name| USED.contains(&name));
    Ok(Took::Price(Box::new(row)))
}
