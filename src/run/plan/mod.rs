//! What will be run, resolved and printable before anything is loaded.
//!
//! A [`Plan`] is made of what was typed, the catalog and the model's header. It names every row, the
//! rule that ends it, and the memory it will take; what cannot work is refused here.

pub mod fits;
pub mod limits;
pub mod ranges;
pub mod rows;
mod time;

pub use fits::{Fits, Load};
pub use limits::{Limits, Tier};
pub use rows::{Row, RowKind};
pub use time::{Estimate, whole};

use serde::Serialize;

use crate::base::failure::{Class, Classed};
use crate::base::units::Bytes;
use crate::engine::MemoryEstimate;
use crate::model::header::Header;

/// Why a plan cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has too little memory (exit code 1).
    #[error("{row} needs {needed} of memory ({parts}), and {available} is available{place}; {way_out}")]
    Memory {
        /// The row that needs most.
        row: String,
        /// The estimate.
        needed: Bytes,
        /// The largest parts with their names.
        parts: String,
        /// What there is now.
        available: Bytes,
        /// Where: empty for the machine, ` on cuda:0` for a GPU, else the limit that is in force.
        place: String,
        /// What to do.
        way_out: String,
    },
    /// The machine cannot do it (exit code 1).
    #[error("{flag}: {reason}")]
    Machine {
        /// The flag with its value.
        flag: String,
        /// What the machine has, and the way out.
        reason: String,
    },
    /// The model cannot do it (exit code 1).
    #[error("{row}: {reason}")]
    Model {
        /// The row.
        row: String,
        /// Field, value and way out.
        reason: String,
    },
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Memory { .. } | Self::Machine { .. } | Self::Model { .. } => Class::Unusable,
        }
    }
}

/// Everything decided before the model is loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The model as asked for.
    pub model: String,
    /// Its weights' format.
    pub quantization: String,
    /// What the file or its name says instead, when the weights are something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization_note: Option<String>,
    /// Engine by name.
    pub engine: String,
    /// Device the engine will compute on.
    pub device: String,
    /// Threads, when limited.
    pub threads: Option<usize>,
    /// Instruction set of our own engine's kernels; other engines choose for themselves.
    pub isa: Option<String>,
    /// Format of our own engine's KV cache.
    pub kv_type: Option<String>,
    /// How our own engine launches kernels on a GPU: `graphs`, `single`, `watched`; `null` elsewhere.
    pub launches: Option<String>,
    /// Rows in the order in which they run.
    pub rows: Vec<PlannedRow>,
    /// Whether the batch doubles until throughput stops rising or memory ends.
    pub grow_batch: bool,
    /// When a row and the run are over.
    pub limits: Limits,
    /// Seed of prompts and of synthetic weights.
    pub seed: u64,
    /// Bytes of weights as stored.
    pub weight_bytes: Bytes,
    /// Most memory any row will take.
    pub memory: MemoryEstimate,
    /// How long it will take; `null` until the machine was looked at.
    pub estimate: Option<Estimate>,
    /// What fits on the GPU; `null` on a CPU and where the catalog does not have the GPU.
    pub fits: Option<Fits>,
}

/// A row with its estimates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedRow {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// Its name in llama-bench's words.
    pub label: String,
    /// Memory estimated while it runs.
    pub memory_bytes: Bytes,
}

/// The row that takes most memory.
pub fn largest(rows: &[PlannedRow]) -> Option<&PlannedRow> {
    rows.iter().max_by_key(|row| row.memory_bytes)
}

/// Checks that the model can hold every row.
///
/// # Errors
/// [`Error::Model`] that names the row, the context it needs and the model's.
pub fn check_context(rows: &[Row], header: &Header) -> Result<(), Error> {
    let limit = header.spec.context_length;
    let Some(row) = rows.iter().find(|row| row.positions() > u64::from(limit)) else { return Ok(()) };
    let reason = format!(
        "it needs {} positions, and the model's `context_length` is {limit}; lower --depth, --prompt-tokens or --output-tokens",
        row.positions()
    );
    Err(Error::Model { row: row.label(), reason })
}

/// What helps when a row needs more memory than there is.
pub const ROW_WAY_OUT: &str =
    "use a smaller model or a smaller quantization, lower --batch or --depth, or free memory";

/// Checks that the machine can hold the memory estimated for `what`.
///
/// # Errors
/// [`Error::Memory`] with the parts, largest first.
pub fn check_memory(
    what: &str,
    estimated: &MemoryEstimate,
    available: Bytes,
    place: &str,
    way_out: &str,
) -> Result<(), Error> {
    if estimated.total() <= available {
        return Ok(());
    }
    let mut parts = estimated.parts.clone();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let parts: Vec<String> = parts.iter().take(3).map(|(name, bytes)| format!("{name} {bytes}")).collect();
    Err(Error::Memory {
        row: what.to_owned(),
        needed: estimated.total(),
        parts: parts.join(", "),
        available,
        place: place.to_owned(),
        way_out: way_out.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_names_the_largest_parts() {
        let estimated = MemoryEstimate {
            parts: vec![("KV cache", Bytes::new(1 << 20)), ("weights", Bytes::new(3 << 30))],
        };
        let row = Row { kind: RowKind::Prefill { prompt_tokens: 512 }, batch: 1, depth: 0 };
        let error = check_memory(&row.label(), &estimated, Bytes::new(1 << 30), "", ROW_WAY_OUT)
            .expect_err("3 GiB into 1");
        let text = error.to_string();
        assert!(
            text.starts_with("pp512 needs 3.00 GiB of memory (weights 3.00 GiB, KV cache 1.00 MiB)"),
            "{text}"
        );
        assert!(check_memory(&row.label(), &estimated, Bytes::new(4 << 30), "", ROW_WAY_OUT).is_ok());
    }
}
