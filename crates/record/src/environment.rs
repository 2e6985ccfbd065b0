//! The program and the machine, as far as they affect the figures.

use super::Unknown;
use crate::base::known::{self, Known};

/// The program that wrote the record; it measured as well, unless the record is imported.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Tool {
    /// `infercost`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Commit it was built from, if the build set `INFERCOST_COMMIT`.
    #[serde(default)]
    pub commit: Known<String>,
    /// blake3 of the running executable.
    pub binary_blake3: Known<String>,
    /// `release` or `debug`: a debug build's speed says nothing.
    pub profile: String,
    /// Cargo features it was built with.
    pub features: Vec<String>,
    /// How CUDA is bound: `run time` or `link time`.
    pub cuda_linkage: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The machine.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Environment {
    /// The processor's name.
    pub cpu: Known<String>,
    /// Logical processors the process may use.
    pub logical_cpus: Known<usize>,
    /// Instruction sets that matter to inference.
    pub instruction_sets: Vec<String>,
    /// Why it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction_sets_reason: Option<String>,
    /// Installed memory, or the container's limit.
    pub memory_bytes: Known<u64>,
    /// Name and version of the operating system.
    pub operating_system: Known<String>,
    /// Version of the kernel.
    pub kernel: Known<String>,
    /// Container the process runs in.
    pub container: Known<String>,
    /// What the processors can do at most; `null` when a GPU computed.
    pub peaks: Known<Peaks>,
    /// GPUs found, used or not.
    pub gpus: Vec<Gpu>,
    /// Why `gpus` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_reason: Option<String>,
    /// The GPU that was found and did not compute though nobody asked for the CPU; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused_gpu: Option<UnusedGpu>,
    /// NVIDIA driver.
    pub driver: Known<String>,
    /// Newest CUDA that the driver can run.
    pub cuda: Known<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Environment {
    /// A machine of which nothing is known, and why.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        Self {
            cpu: Known::unknown(why),
            logical_cpus: Known::unknown(why),
            instruction_sets: Vec::new(),
            instruction_sets_reason: Some(why.to_owned()),
            memory_bytes: Known::unknown(why),
            operating_system: Known::unknown(why),
            kernel: Known::unknown(why),
            container: Known::unknown(why),
            peaks: Known::unknown(why),
            gpus: Vec::new(),
            gpus_reason: Some(why.to_owned()),
            unused_gpu: None,
            driver: Known::unknown(why),
            cuda: Known::unknown(why),
            unknown: Unknown::new(),
        }
    }
}

/// A GPU that was found and not used: the figures are the CPU's, and say nothing of what this machine costs when its GPU
/// works.
#[derive(Debug, Clone, PartialEq, Eq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct UnusedGpu {
    /// Its name.
    pub name: Known<String>,
    /// Why it was not used.
    pub reason: String,
    /// The command that leads to a run that uses it.
    pub command: String,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl UnusedGpu {
    /// A GPU of this name, when it is known.
    pub fn new(name: Known<String>, reason: impl Into<String>, command: &str) -> Self {
        Self { name, reason: reason.into(), command: command.to_owned(), unknown: Unknown::new() }
    }
}

/// The sentence at the head of a result.
impl std::fmt::Display for UnusedGpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.name.as_deref().unwrap_or("NVIDIA GPU");
        write!(f, "CPU measured; {name} not used: {}; {}", self.reason, self.command)
    }
}

/// What the device that computed can do at most: the best of several rounds, measured next to the run.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Peaks {
    /// Threads that worked at once, the engine's number; of a GPU its multiprocessors.
    pub threads: usize,
    /// Bytes per second read from memory.
    pub read_bytes_per_second: f64,
    /// Bytes per second written to memory.
    pub write_bytes_per_second: f64,
    /// Bytes per second copied, read and written bytes counted once.
    pub copy_bytes_per_second: f64,
    /// Operations per second: in single precision, on a GPU's tensor cores of f16 with sums in single precision.
    pub flops_per_second: f64,
    /// Instructions that did them: `avx512f`, `avx2+fma`, `portable`, `mma.sync f16`.
    pub flops_instruction_set: String,
    /// Operations on 8-bit integers per second: what quantized weights are multiplied with on processors.
    #[serde(default)]
    pub narrow_operations_per_second: Known<f64>,
    /// Instruction set that did them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrow_instruction_set: Option<String>,
    /// Operations on 8-bit floating-point numbers per second, on GPUs that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp8_flops_per_second: Option<f64>,
    /// Bytes of the arrays.
    pub array_bytes: u64,
    /// Every round of read, write, copy and arithmetic.
    pub rounds: [Vec<f64>; 4],
}

/// One GPU, as NVML describes it.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Gpu {
    /// Name of the product: `NVIDIA H100 80GB HBM3`.
    pub name: Known<String>,
    /// The board's unique id.
    pub uuid: Known<String>,
    /// Row of the catalog it is.
    pub catalog_id: Known<String>,
    /// Memory, all of it.
    pub memory_bytes: Known<u64>,
    /// Whether the run used it.
    pub used: bool,
    /// What NVML said of it before the run, the unit in each key: PCI address, firmware, power limits, clocks, ECC,
    /// persistence, MIG, link, temperature, processes. What it does not say is `null` with a reason.
    #[serde(default)]
    pub facts: Unknown,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Gpu {
    /// Its name, or that it is not known.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("GPU of unknown name")
    }
}

/// What was watched during the run, and what watching cost.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Telemetry {
    /// Seconds from the loaded model to the end of the last row and check: what `--max-time` bounds.
    #[serde(default)]
    pub measuring_seconds: Known<f64>,
    /// Smallest difference the clock shows.
    pub clock_precision_seconds: f64,
    /// Cost of reading the clock once.
    pub clock_overhead_seconds: f64,
    /// Cost of metering one step: two readings of the clock and the events kept.
    pub meter_overhead_seconds_per_step: f64,
    /// That cost as a share of the shortest measured step.
    pub meter_overhead_share: Known<f64>,
    /// How intervals were timed: `host` clock with the device synchronised, or `device` events.
    pub timing_method: String,
    /// Share of all processors' time, from load to end, that other processes used.
    pub foreign_processor_share: Known<f64>,
    /// Share of it that the hypervisor gave to somebody else.
    pub stolen_processor_share: Known<f64>,
    /// Share of all processors' time for which a container's quota stopped this process's threads.
    #[serde(default)]
    pub quota_held_back_share: Known<f64>,
    /// Times a processor was slowed down by heat.
    pub thermal_events: Known<u64>,
    /// How far the wall clock moved against the monotonic one.
    #[serde(default)]
    pub clock_step_seconds: f64,
    /// Readings of power and energy taken during the run.
    #[serde(default)]
    pub sampler_readings: usize,
    /// Processor time that taking them cost.
    pub sampler_processor_seconds: Known<f64>,
    /// Times the scheduler took the processor away from a working thread during the run.
    pub involuntary_switches: Known<u64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}
