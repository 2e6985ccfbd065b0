//! What the engine itself says it does wrong or differently on this model.

use super::{Check, Evidence, Verdict, check};

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    if evidence.caveats.is_empty() {
        check("engine_caveats", Verdict::Valid, "the engine has none for this model".into())
    } else {
        check("engine_caveats", Verdict::Suspect, evidence.caveats.join("; "))
    }
}
