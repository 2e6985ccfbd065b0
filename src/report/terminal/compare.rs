//! A record against API prices, and against another record.

use crate::cost::compare_api::{Service, View};
use crate::cost::compare_records::{Comparison, Difference, FigureRatio};
use crate::cost::verdict::Answer;
use crate::record::{Cell, Record};
use crate::report::verdict::{doubt, tier, words};

use super::cost::{assumptions, notes, price_notes};
use super::result::caveats;
use super::verdict::under;
use super::{Page, Style};
use crate::base::text::count;
use crate::base::units::significant;
use crate::report::format::{number, percent, range, shorten, tokens, usd, wrap};

/// `bench compare RECORD`.
pub fn render_compare_api(record: &Record, view: &View, style: Style) -> String {
    let mut out = Page::default();
    let here = &view.here;
    let head = record.model.label();
    out.line(format_args!("{}", style.strong(&head)));
    caveats(&mut out, record, style);
    let service = match here.service {
        Service::Offline => "offline",
        Service::Online => "online",
    };
    let hour =
        format!("${} an hour, {} of it busy", significant(here.usd_per_hour, 4), percent(here.utilization));
    if here.mix_measured {
        let speed = number(here.tokens_per_second);
        out.line(format_args!("{} · {service}, {speed} tokens/s, {hour}", here.cell.label()));
    } else {
        let mix = significant(here.input_to_output, 3);
        out.line(format_args!(
            "{mix}:1 was not measured: computed from input and output of {}",
            here.cell.label()
        ));
        out.line(format_args!("{service}, {hour}"));
    }
    let header = format!(
        "{:<38} {:<8} {:>8} {:>7} {:>12}",
        format!("USD per million tokens at {}:1", significant(here.input_to_output, 3)),
        "tier",
        "USD",
        "busy",
        "a month"
    );
    out.line(format_args!("\n{}", style.dim(&header)));
    let interval = here.usd_per_million.ci95.map(|ci95| format!(", 95%: {}", range(Some(ci95), usd)));
    let name = format!("here{}", interval.unwrap_or_default());
    let name = style.strong(&format!("{name:<38}"));
    out.line(format_args!("{name} {:<8} {:>8}", "", usd(here.usd_per_million.value)));
    let told = view.verdict.as_ref().is_some_and(|verdict| verdict.answer != Answer::NoVerdict);
    for row in &view.rows {
        let tier = tier(row.tier);
        let name = if row.same_model { row.api.clone() } else { format!("{} *", row.api) };
        let text = format!(
            "{:<38} {tier:<8} {:>8} {:>7} {:>12}",
            shorten(&name, 38),
            usd(row.usd_per_million_own_tokens.unwrap_or(row.usd_per_million)),
            // A machine that must be busy for more than all of its time is never cheaper.
            row.break_even_utilization
                .filter(|busy| busy.value <= 1.0)
                .map_or("never".to_owned(), |busy| percent(busy.value)),
            row.break_even_tokens_per_month.map_or("never".to_owned(), tokens),
        );
        // At some load this machine wins, whatever end of the interval is true.
        let wins = row.break_even_utilization.and_then(|u| u.ci95).is_some_and(|[_, high]| high <= 1.0);
        let text = if told && row.same_model && wins { style.good(&text) } else { text };
        out.line(format_args!("{text}{}", if row.stale { style.warn(" old") } else { String::new() }));
    }
    price_notes(&mut out, view.rows.iter().map(|row| (row.api.as_str(), &row.notes[..])), style);
    for spread in &view.spread {
        let tier = tier(spread.tier);
        let text = format!(
            "{} of {}, {tier}: {} lowest, {} median, {} highest",
            count(spread.prices, "price"),
            count(spread.hosts, "host"),
            usd(spread.min),
            usd(spread.median),
            usd(spread.max)
        );
        out.line(format_args!("{}", style.dim(&text)));
    }
    out.line(format_args!(
        "{}",
        style.dim("busy, a month: utilization and tokens a month above which this machine is cheaper;")
    ));
    let capacity = tokens(here.capacity_tokens_per_month);
    let starred = if view.rows.iter().all(|row| row.same_model) { "" } else { "; * another model" };
    out.line(format_args!(
        "{}",
        style.dim(&format!("one machine serves at most {capacity} a month{starred}"))
    ));
    if let Some(counted) = *view.counted {
        let text = format!(
            "{} characters are {} tokens here and {} there; other models' prices are for the text of a million tokens here",
            counted.characters, counted.own_tokens, counted.api_tokens
        );
        for text in wrap(&text, 78) {
            out.line(format_args!("{text}"));
        }
    }
    if let Some(volume) = &view.volume {
        out.line(format_args!(
            "\n{} tokens a month: {}, {} busy, {} a month",
            tokens(volume.tokens_per_month),
            count(volume.machines, "machine"),
            percent(volume.utilization),
            style.strong(&usd(volume.usd_per_month))
        ));
        for row in view.rows.iter().take(MONTHS) {
            if let Some(month) = row.usd_per_month {
                let (name, tier) = (shorten(&row.api, 38), tier(row.tier));
                out.line(format_args!("  {name:<38} {tier:<8} {:>9} a month", usd(month)));
            }
        }
        if view.rows.len() > MONTHS {
            let more = format!("  and {} more, dearer (--json has them)", view.rows.len() - MONTHS);
            out.line(format_args!("{}", style.dim(&more)));
        }
    }
    out.line(format_args!(""));
    if let Some(verdict) = &view.verdict {
        super::verdict::verdict(&mut out, verdict, style);
    }
    if let Some(other) =
        view.verdict_at_utilization.as_ref().filter(|other| other.answer != Answer::NoVerdict)
    {
        under(&mut out, &format!("whatever the volume: {}", words(other).sentence()), |text| style.dim(text));
    }
    if let Some(text) = &view.other_cell {
        under(&mut out, text, |text| style.warn(text));
    }
    for note in &view.quality {
        let said = note.figure.as_deref().or(note.figure.reason()).unwrap_or_default();
        for text in wrap(said, 78) {
            out.line(format_args!("{}", style.warn(&text)));
        }
    }
    notes(&mut out, &view.notes, style);
    assumptions(&mut out, &view.assumptions, style);
    out.into_text()
}

/// Months of the API prices that are shown.
const MONTHS: usize = 5;

/// `bench compare RECORD RECORD`.
pub fn render_compare_records(baseline: &Record, other: &Record, found: &Comparison, style: Style) -> String {
    let mut out = Page::default();
    for (name, record) in [("baseline", baseline), ("other", other)] {
        let what = format!("{} · {}", record.model.label(), record.id);
        out.line(format_args!("{name:<9} {}", style.strong(&what)));
        caveats(&mut out, record, style);
    }
    let doubts = found.doubts.iter().map(|found| format!("no verdict: {}", doubt(found, "a record")));
    for text in found.caveats.iter().cloned().chain(doubts).flat_map(|text| wrap(&text, 78)) {
        out.line(format_args!("{}", style.warn(&text)));
    }
    for (head, rows) in [("measured", &found.metrics), ("USD per million", &found.dollars)] {
        if rows.is_empty() {
            continue;
        }
        let header = format!("{head:<34} {:>9} {:>9} {:>6}  95%", "baseline", "other", "x");
        out.line(format_args!("\n{}", style.dim(&header)));
        let mut cells: Vec<_> = rows.iter().map(|row| &row.cell).collect();
        let mut seen = Vec::new();
        cells.retain(|cell| {
            !seen.contains(cell) && {
                seen.push(*cell);
                true
            }
        });
        for cell in cells {
            out.line(format_args!("{}", cell.as_ref().map_or("the process".to_owned(), Cell::label)));
            rows.iter().filter(|row| row.cell == *cell).for_each(|row| line(&mut out, row, style));
        }
    }
    out.into_text()
}

fn line(out: &mut Page, row: &FigureRatio, style: Style) {
    let money = row.metric.strip_prefix("usd_per_million_");
    let name = money.unwrap_or(&row.metric).replace('_', " ");
    // An interval claims how far the ratio can be trusted.
    let ci95 = row.ratio.ci95.filter(|_| row.difference != Difference::NoVerdict);
    let interval = ci95.map_or("–".to_owned(), |[low, high]| {
        format!("{} to {}", significant(low, 3), significant(high, 3))
    });
    let number = |value: f64| if money.is_some() { usd(value) } else { short(value) };
    let (better, worse) = if money.is_some() {
        ("cheaper", "dearer")
    } else if row.metric.starts_with("joules")
        || row.metric.ends_with("_joules")
        || row.metric.ends_with("_bytes")
    {
        ("less", "more")
    } else {
        ("faster", "slower")
    };
    let said = match row.difference {
        Difference::Better => style.good(better),
        Difference::Worse => style.bad(worse),
        Difference::Higher => "higher".to_owned(),
        Difference::Lower => "lower".to_owned(),
        Difference::NoDifferenceShown => style.dim("no difference shown"),
        Difference::NoInterval => style.dim("no interval"),
        Difference::NoVerdict => style.dim("no verdict"),
    };
    out.line(format_args!(
        "  {:<32} {:>9} {:>9} {:>6}  {interval:<14} {said}",
        shorten(&name, 32),
        number(row.baseline),
        number(row.other),
        significant(row.ratio.value, 3)
    ));
}

fn short(value: f64) -> String {
    if value >= 1e6 { tokens(value) } else { number(value) }
}
