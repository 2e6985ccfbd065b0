//! A history as one HTML page: no script, no address outside it, readable on light and dark screens.

use std::path::Path;

use crate::regress::history::{Change, Line};
use crate::regress::store::Point;

use super::escaped;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 24.0;
/// More dots than this are no more to see.
const MOST_DOTS: usize = 1500;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #767676; --line: #c8c8c8; --dot: #2563a8; --bad: #b3261e; --good: #2e7d32 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #161616; --faint: #9a9a9a; --line: #444; --dot: #7fb2e5; --bad: #ff8a80; --good: #81c784 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .2rem } .faint { color: var(--faint) } svg { width: 100%; height: auto }
td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top } .bad { color: var(--bad) } .good { color: var(--good) }
";

/// The page. The lines come with their points, in the order of time.
pub fn history(lines: &[(Line, Vec<Point>)], folder: &Path) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n<title>History of {0}</title><style>{STYLE}</style></head><body>\n<h1>History</h1><p class=\"faint\">{0}</p>\n",
        escaped(&folder.display().to_string())
    );
    let unknown: usize = lines.iter().map(|(line, _)| line.unknown_slowdowns().count()).sum();
    let word = match unknown {
        0 => "<p class=\"good\">No slowdown that nobody knows of.</p>".to_owned(),
        1 => "<p class=\"bad\">1 slowdown that nobody knows of.</p>".to_owned(),
        _ => format!("<p class=\"bad\">{unknown} slowdowns that nobody knows of.</p>"),
    };
    page.push_str(&word);
    for (line, points) in lines {
        section(&mut page, line, points);
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, line: &Line, points: &[Point]) {
    let unit = if line.kind == "gate" { "candidate's time ÷ baseline's, " } else { "" };
    let key: String = line.series_key.chars().take(12).collect();
    let mut put = |text: std::fmt::Arguments<'_>| page.push_str(&text.to_string());
    put(format_args!(
        "\n<h2>{}</h2><p class=\"faint\">{unit}{} points, series {}</p>\n",
        escaped(&line.metric),
        line.n,
        escaped(&key)
    ));
    put(format_args!("{}\n", drawing(line, points)));
    if line.changes.is_empty() {
        put(format_args!("<p class=\"faint\">The level did not move.</p>\n"));
        return;
    }
    put(format_args!(
        "<table><tr><th>time a token</th><th>last before</th><th>first behind</th><th>p</th><th></th></tr>\n"
    ));
    for change in &line.changes {
        let class = tone(change);
        let [from, to] =
            [&change.from, &change.to].map(|[label, at]| format!("{} {}", escaped(label), escaped(at)));
        let note = change.acknowledged.as_deref().map_or_else(String::new, escaped);
        put(format_args!(
            "<tr><td class=\"{class}\">{:+.1}%</td><td>{from}</td><td>{to}</td><td>{:.3}</td><td class=\"faint\">{note}</td></tr>\n",
            change.slowdown * 100.0,
            change.p
        ));
    }
    put(format_args!("</table>\n"));
}

fn tone(change: &Change) -> &'static str {
    match (&change.acknowledged, change.slowdown > 0.0) {
        (Some(_), _) => "faint",
        (None, true) => "bad",
        (None, false) => "good",
    }
}

fn drawing(line: &Line, points: &[Point]) -> String {
    let (low, high) = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| {
        (low.min(point.value), high.max(point.value))
    });
    let room = ((high - low) * 0.08).max(high.abs() * 1e-3).max(f64::MIN_POSITIVE);
    let (low, high) = (low - room, high + room);
    let x = |index: usize| LEFT + (WIDTH - LEFT - 10.0) * (index as f64 + 0.5) / points.len().max(1) as f64;
    let y = |value: f64| 8.0 + (HEIGHT - BOTTOM - 8.0) * (high - value) / (high - low);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over time\">",
        escaped(&line.metric)
    );
    let mut put = |text: std::fmt::Arguments<'_>| svg.push_str(&text.to_string());
    for value in [low + room, f64::midpoint(low, high), high - room] {
        let at = y(value);
        put(format_args!(
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--line)\" stroke-width=\".5\"/><text x=\"{:.0}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"end\" fill=\"var(--faint)\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            number(value)
        ));
    }
    let every = points.len().div_ceil(MOST_DOTS).max(1);
    put(format_args!("<g fill=\"var(--dot)\">"));
    for (index, point) in points.iter().enumerate().step_by(every) {
        put(format_args!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>", x(index), y(point.value)));
    }
    put(format_args!("</g>"));
    for change in &line.changes {
        let at = x(change.at);
        put(format_args!(
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"4\" y2=\"{:.0}\" stroke=\"var(--{})\" stroke-dasharray=\"3 2\"><title>{}</title></line>",
            HEIGHT - BOTTOM,
            tone(change),
            escaped(&change.to[0])
        ));
    }
    for (anchor, at, moment) in [("start", LEFT, &line.span[0]), ("end", WIDTH, &line.span[1])] {
        put(format_args!(
            "<text x=\"{at:.0}\" y=\"{:.0}\" font-size=\"11\" text-anchor=\"{anchor}\" fill=\"var(--faint)\">{}</text>",
            HEIGHT - 6.0,
            escaped(moment.get(..10).unwrap_or(moment))
        ));
    }
    put(format_args!("</svg>"));
    svg
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
