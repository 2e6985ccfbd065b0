//! NVIDIA's management library, loaded at run time: the GPUs present, their properties and sensors, and the two
//! settings that a run may change.
//!
//! A machine without the library is the normal case and not an error; the reason for having no GPUs is text. No
//! NVML type leaves this module.

mod control;
mod discover;
mod facts;
mod fields;
mod library;
mod older;
mod select;
mod source;
mod throttle;

pub use control::{ClockLock, PowerLimit, check_clocks, check_power_limit, lock_clocks, set_power_limit};
pub use discover::{GpuFound, Gpus, discover};
pub use facts::{GpuFacts, MegaHertz, PcieLink, PowerLimits};
pub use library::{Absent, Library, open};
pub use older::GpuProcess;
pub use select::{Gpu, Wanted, by_cuda, gpus, select, uuid_text};
pub use source::NvmlSource;

use nvml_wrapper::error::NvmlError;

/// A value, or why there is none.
pub type Fact<T> = Result<T, String>;

/// A human-readable reason why NVML returned no value.
fn reason(error: &NvmlError) -> String {
    match error {
        NvmlError::NotSupported => "NVML: not supported by this GPU".to_owned(),
        NvmlError::GpuLost => "NVML: the GPU is lost (it fell off the bus; `dmesg` names the Xid)".to_owned(),
        NvmlError::NoPermission => "NVML: not permitted for this user".to_owned(),
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            "NVML: this driver's library has no such function".to_owned()
        }
        other => format!("NVML: {other}"),
    }
}
