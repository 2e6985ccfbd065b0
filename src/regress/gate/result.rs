//! What a gate leaves: the verdict with everything it rests on, as `verdict.json` in its folder.

use std::path::PathBuf;

use serde::Serialize;

use super::decide::{Decision, Looks, Verdict};
use super::disturbance::Disturbed;

/// Name and version of the object.
pub(super) const SCHEMA: &str = "infercost.gate/1";

/// The object that `bench regress gate --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateResult {
    /// `infercost.gate/1`.
    pub schema: &'static str,
    /// When the gate began, in UTC (RFC 3339).
    pub created: String,
    /// The candidate in a word: its commit, or what was given with `--label`.
    pub label: String,
    /// Series that both measured; there when a replicate was measured.
    pub series_key: Option<String>,
    /// What B measured on what, for a reader; there when a replicate was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the two cannot be compared; there with INCOMPARABLE alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each metric, when there was something to decide on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// When the gate looks, and how sure it must be.
    pub looks: Looks,
    /// The baseline.
    pub baseline: Program,
    /// The candidate.
    pub candidate: Program,
    /// What the replicates lost to others on the box; not there when it was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<Disturbed>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
    /// The replicates in the order in which they ran.
    pub replicates: Vec<Replicate>,
    /// The gate's folder.
    pub folder: Option<PathBuf>,
}

/// One of the two programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Where it is, or where its records are.
    pub path: PathBuf,
    /// The whole command, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// blake3 of its bytes, as its records say it; `null` when they do not.
    pub blake3: Option<String>,
}

/// One run of one program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replicate {
    /// Pair, from 1.
    pub pair: usize,
    /// `A` or `B`.
    pub program: char,
    /// Its record, in the gate's folder.
    pub file: String,
    /// Whether the record was there already when the gate went on.
    pub resumed: bool,
    /// Why an earlier try of it was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_because: Option<String>,
    /// What disturbed it, when it was kept all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disturbed_by: Option<String>,
}
