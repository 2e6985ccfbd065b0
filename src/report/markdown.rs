//! Views of costs as Markdown, for an issue, a pull request or a wiki: tables of the same figures and words as the terminal's.
#![allow(
    clippy::format_push_string,
    reason = "a table is built once; an error of `write!` into a String would have to be dropped"
)]

use crate::base::text::printable;
use crate::cost::compare_api;
use crate::cost::compare_records::{Comparison, Difference};
use crate::cost::month;
use crate::cost::target::HourView;
use crate::cost::verdict::{Answer, Verdict};
use crate::record::{Cell, Figure, Record};

use super::format::{interval, number, percent, usd};
use super::terminal::words::{kept_busy, legend, month_head, this_month};
use super::verdict::{doubt, short, tier, words};
use super::{PricedRow, device};

/// A table; the first columns are left, from `numbers` on right.
fn table(head: &[&str], numbers: usize, rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule: Vec<String> =
        (0..head.len()).map(|at| if at < numbers { "---" } else { "---:" }.to_owned()).collect();
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    let rows = rows.iter().map(|row| row.iter().map(|text| cell(text)).collect::<Vec<_>>());
    let mut text = line(&head) + &line(&rule);
    text.extend(rows.map(|row| line(&row)));
    text
}

/// Text that cannot end a cell or begin markup.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for sign in printable(text).chars() {
        if matches!(sign, '|' | '\\' | '`' | '*' | '_' | '<' | '[' | ']') {
            out.push('\\');
        }
        out.push(sign);
    }
    out
}

fn verdict(found: &Verdict) -> String {
    let said = words(found);
    format!("\n**Verdict** {}: {}\n", cell(&said.head), cell(&said.rest))
}

/// What speaks against a record's figures; nothing when it is valid.
fn doubts(record: &Record) -> String {
    let names: Vec<&str> = record.validity.doubts().map(|check| check.name.as_str()).collect();
    if names.is_empty() {
        String::new()
    } else {
        format!("\nDo not rely on these figures: {}\n", cell(&names.join(", ")))
    }
}

/// `bench cost`: one record with its figures, several as a table.
pub fn cost(rows: &[PricedRow<'_>]) -> String {
    if let [row] = rows {
        return one(row);
    }
    let figure = |figure: Option<Figure>| figure.map_or("–".to_owned(), |figure| usd(figure.value));
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cost = &row.view.cost;
            vec![
                row.label.to_owned(),
                row.record.model.label(),
                device(row.record),
                cost.headline_cell.as_ref().map_or("–".to_owned(), Cell::label),
                cost.verdict.as_ref().map_or("–".to_owned(), short),
                cost.price
                    .as_ref()
                    .map_or("–".to_owned(), |price| price.usd_per_hour.normalize().to_string()),
                percent(cost.utilization),
                figure(*cost.usd_per_million_input_tokens),
                figure(*cost.usd_per_million_output_tokens),
                figure(*cost.usd_per_million_total_tokens),
            ]
        })
        .collect();
    let head = [
        "record",
        "model",
        "device",
        "cell",
        "verdict",
        "USD/h",
        "busy",
        "$/M input",
        "$/M output",
        "$/M own mix",
    ];
    table(&head, 5, &lines)
}

fn one(row: &PricedRow<'_>) -> String {
    let cost = &row.view.cost;
    let mut text = format!("### {} on {}\n\n", cell(&row.record.model.label()), cell(&device(row.record)));
    let Some(price) = &*cost.price else {
        let reason = cost.price.reason().unwrap_or("unknown");
        return format!("{text}No cost: {}\n", cell(reason));
    };
    let at = cost.headline_cell.as_ref().map_or(String::new(), |cell| format!(", at {}", cell.label()));
    text.push_str(&format!(
        "${} an hour ({}), {} busy{at}\n\n",
        price.usd_per_hour.normalize(),
        cell(&price.label),
        percent(cost.utilization)
    ));
    let blended = format!("blended {}:1", cost.blend_ratio);
    let figures = [
        ("input", *cost.usd_per_million_input_tokens),
        ("output", *cost.usd_per_million_output_tokens),
        (blended.as_str(), *cost.usd_per_million_blended_tokens),
        ("all output (whole cost ÷ output tokens)", *cost.usd_per_million_all_output_tokens),
        ("own mix", *cost.usd_per_million_total_tokens),
    ];
    let lines: Vec<Vec<String>> = figures
        .into_iter()
        .filter_map(|(name, figure)| {
            let figure = figure?;
            Some(vec![name.to_owned(), usd(figure.value), interval(figure)])
        })
        .collect();
    text.push_str(&table(&["USD per million tokens", "", "95%"], 1, &lines));
    if !cost.api_comparison.is_empty() {
        let lines: Vec<Vec<String>> = cost
            .api_comparison
            .iter()
            .map(|api| vec![api.api.clone(), tier(api.tier).to_owned(), usd(api.mix_usd_per_million)])
            .collect();
        text.push('\n');
        text.push_str(&table(&["the same tokens from", "tier", "USD per million"], 2, &lines));
    }
    if let Some(found) = &*cost.verdict {
        text.push_str(&verdict(found));
    }
    text + &doubts(row.record) + &notes(&row.view.notes)
}

/// `bench compare RECORD`.
pub fn against_apis(record: &Record, view: &compare_api::View) -> String {
    let here = &view.here;
    let mut text = format!("### {} on {}\n\n", cell(&record.model.label()), cell(&device(record)));
    text.push_str(&format!(
        "{}, ${} an hour, {} of it busy\n\n",
        here.cell.label(),
        number(here.usd_per_hour),
        percent(here.utilization)
    ));
    let month = view.volume.is_some();
    let mut head = vec!["", "tier", "USD per million", "break-even utilization", "break-even tokens a month"];
    if month {
        head.push("USD a month");
    }
    let mut lines = vec![vec![
        "here".to_owned(),
        String::new(),
        format!("{} ({})", usd(here.usd_per_million.value), interval(here.usd_per_million)),
        String::new(),
        String::new(),
    ]];
    if let Some(volume) = &view.volume {
        lines[0].push(usd(volume.usd_per_month));
    }
    for row in &view.rows {
        let name = if row.same_model { row.api.clone() } else { format!("{} (another model)", row.api) };
        let mut line = vec![
            name,
            tier(row.tier).to_owned(),
            usd(row.comparable()),
            row.break_even_utilization.map_or("–".to_owned(), |u| percent(u.value)),
            row.break_even_tokens_per_month
                .map_or("never".to_owned(), |tokens| format!("{}M", number(tokens / 1e6))),
        ];
        if month {
            line.push(row.usd_per_month.map_or("–".to_owned(), usd));
        }
        lines.push(line);
    }
    text.push_str(&table(&head, 2, &lines));
    if let Some(found) = &view.verdict {
        text.push_str(&verdict(found));
    }
    if let Some(other) =
        view.verdict_at_utilization.as_ref().filter(|found| found.answer != Answer::NoVerdict)
    {
        text.push_str(&format!("\nWhatever the volume: {}\n", cell(&words(other).sentence())));
    }
    text.push_str(&notes(view.other_cell.as_slice()));
    text + &doubts(record) + &notes(&view.notes)
}

/// `bench compare RECORD RECORD`.
pub fn against_record(baseline: &Record, other: &Record, found: &Comparison) -> String {
    let name = |record: &Record| format!("{} · {}", cell(&record.model.label()), cell(&record.id));
    let mut text = format!("### {} against {}\n\n", name(other), name(baseline));
    let lines: Vec<Vec<String>> = found
        .metrics
        .iter()
        .chain(&found.dollars)
        .map(|row| {
            let difference = match row.difference {
                Difference::Better => "better",
                Difference::Worse => "worse",
                Difference::Higher => "higher",
                Difference::Lower => "lower",
                Difference::NoDifferenceShown => "no difference shown",
                Difference::NoInterval => "no interval",
                Difference::NoVerdict => "no verdict",
            };
            vec![
                row.metric.clone(),
                row.cell.as_ref().map_or("the process".to_owned(), Cell::label),
                difference.to_owned(),
                number(row.baseline),
                number(row.other),
                number(row.ratio.value),
                row.ratio
                    .ci95
                    .filter(|_| row.difference != Difference::NoVerdict)
                    .map_or("–".to_owned(), |[low, high]| format!("{} to {}", number(low), number(high))),
            ]
        })
        .collect();
    text.push_str(&table(&["figure", "row", "", "baseline", "other", "ratio", "95%"], 3, &lines));
    let doubts = found.doubts.iter().map(|found| format!("no verdict: {}", doubt(found, "a record")));
    text + &notes(&found.caveats.iter().cloned().chain(doubts).collect::<Vec<_>>())
}

/// `bench cost --target`, `--tokens-per-second`.
pub fn hours(hours: &[HourView]) -> String {
    let lines: Vec<Vec<String>> = hours
        .iter()
        .flat_map(|hour| {
            let usd_per_hour = hour.price.usd_per_hour.normalize().to_string();
            let needed = hour
                .target
                .iter()
                .map(|target| (target.utilization, target.tokens_per_second, target.usd_per_million));
            let published = hour.published.iter().map(|published| {
                (published.utilization, published.tokens_per_second, published.usd_per_million)
            });
            needed.chain(published).map(move |(utilization, tokens_per_second, per_million)| {
                vec![usd_per_hour.clone(), percent(utilization), number(tokens_per_second), usd(per_million)]
            })
        })
        .collect();
    table(&["USD/h", "busy", "tokens/s", "USD per million"], 0, &lines)
}

/// `bench cost --input-per-month`.
pub fn month(view: &month::View) -> String {
    let mut head = vec!["", "tier", "input", "cached input", "output", "USD a month"];
    if view.price.is_some() {
        head.extend(["tokens/s to beat it, kept busy", "for this month"]);
    }
    let lines: Vec<Vec<String>> = view
        .bills
        .iter()
        .map(|bill| {
            let mut line = vec![
                bill.api.clone(),
                tier(bill.tier).to_owned(),
                usd(bill.input_usd),
                usd(bill.cached_input_usd),
                usd(bill.output_usd),
                usd(bill.usd_per_month),
            ];
            if view.price.is_some() {
                line.extend([kept_busy(bill), this_month(bill)]);
            }
            line
        })
        .collect();
    let text = format!("### {}\n\n{}", cell(&month_head(view)), table(&head, 2, &lines));
    text + &notes(&legend(view)) + &notes(&view.notes)
}

fn notes(notes: &[String]) -> String {
    if notes.is_empty() {
        return String::new();
    }
    notes.iter().fold("\n".to_owned(), |text, note| text + &format!("- {}\n", cell(note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_its_cell() {
        let text = table(&["name", "USD"], 1, &[vec!["a|b_c".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "| name | USD |\n| --- | ---: |\n| a\\|b\\_c | 1 |\n");
    }
}
