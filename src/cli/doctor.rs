//! `bench doctor`: what this machine can do, and how to fix the rest.

mod plot;
mod view;

use std::path::PathBuf;

use clap::Args;

use crate::base::clock;
use crate::hardware::doctor::{self, Examination, Status, Wanted, calibrate::Timing};
use crate::record;

use super::{Output, exit};

/// `bench doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// NVML library to load instead of the system's
    #[arg(long, value_name = "PATH")]
    nvml_library: Option<PathBuf>,
    /// Measure the GPU's power sensor: its period, step and window (takes 45 s and loads the GPU)
    #[arg(long)]
    calibrate_power: bool,
}

pub(super) fn run(args: DoctorArgs, output: &Output) -> anyhow::Result<()> {
    let wanted = Wanted { nvml: args.nvml_library, results: PathBuf::from("results") };
    let lines = doctor::examine(&wanted);
    let style = output.human_style();
    if !output.json {
        output.human(&view::lines(&lines, style))?;
    }
    let calibration = args.calibrate_power.then(|| {
        output.note("measuring the power sensor, at rest and, where CUDA permits, under load");
        doctor::calibrate(&wanted, &Timing::default(), clock::today())
    });
    let mut examination = Examination::new(lines);
    if let Some(calibration) = calibration {
        examination.calibrated(calibration);
    }
    if output.json {
        output.stdout(&(record::write::to_json(&examination)? + "\n"))?;
    } else {
        output.human(&view::calibration(&examination, style))?;
        output.human(&view::verdict(&examination.lines, style))?;
    }
    if examination.verdict == Status::Fail {
        return Err(exit::Silent(1).into());
    }
    // A sensor that was asked for and is not there.
    if examination.calibration_reason.is_some() {
        return Err(exit::Silent(13).into());
    }
    Ok(())
}
