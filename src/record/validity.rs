//! Verdicts on the figures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Unknown;

/// How far something can be believed; the worst of several is the verdict on all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing speaks against the figures.
    Valid,
    /// The figures may be true and should not be relied on.
    Suspect,
    /// The figures cannot be true, or are of something else than was asked.
    Invalid,
}

/// The verdict and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Validity {
    /// The worst verdict of all checks.
    pub verdict: Verdict,
    /// Every check that was made.
    pub checks: Vec<Check>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Validity {
    /// Puts the checks together.
    pub fn of(checks: Vec<Check>) -> Self {
        let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Valid);
        Self { verdict, checks, unknown: Unknown::new() }
    }
}

/// One check with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// Its name: `finite_logits`.
    pub name: String,
    /// What it says.
    pub verdict: Verdict,
    /// What it saw, with numbers.
    pub evidence: String,
}
