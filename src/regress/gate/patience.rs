//! How long a gate waits for a quiet machine and repeats disturbed replicates.
//!
//! Each replicate has an equal share of the time, and unused time carries over to later ones: if the first could use all of
//! it, the programs would not be treated alike.

use crate::base::units::Seconds;
use crate::base::{clock, sys};
use crate::hardware::telemetry::host;
use crate::run::validity;

/// How long the machine must be observed before it counts as quiet.
const LOOK: Seconds = Seconds::new(1.0);
const POLL: std::time::Duration = std::time::Duration::from_millis(50);

/// The total time, and how much of it is spent.
#[derive(Debug)]
pub(super) struct Patience {
    all: Seconds,
    replicates: usize,
    spent: Seconds,
}

impl Patience {
    /// For this many replicates together.
    pub(super) fn new(all: Seconds, replicates: usize) -> Self {
        Self { all, replicates: replicates.max(1), spent: Seconds::ZERO }
    }

    /// What is left for this replicate, counted from 0.
    fn left(&self, number: usize) -> f64 {
        let share = (number + 1).min(self.replicates) as f64 / self.replicates as f64;
        self.all.get() * share - self.spent.get()
    }

    /// Waits until the machine has been quiet for a second; `false` if this replicate's time ran out first, or the user
    /// interrupted.
    pub(super) fn quiet(&mut self, number: usize, interrupt: &sys::Interrupt) -> bool {
        while self.left(number) > 0.0 && !interrupt.requested() {
            let begin = host::read();
            let since = clock::now();
            while clock::now().since(since) < LOOK && !interrupt.requested() {
                clock::sleep(POLL);
            }
            self.spent += clock::now().since(since);
            if validity::disturbances(host::between(&begin, &host::read())).is_empty() {
                return self.left(number) > 0.0;
            }
        }
        false
    }

    /// Charges a repeated measurement.
    pub(super) fn spend(&mut self, time: Seconds) {
        self.spent += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_replicate_has_its_share_and_what_others_left() {
        let mut patience = Patience::new(Seconds::new(24.0), 12);
        assert!((patience.left(0) - 2.0).abs() < 1e-12);
        assert!((patience.left(5) - 12.0).abs() < 1e-12);
        patience.spend(Seconds::new(5.0));
        assert!(patience.left(1) < 0.0 && (patience.left(2) - 1.0).abs() < 1e-12);
        assert!((patience.left(40) - 19.0).abs() < 1e-12);
        let interrupt = sys::Interrupt::default();
        assert!(!Patience::new(Seconds::ZERO, 12).quiet(3, &interrupt));
    }
}
