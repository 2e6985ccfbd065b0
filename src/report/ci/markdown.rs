//! Markdown: a comment under a pull request, a step summary.

use crate::base::text::count;
use crate::regress::gate::{GateResult, Verdict};
use crate::report::let_pass;

use super::name;
use crate::report::format::signed_percent;

/// The text; it begins with a heading that names the verdict.
pub fn markdown(result: &GateResult) -> String {
    let mut text = format!("### {}: {} against the baseline\n\n", name(result.verdict), cell(&result.label));
    if let Some(reason) = &result.reason {
        text.push_str(&format!("{}\n\n", cell(reason)));
    }
    if let Some(decision) = &result.decision {
        text.push_str(
            "| metric | slower by | interval | margin | pair SD | |\n|---|---:|---|---:|---:|---|\n",
        );
        for finding in &decision.findings {
            let [low, high] = finding.interval.map(signed_percent);
            text.push_str(&format!(
                "| {} | {} | {low} to {high} | {} | {:.1}% | {} |\n",
                cell(&finding.metric),
                signed_percent(finding.slowdown),
                let_pass(finding.margin, &finding.metric),
                finding.pair_sd * 100.0,
                name(finding.verdict)
            ));
        }
        for tail in &decision.reported {
            let [low, high] = tail.interval.map(signed_percent);
            text.push_str(&format!(
                "| {} | {} | {low} to {high} | | {:.1}% | not gated |\n",
                cell(&tail.metric),
                signed_percent(tail.slowdown),
                tail.pair_sd * 100.0
            ));
        }
        let pairs = decision.findings.first().map_or(0, |finding| finding.pairs);
        let pairs = count(pairs, "pair");
        text.push_str(&format!("\n{pairs} on one machine; a negative slowdown is a speedup."));
        for finding in decision.findings.iter().filter(|finding| finding.verdict == Verdict::Inconclusive) {
            let needed = finding
                .pairs_needed
                .map_or_else(String::new, |pairs| format!("; {pairs} pairs would decide it"));
            text.push_str(&format!(
                " {}: a slowdown under {:.1}% would not be detected{needed}.",
                cell(&finding.metric),
                finding.smallest_seen * 100.0
            ));
        }
        text.push('\n');
    }
    if let Some(disturbed) = result.disturbed.as_ref().filter(|found| found.is_told()) {
        let [a, b] = disturbed.replicates;
        text.push_str(&format!(
            "\nOther load on the machine disturbed {a} replicates of A and {b} of B; they were kept, and each bound is {:.1}% wider.\n",
            disturbed.width.exp_m1() * 100.0
        ));
    }
    text
}

/// Text that ends no cell and begins no markup.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ci::testing;

    #[test]
    fn the_verdict_stands_first_and_each_metric_has_a_row() {
        let text = markdown(&testing::failed());
        assert!(text.starts_with("### FAIL: 3f2a91c0d17e"), "{text}");
        assert!(
            text.contains("| decode_tokens_per_second tg32 | +10.0% |")
                && text.contains("| 3% (+3.1% time) |")
                && text.contains("| FAIL |"),
            "{text}"
        );
        assert_eq!(text.lines().filter(|line| line.starts_with('|')).count(), 4);
        assert!(markdown(&testing::incomparable()).contains("signal 9"));
    }
}
