//! Detects the machine's devices, once, at the start of a run.

use std::fs;
use std::path::Path;

use crate::base::known::Known;
use crate::base::{memory, sys};
use crate::catalog::{Catalog, Gpu as GpuRow};
use crate::nvml::{self, Fact, GpuFound};

use super::facts::{self, Facts};
use crate::record::{Environment, Gpu, Unknown};

/// NVIDIA's PCI vendor id.
const NVIDIA: &str = "0x10de";

/// What was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// GPUs in NVML's order.
    pub gpus: Vec<GpuFound>,
    /// What NVML reports about each, for the record; in the same order.
    pub facts: Vec<Facts>,
    /// Why there are none, if there are none.
    pub no_gpu: Option<String>,
    /// Whether NVIDIA's library or a GPU on the PCI bus is present nevertheless, so that the user may expect it to be used.
    pub expected: bool,
    /// Version of the NVIDIA driver.
    pub driver: Fact<String>,
    /// Newest CUDA the driver can run.
    pub cuda: Fact<String>,
    /// The processor's name.
    pub cpu: Option<String>,
    /// Logical processors the process may use.
    pub logical_cpus: usize,
}

/// Looks for processors and GPUs. Takes about a millisecond without a GPU and tens of milliseconds with one.
pub fn discover() -> Found {
    found(nvml::discover(None), None)
}

/// Looks for processors and GPUs, using the NVML library at `nvml`.
///
/// # Errors
/// [`nvml::Absent`] if that library does not exist or cannot be used.
pub fn discover_through(nvml: &Path) -> Result<Found, nvml::Absent> {
    nvml::discover(Some(nvml)).map(|gpus| found(Ok(gpus), Some(nvml)))
}

fn found(gpus: Result<nvml::Gpus, nvml::Absent>, library: Option<&Path>) -> Found {
    let (cpu, logical_cpus) = (sys::cpu_model(), sys::logical_cpus());
    match gpus {
        Ok(found) => Found {
            no_gpu: found.gpus.is_empty().then(|| "NVML reports no GPU".to_owned()),
            expected: false,
            facts: found.gpus.iter().map(|gpu| facts::of(gpu.index, library)).collect(),
            gpus: found.gpus,
            driver: found.driver,
            cuda: found.cuda,
            cpu,
            logical_cpus,
        },
        Err(absent) => Found {
            gpus: Vec::new(),
            facts: Vec::new(),
            expected: !matches!(absent, nvml::Absent::NoLibrary(_)) || on_the_bus(Path::new("/")),
            driver: Err(absent.to_string()),
            cuda: Err(absent.to_string()),
            no_gpu: Some(absent.to_string()),
            cpu,
            logical_cpus,
        },
    }
}

/// Whether an NVIDIA display or 3D controller is on the PCI bus; `root` is the root of the file system.
pub fn on_the_bus(root: &Path) -> bool {
    let Ok(entries) = fs::read_dir(root.join("sys/bus/pci/devices")) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        read("vendor").trim() == NVIDIA && read("class").starts_with("0x03")
    })
}

/// The catalog's row for a GPU, by its name and, if NVML reports it, its memory.
pub fn row<'a>(gpu: &GpuFound, catalog: &'a Catalog) -> Option<&'a GpuRow> {
    let memory = gpu.memory_total.as_ref().ok().map(|memory| memory.get());
    catalog.gpu_by_device_name(gpu.name.as_ref().ok()?, memory)
}

/// The machine as described in a record; `used` is the index of the GPU used for computing, if any.
pub fn environment(found: &Found, used: Option<usize>, catalog: &Catalog) -> Environment {
    let unsaid = |what: &str| format!("the system does not report {what}");
    let memory = memory::memory().map(|memory| memory.total.get());
    let (operating_system, kernel) = sys::operating_system();
    let container = sys::container().map(str::to_owned);
    let gpus: Vec<Gpu> = found
        .gpus
        .iter()
        .enumerate()
        .map(|(index, gpu)| {
            let row = row(gpu, catalog);
            Gpu {
                name: gpu.name.clone().into(),
                uuid: gpu.uuid.clone().into(),
                catalog_id: row
                    .map(|row| row.id.clone())
                    .ok_or_else(|| match &gpu.name {
                        Ok(_) => "not in the catalog".to_owned(),
                        Err(reason) => reason.clone(),
                    })
                    .into(),
                memory_bytes: gpu
                    .memory_total
                    .as_ref()
                    .map(|memory| memory.get())
                    .map_err(String::as_str)
                    .into(),
                used: used == Some(index),
                facts: found.facts.get(index).cloned().unwrap_or_default(),
                unknown: Unknown::new(),
            }
        })
        .collect();
    Environment {
        cpu: found.cpu.clone().ok_or_else(|| unsaid("the processor's model")).into(),
        logical_cpus: Known::new(found.logical_cpus),
        instruction_sets: sys::instruction_sets().into_iter().map(str::to_owned).collect(),
        instruction_sets_reason: None,
        memory_bytes: memory.ok_or_else(|| unsaid("its memory size")).into(),
        operating_system: operating_system.ok_or_else(|| unsaid("its name")).into(),
        kernel: kernel.ok_or_else(|| unsaid("its kernel version")).into(),
        container: container.ok_or("no container detected").into(),
        peaks: Known::unknown("not measured"),
        gpus_reason: gpus.is_empty().then(|| found.no_gpu.clone()).flatten(),
        gpus,
        unused_gpu: None,
        driver: found.driver.clone().into(),
        cuda: found.cuda.clone().into(),
        unknown: Unknown::new(),
    }
}
