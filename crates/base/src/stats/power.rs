//! The power of the change-point search: how many points it needs, and how large a step must be.
//!
//! However large a step, some permutations have as good a split: the values before it in any order, then those after it, or
//! the reverse. So with n points of which k are on one side, the share of permutations as good is at least 2 ÷ C(n, k), and
//! no permutation test can prove a step at a lower level.

use super::change_points::{ChangePoint, Rules};
use super::quantile::median;

/// Minimum number of points to prove a step at all: in the middle, where the number of distinct permutations is largest.
pub fn points_needed(rules: &Rules) -> usize {
    let provable = |n: &usize| n / 2 >= rules.segment && 2.0 / orders(*n, n / 2) <= rules.p;
    (4..=rules.window).find(provable).unwrap_or(rules.window)
}

/// Ways to choose `k` of `n`.
fn orders(n: usize, k: usize) -> f64 {
    (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product()
}

/// The step, in standard deviations of the noise around a level, that a search finds four times out of five in the middle of
/// this many points: simulated with normal noise, verified by a test in `change_simulation`.
const FOUND: [(usize, f64); 9] =
    [(14, 4.5), (15, 3.7), (16, 3.4), (18, 3.05), (20, 2.8), (25, 2.4), (30, 2.15), (40, 1.9), (50, 1.75)];

/// The smallest step, as a fraction of the last level, that would be found four times out of five in the middle of the last
/// points, at most a window of them; `None` if there are too few to prove any.
pub fn smallest_step(series: &[f64], changes: &[ChangePoint], rules: &Rules) -> Option<f64> {
    let points = series.len().min(rules.window);
    if series.len() < points_needed(rules) {
        return None;
    }
    let from = changes.last().map_or(0, |change| change.at);
    let level = median(&series[from..])?;
    let sds = in_deviations(points)?;
    let step = sds * noise(series, changes)? / level.abs();
    step.is_finite().then(|| step.max(rules.magnitude))
}

/// Interpolates the table on a logarithmic scale, where it is nearly linear.
fn in_deviations(points: usize) -> Option<f64> {
    let above = FOUND.iter().position(|(n, _)| *n >= points)?;
    let (n, found) = FOUND[above];
    if n == points || above == 0 {
        return (n == points).then_some(found);
    }
    let (before, more) = FOUND[above - 1];
    let share = (points as f64 / before as f64).ln() / (n as f64 / before as f64).ln();
    Some((more.ln() + share * (found / more).ln()).exp())
}

/// Standard deviation around the levels, from the median absolute deviation, which is robust to outliers.
fn noise(series: &[f64], changes: &[ChangePoint]) -> Option<f64> {
    /// Standard deviation ÷ median absolute deviation of a normal distribution.
    const NORMAL: f64 = 1.4826;
    let mut from = 0;
    let mut deviations = Vec::with_capacity(series.len());
    for to in changes.iter().map(|change| change.at).chain([series.len()]) {
        let level = median(&series[from..to])?;
        deviations.extend(series[from..to].iter().map(|value| (value - level).abs()));
        from = to;
    }
    median(&deviations).map(|middle| NORMAL * middle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2 ÷ C(13, 6) = 2 ÷ 1716 is above 0.001, 2 ÷ C(14, 7) = 2 ÷ 3432 below.
    #[test]
    fn fourteen_points_can_prove_a_step() {
        assert_eq!(points_needed(&Rules::default()), 14);
        assert!((orders(14, 7) - 3432.0).abs() < 1e-9 && (orders(25, 3) - 2300.0).abs() < 1e-9);
        assert_eq!(points_needed(&Rules { p: 0.05, ..Rules::default() }), 8);
    }

    #[test]
    fn the_smallest_step_follows_the_noise_and_the_length() {
        let rules = Rules::default();
        let series =
            |n: usize, sd: f64| (0..n).map(move |i| 100.0 + sd * if i % 2 == 0 { 1.0 } else { -1.0 });
        let seen = |n, sd| smallest_step(&series(n, sd).collect::<Vec<f64>>(), &[], &rules);
        assert_eq!(seen(13, 1.0), None);
        let [short, long, longer] = [14, 50, 500].map(|n| seen(n, 1.0).expect("enough"));
        // 1% to either side is a deviation of 1.4826%.
        assert!(
            (short - 4.5 * 0.014_826).abs() < 1e-9 && (long - 1.75 * 0.014_826).abs() < 1e-9,
            "{short} {long}"
        );
        assert!((long - longer).abs() < 1e-12);
        let between = seen(44, 1.0).expect("enough");
        assert!(between > long && between < seen(30, 1.0).expect("enough"), "{between}");
        // Nothing under the least magnitude is a change.
        assert!((seen(50, 0.001).expect("enough") - rules.magnitude).abs() < 1e-12);
    }
}
