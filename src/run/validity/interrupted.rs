//! A run that ended before its end, by the user or by the engine's failure: its rows are true, and they are not what was
//! asked for. A row left out for want of time is named, and takes nothing from the truth of the others.

use super::{Check, Evidence, Verdict, check};
use crate::base::text::count;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    match evidence.stopped {
        None => {
            let grown = evidence
                .growth_ended
                .map_or(String::new(), |why| format!("; batches grew no further: {why}"));
            let left_out =
                evidence.left_out.iter().map(|row| format!("; {} left out: {row}", row.row.label()));
            let left_out: String = left_out.collect();
            check("run_complete", Verdict::Valid, format!("the run completed{left_out}{grown}"))
        }
        Some(stopped) => {
            let rows = count(evidence.rows.len(), "row");
            check("run_complete", Verdict::Invalid, format!("{stopped}; {rows} measured before that"))
        }
    }
}
