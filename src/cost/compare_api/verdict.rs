//! The answer in a sentence.

use crate::base::units::{significant, thousands};

use super::row::{Row, Tier};
use super::{Here, Service};

/// The answer: against the cheapest host of the same model in the tier that is this record's like, else the
/// cheapest price there is.
pub(super) fn verdict(here: &Here, rows: &[Row]) -> (String, Option<String>) {
    let like = match here.service {
        Service::Offline => Tier::Batch,
        Service::Online => Tier::Standard,
    };
    let found = [(true, Some(like)), (true, None), (false, Some(like)), (false, None)].into_iter().find_map(
        |(same, tier)| {
            rows.iter().find(|row| row.same_model == same && tier.is_none_or(|tier| row.tier == tier))
        },
    );
    let Some(row) = found else { return ("nothing to compare with".to_owned(), None) };
    let tier = match row.tier {
        Tier::Standard => "standard",
        Tier::Batch => "batch",
    };
    let whose = if row.same_model { "the cheapest host of the same model" } else { "another model" };
    let number = |value: f64| significant(value, 2);
    let between = |ci95: Option<[f64; 2]>| {
        let ends = |[low, high]: [f64; 2]| format!(" (95%: {} to {})", three(low), three(high));
        ci95.map_or_else(String::new, ends)
    };
    let share = |value: f64| format!("{}%", significant(value * 100.0, 3));
    let price = match row.ratio.ci95 {
        Some([low, high]) if low <= 1.0 && 1.0 <= high => "no difference in price is shown".to_owned(),
        ci95 if row.ratio.value <= 1.0 => {
            let range = ci95.map(|[low, high]| [1.0 / high, 1.0 / low]);
            format!("{}× cheaper here{}", number(1.0 / row.ratio.value), between(range))
        }
        ci95 => format!("{}× dearer here{}", number(row.ratio.value), between(ci95)),
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
    let text = format!("{price} than {} ({whose}, {tier}); {load}", row.api);
    (text, Some(row.api.clone()))
}

/// A figure of three digits.
pub(super) fn three(value: f64) -> String {
    crate::base::units::significant(value, 3)
}

/// Tokens in millions, as people read them.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, above zero")]
fn millions(tokens: f64) -> String {
    let millions = tokens / 1e6;
    if millions >= 100.0 { thousands(millions.round() as u64) } else { significant(millions, 3) }
}
