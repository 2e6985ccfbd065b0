//! A row that never became steady: its trials go up or down instead of around a value.

use crate::base::stats::effective_sample_size;
use crate::run::runner::MeasuredRow;

use super::{Check, Evidence, Verdict, check, labels};

/// Trials whose effective number is under this share of their number follow a trend.
const LEAST_SHARE: f64 = 0.35;
/// First and last third must differ by this much for a trend to matter.
const MATTERS: f64 = 0.05;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "steady_state";
    let drifting = labels(evidence.rows, drifts);
    if drifting.is_empty() {
        let unsettled = labels(evidence.rows, |row| !row.steady).len();
        let evidence = format!(
            "no row drifts; the warm-up of {} of {} rows settled within 3%",
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

fn drifts(row: &MeasuredRow) -> bool {
    let lengths: Vec<f64> = row.trials.trials.iter().map(|trial| trial.length().get()).collect();
    let third = lengths.len() / 3;
    if third == 0 {
        return false;
    }
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let change = mean(&lengths[lengths.len() - third..]) / mean(&lengths[..third]) - 1.0;
    change.abs() > MATTERS && effective_sample_size(&lengths) < LEAST_SHARE * lengths.len() as f64
}
