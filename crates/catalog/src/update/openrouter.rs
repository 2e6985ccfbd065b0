//! OpenRouter's list of models (`/api/v1/models`): USD per token, as strings.
//!
//! The field names are those of a response of 2026-08 in genai-prices' own tests. A price is that of one routed host. A
//! router has `-1`, an alias begins with `~`, a free tier ends in `:free`: none of them is a list price. `request` is a
//! fee per request; fees per image or search are only kept, since a text request pays none.

use rust_decimal::Decimal;

use super::intake::{BadField, Intake, Prices, RowOutcome, kept, members, text};
use super::ladder::{Ladder, tokens};
use crate::ApiPrice;
use crate::api_prices::TimeOfDay;
use crate::base::json::{Node, get};

const USED: [&str; 2] = ["id", "pricing"];
const USED_PRICING: [&str; 6] =
    ["prompt", "completion", "input_cache_read", "input_cache_write", "request", "internal_reasoning"];

/// `root` is the list, or an object with that list in `data`.
pub(super) fn read(root: &Node, intake: &mut Intake<'_>) {
    let list = root.fields().map_or(Some(root), |fields| get(fields, "data"));
    let Some(Node::List(models)) = list else { return };
    for model in models {
        let fields = model.fields().unwrap_or_default();
        let id = text(fields, "id").unwrap_or_default();
        let line = intake.line_of_id(id);
        intake.add("openrouter", id, line, |row| price(fields, id, row));
    }
}

fn price(fields: &[(Box<str>, Node)], id: &str, mut row: ApiPrice) -> Result<RowOutcome, BadField> {
    let outer = Prices { inside: "", fields, scale: Decimal::ONE };
    let Some(pricing) = get(fields, "pricing").and_then(Node::fields) else {
        return Err(outer.bad("pricing", "is missing"));
    };
    if id.starts_with('~') {
        return Ok(RowOutcome::Skip("an alias of another model".to_owned()));
    }
    if id.ends_with(":free") {
        return Ok(RowOutcome::Skip("a free tier".to_owned()));
    }
    let model = id.rsplit('/').next().unwrap_or_default();
    if model.split(':').next().unwrap_or_default().trim().is_empty() {
        return Err(outer.bad("id", "is not a model's name"));
    }
    let architecture = get(fields, "architecture").and_then(Node::fields).unwrap_or_default();
    if let Some(Node::List(kinds)) = get(architecture, "output_modalities")
        && !kinds.contains(&Node::Text("text".into()))
    {
        return Ok(RowOutcome::Skip("has no text output".to_owned()));
    }
    let scale = Decimal::from(1_000_000);
    let prices = Prices { inside: "pricing.", fields: pricing, scale };
    prices.in_usd()?;
    if super::money::decimal(prices.get("discount")).map_or(true, |share| share.is_some_and(|n| !n.is_zero()))
    {
        return Err(prices.bad("discount", "a promotion, and it is unclear whether the prices include it"));
    }
    row.input_usd_per_mtok = prices.required("prompt")?;
    row.output_usd_per_mtok = prices.required("completion")?;
    let cached = "input_cache_read";
    row.cached_input_usd_per_mtok = prices.cached(cached, prices.get(cached), row.input_usd_per_mtok)?;
    row.cache_write_usd_per_mtok = prices.extra("input_cache_write")?;
    row.usd_per_request = prices.fee("request", 1)?;
    let reasoning = prices.extra("internal_reasoning")?;
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
    Ok(RowOutcome::Price(Box::new(row)))
}

/// A price override, above a number of prompt tokens or during hours of the day (`1230` is 12:30, UTC).
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a time of day")]
fn over(row: &mut ApiPrice, ladder: &mut Ladder, prices: Prices<'_>) -> Result<(), BadField> {
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
        step.cached = prices.extra("input_cache_read")?;
        step.cache_write = prices.extra("input_cache_write")?;
    } else if let Some((from, to)) = clock("utc_start").zip(clock("utc_end")) {
        let hour = |clock: u32| format!("{:02}:{:02}", clock / 100 % 24, clock % 100);
        row.time_of_day.push(TimeOfDay {
            from_utc: hour(from),
            to_utc: hour(to),
            input: input.unwrap_or(row.input_usd_per_mtok),
            output: output.unwrap_or(row.output_usd_per_mtok),
        });
    } else if input.is_some() || output.is_some() {
        let note = "prices under an unsupported condition are among the kept fields";
        row.note = Some(note.to_owned());
    }
    Ok(())
}
