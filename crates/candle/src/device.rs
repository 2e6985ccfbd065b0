//! Where candle computes: the processor, or one NVIDIA GPU in a binary built for it.

use crate::engine::{Device, Error};

/// Opens the device.
///
/// # Errors
/// [`Error::NoDevice`] when this binary has no code for it or the driver does not have it.
pub(super) fn open(device: Device) -> Result<candle_core::Device, Error> {
    match device {
        Device::Cpu => Ok(candle_core::Device::Cpu),
        #[cfg(feature = "candle-cuda")]
        // A stream of its own: the default one is per thread, and work would be ordered by thread.
        Device::Cuda(ordinal) => candle_core::Device::new_cuda_with_stream(ordinal)
            .map_err(|error| Error::NoDevice(format!("no CUDA device {ordinal}: {error}"))),
        #[cfg(not(feature = "candle-cuda"))]
        Device::Cuda(_) => Err(Error::NoDevice(format!(
            "{device} was requested, but this binary has no CUDA code; `scripts/build-candle-cuda` builds one that does"
        ))),
    }
}

/// Threads that compute; unknown on a GPU.
///
/// candle has two pools: one of its own for quantized products, rayon's for the rest. Both take
/// their size from the environment once (`base::sys::limit_candle_threads`), else from the number
/// of physical cores of the machine, which a container's limit does not lower.
pub(super) fn threads(device: Device) -> Option<usize> {
    match device {
        Device::Cpu => {
            let own = candle_core::utils::barrier_pool().n_workers() + 1;
            Some(own.max(candle_core::utils::get_num_threads()))
        }
        Device::Cuda(_) => None,
    }
}
