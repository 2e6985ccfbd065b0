//! Change points of a series: where its level shifted permanently (E-divisive, Matteson and James 2014).
//!
//! A split's score is the energy distance between the values on its left and right. The best split of a segment is accepted
//! if few permutations of the same values have one as good ([`orders`](super::orders)); then both sides are searched in
//! turn. Long series are searched in windows, as in Hunter (Fleming et al., ICPE 2023): an old change must not hide a
//! recent one, nor take quadratic time. Each change that the windows find is tested again between its neighbours.

use std::collections::HashMap;

use super::orders::chance;
use super::quantile::median;
use super::splits::Split;

/// What counts as a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Probability of a false positive, for each split tested.
    pub p: f64,
    /// Points per window.
    pub window: usize,
    /// Minimum number of points between two changes.
    pub segment: usize,
    /// Minimum change of the median, as a fraction of the previous level.
    pub magnitude: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { p: 0.001, window: 50, segment: 3, magnitude: 0.01 }
    }
}

/// A point where the level shifted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value of the new level.
    pub at: usize,
    /// Median of the segment before it.
    pub before: f64,
    /// Median of the segment after it.
    pub after: f64,
    /// Share of permutations of the same values with a split at least as good; for a long segment an estimate.
    pub p: f64,
}

/// The change points of `series`, in order. Non-finite values are a caller's error; such a series has no change points.
pub fn change_points(series: &[f64], rules: &Rules) -> Vec<ChangePoint> {
    if series.iter().any(|value| !value.is_finite()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let (window, step) = (rules.window.max(2 * rules.segment), (rules.window / 2).max(1));
    let mut from = 0;
    loop {
        let to = (from + window).min(series.len());
        search(series, from, to, rules, &mut found);
        if to == series.len() {
            break;
        }
        from += step;
    }
    found.sort_unstable();
    found.dedup();
    settle(series, found, rules)
}

/// Splits `series[from..to]` recursively while a split is significant.
fn search(series: &[f64], from: usize, to: usize, rules: &Rules, found: &mut Vec<usize>) {
    let segment = &series[from..to];
    let Some(split) = Split::best(segment, rules.segment) else { return };
    if !chance(segment, rules.segment.max(2), split.distance, rules.p, salt(from, to)).1 {
        return;
    }
    found.push(from + split.at);
    search(series, from, from + split.at, rules, found);
    search(series, from + split.at, to, rules, found);
}

/// Tests each change that the windows found between its neighbours, the weakest first, until all that remain are
/// significant; two windows may find one change at neighbouring points.
fn settle(series: &[f64], mut found: Vec<usize>, rules: &Rules) -> Vec<ChangePoint> {
    // A removal changes the neighbours of two points; results between unchanged neighbours are reused.
    let mut tested = HashMap::new();
    loop {
        let points = (0..found.len())
            .map(|place| {
                let at = found[place];
                let from = if place == 0 { 0 } else { found[place - 1] };
                let to = found.get(place + 1).copied().unwrap_or(series.len());
                // At most one window on either side: the distant past says little about this point.
                let (from, to) = (from.max(at.saturating_sub(rules.window)), to.min(at + rules.window));
                *tested.entry((from, at, to)).or_insert_with(|| test(series, from, at, to, rules))
            })
            .collect::<Vec<(ChangePoint, bool)>>();
        let too_small =
            |point: &ChangePoint| (point.after - point.before).abs() < rules.magnitude * point.before.abs();
        let shift = |point: &ChangePoint| (point.after - point.before).abs();
        let weakest = points
            .iter()
            .enumerate()
            .filter(|(_, (point, proven))| !proven || too_small(point))
            .max_by(|(_, (a, _)), (_, (b, _))| a.p.total_cmp(&b.p).then(shift(b).total_cmp(&shift(a))));
        match weakest {
            Some((place, _)) => drop(found.remove(place)),
            None => return points.into_iter().map(|(point, _)| point).collect(),
        }
    }
}

/// Tests one point between its neighbours, and returns whether it is significant.
fn test(series: &[f64], from: usize, at: usize, to: usize, rules: &Rules) -> (ChangePoint, bool) {
    let segment = &series[from..to];
    let (p, proven) = match Split::best(segment, rules.segment) {
        Some(best) if at - from >= rules.segment && to - at >= rules.segment => {
            // Its own split must be nearly the best there, not merely next to a good one.
            let own = Split::all(segment, rules.segment).find(|split| split.at == at - from);
            let own = own.map_or(0.0, |split| split.distance);
            if own < 0.5 * best.distance {
                (1.0, false)
            } else {
                chance(segment, rules.segment.max(2), own, rules.p, salt(from, to))
            }
        }
        _ => (1.0, false),
    };
    let level = |values: &[f64]| median(values).unwrap_or(0.0);
    (ChangePoint { at, before: level(&series[from..at]), after: level(&series[at..to]), p }, proven)
}

fn salt(from: usize, to: usize) -> u64 {
    (from as u64) << 32 | to as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    fn series(levels: &[(usize, f64)], sd: f64, seed: u64) -> Vec<f64> {
        let mut random = SplitMix64::new(seed);
        let points = levels.iter().flat_map(|&(count, level)| std::iter::repeat_n(level, count));
        points.map(|level| level * (1.0 + sd * random.normal())).collect()
    }

    fn places(series: &[f64]) -> Vec<usize> {
        change_points(series, &Rules::default()).iter().map(|point| point.at).collect()
    }

    #[test]
    fn steps_are_found_where_they_are() {
        assert_eq!(places(&series(&[(30, 100.0), (30, 96.0)], 0.005, 1)), [30]);
        let found = places(&series(&[(40, 100.0), (25, 97.0), (60, 103.0)], 0.006, 2));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].abs_diff(40) <= 1 && found[1].abs_diff(65) <= 1, "{found:?}");
        let point = change_points(&series(&[(30, 100.0), (30, 96.0)], 0.005, 1), &Rules::default())[0];
        assert!((point.before - 100.0).abs() < 0.5 && (point.after - 96.0).abs() < 0.5 && point.p <= 0.001);
    }

    #[test]
    fn far_apart_changes_are_all_found() {
        let levels: Vec<(usize, f64)> = (0..10).map(|k| (80, 100.0 * 1.04f64.powi(k % 3))).collect();
        let found = places(&series(&levels, 0.005, 3));
        let expected: Vec<usize> = (1..10).map(|k| k * 80).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1), "{found:?}");
    }

    #[test]
    fn noise_an_outlier_and_a_small_step_are_none() {
        for seed in 0..20 {
            assert_eq!(places(&series(&[(120, 100.0)], 0.01, seed)), Vec::<usize>::new(), "seed {seed}");
        }
        let mut outlier = series(&[(60, 100.0)], 0.005, 9);
        outlier[30] = 60.0;
        assert_eq!(places(&outlier), Vec::<usize>::new());
        // Half a percent is below the least magnitude, however sure.
        assert_eq!(places(&series(&[(50, 100.0), (50, 99.5)], 0.0005, 4)), Vec::<usize>::new());
    }

    #[test]
    fn short_series_and_values_that_are_no_numbers_have_none() {
        for short in [&[][..], &[1.0], &[1.0, 2.0, 3.0, 4.0, 5.0]] {
            assert_eq!(places(short), Vec::<usize>::new());
        }
        assert_eq!(places(&[1.0, f64::NAN, 2.0, 2.0, 2.0, 2.0, 2.0]), Vec::<usize>::new());
    }
}
