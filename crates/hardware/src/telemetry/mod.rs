//! Samplers beside the run: what the sensors of this machine say while an engine works.
//!
//! A [`Source`] is one set of sensors (a GPU through NVML, a package through RAPL). It answers what it is
//! asked and keeps no time; [`Recorder`] asks it at its rate from a thread of its own, and [`Recorder::edge`]
//! at the edges of a phase.

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
    /// A module that holds more than the GPU: Grace and Hopper together.
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

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `nvml` or `rapl`.
    pub name: &'static str,
    /// Which device: a GPU's UUID, the names of the packages.
    pub device: String,
    /// Version of the driver that serves the sensors, where there is one.
    pub driver: Option<String>,
    /// What its energy covers.
    pub scope: Scope,
    /// Why it has no counter of energy, when it has none.
    pub no_counter: Option<String>,
    /// Why it has no power sensor, when it has none.
    pub no_power: Option<String>,
}

/// One set of sensors.
///
/// Every reading may fail on its own; the `String` is a reason for people (`NVML: not supported by this GPU`).
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Source: Send {
    /// What it is, decided when it was opened.
    fn description(&self) -> &Description;

    /// The counter of energy, unwrapped where the hardware wraps it.
    fn energy(&mut self) -> Result<Joules, String>;

    /// The power of every kind that this device publishes.
    fn power(&mut self) -> Result<Vec<(PowerKind, Watts)>, String>;

    /// Clocks, temperature and what holds the clocks back; `at` is filled by the caller.
    fn clocks(&mut self) -> ClockSample;

    /// Time spent throttled since the driver was loaded.
    fn throttled(&mut self) -> ThrottledTime;
}
