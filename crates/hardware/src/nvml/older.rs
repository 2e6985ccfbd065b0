//! NVML queries with several function names: the newest first, then older ones for drivers that lack it.
//!
//! A driver before 510 has no `nvmlDeviceGetMemoryInfo_v2`, and WSL and vGPU guests lack others. If the newest function
//! fails for any reason, the older one is tried. If all fail, the newest's reason is reported, or the older's if the driver
//! does not have the newest. Names, arguments and layouts are those of NVIDIA's header (`nvml.h`).
#![allow(unsafe_code, reason = "C functions that the wrapper offers only in their newest version")]

use std::ffi::{c_int, c_uint, c_ulonglong};
use std::mem::size_of;

use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlMemory_t, nvmlProcessInfo_v1_t, nvmlProcessInfo_v2_t, nvmlReturn_t, nvmlTemperature_t,
    nvmlTemperatureSensors_enum_NVML_TEMPERATURE_GPU as GPU_SENSOR,
};

use crate::base::units::Bytes;

/// A process with a CUDA context on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuProcess {
    /// The host's process id; in a container it may differ from the one the process sees.
    pub pid: u32,
    /// GPU memory it uses, if the driver reports it.
    pub memory: Option<Bytes>,
}

/// Buffer size of a process list whose length is not known in advance.
const MOST_PROCESSES: usize = 1024;
/// What an older driver reports if it does not know a process's memory.
const MEMORY_NOT_KNOWN: u64 = u64::MAX;

/// `newest`, or `older` if that fails.
fn either<T>(
    newest: Result<T, NvmlError>,
    older: impl FnOnce() -> Result<T, NvmlError>,
) -> Result<T, NvmlError> {
    let missing =
        |error: &NvmlError| matches!(error, NvmlError::FunctionNotFound | NvmlError::FailedToLoadSymbol(_));
    newest.or_else(|error| older().map_err(|olders| if missing(&error) { olders } else { error }))
}

/// Calls a function that writes one value.
///
/// # Safety
/// `ask` must call a function that writes no more than a `T` through the pointer, for which zero bytes are valid.
unsafe fn written<T>(ask: impl FnOnce(*mut T) -> nvmlReturn_t) -> Result<T, NvmlError> {
    let mut value = std::mem::MaybeUninit::<T>::zeroed();
    nvml_try(ask(value.as_mut_ptr()))?;
    // SAFETY: zero bytes are a valid `T`, and the function wrote one over them.
    Ok(unsafe { value.assume_init() })
}

/// A function that the wrapper does not load.
///
/// # Safety
/// `F` must be the type of a pointer to the function of this name, which ends with a zero.
unsafe fn function<F: Copy>(nvml: &Nvml, name: &[u8]) -> Result<F, NvmlError> {
    // SAFETY: the caller promises that `F` is the type of a pointer to this function and that `name` ends with a zero.
    let found = unsafe { nvml.lib().__library.get::<F>(name) };
    found.map(|function| *function).map_err(|error| NvmlError::FailedToLoadSymbol(error.to_string()))
}

/// GPUs of this machine.
pub(super) fn count(nvml: &Nvml) -> Result<u32, NvmlError> {
    type Count = unsafe extern "C" fn(*mut c_uint) -> nvmlReturn_t;
    either(nvml.device_count(), || {
        // SAFETY: the signature is the one in NVIDIA's header; the function writes one number.
        unsafe {
            let count: Count = function(nvml, b"nvmlDeviceGetCount\0")?;
            written(|out| count(out))
        }
    })
}

/// The GPU with this NVML index.
pub(super) fn device(nvml: &'static Nvml, index: u32) -> Result<Device<'static>, NvmlError> {
    type Handle = unsafe extern "C" fn(c_uint, *mut nvmlDevice_t) -> nvmlReturn_t;
    either(nvml.device_by_index(index), || {
        // SAFETY: the signature is the one in NVIDIA's header; the function writes one handle, which is this library's.
        unsafe {
            let handle: Handle = function(nvml, b"nvmlDeviceGetHandleByIndex\0")?;
            Ok(Device::new(written(|out| handle(index, out))?, nvml))
        }
    })
}

/// Newest CUDA version that the driver supports, in its encoding: 13000 is 13.0.
pub(super) fn cuda(nvml: &Nvml) -> Result<i32, NvmlError> {
    either(nvml.sys_cuda_driver_version(), || {
        let older = nvml_sym(nvml.lib().nvmlSystemGetCudaDriverVersion.as_ref())?;
        // SAFETY: the function writes one number.
        unsafe { written::<c_int>(|out| older(out)) }
    })
}

/// The GPU's total and free memory.
pub(super) fn memory(device: &Device<'_>) -> Result<[Bytes; 2], NvmlError> {
    let newest = device.memory_info().map(|memory| [memory.total, memory.free]);
    let found = either(newest, || {
        let older = nvml_sym(device.nvml().lib().nvmlDeviceGetMemoryInfo.as_ref())?;
        // SAFETY: the handle is of a device of this open library, and the function writes one struct of numbers.
        let memory: nvmlMemory_t = unsafe { written(|out| older(device.handle(), out))? };
        Ok([memory.total, memory.free])
    })?;
    Ok(found.map(Bytes::new))
}

/// Speed of the first fan, in percent of its maximum.
pub(super) fn fan(device: &Device<'_>) -> Result<u32, NvmlError> {
    either(device.fan_speed(0), || {
        let older = nvml_sym(device.nvml().lib().nvmlDeviceGetFanSpeed.as_ref())?;
        // SAFETY: the handle is of a device of this open library, and the function writes one number.
        unsafe { written(|out| older(device.handle(), out)) }
    })
}

/// Temperature of the chip in °C. Here the function that every driver has comes first, then the newer one.
pub(super) fn celsius(device: &Device<'_>) -> Result<u32, NvmlError> {
    either(device.temperature(TemperatureSensor::Gpu), || {
        let newer = nvml_sym(device.nvml().lib().nvmlDeviceGetTemperatureV.as_ref())?;
        let version = u32::try_from(size_of::<nvmlTemperature_t>() | (1 << 24)).unwrap_or(0);
        let mut asked = nvmlTemperature_t { version, sensorType: GPU_SENSOR, temperature: 0 };
        // SAFETY: the handle is of a device of this open library, and the function reads and writes this struct.
        nvml_try(unsafe { newer(device.handle(), &raw mut asked) })?;
        u32::try_from(asked.temperature).map_err(|_| NvmlError::NoData)
    })
}

/// The bits of the current throttle reasons. NVIDIA renamed the function; a driver may have one name or both.
pub(super) fn throttle_reasons(device: &Device<'_>) -> Result<u64, NvmlError> {
    either(device.current_throttle_reasons().map(|reasons| reasons.bits()), || {
        let renamed = nvml_sym(device.nvml().lib().nvmlDeviceGetCurrentClocksEventReasons.as_ref())?;
        // SAFETY: the handle is of a device of this open library, and the function writes one number.
        unsafe { written::<c_ulonglong>(|out| renamed(device.handle(), out)) }
    })
}

/// The processes that compute on the GPU.
pub(super) fn processes(device: &Device<'_>) -> Result<Vec<GpuProcess>, NvmlError> {
    let newest = device.running_compute_processes().map(|all| {
        let one = |process: nvml_wrapper::struct_wrappers::device::ProcessInfo| GpuProcess {
            pid: process.pid,
            memory: match process.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => Some(Bytes::new(bytes)),
                UsedGpuMemory::Unavailable => None,
            },
        };
        all.into_iter().map(one).collect()
    });
    let memory = |bytes: u64| Some(bytes).filter(|bytes| *bytes != MEMORY_NOT_KNOWN).map(Bytes::new);
    either(newest, || {
        // SAFETY: both structs are the header's for the function of that version.
        either(
            unsafe { list::<nvmlProcessInfo_v2_t>(device, b"nvmlDeviceGetComputeRunningProcesses_v2\0") },
            || {
                // SAFETY: as above.
                let all = unsafe {
                    list::<nvmlProcessInfo_v1_t>(device, b"nvmlDeviceGetComputeRunningProcesses\0")
                }?;
                let wider = |process: nvmlProcessInfo_v1_t| nvmlProcessInfo_v2_t {
                    pid: process.pid,
                    usedGpuMemory: process.usedGpuMemory,
                    gpuInstanceId: u32::MAX,
                    computeInstanceId: u32::MAX,
                };
                Ok(all.into_iter().map(wider).collect())
            },
        )
        .map(|all| {
            all.into_iter()
                .map(|process| GpuProcess { pid: process.pid, memory: memory(process.usedGpuMemory) })
                .collect()
        })
    })
}

/// The number of processes that compute on the GPU.
pub(super) fn process_count(device: &Device<'_>) -> Result<u32, NvmlError> {
    either(device.running_compute_processes_count(), || {
        u32::try_from(processes(device)?.len()).map_err(|_| NvmlError::NoData)
    })
}

/// A process list from an older function.
///
/// # Safety
/// `T` must be the struct that the function of this name writes, for which zero bytes are valid; the name ends with a
/// zero.
unsafe fn list<T: Copy>(device: &Device<'_>, name: &[u8]) -> Result<Vec<T>, NvmlError> {
    type List<T> = unsafe extern "C" fn(nvmlDevice_t, *mut c_uint, *mut T) -> nvmlReturn_t;
    // SAFETY: the caller promises that `T` fits the function of this name, which ends with a zero.
    let list: List<T> = unsafe { function(device.nvml(), name)? };
    // SAFETY: the caller promises that zero bytes are a valid `T`.
    let mut found: Vec<T> = vec![unsafe { std::mem::zeroed() }; MOST_PROCESSES];
    let mut count = c_uint::try_from(found.len()).unwrap_or(0);
    // SAFETY: the handle is of a device of this open library, and there is room for `count`.
    nvml_try(unsafe { list(device.handle(), &raw mut count, found.as_mut_ptr()) })?;
    found.truncate(count as usize);
    Ok(found)
}
