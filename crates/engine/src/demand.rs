//! What an engine will be asked to do, and the memory that takes: the types of planning.

use std::fmt;

use serde::Serialize;

use crate::base::units::Bytes;

/// Where an engine computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU with this ordinal.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// The largest work that will be asked for: one row of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Parallel sequences.
    pub batch: u32,
    /// Tokens of context before the row.
    pub context: u32,
    /// Prompt tokens, processed in one step.
    pub prompt: u32,
    /// Output tokens.
    pub output: u32,
    /// Where to compute.
    pub device: Device,
}

/// Memory an engine will need, estimated from the header alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Each part with its name: weights, embedding as f32, KV cache, activations.
    pub parts: Vec<(&'static str, Bytes)>,
}

impl MemoryEstimate {
    /// All parts together.
    pub fn total(&self) -> Bytes {
        self.parts.iter().fold(Bytes::default(), |sum, (_, bytes)| sum + *bytes)
    }
}
