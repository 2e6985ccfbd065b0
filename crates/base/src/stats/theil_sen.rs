//! The Theil–Sen slope: the median of the slopes between all pairs of points, robust to one outlier in four.

use statrs::distribution::{ContinuousCDF, Normal};

use super::interval::Interval;
use super::quantile::median;

/// A slope that no single outlier can distort.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TheilSen {
    /// Median of the slopes between all pairs with different `x`.
    pub slope: f64,
    /// Median of `y` minus slope times median of `x`.
    pub intercept: f64,
    /// Sen's interval (1968, section 2.6): the slopes at the ranks given by Kendall's statistic, normal approximation.
    pub interval: Interval,
    /// Number of points.
    pub n: usize,
}

/// The robust slope of `points`; `None` for fewer than three points or if all share one `x`.
///
/// Ties in `x` and `y` reduce the variance as in Sen's paper. Below ten points the normal approximation is rough, and with
/// four points the interval is the whole range of slopes.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ranks within the list of slopes")]
pub fn theil_sen(points: &[(f64, f64)], confidence: f64) -> Option<TheilSen> {
    let n = points.len();
    if n < 3 {
        return None;
    }
    let mut slopes = Vec::new();
    for (i, a) in points.iter().enumerate() {
        for b in &points[i + 1..] {
            let slope = (b.1 - a.1) / (b.0 - a.0);
            if slope.is_finite() {
                slopes.push(slope);
            }
        }
    }
    slopes.sort_by(f64::total_cmp);
    let slope = median(&slopes)?;
    let (xs, ys): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let intercept = median(&ys)? - slope * median(&xs)?;
    let count = n as f64;
    let full = count * (count - 1.0) * (2.0 * count + 5.0);
    let sd = ((full - ties(&xs) - ties(&ys)) / 18.0).max(0.0).sqrt();
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    let pairs = slopes.len() as f64;
    let last = slopes.len() - 1;
    let low = ((pairs - z * sd) / 2.0).round_ties_even() - 1.0;
    let high = f64::midpoint(pairs, z * sd).round_ties_even();
    let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(last)];
    Some(TheilSen { slope, intercept, interval: Interval { low: at(low), high: at(high) }, n })
}

/// The reduction of the variance of Kendall's statistic by groups of equal values.
fn ties(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|group| group.len() as f64)
        .map(|k| k * (k - 1.0) * (2.0 * k + 5.0))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    /// scipy 1.16: `stats.theilslopes(y, x, 0.95)`.
    #[test]
    fn agrees_with_scipy() {
        let points = [(0.0, 3.6), (0.65, 2.7), (1.17, 2.0), (1.4, 1.1), (2.3, 0.4), (3.1, -1.2)];
        let found = theil_sen(&points, 0.95).expect("six points");
        near(found.slope, -1.415_929_203_539_823_2);
        near(found.intercept, 3.369_469_026_548_673);
        near(found.interval.low, -2.133_333_333_333_333_3);
        near(found.interval.high, -1.346_153_846_153_846_8);
    }

    /// The same with two pairs of equal `y`.
    #[test]
    fn ties_narrow_the_variance_as_scipy_has_it() {
        let ys = [3.6, 2.7, 2.7, 1.1, 0.4, -1.2, -1.3, -2.9, -3.0, -3.0];
        let points: Vec<(f64, f64)> = ys.iter().enumerate().map(|(x, y)| (x as f64, *y)).collect();
        let found = theil_sen(&points, 0.95).expect("ten points");
        near(found.slope, -0.82);
        near(found.intercept, 3.29);
        near(found.interval.low, -0.96);
        near(found.interval.high, -0.7);
    }

    #[test]
    fn one_wild_point_does_not_bend_it() {
        let mut points: Vec<(f64, f64)> = (0..9).map(f64::from).map(|x| (x, -2.0 * x)).collect();
        points[4].1 = 1000.0;
        near(theil_sen(&points, 0.95).expect("nine points").slope, -2.0);
        assert_eq!(theil_sen(&points[..2], 0.95), None);
        assert_eq!(theil_sen(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)], 0.95), None);
    }
}
