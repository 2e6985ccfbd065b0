//! A GPU as CUDA sees it: its identity, a context, modules, launches.
//!
//! The identity is there for one purpose: NVML counts GPUs in another order, so sensors are matched by UUID or
//! PCI address and never by index.
#![allow(unsafe_code, reason = "calls into the driver")]

use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, CudaModule, DriverError, result, sys};
use cudarc::nvrtc::Ptx;

use super::driver::{Driver, reason};
use super::queue::Function;
use super::{Architecture, Form, Places};
use crate::base::units::Bytes;

/// A GPU with a context on it.
#[derive(Debug, Clone)]
pub struct Device {
    context: Arc<CudaContext>,
    /// Name of the product.
    pub name: String,
    /// Unique id of the board, as NVML writes it.
    pub uuid: String,
    /// PCI address: `0000:3b:00.0`.
    pub pci: String,
    /// What code it runs.
    pub architecture: Architecture,
    /// Multiprocessors.
    pub multiprocessors: u32,
}

/// Which board a GPU of CUDA's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Unique id of the board, as NVML writes it.
    pub uuid: String,
    /// PCI address: `0000:3b:00.0`.
    pub pci: String,
}

impl Identity {
    /// Every GPU that CUDA offers, in CUDA's order; no context is made on any of them.
    ///
    /// # Errors
    /// As [`Device::all`].
    pub fn all(places: &Places) -> Result<Vec<Self>, String> {
        Driver::load(places)?;
        let identity = |ordinal| {
            let device = result::device::get(ordinal)?;
            let uuid = result::device::get_uuid(device)?;
            Ok(Self { uuid: uuid_text(uuid.bytes.map(c_char::cast_unsigned)), pci: pci(device)? })
        };
        let count = result::device::get_count().map_err(reason)?;
        (0..count).map(identity).collect::<Result<_, DriverError>>().map_err(reason)
    }
}

impl Device {
    /// Every GPU that CUDA offers, in CUDA's order.
    ///
    /// # Errors
    /// A reason for people: no driver, too old a driver, no GPU, no permission.
    pub fn all(places: &Places) -> Result<Vec<Self>, String> {
        Driver::load(places)?;
        let count = result::device::get_count().map_err(reason)?;
        let count = usize::try_from(count).unwrap_or_default();
        (0..count).map(|ordinal| Self::open(ordinal).map_err(reason)).collect()
    }

    /// The GPU with this number in CUDA's order; no context is made on any other.
    ///
    /// # Errors
    /// A reason for people, as [`all`](Self::all).
    pub fn numbered(places: &Places, ordinal: usize) -> Result<Self, String> {
        Driver::load(places)?;
        Self::open(ordinal).map_err(reason)
    }

    fn open(ordinal: usize) -> Result<Self, DriverError> {
        let context = CudaContext::new(ordinal)?;
        let number = |value: i32| u32::try_from(value).unwrap_or_default();
        let (major, minor) = context.compute_capability()?;
        let multiprocessors =
            context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        Ok(Self {
            name: context.name()?,
            uuid: uuid_text(context.uuid()?.bytes.map(c_char::cast_unsigned)),
            pci: pci(context.cu_device())?,
            architecture: Architecture { major: number(major), minor: number(minor) },
            multiprocessors: number(multiprocessors),
            context,
        })
    }

    /// The L2 cache, the largest that it has, if the driver says.
    pub fn l2_cache(&self) -> Option<Bytes> {
        let bytes = self.context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
        bytes.ok().and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0).map(Bytes::new)
    }

    /// Newest CUDA that the driver runs: its major version.
    ///
    /// # Errors
    /// A reason for people when there is no driver.
    pub fn newest_cuda(places: &Places) -> Result<u32, String> {
        Ok(Driver::load(places)?.newest_cuda())
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// Uploads a kernel and takes a function from it: machine code where the driver takes it, else PTX, which the
    /// driver compiles itself.
    pub(super) fn function(
        &self,
        code: impl Fn(Form) -> Result<Vec<u8>, String>,
        name: &str,
    ) -> Result<CudaFunction, String> {
        Ok(self.module(code)?.function(name)?.function)
    }

    /// Uploads all kernels of a file: machine code where the driver takes it, else PTX, which the driver compiles itself.
    ///
    /// # Errors
    /// What `code` or the driver says.
    pub fn module(&self, code: impl Fn(Form) -> Result<Vec<u8>, String>) -> Result<Module, String> {
        let upload = |form| -> Result<Result<Module, DriverError>, String> {
            let code = code(form)?;
            let hash = blake3::hash(&code);
            Ok(self.context.load_module(Ptx::from_binary(code)).map(|module| Module { module, hash }))
        };
        let module = match upload(Form::Cubin)? {
            Err(DriverError(sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU)) => upload(Form::Ptx)?,
            other => other,
        };
        module.map_err(reason)
    }
}

/// The kernels of a file on a device.
#[derive(Debug, Clone)]
pub struct Module {
    module: Arc<CudaModule>,
    /// Of the code that was uploaded.
    hash: blake3::Hash,
}

impl Module {
    /// One hash of the code of all these, in their order.
    pub fn hash(modules: &[Self]) -> String {
        let mut all = blake3::Hasher::new();
        for module in modules {
            all.update(module.hash.as_bytes());
        }
        all.finalize().to_hex().to_string()
    }

    /// The kernel `name`.
    ///
    /// # Errors
    /// What the driver says when there is none.
    pub fn function(&self, name: &str) -> Result<Function, String> {
        let function = self.module.load_function(name).map_err(reason)?;
        Ok(Function { function, name: name.to_owned() })
    }
}

fn pci(device: sys::CUdevice) -> Result<String, DriverError> {
    let mut bytes: [c_char; 32] = [0; 32];
    let length = c_int::try_from(bytes.len()).unwrap_or_default();
    // SAFETY: the buffer has the length that is given, and the device is one of the driver's.
    let text = unsafe {
        sys::cuDeviceGetPCIBusId(bytes.as_mut_ptr(), length, device).result()?;
        CStr::from_ptr(bytes.as_ptr())
    };
    Ok(text.to_string_lossy().to_ascii_lowercase())
}

/// CUDA's sixteen bytes as NVML writes them.
fn uuid_text(bytes: [u8; 16]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..4, 4..6, 6..8, 8..10, 10..16].map(|part| hex[part].concat());
    format!("GPU-{}", parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_written_as_nvidia_writes_it() {
        let bytes = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x00\x11\x22\x33\x44\x55\x66\x77";
        assert_eq!(uuid_text(bytes), "GPU-01234567-89ab-cdef-0011-223344556677");
    }

    #[test]
    fn without_a_driver_there_is_a_reason_and_no_panic() {
        let error = Device::all(&Places::default()).expect_err("nowhere to look");
        assert!(error.contains("no NVIDIA driver"), "{error}");
        assert_eq!(Identity::all(&Places::default()), Err(error));
    }
}
