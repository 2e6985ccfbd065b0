//! What this box can do, and how to mend what it cannot: one line a fact, each with its verdict.
//!
//! Nothing here changes the machine, and no line is a measurement of the model's speed. A box without a GPU is
//! no failure: only what makes `bench run` impossible or what somebody named and is not there fails.

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

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// NVML to load instead of the system's.
    pub nvml: Option<PathBuf>,
    /// Folder for records.
    pub results: PathBuf,
}

/// All that was found: the object that `bench doctor --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Examination {
    /// `infercost.doctor/1`.
    pub schema: &'static str,
    /// The worst of the lines.
    pub verdict: Status,
    /// One a fact.
    pub lines: Vec<Line>,
    /// The power sensor, when it was asked for and measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Why it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_reason: Option<String>,
}

impl Examination {
    /// The examination that these lines are.
    pub fn new(lines: Vec<Line>) -> Self {
        let verdict = lines.iter().map(|line| line.status).max().unwrap_or(Status::Ok);
        Self { schema: "infercost.doctor/1", verdict, lines, calibration: None, calibration_reason: None }
    }

    /// Adds what was found of the power sensor.
    pub fn calibrated(&mut self, found: Result<Calibration, String>) {
        match found {
            Ok(calibration) => self.calibration = Some(calibration),
            Err(reason) => self.calibration_reason = Some(reason),
        }
    }
}

/// Looks the box over. Takes about a second, most of it watching what else runs.
pub fn examine(wanted: &Wanted) -> Vec<Line> {
    let root = Path::new("/");
    let gpu = gpu::look(root, wanted.nvml.as_deref());
    let mut lines = system::look(root);
    lines.extend(processor::look(root));
    lines.extend(memory::look(root));
    lines.push(storage::look("results", &wanted.results));
    lines.push(storage::look("cache", &env::cache_folder()));
    lines.push(load::look(root));
    lines.push(power::look(root));
    lines.extend(gpu.lines);
    lines.extend(libraries::look(gpu.count > 0, gpu.newest_cuda, wanted.nvml.as_deref()));
    lines.sort_by_key(|line| line.area);
    lines
}

/// The lines of the GPUs alone: what NVML and CUDA say of them.
pub fn gpus(nvml: Option<&Path>) -> Vec<Line> {
    gpu::look(Path::new("/"), nvml).lines
}

/// Measures the GPU's power sensor, and keeps what was found under load for later runs.
///
/// # Errors
/// A reason for people when there is no sensor to poll.
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
        // A run finds as much by itself, on the day.
        Some(_) => Err("no load ran; bench run measures period and step itself".to_owned()),
        None => calibration::store(&env::cache_folder(), source.description(), today, &found.sensor)
            .map_err(|error| format!("not written: {error}")),
    };
    match kept {
        Ok(path) => found.kept_in = Some(path),
        Err(reason) => found.kept_in_reason = Some(reason),
    }
    Ok(found)
}
