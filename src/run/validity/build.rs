//! A debug build's speed says nothing about the program people run.

use super::{Check, Evidence, Verdict, check};

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    if evidence.debug_build {
        let evidence = "this is a debug build; build with `cargo build --release`";
        check("release_build", Verdict::Suspect, evidence.into())
    } else {
        check("release_build", Verdict::Valid, "this is a release build".into())
    }
}
