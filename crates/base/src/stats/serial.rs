//! Serial correlation: how many independent samples a series is worth.

use super::moments::mean;

/// Effective sample size by the first-order autoregressive rule, `n · (1 − r) / (1 + r)`, with `r` the
/// lag-1 autocorrelation (Bayley and Hammersley 1946), clamped to between 1 and `n`.
///
/// The estimate of `r` is biased by about `−1/n`; it is corrected for that (Kendall 1954). A negative
/// `r` is treated as zero: alternation must not make an interval tighter than independence would.
pub fn effective_sample_size(samples: &[f64]) -> f64 {
    let n = samples.len() as f64;
    let Some(center) = mean(samples) else { return 0.0 };
    let squares: f64 = samples.iter().map(|x| (x - center).powi(2)).sum();
    // With fewer than four samples the correlation is pure noise.
    if samples.len() < 4 || squares <= 0.0 {
        return n;
    }
    let lagged: f64 = samples.windows(2).map(|pair| (pair[0] - center) * (pair[1] - center)).sum();
    let r = (lagged / squares + 1.0 / n).clamp(0.0, 0.99);
    (n * (1.0 - r) / (1.0 + r)).clamp(1.0, n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_series_is_worth_little() {
        let drift: Vec<f64> = (0..20).map(f64::from).collect();
        assert!(effective_sample_size(&drift) < 4.0);
    }

    #[test]
    fn alternation_is_worth_no_more_than_independence() {
        let alternating: Vec<f64> = (0..20).map(|i| f64::from(i % 2)).collect();
        assert!((effective_sample_size(&alternating) - 20.0).abs() < 1e-12);
    }

    #[test]
    fn equal_samples_are_not_divided_by_zero() {
        assert!((effective_sample_size(&[3.0; 5]) - 5.0).abs() < 1e-12);
    }

    /// An AR(1) series with r = 0.5 is worth a third of its length.
    #[test]
    fn a_first_order_series_has_its_known_worth() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut noise = || {
            // Twelve uniforms make a good enough normal for a test of the mean behaviour.
            let mut sum = 0.0;
            for _ in 0..12 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                let uniform = (state >> 11) as f64 / (1u64 << 53) as f64;
                sum += uniform;
            }
            sum - 6.0
        };
        let mut x = 0.0;
        let series: Vec<f64> = (0..3000)
            .map(|_| {
                x = 0.5 * x + noise();
                x
            })
            .collect();
        let worth = effective_sample_size(&series) / 3000.0;
        assert!((worth - 1.0 / 3.0).abs() < 0.05, "{worth}");
    }
}
