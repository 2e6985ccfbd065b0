//! A histogram of integers with bins proportional to the value: bounded memory and a bounded relative error.

/// Bins per doubling, as a power of two. A bin is 1/128 of its value wide, so its middle is within 0.4% of all its values.
const BITS: u32 = 7;

/// Counts of values: exact below 128, above in 128 bins per doubling.
///
/// For values up to 2^42 (73 minutes in nanoseconds) it takes at most 18 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    sum: u128,
}

impl Histogram {
    /// Adds `value` `times` times.
    pub fn add(&mut self, value: u64, times: u32) {
        let bin = bin(value);
        if bin >= self.counts.len() {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] = self.counts[bin].saturating_add(times);
        self.total += u64::from(times);
        self.sum += u128::from(value) * u128::from(times);
    }

    /// Adds the values of `other`.
    pub fn absorb(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, more) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*more);
        }
        self.total += other.total;
        self.sum += other.sum;
    }

    /// How many values it has.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Heap bytes it uses.
    pub fn memory(&self) -> usize {
        self.counts.capacity() * size_of::<u32>()
    }

    /// The exact mean; `None` if empty.
    pub fn mean(&self) -> Option<f64> {
        (self.total > 0).then(|| self.sum as f64 / self.total as f64)
    }

    /// The value of `rank` (0 is the smallest), to the middle of its bin; `None` past the last.
    pub fn at_rank(&self, rank: u64) -> Option<f64> {
        let mut before = 0;
        for (bin, count) in self.counts.iter().enumerate() {
            before += u64::from(*count);
            if rank < before {
                return Some(middle(bin));
            }
        }
        None
    }
}

#[allow(clippy::cast_possible_truncation, reason = "at most 58 × 128 bins")]
fn bin(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(BITS + 1);
    ((u64::from(shift) << BITS) + (value >> shift)) as usize
}

/// The middle of what falls into `bin`.
fn middle(bin: usize) -> f64 {
    let shift = (bin >> BITS).saturating_sub(1);
    let first = (bin - (shift << BITS)) << shift;
    first as f64 + ((1u64 << shift) - 1) as f64 / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    #[test]
    fn every_value_is_within_the_stated_error_of_its_bin() {
        let mut random = SplitMix64::new(1);
        for round in 0..200_000u64 {
            let value = if round < 5000 { round } else { random.word() >> (random.below(58) + 6) };
            let found = middle(bin(value));
            let error = (found - value as f64).abs();
            assert!(error <= value as f64 / 256.0, "{value} is put at {found}");
            assert!(value >= 256 || error == 0.0, "{value} is put at {found}");
        }
    }

    #[test]
    fn bins_follow_one_another_without_a_gap() {
        let mut last = 0;
        for value in 0..1_000_000 {
            let bin = bin(value);
            assert!(bin == last || bin == last + 1, "{value}");
            last = bin;
        }
        assert!(super::bin(1 << 42) * size_of::<u32>() < 19 * 1024);
    }

    #[test]
    fn ranks_and_means_are_those_of_the_values() {
        let mut random = SplitMix64::new(2);
        let mut values: Vec<u64> = (0..10_001).map(|_| 1_000_000 + random.word() % 50_000_000).collect();
        let (mut one, mut two) = (Histogram::default(), Histogram::default());
        for (at, value) in values.iter().enumerate() {
            if at % 3 == 0 { one.add(*value, 1) } else { two.add(*value, 1) }
        }
        one.absorb(&two);
        values.sort_unstable();
        assert_eq!(one.total(), 10_001);
        for rank in [0u32, 100, 5000, 9900, 10_000] {
            let exact = values[rank as usize] as f64;
            let found = one.at_rank(u64::from(rank)).expect("a rank that is there");
            assert!((found / exact - 1.0).abs() < 1.0 / 128.0, "{rank}: {found} for {exact}");
        }
        assert_eq!(one.at_rank(10_001), None);
        let mean = values.iter().sum::<u64>() as f64 / 10_001.0;
        assert!((one.mean().expect("values") - mean).abs() < 1e-6 * mean);
        assert_eq!(Histogram::default().mean(), None);
    }
}
