//! A wall clock that was set while the run went on: its dates, and whatever was ordered by them, are off.

use super::{Check, Evidence, Verdict, check, unmade};

/// Difference between the wall clock and the monotonic one, in seconds, that slewing explains.
const MOST: f64 = 1.0;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "clock_step";
    let Some(host) = evidence.host else {
        return unmade(name, "the clocks were not read during the run");
    };
    let step = host.clock_step_seconds;
    let verdict = if step.abs() > MOST { Verdict::Suspect } else { Verdict::Valid };
    check(name, verdict, format!("the wall clock moved by {step:+.3} s against the monotonic one"))
}
