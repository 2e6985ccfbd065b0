//! A load: its rows as a table, each as a line when it is over, and the plan.

use crate::base::text::{count, printable};
use crate::base::units::{Seconds, figure, significant};
use crate::record::serving::{ColdStart, Goals, Search, ServedRow};
use crate::record::{Cell, Cost, Measurement, Metric, Serving};
use crate::report::format::{self, shorten, wrap};
use crate::run::serving::{Driven, Plan};

use super::{Page, Style};

/// Columns of a row's name.
const NAME: usize = 18;
/// What is not known.
const NOTHING: &str = "–";

/// The line under the engine: where the load went and what it asked.
pub(super) fn heading(out: &mut Page, serving: &Serving, style: Style) {
    let on = serving.server.as_ref().map_or_else(
        || "the engine in this process".to_owned(),
        |server| format!("{} ({})", server.url, server.api),
    );
    let text = format!("load on {on}, {}, {} lengths", serving.load.prompts, serving.load.lengths);
    for text in wrap(&printable(&text), 78) {
        out.line(format_args!("{}", style.dim(&text)));
    }
    if let Some(cold) = &*serving.cold_start {
        cold_start(out, cold, style);
    }
}

/// How long a server that was started for the run took to start, and what that costs.
fn cold_start(out: &mut Page, cold: &ColdStart, style: Style) {
    let time = |seconds: f64| Seconds::new(seconds).to_string();
    let mut said = vec![
        format!("listening after {}", time(cold.listening_seconds)),
        format!("healthy after {}", time(cold.healthy_seconds)),
    ];
    said.extend(cold.first_token_seconds.map(|seconds| format!("first token after {}", time(seconds))));
    let usd = cold.usd.map_or_else(String::new, |usd| format!(" ({} of rent)", format::usd(usd)));
    for text in wrap(&format!("cold start: {}{usd}", said.join(", ")), 78) {
        out.line(format_args!("{}", style.dim(&text)));
    }
}

/// The rows, and notes on some of them.
pub(super) fn table(out: &mut Page, serving: &Serving, measurements: &[Measurement], style: Style) {
    let header = format!(
        "{:<NAME$} {:>9} {:>6} {:>9} {:>8} {:>8} {:>8} {:>6}",
        "row", "output/s", "95% ±", "total/s", "TTFT p50", "TTFT p95", "TPOT p50", "failed"
    );
    out.line(format_args!("\n{}", style.dim(&header)));
    for row in &serving.rows {
        let find = |metric: Metric| {
            measurements.iter().find(|m| m.metric == metric && m.cell.as_ref() == Some(&row.cell))
        };
        let output = find(Metric::OutputTokensPerSecond);
        let of = |m: Option<&Measurement>| {
            m.and_then(|m| *m.value).map_or_else(|| NOTHING.to_owned(), |value| figure(value, 4))
        };
        let interval =
            output.and_then(|m| Some(format::half_width(m.interval()?.relative_half_width((*m.value)?))));
        let first = find(Metric::TimeToFirstTokenSeconds).map(|m| &m.percentiles);
        let each = find(Metric::TimePerOutputTokenSeconds).map(|m| &m.percentiles);
        let time = |value: Option<f64>| {
            value.map_or_else(|| NOTHING.to_owned(), |value| Seconds::new(value).to_string())
        };
        out.line(format_args!(
            "{:<NAME$} {} {:>6} {:>9} {:>8} {:>8} {:>8} {:>6}",
            shorten(&printable(&row.row), NAME),
            style.strong(&format!("{:>9}", of(output))),
            interval.unwrap_or_else(|| NOTHING.to_owned()),
            of(find(Metric::TotalTokensPerSecond)),
            time(first.and_then(|of| of.p50.as_deref().copied().flatten())),
            time(first.and_then(|of| of.p95.as_deref().copied().flatten())),
            time(each.and_then(|of| of.p50.as_deref().copied().flatten())),
            failed(row),
        ));
    }
    out.line(format_args!(
        "{}",
        style.dim("tokens per second in the steady window; times start when a request is due")
    ));
    for row in &serving.rows {
        let mut say = |text: String| {
            for text in wrap(&printable(&format!("{}: {text}", row.row)), 76) {
                out.line(format_args!("{}", style.warn(&text)));
            }
        };
        if let Some(reason) = row.steady_seconds.reason() {
            say(format!("no rate, since it had no steady window: {reason}"));
        }
        for failure in &row.failures {
            say(format!(
                "{} ended as {}; the first: {}",
                count(failure.count, "request"),
                failure.ending,
                failure.first
            ));
        }
        if row.requests_unsent > 0 {
            say(format!(
                "{} had no slot before the end and were never sent",
                count(row.requests_unsent, "request")
            ));
        }
    }
    if let Some(goals) = &*serving.goals {
        goodput(out, goals, serving, measurements, style);
    }
    if let Some(found) = &*serving.search {
        search(out, found, style);
    }
}

/// What a search found.
fn search(out: &mut Page, found: &Search, style: Style) {
    let rate = |rate: f64| format!("{} requests/s", significant(rate, 3));
    let share = format!("{:.0}% of the requests", found.share * 100.0);
    let [kept, missed] = [&found.max_requests_per_second, &found.missed_at_requests_per_second];
    let text = match (kept.as_result(), missed.as_result()) {
        (Ok(kept), Ok(missed)) => {
            format!(
                "max rate {}: it keeps the goals for {share}, and {} does not",
                rate(*kept),
                rate(*missed)
            )
        }
        (Ok(kept), Err(reason)) => format!("max rate at least {}: {reason}", rate(*kept)),
        (Err(reason), _) => format!("no max rate: {reason}"),
    };
    for text in wrap(&text, 78) {
        out.line(format_args!("{}", style.strong(&text)));
    }
}

fn goodput(out: &mut Page, goals: &Goals, serving: &Serving, measurements: &[Measurement], style: Style) {
    let goal = |name: &str, most: Option<f64>| most.map(|most| format!("{name} ≤ {}", Seconds::new(most)));
    let goals = [
        goal("TTFT", goals.time_to_first_token_seconds),
        goal("TPOT", goals.time_per_output_token_seconds),
        goal("whole request", goals.end_to_end_latency_seconds),
    ];
    let goals: Vec<String> = goals.into_iter().flatten().collect();
    out.line(format_args!("\n{}", style.dim(&format!("goodput: requests with {}", goals.join(", ")))));
    for row in &serving.rows {
        let found = measurements
            .iter()
            .find(|m| m.metric == Metric::GoodputRequestsPerSecond && m.cell.as_ref() == Some(&row.cell));
        let rate =
            found.and_then(|m| *m.value).map_or_else(|| NOTHING.to_owned(), |rate| significant(rate, 3));
        let share = row.goodput.map_or_else(String::new, |found| {
            let [low, high] = found.share_ci95.map(|end| end * 100.0);
            format!(", {:.1}% of {} (95%: {low:.1}% to {high:.1}%)", found.share * 100.0, found.due)
        });
        let name = shorten(&printable(&row.row), NAME);
        out.line(format_args!("{name:<NAME$} {} requests/s{share}", style.strong(&format!("{rate:>9}"))));
    }
}

/// Requests that failed.
fn failed(row: &ServedRow) -> u64 {
    let failures =
        row.requests.iter().filter(|(ending, _)| !matches!(ending.as_str(), "completed" | "cut_by_us"));
    failures.map(|(_, count)| count).sum()
}

/// The price of cached input; why input and output have no price each, and what gives them one.
pub(super) fn apart(out: &mut Page, cost: &Cost, style: Style) {
    let headline = cost.cells.iter().find(|cell| Some(&cell.cell) == cost.headline_cell.as_ref());
    if let Some(cached) = headline.and_then(|cell| *cell.usd_per_million_cached_input_tokens) {
        let text = format!(
            "cached input: {} a million; the price of input is for computed tokens",
            format::usd(cached.value)
        );
        out.line(format_args!("  {}", style.dim(&text)));
    }
    let priced = cost.price.is_some() && cost.usd_per_million_total_tokens.is_some();
    let Some(reason) = cost.usd_per_million_input_tokens.reason().filter(|_| priced) else { return };
    let text = format!(
        "input and output: {reason}. {}",
        headline.map_or_else(String::new, |cell| mixes(&cell.cell))
    );
    for text in wrap(&text, 76) {
        out.line(format_args!("  {}", style.dim(&text)));
    }
}

/// What gives input and output a price each: mixes of about the length that was measured, one mostly input, one mostly output.
fn mixes(cell: &Cell) -> String {
    let Cell { prompt_tokens: input, output_tokens: output, batch, .. } = *cell;
    let less = |tokens: u32| (tokens / 4).max(1);
    let (more_input, more_output) = (input.saturating_mul(2), output.saturating_mul(2));
    let in_flight = if batch == 0 { 8 } else { batch };
    format!(
        "Measure three mixes at one concurrency: --pg {more_input},{} --pg {input},{output} --pg {},{more_output} \
         --max-concurrency {in_flight}; or split the cost by a ratio: bench cost RECORD --price-ratio 4",
        less(output),
        less(input)
    )
}

/// A row that is over, in a line.
pub fn render_row(driven: &Driven) -> String {
    let find = |metric: Metric| driven.serving.figures.iter().find(|figure| figure.metric == metric);
    let output = find(Metric::OutputTokensPerSecond).map(|figure| (&figure.value, &figure.ci95));
    let mut said = match output {
        Some((Ok(value), Ok(ci95))) => {
            let share = format::half_width(ci95.relative_half_width(*value));
            vec![format!("{} output tokens/s, 95% ± {share}", figure(*value, 4))]
        }
        Some((Ok(value), Err(_))) => vec![format!("{} output tokens/s", figure(*value, 4))],
        _ => vec!["no steady state".to_owned()],
    };
    for (name, metric) in
        [("TTFT", Metric::TimeToFirstTokenSeconds), ("TPOT", Metric::TimePerOutputTokenSeconds)]
    {
        let median = find(metric).and_then(|figure| figure.percentiles.first()?.value.clone().ok());
        said.extend(median.map(|time| format!("{name} {}", Seconds::new(time))));
    }
    let endings = &driven.serving.counts.endings;
    let of = |failure: bool| -> u32 {
        endings.iter().filter(|(ending, _)| ending.is_failure() == failure).map(|(_, count)| count).sum()
    };
    said.push(format!("{}, {} failed", count(of(false), "request"), of(true)));
    format!("{}: {}", driven.row.label, said.join(", "))
}

/// What would be asked.
pub fn render_serving_plan(plan: &Plan, url: &str) -> String {
    let mut out = Page::default();
    out.line(format_args!(
        "load on {url}, {} lengths, {}",
        plan.lengths_in_words(),
        count(plan.rows.len(), "row")
    ));
    for row in &plan.rows {
        out.line(format_args!("  {}", row.label));
    }
    if plan.find_share.is_some() {
        let most = plan.max_time_seconds.map_or_else(String::new, |time| format!(", {time} in all at most"));
        out.line(format_args!("rows at rates the search chooses{most}"));
        return out.into_text();
    }
    let each = match (plan.max_time_seconds, plan.row_seconds, plan.num_prompts) {
        (Some(time), _, Some(number)) => format!("{number} requests a row, {time} in all"),
        (Some(time), ..) => format!("{time} in all, shared by the rows"),
        (None, Some(time), _) => format!("{time} a row"),
        (None, None, Some(number)) => format!("{number} requests a row"),
        (None, None, None) => "without an end".to_owned(),
    };
    out.line(format_args!("{each}; requests in flight at a row's end are waited for"));
    out.into_text()
}
