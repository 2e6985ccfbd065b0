//! What a device's sensors of energy are: how often they publish, in which steps, over which stretch of time.

use super::Unknown;
use crate::base::known::{self, Known};

/// What was found of a device's sensors. A missing figure has its reason.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Sensor {
    /// Where this is from: `measured at start`, or `calibrated on 2026-11-23 with driver 580.65.06`.
    #[serde(default)]
    pub origin: String,
    /// The counter of energy.
    pub counter: Known<Counter>,
    /// Each kind of power that is published.
    pub power: Vec<PowerSensor>,
    /// Why `power` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_reason: Option<String>,
    /// Median time between two polls: what all times here are uncertain by.
    pub poll_seconds: Known<f64>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A counter's habits.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Counter {
    /// Median time between two steps.
    pub period_seconds: f64,
    /// Median step.
    pub step_joules: f64,
    /// Steps seen.
    pub steps: usize,
    /// Shortest window in which every stretch of a constant load agreed with the whole within 1%.
    pub shortest_window_seconds: Known<f64>,
}

/// A power sensor's habits.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct PowerSensor {
    /// `instant`, `average` or `unspecified`.
    pub kind: String,
    /// Median time between two changes of the figure.
    pub period_seconds: Known<f64>,
    /// The stretch of time that one figure averages over.
    pub window_seconds: Known<f64>,
    /// Time from the end of that stretch to the figure's appearance.
    pub lag_seconds: Known<f64>,
}
