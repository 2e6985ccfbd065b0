//! Prometheus' text format, for the textfile collector or a push gateway.

use crate::regress::gate::{GateResult, Verdict};

use super::name;

/// The metrics of one gate.
pub fn prometheus(result: &GateResult) -> String {
    let mut text = String::new();
    let mut family = |metric: &str, help: &str, samples: &[(String, f64)]| {
        if samples.is_empty() {
            return;
        }
        text.push_str(&format!("# HELP {metric} {help}\n# TYPE {metric} gauge\n"));
        for (labels, value) in samples {
            text.push_str(&format!("{metric}{{{labels}}} {value}\n"));
        }
    };
    let candidate = quoted(&result.label);
    let verdicts = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Incomparable];
    let verdicts: Vec<(String, f64)> = verdicts
        .into_iter()
        .map(|verdict| {
            let labels = format!("candidate=\"{candidate}\",verdict=\"{}\"", name(verdict));
            (labels, f64::from(u8::from(verdict == result.verdict)))
        })
        .collect();
    family("infercost_gate_verdict", "1 for the verdict of the last gate, 0 for the others.", &verdicts);
    let findings: Vec<_> = result.decision.iter().flat_map(|decision| &decision.findings).collect();
    let of = |figure: &dyn Fn(usize) -> f64| -> Vec<(String, f64)> {
        let labels = |index: usize| {
            format!("candidate=\"{candidate}\",metric=\"{}\"", quoted(&findings[index].metric))
        };
        (0..findings.len()).map(|index| (labels(index), figure(index))).collect()
    };
    let help = "How much more time (or energy) the candidate takes, as a share of the baseline's.";
    family("infercost_gate_slowdown_ratio", help, &of(&|index| findings[index].slowdown));
    family(
        "infercost_gate_slowdown_ratio_low",
        "Its lower bound.",
        &of(&|index| findings[index].interval[0]),
    );
    family(
        "infercost_gate_slowdown_ratio_high",
        "Its upper bound.",
        &of(&|index| findings[index].interval[1]),
    );
    family(
        "infercost_gate_margin_ratio",
        "Tolerated slowdown, in the same unit: a margin of 5% is 0.0526.",
        &of(&|index| findings[index].margin_slowdown),
    );
    family(
        "infercost_gate_pair_sd_ratio",
        "Machine noise: standard deviation of the pairs' log ratios.",
        &of(&|index| findings[index].pair_sd),
    );
    text
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ci::testing;

    #[test]
    fn families_come_with_help_and_labels_are_escaped() {
        let text = prometheus(&testing::failed());
        assert!(
            text.contains("infercost_gate_verdict{candidate=\"3f2a91c0d17e\",verdict=\"FAIL\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("metric=\"prefill_tokens_per_second <pp128> & \\\"co\\\"\""), "{text}");
        assert_eq!(text.matches("# TYPE").count(), 6);
        assert!(text.contains("infercost_gate_margin_ratio{") && text.contains("} 0.0309"), "{text}");
        assert_eq!(prometheus(&testing::incomparable()).matches("# TYPE").count(), 1);
    }
}
