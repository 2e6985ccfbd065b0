//! A gate's result: the verdict with everything it is based on, written as `verdict.json` in its folder.

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
    /// When the gate started, in UTC (RFC 3339).
    pub created: String,
    /// The candidate's label: its commit, or the value of `--label`.
    pub label: String,
    /// Series that both measured; present if a replicate was measured.
    pub series_key: Option<String>,
    /// What B measured on which device, for a reader; present if a replicate was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the two cannot be compared; present only with INCOMPARABLE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each metric, if there was something to decide on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// When the gate looks, and at which levels.
    pub looks: Looks,
    /// The baseline.
    pub baseline: Program,
    /// The candidate.
    pub candidate: Program,
    /// Processor time that the replicates lost to others on the machine; absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disturbed: Option<Disturbed>,
    /// Anything else a reader should know.
    pub notes: Vec<String>,
    /// The replicates in the order in which they ran.
    pub replicates: Vec<Replicate>,
    /// The gate's folder.
    pub folder: Option<PathBuf>,
}

/// One of the two programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its path, or the path of its records.
    pub path: PathBuf,
    /// The whole command, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// blake3 of its bytes, as stated in its records; `null` if they do not.
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
    /// Whether the record existed already when the gate resumed.
    pub resumed: bool,
    /// Why an earlier attempt was discarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_because: Option<String>,
    /// What disturbed it, if it was kept anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disturbed_by: Option<String>,
}
