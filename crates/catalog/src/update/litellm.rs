//! LiteLLM's `model_prices_and_context_window.json`: an object of models, USD per token.
//!
//! The field names are those of the file in the package of litellm 1.110.2 (2026-11). `sample_spec` explains the
//! others and is not a model. Prices for long prompts are in `…_above_272k_tokens` and `tiered_pricing`; batch prices are
//! imported, those of other service tiers (priority, flex) are only kept, since the catalog has no such tier. An off-peak
//! price applies on some days of the week, which the catalog cannot express: it is kept, and the note says so.

use rust_decimal::Decimal;

use super::intake::{BadField, Intake, Prices, RowOutcome, kept, members, text};
use super::ladder::{Ladder, tokens};
use crate::ApiPrice;
use crate::api_prices::InputOutput;
use crate::base::json::Node;
use crate::base::redact;
use crate::base::text::shown;

const INPUT: &str = "input_cost_per_token";
const OUTPUT: &str = "output_cost_per_token";
const CACHE_READ: &str = "cache_read_input_token_cost";
const CACHE_WRITE: &str = "cache_creation_input_token_cost";
const REASONING: &str = "output_cost_per_reasoning_token";
const REQUEST: &str = "input_cost_per_request";

const USED: [&str; 12] = [
    "litellm_provider",
    INPUT,
    OUTPUT,
    CACHE_READ,
    CACHE_WRITE,
    REASONING,
    REQUEST,
    "input_cost_per_token_batches",
    "output_cost_per_token_batches",
    "source",
    "left_out",
    "model",
];

pub(super) fn read(root: &Node, intake: &mut Intake<'_>) {
    for (name, node) in members(root.fields().unwrap_or_default()) {
        let line = intake.line_of_member(name);
        if name == "sample_spec" {
            continue;
        }
        let Some(fields) = node.fields() else {
            intake.rows += 1;
            let value = super::money::written(Some(node));
            intake.refuse(
                line,
                name,
                BadField { field: String::new(), value, reason: "is not an object".to_owned() },
            );
            continue;
        };
        let theirs =
            text(fields, "litellm_provider").unwrap_or_else(|| name.split('/').next().unwrap_or(name));
        intake.add(theirs, name, line, |row| price(fields, row));
    }
}

fn price(fields: &[(Box<str>, Node)], mut row: ApiPrice) -> Result<RowOutcome, BadField> {
    let prices = Prices { inside: "", fields, scale: Decimal::from(1_000_000) };
    let mode = text(fields, "mode");
    if let Some(mode) = mode.filter(|mode| !matches!(*mode, "chat" | "completion" | "responses")) {
        return Ok(RowOutcome::Skip(format!("mode {}", shown(mode))));
    }
    prices.in_usd()?;
    let mut ladder = Ladder::default();
    let base = tiered(&prices, &mut ladder)?;
    let priced = |name| prices.get(name).is_some_and(|node| *node != Node::Null);
    if base.is_none() && !priced(INPUT) && !priced(OUTPUT) {
        return other_unit(&prices);
    }
    (row.input_usd_per_mtok, row.output_usd_per_mtok) = match base {
        Some(base) => {
            for (name, tier) in [(INPUT, base.input), (OUTPUT, base.output)] {
                if priced(name) && prices.price(name)? != Some(tier) {
                    let reason =
                        format!("contradicts tiered_pricing, which starts at {tier} USD per million tokens");
                    return Err(prices.bad(name, reason));
                }
            }
            row.cached_input_usd_per_mtok = base.cached;
            row.cache_write_usd_per_mtok = base.cache_write;
            row.reasoning_usd_per_mtok = base.reasoning;
            (base.input, base.output)
        }
        None => (prices.required(INPUT)?, prices.required(OUTPUT)?),
    };
    let cached = prices.cached(CACHE_READ, prices.get(CACHE_READ), row.input_usd_per_mtok)?;
    row.cached_input_usd_per_mtok = cached.or(row.cached_input_usd_per_mtok);
    row.cache_write_usd_per_mtok = prices.extra(CACHE_WRITE)?.or(row.cache_write_usd_per_mtok);
    let batch =
        (prices.extra("input_cost_per_token_batches")?, prices.extra("output_cost_per_token_batches")?);
    row.batch = batch.0.zip(batch.1).map(|(input, output)| InputOutput { input, output });
    let reasoning = prices.extra(REASONING)?.or(row.reasoning_usd_per_mtok);
    row.reasoning_usd_per_mtok = reasoning.filter(|price| *price != row.output_usd_per_mtok);
    row.usd_per_request = fee(&prices, &row)?;
    long(&prices, &mut ladder)?;
    ladder.put(&mut row)?;
    row.upstream = text(fields, "source").map(|page| redact::text(page).into_owned());
    let mut notes = Vec::new();
    if prices.get("off_peak_pricing").is_some() {
        notes.push("the peak price; off-peak prices are among the kept fields");
    }
    if mode.is_none() {
        notes.push("the file does not say that the model is for chat");
    }
    row.note = (!notes.is_empty()).then(|| notes.join("; "));
    row.kept = kept(members(fields), |name| USED.contains(&name));
    Ok(RowOutcome::Price(Box::new(row)))
}

/// A row without a price per token: rejected with its field if priced in another unit, skipped if not priced at all.
fn other_unit(prices: &Prices<'_>) -> Result<RowOutcome, BadField> {
    let units = [("_per_second", "second"), ("_per_character", "character"), ("_per_request", "request")];
    for (name, node) in
        members(prices.fields).filter(|(_, node)| matches!(node, Node::Number(_) | Node::Text(_)))
    {
        let Some((_, unit)) = units.iter().find(|(part, _)| name.contains(part) && name.contains("cost"))
        else {
            continue;
        };
        let reason = format!("a price per {unit}; only prices per token are supported");
        return Err(prices.bad_value(name, Some(node), reason));
    }
    Ok(RowOutcome::Skip("no price per token".to_owned()))
}

/// The fee per request on top of its tokens. Perplexity's own models search the web for every request, which their price
/// list charges per request; the fee is that of the smallest search.
fn fee(prices: &Prices<'_>, row: &ApiPrice) -> Result<Option<Decimal>, BadField> {
    if let Some(fee) = prices.fee(REQUEST, 1)? {
        return Ok(Some(fee));
    }
    let own = row.provider == "perplexity" && row.source_model_id.matches('/').count() < 2;
    let search = prices.get("search_context_cost_per_query").and_then(Node::fields);
    match search.filter(|_| own) {
        Some(fields) => Prices { inside: "search_context_cost_per_query.", fields, scale: Decimal::ONE }
            .fee("search_context_size_low", 1),
        None => Ok(None),
    }
}

/// The prices of a short prompt in `tiered_pricing`.
struct Base {
    input: Decimal,
    output: Decimal,
    cached: Option<Decimal>,
    cache_write: Option<Decimal>,
    reasoning: Option<Decimal>,
}

/// `tiered_pricing`: ranges of prompt tokens, each with its prices; the first begins at zero.
fn tiered(prices: &Prices<'_>, ladder: &mut Ladder) -> Result<Option<Base>, BadField> {
    let name = "tiered_pricing";
    let entries = match prices.get(name) {
        None | Some(Node::Null) => return Ok(None),
        Some(Node::List(entries)) if !entries.is_empty() => entries,
        Some(_) => return Err(prices.bad(name, "is not a list of tiers")),
    };
    let mut base = None;
    let mut end = 0.0;
    for entry in entries {
        let Some(fields) = entry.fields() else { return Err(prices.bad(name, "is not a list of tiers")) };
        let tier = Prices { inside: "tiered_pricing.", fields, scale: prices.scale };
        let range = match tier.get("range") {
            Some(Node::Numbers(range)) if range.len() == 2 && range[0] < range[1] => range,
            _ => return Err(tier.bad("range", "is not a range of prompt tokens")),
        };
        // Ranges must neither overlap nor leave a gap.
        if (range[0] - end).abs() > 0.5 {
            return Err(
                tier.bad("range", format!("begins at {}, but the previous range ends at {end}", range[0]))
            );
        }
        let (input, output) = (tier.required(INPUT)?, tier.required(OUTPUT)?);
        let cached = tier.cached(CACHE_READ, tier.get(CACHE_READ), input)?;
        let cache_write = tier.extra(CACHE_WRITE)?;
        if base.is_none() {
            base = Some(Base { input, output, cached, cache_write, reasoning: tier.extra(REASONING)? });
        } else if let Some(above) = tokens(Some(&Node::Number(range[0]))) {
            let step = ladder.above(above);
            (step.input, step.output) = (Some(input), Some(output));
            (step.cached, step.cache_write) = (cached, cache_write);
        }
        end = range[1];
    }
    Ok(base)
}

/// Every `…_above_Nk_tokens`: the price of longer prompts.
fn long(prices: &Prices<'_>, ladder: &mut Ladder) -> Result<(), BadField> {
    for (name, node) in members(prices.fields) {
        let Some((what, length)) = name.split_once("_above_") else { continue };
        if *node == Node::Null || ![INPUT, OUTPUT, CACHE_READ, CACHE_WRITE].contains(&what) {
            continue;
        }
        // `_above_1hr` is a cache lifetime, for prompts of any length or (`_above_1hr_above_200k_tokens`) for long ones.
        if length.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("hr") {
            continue;
        }
        let Some((above, tier)) = length_of(length) else {
            return Err(prices.bad(name, "a price above a length that cannot be parsed"));
        };
        let price = prices.price(name)?;
        let step = ladder.above(above);
        let slot = match (what, tier) {
            (INPUT, "") => &mut step.input,
            (OUTPUT, "") => &mut step.output,
            (CACHE_READ, "") => &mut step.cached,
            (CACHE_WRITE, "") => &mut step.cache_write,
            (INPUT, "batches") => &mut step.batch_input,
            (OUTPUT, "batches") => &mut step.batch_output,
            // A service tier that the catalog does not have: only kept.
            _ => continue,
        };
        *slot = price;
    }
    Ok(())
}

/// `272k_tokens` and `1m_tokens_priority`: the threshold, and the service tier.
fn length_of(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let (unit, rest) = rest.split_once("_tokens")?;
    let factor = match unit {
        "" => 1,
        "k" => 1000,
        "m" => 1_000_000,
        _ => return None,
    };
    let tier = if rest.is_empty() { "" } else { rest.strip_prefix('_').filter(|tier| !tier.is_empty())? };
    let bound = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (1..1_000_000_000_000).contains(&bound).then_some((bound, tier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_in_a_field_name() {
        assert_eq!(length_of("272k_tokens"), Some((272_000, "")));
        assert_eq!(length_of("1m_tokens"), Some((1_000_000, "")));
        assert_eq!(length_of("200k_tokens_priority"), Some((200_000, "priority")));
        assert_eq!(length_of("200000_tokens_batches"), Some((200_000, "batches")));
        for text in
            ["k_tokens", "1.5m_tokens", "128k", "128k_characters", "0k_tokens", "9999999999999k_tokens", ""]
        {
            assert_eq!(length_of(text), None, "{text}");
        }
    }
}
