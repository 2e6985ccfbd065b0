//! The last gate of a store, as its history shows it above the series.

use serde::Deserialize;

use super::Error;
use super::gate::{Finding, Verdict};
use super::store::Store;

/// Files of verdicts that are looked at, the youngest first: a file's time may be that of its copy.
const MOST: usize = 200;

/// What a history needs of a gate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LastGate {
    /// When it began.
    pub created: String,
    /// The candidate in a word.
    pub label: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Why the two could not be compared.
    pub reason: Option<String>,
    /// What it rests on; not there when they could not be compared.
    pub decision: Option<Findings>,
}

/// The metrics of a decision.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Findings {
    /// In the gate's own order.
    pub findings: Vec<Finding>,
}

/// The gate that began last, when there is one. A file that cannot be read is no gate; the index has named it.
///
/// # Errors
/// [`Error`] when the index fails.
pub fn last_gate(store: &Store) -> Result<Option<LastGate>, Error> {
    let paths = store.verdicts(MOST)?;
    let gates = paths.iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        serde_json::from_str::<LastGate>(&text).ok()
    });
    Ok(gates.max_by(|a, b| a.created.cmp(&b.created)))
}
