//! When requests come, by rate alone: the open loop.
//!
//! Gaps are drawn and left as they are. vLLM scales a finished schedule so that it ends at n ÷ rate; arrivals scaled so are
//! no Poisson process any more, and their number in a given time does not vary as it would.

use crate::base::random::SplitMix64;
use crate::base::units::Seconds;
use crate::{Error, stream};

/// How the gaps between arrivals are spread about their mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Process {
    /// All the same.
    Constant,
    /// Exponential: arrivals that know nothing of each other.
    Poisson,
    /// Gamma with `burstiness` as its shape, as vLLM's `--burstiness`: below 1 burstier than Poisson, 1 the same, above 1
    /// smoother. Variance ÷ mean² is 1 ÷ `burstiness`.
    Gamma {
        /// The shape.
        burstiness: f64,
    },
}

/// The moments at which requests come, since the beginning, without an end. The first comes after one gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    process: Process,
    mean_gap: f64,
    random: SplitMix64,
    count: u64,
    elapsed: f64,
}

impl Arrivals {
    /// Arrivals of `requests_per_second` on average; the same for the same seed.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] for a rate or burstiness that is not above zero and finite.
    pub fn new(process: Process, requests_per_second: f64, seed: u64) -> Result<Self, Error> {
        let positive = |name, value: f64| {
            let fits = value.is_finite() && value > 0.0;
            fits.then_some(value).ok_or(Error::OutOfRange { name, value, expected: "above 0 and finite" })
        };
        let rate = positive("request rate", requests_per_second)?;
        if let Process::Gamma { burstiness } = process {
            positive("burstiness", burstiness)?;
        }
        let random = SplitMix64::new(seed).branch(stream::ARRIVALS);
        Ok(Self { process, mean_gap: 1.0 / rate, random, count: 0, elapsed: 0.0 })
    }

    fn gap(&mut self) -> f64 {
        match self.process {
            Process::Constant => 1.0,
            Process::Poisson => -(1.0 - self.random.unit()).ln(),
            Process::Gamma { burstiness } => gamma(burstiness, &mut self.random) / burstiness,
        }
    }
}

impl Iterator for Arrivals {
    type Item = Seconds;

    fn next(&mut self) -> Option<Seconds> {
        self.count += 1;
        self.elapsed = match self.process {
            // A product, so that a million gaps add up to no error.
            Process::Constant => self.count as f64 * self.mean_gap,
            Process::Poisson | Process::Gamma { .. } => self.elapsed + self.gap() * self.mean_gap,
        };
        Some(Seconds::new(self.elapsed))
    }
}

/// A Gamma number of the given shape and scale 1 (Marsaglia and Tsang 2000; below shape 1 by their section 6).
fn gamma(shape: f64, random: &mut SplitMix64) -> f64 {
    if shape < 1.0 {
        let boost = (1.0 - random.unit()).powf(1.0 / shape);
        return gamma(shape + 1.0, random) * boost;
    }
    let shifted = shape - 1.0 / 3.0;
    let spread = 1.0 / (9.0 * shifted).sqrt();
    loop {
        let x = random.normal();
        let v = (1.0 + spread * x).powi(3);
        let u = 1.0 - random.unit();
        if v > 0.0 && u.ln() < 0.5 * x * x + shifted * (1.0 - v + v.ln()) {
            return shifted * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ContinuousCDF, Exp, Gamma};

    const SEEDS: [u64; 3] = [1, 20_261_129, 0xFFFF_FFFF_FFFF];
    const RATE: f64 = 40.0;

    fn gaps(process: Process, seed: u64, n: usize) -> Vec<f64> {
        let arrivals = Arrivals::new(process, RATE, seed).expect("a rate above zero");
        let times: Vec<f64> = arrivals.take(n).map(Seconds::get).collect();
        (0..n).map(|at| times[at] - if at == 0 { 0.0 } else { times[at - 1] }).collect()
    }

    /// The largest distance of the samples' distribution from `cdf` (Kolmogorov 1933).
    fn distance(mut samples: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
        samples.sort_by(f64::total_cmp);
        let n = samples.len() as f64;
        let at = |(index, sample): (usize, &f64)| {
            let expected = cdf(*sample);
            (expected - index as f64 / n).max((index as f64 + 1.0) / n - expected)
        };
        samples.iter().enumerate().map(at).fold(0.0, f64::max)
    }

    /// The distance that chance exceeds once in 1,000: 1.9495 ÷ √n (Smirnov 1948).
    fn at_most(n: usize) -> f64 {
        1.9495 / (n as f64).sqrt()
    }

    #[test]
    fn gaps_are_those_of_their_process() {
        const N: usize = 20_000;
        for seed in SEEDS {
            let poisson =
                distance(gaps(Process::Poisson, seed, N), |x| Exp::new(RATE).expect("a rate").cdf(x));
            assert!(poisson < at_most(N), "Poisson, seed {seed}: {poisson}");
            for burstiness in [0.25, 0.5, 1.0, 2.5, 10.0] {
                let law = Gamma::new(burstiness, burstiness * RATE).expect("a shape");
                let found = distance(gaps(Process::Gamma { burstiness }, seed, N), |x| law.cdf(x));
                assert!(found < at_most(N), "Gamma {burstiness}, seed {seed}: {found}");
                // The test can tell: a burstiness a tenth off is found out.
                let other = Gamma::new(burstiness * 1.1, burstiness * 1.1 * RATE).expect("a shape");
                let wrong = distance(gaps(Process::Gamma { burstiness }, seed, N), |x| other.cdf(x));
                assert!(wrong > at_most(N) || burstiness > 1.0, "Gamma {burstiness}, seed {seed}: {wrong}");
            }
        }
    }

    /// Given their number, the moments of a Poisson process are uniform over the time; constant ones more evenly so.
    #[test]
    fn moments_are_spread_evenly_over_the_time() {
        const N: usize = 20_000;
        for seed in SEEDS {
            for process in [Process::Constant, Process::Poisson] {
                let arrivals = Arrivals::new(process, RATE, seed).expect("a rate above zero");
                let times: Vec<f64> = arrivals.take(N).map(Seconds::get).collect();
                let end = times[N - 1];
                let found = distance(times[..N - 1].to_vec(), |x| x / end);
                assert!(found < at_most(N), "{process:?}, seed {seed}: {found}");
            }
        }
    }

    #[test]
    fn constant_gaps_are_equal_and_never_drift() {
        let mut arrivals = Arrivals::new(Process::Constant, 3.0, 1).expect("a rate");
        let hour = arrivals.nth(3600 * 3 - 1).expect("no end");
        assert!((hour.get() - 3600.0).abs() < 1e-12 * 3600.0, "{hour:?}");
        let widest = gaps(Process::Constant, 1, 10_000).into_iter().map(|gap| (gap * RATE - 1.0).abs());
        assert!(widest.fold(0.0, f64::max) < 1e-9);
    }

    /// A Poisson process of 40 a second has 400 ± 20 arrivals in 10 s, not 400 each time.
    #[test]
    fn the_number_in_a_time_varies_as_it_must() {
        let counts: Vec<f64> = (0..1000)
            .map(|seed| {
                let arrivals = Arrivals::new(Process::Poisson, RATE, seed).expect("a rate");
                arrivals.take_while(|at| at.get() < 10.0).count() as f64
            })
            .collect();
        let mean = counts.iter().sum::<f64>() / 1000.0;
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / 999.0;
        // Standard errors are 0.63 and 18.
        assert!((mean - 400.0).abs() < 2.5 && (variance - 400.0).abs() < 72.0, "{mean} {variance}");
    }

    #[test]
    fn the_seed_fixes_the_schedule() {
        for process in [Process::Poisson, Process::Gamma { burstiness: 0.5 }] {
            assert_eq!(gaps(process, 7, 100), gaps(process, 7, 100));
            assert_ne!(gaps(process, 7, 100), gaps(process, 8, 100));
        }
    }

    #[test]
    fn a_rate_or_shape_that_cannot_be_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Arrivals::new(Process::Poisson, rate, 1).is_err(), "{rate}");
            assert!(Arrivals::new(Process::Gamma { burstiness: rate }, 1.0, 1).is_err(), "{rate}");
        }
        let message = Arrivals::new(Process::Poisson, 0.0, 1).expect_err("no rate").to_string();
        assert_eq!(message, "request rate is 0; it must be above 0 and finite");
    }
}
