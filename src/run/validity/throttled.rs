//! Clocks that were held back by heat, by the power brake or by the board: such a speed is not this device's.

use super::{Check, Evidence, Verdict, check, unmade};

/// Share of a row's time that may be held back.
const MOST: f64 = 0.01;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "clocks_held_back";
    // The system counts the times, not how long: one is enough to make a figure another than this device's.
    let heat = evidence.host.filter(|_| evidence.on_processor).and_then(|host| host.thermal_events);
    if let Some(events @ 1..) = heat {
        let evidence = format!("heat slowed the processors down {events} times during the run");
        return check(name, Verdict::Suspect, evidence);
    }
    // What holds another device back says nothing about this one.
    let energy = evidence.energy.filter(|energy| energy.scope.as_deref() != Some("other-device"));
    let windows = energy.map_or(&[][..], |energy| &energy.windows);
    let shares = || windows.iter().filter_map(|window| *window.throttled_share);
    let Some(worst) = shares().reduce(f64::max) else {
        return match heat {
            Some(_) => check(name, Verdict::Valid, "heat slowed no processor down during the run".to_owned()),
            None => unmade(name, "the device that worked does not say what holds its clocks back"),
        };
    };
    let capped = windows.iter().filter_map(|window| *window.power_capped_share).reduce(f64::max);
    let capped = capped.map_or(String::new(), |share| {
        format!("; at the power limit for up to {:.0}%, which is normal on a capped board", share * 100.0)
    });
    let verdict = if worst > MOST { Verdict::Suspect } else { Verdict::Valid };
    check(
        name,
        verdict,
        format!(
            "heat, power brake or board held the clocks back for up to {:.1}% of a row{capped}",
            worst * 100.0
        ),
    )
}
