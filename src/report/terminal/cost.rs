//! What was asked about a record's dollars: assumptions, sensitivity, margin, target.

use crate::base::text::{count, printable};
use crate::base::units::significant;
use crate::cost::assumption::{Assumption, Origin};
use crate::cost::margin::{Estimate, Margin, MarginAt, PriceForMargin};
use crate::cost::mix;
use crate::cost::sensitivity::Sensitivity;
use crate::cost::target::{HourView, Target};
use crate::cost::view::View;
use crate::record::{Apart, CostCell, Figure};
use crate::report::{PricedRow, device, verdict};

use super::{Page, Style};
use crate::report::format::{hourly, number, percent, range, trimmed, usd, wrap};

/// The lines under a record's dollars in `bench cost`.
pub fn render_cost_view(view: &View, style: Style) -> String {
    let mut out = Page::default();
    if let Some(figure) = *view.cost.usd_per_million_total_tokens {
        out.line(format_args!(
            "\n{} at its own mix, input and output alike, {} busy: {}",
            style.strong(&usd(figure.value)),
            percent(view.cost.utilization),
            range(figure.ci95, usd)
        ));
    }
    cells(&mut out, &view.cost.cells, view.cost.utilization, style);
    separation(&mut out, view, style);
    if let Some(figure) = view.usd_per_million_computed_input_tokens {
        out.line(format_args!("input is per prompt token; per computed token {}", usd(figure.value)));
    }
    if let Some(margin) = &view.margin {
        self::margin(&mut out, margin, view.cost.utilization, style);
    }
    if let Some(price) = &view.price_for_margin {
        price_for_margin(&mut out, price, view.cost.utilization, style);
    }
    if let Some(target) = &view.target {
        self::target(&mut out, target, style);
        if let Some(distance) = view.distance {
            let measured = number(distance.measured_tokens_per_second);
            let reached = percent(distance.reached);
            out.line(format_args!("  measured {measured} tokens/s, input plus output: {reached} of that"));
        }
    }
    sensitivities(&mut out, &view.sensitivity, style);
    assumptions(&mut out, &view.assumptions, style);
    notes(&mut out, &view.notes, style);
    out.into_text()
}

/// `bench cost` of several records: a line each, and what it is in a line below.
pub fn render_priced(rows: &[PricedRow<'_>], style: Style) -> String {
    let mut out = Page::default();
    let header = format!(
        "{:>9} {:>9} {:>9} {:>9} {:>6}  {}",
        "USD/h", "input", "output", "own mix", "busy", "verdict"
    );
    let head = format!("{}, USD per million tokens", count(rows.len(), "record"));
    out.line(format_args!("{}\n{}", style.strong(&head), style.dim(&header)));
    for row in rows {
        let cost = &row.view.cost;
        let figure = |figure: Option<Figure>| figure.map_or("–".to_owned(), |figure| usd(figure.value));
        let hour = cost.price.as_ref().map(|price| hourly(price.usd_per_hour).to_string());
        let verdict = cost.verdict.as_ref().map_or("–".to_owned(), |verdict| {
            let said = verdict::short(verdict);
            if verdict.is_good() { style.good(&said) } else { said }
        });
        out.line(format_args!(
            "{:>9} {:>9} {:>9} {:>9} {:>6}  {verdict}",
            hour.unwrap_or_else(|| "–".to_owned()),
            figure(*cost.usd_per_million_input_tokens),
            figure(*cost.usd_per_million_output_tokens),
            figure(*cost.usd_per_million_total_tokens),
            percent(cost.utilization)
        ));
        let cell = cost.headline_cell.as_ref().map_or(String::new(), |cell| format!(", {}", cell.label()));
        let what = format!("{} on {}{cell} · {}", row.record.model.label(), device(row.record), row.label);
        for text in wrap(&printable(&what), 72) {
            out.line(format_args!("          {}", style.dim(&text)));
        }
    }
    out.line(format_args!("{}", style.dim("-v prints each in full; -o md and --json have them too")));
    out.into_text()
}

/// `bench cost` without a record.
pub fn render_hours(hours: &[HourView], style: Style) -> String {
    let mut out = Page::default();
    if let Some(first) = hours.iter().find_map(|hour| hour.target.as_ref()) {
        let head = format!("tokens/s while busy at which a million costs {}", usd(first.usd_per_million));
        out.line(format_args!("{}", style.strong(&head)));
        let columns =
            |texts: Vec<String>| texts.iter().fold(String::new(), |line, text| line + &format!("{text:>11}"));
        let shares = columns(first.by_utilization.iter().map(|at| percent(at.utilization)).collect());
        out.line(format_args!("{}", style.dim(&format!("{:>9} {:>12} {shares}", "USD/h", "M tokens/h"))));
        for (hour, target) in hours.iter().filter_map(|hour| Some((hour, hour.target.as_ref()?))) {
            let rates =
                columns(target.by_utilization.iter().map(|at| number(at.tokens_per_second)).collect());
            let million = significant(target.million_tokens_per_hour, 4);
            out.line(format_args!("{:>9} {million:>12} {rates}", usd_per_hour(hour)));
        }
        let busy = first.utilization;
        if first.by_utilization.iter().all(|at| (at.utilization - busy).abs() > 1e-9) {
            for target in hours.iter().filter_map(|hour| hour.target.as_ref()) {
                let needed = number(target.tokens_per_second);
                out.line(format_args!("at {} utilization {needed} tokens/s", percent(busy)));
            }
        }
    }
    for (hour, published) in hours.iter().filter_map(|hour| Some((hour, hour.published?))) {
        out.line(format_args!(
            "{} per million at {} tokens/s and ${} an hour, {} busy",
            style.strong(&usd(published.usd_per_million)),
            number(published.tokens_per_second),
            usd_per_hour(hour),
            percent(published.utilization)
        ));
    }
    let about = "counting all tokens, or output alone (whose price then includes the input)";
    out.line(format_args!("{}", style.dim(about)));
    if let Some(first) = hours.first() {
        // A price that was typed is in the table; what else was assumed is the same for each.
        let typed = |a: &&Assumption| a.name == "price_per_hour" && a.from == Origin::Flag;
        let rest: Vec<Assumption> = first.assumptions.iter().filter(|a| !typed(a)).cloned().collect();
        if rest.iter().any(|a| a.name == "price_per_hour") {
            for text in wrap(&first.price.label, 78) {
                out.line(format_args!("{}", style.dim(&text)));
            }
        }
        assumptions(&mut out, &rest, style);
        let said: Vec<String> = first.notes.iter().map(|note| (*note).to_owned()).collect();
        notes(&mut out, &said, style);
    }
    out.into_text()
}

/// Every cell, when there are several: the figures above repeat one of them.
fn cells(out: &mut Page, cells: &[CostCell], utilization: f64, style: Style) {
    if cells.len() < 2 {
        return;
    }
    let header = format!(
        "{:<26} {:>9} {:>9} {:>9} {:>10}  USD a million, {} busy",
        "cell",
        "input",
        "output",
        "own mix",
        "all output",
        percent(utilization)
    );
    out.line(format_args!("\n{}", style.dim(&header)));
    let figure = |figure: Option<Figure>| figure.map_or("–".to_owned(), |figure| usd(figure.value));
    for cell in cells {
        let apart = match cell.apart {
            Apart::Measured => "",
            Apart::Separated => "by least squares",
            Apart::Allocated => "allocated",
            Apart::Together => "not told apart",
        };
        out.line(format_args!(
            "{:<26} {:>9} {:>9} {:>9} {:>10}  {}",
            cell.cell.label(),
            figure(*cell.usd_per_million_input_tokens),
            figure(*cell.usd_per_million_output_tokens),
            figure(mix(cell)),
            usd(cell.usd_per_million_all_output_tokens.value),
            style.dim(apart)
        ));
    }
}

fn usd_per_hour(hour: &HourView) -> String {
    hourly(hour.price.usd_per_hour).to_string()
}

fn separation(out: &mut Page, view: &View, style: Style) {
    for fit in &view.cost.separations {
        let head = format!(
            "input and output separated by a fit over {} cells, {} requests at once",
            fit.cells, fit.batch
        );
        out.line(format_args!("\n{}", style.strong(&head)));
        for (name, figure) in
            [("input", fit.usd_per_million_input_tokens), ("output", fit.usd_per_million_output_tokens)]
        {
            out.line(format_args!("  {name:<12} {:>10}   {}", usd(figure.value), range(figure.ci95, usd)));
        }
        let worst = fit.residuals.iter().fold(0f64, |worst, residual| worst.max(residual.abs()));
        let quality = format!(
            "least squares; condition number {}, largest residual {}",
            significant(fit.condition_number, 2),
            percent(worst)
        );
        out.line(format_args!("  {}", style.dim(&quality)));
    }
    let together = view.cost.cells.iter().find(|cell| cell.apart == Apart::Together);
    if let Some(reason) = together.and_then(|cell| cell.usd_per_million_input_tokens.reason()) {
        for text in wrap(
            &format!(
                "input and output: {reason}; measure several mixes (one record or --together), or allocate by --price-ratio"
            ),
            78,
        ) {
            out.line(format_args!("{}", style.warn(&text)));
        }
    }
}

fn margin(out: &mut Page, margin: &Margin, utilization: f64, style: Style) {
    let sell = if (margin.sell.input_usd_per_million - margin.sell.output_usd_per_million).abs() < 1e-12 {
        usd(margin.sell.output_usd_per_million)
    } else {
        format!(
            "{} input, {} output",
            usd(margin.sell.input_usd_per_million),
            usd(margin.sell.output_usd_per_million)
        )
    };
    out.line(format_args!("\n{}", style.strong(&format!("Sold at {sell} per million tokens"))));
    let mix = significant(margin.input_to_output, 3);
    let (brings, costs) = (usd(margin.revenue_usd_per_million), usd(margin.cost_usd_per_million.value));
    let busy = percent(utilization);
    out.line(format_args!("  at {mix}:1 and {busy} busy, a million sells for {brings} and costs {costs}"));
    let estimate = |name: &str, found: Estimate| {
        format!("  {name:<22} {:>8}   {}", percent(found.value), range(found.ci95, percent))
    };
    out.line(format_args!("{}", style.strong(&estimate("gross margin", margin.gross_margin))));
    out.line(format_args!("{}", estimate("markup", margin.markup)));
    if let Some(u) = *margin.break_even_utilization {
        out.line(format_args!("{}", estimate("break-even utilization", u)));
        if u.value > 1.0 {
            out.line(format_args!("  {}", style.bad("above 100%: no load breaks even")));
        }
    } else if let Some(reason) = margin.break_even_utilization.reason() {
        out.line(format_args!("  {}", style.bad(reason)));
    }
    let points = |points: &[MarginAt], name: &dyn Fn(f64) -> String| {
        points
            .iter()
            .map(|p| format!("{} {}", name(p.at), percent(p.gross_margin)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    out.line(format_args!("  margin by utilization  {}", points(&margin.by_utilization, &percent)));
    if let Some(reason) = &margin.by_mix_reason {
        out.line(format_args!("  margin by mix          {}", style.dim(reason)));
    } else {
        let name = |ratio: f64| format!("{ratio}:1");
        out.line(format_args!("  margin by mix          {}", points(&margin.by_mix, &name)));
    }
    statement(out, margin.statement, style);
}

fn price_for_margin(out: &mut Page, price: &PriceForMargin, utilization: f64, style: Style) {
    let head = format!(
        "For a gross margin of {} (a markup of {}), {} busy",
        percent(price.gross_margin),
        percent(price.markup),
        percent(utilization)
    );
    out.line(format_args!("\n{}", style.strong(&head)));
    for (name, figure) in [
        ("all tokens", Some(price.usd_per_million_total_tokens)),
        ("input", *price.usd_per_million_input_tokens),
        ("output", *price.usd_per_million_output_tokens),
    ] {
        if let Some(Figure { value, ci95 }) = figure {
            out.line(format_args!("  {name:<12} {:>10}   {}", usd(value), range(ci95, usd)));
        }
    }
    statement(out, price.statement, style);
}

fn target(out: &mut Page, target: &Target, style: Style) {
    let needed = number(target.tokens_per_second);
    let busy = percent(target.utilization);
    let head = format!("{} per million needs {needed} tokens/s, {busy} busy", usd(target.usd_per_million));
    out.line(format_args!("\n{}", style.strong(&head)));
    let others = target
        .by_utilization
        .iter()
        .map(|at| format!("{} {}", percent(at.utilization), number(at.tokens_per_second)));
    out.line(format_args!("  by utilization  {}", others.collect::<Vec<_>>().join(", ")));
}

fn sensitivities(out: &mut Page, rows: &[Sensitivity], style: Style) {
    if rows.is_empty() {
        return;
    }
    out.line(format_args!(
        "\n{}",
        style.strong("How each assumption moves the cost per million at the cell's mix")
    ));
    for row in rows {
        let trials = row.trials.iter().map(|trial| {
            let sign = if trial.change >= 0.0 { "+" } else { "-" };
            format!("{} {sign}{}", value(trial.value, row.unit), percent(trial.change.abs()))
        });
        let from = format!("{} {}", row.assumption.replace('_', " "), value(row.base, row.unit));
        out.line(format_args!("  {from:<26} {}", trials.collect::<Vec<_>>().join(", ")));
    }
}

pub(super) fn assumptions(out: &mut Page, rows: &[Assumption], style: Style) {
    out.line(format_args!("\n{}", style.strong("Assumed")));
    let several = rows.iter().any(|row| row.name == "gpus" && row.value > 1.0);
    for row in rows {
        // A record's own price is of all its GPUs.
        let name = match row.name {
            "price_per_hour" if several && row.from != Origin::Record => "price per GPU hour".to_owned(),
            name => name.replace('_', " "),
        };
        let from = match row.from {
            Origin::Flag => row.source.clone(),
            Origin::Record => format!("the record: {}", row.source),
            Origin::Catalog => format!("the catalog: {}", row.source),
            Origin::Default => format!("default: {}", row.source),
        };
        let seen = row.observed.as_ref().map_or(String::new(), |day| format!(", {day}"));
        let head = format!("{name} {}", value(row.value, row.unit));
        let mut lines = wrap(&format!("{from}{seen}"), 50).into_iter();
        out.line(format_args!("  {head:<26} {}", style.dim(&lines.next().unwrap_or_default())));
        for text in lines {
            out.line(format_args!("  {:<26} {}", "", style.dim(&text)));
        }
    }
}

pub(super) fn notes(out: &mut Page, notes: &[String], style: Style) {
    for text in notes.iter().flat_map(|note| wrap(note, 78)) {
        out.line(format_args!("{}", style.warn(&text)));
    }
}

/// Notes on API prices, given as API and notes: each note once, after all the APIs that have it.
pub(super) fn price_notes<'a>(
    out: &mut Page,
    prices: impl Iterator<Item = (&'a str, &'a [String])>,
    style: Style,
) {
    let mut grouped: Vec<(&str, Vec<&str>)> = Vec::new();
    for (api, note) in prices.flat_map(|(api, notes)| notes.iter().map(move |note| (api, note.as_str()))) {
        match grouped.iter_mut().find(|(other, _)| *other == note) {
            Some((_, apis)) if apis.contains(&api) => {}
            Some((_, apis)) => apis.push(api),
            None => grouped.push((note, vec![api])),
        }
    }
    for text in grouped.iter().flat_map(|(note, apis)| wrap(&format!("{}: {note}", apis.join(", ")), 78)) {
        out.line(format_args!("{}", style.dim(&text)));
    }
}

fn statement(out: &mut Page, text: &str, style: Style) {
    for text in wrap(text, 76) {
        out.line(format_args!("  {}", style.dim(&text)));
    }
}

/// A value with its unit, short.
fn value(value: f64, unit: &str) -> String {
    match unit {
        "share" | "share/year" | "of the measured" => percent(value),
        "USD" => format!("${}", thousands_or(value)),
        "USD/h" => format!("${}/h", cents(&trimmed(value, 4))),
        "USD/kWh" => format!("${}/kWh", trimmed(value, 4)),
        "input : 1" => format!("{}:1", trimmed(value, 4)),
        "output : input" => format!("{} to 1", trimmed(value, 4)),
        "GPUs" => format!("{value}"),
        _ => format!("{} {unit}", trimmed(value, 4)),
    }
}

/// An amount with both digits of its cents: `2.70`, but `3`.
fn cents(amount: &str) -> String {
    let one_digit = amount.split_once('.').is_some_and(|(_, digits)| digits.len() == 1);
    if one_digit { format!("{amount}0") } else { amount.to_owned() }
}

fn thousands_or(value: f64) -> String {
    if value >= 1000.0 { number(value) } else { cents(&trimmed(value, 4)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_carry_their_unit() {
        for (number, unit, text) in [
            (0.4, "share", "40%"),
            (0.085, "share", "8.5%"),
            (2.49, "USD/h", "$2.49/h"),
            (2.7, "USD/h", "$2.70/h"),
            (3.0, "USD/h", "$3/h"),
            (40_000.0, "USD", "$40,000"),
            (3.0, "input : 1", "3:1"),
            (1.73, "kW", "1.73 kW"),
        ] {
            assert_eq!(value(number, unit), text);
        }
    }
}
