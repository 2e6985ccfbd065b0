//! What the engine itself says it does wrong or differently on this model.

use super::{Check, Evidence, Verdict, check, unmade};

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "engine_caveats";
    match evidence.caveats {
        None => unmade(name, "the engine was not loaded"),
        Some([]) => check(name, Verdict::Valid, "the engine has none for this model".into()),
        Some(caveats) => check(name, Verdict::Suspect, caveats.join("; ")),
    }
}
