//! Confidence intervals of a mean: Student's t, and a variant for quantities that are never negative.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::moments::{mean, sample_sd};
use super::serial::effective_sample_size;

/// A two-sided confidence interval, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// The interval under a monotonic map; the bounds are swapped if it is decreasing.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        let (a, b) = (f(self.low), f(self.high));
        Self { low: a.min(b), high: a.max(b) }
    }

    /// Half the width, relative to `center`.
    pub fn relative_half_width(self, center: f64) -> f64 {
        (self.high - self.low) / 2.0 / center.abs()
    }

    /// Whether `value` lies inside.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Student's t interval of the mean: `mean ± t(1 − α/2, m − 1) · sd / √m`, with `m` the effective
/// sample size, since trials of one process follow one another and are not independent.
///
/// `None` for fewer than two samples: a single number has no interval.
pub fn t_interval(samples: &[f64], confidence: f64) -> Option<Interval> {
    let (center, sd) = (mean(samples)?, sample_sd(samples)?);
    // At least two, so that a correlated pair keeps one degree of freedom.
    let size = effective_sample_size(samples).max(2.0);
    let t = StudentsT::new(0.0, 1.0, size - 1.0).ok()?.inverse_cdf(0.5 + confidence / 2.0);
    let half = t * sd / size.sqrt();
    Some(Interval { low: center - half, high: center + half })
}

/// The t interval of the mean of a quantity that is never negative, such as a duration.
///
/// The interval of the logarithm by the delta method, `mean · e^(± half / mean)`: equal to the plain one
/// when narrow, never negative when two outliers make it wide, and consistent for a rate and its inverse.
pub fn t_interval_positive(samples: &[f64], confidence: f64) -> Option<Interval> {
    let center = mean(samples).filter(|center| *center > 0.0)?;
    let relative = t_interval(samples, confidence)?.relative_half_width(center);
    Some(Interval { low: center * (-relative).exp(), high: center * relative.exp() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST/SEMATECH e-Handbook 1.3.5.2, data set ZARR13: n = 195, mean 9.261460, sd 0.02278881,
    /// 95% interval 9.258242 to 9.264679. The formula is checked on the published summary.
    #[test]
    fn agrees_with_the_nist_handbook() {
        let t = StudentsT::new(0.0, 1.0, 194.0).expect("valid").inverse_cdf(0.975);
        let half = t * 0.022_788_81 / 195f64.sqrt();
        assert!((9.261_460 - half - 9.258_242).abs() < 2e-6);
        assert!((9.261_460 + half - 9.264_679).abs() < 2e-6);
    }

    #[test]
    fn t_interval_of_three_uncorrelated_samples() {
        // sd = 1, n = 3, t(0.975, 2) = 4.302653.
        let interval = t_interval(&[10.0, 12.0, 11.0], 0.95).expect("three samples");
        assert!((interval.high - (11.0 + 4.302_653 / 3f64.sqrt())).abs() < 1e-5, "{interval:?}");
    }

    #[test]
    fn a_wide_interval_of_durations_stays_above_zero() {
        let wide = t_interval_positive(&[0.2, 0.3], 0.95).expect("two samples");
        assert!(wide.low > 0.0 && wide.contains(0.25) && wide.high > 0.5, "{wide:?}");
        let narrow = t_interval_positive(&[1.000, 1.001, 0.999], 0.95).expect("three samples");
        let plain = t_interval(&[1.000, 1.001, 0.999], 0.95).expect("three samples");
        assert!((narrow.low - plain.low).abs() < 1e-5 && (narrow.high - plain.high).abs() < 1e-5);
    }

    #[test]
    fn one_sample_has_no_interval() {
        assert_eq!(t_interval(&[1.0], 0.95), None);
        assert_eq!(mean(&[]), None);
    }

    #[test]
    fn a_falling_map_keeps_the_order() {
        let interval = Interval { low: 1.0, high: 2.0 }.map(|x| 1.0 / x);
        assert_eq!(interval, Interval { low: 0.5, high: 1.0 });
    }
}
