//! NVIDIA GPUs: everything the doctor asks NVML and CUDA.

use std::path::Path;

use super::board;
use super::libraries::{CUDA_TOO, NAMED};
use super::line::{Area, Line};
use crate::base::env;
use crate::base::units::Bytes;
use crate::cuda::{Device, Kind, Load, Nvrtc, Places};
use crate::device::{self, facts};
use crate::nvml::{self, Fact, GpuFound};
use crate::telemetry::Source;

/// Share of an idle GPU's memory that the driver uses.
const IDLE_SHARE: f64 = 0.02;

/// What was found.
pub(super) struct Gpus {
    /// Number of GPUs that NVML reports.
    pub(super) count: usize,
    /// Newest CUDA major version that the driver supports.
    pub(super) newest_cuda: Option<u32>,
    /// One line per fact.
    pub(super) lines: Vec<Line>,
}

pub(super) fn check(root: &Path, library: Option<&Path>) -> Gpus {
    let found = match nvml::discover(library) {
        Ok(found) if !found.gpus.is_empty() => found,
        Ok(_) => return none(root, library, "NVML reports no GPU"),
        Err(reason) => return none(root, library, &reason.to_string()),
    };
    let newest_cuda = found.cuda.as_ref().ok().and_then(|cuda| cuda.split('.').next()?.parse().ok());
    let mut lines = vec![driver(&found.driver, &found.cuda)];
    for gpu in &found.gpus {
        lines.push(one(gpu, library));
        lines.extend(board::check(gpu.index, library));
    }
    for (index, reason) in &found.unreached {
        let line = Line::ok(Area::Gpu, format!("GPU {index}"), format!("cannot be reached: {reason}"));
        lines.push(
            line.warn("nvidia-smi reports the problem; in a container, the GPU may belong to another one"),
        );
    }
    lines.push(board::permission());
    lines.push(engine());
    lines.push(cuda_order(found.gpus.len(), library));
    Gpus { count: found.gpus.len(), newest_cuda, lines }
}

/// The driver's version and the CUDA version it supports, as far as NVML reports them.
fn driver(driver: &Fact<String>, cuda: &Fact<String>) -> Line {
    let said = |fact: &Fact<String>| match fact {
        Ok(version) => version.clone(),
        Err(reason) => format!("unknown ({reason})"),
    };
    let text = format!("{}, supports CUDA up to {}", said(driver), said(cuda));
    Line::ok(Area::Gpu, "driver", text).known("driver", driver).known("cuda", cuda)
}

/// One GPU with all its facts.
fn one(gpu: &GpuFound, library: Option<&Path>) -> Line {
    let bytes = |fact: &Fact<Bytes>| fact.as_ref().map(|bytes| bytes.get()).map_err(Clone::clone);
    let (free, total) = (bytes(&gpu.memory_free), bytes(&gpu.memory_total));
    let memory = match (&gpu.memory_free, &gpu.memory_total) {
        (Ok(free), Ok(total)) => format!("{free} free of {total}"),
        (Err(reason), _) | (_, Err(reason)) => format!("memory unknown ({reason})"),
    };
    let named = match &gpu.name {
        Ok(name) => name.clone(),
        Err(reason) => format!("name unknown ({reason})"),
    };
    let uuid = match &gpu.uuid {
        Ok(uuid) => uuid.clone(),
        Err(reason) => format!("UUID unknown ({reason})"),
    };
    let line = Line::ok(Area::Gpu, format!("GPU {}", gpu.index), format!("{named}, {memory}, {uuid}"));
    let line = facts::of(gpu.index, library)
        .into_iter()
        .fold(line, |line, (name, value)| line.fact(name, value))
        .known("name", &gpu.name)
        .known("uuid", &gpu.uuid)
        .known("memory_bytes_free", &free)
        .known("memory_bytes_total", &total);
    let held = free.ok().zip(total.ok()).map(|(free, total)| 1.0 - free as f64 / total.max(1) as f64);
    if held.is_some_and(|held| held > IDLE_SHARE) {
        return line.warn("another program uses its memory: nvidia-smi lists it");
    }
    line
}

/// A machine without a GPU is fine; a GPU without a driver is not, and neither is an unusable library named by the
/// user.
fn none(root: &Path, library: Option<&Path>, reason: &str) -> Gpus {
    let line = Line::ok(Area::Gpu, "driver", format!("no NVIDIA GPU: {reason}"));
    let line = if library.is_some() {
        line.fail(NAMED)
    } else if device::on_the_bus(root) {
        Line { found: format!("an NVIDIA GPU is on the PCI bus but cannot be used: {reason}"), ..line }
            .warn("install NVIDIA's driver, or give the container access: docker run --gpus all")
    } else {
        line
    };
    Gpus { count: 0, newest_cuda: None, lines: vec![line] }
}

/// The engines of this build for it.
fn engine() -> Line {
    let all = if cfg!(feature = "candle-cuda") { "fused, stock candle" } else { "fused" };
    Line::ok(Area::Gpu, "engine", all)
}

/// Whether CUDA offers the same GPUs, by their ids: a container or `CUDA_VISIBLE_DEVICES` may hide some.
fn cuda_order(gpus: usize, library: Option<&Path>) -> Line {
    let line = |text: String| Line::ok(Area::Gpu, "CUDA", text);
    let order = match device::cuda_in_nvml(library) {
        Ok(order) => order,
        Err(reason) => {
            let fix = match Places::here().find(Kind::Driver, None) {
                Some(_) => "nvidia-smi shows whether the driver responds; reboot after a driver update",
                None => CUDA_TOO,
            };
            return line(reason).warn(fix);
        }
    };
    let all = if gpus == 1 { "1 GPU".to_owned() } else { format!("{gpus} GPUs") };
    let text = format!("{} of {all}, {}", order.len(), describe(&order));
    let line = line(text).fact("nvml_index_of_each_device", order.clone());
    if order.contains(&None) {
        return line.warn("unset CUDA_VISIBLE_DEVICES; a slice of a GPU (MIG) has no sensors of its own");
    }
    line
}

fn describe(order: &[Option<usize>]) -> &'static str {
    if order.contains(&None) {
        "some unknown to NVML"
    } else if order.iter().enumerate().all(|(at, index)| *index == Some(at)) {
        "in NVML's order"
    } else {
        "in a different order than NVML's, matched by UUID"
    }
}

/// CUDA's first GPU, and a load for it.
pub(super) fn load() -> Result<(Device, Load), String> {
    let places = Places::here();
    let newest = Device::newest_cuda(&places)?;
    let library = places.find(Kind::Nvrtc, Some(newest)).ok_or_else(|| {
        format!("no NVRTC for CUDA {newest} or older was found; bench doctor shows how to get it")
    })?;
    let nvrtc = Nvrtc::open(&library)?;
    let device = Device::all(&places)?.into_iter().next().ok_or("CUDA offers no GPU")?;
    let load = Load::new(&device, &nvrtc, &env::cache_folder())?;
    Ok((device, load))
}

/// The sensors of the GPU with CUDA's UUID and PCI address, or of NVML's first GPU without one.
pub(super) fn sensors(
    library: Option<&Path>,
    cuda: Option<&(String, String)>,
) -> Result<Box<dyn Source>, String> {
    let library = nvml::open(library).map_err(|absent| absent.to_string())?;
    let gpu = match cuda {
        Some((uuid, pci)) => nvml::by_cuda(library, Some(uuid), Some(pci))?,
        None => nvml::select(library, &nvml::Wanted::Index(0))?,
    };
    Ok(Box::new(nvml::NvmlSource::open(&gpu)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::line::Status;
    use super::*;

    #[test]
    fn no_gpu_is_in_order_and_one_without_a_driver_is_not() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(none(root.path(), None, "no library").lines[0].status, Status::Ok);
        let device = root.path().join("sys/bus/pci/devices/0000:3b:00.0");
        fs::create_dir_all(&device).expect("a folder");
        fs::write(device.join("vendor"), "0x10de\n").expect("a file");
        // An NVLink bridge is no GPU.
        fs::write(device.join("class"), "0x068000\n").expect("a file");
        assert_eq!(none(root.path(), None, "no library").lines[0].status, Status::Ok);
        fs::write(device.join("class"), "0x030200\n").expect("a file");
        let line = &none(root.path(), None, "no library").lines[0];
        assert_eq!(line.status, Status::Warn);
        assert!(line.found.contains("on the PCI bus") && line.fix.is_some(), "{line:?}");
        let named = &none(root.path(), Some(Path::new("/nowhere")), "no such file").lines[0];
        assert_eq!(named.status, Status::Fail);
    }

    #[test]
    fn the_order_of_devices_is_told() {
        assert_eq!(describe(&[Some(0), Some(1)]), "in NVML's order");
        assert_eq!(describe(&[Some(1), Some(0)]), "in a different order than NVML's, matched by UUID");
        assert_eq!(describe(&[Some(0), None]), "some unknown to NVML");
    }
}
