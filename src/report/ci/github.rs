//! Lines that GitHub turns into annotations.

use crate::regress::gate::{GateResult, Verdict};

use super::name;
use crate::report::format::signed_percent;

/// One `::error` for each metric that fails or for a gate that could not be made, a `::warning` when undecided.
pub fn annotations(result: &GateResult) -> String {
    let line = |kind: &str, text: &str| {
        // A line end or a percent sign would end the command or begin an escape.
        let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        format!("::{kind} title=infercost gate {}::{text}\n", name(result.verdict))
    };
    if let Some(reason) = &result.reason {
        return line("error", reason);
    }
    let findings = result.decision.iter().flat_map(|decision| &decision.findings);
    let texts = findings.filter_map(|finding| {
        let [low, high] = finding.interval.map(signed_percent);
        let text = format!(
            "{} is {} slower ({low} to {high}) in {}",
            finding.metric,
            signed_percent(finding.slowdown),
            result.label
        );
        match finding.verdict {
            Verdict::Fail => Some(line("error", &text)),
            Verdict::Inconclusive => Some(line("warning", &text)),
            _ => None,
        }
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ci::testing;

    #[test]
    fn what_fails_is_an_error_and_what_passes_is_silent() {
        let text = annotations(&testing::failed());
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.starts_with(
                "::error title=infercost gate FAIL::decode_tokens_per_second tg32 is +10.0%25 slower"
            ),
            "{text}"
        );
    }
}
