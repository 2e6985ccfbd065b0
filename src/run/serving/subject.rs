//! What served a load, as a record has it: a server as far as it tells ([`remote`](super::remote)), or an engine in this
//! process ([`local`](super::local)).

use crate::record::serving::Server;
use crate::record::{EngineInfo, Environment, Measurement, ModelInfo};

use super::{ColdStart, Prompting};

/// What served a load.
pub struct Subject {
    /// The machine.
    pub environment: Environment,
    /// The model.
    pub model: ModelInfo,
    /// The engine.
    pub engine: EngineInfo,
    /// The server, or why there is none.
    pub server: Result<Server, String>,
    /// How long the server took to start, or why that was not seen.
    pub cold_start: Result<ColdStart, String>,
    /// What prompts were made of.
    pub prompting: Prompting,
    /// Whether an answer continues after the model's end-of-sequence token.
    pub ignore_eos: bool,
    /// Whether a prompt may use what an earlier one left in the cache, or why that is not known.
    pub prefix_cache: Result<bool, String>,
    /// Figures of the whole process.
    pub measurements: Vec<Measurement>,
    /// Fields of the plan that only the subject decided.
    pub resolved: Vec<(&'static str, serde_json::Value)>,
    /// What distinguishes two series of figures, besides the workload.
    pub series: Vec<(&'static str, String)>,
    /// The machines that it ran on, as keys of the fingerprint.
    pub machine: Vec<(&'static str, String)>,
    /// Flags and kernels that are another treatment.
    pub treatment: Vec<(String, String)>,
    /// What else is known of an engine in this process.
    pub in_process: Option<InProcess>,
    /// Why its device was not seen idle.
    pub no_idle: &'static str,
    /// Why there is no greedy continuation, and why no perplexity.
    pub no_quality: [&'static str; 2],
}

/// What is known about an engine in this process besides what the record has.
#[derive(Debug, Clone, Copy)]
pub struct InProcess {
    /// Whether the processor computes.
    pub on_processor: bool,
    /// Processes on the GPU that computes, before the run.
    pub gpu_processes: Option<usize>,
}
