//! The one place that decides whether this machine is cheaper than buying the tokens: for `run`, `cost` and `compare`.
//!
//! An answer needs figures that can be believed (a valid record, no GPU left unused), the same model on the other
//! side, and an interval: `cheaper` and `dearer` only if the whole interval is on that side, else `not told apart`,
//! and without an interval no verdict. An offline record is held against every tier, since a host's standard price
//! buys no less than its batch price; a served one against standard prices alone. `report::verdict` turns the answer
//! into words.

use crate::base::units::figure;
pub use crate::record::{Answer, ApiVerdict as Verdict, Doubt};
use crate::record::{Estimate, MonthBills, Record, Tier};

use super::compare_api::row::Row;
use super::compare_api::terms::{Here, Service, Volume};

/// What speaks against any verdict on these records' figures.
pub fn doubts(records: &[&Record]) -> Vec<Doubt> {
    let worst = records.iter().map(|record| record.validity.verdict).max();
    let checks = || {
        let mut names: Vec<String> = Vec::new();
        for check in records.iter().flat_map(|record| record.validity.doubts()) {
            if !names.contains(&check.name) {
                names.push(check.name.clone());
            }
        }
        names
    };
    let figures = match worst {
        Some(crate::record::Verdict::Invalid) => Some(Doubt::Invalid { checks: checks() }),
        Some(crate::record::Verdict::Suspect) => Some(Doubt::Suspect { checks: checks() }),
        _ => None,
    };
    let unused = records.iter().find_map(|record| record.environment.unused_gpu.as_ref());
    figures.into_iter().chain(unused.map(|gpu| Doubt::GpuNotUsed { why: gpu.reason.clone() })).collect()
}

/// The answer about the cheapest price that buys as much, and that price: of the same model where one is sold, else of another;
/// with tokens a month it is about the two bills. `rows` are sorted, cheapest first; `None` without a price.
pub(super) fn decide<'a>(
    here: &Here,
    doubts: &[Doubt],
    rows: &'a [Row],
    volume: Option<&Volume>,
) -> Option<(Verdict, &'a Row)> {
    let buys_as_much = |row: &&Row| here.service == Service::Offline || row.tier == Tier::Standard;
    let row = [true, false]
        .into_iter()
        .find_map(|same| rows.iter().filter(|row| row.same_model == same).find(buys_as_much))?;
    let month = volume.zip(row.usd_per_month).map(|(volume, api_usd)| MonthBills {
        tokens_per_month: volume.tokens_per_month,
        machines: volume.machines,
        utilization: volume.utilization,
        here_usd: volume.bill(),
        api_usd,
    });
    let ratio = month.map_or(row.ratio, |month| Estimate::of(month.here_usd, |here| here / month.api_usd));
    let mut doubts = doubts.to_vec();
    if !row.same_model {
        doubts.push(Doubt::AnotherModel);
    }
    if ratio.ci95.is_none() {
        doubts.push(Doubt::NoInterval);
    }
    let answer = match ratio.ci95 {
        _ if !doubts.is_empty() => Answer::NoVerdict,
        Some([_, high]) if high < 1.0 => Answer::Cheaper,
        Some([low, _]) if low > 1.0 => Answer::Dearer,
        _ => Answer::NotToldApart,
    };
    let told = answer != Answer::NoVerdict;
    // What costs more than the price at any load has no utilization at that end.
    let finite = |found: Estimate| Estimate {
        ci95: found.ci95.filter(|ci| ci.iter().all(|end| end.is_finite())),
        ..found
    };
    let verdict = Verdict {
        answer,
        doubts,
        api: row.api.clone(),
        tier: row.tier,
        same_model: row.same_model,
        here_usd_per_million: here.usd_per_million,
        api_usd_per_million: row.comparable(),
        ratio: told.then_some(ratio).ok_or("the figures allow no verdict").into(),
        utilization: here.utilization,
        break_even_utilization: row.break_even_utilization.as_result().copied().map(finite).into(),
        break_even_tokens_per_month: row.break_even_tokens_per_month.clone(),
        month,
    };
    Some((verdict, row))
}

/// The cell among `others` that is most clearly on the other side of the price of `row`, next to the one that the
/// verdict rests on.
pub(super) fn turned_round(
    here: &Here,
    row: &Row,
    others: impl Iterator<Item = (Here, Row)>,
) -> Option<String> {
    let below = |row: &Row| match row.ratio.ci95 {
        Some([_, high]) if high < 1.0 => Some(true),
        Some([low, _]) if low > 1.0 => Some(false),
        Some(_) => None,
        None => Some(row.ratio.value <= 1.0),
    };
    let own = below(row)?;
    let turned = others.filter(|(_, other)| below(other) == Some(!own));
    let (cell, other) = turned.max_by(|(_, a), (_, b)| {
        let far = |row: &Row| row.ratio.value.ln().abs();
        far(a).total_cmp(&far(b))
    })?;
    let figures = |here: &Here, row: &Row, below: bool| {
        format!(
            "{} costs {} than there ({}:1, ${} here against ${})",
            here.cell.label(),
            if below { "less" } else { "more" },
            figure(here.input_to_output, 3),
            figure(here.usd_per_million.value, 3),
            figure(row.comparable(), 3)
        )
    };
    Some(format!(
        "cells fall on both sides of that price: {}, {}; the verdict is about the first",
        figures(here, row, own),
        figures(&cell, &other, !own)
    ))
}
