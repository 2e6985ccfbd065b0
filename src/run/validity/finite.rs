//! Non-finite logits: the arithmetic broke, so its speed means nothing.

use super::{Check, Evidence, Verdict, check, labels, unmade};

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    if evidence.rows.is_empty() {
        return unmade("finite_logits", "no row was measured");
    }
    let steps: u32 = evidence.rows.iter().map(|row| row.non_finite_steps).sum();
    if steps == 0 {
        return check("finite_logits", Verdict::Valid, "the logits of every sampled row were finite".into());
    }
    let rows = labels(evidence.rows, |row| row.non_finite_steps > 0).join(", ");
    check("finite_logits", Verdict::Invalid, format!("{steps} steps gave NaN or infinite logits in {rows}"))
}
