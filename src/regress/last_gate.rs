//! The last gate of a store, which its history shows above the series.

use serde::Deserialize;

use super::Error;
use super::gate::{Finding, Verdict};
use super::store::Store;

/// Number of verdict files to examine, newest first: a file's time may be that of copying it.
const MOST: usize = 200;

/// What a history shows of a gate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LastGate {
    /// When it started.
    pub created: String,
    /// The candidate's label.
    pub label: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the two could not be compared.
    pub reason: Option<String>,
    /// What it is based on; absent if they could not be compared.
    pub decision: Option<Findings>,
}

/// The metrics of a decision.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Findings {
    /// In the gate's own order.
    pub findings: Vec<Finding>,
}

/// The gate that started last, if any. A file that cannot be read is skipped here; the index reports it.
///
/// # Errors
/// [`Error`] if the index fails.
pub fn last_gate(store: &Store) -> Result<Option<LastGate>, Error> {
    let paths = store.verdicts(MOST)?;
    let gates = paths.iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        serde_json::from_str::<LastGate>(&text).ok()
    });
    Ok(gates.max_by(|a, b| a.created.cmp(&b.created)))
}
