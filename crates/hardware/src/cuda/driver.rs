//! The driver: its library, loaded and asked whether it will do before anything else calls it.
//!
//! cudarc takes each function when it is first called, and panics where there is none. So every function that
//! this program needs is looked for here, once.
#![allow(unsafe_code, reason = "calls into the driver")]

use std::ffi::{CStr, c_int};

use cudarc::driver::{DriverError, result, sys};

use super::library::Opened;
use super::{Kind, Places};

/// The oldest driver that is tried, as the driver writes it: CUDA 12.0.
const OLDEST_DRIVER: c_int = 12_000;

/// Functions that say whether a driver will do.
const FIRST: &[&CStr] = &[c"cuInit", c"cuDriverGetVersion", c"cuGetErrorString", c"cuGetErrorName"];

/// All others that this program calls, most of them by way of cudarc.
const FUNCTIONS: &[&CStr] = &[
    c"cuCtxGetCurrent",
    c"cuCtxSetCurrent",
    c"cuCtxSynchronize",
    c"cuDeviceGet",
    c"cuDeviceGetAttribute",
    c"cuDeviceGetCount",
    c"cuDeviceGetName",
    c"cuDeviceGetPCIBusId",
    c"cuDeviceGetUuid_v2",
    c"cuDevicePrimaryCtxRelease_v2",
    c"cuDevicePrimaryCtxRetain",
    c"cuEventCreate",
    c"cuEventDestroy_v2",
    c"cuEventRecord",
    c"cuGraphDestroy",
    c"cuGraphExecDestroy",
    c"cuGraphInstantiateWithFlags",
    c"cuGraphLaunch",
    c"cuLaunchKernel",
    c"cuMemAllocAsync",
    c"cuMemAlloc_v2",
    c"cuMemFreeAsync",
    c"cuMemFreeHost",
    c"cuMemFree_v2",
    c"cuMemGetInfo_v2",
    c"cuMemHostAlloc",
    c"cuMemcpyDtoHAsync_v2",
    c"cuMemcpyHtoDAsync_v2",
    c"cuMemsetD8Async",
    c"cuModuleGetFunction",
    c"cuModuleLoadData",
    c"cuModuleUnload",
    c"cuStreamBeginCapture_v2",
    c"cuStreamCreate",
    c"cuStreamDestroy_v2",
    c"cuStreamEndCapture",
    c"cuStreamSynchronize",
    c"cuStreamWaitEvent",
];

/// The driver, ready to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Driver {
    /// Newest CUDA that it runs, as the driver writes it: 13000.
    version: c_int,
}

impl Driver {
    /// Loads the driver. Nothing of cudarc's may be called before: it panics without the library.
    pub(super) fn load(places: &Places) -> Result<Self, String> {
        let library =
            places.find(Kind::Driver, None).ok_or("libcuda was not found: no NVIDIA driver is installed")?;
        // By its path, because the loader need not know the folder; cudarc then finds it by the name inside.
        let opened = Opened::open(&library.path)?;
        let has = |functions: &[&CStr]| {
            let missing = functions.iter().find_map(|function| opened.symbol(function).err());
            missing.map_or(Ok(()), |reason| {
                let path = library.path.display();
                Err(format!(
                    "{path} cannot be used: {reason}; install NVIDIA's driver for CUDA 12.0 or newer"
                ))
            })
        };
        has(FIRST)?;
        if !is_present() {
            return Err(format!("{} exists but cannot be loaded by its name", library.path.display()));
        }
        let mut version = 0;
        // SAFETY: the library is loaded, and `version` is writable.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(reason)?;
        if version < OLDEST_DRIVER {
            return Err(format!(
                "the driver supports CUDA up to {}, but 12.0 or newer is needed",
                text(version)
            ));
        }
        has(FUNCTIONS)?;
        result::init().map_err(reason)?;
        Ok(Self { version })
    }

    /// Newest CUDA that the driver runs: its major version.
    pub(super) fn newest_cuda(self) -> u32 {
        u32::try_from(self.version / 1000).unwrap_or_default()
    }
}

/// The names of all of them.
#[cfg(test)]
pub(super) fn needed() -> Vec<&'static str> {
    FIRST.iter().chain(FUNCTIONS).filter_map(|name| name.to_str().ok()).collect()
}

/// Whether cudarc will find the library by name.
fn is_present() -> bool {
    #[cfg(feature = "candle-cuda")]
    {
        // Linked: without it this program would not have started.
        true
    }
    #[cfg(not(feature = "candle-cuda"))]
    {
        // SAFETY: it opens libraries by the driver's name, one of which is open already.
        unsafe { sys::is_culib_present() }
    }
}

/// What the driver says, for people.
pub(super) fn reason(error: DriverError) -> String {
    let said = error.error_string().map(|text| text.to_string_lossy().into_owned());
    format!("CUDA: {}", said.unwrap_or_else(|_| format!("{:?}", error.0)))
}

/// 12040 is 12.4.
fn text(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_as_nvidia_writes_it() {
        assert_eq!(text(12_040), "12.4");
    }
}
