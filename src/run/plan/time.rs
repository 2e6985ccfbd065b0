//! How long a run will take, and how that is said.

use crate::base::known::{self, Known};
use crate::base::units::Seconds;

/// How long a run will take.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Estimate {
    /// Reading and packing the weights, a download apart.
    pub load_seconds: Seconds,
    /// Measuring the machine itself: its peaks (already measured by now), and its power at rest.
    pub machine_seconds: Seconds,
    /// All rows with the fewest trials; `null` when the peaks were not measured.
    pub measuring_seconds: Known<Seconds>,
    /// `--max-time`; `null` when each row is measured for its own time.
    pub max_time_seconds: Option<Seconds>,
    /// One trial of each row, in the plan's order; empty when the peaks were not measured.
    pub trial_seconds: Vec<Seconds>,
    /// Whether batches grow, which takes longer than the rows that are known.
    pub grows: bool,
}

/// The line that a run begins with.
impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let most = self.max_time_seconds;
        let bounded = |seconds: Seconds| most.filter(|most| *most < seconds).unwrap_or(seconds);
        let least = self.measuring_seconds.map(bounded);
        // The sum of the announced parts.
        let up = |seconds: Seconds| Seconds::new(seconds.get().ceil().max(1.0));
        if let Some(measuring) = least.or(most) {
            let all = up(self.load_seconds) + up(measuring) + up(self.machine_seconds);
            write!(f, "takes about {}: ", whole(all))?;
        }
        write!(f, "{} to load the model, ", whole(self.load_seconds))?;
        match (least, most) {
            (Some(least), Some(most)) if least < most => {
                write!(f, "{} to measure it ({} at most, --max-time)", whole(least), whole(most))?;
            }
            (_, Some(most)) => write!(f, "{} to measure it (--max-time)", whole(most))?,
            (Some(least), None) => write!(f, "{} to measure it", whole(least))?,
            (None, None) => f.write_str("measuring for as long as each row takes")?,
        }
        if self.grows {
            f.write_str(", more while batches grow")?;
        }
        write!(f, ", {} to measure the machine", whole(self.machine_seconds))
    }
}

/// Whole seconds, at least one: an estimate is no more precise.
pub fn whole(seconds: Seconds) -> String {
    Seconds::new(seconds.get().ceil().max(1.0)).to_string().replace(".00 s", " s").replace(".0 s", " s")
}
