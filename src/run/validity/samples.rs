//! Too few samples: one trial has no interval, and two have hardly one.

use super::{Check, Evidence, Verdict, check, labels};

/// Fewest trials that are not suspect, unless fewer were asked for.
const FEWEST: usize = 3;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "sample_count";
    if evidence.rows.is_empty() {
        return check(name, Verdict::Invalid, "no row was measured".into());
    }
    let cut = labels(evidence.rows, |row| row.cut);
    if !cut.is_empty() {
        let text = format!(
            "the last trial of {} took so much longer than those before that the time limit cut it: those may be the fast ones; raise --max-time",
            cut.join(", ")
        );
        return check(name, Verdict::Suspect, text);
    }
    let fewest = evidence.repetitions.map_or(FEWEST, |asked| asked.min(FEWEST));
    let few = labels(evidence.rows, |row| row.trials.trials.len() < fewest);
    let least = evidence.rows.iter().map(|row| row.trials.trials.len()).min().unwrap_or(0);
    if few.is_empty() {
        return check(name, Verdict::Valid, format!("at least {least} trials in every row"));
    }
    let evidence = format!(
        "fewer than {fewest} trials in {}: the time was too short for more; raise --max-time",
        few.join(", ")
    );
    check(name, Verdict::Suspect, evidence)
}
