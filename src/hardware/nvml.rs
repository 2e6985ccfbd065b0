//! NVIDIA's management library, loaded at run time: which GPUs are here.
//!
//! A box without the library is the normal case and no error; why there are no GPUs is said in words.

use std::path::Path;

use nvml_wrapper::Nvml;

use crate::base::units::Bytes;

/// The GPUs of this machine as NVML sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// Every GPU, in NVML's order (by PCI address).
    pub gpus: Vec<GpuFound>,
    /// Version of the driver.
    pub driver: Option<String>,
    /// Newest CUDA the driver can run: `13.0`.
    pub cuda: Option<String>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuFound {
    /// Name of the product.
    pub name: String,
    /// Unique id of the board.
    pub uuid: String,
    /// Memory, all of it.
    pub memory_total: Bytes,
    /// Memory nobody uses now.
    pub memory_free: Bytes,
}

/// Looks for GPUs, through the library at `path` or the one that the system finds.
///
/// # Errors
/// One sentence that says why NVML cannot be asked: no library, no driver, no permission.
pub fn discover(path: Option<&Path>) -> Result<Gpus, String> {
    let nvml = match path {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    };
    let nvml = nvml.map_err(|error| format!("NVML cannot be loaded ({error})"))?;
    let count = nvml.device_count().map_err(|error| format!("NVML cannot count the GPUs ({error})"))?;
    let mut gpus = Vec::new();
    for index in 0..count {
        let describe = || {
            let device = nvml.device_by_index(index)?;
            let memory = device.memory_info()?;
            Ok::<_, nvml_wrapper::error::NvmlError>(GpuFound {
                name: device.name()?,
                uuid: device.uuid()?,
                memory_total: Bytes::new(memory.total),
                memory_free: Bytes::new(memory.free),
            })
        };
        gpus.push(describe().map_err(|error| format!("NVML cannot describe GPU {index} ({error})"))?);
    }
    let cuda = nvml.sys_cuda_driver_version().ok().map(|version| {
        format!(
            "{}.{}",
            nvml_wrapper::cuda_driver_version_major(version),
            nvml_wrapper::cuda_driver_version_minor(version)
        )
    });
    Ok(Gpus { gpus, driver: nvml.sys_driver_version().ok(), cuda })
}
