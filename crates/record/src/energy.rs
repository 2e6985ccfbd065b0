//! Energy: what each row took, and how far that can be trusted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cell, Samples, Sensor, Unknown};
use crate::base::known::{self, Known};

/// How far a figure of energy can be trusted, best first; the reasons come with it.
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
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Energy {
    /// The worst grade of the windows; `null` when no energy was measured.
    pub grade: Known<Grade>,
    /// What lowered the grade.
    pub reasons: Vec<String>,
    /// Sensors the energy was read from: `nvml` or `rapl`; in an imported record, whose samples they were.
    pub source: Known<String>,
    /// What the sensors cover: `gpu`, `module`, `package`, `package+dram`, or `other-device` when the device
    /// they belong to did not do the work.
    pub scope: Known<String>,
    /// The device they belong to: a GPU's UUID, the names of the packages.
    pub device: Known<String>,
    /// What these sensors are: measured before the model was loaded, or read from the device's calibration.
    #[serde(default)]
    pub sensor: Known<Sensor>,
    /// Power of the device before the model was loaded.
    pub idle_watts: Known<f64>,
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
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct EnergyWindow {
    /// Which row.
    pub cell: Cell,
    /// The first edge, in seconds since the sensors were first read: the clock of `traces`.
    #[serde(default)]
    pub begin_seconds: Known<f64>,
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
    pub joules: Known<f64>,
    /// How `joules` was found: `counter` or `samples`.
    pub method: Known<String>,
    /// Bound of its error from the edges and from what was not the row's own, as a share; the sensor's own gain
    /// (5% on measured boards) is not in it.
    pub error_bound_share: Known<f64>,
    /// `joules` without what the idle device would have taken in the same time.
    pub idle_subtracted_joules: Known<f64>,
    /// The counter's difference over the whole window.
    pub counter_joules: Known<f64>,
    /// The power samples' integral over the whole window.
    pub integral_joules: Known<f64>,
    /// Mean power in the row's own steps.
    pub mean_watts: Known<f64>,
    /// Highest power sample.
    pub peak_watts: Known<f64>,
    /// Share of the window in which heat, the power brake or the board held the clocks back.
    pub throttled_share: Known<f64>,
    /// Share of the window at the power limit, which is normal on a capped board.
    pub power_capped_share: Known<f64>,
    /// Temperature at the beginning and at the end, in degrees Celsius.
    pub celsius: Known<[f64; 2]>,
    /// Lowest and highest clock of the compute units, in MHz.
    pub sm_mhz: Known<[u32; 2]>,
    /// Lowest and highest clock of the memory, in MHz.
    #[serde(default)]
    pub memory_mhz: Known<[u32; 2]>,
    /// How far it can be trusted.
    pub grade: Known<Grade>,
    /// What lowered the grade.
    pub reasons: Vec<String>,
}
