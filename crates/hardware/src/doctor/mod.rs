//! What this machine can do, and how to fix what it cannot: one line per fact, each with its verdict.
//!
//! Nothing here changes the machine, and no line measures a model's speed. A machine without a GPU is not a failure: only
//! what makes `bench run` impossible fails, or something named by the user that is missing.

mod board;
pub mod calibrate;
mod gpu;
mod libraries;
mod line;
mod load;
mod memory;
mod power;
mod processor;
mod storage;
mod system;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use calibrate::Calibration;
pub use line::{Area, Line, Status};

use crate::base::env;
use crate::telemetry::calibration;

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// NVML to load instead of the system's.
    pub nvml: Option<PathBuf>,
    /// Folder for records.
    pub results: PathBuf,
}

/// All findings: the object that `bench doctor --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examination {
    /// `infercost.doctor/1`.
    pub schema: &'static str,
    /// The worst verdict of all lines.
    pub verdict: Status,
    /// One line per fact.
    pub lines: Vec<Line>,
    /// The power sensor's calibration, if requested and successful.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Why it could not be calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_reason: Option<String>,
}

impl Examination {
    /// The examination consisting of these lines.
    pub fn new(lines: Vec<Line>) -> Self {
        let verdict = lines.iter().map(|line| line.status).max().unwrap_or(Status::Ok);
        Self { schema: "infercost.doctor/1", verdict, lines, calibration: None, calibration_reason: None }
    }

    /// Adds the power sensor's calibration.
    pub fn calibrated(&mut self, found: Result<Calibration, String>) {
        match found {
            Ok(calibration) => self.calibration = Some(calibration),
            Err(reason) => self.calibration_reason = Some(reason),
        }
    }
}

/// Checks the machine. Takes about a second, most of it watching for other load.
pub fn examine(wanted: &Wanted) -> Vec<Line> {
    let root = Path::new("/");
    let gpu = gpu::check(root, wanted.nvml.as_deref());
    let mut lines = system::check(root);
    lines.extend(processor::check(root));
    lines.extend(memory::check(root));
    lines.push(storage::check("results", &wanted.results));
    lines.push(storage::check("cache", &env::cache_folder()));
    lines.push(load::check(root));
    lines.push(power::check(root));
    lines.extend(gpu.lines);
    lines.extend(libraries::check(gpu.count > 0, gpu.newest_cuda, wanted.nvml.as_deref()));
    lines.sort_by_key(|line| line.area);
    lines
}

/// Only the lines about GPUs: what NVML and CUDA report.
pub fn gpus(nvml: Option<&Path>) -> Vec<Line> {
    gpu::check(Path::new("/"), nvml).lines
}

/// Calibrates the GPU's power sensor, and stores what was measured under load for later runs.
///
/// # Errors
/// A human-readable reason if there is no sensor to poll.
pub fn calibrate(
    wanted: &Wanted,
    timing: &calibrate::Timing,
    today: jiff::civil::Date,
) -> Result<Calibration, String> {
    let load = gpu::load();
    let identity = load.as_ref().ok().map(|(device, _)| (device.uuid.clone(), device.pci.clone()));
    let mut source = gpu::sensors(wanted.nvml.as_deref(), identity.as_ref())?;
    let mut found = calibrate::calibrate(source.as_mut(), load.map(|(_, load)| load), timing)?;
    let kept = match &found.no_load {
        // A run finds this out by itself.
        Some(_) => Err("no load was run; bench run measures period and step itself".to_owned()),
        None => calibration::store(&env::cache_folder(), source.description(), today, &found.sensor)
            .map_err(|error| format!("not written: {error}")),
    };
    found.kept_in = kept.into();
    Ok(found)
}
