//! Bencher's metric format: a benchmark for each metric, the slowdown as its measure.

use serde_json::{Map, Value, json};

use crate::regress::gate::GateResult;

/// The object: benchmark → measure → value with its bounds, in percent.
pub fn bencher(result: &GateResult) -> Value {
    let findings = result.decision.iter().flat_map(|decision| &decision.findings);
    let benchmarks: Map<String, Value> = findings
        .map(|finding| {
            let [low, high] = finding.interval.map(|end| end * 100.0);
            let measure =
                json!({ "value": finding.slowdown * 100.0, "lower_value": low, "upper_value": high });
            (finding.metric.clone(), json!({ "slowdown_percent": measure }))
        })
        .collect();
    Value::Object(benchmarks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::ci::testing;

    #[test]
    fn a_value_with_its_bounds() {
        let found = bencher(&testing::failed());
        let measure = &found["decode_tokens_per_second tg32"]["slowdown_percent"];
        let of = |name: &str| measure[name].as_f64().expect("a number");
        assert!(
            (of("value") - 10.0).abs() < 0.1
                && of("lower_value") < of("value")
                && of("value") < of("upper_value")
        );
    }
}
