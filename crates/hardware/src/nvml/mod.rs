//! NVIDIA's management library, loaded at run time: which GPUs are here, what they say of themselves, their
//! sensors, and the two settings that a run may change.
//!
//! A box without the library is the normal case and no error; why there are no GPUs is said in words. No
//! type of NVML leaves this room.

mod control;
mod facts;
mod fields;
mod library;
mod older;
mod select;
mod source;
mod throttle;

pub use control::{ClockLock, PowerLimit, check_clocks, check_power_limit, lock_clocks, set_power_limit};
pub use facts::{Fact, GpuFacts, GpuProcess, MegaHertz, PcieLink, PowerLimits};
pub use library::{Absent, GpuFound, Gpus, Library, discover, open};
pub use select::{Gpu, Wanted, by_cuda, gpus, select, uuid_text};
pub use source::NvmlSource;

use nvml_wrapper::error::NvmlError;

/// Why NVML gave no value, in words for people.
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
