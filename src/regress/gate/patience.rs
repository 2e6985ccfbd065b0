//! How long a gate waits for a quiet box, and measures again what was disturbed.
//!
//! Each replicate has an equal share of the time, and what one leaves the next ones may use: were it all there for the first,
//! the programs would not be disturbed alike.

use crate::base::units::Seconds;
use crate::base::{clock, sys};
use crate::hardware::telemetry::host;
use crate::run::validity;

/// The box is looked at for so long before it is called quiet.
const LOOK: Seconds = Seconds::new(1.0);
const POLL: std::time::Duration = std::time::Duration::from_millis(50);

/// The time that is there, and what of it is spent.
#[derive(Debug)]
pub(super) struct Patience {
    all: Seconds,
    replicates: usize,
    spent: Seconds,
}

impl Patience {
    /// For so many replicates together.
    pub(super) fn new(all: Seconds, replicates: usize) -> Self {
        Self { all, replicates: replicates.max(1), spent: Seconds::ZERO }
    }

    /// What is left for the replicate of this number, from 0.
    fn left(&self, number: usize) -> f64 {
        let share = (number + 1).min(self.replicates) as f64 / self.replicates as f64;
        self.all.get() * share - self.spent.get()
    }

    /// Waits until the box was quiet for a second; `false` when the time for this replicate ended before, or the user did.
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

    /// Counts a measurement that is made again.
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
