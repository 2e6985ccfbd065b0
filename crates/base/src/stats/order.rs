//! Distribution-free intervals: of a quantile by order statistics, of a proportion by Wilson.

use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

use super::interval::Interval;

/// The minimum number of samples whose order statistics bound the `q`-quantile from both sides at `confidence`: 36, 72 and
/// 368 for p90, p95 and p99 at 95%.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
pub fn samples_for_quantile(q: f64, confidence: f64) -> usize {
    let tail = (1.0 - confidence) / 2.0;
    (tail.ln() / q.max(1.0 - q).ln()).ceil() as usize
}

/// A distribution-free interval of the `q`-quantile: the samples at the ranks given by the binomial distribution (David
/// and Nagaraja, Order Statistics, 3rd ed., section 7.1). Each side misses with probability at most (1 − `confidence`) / 2.
///
/// `sorted` is in ascending order; `None` if it is too short ([`samples_for_quantile`]). The samples are assumed to be
/// independent.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ranks within the samples")]
pub fn quantile_interval(sorted: &[f64], q: f64, confidence: f64) -> Option<Interval> {
    let n = sorted.len();
    if n < samples_for_quantile(q, confidence) {
        return None;
    }
    let law = Binomial::new(q, n as u64).ok()?;
    let tail = (1.0 - confidence) / 2.0;
    // P(fewer than `rank` samples below the quantile), ranks from 1.
    let below = |rank: usize| rank.checked_sub(1).map_or(0.0, |rank| law.cdf(rank as u64));
    // Start at the ranks of the normal approximation, and walk to those of the binomial distribution.
    let z = Normal::standard().inverse_cdf(1.0 - tail);
    let (center, spread) = (n as f64 * q, z * (n as f64 * q * (1.0 - q)).sqrt());
    let mut low = ((center - spread).max(1.0) as usize).min(n);
    while low > 1 && below(low) > tail {
        low -= 1;
    }
    while low < n && below(low + 1) <= tail {
        low += 1;
    }
    let mut high = ((center + spread) as usize).clamp(1, n);
    while high < n && below(high) < 1.0 - tail {
        high += 1;
    }
    while high > 1 && below(high - 1) >= 1.0 - tail {
        high -= 1;
    }
    Some(Interval { low: sorted[low - 1], high: sorted[high - 1] })
}

/// Wilson's score interval (1927) of a proportion observed as `part` in `whole`; `None` if `whole` is zero.
pub fn share_interval(part: u64, whole: u64, confidence: f64) -> Option<Interval> {
    if whole == 0 {
        return None;
    }
    let (n, share) = (whole as f64, part as f64 / whole as f64);
    let z = Normal::standard().inverse_cdf(0.5 + confidence / 2.0);
    let scale = 1.0 / (1.0 + z * z / n);
    let center = scale * (share + z * z / (2.0 * n));
    let half = scale * z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    Some(Interval { low: (center - half).max(0.0), high: (center + half).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    fn ranks(n: u32, q: f64) -> Option<(f64, f64)> {
        let sorted: Vec<f64> = (1..=n).map(f64::from).collect();
        quantile_interval(&sorted, q, 0.95).map(|interval| (interval.low, interval.high))
    }

    #[test]
    fn tails_take_the_samples_they_are_known_to_take() {
        for (q, n) in [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.1, 36)] {
            assert_eq!(samples_for_quantile(q, 0.95), n, "{q}");
            let n = u32::try_from(n).expect("small");
            assert!(ranks(n, q).is_some() && ranks(n - 1, q).is_none(), "{q}");
        }
        assert_eq!(ranks(0, 0.5), None);
    }

    /// Ranks of the median's 95% interval as in Conover's and in Hahn and Meeker's tables: n = 10: 2 and 9, 20: 6 and 15,
    /// 100: 40 and 61.
    #[test]
    fn ranks_of_the_median_are_those_of_the_tables() {
        for (n, expected) in [(6, (1.0, 6.0)), (10, (2.0, 9.0)), (20, (6.0, 15.0)), (100, (40.0, 61.0))] {
            assert_eq!(ranks(n, 0.5), Some(expected), "{n}");
        }
        // The longest tail from the fewest samples ends with the largest of them.
        assert_eq!(ranks(368, 0.99).map(|(_, high)| high), Some(368.0));
    }

    #[test]
    fn the_interval_holds_the_quantile_as_often_as_it_says() {
        let mut random = SplitMix64::new(11);
        for (q, n) in [(0.5, 25), (0.9, 60), (0.99, 500)] {
            let held = (0..2000).filter(|_| {
                let mut samples: Vec<f64> = (0..n).map(|_| random.unit()).collect();
                samples.sort_by(f64::total_cmp);
                quantile_interval(&samples, q, 0.95).expect("enough").contains(q)
            });
            // At least 95%, less three standard errors.
            assert!(held.count() >= 1900 - 30, "{q} of {n}");
        }
    }

    /// R 4: `prop.test(8, 10, correct = FALSE)` gives 0.4901625 and 0.9433178.
    #[test]
    fn a_share_has_wilsons_interval() {
        let found = share_interval(8, 10, 0.95).expect("ten");
        assert!(
            (found.low - 0.490_162_5).abs() < 1e-6 && (found.high - 0.943_317_8).abs() < 1e-6,
            "{found:?}"
        );
        assert!(
            share_interval(0, 10, 0.95).is_some_and(|interval| interval.low < 1e-12 && interval.high > 0.2)
        );
        assert_eq!(share_interval(0, 0, 0.95), None);
    }
}
