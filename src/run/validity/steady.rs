//! A row that never became steady: its trials go up or down instead of around a value.

use crate::base::stats::effective_sample_size;
use crate::run::runner::MeasuredRow;

use super::{Check, Evidence, Verdict, check, labels, unmade};

/// Trials whose effective number is under this share of their number follow a trend.
const LEAST_SHARE: f64 = 0.35;
/// Fewest trials that have a first and a last third.
const FEWEST: usize = 3;
/// First and last third must differ by this much for a trend to matter.
const MATTERS: f64 = 0.05;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "steady_state";
    let drifting = labels(evidence.rows, |row| drifts(row) == Some(true));
    if drifting.is_empty() {
        let unseen = labels(evidence.rows, |row| drifts(row).is_none());
        if unseen.len() == evidence.rows.len() {
            return unmade(name, format!("no row has the {FEWEST} trials that a trend needs"));
        }
        let unsettled = labels(evidence.rows, |row| !row.steady).len();
        let too_few = if unseen.is_empty() {
            String::new()
        } else {
            format!("; too few trials to see it in {}", unseen.join(", "))
        };
        let evidence = format!(
            "no row drifts{too_few}; the warm-up of {} of {} rows settled within 3%",
            evidence.rows.len() - unsettled,
            evidence.rows.len()
        );
        return check(name, Verdict::Valid, evidence);
    }
    check(
        name,
        Verdict::Suspect,
        format!(
            "the trials of {} drift by more than 5% from the first third to the last",
            drifting.join(", ")
        ),
    )
}

/// Whether the row's trials follow a trend; `None` when they are too few to tell.
fn drifts(row: &MeasuredRow) -> Option<bool> {
    let lengths: Vec<f64> = row.trials.trials.iter().map(|trial| trial.length().get()).collect();
    if lengths.len() < FEWEST {
        return None;
    }
    let third = lengths.len() / 3;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let change = mean(&lengths[lengths.len() - third..]) / mean(&lengths[..third]) - 1.0;
    Some(change.abs() > MATTERS && effective_sample_size(&lengths) < LEAST_SHARE * lengths.len() as f64)
}
