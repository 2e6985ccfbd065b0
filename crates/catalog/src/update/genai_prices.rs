//! Pydantic's genai-prices (`data.json`, versions 1 to 3): providers, each with its models, USD per million tokens.
//!
//! The field names are those of the repository's data of 2026-08-22 (version 2) and 2026-11 (version 3, which puts
//! `providers` next to `units`). Of several dated prices, the last one whose constraint holds today is used; a constraint
//! on the time of day becomes a time-of-day price, a future date an announced change. Any other constraint is not
//! applied, and the note says so. A tier's price applies to the whole request, and each kind of token has its own tiers.

use jiff::civil::Date;
use rust_decimal::Decimal;

use super::intake::{BadField, Intake, Prices, RowOutcome, kept, members, text};
use super::ladder::{Ladder, Step, tokens};
use crate::ApiPrice;
use crate::api_prices::{InputOutput, ScheduledChange, TimeOfDay};
use crate::base::json::{Node, get};
use crate::base::redact;

const USED: [&str; 4] = ["id", "prices", "deprecated", "prices_checked"];
const USED_PRICES: [&str; 6] = [
    "input_mtok",
    "output_mtok",
    "cache_read_mtok",
    "cache_write_mtok",
    "output_reasoning_mtok",
    "requests_kcount",
];

type Fields = [(Box<str>, Node)];

/// `root` is the list of providers, or an object with that list in `providers`.
pub(super) fn read(root: &Node, intake: &mut Intake<'_>) {
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
            let line = intake.line_of_id(id);
            let today = intake.today;
            intake.add(theirs, id, line, |row| price(fields, page, today, row));
        }
    }
}

fn price(
    fields: &Fields,
    page: Option<&str>,
    today: Date,
    mut row: ApiPrice,
) -> Result<RowOutcome, BadField> {
    let outer = Prices { inside: "", fields, scale: Decimal::ONE };
    outer.in_usd()?;
    let mut ladder = Ladder::default();
    let entries: Vec<&Fields> = match get(fields, "prices") {
        Some(Node::Object(prices)) => {
            take(&mut row, &mut ladder, prices)?;
            vec![prices]
        }
        Some(Node::List(entries)) => dated(&mut row, &mut ladder, entries, today)?,
        _ => return Err(outer.bad("prices", "is missing")),
    };
    let Some(held) = entries.last().copied().filter(|_| !row.output_usd_per_mtok.is_zero()) else {
        return Ok(RowOutcome::Skip("no price of output tokens".to_owned()));
    };
    if row.input_usd_per_mtok.is_zero() {
        return Ok(RowOutcome::Skip("no price of input tokens".to_owned()));
    }
    if let Some(Node::List(variants)) = get(fields, "price_variants") {
        for variant in variants.iter().filter_map(Node::fields) {
            batch(&mut row, &mut ladder, variant, today)?;
        }
    }
    ladder.put(&mut row)?;
    row.deprecated = get(fields, "deprecated") == Some(&Node::Bool(true));
    if let Some(day) = text(fields, "prices_checked").and_then(|day| day.parse::<Date>().ok())
        && day <= today
    {
        if day < super::FIRST {
            return Err(outer.bad("prices_checked", "is before the first of these files"));
        }
        row.as_of = day;
    }
    row.upstream = page.map(|page| redact::text(page).into_owned());
    let dear = members(held).filter(|(name, _)| !USED_PRICES.contains(name));
    row.kept = kept(members(fields).filter(|(name, _)| !USED.contains(name)).chain(dear), |_| false);
    Ok(RowOutcome::Price(Box::new(row)))
}

/// Reads the entries of a price that changes over time; the prices in force today are last in the returned list.
fn dated<'a>(
    row: &mut ApiPrice,
    ladder: &mut Ladder,
    entries: &'a [Node],
    today: Date,
) -> Result<Vec<&'a Fields>, BadField> {
    let mut held = Vec::new();
    for entry in entries.iter().filter_map(Node::fields) {
        let Some(prices) = get(entry, "prices").and_then(Node::fields) else { continue };
        let constraint = get(entry, "constraint").and_then(Node::fields).unwrap_or_default();
        let start = text(constraint, "start_date").and_then(|day| day.parse::<Date>().ok());
        let hours = text(constraint, "start_time").zip(text(constraint, "end_time"));
        match (constraint.is_empty(), start, hours) {
            (true, ..) => {
                take(row, ladder, prices)?;
                held.push(prices);
            }
            (_, Some(day), _) if day <= today => {
                take(row, ladder, prices)?;
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
                let (input, output) = (flat(prices, "input_mtok")?, flat(prices, "output_mtok")?);
                let input = input.unwrap_or(row.input_usd_per_mtok);
                let output = output.unwrap_or(row.output_usd_per_mtok);
                if !input.is_zero() && !output.is_zero() {
                    row.time_of_day.push(TimeOfDay { from_utc: hour(from), to_utc: hour(to), input, output });
                }
            }
            _ => row.note = Some("another price applies under an unsupported condition".to_owned()),
        }
    }
    Ok(held)
}

/// Copies the prices of one entry into the row.
fn take(row: &mut ApiPrice, ladder: &mut Ladder, fields: &Fields) -> Result<(), BadField> {
    let prices = Prices { inside: "prices.", fields, scale: Decimal::ONE };
    prices.in_usd()?;
    let zero = Decimal::ZERO;
    row.input_usd_per_mtok = prices.checked("input_mtok", base(prices.get("input_mtok")))?.unwrap_or(zero);
    row.output_usd_per_mtok = prices.checked("output_mtok", base(prices.get("output_mtok")))?.unwrap_or(zero);
    if row.input_usd_per_mtok.is_zero() || row.output_usd_per_mtok.is_zero() {
        return Ok(());
    }
    let cached = base(prices.get("cache_read_mtok"));
    row.cached_input_usd_per_mtok = prices.cached("cache_read_mtok", cached, row.input_usd_per_mtok)?;
    row.cache_write_usd_per_mtok =
        prices.extra_node("cache_write_mtok", base(prices.get("cache_write_mtok")))?;
    let reasoning = prices.extra_node("output_reasoning_mtok", base(prices.get("output_reasoning_mtok")))?;
    row.reasoning_usd_per_mtok = reasoning.filter(|price| *price != row.output_usd_per_mtok);
    row.usd_per_request = prices.fee("requests_kcount", 1000)?;
    *ladder = Ladder::default();
    let [mut read, mut write] = [row.cached_input_usd_per_mtok, row.cache_write_usd_per_mtok];
    let kinds: [(&str, Slot); 4] = [
        ("input_mtok", |step| &mut step.input),
        ("output_mtok", |step| &mut step.output),
        ("cache_read_mtok", |step| &mut step.cached),
        ("cache_write_mtok", |step| &mut step.cache_write),
    ];
    for (name, slot) in kinds {
        add_tiers(ladder, prices, name, slot)?;
    }
    // A kind of token without a tier costs the same at every length.
    for step in ladder.steps() {
        read = step.cached.or(read);
        write = step.cache_write.or(write);
        (step.cached, step.cache_write) = (read, write);
    }
    Ok(())
}

/// Selects the field of a step for one kind of token.
type Slot = fn(&mut Step) -> &mut Option<Decimal>;

/// Adds the tiers of one kind of token.
fn add_tiers(ladder: &mut Ladder, prices: Prices<'_>, name: &str, slot: Slot) -> Result<(), BadField> {
    let tiers = prices.get(name).and_then(Node::fields).and_then(|fields| get(fields, "tiers"));
    let Some(Node::List(tiers)) = tiers else { return Ok(()) };
    let field = format!("{name}.tiers");
    for node in tiers {
        let fields = node.fields().unwrap_or_default();
        let start = get(fields, "start");
        let Some(above) = tokens(start) else {
            return Err(prices.bad_value(&field, start, "is not a number of tokens"));
        };
        let price = get(fields, "price");
        let Some(price) = prices.checked(&field, price)? else {
            return Err(prices.bad_value(&field, price, "is missing"));
        };
        *slot(ladder.above(above)) = Some(price);
    }
    Ok(())
}

/// The batch price, from a variant in force today.
fn batch(row: &mut ApiPrice, ladder: &mut Ladder, variant: &Fields, today: Date) -> Result<(), BadField> {
    let when = get(variant, "when").and_then(Node::fields).unwrap_or_default();
    let Some(fields) = get(variant, "prices").and_then(Node::fields) else { return Ok(()) };
    if text(when, "processing") != Some("batch") || when.len() != 1 {
        return Ok(());
    }
    if let Some(constraint) = get(variant, "constraint").and_then(Node::fields) {
        let start = text(constraint, "start_date").and_then(|day| day.parse::<Date>().ok());
        if start.is_none_or(|day| day > today) {
            return Ok(());
        }
    }
    let (input, output) = (flat(fields, "input_mtok")?, flat(fields, "output_mtok")?);
    row.batch = input.zip(output).map(|(input, output)| InputOutput { input, output });
    let prices = Prices { inside: "price_variants.prices.", fields, scale: Decimal::ONE };
    add_tiers(ladder, prices, "input_mtok", |step| &mut step.batch_input)?;
    add_tiers(ladder, prices, "output_mtok", |step| &mut step.batch_output)?;
    let [mut input, mut output] = [input, output];
    for step in ladder.steps() {
        input = step.batch_input.or(input);
        output = step.batch_output.or(output);
        (step.batch_input, step.batch_output) = (input, output);
    }
    Ok(())
}

/// An optional price, without its tiers.
fn flat(fields: &Fields, name: &str) -> Result<Option<Decimal>, BadField> {
    let prices = Prices { inside: "prices.", fields, scale: Decimal::ONE };
    prices.extra_node(name, base(prices.get(name)))
}

/// The price of a short prompt, where there are tiers.
fn base(node: Option<&Node>) -> Option<&Node> {
    match node {
        Some(Node::Object(fields)) => get(fields, "base"),
        other => other,
    }
}
