//! OpenRouter's list of models (`/api/v1/models`): USD per token, in texts.
//!
//! The field names are those of a response of 2026-08 among genai-prices' own tests. A price is that of one routed
//! host. A router has `-1`, an alias begins with `~`, a free tier ends in `:free`: none of them is a list price. `request`
//! is a fee for each request; fees for an image or a search are kept, since a request of text pays none.

use rust_decimal::Decimal;

use super::desk::{Bad, Desk, Prices, Took, kept, members, text};
use super::ladder::{Ladder, tokens};
use crate::ApiPrice;
use crate::api_prices::TimeOfDay;
use crate::base::json::{Node, get};

const USED: [&str; 2] = ["id", "pricing"];
const USED_PRICING: [&str; 6] =
    ["prompt", "completion", "input_cache_read", "input_cache_write", "request", "internal_reasoning"];

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
    let model = id.rsplit('/').next().unwrap_or_default();
    if model.split(':').next().unwrap_or_default().trim().is_empty() {
        return Err(outer.bad("id", "names no model"));
    }
    let architecture = get(fields, "architecture").and_then(Node::fields).unwrap_or_default();
    if let Some(Node::List(kinds)) = get(architecture, "output_modalities")
        && !kinds.contains(&Node::Text("text".into()))
    {
        return Ok(Took::Pass("makes no text".to_owned()));
    }
    let scale = Decimal::from(1_000_000);
    let prices = Prices { inside: "pricing.", fields: pricing, scale };
    prices.in_usd()?;
    if super::money::decimal(prices.get("discount")).map_or(true, |share| share.is_some_and(|n| !n.is_zero()))
    {
        return Err(
            prices.bad("discount", "a promotion, and whether the prices are before or after it is not said")
        );
    }
    row.input_usd_per_mtok = prices.need("prompt")?;
    row.output_usd_per_mtok = prices.need("completion")?;
    let cached = "input_cache_read";
    row.cached_input_usd_per_mtok = prices.cached(cached, prices.get(cached), row.input_usd_per_mtok)?;
    row.cache_write_usd_per_mtok = prices.beside("input_cache_write")?;
    row.usd_per_request = prices.fee("request", 1)?;
    let reasoning = prices.beside("internal_reasoning")?;
    row.reasoning_usd_per_mtok = reasoning.filter(|price| *price != row.output_usd_per_mtok);
    let mut ladder = Ladder::default();
    if let Some(Node::List(overrides)) = get(pricing, "overrides") {
        for fields in overrides.iter().filter_map(Node::fields) {
            over(&mut row, &mut ladder, Prices { inside: "pricing.overrides.", fields, scale })?;
        }
    }
    ladder.put(&mut row)?;
    row.open_weights = text(fields, "hugging_face_id").map(|_| true);
    let dear = members(pricing).filter(|(name, _)| !USED_PRICING.contains(name));
    row.kept = kept(members(fields).filter(|(name, _)| !USED.contains(name)).chain(dear), |_| false);
    Ok(Took::Price(Box::new(row)))
}

/// Another price, above a number of prompt tokens or inside hours of the day (`1230` is 12:30, UTC).
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a time of day")]
fn over(row: &mut ApiPrice, ladder: &mut Ladder, prices: Prices<'_>) -> Result<(), Bad> {
    let clock = |name: &str| match prices.get(name) {
        Some(Node::Number(clock)) if (0.0..=2400.0).contains(clock) => Some(*clock as u32),
        _ => None,
    };
    let (input, output) = (prices.price("prompt")?, prices.price("completion")?);
    if let Some(node) = prices.get("min_prompt_tokens") {
        let Some(above) = tokens(Some(node)) else {
            return Err(prices.bad("min_prompt_tokens", "is not a number of tokens"));
        };
        let step = ladder.above(above);
        (step.input, step.output) = (input, output);
        step.cached = prices.beside("input_cache_read")?;
        step.cache_write = prices.beside("input_cache_write")?;
    } else if let Some((from, to)) = clock("utc_start").zip(clock("utc_end")) {
        let hour = |clock: u32| format!("{:02}:{:02}", clock / 100 % 24, clock % 100);
        row.time_of_day.push(TimeOfDay {
            from_utc: hour(from),
            to_utc: hour(to),
            input: input.unwrap_or(row.input_usd_per_mtok),
            output: output.unwrap_or(row.output_usd_per_mtok),
        });
    } else if input.is_some() || output.is_some() {
        let note = "other prices under a condition that is not known here are among the kept fields";
        row.note = Some(note.to_owned());
    }
    Ok(())
}
