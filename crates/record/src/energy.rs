//! Energy: what each row took, and how far that can be trusted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cell, Samples, Sensor, Unknown};

/// How far a figure of energy can be trusted, best first; the reasons stand beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Grade {
    /// A counter, its edges aligned, a second method that agrees, a steady device.
    A,
    /// One thing lowers it a little: no second method, a drift of temperature.
    B,
    /// A figure to compare with itself only: a short window, samples without a counter, methods that disagree.
    C,
    /// Not this run's energy at all: another device's.
    D,
}

/// The energy of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Energy {
    /// The worst grade of the windows; `null` when no energy was measured.
    pub grade: Option<Grade>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade_reason: Option<String>,
    /// What lowered the grade.
    pub reasons: Vec<String>,
    /// Sensors the energy was read from: `nvml` or `rapl`; in an imported record, whose samples they were.
    pub source: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_reason: Option<String>,
    /// What the sensors cover: `gpu`, `module`, `package`, `package+dram`, or `other-device` when the device
    /// they belong to did not do the work.
    pub scope: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope_reason: Option<String>,
    /// The device they belong to: a GPU's UUID, the names of the packages.
    pub device: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_reason: Option<String>,
    /// What these sensors are: measured before the model was loaded, or read from the device's calibration.
    #[serde(default)]
    pub sensor: Option<Sensor>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor_reason: Option<String>,
    /// Power of the device before the model was loaded.
    pub idle_watts: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_watts_reason: Option<String>,
    /// What each row took.
    #[serde(default)]
    pub windows: Vec<EnergyWindow>,
    /// Why `windows` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows_reason: Option<String>,
    /// What the sensors showed from before the model was loaded until the last row was over.
    #[serde(default)]
    pub traces: Vec<SensorTrace>,
    /// Why `traces` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traces_reason: Option<String>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// One sensor's figures over time, each once, when it was first seen, and the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SensorTrace {
    /// `power_instant`, `power_average`, `power_unspecified`, `sm_clock`, `memory_clock` or `temperature`.
    pub sensor: String,
    /// When, in seconds since the sensors were first read.
    pub seconds: Samples,
    /// What it showed then.
    pub values: Samples,
}

/// The energy of one row's trials, taken together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnergyWindow {
    /// Which row.
    pub cell: Cell,
    /// The first edge, in seconds since the sensors were first read: the clock of `traces`.
    #[serde(default)]
    pub begin_seconds: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin_seconds_reason: Option<String>,
    /// From edge to edge, in seconds.
    pub seconds: f64,
    /// Of these, spent in the row's own steps.
    pub own_seconds: f64,
    /// Of these, spent in steps that filled the context.
    pub context_seconds: f64,
    /// Prompt tokens processed in the window.
    pub input_tokens: u64,
    /// Output tokens yielded in the window.
    pub output_tokens: u64,
    /// Energy of the row's own steps.
    pub joules: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joules_reason: Option<String>,
    /// How `joules` was found: `counter` or `samples`.
    pub method: Option<String>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method_reason: Option<String>,
    /// Bound of its error from the edges and from what was not the row's own, as a share; the sensor's own gain
    /// (5% on measured boards) is not in it.
    pub error_bound_share: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_bound_share_reason: Option<String>,
    /// `joules` without what the idle device would have taken in the same time.
    pub idle_subtracted_joules: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_subtracted_joules_reason: Option<String>,
    /// The counter's difference over the whole window.
    pub counter_joules: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter_joules_reason: Option<String>,
    /// The power samples' integral over the whole window.
    pub integral_joules: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integral_joules_reason: Option<String>,
    /// Mean power in the row's own steps.
    pub mean_watts: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_watts_reason: Option<String>,
    /// Highest power sample.
    pub peak_watts: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_watts_reason: Option<String>,
    /// Share of the window in which heat, the power brake or the board held the clocks back.
    pub throttled_share: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_share_reason: Option<String>,
    /// Share of the window at the power limit, which is normal on a capped board.
    pub power_capped_share: Option<f64>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_capped_share_reason: Option<String>,
    /// Temperature at the beginning and at the end, in degrees Celsius.
    pub celsius: Option<[f64; 2]>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub celsius_reason: Option<String>,
    /// Lowest and highest clock of the compute units, in MHz.
    pub sm_mhz: Option<[u32; 2]>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sm_mhz_reason: Option<String>,
    /// Lowest and highest clock of the memory, in MHz.
    #[serde(default)]
    pub memory_mhz: Option<[u32; 2]>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mhz_reason: Option<String>,
    /// How far it can be trusted.
    pub grade: Option<Grade>,
    /// Why it is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade_reason: Option<String>,
    /// What lowered the grade.
    pub reasons: Vec<String>,
}
