//! Clocks that were held back by heat, by the power brake or by the board: such a speed is not this device's.

use super::{Check, Evidence, Verdict, check};

/// Share of a row's time that may be held back.
const MOST: f64 = 0.01;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "clocks_held_back";
    let windows = evidence.energy.map_or(&[][..], |energy| &energy.windows);
    let shares = || windows.iter().filter_map(|window| window.throttled_share);
    let Some(worst) = shares().reduce(f64::max) else {
        return check(
            name,
            Verdict::Valid,
            "not looked at: no device said what holds its clocks back".to_owned(),
        );
    };
    let capped = windows.iter().filter_map(|window| window.power_capped_share).reduce(f64::max);
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
