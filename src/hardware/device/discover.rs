//! Looks the machine over, once, at the start of a run.

use std::path::Path;

use crate::base::{memory, sys};
use crate::catalog::Catalog;
use crate::hardware::nvml::{self, GpuFound};

use super::facts::{self, Facts};
use crate::record::{Environment, Gpu, Unknown};

/// What was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// GPUs in NVML's order.
    pub gpus: Vec<GpuFound>,
    /// What NVML says of each, for the record; in the same order.
    pub facts: Vec<Facts>,
    /// Why there are none, when there are none.
    pub no_gpu: Option<String>,
    /// Version of the NVIDIA driver.
    pub driver: Option<String>,
    /// Newest CUDA the driver can run.
    pub cuda: Option<String>,
    /// The processor's name.
    pub cpu: Option<String>,
    /// Logical processors the process may use.
    pub logical_cpus: usize,
}

/// Looks for processors and GPUs. Takes a millisecond without a GPU and some tens with one.
pub fn discover() -> Found {
    found(nvml::discover(None), None)
}

/// Looks for processors and GPUs, for the latter through the library at `nvml`.
///
/// # Errors
/// [`nvml::Absent`] when that library is not there or cannot be used.
pub fn discover_through(nvml: &Path) -> Result<Found, nvml::Absent> {
    nvml::discover(Some(nvml)).map(|gpus| found(Ok(gpus), Some(nvml)))
}

fn found(gpus: Result<nvml::Gpus, nvml::Absent>, library: Option<&Path>) -> Found {
    let (cpu, logical_cpus) = (sys::cpu_model(), sys::logical_cpus());
    match gpus {
        Ok(found) => Found {
            no_gpu: found.gpus.is_empty().then(|| "NVML counts no GPU".to_owned()),
            facts: found.gpus.iter().map(|gpu| facts::of(&gpu.uuid, library)).collect(),
            gpus: found.gpus,
            driver: found.driver,
            cuda: found.cuda,
            cpu,
            logical_cpus,
        },
        Err(absent) => Found {
            gpus: Vec::new(),
            facts: Vec::new(),
            no_gpu: Some(absent.to_string()),
            driver: None,
            cuda: None,
            cpu,
            logical_cpus,
        },
    }
}

/// The machine as a record describes it; `used` is the index of the GPU that computes, if one does.
pub fn environment(found: &Found, used: Option<usize>, catalog: &Catalog) -> Environment {
    let unknown = |what: &str| Some(format!("the system does not say {what}"));
    let memory = memory::memory().map(|memory| memory.total.get());
    let (operating_system, kernel) = sys::operating_system();
    let container = sys::container().map(str::to_owned);
    let gpus: Vec<Gpu> = found
        .gpus
        .iter()
        .enumerate()
        .map(|(index, gpu)| {
            let row = catalog.gpu_by_device_name(&gpu.name, gpu.memory_total.get());
            Gpu {
                name: gpu.name.clone(),
                uuid: Some(gpu.uuid.clone()),
                uuid_reason: None,
                catalog_id: row.map(|row| row.id.clone()),
                catalog_id_reason: row.is_none().then(|| "no row of the catalog has this name".to_owned()),
                memory_bytes: Some(gpu.memory_total.get()),
                memory_bytes_reason: None,
                used: used == Some(index),
                facts: found.facts.get(index).cloned().unwrap_or_default(),
                unknown: Unknown::new(),
            }
        })
        .collect();
    let no_driver = || Some(found.no_gpu.clone().unwrap_or_else(|| "NVML does not say".to_owned()));
    Environment {
        cpu_reason: found.cpu.is_none().then(|| unknown("which processor this is")).flatten(),
        cpu: found.cpu.clone(),
        logical_cpus: Some(found.logical_cpus),
        logical_cpus_reason: None,
        instruction_sets: sys::instruction_sets().into_iter().map(str::to_owned).collect(),
        instruction_sets_reason: None,
        memory_bytes_reason: memory.is_none().then(|| unknown("how much memory it has")).flatten(),
        memory_bytes: memory,
        operating_system_reason: operating_system.is_none().then(|| unknown("its name")).flatten(),
        operating_system,
        kernel_reason: kernel.is_none().then(|| unknown("its kernel's version")).flatten(),
        kernel,
        container_reason: container.is_none().then(|| "no sign of a container".to_owned()),
        container,
        peaks: None,
        peaks_reason: Some("not measured".to_owned()),
        gpus_reason: gpus.is_empty().then(no_driver).flatten(),
        gpus,
        driver_reason: found.driver.is_none().then(no_driver).flatten(),
        driver: found.driver.clone(),
        cuda_reason: found.cuda.is_none().then(no_driver).flatten(),
        cuda: found.cuda.clone(),
        unknown: Unknown::new(),
    }
}
