//! Energy of a device that did not do the work, and counters that cannot be believed.

use super::{Check, Evidence, Verdict, check, unmade};

/// How reasons begin when a counter went back or stood still; the energy is null then.
const BROKEN: [&str; 3] = ["the counter went back", "the counter did not move", "the counter stopped"];

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "energy_sensors";
    let Some(energy) = evidence.energy else {
        return unmade(name, "no energy was measured");
    };
    if energy.source.is_none() {
        let reason = energy.source.reason().unwrap_or("no sensor was read");
        return unmade(name, format!("no energy was measured: {reason}"));
    }
    if energy.scope.as_deref() == Some("other-device") {
        let device = energy.device.as_deref().unwrap_or("unknown");
        let evidence = format!("the energy is that of {device}, which did not do this work");
        return check(name, Verdict::Suspect, evidence);
    }
    if energy.windows.is_empty() {
        return unmade(name, "no row was finished while the sensors were read");
    }
    let reasons = || energy.windows.iter().filter_map(|window| window.counter_joules.reason());
    if let Some(reason) = reasons().find(|reason| BROKEN.iter().any(|broken| reason.starts_with(broken))) {
        return check(name, Verdict::Suspect, reason.to_owned());
    }
    let grade = energy.grade.map_or("none".to_owned(), |grade| format!("{grade:?}"));
    check(name, Verdict::Valid, format!("{} windows, grade {grade}", energy.windows.len()))
}
