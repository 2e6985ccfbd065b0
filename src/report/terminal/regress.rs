//! A gate's result for people: the verdict, each metric's slowdown with its interval, and the noise it was seen in.

use crate::regress::gate::{Finding, GateResult, Verdict};

use super::{Page, Style};

/// The result in at most 80 columns.
pub fn render_gate(result: &GateResult, style: Style) -> String {
    let mut out = Page::default();
    out.line(format_args!("A  {}", result.baseline.path.display()));
    out.line(format_args!("B  {}", result.candidate.path.display()));
    for note in &result.notes {
        out.line(format_args!("{}", style.dim(note)));
    }
    if let Some(decision) = &result.decision {
        out.line(format_args!(""));
        out.line(format_args!(
            "{}",
            style.dim(&format!("{:<38} {:>9}  {:<18} {:>7}", "metric", "B slower", "interval", "pair SD"))
        ));
        for finding in &decision.findings {
            out.line(format_args!("{} {}", row(finding), word(finding.verdict, style)));
        }
        out.line(format_args!(""));
        let pairs = decision.findings.first().map_or(0, |finding| finding.pairs);
        out.line(format_args!(
            "{}",
            style.dim(&format!(
                "{pairs} pairs; each end of an interval holds with {:.0}%",
                (1.0 - decision.alpha) * 100.0
            ))
        ));
        for finding in decision.findings.iter().filter(|finding| finding.verdict == Verdict::Inconclusive) {
            out.line(format_args!("{}", undecided(finding)));
        }
    }
    let retried = result.replicates.iter().filter(|replicate| replicate.retried_because.is_some()).count();
    if retried > 0 {
        out.line(format_args!("{retried} replicate(s) were tried twice"));
    }
    let reason = result.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    out.line(format_args!("{}{reason}", word(result.verdict, style)));
    out.into_text()
}

fn row(finding: &Finding) -> String {
    let percent = |share: f64| format!("{:+.1}%", share * 100.0);
    let [low, high] = finding.interval.map(percent);
    format!(
        "{:<38} {:>9}  {:<18} {:>6.1}%",
        finding.metric,
        percent(finding.slowdown),
        format!("{low} to {high}"),
        finding.pair_sd * 100.0
    )
}

fn undecided(finding: &Finding) -> String {
    let way_out = match finding.pairs_needed {
        Some(pairs) => format!("{pairs} pairs would decide it (--max-pairs {pairs})"),
        None => "no reasonable number of pairs would decide it: it lies on the margin".to_owned(),
    };
    format!(
        "{}: a slowdown under {:.1}% could not have been seen; {way_out}",
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
