//! A history as one HTML page: no scripts, no external resources, readable in light and dark mode.

mod drawing;

use crate::base::text::count;
use crate::regress::gate::Verdict;
use crate::regress::history::{Change, Line};
use crate::regress::last_gate::LastGate;
use crate::regress::store::Point;

use super::format::signed_percent;
use super::{ci, escaped, let_pass, quantity, sight};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #767676; --line: #c8c8c8; --dot: #2563a8; --bad: #b3261e; --good: #2e7d32 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #161616; --faint: #9a9a9a; --line: #444; --dot: #7fb2e5; --bad: #ff8a80; --good: #81c784 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-size: 1.05rem; margin: 2.2rem 0 .2rem } .faint { color: var(--faint) } svg { width: 100%; height: auto; display: block } h1, h2, p { overflow-wrap: anywhere } .narrow { display: none }
td { font-variant-numeric: tabular-nums } td .faint, th { white-space: nowrap } table { display: block; overflow-x: auto } td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top } .bad { color: var(--bad) } .good { color: var(--good) } a { color: var(--dot) }
@media (max-width: 40rem) { body { margin: 1rem auto; padding: 0 .7rem } .wide { display: none } .narrow { display: block } h2 { font-size: 1rem } td, th { padding-right: .5rem; font-size: .85rem; white-space: normal } }
";

/// The page for the history in `place`. The lines come with their points, in chronological order.
pub fn history(lines: &[(Line, Vec<Point>)], last: Option<&LastGate>, place: &str) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>History of {0}</title><style>{STYLE}</style></head><body>\n<h1>History</h1><p class=\"faint\">{0}</p>\n",
        escaped(place)
    );
    let unknown: usize = lines.iter().map(|(line, _)| line.unknown_slowdowns().count()).sum();
    let word = match unknown {
        0 if lines.iter().all(|(line, _)| !line.can_see()) => {
            "<p class=\"bad\">No conclusion: none of the series has enough points to prove a change.</p>"
                .to_owned()
        }
        0 => "<p class=\"good\">No unacknowledged slowdown.</p>".to_owned(),
        1 => "<p class=\"bad\">1 unacknowledged slowdown.</p>".to_owned(),
        _ => format!("<p class=\"bad\">{unknown} unacknowledged slowdowns.</p>"),
    };
    page.push_str(&word);
    summary(&mut page, lines);
    if let Some(gate) = last {
        last_gate(&mut page, gate);
    }
    for (number, (line, points)) in lines.iter().enumerate() {
        section(&mut page, number, line, points);
    }
    page.push_str("</body></html>\n");
    page
}

fn last_gate(page: &mut String, gate: &LastGate) {
    let class = match gate.verdict {
        Verdict::Pass => "good",
        Verdict::Fail => "bad",
        Verdict::Inconclusive | Verdict::Incomparable => "",
    };
    let mut put = |text: std::fmt::Arguments<'_>| page.push_str(&text.to_string());
    put(format_args!(
        "\n<h2>Last gate: <span class=\"{class}\">{}</span></h2><p class=\"faint\">{}, {}</p>\n",
        ci::name(gate.verdict),
        escaped(&gate.label),
        escaped(&gate.created)
    ));
    if let Some(reason) = &gate.reason {
        put(format_args!("<p>{}</p>\n", escaped(reason)));
    }
    let Some(decision) = &gate.decision else { return };
    put(format_args!(
        "<table><tr><th>metric</th><th>slower by</th><th>interval</th><th>margin</th><th>pair SD</th><th></th></tr>\n"
    ));
    for finding in &decision.findings {
        let [low, high] = finding.interval.map(signed_percent);
        put(format_args!(
            "<tr><td>{}</td><td>{}</td><td>{low} to {high}</td><td>{}</td><td>{:.1}%</td><td>{}</td></tr>\n",
            breakable(&finding.metric),
            signed_percent(finding.slowdown),
            let_pass(finding.margin, &finding.metric),
            finding.pair_sd * 100.0,
            ci::name(finding.verdict)
        ));
    }
    put(format_args!("</table>\n"));
}

/// Every unacknowledged slowdown, the latest first, each with a link to its series.
fn summary(page: &mut String, lines: &[(Line, Vec<Point>)]) {
    let mut all: Vec<(usize, &Line, &Change)> = Vec::new();
    for (number, (line, _)) in lines.iter().enumerate() {
        all.extend(line.unknown_slowdowns().map(|change| (number, line, change)));
    }
    if all.is_empty() {
        return;
    }
    all.sort_by(|a, b| b.2.to[1].cmp(&a.2.to[1]));
    page.push_str(
        "<table><tr><th>slower by</th><th>last before</th><th>first after</th><th>metric</th></tr>\n",
    );
    for (number, line, change) in all {
        let [from, to] = [&change.from, &change.to].map(place);
        let row = format!(
            "<tr><td class=\"bad\">{}</td><td>{from}</td><td>{to}</td><td><a href=\"#s{number}\">{}</a> <span class=\"faint\">{}</span></td></tr>\n",
            signed_percent(change.slowdown),
            breakable(&line.metric),
            escaped(&line.kind)
        );
        page.push_str(&row);
    }
    page.push_str("</table>\n");
}

/// A metric's name with optional line breaks after each word, so that a table fits on a phone.
fn breakable(name: &str) -> String {
    escaped(name).replace('_', "_<wbr>")
}

/// A commit with its date.
fn place([label, moment]: &[String; 2]) -> String {
    format!("{} <span class=\"faint\">{}</span>", escaped(label), escaped(moment.get(..10).unwrap_or(moment)))
}

fn section(page: &mut String, number: usize, line: &Line, points: &[Point]) {
    let unit = match quantity(&line.kind, &line.metric) {
        none if none.is_empty() => none,
        what => format!("{what}, "),
    };
    let key: String = line.series_key.chars().take(12).collect();
    let mut put = |text: std::fmt::Arguments<'_>| page.push_str(&text.to_string());
    put(format_args!(
        "\n<h2 id=\"s{number}\">{}</h2><p>{}</p><p class=\"faint\">{unit}{}, series {}</p>\n",
        escaped(&line.metric),
        escaped(line.about.as_deref().unwrap_or_default()),
        count(line.n, "point"),
        escaped(&key)
    ));
    put(format_args!("{}\n{}\n", drawing::wide(line, points), drawing::narrow(line, points)));
    if line.changes.is_empty() {
        let none = if line.can_see() { "No change found; " } else { "" };
        put(format_args!("<p class=\"faint\">{none}{}.</p>\n", escaped(&sight(line))));
        return;
    }
    put(format_args!(
        "<table><tr><th>slower by</th><th>last before</th><th>first after</th><th>p</th><th></th></tr>\n"
    ));
    for change in &line.changes {
        let class = tone(change);
        let [from, to] = [&change.from, &change.to].map(place);
        let note = change.acknowledged.as_deref().map_or_else(String::new, escaped);
        put(format_args!(
            "<tr><td class=\"{class}\">{}</td><td>{from}</td><td>{to}</td><td>{:.3}</td><td class=\"faint\">{note}</td></tr>\n",
            signed_percent(change.slowdown),
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
