//! What a run is asked, however it was typed.

use std::fmt;
use std::path::PathBuf;

use rust_decimal::Decimal;

use crate::base::units::Watts;
use crate::engine::Launches;
use crate::engine::fused::{Isa, KvType};
use crate::hardware::device::DeviceRequest;
use crate::hardware::telemetry::choose::PowerRequest;
use crate::run::engines::Kind;
use crate::run::plan::Limits;

/// A run as it was asked for. An empty list is one that was not given.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The command line without secrets, which the record keeps.
    pub argv: Vec<String>,
    /// The model's name; without one the session chooses.
    pub model: Option<String>,
    /// The engine; without one the best for model and device.
    pub engine: Option<Kind>,
    /// Lengths of rows that only read a prompt [default: 128 tokens, on a GPU 512].
    pub prompt_tokens: Vec<u32>,
    /// Lengths of rows that only write output [default: 32 tokens, on a GPU 128].
    pub output_tokens: Vec<u32>,
    /// Prompt and output of rows that do both.
    pub joint: Vec<(u32, u32)>,
    /// Parallel sequences [default: 1, on a GPU [`Batch::Auto`]].
    pub batch: Option<Batch>,
    /// Tokens in the context before a row [default: 0].
    pub depth: Vec<u32>,
    /// The catalog's id or family of the GPU that is expected here.
    pub gpu: Option<String>,
    /// The device.
    pub device: DeviceRequest,
    /// Threads that compute on the CPU [default: the physical cores].
    pub threads: Option<u16>,
    /// Instruction set of our own engine [default: the best there is].
    pub isa: Option<Isa>,
    /// Format of our own engine's KV cache [default: f16].
    pub kv_type: Option<KvType>,
    /// How our own engine launches kernels on a GPU.
    pub launches: Launches,
    /// The sensors that are read during the run.
    pub power: PowerRequest,
    /// NVIDIA's management library, where it is not the system's.
    pub nvml_library: Option<PathBuf>,
    /// Clocks to hold the GPU at.
    pub lock_clocks: Option<LockClocks>,
    /// Power limits, each of which makes a record.
    pub power_limits: Vec<Watts>,
    /// When a row and the run are over.
    pub limits: Limits,
    /// Seed of prompts and of synthetic weights.
    pub seed: u64,
    /// Rent of the machine [default: the catalog's].
    pub usd_per_hour: Option<Decimal>,
    /// APIs to compare with next to those that serve the model.
    pub apis: Vec<String>,
    /// Whether only the plan is wanted: then the GPU may be elsewhere.
    pub plan_only: bool,
}

/// Parallel sequences of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// Doubles until throughput stops rising.
    Auto,
    /// These.
    These(Vec<u32>),
}

/// As it is typed.
impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::These(batches) => {
                f.write_str(&batches.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// Clocks to hold a GPU at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockClocks {
    /// Its default application clock.
    Default,
    /// This one, in MHz.
    At(u32),
}
