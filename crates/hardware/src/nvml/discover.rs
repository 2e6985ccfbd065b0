//! The GPUs that are here, with what tells them apart.

use std::path::Path;

use super::library::{Absent, open};
use super::{Fact, older, reason, select};
use crate::base::units::Bytes;

/// The GPUs of this machine as NVML sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// Every GPU that can be reached, in NVML's order (by PCI address).
    pub gpus: Vec<GpuFound>,
    /// Those that cannot: their NVML index, and why.
    pub unreached: Vec<(u32, String)>,
    /// Version of the driver.
    pub driver: Fact<String>,
    /// Newest CUDA version that the driver supports: `13.0`.
    pub cuda: Fact<String>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuFound {
    /// Its NVML index.
    pub index: u32,
    /// What identifies it on this machine: its UUID, else its PCI address, else its index.
    pub id: String,
    /// Name of the product.
    pub name: Fact<String>,
    /// Unique id of the board.
    pub uuid: Fact<String>,
    /// Total memory.
    pub memory_total: Fact<Bytes>,
    /// Free memory.
    pub memory_free: Fact<Bytes>,
}

impl GpuFound {
    /// Its name, or a placeholder.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("unknown NVIDIA GPU")
    }
}

/// Looks for GPUs through the library at `path`, or the system's own.
///
/// # Errors
/// [`Absent`] if NVML cannot be queried, or returns no handle for any of the GPUs it reports.
pub fn discover(path: Option<&Path>) -> Result<Gpus, Absent> {
    let library = open(path)?;
    let (mut gpus, mut unreached) = (Vec::new(), Vec::new());
    for (index, found) in (0..).zip(select::gpus(library)) {
        match found {
            Ok(gpu) => gpus.push(describe(&gpu)),
            Err(reason) => unreached.push((index, reason)),
        }
    }
    if let (true, Some((index, reason))) = (gpus.is_empty(), unreached.first()) {
        let reason = format!("GPU {index} cannot be reached: {reason}");
        return Err(path.map_or_else(
            || Absent::NoDriver(reason.clone()),
            |path| Absent::Unusable { path: path.to_owned(), reason: reason.clone() },
        ));
    }
    Ok(Gpus { gpus, unreached, driver: library.driver(), cuda: library.cuda() })
}

fn describe(gpu: &select::Gpu) -> GpuFound {
    let memory = older::memory(gpu.device()).map_err(|error| reason(&error));
    GpuFound {
        index: gpu.index(),
        id: gpu.id().to_owned(),
        name: gpu.device().name().map_err(|error| reason(&error)),
        uuid: gpu.uuid().cloned().map_err(Clone::clone),
        memory_total: memory.as_ref().map(|[total, _]| *total).map_err(Clone::clone),
        memory_free: memory.map(|[_, free]| free),
    }
}
