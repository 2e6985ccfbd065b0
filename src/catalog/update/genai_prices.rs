//! Pydantic's genai-prices (`data.json`, versions 1 to 3): providers, each with its models, USD per million tokens.
//!
//! The field names are those of the repository's data of 2026-08-22 (version 2) and 2026-11 (version 3, which puts
//! `providers` beside `units`). Of several dated prices the last whose constraint holds today is taken; a window of
//! the day becomes one, a day to come an announced change. A constraint of another kind is kept and not applied.

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::desk::{Bad, Desk, Prices, Took, kept, members, text};
use crate::base::json::{Node, get};
use crate::catalog::ApiPrice;
use crate::catalog::api_prices::{InputOutput, LongContextTier, ScheduledChange, TimeOfDay};

const USED: [&str; 4] = ["id", "prices", "deprecated", "prices_checked"];
const USED_PRICES: [&str; 4] = ["input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"];

type Fields = [(Box<str>, Node)];

/// `root` is the list of providers, or the object whose `providers` it is.
pub(super) fn read(root: &Node, desk: &mut Desk<'_>) {
    let list = root.fields().map_or(Some(root), |fields| get(fields, "providers"));
    let Some(Node::List(providers)) = list else { return };
    for provider in providers.iter().filter_map(Node::fields) {
        let theirs = text(provider, "id").unwrap_or_default();
        let page = match get(provider, "pricing_urls") {
            Some(Node::List(pages)) => pages.first().and_then(|page| match page {
                Node::Text(page) => Some(&**page),
                _ => None,
            }),
            _ => None,
        };
        let Some(Node::List(models)) = get(provider, "models") else { continue };
        for model in models {
            let fields = model.fields().unwrap_or_default();
            let id = text(fields, "id").unwrap_or_default();
            let line = desk.line_of_id(id);
            let today = desk.today;
            desk.look(theirs, id, line, |row| price(fields, page, today, row));
        }
    }
}

fn price(fields: &Fields, page: Option<&str>, today: Date, mut row: ApiPrice) -> Result<Took, Bad> {
    let outer = Prices { inside: "", fields, scale: Decimal::ONE };
    let entries: Vec<&Fields> = match get(fields, "prices") {
        Some(Node::Object(prices)) => {
            take(&mut row, prices)?;
            vec![prices]
        }
        Some(Node::List(entries)) => dated(&mut row, entries, today)?,
        _ => return Err(outer.bad("prices", "is missing")),
    };
    let Some(held) = entries.last().copied().filter(|_| !row.output_usd_per_mtok.is_zero()) else {
        return Ok(Took::Pass("no price of output tokens".to_owned()));
    };
    if row.input_usd_per_mtok.is_zero() {
        return Ok(Took::Pass("no price of input tokens".to_owned()));
    }
    if let Some(Node::List(variants)) = get(fields, "price_variants") {
        for variant in variants.iter().filter_map(Node::fields) {
            let when = get(variant, "when").and_then(Node::fields).unwrap_or_default();
            if let (Some("batch"), Some(prices)) =
                (text(when, "processing"), get(variant, "prices").and_then(Node::fields))
            {
                let (input, output) = (flat(prices, "input_mtok")?, flat(prices, "output_mtok")?);
                row.batch = input.zip(output).map(|(input, output)| InputOutput { input, output });
            }
        }
    }
    row.deprecated = get(fields, "deprecated") == Some(&Node::Bool(true));
    if let Some(day) = text(fields, "prices_checked").and_then(|day| day.parse::<Date>().ok())
        && day <= today
    {
        row.as_of = day;
    }
    row.upstream = page.map(ToOwned::to_owned);
    let dear = members(held).filter(|(name, _)| !USED_PRICES.contains(name));
    row.kept = kept(members(fields).filter(|(name, _)| !USED.contains(name)).chain(dear), |_| false);
    Ok(Took::Price(Box::new(row)))
}

/// Reads the entries of a price that changes; the prices that hold today come last in what is returned.
fn dated<'a>(row: &mut ApiPrice, entries: &'a [Node], today: Date) -> Result<Vec<&'a Fields>, Bad> {
    let mut held = Vec::new();
    for entry in entries.iter().filter_map(Node::fields) {
        let Some(prices) = get(entry, "prices").and_then(Node::fields) else { continue };
        let constraint = get(entry, "constraint").and_then(Node::fields).unwrap_or_default();
        let start = text(constraint, "start_date").and_then(|day| day.parse::<Date>().ok());
        let hours = text(constraint, "start_time").zip(text(constraint, "end_time"));
        match (constraint.is_empty(), start, hours) {
            (true, ..) => {
                take(row, prices)?;
                held.push(prices);
            }
            (_, Some(day), _) if day <= today => {
                row.long_context_tiers.clear();
                take(row, prices)?;
                row.effective_from = Some(day);
                held.push(prices);
            }
            (_, Some(date), _) => {
                let both = flat(prices, "input_mtok")?.zip(flat(prices, "output_mtok")?);
                let sooner = row.scheduled_change.as_ref().is_none_or(|change| date < change.date);
                if let (Some((input, output)), true) = (both, sooner) {
                    row.scheduled_change = Some(ScheduledChange { date, input, output });
                }
            }
            (_, None, Some((from, to))) => {
                let hour = |clock: &str| clock.chars().take(5).collect::<String>();
                if let Some((input, output)) = flat(prices, "input_mtok")?.zip(flat(prices, "output_mtok")?) {
                    row.time_of_day.push(TimeOfDay { from_utc: hour(from), to_utc: hour(to), input, output });
                }
            }
            _ => {}
        }
    }
    Ok(held)
}

/// The prices of one entry into the row.
fn take(row: &mut ApiPrice, fields: &Fields) -> Result<(), Bad> {
    let prices = Prices { inside: "prices.", fields, scale: Decimal::ONE };
    let zero = Decimal::ZERO;
    row.input_usd_per_mtok = prices.checked("input_mtok", base(prices.get("input_mtok")))?.unwrap_or(zero);
    row.output_usd_per_mtok = prices.checked("output_mtok", base(prices.get("output_mtok")))?.unwrap_or(zero);
    if row.input_usd_per_mtok.is_zero() || row.output_usd_per_mtok.is_zero() {
        return Ok(());
    }
    let cached = base(prices.get("cache_read_mtok"));
    row.cached_input_usd_per_mtok = prices.cached("cache_read_mtok", cached, row.input_usd_per_mtok)?;
    row.cache_write_usd_per_mtok =
        prices.beside_node("cache_write_mtok", base(prices.get("cache_write_mtok")))?;
    let (inputs, outputs) = (tiers(prices.get("input_mtok")), tiers(prices.get("output_mtok")));
    for (start, node) in inputs {
        let output = outputs.iter().find(|(other, _)| *other == start).map(|(_, node)| *node);
        let input = prices.checked("input_mtok.tiers", Some(node))?;
        let output = match output {
            Some(node) => prices.checked("output_mtok.tiers", Some(node))?,
            None => Some(row.output_usd_per_mtok),
        };
        if let Some((input, output)) = input.zip(output) {
            row.long_context_tiers.push(LongContextTier { above_input_tokens: start, input, output });
        }
    }
    row.long_context_tiers.sort_by_key(|tier| tier.above_input_tokens);
    Ok(())
}

/// A price that need not be there, without its tiers.
fn flat(fields: &Fields, name: &str) -> Result<Option<Decimal>, Bad> {
    let prices = Prices { inside: "prices.", fields, scale: Decimal::ONE };
    prices.beside_node(name, base(prices.get(name)))
}

/// The price of a short prompt, where there are tiers.
fn base(node: Option<&Node>) -> Option<&Node> {
    match node {
        Some(Node::Object(fields)) => get(fields, "base"),
        other => other,
    }
}

/// `(tokens, price)` of each tier.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a count")]
fn tiers(node: Option<&Node>) -> Vec<(u64, &Node)> {
    let Some(Node::List(tiers)) = node.and_then(Node::fields).and_then(|fields| get(fields, "tiers")) else {
        return Vec::new();
    };
    let tier = |tier: &Node| match (tier.fields().and_then(|f| get(f, "start")), tier.fields()) {
        (Some(Node::Number(start)), Some(_)) if (1.0..1e12).contains(start) => Some(*start as u64),
        _ => None,
    };
    tiers.iter().filter_map(|node| Some((tier(node)?, get(node.fields()?, "price")?))).collect()
}
