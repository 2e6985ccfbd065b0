//! What each API bills for a month's tokens, and the speed that beats it.

use crate::base::text::count;
use crate::base::units::significant;
use crate::cost::month::{Bill, View};
use crate::report::format::{hourly, number, percent, shorten, tokens, usd, wrap};
use crate::report::verdict::tier;

use super::cost::{assumptions, notes, price_notes};
use super::{Page, Style, WIDTH};

/// `bench cost --input-per-month N --output-per-month N --model NAME`.
pub fn render_month(view: &View, style: Style) -> String {
    let mut out = Page::default();
    out.line(format_args!("{}", style.strong(&head(view))));
    let mut columns: Vec<Column> = vec![("input", |bill| usd(bill.input_usd))];
    if view.cached_share > 0.0 {
        columns.push(("cached", |bill| usd(bill.cached_input_usd)));
    }
    columns.push(("output", |bill| usd(bill.output_usd)));
    columns.push(("a month", |bill| usd(bill.usd_per_month)));
    if view.price.is_some() {
        columns.push(("kept busy", kept_busy));
        columns.push(("this month", this_month));
    }
    let width = |name: &str| name.len().max(8) + 1;
    let rest: usize = columns.iter().map(|(name, _)| width(name)).sum();
    // With room for a mark after an old price.
    let api = (WIDTH - 4 - rest).min(40);
    let line = |first: &str, cells: &dyn Fn(&Column) -> String| {
        columns.iter().fold(format!("{first:<api$}"), |line, column| {
            line + &format!("{:>1$}", cells(column), width(column.0))
        })
    };
    out.line(format_args!(""));
    if view.price.is_some() {
        out.line(format_args!("{}", style.dim(&format!("{:>1$}", "tokens/s to beat it", api + rest))));
    }
    // Hosts of one model differ by their name alone.
    let model = |bill: &Bill| bill.api.split_once('/').map(|(_, model)| model.to_owned());
    let one_model = view.bills.windows(2).all(|pair| model(&pair[0]) == model(&pair[1]));
    out.line(format_args!("{}", style.dim(&line("USD", &|(name, _)| (*name).to_owned()))));
    for bill in &view.bills {
        let host = bill.api.split_once('/').filter(|_| one_model).map_or(bill.api.as_str(), |(host, _)| host);
        let tier = tier(bill.tier);
        let name = format!("{} {tier}", shorten(host, api - 2 - tier.len()));
        let text = line(&name, &|(_, cell)| cell(bill));
        out.line(format_args!("{text}{}", if bill.stale { style.warn(" old") } else { String::new() }));
    }
    for text in legend(view).iter().flat_map(|text| wrap(text, 78)) {
        out.line(format_args!("{}", style.dim(&text)));
    }
    price_notes(&mut out, view.bills.iter().map(|bill| (bill.api.as_str(), &bill.notes[..])), style);
    notes(&mut out, &view.notes, style);
    if !view.assumptions.is_empty() {
        assumptions(&mut out, &view.assumptions, style);
    }
    out.into_text()
}

/// A column's name and its cell.
type Column = (&'static str, fn(&Bill) -> String);

/// What was asked.
pub(in crate::report) fn head(view: &View) -> String {
    let [input, output] = [view.input_tokens_per_month, view.output_tokens_per_month];
    let cached = if view.cached_share > 0.0 {
        format!(", {} of the input cached", percent(view.cached_share))
    } else {
        String::new()
    };
    format!(
        "A month of {}: {} input and {} output tokens ({}:1){cached}",
        view.model,
        tokens(input),
        tokens(output),
        significant(input / output, 3)
    )
}

/// What the columns mean, and where a machine stands.
pub(in crate::report) fn legend(view: &View) -> Vec<String> {
    let Some((price, month)) = view.price.as_ref().zip(view.machine_usd_per_month) else {
        return vec![
            "--gpu ID or --price-per-hour USD adds the tokens/s at which a machine is cheaper".to_owned(),
        ];
    };
    let busy = percent(view.utilization);
    let hour = hourly(price.usd_per_hour);
    let mut said = vec![
        format!("${hour} an hour, {} a month: {}", usd(month), price.label),
        format!(
            "tokens/s (input plus output) above which a machine is cheaper: kept {busy} busy all month, or for this \
             month's tokens alone ({busy} busy at most)"
        ),
    ];
    said.extend(price.warnings.iter().cloned());
    let beaten = view.bills.iter().filter_map(|bill| Some((bill, bill.to_beat.as_ref()?)));
    let (none, some): (Vec<_>, Vec<_>) = beaten.partition(|(_, beat)| beat.machines == 0);
    if !none.is_empty() {
        said.push(format!(
            "never: one machine costs {} a month, more than the bill at any speed",
            usd(month)
        ));
    }
    if let Some(most) = some.iter().map(|(_, beat)| beat.machines).max().filter(|most| *most > 1) {
        said.push(format!("the bill pays for up to {}; they share the tokens", count(most, "machine")));
    }
    if let Some((bill, beat)) = view.bills.first().and_then(|bill| Some((bill, bill.to_beat.as_ref()?))) {
        said.push(format!(
            "at this mix one machine costs what {} bills for {} tokens a month",
            bill.api,
            tokens(beat.break_even_tokens_per_month)
        ));
    }
    said
}

/// Tokens per second of a machine that is kept busy.
pub(in crate::report) fn kept_busy(bill: &Bill) -> String {
    bill.to_beat.as_ref().map_or("–".to_owned(), |beat| number(beat.tokens_per_second_kept_busy))
}

/// Tokens per second for the month's tokens alone.
pub(in crate::report) fn this_month(bill: &Bill) -> String {
    let beat = bill.to_beat.as_ref();
    beat.and_then(|beat| *beat.tokens_per_second_this_month).map_or("never".to_owned(), number)
}
