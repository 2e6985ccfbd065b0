//! Quantiles, type 7 of Hyndman and Fan (1996): linear interpolation at `(n − 1) · q`, as R, `NumPy` and
//! spreadsheets do.

/// The `q`-quantile (0 ≤ q ≤ 1) of samples in any order; `None` if empty.
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, q)
}

/// [`quantile`] of samples in ascending order, for who wants several.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into a slice")]
pub fn quantile_of_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    if sorted.is_empty() {
        return None;
    }
    debug_assert!(sorted.is_sorted_by(|a, b| a.total_cmp(b).is_le()));
    let position = (sorted.len() - 1) as f64 * q.clamp(0.0, 1.0);
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64))
}

/// The median: the mean of the middle two when their number is even.
pub fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R 4: `quantile(c(1, 2, 4, 7, 11), c(.25, .5, .9))` gives 2, 4, 9.4.
    #[test]
    fn agrees_with_r_type_7() {
        let samples = [11.0, 1.0, 4.0, 2.0, 7.0];
        for (q, expected) in [(0.0, 1.0), (0.25, 2.0), (0.5, 4.0), (0.9, 9.4), (1.0, 11.0)] {
            let found = quantile(&samples, q).expect("five samples");
            assert!((found - expected).abs() < 1e-12, "{q}: {found}");
        }
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn an_even_median_is_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    }
}
