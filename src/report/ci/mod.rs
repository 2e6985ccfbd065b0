//! A gate's result in the forms that continuous integration reads.
#![allow(
    clippy::format_push_string,
    reason = "texts of a few lines, where a line reads best as it is written"
)]

mod bencher;
mod github;
mod junit;
mod markdown;
mod prometheus;

pub use bencher::bencher;
pub use github::annotations;
pub use junit::junit;
pub use markdown::markdown;
pub use prometheus::prometheus;

use crate::regress::gate::Verdict;

pub(super) fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Incomparable => "INCOMPARABLE",
    }
}

#[cfg(test)]
pub(super) mod testing {
    use crate::regress::gate::{GateResult, Looks, Margin, Pairs, Program, decide};

    /// A gate whose decode is 10% slower and whose prefill is not.
    pub(in crate::report) fn failed() -> GateResult {
        let pairs = |metric: &str, factor: f64| Pairs {
            metric: metric.to_owned(),
            more_is_better: true,
            margin: Margin(0.03),
            values: [0.001, -0.001, 0.002, -0.002, 0.0, 0.001]
                .map(|noise| [100.0, 100.0 / factor * (1.0 + noise)])
                .to_vec(),
        };
        let metrics = [
            pairs("decode_tokens_per_second tg32", 1.1),
            pairs("prefill_tokens_per_second <pp128> & \"co\"", 1.0),
        ];
        let decision = decide(&metrics, 0.02);
        let program = |path: &str| Program { path: path.into(), command: None, blake3: Some("b3".into()) };
        GateResult {
            schema: "infercost.gate/1",
            created: "2026-11-23T03:00:00Z".into(),
            label: "3f2a91c0d17e".into(),
            series_key: Some("s".into()),
            about: None,
            verdict: decision.verdict,
            reason: None,
            decision: Some(decision),
            looks: Looks::default(),
            baseline: program("a/bench"),
            candidate: program("b/bench"),
            disturbed: None,
            notes: Vec::new(),
            replicates: Vec::new(),
            folder: Some("results/gates/gate-1".into()),
        }
    }

    /// One that could not be made.
    pub(in crate::report) fn incomparable() -> GateResult {
        let reason =
            Some("replicate 1 of B failed twice; the second time: it ended with signal 9".to_owned());
        GateResult {
            verdict: crate::regress::gate::Verdict::Incomparable,
            decision: None,
            reason,
            ..failed()
        }
    }
}
