//! What the library pretends: the file next to it, as a test writes it and the library reads it.
//!
//! Everything has a default, so that a test says only what matters to it. Times are in seconds since `origin`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::trace::Trace;

/// The machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// `CLOCK_MONOTONIC` in nanoseconds at which time begins; without it, the moment of `nvmlInit`.
    pub origin: Option<u64>,
    pub driver: String,
    pub nvml: String,
    /// As `cuDriverGetVersion` says it: 13000 is 13.0.
    pub cuda: i32,
    /// What `nvmlInit` returns instead of success.
    pub init_error: Option<u32>,
    /// Functions that are there and return `FUNCTION_NOT_FOUND`.
    pub missing: Vec<String>,
    /// A file that is read at each call: lines of a function's name and the code that it returns at that moment.
    pub fails: Option<PathBuf>,
    /// Setters return `NO_PERMISSION`.
    pub denied: bool,
    /// Every call of a setter is appended here: seconds, UUID, what.
    pub log: Option<PathBuf>,
    pub gpu: Vec<GpuScript>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            origin: None,
            driver: "570.86.15".to_owned(),
            nvml: "12.570.86.15".to_owned(),
            cuda: 12080,
            init_error: None,
            missing: Vec::new(),
            fails: None,
            denied: false,
            log: None,
            gpu: vec![GpuScript::default()],
        }
    }
}

/// One GPU; the default is like an H100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GpuScript {
    pub name: String,
    pub uuid: String,
    pub pci: String,
    pub memory_mib: u64,
    pub memory_free_mib: u64,
    /// Milliwatts: default, lowest, highest.
    pub power_limit: [u32; 3],
    /// `[graphics and SM, memory]` in MHz: the highest, and those of applications.
    pub max_clocks: [u32; 2],
    pub application_clocks: [u32; 2],
    /// SM clock over time, as long as it is not locked.
    pub sm_mhz: Trace,
    pub celsius: Trace,
    /// Of the whole GPU.
    pub watts: Trace,
    pub power: PowerScript,
    pub counter: CounterScript,
    /// `[since, reasons]`: the bitmask of what holds the clocks back.
    pub throttle: Vec<(f64, u64)>,
    pub mig: bool,
    /// From here on every call returns `GPU_IS_LOST`.
    pub lost_at: Option<f64>,
    /// Functions that return `NOT_SUPPORTED` on this GPU.
    pub unsupported: Vec<String>,
    /// Fields that return `NOT_SUPPORTED` on this GPU.
    pub unsupported_fields: Vec<u32>,
    /// Power limits in milliwatts that are within the range but refused.
    pub refused_limits: Vec<u32>,
    /// `[pid, MiB]`.
    pub processes: Vec<(u32, u64)>,
}

impl Default for GpuScript {
    fn default() -> Self {
        Self {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            uuid: "GPU-00000000-fa4e-0000-0000-000000000000".to_owned(),
            pci: "00000000:1B:00.0".to_owned(),
            memory_mib: 81559,
            memory_free_mib: 81000,
            power_limit: [700_000, 200_000, 700_000],
            max_clocks: [1980, 2619],
            application_clocks: [1755, 2619],
            sm_mhz: Trace::constant(1980.0),
            celsius: Trace::constant(45.0),
            watts: Trace::constant(300.0),
            power: PowerScript::default(),
            counter: CounterScript::default(),
            throttle: Vec::new(),
            mig: false,
            lost_at: None,
            unsupported: Vec::new(),
            unsupported_fields: Vec::new(),
            refused_limits: Vec::new(),
            processes: Vec::new(),
        }
    }
}

/// The power sensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerScript {
    /// Seconds between two values.
    pub period: f64,
    /// Seconds that the instant value averages, up to the moment it is made.
    pub window: f64,
    /// Seconds that the average value averages.
    pub average_window: f64,
    /// Seconds between a value being made and its showing.
    pub lag: f64,
    /// When in its period a value is made.
    pub phase: f64,
    /// What it shows for one true watt.
    pub gain: f64,
    /// It shows 0 W.
    pub zero: bool,
    /// Only the module has fields of power, as on Grace Hopper.
    pub module_only: bool,
    /// What the module draws besides the GPU.
    pub module_watts: f64,
}

impl Default for PowerScript {
    fn default() -> Self {
        Self {
            period: 0.1,
            window: 0.025,
            average_window: 1.0,
            lag: 0.0,
            phase: 0.0,
            gain: 1.0,
            zero: false,
            module_only: false,
            module_watts: 150.0,
        }
    }
}

/// The counter of energy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CounterScript {
    /// What it shows at the origin, in joules.
    pub start: f64,
    /// Seconds between two steps.
    pub step: f64,
    /// Seconds between a step being made and its showing.
    pub lag: f64,
    /// When in its period a step is made.
    pub phase: f64,
    /// What it counts for one true joule.
    pub gain: f64,
    /// The driver is loaded anew and the counter begins at zero.
    pub reset_at: Option<f64>,
    /// It stands still from here on.
    pub frozen_at: Option<f64>,
    /// `[at, joules]`: it jumps by so much.
    pub jump: Option<[f64; 2]>,
}

impl Default for CounterScript {
    fn default() -> Self {
        Self {
            start: 1000.0,
            step: 0.1,
            lag: 0.0,
            phase: 0.0,
            gain: 1.0,
            reset_at: None,
            frozen_at: None,
            jump: None,
        }
    }
}
