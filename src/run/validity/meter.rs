//! The meter's own cost: a step near it measures the meter.

use super::{Check, Evidence, Verdict, check, unmade};

/// Share of the shortest step that metering may take.
const MOST: f64 = 0.01;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "meter_overhead";
    let Some(shortest) = shortest_step(evidence) else {
        return unmade(name, "no step was measured");
    };
    let cost = evidence.meter + evidence.clock.precision;
    let share = cost.get() / shortest;
    let verdict = if share > MOST { Verdict::Suspect } else { Verdict::Valid };
    check(name, verdict, format!("metering costs {cost} a step, {:.4}% of the shortest", share * 100.0))
}

/// Seconds of the shortest step measured, by gaps between tokens or the time to the first.
pub(super) fn shortest_step(evidence: &Evidence<'_>) -> Option<f64> {
    let trials = evidence.rows.iter().flat_map(|row| &row.trials.trials);
    trials
        .flat_map(|trial| trial.gaps.iter().copied().chain(trial.first_token))
        .map(crate::base::units::Seconds::get)
        .min_by(f64::total_cmp)
}
