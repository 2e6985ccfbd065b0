//! Random numbers that are reproducible from a seed on every machine.

/// An endless stream of 64-bit words by `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Mixes `part` in with a full round, so that streams of neighbouring parts are independent.
    #[must_use]
    pub fn branch(mut self, part: u64) -> Self {
        self.state = self.word() ^ part;
        self
    }

    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A whole number in `0..bound`; 0 when `bound` is 0.
    ///
    /// Multiply and shift maps 32 random bits to the range without a division's bias.
    #[allow(clippy::cast_possible_truncation, reason = "the high word of a product with a u32 is a u32")]
    pub fn below(&mut self, bound: u32) -> u32 {
        (((self.word() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// A number in `[0, 1)`, uniform over 2^53 values.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts `items` in a random order (Fisher and Yates, as Durstenfeld wrote it).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
            items.swap(last, self.below(bound) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first words of seed 1234567, from the algorithm's published reference.
    #[test]
    fn the_stream_is_the_published_one() {
        let mut stream = SplitMix64::new(1_234_567);
        assert_eq!(stream.word(), 6_457_827_717_110_365_317);
        assert_eq!(stream.word(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn normals_have_mean_0_and_variance_1() {
        let mut stream = SplitMix64::new(7);
        let numbers: Vec<f64> = (0..100_000).map(|_| stream.normal()).collect();
        let mean = numbers.iter().sum::<f64>() / 1e5;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        // Standard errors are 0.0032 and 0.0045.
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn a_shuffle_keeps_all_and_prefers_nothing() {
        let mut stream = SplitMix64::new(3);
        let mut first = [0u32; 5];
        for _ in 0..50_000 {
            let mut items = [0usize, 1, 2, 3, 4];
            stream.shuffle(&mut items);
            first[items[0]] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3, 4]);
        }
        // Standard deviation of a count is 89.
        assert!(first.iter().all(|count| count.abs_diff(10_000) < 450), "{first:?}");
    }
}
