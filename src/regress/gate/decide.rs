//! Decides on pairs of figures: FAIL if a slowdown beyond the margin is proven, PASS if a slowdown of the margin is
//! excluded, INCONCLUSIVE otherwise.
//!
//! Each pair's slowdown is the logarithm of how many times longer B took than A, so a rate and its inverse give the
//! same verdict. FAIL is a one-sided t test of each metric against its margin, with Holm's correction over the metrics;
//! PASS requires each metric's own upper bound to be below the margin (an intersection–union test, which needs no
//! correction).

use serde::{Deserialize, Serialize};

use crate::base::stats::{MeanTest, holm, quantile_t};

/// A gate's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Verdict {
    /// A slowdown beyond the margin is excluded.
    Pass,
    /// A slowdown beyond the margin is proven.
    Fail,
    /// Neither: too few pairs for this machine's noise.
    Inconclusive,
    /// The two cannot be compared at all.
    Incomparable,
}

/// Largest tolerated slowdown, as a fraction: 0.03 lets B take 1/0.97 of A's time per token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Margin(pub f64);

impl Margin {
    /// As the logarithm of a ratio of times.
    fn ln(self) -> f64 {
        -(1.0 - self.0).ln()
    }

    /// The margin in the unit of a slowdown: 0.05 lets B take 5.26% more time.
    pub fn slowdown(self) -> f64 {
        self.ln().exp_m1()
    }
}

/// The replicates of one metric, in pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    /// Its name with its cell: `decode_tokens_per_second tg128`.
    pub metric: String,
    /// Whether higher is better, as with a rate.
    pub more_is_better: bool,
    /// The tolerated slowdown.
    pub margin: Margin,
    /// A's figure and B's figure in each pair, both above 0.
    pub values: Vec<[f64; 2]>,
}

impl Pairs {
    /// Logarithm of B's slowdown relative to A, for each pair.
    fn slowdowns(&self) -> Vec<f64> {
        let worse = |[a, b]: &[f64; 2]| if self.more_is_better { (a / b).ln() } else { (b / a).ln() };
        self.values.iter().map(worse).collect()
    }
}

/// When the gate looks at the data, and the significance level of each look.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Looks {
    /// Pairs at each look, increasing.
    pub pairs: Vec<usize>,
    /// Level of each look; the probability of a false FAIL is at most their sum.
    pub alpha: f64,
}

impl Default for Looks {
    /// Six pairs, and twelve if undecided: 0.04 in total.
    fn default() -> Self {
        Self { pairs: vec![6, 12], alpha: 0.02 }
    }
}

/// The finding for one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Its name with its cell.
    pub metric: String,
    /// What is let pass.
    pub margin: Margin,
    /// The same as a slowdown, to which `slowdown` and `interval` are compared: a margin of 0.05 is 0.0526.
    #[serde(default)]
    pub margin_slowdown: f64,
    /// Number of pairs.
    pub pairs: usize,
    /// B's slowdown: 0.05 is 5% more time per token, negative is faster. Geometric mean over the pairs.
    pub slowdown: f64,
    /// Its two-sided interval, whose ends are the one-sided bounds.
    pub interval: [f64; 2],
    /// Standard deviation of the pairs' logarithms: the noise of this machine.
    pub pair_sd: f64,
    /// p-value toward FAIL, under a slowdown equal to the margin.
    pub p_fail: f64,
    /// The same toward PASS.
    pub p_pass: f64,
    /// This metric's own verdict; FAIL after Holm.
    pub verdict: Verdict,
    /// Smallest slowdown that this many pairs would fail four times out of five.
    pub smallest_seen: f64,
    /// Pairs that would decide it if mean and noise stay the same; `None` if the mean equals the margin.
    pub pairs_needed: Option<usize>,
}

/// The verdict of all metrics together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// FAIL if one metric fails, PASS if all pass.
    pub verdict: Verdict,
    /// The metrics: those that fail, then the undecided, then those that pass; within each group the slowest first. Metrics
    /// equally slow to a tenth of a percent keep their given order.
    pub findings: Vec<Finding>,
    /// Metrics that are shown but do not affect the verdict: tails.
    pub reported: Vec<Reported>,
    /// Level of this look.
    pub alpha: f64,
}

/// A metric that is not gated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reported {
    /// Its name with its cell.
    pub metric: String,
    /// As a [`Finding`]'s.
    pub slowdown: f64,
    /// As a [`Finding`]'s.
    pub interval: [f64; 2],
    /// As a [`Finding`]'s.
    pub pair_sd: f64,
}

impl Reported {
    /// The findings of these pairs; `None` for fewer than two of them, or if a figure is not above 0.
    pub fn of(pairs: &Pairs, alpha: f64) -> Option<Self> {
        let test = MeanTest::of(&pairs.slowdowns())?;
        let reach = test.reach(alpha);
        Some(Self {
            metric: pairs.metric.clone(),
            slowdown: test.mean.exp_m1(),
            interval: [(test.mean - reach).exp_m1(), (test.mean + reach).exp_m1()],
            pair_sd: test.sd,
        })
    }
}

/// Power assumed by `smallest_seen` and `pairs_needed`.
const POWER: f64 = 0.8;
/// More pairs than this are not worth suggesting.
const MOST_PAIRS: usize = 1000;

/// Decides on the pairs so far.
///
/// INCOMPARABLE if there is no metric, or one has fewer than two pairs or a figure that is not above 0.
pub fn decide(metrics: &[Pairs], alpha: f64) -> Decision {
    decide_wider(metrics, alpha, 0.0)
}

/// The same if the two programs may differ by `width`, a logarithm, for external reasons: FAIL and PASS must hold in
/// either direction.
pub(super) fn decide_wider(metrics: &[Pairs], alpha: f64, width: f64) -> Decision {
    let tests: Option<Vec<(&Pairs, MeanTest)>> =
        metrics.iter().map(|pairs| Some((pairs, MeanTest::of(&pairs.slowdowns())?))).collect();
    let Some(tests) = tests.filter(|tests| !tests.is_empty()) else {
        let (findings, reported) = (Vec::new(), Vec::new());
        return Decision { verdict: Verdict::Incomparable, findings, reported, alpha };
    };
    let p_fail: Vec<f64> =
        tests.iter().map(|(pairs, test)| test.p_above(pairs.margin.ln() + width)).collect();
    let failed = holm(&p_fail, alpha);
    let mut findings: Vec<Finding> = tests
        .iter()
        .zip(p_fail.iter().zip(&failed))
        .map(|((pairs, test), (p_fail, failed))| finding(pairs, *test, (*p_fail, *failed), alpha, width))
        .collect();
    findings.sort_by_key(order);
    let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    let verdict = if any(Verdict::Fail) {
        Verdict::Fail
    } else if any(Verdict::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    Decision { verdict, findings, reported: Vec::new(), alpha }
}

/// Sort key of a finding. Under the same noise, metrics have the same slowdown except for the last bits, and those must
/// not determine the order.
fn order(finding: &Finding) -> (u8, i64) {
    let class = match finding.verdict {
        Verdict::Fail => 0,
        Verdict::Inconclusive => 1,
        Verdict::Pass | Verdict::Incomparable => 2,
    };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a float cast saturates, and the order of values that large does not matter"
    )]
    let slowdown = (finding.slowdown * 1000.0).round() as i64;
    (class, -slowdown)
}

fn finding(pairs: &Pairs, test: MeanTest, (p_fail, failed): (f64, bool), alpha: f64, width: f64) -> Finding {
    let margin = pairs.margin.ln();
    let p_pass = test.p_below(margin - width);
    let reach = test.reach(alpha) + width;
    let share = |ln: f64| ln.exp_m1();
    Finding {
        metric: pairs.metric.clone(),
        margin: pairs.margin,
        margin_slowdown: pairs.margin.slowdown(),
        pairs: test.n,
        slowdown: share(test.mean),
        interval: [share(test.mean - reach), share(test.mean + reach)],
        pair_sd: test.sd,
        p_fail,
        p_pass,
        verdict: if failed {
            Verdict::Fail
        } else if p_pass <= alpha {
            Verdict::Pass
        } else {
            Verdict::Inconclusive
        },
        smallest_seen: share(margin + width + detectable(test.sd, test.n, alpha)),
        pairs_needed: pairs_needed(test, margin, alpha, width),
    }
}

/// Distance from the margin at which `n` pairs fail with probability [`POWER`].
fn detectable(sd: f64, n: usize, alpha: f64) -> f64 {
    (quantile_t(1.0 - alpha, n) + quantile_t(POWER, n)) * sd / (n as f64).sqrt()
}

/// The smallest number of pairs at which a mean this far from the margin is decided with probability [`POWER`].
fn pairs_needed(test: MeanTest, margin: f64, alpha: f64, width: f64) -> Option<usize> {
    let distance = (test.mean - margin).abs() - width;
    let decides = |n: usize| detectable(test.sd, n, alpha) <= distance;
    // More pairs always resolve a smaller slowdown, so bisection finds the smallest number.
    let (mut least, mut most) = (2, MOST_PAIRS);
    if !decides(most) {
        return None;
    }
    while least < most {
        let middle = usize::midpoint(least, most);
        if decides(middle) { most = middle } else { least = middle + 1 }
    }
    Some(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(more_is_better: bool, margin: f64, slowdowns: &[f64]) -> Pairs {
        let values = slowdowns
            .iter()
            .map(|s| if more_is_better { [100.0, 100.0 / s.exp()] } else { [100.0, 100.0 * s.exp()] });
        Pairs { metric: "m".into(), more_is_better, margin: Margin(margin), values: values.collect() }
    }

    /// Six pairs around 8%: mean 0.08, sd 0.01, margin −ln 0.97 = 0.030459; t = 12.1 with 5 degrees of freedom.
    #[test]
    fn a_clear_slowdown_fails_whichever_way_it_is_counted() {
        let d = [0.07, 0.09, 0.07, 0.09, 0.07, 0.09];
        for more in [true, false] {
            let found = decide(&[pairs(more, 0.03, &d)], 0.02);
            assert_eq!(found.verdict, Verdict::Fail);
            let finding = &found.findings[0];
            assert!((finding.margin_slowdown - 0.030_928).abs() < 1e-6, "{finding:?}");
            assert!(
                (finding.slowdown - 0.083_287).abs() < 1e-6 && (finding.pair_sd - 0.010_954).abs() < 1e-6
            );
            // scipy: ttest_1samp(d, 0.030459, alternative='greater') gives 5.222e-5.
            assert!((finding.p_fail - 5.222e-5).abs() < 1e-8, "{}", finding.p_fail);
        }
    }

    #[test]
    fn no_change_passes_and_noise_is_inconclusive_with_a_way_out() {
        let quiet = decide(&[pairs(true, 0.03, &[0.005, -0.005, 0.004, -0.004, 0.001, -0.001])], 0.02);
        assert_eq!(quiet.verdict, Verdict::Pass);
        let loud = decide(&[pairs(true, 0.03, &[0.06, -0.05, 0.04, -0.06, 0.05, -0.04])], 0.02);
        assert_eq!(loud.verdict, Verdict::Inconclusive);
        let finding = &loud.findings[0];
        assert!(finding.smallest_seen > 0.08 && finding.pairs_needed.expect("some") == 30, "{finding:?}");
        let at = finding.pairs_needed.expect("some");
        assert!(
            detectable(finding.pair_sd, at, 0.02) <= 0.0305
                && detectable(finding.pair_sd, at - 1, 0.02) > 0.03
        );
    }

    #[test]
    fn one_failing_metric_fails_the_gate_and_stands_first() {
        let good = pairs(true, 0.03, &[0.001, -0.001, 0.002, -0.002, 0.0, 0.001]);
        let bad = pairs(false, 0.05, &[0.11, 0.10, 0.12, 0.10, 0.11, 0.12]);
        let found = decide(&[good.clone(), bad], 0.02);
        assert_eq!(found.verdict, Verdict::Fail);
        assert_eq!(
            found.findings.iter().map(|f| f.verdict).collect::<Vec<_>>(),
            [Verdict::Fail, Verdict::Pass]
        );
        // Equal but for rounding: as given, whichever margin is the wider.
        let alike = |metric: &str, more, margin| Pairs {
            metric: metric.into(),
            values: [3.0, 7.0, 11.0].map(|x| if more { [x * 1.1, x] } else { [x, x * 1.1] }).to_vec(),
            ..pairs(more, margin, &[])
        };
        let found = decide(&[alike("rate", true, 0.05), alike("time", false, 0.03)], 0.02);
        let metrics = |found: &Decision| found.findings.iter().map(|f| f.metric.clone()).collect::<Vec<_>>();
        assert_eq!(metrics(&found), ["rate", "time"]);
        let found = decide(&[alike("time", false, 0.03), alike("rate", true, 0.05)], 0.02);
        assert_eq!(metrics(&found), ["time", "rate"]);
        assert_eq!(decide(&[], 0.02).verdict, Verdict::Incomparable);
        assert_eq!(
            decide(&[Pairs { values: vec![[1.0, 1.0]], ..good.clone() }], 0.02).verdict,
            Verdict::Incomparable
        );
        let broken = Pairs { values: vec![[1.0, 0.0], [1.0, 1.0]], ..good };
        assert_eq!(decide(&[broken], 0.02).verdict, Verdict::Incomparable);
    }
}
