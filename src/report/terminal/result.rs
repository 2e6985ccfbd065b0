//! One record as a table, its dollars and its verdict.

use crate::base::units::{Bytes, Seconds, figure, significant};
use crate::record::{
    Answer, ApiComparison, ApiVerdict, Cell, Check, Cost, Measurement, Metric, Phase, Record, Verdict,
};
use crate::report::verdict::{tier, times};
use crate::run::measure::{self, RowTrials};

use super::{Page, Style};
use crate::base::text::{clipped, count, printable};
use crate::report::format::{half_width, hourly, interval, percent, shorten, usd, wrap};

/// Trials whose longest takes less than this times the shortest are alike.
const ALIKE: f64 = 1.5;

/// The whole result of a run.
pub fn render(record: &Record, style: Style) -> String {
    let mut out = Page::default();
    heading(&mut out, record, style);
    table(&mut out, record, style);
    super::energy::render(&mut out, &record.energy, style);
    cost(&mut out, &record.cost, style);
    if record.serving.is_some() {
        super::serving::apart(&mut out, &record.cost, style);
    }
    if let Some(greedy) = &*record.quality.greedy {
        let text = clipped(&greedy.text, 58);
        out.line(format_args!("\nOutput   {}", style.dim(&format!("“{}…”", text.trim()))));
    }
    validity(&mut out, record, style);
    out.into_text()
}

fn heading(out: &mut Page, record: &Record, style: Style) {
    unused_gpu(out, record, style);
    let model = &record.model;
    let quantization = model.quantization.as_deref().unwrap_or("format unknown");
    out.line(format_args!("{} · {quantization}", style.strong(&shorten(&model.name, 60))));
    if let Some(note) = &model.quantization_note {
        for text in wrap(note, 78) {
            out.line(format_args!("{}", style.warn(&text)));
        }
    }
    let threads =
        record.engine.threads.map_or(String::new(), |threads| format!(", {}", count(threads, "thread")));
    let device = crate::report::device(record);
    let said = [
        model.architecture.clone().into_option(),
        model.parameters.map(|count| format!("{} parameters", parameters(count))),
        model.weight_bytes.map(|bytes| Bytes::new(bytes).to_string()),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    if !said.is_empty() {
        out.line(format_args!("{}", said.join(", ")));
    }
    let name = record.engine.name.as_deref().unwrap_or("engine unknown");
    let version = record.engine.version.as_deref().map_or(String::new(), |version| format!(" {version}"));
    out.line(format_args!("{name}{version} on {}{threads}", shorten(&device, 44)));
    if let Some(serving) = &record.serving {
        super::serving::heading(out, serving, style);
    }
    if *model.synthetic == Some(true) {
        out.line(format_args!(
            "{}",
            style.warn("synthetic weights: speed is real, text and quality are not")
        ));
    }
    no_ceiling(out, record, style);
    let figure =
        |metric: Metric| record.measurements.iter().find(|m| m.metric == metric).and_then(|m| *m.value);
    let mut facts = Vec::new();
    if let Some(load) = figure(Metric::ModelLoadSeconds) {
        facts.push(format!("loaded in {}", Seconds::new(load)));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of bytes")]
    if let Some(peak) = figure(Metric::PeakMemoryBytes) {
        facts.push(format!("peak memory {}", Bytes::new(peak as u64)));
    }
    if !facts.is_empty() {
        out.line(format_args!("{}", style.dim(&facts.join(", "))));
    }
}

fn table(out: &mut Page, record: &Record, style: Style) {
    if let Some(serving) = &record.serving {
        super::serving::table(out, serving, &record.measurements, style);
        left_out(out, record, style);
        return;
    }
    let rows = rows(&record.measurements);
    if rows.is_empty() && record.workload.rows_left_out.is_empty() {
        let outside = record.measurements.iter().find_map(|m| m.cell.reason());
        match outside.filter(|_| record.imported.is_some()) {
            Some(reason) => out.line(format_args!("\nno figure belongs to a row: {reason}")),
            None => out.line(format_args!("\nno row was measured")),
        }
        return;
    }
    let widest = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0).clamp(3, 26);
    let header = format!("{:<widest$} {:>12} {:>8} {:>5}   {}", "row", "tokens/s", "95% ±", "n", "latency");
    out.line(format_args!("\n{}", style.dim(&header)));
    for row in rows {
        out.line(format_args!(
            "{:<widest$} {} {:>8} {:>5}   {}",
            row.label,
            style.strong(&format!("{:>12}", row.rate)),
            row.interval,
            row.n,
            row.latency
        ));
    }
    left_out(out, record, style);
    for m in &record.measurements {
        let (Some(cell), Some(why)) = (&*m.cell, is_a_rows_rate(m).then(|| wild(m)).flatten()) else {
            continue;
        };
        for text in wrap(&format!("{}: {why}", cell.label()), 76) {
            out.line(format_args!("{}", style.warn(&text)));
        }
    }
}

fn left_out(out: &mut Page, record: &Record, style: Style) {
    for left_out in &record.workload.rows_left_out {
        let text = format!("{} left out: {}", left_out.row, left_out.reason);
        for (index, text) in wrap(&printable(&text), 76).iter().enumerate() {
            let indent = if index > 0 { "  " } else { "" };
            out.line(format_args!("{indent}{}", style.warn(text)));
        }
    }
}

/// A row that was measured, in a line, while the others still run.
pub(super) fn row_line(trials: &RowTrials) -> Option<String> {
    let row = rows(&measure::measurements(trials)).pop()?;
    Some(format!(
        "{}: {} tokens/s, 95% ± {}, n {}, {}",
        row.label, row.rate, row.interval, row.n, row.latency
    ))
}

/// Whether this is the rate that represents its row in a table.
fn is_a_rows_rate(m: &Measurement) -> bool {
    let phase = m.cell.as_ref().map(|cell| &cell.phase);
    matches!(
        (&m.metric, phase),
        (Metric::PrefillTokensPerSecond, Some(Phase::Prefill))
            | (Metric::DecodeTokensPerSecond, Some(Phase::Decode))
            | (Metric::TotalTokensPerSecond, Some(Phase::Joint | Phase::Serving))
    )
}

/// What made an interval wider than its value: a drift, one wild trial, or trials that lie anywhere.
fn wild(m: &Measurement) -> Option<String> {
    let (interval, value) = m.interval().zip(*m.value)?;
    if interval.relative_half_width(value) <= 1.0 || !m.samples.unit.starts_with("seconds") {
        return None;
    }
    let mut seconds = m.samples.values.clone().into_option()?;
    seconds.sort_by(f64::total_cmp);
    let text = |seconds: f64| Seconds::new(seconds).to_string();
    let close =
        |trials: &[f64]| trials.last().zip(trials.first()).is_some_and(|(last, first)| *last < first * ALIKE);
    match seconds.as_slice() {
        [first, .., last] if *last < first * ALIKE => Some(format!(
            "its {} trials took {} to {} and drift, so they count as fewer independent ones",
            seconds.len(),
            text(*first),
            text(*last)
        )),
        [rest @ .., slow] if rest.len() > 1 && close(rest) => Some(format!(
            "one outlier of {}, the other trials took {} to {}",
            text(*slow),
            text(rest[0]),
            text(rest[rest.len() - 1])
        )),
        [fast, rest @ ..] if rest.len() > 1 && close(rest) => Some(format!(
            "one outlier of {}, the other trials took {} to {}",
            text(*fast),
            text(rest[0]),
            text(rest[rest.len() - 1])
        )),
        [first, .., last] => {
            Some(format!("its {} trials took {} to {}", seconds.len(), text(*first), text(*last)))
        }
        _ => None,
    }
}

struct TableRow {
    label: String,
    rate: String,
    interval: String,
    n: String,
    latency: String,
}

fn rows(measurements: &[Measurement]) -> Vec<TableRow> {
    let same = |a: &Measurement, metric: Metric| {
        measurements
            .iter()
            .find(|b| b.metric == metric && *b.cell == *a.cell)
            .and_then(|m| *m.value)
            .map(Seconds::new)
    };
    let mut rows = Vec::new();
    for m in measurements {
        let Some(cell) = &*m.cell else { continue };
        let latency = match (&m.metric, &cell.phase) {
            (Metric::PrefillTokensPerSecond, Phase::Prefill) => {
                same(m, Metric::TimeToFirstTokenSeconds).map(|time| format!("TTFT {time}"))
            }
            (Metric::DecodeTokensPerSecond, Phase::Decode) => {
                same(m, Metric::TimePerOutputTokenSeconds).map(|time| format!("TPOT {time}"))
            }
            // The rate of the row counts input as well.
            (Metric::TotalTokensPerSecond, Phase::Serving) => {
                let output = measurements
                    .iter()
                    .find(|b| b.metric == Metric::OutputTokensPerSecond && b.cell == m.cell)
                    .and_then(|m| *m.value)
                    .map(|rate| format!("output {}/s", figure(rate, 3)));
                let first = same(m, Metric::TimeToFirstTokenSeconds).map(|time| format!("TTFT {time}"));
                let each = same(m, Metric::TimePerOutputTokenSeconds).map(|time| format!("TPOT {time}"));
                Some([output, first, each].into_iter().flatten().collect::<Vec<_>>().join(", "))
            }
            (Metric::TotalTokensPerSecond, Phase::Joint) => {
                let first = same(m, Metric::TimeToFirstTokenSeconds);
                first
                    .zip(same(m, Metric::EndToEndLatencySeconds))
                    .map(|(ttft, all)| format!("TTFT {ttft}, all {all}"))
            }
            _ => continue,
        };
        let interval = m.interval().zip(*m.value).map_or_else(
            || "–".to_owned(),
            |(interval, value)| half_width(interval.relative_half_width(value)),
        );
        rows.push(TableRow {
            label: cell.label(),
            rate: m.value.map_or_else(|| "–".to_owned(), |value| figure(value, 4)),
            interval,
            // Another tool's mean or total has no samples here.
            n: if m.n == 0 { "–".to_owned() } else { m.n.to_string() },
            latency: latency.unwrap_or_default(),
        });
    }
    rows
}

/// The dollars of a record and what they compare with.
pub fn render_cost(record_cost: &Cost, style: Style) -> String {
    let mut out = Page::default();
    cost(&mut out, record_cost, style);
    out.into_text()
}

fn cost(out: &mut Page, cost: &Cost, style: Style) {
    let Some(price) = &*cost.price else {
        let reason = cost.price.reason().unwrap_or("unknown");
        out.line(format_args!("\nNo cost: {reason}"));
        return;
    };
    let observed = price.observed.as_ref().map_or(String::new(), |day| format!(", {day}"));
    let hour = format!("\nCost at ${} an hour", hourly(price.usd_per_hour));
    out.line(format_args!("{}", style.strong(&hour)));
    for text in wrap(&format!("{}{observed}", price.label), 78) {
        out.line(format_args!("  {}", style.dim(&text)));
    }
    for text in price.warnings.iter().flat_map(|warning| wrap(warning, 78)) {
        out.line(format_args!("  {}", style.warn(&text)));
    }
    let blended = format!("blended {}:1", cost.blend_ratio);
    let of_unknown_lengths =
        cost.usd_per_million_total_tokens.filter(|_| cost.usd_per_million_all_output_tokens.is_none());
    let figures = [
        ("input", *cost.usd_per_million_input_tokens, ""),
        ("output", *cost.usd_per_million_output_tokens, ""),
        (blended.as_str(), *cost.usd_per_million_blended_tokens, ""),
        ("all output", *cost.usd_per_million_all_output_tokens, "whole cost ÷ output tokens"),
        ("all tokens", of_unknown_lengths, "input and output alike"),
    ];
    if figures.iter().any(|(_, figure, _)| figure.is_some()) {
        // A file may give rates without the lengths that they belong to.
        let at = cost.headline_cell.as_ref().map_or(String::new(), |cell| format!(", at {}", cell.label()));
        let head = format!("USD per million tokens{at}, {} busy", percent(cost.utilization));
        out.line(format_args!("  {}", style.dim(&head)));
    }
    for (name, figure, note) in figures {
        if let Some(figure) = figure {
            let value = style.strong(&format!("{:>10}", usd(figure.value)));
            out.line(format_args!("  {name:<12} {value}   {:<22} {}", interval(figure), style.dim(note)));
        }
    }
    electricity(out, cost, style);
    comparison(out, cost, style);
}

fn electricity(out: &mut Page, cost: &Cost, style: Style) {
    let Some(electricity) = &*cost.electricity else { return };
    let part = |found: Option<f64>, name: &str| found.map(|found| format!("{} {name}", usd(found)));
    let parts = [
        part(*electricity.usd_per_million_input_tokens, "input"),
        part(*electricity.usd_per_million_output_tokens, "output"),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    out.line(format_args!("  {:<12} {}", "electricity", parts.join(", ")));
    let price = format!(
        "of the device alone, at ${} per kWh ({}); a rent includes it",
        electricity.usd_per_kwh, electricity.label
    );
    for text in wrap(&price, 63) {
        out.line(format_args!("  {:<12} {}", "", style.dim(&text)));
    }
}

fn comparison(out: &mut Page, cost: &Cost, style: Style) {
    let Some(best) = cost.api_comparison.first() else {
        if let Some(reason) = &cost.api_comparison_reason {
            out.line(format_args!(""));
            for text in wrap(reason, 78) {
                out.line(format_args!("  {}", style.dim(&text)));
            }
        }
        return;
    };
    let mix = cost.headline_cell.as_ref().map_or(String::new(), |headline| {
        let counted = cost.cells.iter().find(|cell| cell.cell == *headline).map(|cell| cell.tokens);
        format!(", {}", mix(headline, counted))
    });
    let busy = percent(cost.utilization);
    let head = format!("USD per million tokens at this mix{mix}, {busy} busy");
    out.line(format_args!("\n{}", style.dim(&head)));
    out.line(format_args!("  {:<40} {:>9}", "here", usd(best.here_usd_per_million)));
    for api in cost.api_comparison.iter().take(5) {
        out.line(format_args!(
            "  {:<31} {:<8} {:>9}   {}",
            shorten(&api.api, 31),
            tier(api.tier),
            usd(api.mix_usd_per_million),
            relation(api, cost.verdict.as_ref(), style)
        ));
    }
    if cost.api_comparison.len() > 5 {
        out.line(format_args!("  {}", style.dim(&format!("and {} dearer", cost.api_comparison.len() - 5))));
    }
    if cost.api_comparison.iter().take(5).any(|api| api.usd_per_request.is_some()) {
        let fee = "API prices include their fee per request, at these lengths";
        out.line(format_args!("  {}", style.dim(fee)));
    }
    if let Some(verdict) = &*cost.verdict {
        super::verdict::verdict(out, verdict, style);
    }
}

/// Input to output as counted; where that is not the ratio of the cell's lengths, as in the window of a load, the ratio.
fn mix(cell: &Cell, counted: Option<[u64; 2]>) -> String {
    const NEAR: f64 = 0.005;
    let Cell { prompt_tokens, output_tokens, .. } = cell;
    let lengths = f64::from(*prompt_tokens) / f64::from(*output_tokens);
    match counted.map(|[input, output]| input as f64 / output as f64) {
        Some(ratio) if (ratio / lengths - 1.0).abs() > NEAR => format!("{} in : 1 out", figure(ratio, 3)),
        _ => format!("{prompt_tokens} in : {output_tokens} out"),
    }
}

/// How a price compares with the cost here, if the figures can say.
fn relation(api: &ApiComparison, verdict: Option<&ApiVerdict>, style: Style) -> String {
    let told = verdict.is_some_and(|verdict| verdict.answer != Answer::NoVerdict);
    let text = match *api.ratio_ci95 {
        // Another model's price, which is neither good nor bad news.
        _ if !api.same_model => style.dim("another model"),
        Some([_, high]) if told && high < 1.0 => {
            style.good(&format!("{}× dearer than here", times(1.0 / api.ratio)))
        }
        Some([low, _]) if told && low > 1.0 => style.bad(&format!("{}× cheaper than here", times(api.ratio))),
        Some(_) if told => style.dim("not told apart"),
        _ => String::new(),
    };
    if api.stale { format!("{text} {}", style.warn("old")) } else { text }
}

fn figures(verdict: Verdict, style: Style) -> String {
    match verdict {
        // A record is never that, whatever its checks are.
        Verdict::NotChecked => style.warn("not checked"),
        Verdict::Valid => style.good("valid"),
        Verdict::Suspect => style.warn("suspect"),
        Verdict::Invalid => style.bad("INVALID"),
    }
}

fn validity(out: &mut Page, record: &Record, style: Style) {
    // What is true of the CPU is no good news about a machine whose GPU stood still.
    let verdict = match (record.validity.verdict, &record.environment.unused_gpu) {
        (Verdict::Valid, Some(_)) => "valid for the CPU".to_owned(),
        (verdict, _) => figures(verdict, style),
    };
    let unmade: Vec<&Check> = record.validity.unmade().collect();
    let made = count(record.validity.checks.len() - unmade.len(), "check");
    let not_made = if unmade.is_empty() { String::new() } else { format!(", {} not made", unmade.len()) };
    out.line(format_args!("{} {verdict}, {made}{not_made}", style.strong("Figures ")));
    let mut say = |text: &str, paint: &dyn Fn(&str) -> String| {
        for (index, text) in wrap(text, 68).iter().enumerate() {
            out.line(format_args!("         {}{}", if index > 0 { "  " } else { "" }, paint(text)));
        }
    };
    for check in record.validity.doubts() {
        say(&format!("{}: {}", check.name, check.evidence), &|text| style.warn(text));
    }
    for (why, names) in by_reason(&unmade) {
        say(&format!("not checked: {} ({why})", names.join(", ")), &|text| style.dim(text));
    }
}

/// Checks that were not made, those with the same reason together.
fn by_reason<'a>(unmade: &[&'a Check]) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for check in unmade {
        match groups.iter_mut().find(|(why, _)| *why == check.evidence) {
            Some((_, names)) => names.push(&check.name),
            None => groups.push((&check.evidence, vec![&check.name])),
        }
    }
    groups
}

/// For the head of a view: that a GPU was there but unused, and that the figures were not checked against what the
/// device can do; nothing when neither is so.
pub fn render_caveats(record: &Record, style: Style) -> String {
    let mut out = Page::default();
    caveats(&mut out, record, style);
    out.into_text()
}

pub(super) fn caveats(out: &mut Page, record: &Record, style: Style) {
    unused_gpu(out, record, style);
    no_ceiling(out, record, style);
}

fn unused_gpu(out: &mut Page, record: &Record, style: Style) {
    let Some(gpu) = &record.environment.unused_gpu else { return };
    for text in wrap(&printable(&gpu.to_string()), 78) {
        out.line(format_args!("{}", style.warn(&text)));
    }
}

fn no_ceiling(out: &mut Page, record: &Record, style: Style) {
    let Some(why) = record.validity.no_ceiling() else { return };
    for text in wrap(&printable(&format!("roofline not checked: {why}")), 78) {
        out.line(format_args!("{}", style.warn(&text)));
    }
}

/// What speaks against a record's figures, in a line; nothing when it is valid. The record itself says why.
pub fn render_doubts(record: &Record, style: Style) -> String {
    if record.validity.verdict <= Verdict::Valid {
        return String::new();
    }
    let verdict = figures(record.validity.verdict, style);
    let names: Vec<&str> = record.validity.doubts().map(|check| check.name.as_str()).collect();
    let mut out = Page::default();
    for (index, text) in wrap(&printable(&names.join(", ")), 62).iter().enumerate() {
        let head =
            if index == 0 { format!("{} {verdict}: ", style.strong("Figures ")) } else { " ".repeat(18) };
        out.line(format_args!("{head}{text}"));
    }
    out.into_text()
}

fn parameters(count: u64) -> String {
    let count = count as f64;
    if count >= 1e9 {
        format!("{}B", significant(count / 1e9, 3))
    } else {
        format!("{}M", significant(count / 1e6, 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::known::Known;
    use crate::record::Figure;

    #[test]
    fn an_interval_wider_than_its_value_names_what_made_it() {
        let row = |seconds: &[f64]| {
            let trial = |&seconds: &f64| measure::Trial {
                first_token: None,
                decode: Some(Seconds::new(seconds)),
                gaps: Vec::new(),
                split: [Seconds::ZERO, Seconds::new(seconds)],
                delivered: 8,
            };
            let kind = crate::run::plan::RowKind::Decode { output_tokens: 8 };
            let row = crate::run::plan::Row { kind, batch: 1, depth: 0 };
            let trials = RowTrials { row, warmup: Vec::new(), trials: seconds.iter().map(trial).collect() };
            let measured = measure::measurements(&trials);
            let found = measured.iter().find(|m| is_a_rows_rate(m)).expect("a rate");
            (row_line(&trials).expect("a row"), wild(found))
        };
        let (line, why) = row(&[0.2, 0.21, 1.9]);
        assert!(line.starts_with("tg8: ") && line.contains("95% ± >100%, n 3, TPOT "), "{line}");
        assert_eq!(why.as_deref(), Some("one outlier of 1.90 s, the other trials took 200 ms to 210 ms"));
        let (_, why) = row(&[0.02, 0.2, 0.21]);
        assert_eq!(why.as_deref(), Some("one outlier of 20.0 ms, the other trials took 200 ms to 210 ms"));
        let (_, why) = row(&[0.2, 0.9]);
        assert_eq!(why.as_deref(), Some("its 2 trials took 200 ms to 900 ms"));
        let (line, why) = row(&[0.2, 0.201, 0.199]);
        assert!(why.is_none() && !line.contains("100%"), "{line}");
    }

    #[test]
    fn the_mix_is_the_one_that_was_counted() {
        let cell = Cell {
            prompt_tokens: 32,
            output_tokens: 32,
            batch: 4,
            depth: 0,
            phase: Phase::Serving,
            requests_per_second: None,
        };
        assert_eq!(mix(&cell, Some([12_800, 12_790])), "32 in : 32 out");
        assert_eq!(mix(&cell, Some([9520, 10_000])), "0.952 in : 1 out");
        assert_eq!(mix(&cell, None), "32 in : 32 out");
    }

    #[test]
    fn how_an_api_stands_to_here_is_said_in_words_where_the_figures_can() {
        let api = |ratio: f64, ratio_ci95: Option<[f64; 2]>, same_model: bool| ApiComparison {
            api: "host/model".to_owned(),
            tier: crate::record::Tier::Batch,
            input_usd_per_million: "0.1".parse().expect("a number"),
            output_usd_per_million: "0.1".parse().expect("a number"),
            usd_per_request: None,
            mix_usd_per_million: 0.1,
            here_usd_per_million: 0.1 * ratio,
            ratio,
            ratio_ci95: ratio_ci95.ok_or("one sample").into(),
            same_model,
            source: "a list".to_owned(),
            observed: "2026-11-18".to_owned(),
            stale: false,
        };
        let verdict = |answer: Answer| ApiVerdict {
            answer,
            doubts: Vec::new(),
            api: "host/model".to_owned(),
            tier: crate::record::Tier::Batch,
            same_model: true,
            here_usd_per_million: Figure { value: 1.0, ci95: None },
            api_usd_per_million: 1.0,
            ratio: Known::unknown("not looked at"),
            utilization: 1.0,
            break_even_utilization: Known::unknown("not looked at"),
            break_even_tokens_per_month: Known::unknown("not looked at"),
            month: None,
        };
        let style = Style::new(false);
        let told = verdict(Answer::Dearer);
        for (ratio, ci95, same, text) in [
            (3.2, Some([3.0, 3.4]), true, "3.2× cheaper than here"),
            (1.0 / 12.0, Some([0.08, 0.09]), true, "12× dearer than here"),
            (1.1, Some([0.9, 1.3]), true, "not told apart"),
            (3.2, None, true, ""),
            (3.2, Some([3.0, 3.4]), false, "another model"),
        ] {
            assert_eq!(relation(&api(ratio, ci95, same), Some(&told), style), text);
        }
        let doubtful = verdict(Answer::NoVerdict);
        assert_eq!(relation(&api(3.2, Some([3.0, 3.4]), true), Some(&doubtful), style), "");
    }
}
