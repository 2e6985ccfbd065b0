//! When a row is measured well enough, and when time is up.

use serde::Serialize;

use crate::base::failure::Usage;
use crate::base::units::Seconds;

/// Fewest trials a row is given when time allows.
pub const MIN_TRIALS: usize = 5;

/// Named lengths of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// At most 60 s of measuring in all; no claims about tails.
    Smoke,
    /// At least 5 trials of at least 20 s for each row.
    Nightly,
    /// At least 600 s for each row.
    Publish,
}

/// The rule that ends a row.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Stop when the 95% interval's half width is at most this share of the mean.
    pub precision: f64,
    /// Bound on the measuring of the whole run, shared by the rows left; `null` when the tier counts per row.
    pub max_time_seconds: Option<Seconds>,
    /// Exactly this many trials, whatever the precision.
    pub repetitions: Option<usize>,
    /// Fewest trials of a row, time permitting.
    pub min_trials: usize,
    /// A trial repeats the row until it has lasted this long.
    pub trial_seconds: Seconds,
    /// A row is measured for at least this long.
    pub row_seconds: Seconds,
    /// A row whose energy is measured lasts at least this long, where its share of the time allows; 0 without.
    pub energy_seconds: Seconds,
    /// The tier that was named.
    pub tier: Option<Tier>,
}

/// What was typed about the length of the run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// `--precision`, as a share.
    pub precision: Option<f64>,
    /// `--max-time`.
    pub max_time: Option<Seconds>,
    /// `--repetitions`.
    pub repetitions: Option<usize>,
    /// `--tier`.
    pub tier: Option<Tier>,
}

impl Limits {
    /// Resolves what was typed.
    ///
    /// # Errors
    /// [`Usage`] if a tier that counts per row is combined with a bound on the whole run.
    pub fn resolve(asked: Asked) -> Result<Self, Usage> {
        let per_row = matches!(asked.tier, Some(Tier::Nightly | Tier::Publish));
        if per_row && asked.max_time.is_some() {
            let reason = "--tier nightly and --tier publish count per row and set their own length; leave one of the two out";
            return Err(Usage::new("--max-time", reason));
        }
        let default_time = Seconds::new(60.0);
        let max_time = match asked.tier {
            Some(Tier::Nightly | Tier::Publish) => None,
            Some(Tier::Smoke) => {
                let wanted = asked.max_time.unwrap_or(default_time);
                Some(if wanted > default_time { default_time } else { wanted })
            }
            None => Some(asked.max_time.unwrap_or(default_time)),
        };
        let (trial, row) = match asked.tier {
            Some(Tier::Nightly) => (20.0, 100.0),
            Some(Tier::Publish) => (20.0, 600.0),
            _ => (0.0, 0.0),
        };
        Ok(Self {
            precision: asked.precision.unwrap_or(0.02),
            max_time_seconds: max_time,
            repetitions: asked.repetitions,
            min_trials: MIN_TRIALS,
            trial_seconds: Seconds::new(trial),
            row_seconds: Seconds::new(row),
            energy_seconds: Seconds::ZERO,
            tier: asked.tier,
        })
    }

    /// The rule for a row with this share of the time: stretched to what a sensor of energy needs.
    ///
    /// A share that is too short is left alone, and the energy's grade says so.
    pub fn for_row(self, share: Option<Seconds>) -> Self {
        let needed = self.energy_seconds;
        if share.is_some_and(|share| share < needed) {
            return self;
        }
        let longer = |a: Seconds, b: Seconds| if a > b { a } else { b };
        match self.repetitions {
            // As many trials as were asked for, each repeated.
            Some(count) => {
                let each = needed * (1.0 / count.max(1) as f64);
                Self { trial_seconds: longer(self.trial_seconds, each), ..self }
            }
            None => Self { row_seconds: longer(self.row_seconds, needed), ..self },
        }
    }

    /// Whether a row with these trials is finished.
    ///
    /// `half_width` is the relative half width of the interval, and `spent` the time in measured trials. Whether
    /// another trial fits into the time is the runner's to say.
    pub fn row_is_done(&self, trials: usize, half_width: Option<f64>, spent: Seconds) -> bool {
        if trials == 0 {
            return false;
        }
        if let Some(repetitions) = self.repetitions {
            return trials >= repetitions;
        }
        let precise = half_width.is_some_and(|width| width <= self.precision);
        trials >= self.min_trials
            && spent >= self.row_seconds
            // A tier that counts per row is over when its length is reached; without a bound on time
            // nothing else would end a noisy row.
            && (precise || (self.max_time_seconds.is_none() && self.tier.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(asked: Asked) -> Limits {
        Limits::resolve(asked).expect("no conflict")
    }

    #[test]
    fn a_row_ends_by_precision_but_not_under_five_trials() {
        let limits = limits(Asked::default());
        assert!(!limits.row_is_done(4, Some(0.001), Seconds::new(1.0)));
        assert!(limits.row_is_done(5, Some(0.02), Seconds::new(1.0)));
        assert!(!limits.row_is_done(50, Some(0.021), Seconds::new(1.0)));
    }

    #[test]
    fn energy_stretches_a_row_where_its_share_allows() {
        let limits = Limits { energy_seconds: Seconds::new(5.0), ..limits(Asked::default()) };
        let share = Some(Seconds::new(30.0));
        assert!(!limits.for_row(share).row_is_done(50, Some(0.0), Seconds::new(4.9)));
        assert!(limits.for_row(share).row_is_done(50, Some(0.0), Seconds::new(5.0)));
        let short = Some(Seconds::new(4.0));
        assert!(limits.for_row(short).row_is_done(50, Some(0.0), Seconds::new(1.0)));
        let counted = Limits { repetitions: Some(2), ..limits };
        assert!((counted.for_row(None).trial_seconds.get() - 2.5).abs() < 1e-12);
    }

    #[test]
    fn repetitions_are_exact() {
        let limits = limits(Asked { repetitions: Some(3), ..Asked::default() });
        assert!(!limits.row_is_done(2, Some(0.0), Seconds::new(1.0)));
        assert!(limits.row_is_done(3, Some(9.0), Seconds::new(1.0)));
    }

    #[test]
    fn nightly_counts_per_row_and_refuses_a_bound_on_the_run() {
        let nightly = limits(Asked { tier: Some(Tier::Nightly), ..Asked::default() });
        assert_eq!(nightly.max_time_seconds, None);
        assert!(!nightly.row_is_done(4, Some(0.0), Seconds::new(99.0)));
        assert!(nightly.row_is_done(5, Some(0.5), Seconds::new(100.0)));
        let both = Asked { tier: Some(Tier::Publish), max_time: Some(Seconds::new(5.0)), ..Asked::default() };
        assert!(Limits::resolve(both).is_err());
    }

    #[test]
    fn smoke_never_lasts_longer_than_a_minute() {
        let smoke = limits(Asked {
            tier: Some(Tier::Smoke),
            max_time: Some(Seconds::new(600.0)),
            ..Asked::default()
        });
        assert_eq!(smoke.max_time_seconds, Some(Seconds::new(60.0)));
    }
}
