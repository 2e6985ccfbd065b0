//! A gate's result for people: the verdict, each metric's slowdown with its interval, and the noise it was seen in.

use crate::base::stats::median;
use crate::regress::gate::{Decision, Disturbed, Finding, GateResult, Verdict};
use crate::regress::history::{Change, Line};
use crate::regress::store::Point;

use super::{Page, Style};
use crate::base::text::count;
use crate::report::format::signed_percent;
use crate::report::{cost, figure, let_pass, quantity, sight};

/// The result in at most 80 columns.
pub fn render_gate(result: &GateResult, style: Style) -> String {
    let mut out = Page::default();
    for (name, program) in [("A", &result.baseline), ("B", &result.candidate)] {
        let what = program.command.clone().unwrap_or_else(|| program.path.display().to_string());
        out.line(format_args!("{name}  {what}"));
    }
    for note in &result.notes {
        out.line(format_args!("{}", style.dim(note)));
    }
    if let Some(decision) = &result.decision {
        out.line(format_args!(""));
        out.line(format_args!("{}", noise(decision)));
        out.line(format_args!(""));
        out.line(format_args!(
            "{}",
            style.dim(&format!("{:<38} {:>9}  {:<18} {:>7}", "metric", "slowdown", "interval", "pair SD"))
        ));
        for finding in &decision.findings {
            let text = row(&finding.metric, finding.slowdown, finding.interval, finding.pair_sd);
            out.line(format_args!("{text} {}", word(finding.verdict, style)));
        }
        for tail in &decision.reported {
            let text = row(&tail.metric, tail.slowdown, tail.interval, tail.pair_sd);
            out.line(format_args!("{}", style.dim(&format!("{text} not gated"))));
        }
        out.line(format_args!(""));
        out.line(format_args!(
            "{}",
            style.dim(&format!(
                "slowdown of B against A, negative where B is faster; each bound holds with {:.0}% confidence",
                (1.0 - decision.alpha) * 100.0
            ))
        ));
        out.line(format_args!("{}", style.dim(&margins(decision))));
        for finding in decision.findings.iter().filter(|finding| finding.verdict == Verdict::Inconclusive) {
            out.line(format_args!("{}", undecided(finding, result.folder.is_some())));
        }
    }
    if let Some(disturbed) = result.disturbed.as_ref().filter(|found| found.is_told()) {
        out.line(format_args!("{}", kept(disturbed, result)));
        let named = result.replicates.iter().filter_map(|replicate| {
            let reason = replicate.disturbed_by.as_ref()?;
            Some(format!("  pair {}, {}: {reason}", replicate.pair, replicate.program))
        });
        for line in named {
            out.line(format_args!("{}", style.dim(&line)));
        }
    }
    let retried = result.replicates.iter().filter(|replicate| replicate.retried_because.is_some()).count();
    if retried > 0 {
        let were = if retried == 1 { "was" } else { "were" };
        out.line(format_args!("{} {were} retried", count(retried, "replicate")));
    }
    let reason = result.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    out.line(format_args!("{}{reason}", word(result.verdict, style)));
    out.into_text()
}

/// The replicates that were disturbed, and what that costs.
fn kept(disturbed: &Disturbed, result: &GateResult) -> String {
    let [a, b] = disturbed.replicates;
    let all = match &result.decision {
        Some(decision) => 2 * decision.findings.first().map_or(0, |finding| finding.pairs),
        None => result.replicates.len(),
    };
    let lost = match a + b {
        0 => "no replicate was disturbed".to_owned(),
        some => format!("{some} of {all} replicates were disturbed and kept (A {a}, B {b})"),
    };
    let price = match disturbed.width.exp_m1() * 100.0 {
        some if some >= 0.05 => {
            format!("each bound is {some:.1}% wider, since one side was disturbed more")
        }
        _ => "both sides about equally".to_owned(),
    };
    format!("{lost}; {price}")
}

/// What the box allowed to be seen at all comes before what was seen.
fn noise(decision: &Decision) -> String {
    let of = |figure: &dyn Fn(&Finding) -> f64| {
        let all = decision.findings.iter().map(figure);
        all.fold((f64::INFINITY, 0f64), |(low, high), share| (low.min(share), high.max(share)))
    };
    let (low, high) = of(&|finding| finding.pair_sd);
    let (_, seen) = of(&|finding| finding.smallest_seen);
    let pairs = decision.findings.first().map_or(0, |finding| finding.pairs);
    format!(
        "pair SD {:.1}% to {:.1}% over {}: a slowdown of {:.1}% would be detected 4 times in 5",
        low * 100.0,
        high * 100.0,
        count(pairs, "pair"),
        seen * 100.0
    )
}

fn row(metric: &str, slowdown: f64, interval: [f64; 2], pair_sd: f64) -> String {
    let [low, high] = interval.map(signed_percent);
    format!(
        "{metric:<38} {:>9}  {:<18} {:>6.1}%",
        signed_percent(slowdown),
        format!("{low} to {high}"),
        pair_sd * 100.0
    )
}

/// What an interval is held against.
fn margins(decision: &Decision) -> String {
    let mut texts: Vec<String> = Vec::new();
    for finding in &decision.findings {
        let text = let_pass(finding.margin, &finding.metric);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    format!("margin {}", texts.join(", "))
}

/// `gate` says whether more pairs can be had by a flag; a check has the records that there are.
fn undecided(finding: &Finding, gate: bool) -> String {
    let way_out = match finding.pairs_needed {
        Some(pairs) if gate => format!("{pairs} pairs would decide it (--max-pairs {pairs})"),
        Some(pairs) => format!("{pairs} pairs would decide it; there are {}", finding.pairs),
        None => "no reasonable number of pairs would decide it: it lies on the margin".to_owned(),
    };
    format!(
        "{}: a slowdown under {:.1}% would not be detected; {way_out}",
        finding.metric,
        finding.smallest_seen * 100.0
    )
}

fn word(verdict: Verdict, style: Style) -> String {
    match verdict {
        Verdict::Pass => style.good("PASS"),
        Verdict::Fail => style.bad("FAIL"),
        Verdict::Inconclusive => style.warn("INCONCLUSIVE"),
        Verdict::Incomparable => style.warn("INCOMPARABLE"),
    }
}

/// Columns of a series' drawing.
const COLUMNS: usize = 72;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The histories in at most 80 columns: a drawing of each series, and where its level moved.
pub fn render_history(lines: &[(Line, Vec<Point>)], style: Style) -> String {
    let mut out = Page::default();
    for (line, points) in lines {
        let what = quantity(&line.kind, &line.metric);
        let key: String = line.series_key.chars().take(12).collect();
        out.line(format_args!(
            "{} {}",
            style.strong(&line.metric),
            style.dim(&format!("{what} {}, series {key}", count(line.n, "point")))
        ));
        if let Some(about) = &line.about {
            out.line(format_args!("  {about}"));
        }
        out.line(format_args!("  {}", drawing(&line.kind, points)));
        out.line(format_args!(
            "  {}",
            style.dim(&format!("{} to {}", day(&line.span[0]), day(&line.span[1])))
        ));
        for change in &line.changes {
            out.line(format_args!("  {}", moved(change, line, style)));
        }
        if line.changes.is_empty() {
            let none = if line.can_see() { style.dim("no change found") } else { style.warn("cannot tell") };
            out.line(format_args!("  {none}"));
        }
        out.line(format_args!("  {}", style.dim(&sight(line))));
        out.line(format_args!(""));
    }
    out.into_text()
}

fn moved(change: &Change, line: &Line, style: Style) -> String {
    let [from, to] = [&change.from, &change.to].map(|[label, moment]| format!("{label} ({})", day(moment)));
    let what = cost(&line.metric);
    let each = if line.kind == "micro" { "" } else { " a token" };
    let text = format!("{} {what}{each} between {from} and {to}", signed_percent(change.slowdown));
    match &change.acknowledged {
        Some(note) => style.dim(&format!("{text}: {note}")),
        None if change.slowdown > 0.0 => style.bad(&text),
        None => style.good(&text),
    }
}

fn day(moment: &str) -> &str {
    moment.get(..10).unwrap_or(moment)
}

/// The medians of as many stretches as there are columns, between the least and the greatest.
fn drawing(kind: &str, points: &[Point]) -> String {
    let columns = COLUMNS.min(points.len()).max(1);
    let levels: Vec<f64> = (0..columns)
        .filter_map(|column| {
            let stretch = &points[column * points.len() / columns..(column + 1) * points.len() / columns];
            median(&stretch.iter().map(|point| point.value).collect::<Vec<_>>())
        })
        .collect();
    let (low, high) =
        levels.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(*x), high.max(*x)));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of seven")]
    let bar = |level: &f64| {
        BARS[if high > low { ((level - low) / (high - low) * 7.0).round() as usize } else { 3 }]
    };
    let bars: String = levels.iter().map(bar).collect();
    format!("{bars} {} to {}", figure(kind, low), figure(kind, high))
}
