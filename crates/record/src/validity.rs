//! Verdicts on the figures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Unknown;

/// How far something can be believed; the worst of several is the verdict on all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nobody looked, and the evidence says why: neither for nor against the figures. Of one check only, never of a
    /// whole record.
    NotChecked,
    /// Nothing speaks against the figures.
    Valid,
    /// The figures may be true and should not be relied on.
    Suspect,
    /// The figures cannot be true, or are of something else than was asked.
    Invalid,
}

/// The check of the figures against what the device can do at most.
pub const ROOFLINE: &str = "roofline";

/// The verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// The worst verdict of the checks that were made.
    pub verdict: Verdict,
    /// Names of the checks that could not be made: the verdict says nothing about what they would have found.
    #[serde(default)]
    pub not_checked: Vec<String>,
    /// Every check, also those that could not be made.
    pub checks: Vec<Check>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Validity {
    /// Puts the checks together.
    pub fn of(checks: Vec<Check>) -> Self {
        let worst = checks.iter().map(|check| check.verdict).max();
        let verdict = worst.map_or(Verdict::Valid, |worst| worst.max(Verdict::Valid));
        let not_checked = checks.iter().filter(|check| !check.was_made()).map(|check| check.name.clone());
        Self { verdict, not_checked: not_checked.collect(), checks, unknown: Unknown::new() }
    }

    /// The checks that could not be made.
    pub fn unmade(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.was_made())
    }

    /// The checks that speak against the figures.
    pub fn doubts(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.verdict > Verdict::Valid)
    }

    /// Why it is unknown whether the figures are within what the device can do; `None` if that was checked.
    pub fn no_ceiling(&self) -> Option<&str> {
        match self.checks.iter().find(|check| check.name == ROOFLINE) {
            Some(check) if check.was_made() => None,
            Some(check) => Some(check.evidence.strip_prefix(UNMADE).unwrap_or(&check.evidence)),
            None => Some("the record has no such check"),
        }
    }
}

/// One check with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its name: `finite_logits`.
    pub name: String,
    /// What it says.
    pub verdict: Verdict,
    /// What it saw, with numbers; of a check that was not made, why not.
    pub evidence: String,
}

/// How the evidence of a check that was not made began while there was no verdict for that.
const UNMADE: &str = "not looked at: ";

impl Check {
    /// Whether it was made. Records from before [`Verdict::NotChecked`] call a check valid that was not made.
    pub fn was_made(&self) -> bool {
        let called_valid = self.verdict == Verdict::Valid && self.evidence.starts_with("not looked at");
        self.verdict != Verdict::NotChecked && !called_valid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, verdict: Verdict) -> Check {
        Check { name: name.to_owned(), verdict, evidence: "seen".to_owned() }
    }

    #[test]
    fn a_check_that_was_not_made_makes_nothing_worse_and_is_named() {
        let of = |checks: &[Check]| Validity::of(checks.to_vec());
        let unmade = check(ROOFLINE, Verdict::NotChecked);
        let one = of(&[check("a", Verdict::Valid), unmade.clone()]);
        assert_eq!((one.verdict, one.not_checked), (Verdict::Valid, vec![ROOFLINE.to_owned()]));
        assert_eq!(of(std::slice::from_ref(&unmade)).verdict, Verdict::Valid);
        assert_eq!(of(&[unmade, check("b", Verdict::Suspect)]).verdict, Verdict::Suspect);
    }

    #[test]
    fn a_record_from_before_the_verdict_is_read_as_it_was_meant() {
        let old = r#"{"verdict": "valid", "checks": [
            {"name": "roofline", "verdict": "valid", "evidence": "not looked at: the GPU's are not measured yet"},
            {"name": "clock_step", "verdict": "valid", "evidence": "not looked at"},
            {"name": "run_complete", "verdict": "valid", "evidence": "the run completed"}]}"#;
        let old: Validity = serde_json::from_str(old).expect("an old record");
        assert_eq!(old.unmade().count(), 2);
        assert_eq!(old.no_ceiling(), Some("the GPU's are not measured yet"));
        assert_eq!(old.doubts().count(), 0);
    }
}
