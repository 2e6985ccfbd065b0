//! OpenRouter's list of models (`/api/v1/models`): USD per token, in texts.
//!
//! The field names are those of a response of 2026-08 among genai-prices' own tests. A price is that of one routed
//! host. A router has `-1`, an alias begins with `~`, a free tier ends in `:free`: none of them is a list price.

use rust_decimal::Decimal;

use super::desk::{Bad, Desk, Prices, Took, kept, members, text};
use crate::base::json::{Node, get};
use crate::catalog::ApiPrice;
use crate::catalog::api_prices::{LongContextTier, TimeOfDay};

const USED: [&str; 2] = ["id", "pricing"];
const USED_PRICING: [&str; 4] = ["prompt", "completion", "input_cache_read", "input_cache_write"];

/// `root` is the list, or the object whose `data` it is.
pub(super) fn read(root: &Node, desk: &mut Desk<'_>) {
    let list = root.fields().map_or(Some(root), |fields| get(fields, "data"));
    let Some(Node::List(models)) = list else { return };
    for model in models {
        let fields = model.fields().unwrap_or_default();
        let id = text(fields, "id").unwrap_or_default();
        let line = desk.line_of_id(id);
        desk.look("openrouter", id, line, |row| price(fields, id, row));
    }
}

fn price(fields: &[(Box<str>, Node)], id: &str, mut row: ApiPrice) -> Result<Took, Bad> {
    let outer = Prices { inside: "", fields, scale: Decimal::ONE };
    let Some(pricing) = get(fields, "pricing").and_then(Node::fields) else {
        return Err(outer.bad("pricing", "is missing"));
    };
    if id.starts_with('~') {
        return Ok(Took::Pass("an alias of another model".to_owned()));
    }
    if id.ends_with(":free") {
        return Ok(Took::Pass("a free tier".to_owned()));
    }
    let architecture = get(fields, "architecture").and_then(Node::fields).unwrap_or_default();
    if let Some(Node::List(kinds)) = get(architecture, "output_modalities")
        && !kinds.contains(&Node::Text("text".into()))
    {
        return Ok(Took::Pass("makes no text".to_owned()));
    }
    let scale = Decimal::from(1_000_000);
    let prices = Prices { inside: "pricing.", fields: pricing, scale };
    let need = |name| prices.price(name)?.ok_or_else(|| prices.bad(name, "is missing"));
    row.input_usd_per_mtok = need("prompt")?;
    row.output_usd_per_mtok = need("completion")?;
    let cached = "input_cache_read";
    row.cached_input_usd_per_mtok = prices.cached(cached, prices.get(cached), row.input_usd_per_mtok)?;
    row.cache_write_usd_per_mtok = prices.beside("input_cache_write")?;
    if let Some(Node::List(overrides)) = get(pricing, "overrides") {
        for fields in overrides.iter().filter_map(Node::fields) {
            let prices = Prices { inside: "pricing.overrides.", fields, scale };
            over(&mut row, prices)?;
        }
    }
    row.open_weights = text(fields, "hugging_face_id").map(|_| true);
    let dear = members(pricing).filter(|(name, _)| !USED_PRICING.contains(name));
    row.kept = kept(members(fields).filter(|(name, _)| !USED.contains(name)).chain(dear), |_| false);
    Ok(Took::Price(Box::new(row)))
}

/// Another price, above a number of prompt tokens or inside hours of the day (`1230` is 12:30, UTC).
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a count")]
fn over(row: &mut ApiPrice, prices: Prices<'_>) -> Result<(), Bad> {
    let number = |name: &str| match prices.get(name) {
        Some(Node::Number(number)) if (0.0..1e12).contains(number) => Some(*number as u64),
        _ => None,
    };
    let Some((input, output)) = prices.beside("prompt")?.zip(prices.beside("completion")?) else {
        return Ok(());
    };
    if let Some(above_input_tokens) = number("min_prompt_tokens") {
        row.long_context_tiers.push(LongContextTier { above_input_tokens, input, output });
        row.long_context_tiers.sort_by_key(|tier| tier.above_input_tokens);
    } else if let Some((from, to)) = number("utc_start").zip(number("utc_end")) {
        let hour = |clock: u64| format!("{:02}:{:02}", clock / 100 % 24, clock % 100);
        row.time_of_day.push(TimeOfDay { from_utc: hour(from), to_utc: hour(to), input, output });
    }
    Ok(())
}
