//! Fewer tokens than asked for: a run that ends early is fast for the wrong reason.

use super::{Check, Evidence, Verdict, check, labels, unmade};

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    if evidence.rows.is_empty() {
        return unmade("tokens_complete", "no row was measured");
    }
    let missing: u64 = evidence.rows.iter().map(|row| row.missing_tokens).sum();
    if missing == 0 {
        return check(
            "tokens_complete",
            Verdict::Valid,
            "every sequence yielded all its output tokens".into(),
        );
    }
    let rows = labels(evidence.rows, |row| row.missing_tokens > 0).join(", ");
    check("tokens_complete", Verdict::Invalid, format!("{missing} output tokens are missing in {rows}"))
}
