//! Change points of a series: where its level moved for good (E-divisive, Matteson and James 2014).
//!
//! A split is as good as the energy distance between what lies left and right of it. The best split of a segment is
//! believed when few random orders of the same values have one as good; then both sides are searched in turn. Long
//! series are searched in windows, as Hunter does (Fleming et al., ICPE 2023): a change long ago must not hide one
//! of yesterday, nor take quadratic time. What the windows found is tested once more between its neighbours.

use std::collections::HashMap;

use super::quantile::median;
use crate::base::random::SplitMix64;

/// What counts as a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Chance of a change where there is none, for each split that is tested.
    pub p: f64,
    /// Random orders that are tried; at least `1 / p - 1`.
    pub permutations: u32,
    /// Points that are looked at together.
    pub window: usize,
    /// Fewest points between two changes.
    pub segment: usize,
    /// Least change of the median, as a share of the level before.
    pub magnitude: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { p: 0.001, permutations: 999, window: 50, segment: 3, magnitude: 0.01 }
    }
}

/// A place where the level moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// Index of the first value of the new level.
    pub at: usize,
    /// Median of the segment before.
    pub before: f64,
    /// Median of the segment behind.
    pub after: f64,
    /// Share of the random orders with a split at least as good.
    pub p: f64,
}

/// The change points of `series`, in order. Values that are not finite are an error of the caller's: they are taken
/// as no evidence of anything, and the series has none then.
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

/// Splits `series[from..to]` as often as chance does not explain.
fn search(series: &[f64], from: usize, to: usize, rules: &Rules, found: &mut Vec<usize>) {
    let segment = &series[from..to];
    let Some((split, distance)) = best_split(segment, rules.segment) else { return };
    if significance(segment, distance, rules, (from as u64) << 32 | to as u64) > rules.p {
        return;
    }
    found.push(from + split);
    search(series, from, from + split, rules, found);
    search(series, from + split, to, rules, found);
}

/// Tests what the windows found between its neighbours, the weakest first, until all that is left stands; two windows
/// may see one change at neighbouring places.
fn settle(series: &[f64], mut found: Vec<usize>, rules: &Rules) -> Vec<ChangePoint> {
    // A removal changes the neighbours of two places; what was tested between the same ones is known.
    let mut tested = HashMap::new();
    loop {
        let points: Vec<ChangePoint> = (0..found.len())
            .map(|place| {
                let at = found[place];
                let from = if place == 0 { 0 } else { found[place - 1] };
                let to = found.get(place + 1).copied().unwrap_or(series.len());
                // No farther than a window on either side: what was long ago says little about this place.
                let (from, to) = (from.max(at.saturating_sub(rules.window)), to.min(at + rules.window));
                *tested.entry((from, at, to)).or_insert_with(|| test(series, from, at, to, rules))
            })
            .collect();
        let too_small =
            |point: &ChangePoint| (point.after - point.before).abs() < rules.magnitude * point.before.abs();
        let shift = |point: &ChangePoint| (point.after - point.before).abs();
        let weakest = points
            .iter()
            .enumerate()
            .filter(|(_, point)| point.p > rules.p || too_small(point))
            .max_by(|(_, a), (_, b)| a.p.total_cmp(&b.p).then(shift(b).total_cmp(&shift(a))));
        match weakest {
            Some((place, _)) => drop(found.remove(place)),
            None => return points,
        }
    }
}

/// One place between its neighbours.
fn test(series: &[f64], from: usize, at: usize, to: usize, rules: &Rules) -> ChangePoint {
    let segment = &series[from..to];
    let p = match best_split(segment, rules.segment) {
        Some((_, best)) if at - from >= rules.segment && to - at >= rules.segment => {
            // Its own split must be nearly the best there, not only beside a good one.
            let own = Split::all(segment, rules.segment).find(|split| split.at == at - from);
            let own = own.map_or(0.0, |split| split.distance);
            if own < 0.5 * best {
                1.0
            } else {
                significance(segment, own, rules, (from as u64) << 32 | to as u64)
            }
        }
        _ => 1.0,
    };
    let level = |values: &[f64]| median(values).unwrap_or(0.0);
    ChangePoint { at, before: level(&series[from..at]), after: level(&series[at..to]), p }
}

/// Chance of a best split as good as `distance` in a random order of the same values.
fn significance(segment: &[f64], distance: f64, rules: &Rules, salt: u64) -> f64 {
    // The same series gives the same answer on every machine.
    let mut random = SplitMix64::new(0x1AFE_C057).branch(salt);
    let mut order = segment.to_vec();
    let mut as_good = 0u32;
    for tried in 1..=rules.permutations {
        random.shuffle(&mut order);
        if best_split(&order, rules.segment).is_some_and(|(_, other)| other >= distance * (1.0 - 1e-12)) {
            as_good += 1;
        }
        // Enough of them already: no further order can make it significant.
        if f64::from(as_good + 1) > rules.p * f64::from(rules.permutations + 1) {
            return f64::from(as_good + 1) / f64::from(tried + 1);
        }
    }
    f64::from(as_good + 1) / f64::from(rules.permutations + 1)
}

fn best_split(segment: &[f64], shortest: usize) -> Option<(usize, f64)> {
    Split::all(segment, shortest).map(|split| (split.at, split.distance)).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// A split with its weighted energy distance.
struct Split {
    at: usize,
    distance: f64,
}

impl Split {
    /// Every split that leaves `shortest` values on both sides.
    ///
    /// With D the sums of distances |x − y| between left and right, within left and within right:
    /// `n·m/(n+m) · (2·D_between/(n·m) − 2·D_left/(n·(n−1)) − 2·D_right/(m·(m−1)))`, each pair counted once. Moving one value
    /// from right to left changes the three sums by its distances to either side.
    fn all(segment: &[f64], shortest: usize) -> impl Iterator<Item = Self> {
        let n = segment.len();
        let to_left: Vec<f64> =
            (0..n).map(|i| segment[..i].iter().map(|x| (x - segment[i]).abs()).sum()).collect();
        let to_right: Vec<f64> =
            (0..n).map(|i| segment[i..].iter().map(|x| (x - segment[i]).abs()).sum()).collect();
        let total: f64 = to_left.iter().sum();
        let (mut left, mut right, mut between) = (0.0, total, 0.0);
        let mut splits = Vec::new();
        for at in 1..n {
            // The value before `at` moves over.
            let (old, new) = (to_left[at - 1], to_right[at - 1]);
            left += old;
            right -= new;
            between += new - old;
            let other = n - at;
            if at < shortest.max(2) || other < shortest.max(2) {
                continue;
            }
            let (a, b) = (at as f64, other as f64);
            let distance = a * b / (a + b)
                * (2.0 * between / (a * b) - 2.0 * left / (a * (a - 1.0)) - 2.0 * right / (b * (b - 1.0)));
            splits.push(Self { at, distance });
        }
        splits.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(levels: &[(usize, f64)], sd: f64, seed: u64) -> Vec<f64> {
        let mut random = SplitMix64::new(seed);
        let points = levels.iter().flat_map(|&(count, level)| std::iter::repeat_n(level, count));
        points.map(|level| level * (1.0 + sd * random.normal())).collect()
    }

    fn places(series: &[f64]) -> Vec<usize> {
        change_points(series, &Rules::default()).iter().map(|point| point.at).collect()
    }

    /// By hand, for 0 0 1 1 split in the middle: between 4, within 0: 2·2/4 · 2·4/4 = 2.
    #[test]
    fn the_distance_of_a_clean_split_is_known() {
        let (at, distance) = best_split(&[0.0, 0.0, 1.0, 1.0], 2).expect("a split");
        assert_eq!(at, 2);
        assert!((distance - 2.0).abs() < 1e-12, "{distance}");
        // 0 1 | 5 5: between 5+5+4+4 = 18, left 1: 1 · (2·18/4 − 2·1/2) = 8.
        let split = Split::all(&[0.0, 1.0, 5.0, 5.0], 2).find(|split| split.at == 2).expect("a split");
        assert!((split.distance - 8.0).abs() < 1e-12, "{}", split.distance);
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
