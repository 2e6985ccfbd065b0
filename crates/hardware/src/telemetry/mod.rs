//! Telemetry: samples the machine's sensors while an engine runs.
//!
//! A [`Source`] is one set of sensors (a GPU through NVML, a package through RAPL), without any notion of time;
//! [`Recorder`] polls it at a fixed rate from its own thread, and [`Recorder::edge`] at the edges of a phase.

pub mod calibration;
pub mod choose;
pub mod host;
pub mod rapl;
pub mod recorder;
pub mod sensor;

pub use recorder::{Rate, Recorded, Recorder};

use crate::base::event::{ClockSample, PowerKind, ThrottledTime};
use crate::base::units::{Joules, Watts};

/// What a source's energy covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The GPU's board.
    Gpu,
    /// A module with more than the GPU: Grace and Hopper together.
    Module,
    /// The processor's packages.
    Package,
    /// The processor's packages and their memory.
    PackageAndDram,
}

impl Scope {
    /// The scope's name in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gpu => "gpu",
            Self::Module => "module",
            Self::Package => "package",
            Self::PackageAndDram => "package+dram",
        }
    }
}

/// Describes a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `nvml` or `rapl`.
    pub name: &'static str,
    /// Which device: a GPU's UUID, the names of the packages.
    pub device: String,
    /// Version of the sensors' driver, if there is one.
    pub driver: Option<String>,
    /// What its energy covers.
    pub scope: Scope,
    /// Why it has no energy counter, if it has none.
    pub no_counter: Option<String>,
    /// Why it has no power sensor, if it has none.
    pub no_power: Option<String>,
}

/// One set of sensors.
///
/// Each reading may fail independently; the `String` is a human-readable reason (`NVML: not supported by this GPU`).
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Source: Send {
    /// Its description, fixed when it is opened.
    fn description(&self) -> &Description;

    /// The energy counter, unwrapped if the hardware wraps it.
    fn energy(&mut self) -> Result<Joules, String>;

    /// The power of every kind that this device publishes.
    fn power(&mut self) -> Result<Vec<(PowerKind, Watts)>, String>;

    /// Clocks, temperature and throttle reasons; the caller fills in `at`.
    fn clocks(&mut self) -> ClockSample;

    /// Time spent throttled since the driver was loaded.
    fn throttled(&mut self) -> ThrottledTime;
}
