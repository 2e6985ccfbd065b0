//! The sensors during a load on a server: those of its devices, if they are in this machine.

use crate::base::failure::Usage;
use crate::base::text::count;
use crate::hardware::device::Found;
use crate::hardware::telemetry::choose::{self as choosing, Chosen, PowerRequest};
use crate::hardware::telemetry::{Rate, Recorder};
use crate::run::serving::{Hardware, Server};

use super::super::flags::RunArgs;

/// The sensors of the server's devices, or why none are read.
pub(super) fn choose(
    args: &RunArgs,
    server: &Server,
    hardware: Hardware<'_>,
    found: &Found,
) -> anyhow::Result<Result<Vec<Chosen>, String>> {
    let by_name = !matches!(args.power, PowerRequest::Auto | PowerRequest::None);
    if let Some(why) = &server.elsewhere {
        if by_name {
            let reason = format!("{why}, and only this machine's sensors can be read; leave it out");
            return Err(Usage::new("--power", reason).into());
        }
        return Ok(Err(why.clone()));
    }
    let library = args.nvml_library.as_deref();
    let one = |used: Option<u32>| -> anyhow::Result<Result<Vec<Chosen>, String>> {
        Ok(choosing::choose(&args.power, used, library)?.map(|chosen| vec![chosen]))
    };
    let here = count(found.gpus.len(), "GPU");
    match (found.gpus.as_slice(), hardware.gpus) {
        ([], _) => one(None),
        ([only], None | Some(1)) => one(Some(only.index)),
        (several, _) if by_name || args.power == PowerRequest::None => {
            one(several.first().map(|gpu| gpu.index))
        }
        (all, Some(used)) if all.len() == used as usize => {
            let mut sensors = Vec::new();
            for gpu in all {
                match choosing::choose(&args.power, Some(gpu.index), library)? {
                    Ok(chosen) => sensors.push(chosen),
                    // A sum without one of them is no sum.
                    Err(reason) => {
                        return Ok(Err(format!("GPU {} of {here} has no sensors: {reason}", gpu.index)));
                    }
                }
            }
            Ok(Ok(sensors))
        }
        (_, None) => Ok(Err(format!(
            "this machine has {here}, and it is not known how many the server uses; say so with --gpus, or read one with --power nvml:GPU"
        ))),
        (all, Some(used)) if all.len() < used as usize => {
            Ok(Err(format!("the server uses {used} GPUs, but this machine has {}", all.len())))
        }
        (_, Some(used)) => Ok(Err(format!(
            "this machine has {here}, and it is not known which {used} the server uses; read one with --power nvml:GPU"
        ))),
    }
}

/// Starts to read them.
pub(super) fn record(chosen: &[Chosen]) -> Result<Vec<Recorder>, String> {
    let one = |chosen: &Chosen| {
        let recorder = Recorder::start(chosen.open()?, Rate::default())
            .map_err(|error| format!("the sensors' thread cannot be started ({error})"))?;
        if let Some(sensor) = chosen.calibrated() {
            recorder.know(sensor);
        }
        Ok(recorder)
    };
    chosen.iter().map(one).collect()
}
