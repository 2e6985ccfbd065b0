//! Where candle computes: the processor, or one NVIDIA GPU in a binary built for it.

use std::fmt;

use super::super::Error;

/// A device by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU with this ordinal.
    Cuda(usize),
}

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when this binary has no code for it or the driver does not have it.
    pub(super) fn open(self) -> Result<candle_core::Device, Error> {
        match self {
            Self::Cpu => Ok(candle_core::Device::Cpu),
            #[cfg(feature = "candle-cuda")]
            // A stream of its own: the default one is per thread, and work would be ordered by thread.
            Self::Cuda(ordinal) => candle_core::Device::new_cuda_with_stream(ordinal)
                .map_err(|error| Error::NoDevice(format!("no CUDA device {ordinal}: {error}"))),
            #[cfg(not(feature = "candle-cuda"))]
            Self::Cuda(_) => Err(Error::NoDevice(format!(
                "{self} was asked for, and this binary has no CUDA code: `scripts/build-candle-cuda` builds one that has"
            ))),
        }
    }

    /// Threads that compute; unknown on a GPU.
    ///
    /// candle has two pools: one of its own for quantized products, rayon's for the rest. Both take
    /// their size from the environment once (`base::sys::limit_candle_threads`), else from the number
    /// of physical cores of the machine, which a container's limit does not lower.
    pub(super) fn threads(self) -> Option<usize> {
        match self {
            Self::Cpu => {
                let own = candle_core::utils::barrier_pool().n_workers() + 1;
                Some(own.max(candle_core::utils::get_num_threads()))
            }
            Self::Cuda(_) => None,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}
