//! One-sided t tests of a mean.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::moments::{mean, sample_sd};

/// A mean with what its t test needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanTest {
    /// The samples' mean.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
    /// Number of samples.
    pub n: usize,
}

impl MeanTest {
    /// `None` for fewer than two samples, or if one is not finite.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let found = Self { mean: mean(samples)?, sd: sample_sd(samples)?, n: samples.len() };
        (found.mean.is_finite() && found.sd.is_finite()).then_some(found)
    }

    fn standard_error(self) -> f64 {
        self.sd / (self.n as f64).sqrt()
    }

    /// Probability of a mean at least this far above `bound` if the true mean is at most `bound`.
    pub fn p_above(self, bound: f64) -> f64 {
        let distance = self.mean - bound;
        if self.sd <= 0.0 {
            return if distance > 0.0 { 0.0 } else { 1.0 };
        }
        StudentsT::new(0.0, 1.0, (self.n - 1) as f64).map_or(1.0, |t| t.sf(distance / self.standard_error()))
    }

    /// Probability of a mean at least this far below `bound` if the true mean is at least `bound`.
    pub fn p_below(self, bound: f64) -> f64 {
        Self { mean: -self.mean, ..self }.p_above(-bound)
    }

    /// Half the width of the one-sided interval at level `alpha`.
    pub fn reach(self, alpha: f64) -> f64 {
        quantile_t(1.0 - alpha, self.n) * self.standard_error()
    }
}

/// Probability that a standard normal variable exceeds `z`.
pub fn normal_tail(z: f64) -> f64 {
    Normal::standard().sf(z)
}

/// The quantile of Student's t for the mean of `n` samples; infinite for fewer than two.
pub fn quantile_t(q: f64, n: usize) -> f64 {
    if n < 2 {
        return f64::INFINITY;
    }
    StudentsT::new(0.0, 1.0, (n - 1) as f64).map_or(f64::INFINITY, |t| t.inverse_cdf(q))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// t = (11 − 10) / (1 / √3) = 1.7320508 with 2 degrees of freedom: p = 1/2 − t / (2 √(2 + t²)) = 0.112702.
    #[test]
    fn p_is_the_tail_of_student() {
        let test = MeanTest::of(&[10.0, 12.0, 11.0]).expect("three");
        assert!((test.p_above(10.0) - 0.112_701_665).abs() < 1e-8, "{}", test.p_above(10.0));
        assert!((test.p_below(12.0) - 0.112_701_665).abs() < 1e-8);
        assert!((test.p_above(11.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_normal_tail_is_the_tables() {
        assert!((normal_tail(1.959_964) - 0.025).abs() < 1e-8 && (normal_tail(0.0) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn equal_samples_are_certain_and_one_is_none() {
        let test = MeanTest::of(&[1.0; 4]).expect("four");
        assert_eq!(
            (test.p_above(0.9).to_bits(), test.p_above(1.0).to_bits()),
            (0f64.to_bits(), 1f64.to_bits())
        );
        assert_eq!(MeanTest::of(&[1.0]), None);
        assert_eq!(MeanTest::of(&[1.0, f64::NAN]), None);
    }
}
