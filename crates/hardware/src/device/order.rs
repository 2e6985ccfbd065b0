//! Maps CUDA's order of the GPUs to NVML's: CUDA numbers the compute devices, NVML has the sensors.
//!
//! CUDA lists the fastest first unless `CUDA_DEVICE_ORDER` says otherwise, and `CUDA_VISIBLE_DEVICES` or a container may
//! hide some; NVML lists all by PCI address. So an index of one is never used for the other.

use std::path::Path;

use crate::cuda::{Device, Identity, Kind, Places};
use crate::nvml;

/// [`cuda_in_nvml`], where this program can also make kernels for them.
///
/// # Errors
/// A reason for people, as there, or that the compiler is missing; a build with candle's own CUDA code needs none.
pub fn cuda_to_compute(library: Option<&Path>) -> Result<Vec<Option<usize>>, String> {
    let order = cuda_in_nvml(library)?;
    if cfg!(feature = "candle-cuda") {
        return Ok(order);
    }
    let places = Places::here();
    let newest = Device::newest_cuda(&places)?;
    match places.find(Kind::Nvrtc, Some(newest)) {
        Some(_) => Ok(order),
        None => Err(format!("no NVRTC of CUDA {newest} or older was found; it compiles the kernels")),
    }
}

/// For each GPU of CUDA's, in CUDA's order, its index in NVML's, where NVML knows it.
///
/// # Errors
/// A human-readable reason if CUDA or NVML cannot be queried.
pub fn cuda_in_nvml(library: Option<&Path>) -> Result<Vec<Option<usize>>, String> {
    let devices = Identity::all(&Places::here())?;
    let library = nvml::open(library).map_err(|absent| absent.to_string())?;
    let index = |device: &Identity| {
        let gpu = nvml::by_cuda(library, Some(&device.uuid), Some(&device.pci)).ok()?;
        usize::try_from(gpu.index()).ok()
    };
    Ok(devices.iter().map(index).collect())
}
