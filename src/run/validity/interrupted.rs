//! A run that was stopped: its rows are true, and they are not what was asked for.

use super::{Check, Evidence, Verdict, check};

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    match evidence.interrupted {
        None => check("run_complete", Verdict::Valid, "the run came to its end".into()),
        Some(stage) => check(
            "run_complete",
            Verdict::Invalid,
            format!(
                "the run was interrupted while {}; {} rows were measured",
                stage.name(),
                evidence.rows.len()
            ),
        ),
    }
}
