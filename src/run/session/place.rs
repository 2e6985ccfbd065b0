//! Where a run computes: the device, the memory that can be taken there, and how many threads work.

use std::path::Path;

use crate::base::units::Bytes;
use crate::base::{env, memory, sys};
use crate::candle;
use crate::catalog::{Catalog, Gpu};
use crate::engine::Device;
use crate::engine::fused::OLDEST_CAPABILITY;
use crate::hardware::device::{self, Choice, DeviceRequest, Found};
use crate::record::UnusedGpu;
use crate::run::plan;

/// Where a run computes.
#[derive(Debug, Clone)]
pub struct Place {
    /// Index among the GPUs found of the one that computes.
    pub gpu: Option<usize>,
    /// What an engine is told.
    pub device: Device,
    /// Memory that can be taken there.
    pub available: Option<Bytes>,
    /// Where an error says that memory is short.
    pub short: String,
    /// The GPU that is here and cannot be used.
    pub unused_gpu: Option<UnusedGpu>,
    /// The GPU of another machine that is planned for.
    pub elsewhere: Option<Gpu>,
}

impl Place {
    /// On a GPU of another machine, which its data sheet describes: enough for a plan.
    pub fn elsewhere(gpu: &Gpu) -> Self {
        Self {
            gpu: None,
            device: Device::Cuda(0),
            available: Some(gpu.memory()),
            short: format!(" on {} by its data sheet", gpu.id),
            unused_gpu: None,
            elsewhere: Some(gpu.clone()),
        }
    }

    /// Whether our kernels run on such a GPU.
    pub fn supports(gpu: &Gpu) -> bool {
        gpu.cuda_capability().is_some_and(|capability| capability >= OLDEST_CAPABILITY)
    }

    /// Whether a GPU computes.
    pub fn on_gpu(&self) -> bool {
        matches!(self.device, Device::Cuda(_))
    }

    /// Chooses the device: `wanted` is the catalog's row that the GPU must be of, `nvml_library` where NVML is when it is not
    /// the system's.
    ///
    /// # Errors
    /// As [`device::choose`].
    pub fn choose(
        asked: DeviceRequest,
        wanted: Option<&Gpu>,
        found: &Found,
        catalog: &Catalog,
        nvml_library: Option<&Path>,
    ) -> Result<Self, device::Error> {
        let row_of = |index: usize| Some(device::row(found.gpus.get(index)?, catalog)?.family.clone());
        let order = || device::cuda_to_compute(nvml_library);
        let choice = device::choose(asked, wanted, found, row_of, &order)?;
        Ok(match choice {
            Choice::Cpu { unused } => {
                // The engine's threads and those that read and pack weights, the sensors' and two to spare.
                let threads = 2 * candle::threads() + 3;
                let memory = memory::memory();
                Self {
                    gpu: None,
                    device: Device::Cpu,
                    available: memory.map(|memory| memory.after_thread_stacks(threads)),
                    short: memory.map_or("", |memory| memory.limit.place()).to_owned(),
                    unused_gpu: unused,
                    elsewhere: None,
                }
            }
            Choice::Cuda { ordinal, gpu } => Self {
                gpu: Some(gpu),
                device: Device::Cuda(ordinal),
                available: found.gpus.get(gpu).and_then(|gpu| gpu.memory_free.clone().ok()),
                short: format!(" on {}", Device::Cuda(ordinal)),
                unused_gpu: None,
                elsewhere: None,
            },
        })
    }
}

/// Says to whatever computes in this process how many threads it may take; before the first of them starts.
///
/// # Errors
/// [`plan::Error::Machine`] when more are asked for than the process may use.
pub fn limit_threads(asked: Option<u16>) -> Result<(), plan::Error> {
    let cpus = sys::logical_cpus();
    let threads = asked.map(usize::from);
    if let Some(threads) = threads.filter(|threads| *threads > cpus) {
        let reason = format!(
            "this process may use {cpus} logical processors; more threads than that only wait for each other"
        );
        return Err(plan::Error::Machine { flag: format!("--threads {threads}"), reason });
    }
    // candle counts the machine's cores, which may be more than a container lets the process use.
    sys::limit_candle_threads(
        threads
            .or_else(env::rayon_num_threads)
            .map_or_else(|| candle::threads().min(cpus), |threads| threads.min(cpus)),
    );
    Ok(())
}
