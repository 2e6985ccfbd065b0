//! `JUnit` XML: a test case for each metric. A metric that is not decided is skipped, and a gate that could not be made is an error.

use crate::regress::gate::{GateResult, Verdict};
use crate::report::{escaped, let_pass};

use crate::report::format::signed_percent;

/// The XML document.
pub fn junit(result: &GateResult) -> String {
    let findings = result.decision.iter().flat_map(|decision| &decision.findings);
    let (mut cases, mut failed, mut skipped, mut errors, mut count) = (String::new(), 0, 0, 0, 0);
    for finding in findings {
        count += 1;
        let [low, high] = finding.interval.map(signed_percent);
        let text = escaped(&format!(
            "{} slower, {low} to {high}, margin {}, {} pairs, pair SD {:.1}%",
            signed_percent(finding.slowdown),
            let_pass(finding.margin, &finding.metric),
            finding.pairs,
            finding.pair_sd * 100.0
        ));
        let body = match finding.verdict {
            Verdict::Fail => {
                failed += 1;
                format!("<failure message=\"{text}\"/>")
            }
            Verdict::Pass => format!("<system-out>{text}</system-out>"),
            _ => {
                skipped += 1;
                format!("<skipped message=\"not decided: {text}\"/>")
            }
        };
        cases.push_str(&format!(
            "    <testcase classname=\"infercost.gate\" name=\"{}\">{body}</testcase>\n",
            escaped(&finding.metric)
        ));
    }
    if let Some(reason) = &result.reason {
        (count, errors) = (count + 1, 1);
        let reason = escaped(reason);
        cases.push_str(&format!(
            "    <testcase classname=\"infercost.gate\" name=\"comparable\"><error message=\"{reason}\"/></testcase>\n"
        ));
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"infercost gate {}\" tests=\"{count}\" failures=\"{failed}\" errors=\"{errors}\" skipped=\"{skipped}\" timestamp=\"{}\">\n{cases}  </testsuite>\n</testsuites>\n",
        escaped(&result.label),
        escaped(&result.created)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ci::testing;

    #[test]
    fn a_case_for_each_metric_and_no_bare_markup() {
        let text = junit(&testing::failed());
        assert!(text.contains("tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\""), "{text}");
        assert!(
            text.contains("name=\"decode_tokens_per_second tg32\"><failure message=\"+10.0% slower"),
            "{text}"
        );
        assert!(text.contains("prefill_tokens_per_second &lt;pp128&gt; &amp; &quot;co&quot;"), "{text}");
        let text = junit(&testing::incomparable());
        assert!(
            text.contains("tests=\"1\" failures=\"0\" errors=\"1\"") && text.contains("signal 9"),
            "{text}"
        );
    }
}
