//! The answer in a sentence.

use crate::base::units::{significant, thousands};
use crate::record::Cell;

use super::row::{Row, Tier};
use super::{Here, Service, Volume};

/// The answer and what it is about.
pub(super) struct Verdict<'a> {
    /// For the tokens a month that are to be served, else for a machine as busy as was asked.
    pub(super) text: String,
    /// With tokens a month, the other of the two.
    pub(super) at_utilization: Option<String>,
    /// The price that it is held against.
    pub(super) about: Option<&'a Row>,
}

/// The answer: against the cheapest host of the same model in the tier that is this record's like, else the
/// cheapest price there is; with tokens a month, about the two bills.
pub(super) fn verdict<'a>(here: &Here, rows: &'a [Row], volume: Option<&Volume>) -> Verdict<'a> {
    let like = match here.service {
        Service::Offline => Tier::Batch,
        Service::Online => Tier::Standard,
    };
    let found = [(true, Some(like)), (true, None), (false, Some(like)), (false, None)].into_iter().find_map(
        |(same, tier)| {
            rows.iter().find(|row| row.same_model == same && tier.is_none_or(|tier| row.tier == tier))
        },
    );
    let Some(row) = found else {
        return Verdict { text: "nothing to compare with".to_owned(), at_utilization: None, about: None };
    };
    let tier = match row.tier {
        Tier::Standard => "standard",
        Tier::Batch => "batch",
    };
    let load = match (row.break_even_utilization, row.break_even_tokens_per_month) {
        (Some(u), Some(tokens)) => format!(
            "one machine that is always on is cheaper from {} utilization, {} million tokens a month",
            share(u.value),
            millions(tokens)
        ),
        (Some(u), None) => format!("no load makes it cheaper (break-even at {} utilization)", share(u.value)),
        (None, _) => "no load makes it cheaper".to_owned(),
    };
    let busy =
        if here.utilization < 1.0 { share(here.utilization) + " busy" } else { "always busy".to_owned() };
    let whose = if row.same_model { "the cheapest host of the same model" } else { "another model" };
    let it = format!("{} ({whose}, {tier})", row.api);
    let priced = if row.same_model { against_the_same(row) } else { against_another(here, row) };
    let Some((volume, there)) = volume.zip(row.usd_per_month) else {
        let text = if row.same_model {
            format!("{priced} than {it}; {load}")
        } else {
            format!("{priced} of {it}, {PRICES_ALONE}; {load}")
        };
        return Verdict { text, at_utilization: None, about: Some(row) };
    };
    let bills = format!("${} a month against ${}", three(volume.usd_per_month), three(there));
    let tokens = millions(volume.tokens_per_month);
    let text = if row.same_model {
        let side = sided(volume.usd_per_month / there);
        format!("at {tokens} million tokens a month {side} {it}: {bills}; {load}")
    } else {
        format!("at {tokens} million tokens a month {bills} of {it}, {PRICES_ALONE}; {load}")
    };
    Verdict { text, at_utilization: Some(format!("{busy}, whatever the volume: {priced}")), about: Some(row) }
}

/// What a comparison with another model is worth.
const PRICES_ALONE: &str = "which compares prices, not what they buy";

/// By how much the same model is cheaper or dearer here, with the interval.
fn against_the_same(row: &Row) -> String {
    let number = |value: f64| significant(value, 2);
    let between = |ci95: Option<[f64; 2]>| {
        let ends = |[low, high]: [f64; 2]| format!(" (95%: {} to {})", three(low), three(high));
        ci95.map_or_else(String::new, ends)
    };
    match row.ratio.ci95 {
        Some([low, high]) if low <= 1.0 && 1.0 <= high => "no difference in price is shown".to_owned(),
        ci95 if row.ratio.value <= 1.0 => {
            let range = ci95.map(|[low, high]| [1.0 / high, 1.0 / low]);
            format!("{}× cheaper here{}", number(1.0 / row.ratio.value), between(range))
        }
        ci95 => format!("{}× dearer here{}", number(row.ratio.value), between(ci95)),
    }
}

/// The two prices and no factor: another model's tokens are not worth the same.
fn against_another(here: &Here, row: &Row) -> String {
    format!(
        "${} a million tokens here against ${}",
        three(here.usd_per_million.value),
        three(row.comparable())
    )
}

/// Which of two bills is smaller, and by how much.
fn sided(ratio: f64) -> String {
    match significant(ratio.max(1.0 / ratio), 2) {
        same if same == "1.0" => "about the same as".to_owned(),
        times if ratio < 1.0 => format!("{times}× cheaper here than"),
        times => format!("{times}× dearer here than"),
    }
}

/// The cell among `others` that turns the verdict against `row` round most clearly, beside the one that it rests on.
pub(super) fn turned_round(
    here: &Here,
    row: &Row,
    others: impl Iterator<Item = (Here, Row)>,
) -> Option<String> {
    let side = |ratio: f64| if ratio <= 1.0 { "cheaper" } else { "dearer" };
    let turned = others.filter(|(_, other)| side(other.ratio.value) != side(row.ratio.value));
    let (cell, other) = turned.max_by(|(_, a), (_, b)| {
        let far = |row: &Row| row.ratio.value.ln().abs();
        far(a).total_cmp(&far(b))
    })?;
    let figures = |here: &Here, row: &Row| {
        format!(
            "{} is {} ({}:1, ${} here against ${})",
            named(&here.cell),
            side(row.ratio.value),
            three(here.input_to_output),
            three(here.usd_per_million.value),
            three(row.comparable())
        )
    };
    Some(format!(
        "another cell turns it round: {}, {}; the verdict is about the first",
        figures(here, row),
        figures(&cell, &other)
    ))
}

/// A cell by its lengths and how many ran at once.
fn named(cell: &Cell) -> String {
    format!("{}+{} b{}", cell.prompt_tokens, cell.output_tokens, cell.batch)
}

/// A figure of three digits.
pub(super) fn three(value: f64) -> String {
    let text = significant(value, 3);
    if value >= 1000.0 { whole(value) } else { text }
}

fn share(value: f64) -> String {
    format!("{}%", significant(value * 100.0, 3))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an amount above zero")]
fn whole(value: f64) -> String {
    thousands(value.round() as u64)
}

/// Tokens in millions, as people read them.
fn millions(tokens: f64) -> String {
    let millions = tokens / 1e6;
    if millions >= 100.0 { whole(millions) } else { significant(millions, 3) }
}
