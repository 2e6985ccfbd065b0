//! A run that ended before its end, by the user or by the engine's failure: its rows are true, and they are not what was
//! asked for.

use super::{Check, Evidence, Verdict, check};
use crate::base::text::count;

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    match evidence.stopped {
        None => {
            let grown = evidence
                .growth_ended
                .map_or(String::new(), |why| format!("; batches grew no further: {why}"));
            check("run_complete", Verdict::Valid, format!("the run came to its end{grown}"))
        }
        Some(stopped) => {
            let rows = count(evidence.rows.len(), "row");
            check("run_complete", Verdict::Invalid, format!("{stopped}; {rows} of figures before it"))
        }
    }
}
