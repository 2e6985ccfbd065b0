//! A GPU as CUDA sees it: its identity, a context, modules, launches.
//!
//! The identity is there for one purpose: NVML counts GPUs in another order, so sensors are matched by UUID or
//! PCI address and never by index.
#![allow(unsafe_code, reason = "calls into the driver")]

use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaFunction, DriverError, result, sys};
use cudarc::nvrtc::Ptx;

use super::library::Opened;
use super::{Architecture, Kind, Places};

/// The oldest driver that is tried, as the driver writes it: CUDA 12.0.
const OLDEST_DRIVER: c_int = 12_000;

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

/// The driver, ready to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Driver {
    /// Newest CUDA that it runs, as the driver writes it: 13000.
    version: c_int,
}

impl Driver {
    /// Loads the driver. Nothing of cudarc's may be called before: it panics without the library.
    fn load(places: &Places) -> Result<Self, String> {
        let library = places.find(Kind::Driver, None).ok_or("libcuda is not here: no NVIDIA driver")?;
        // By its path, because the loader need not know the folder; cudarc then finds it by the name inside.
        Opened::open(&library.path)?;
        if !is_present() {
            return Err(format!("{} is there and cannot be loaded by its name", library.path.display()));
        }
        let mut version = 0;
        // SAFETY: the library is loaded, and `version` is writable.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(reason)?;
        if version < OLDEST_DRIVER {
            return Err(format!("the driver runs CUDA up to {}, at least 12.0 is needed", text(version)));
        }
        result::init().map_err(reason)?;
        Ok(Self { version })
    }
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

    /// Newest CUDA that the driver runs: its major version.
    ///
    /// # Errors
    /// A reason for people when there is no driver.
    pub fn newest_cuda(places: &Places) -> Result<u32, String> {
        let driver = Driver::load(places)?;
        Ok(u32::try_from(driver.version / 1000).unwrap_or_default())
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// Uploads machine code and takes a function from it.
    pub(super) fn function(&self, cubin: Vec<u8>, name: &str) -> Result<CudaFunction, String> {
        let module = self.context.load_module(Ptx::from_binary(cubin)).map_err(reason)?;
        module.load_function(name).map_err(reason)
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

/// What the driver says, for people.
pub(super) fn reason(error: DriverError) -> String {
    let said = error.error_string().map(|text| text.to_string_lossy().into_owned());
    format!("CUDA: {}", said.unwrap_or_else(|_| format!("{:?}", error.0)))
}

/// 12040 is 12.4.
fn text(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
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
    fn bytes_and_numbers_are_written_as_nvidia_writes_them() {
        let bytes = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x00\x11\x22\x33\x44\x55\x66\x77";
        assert_eq!(uuid_text(bytes), "GPU-01234567-89ab-cdef-0011-223344556677");
        assert_eq!(text(12_040), "12.4");
    }

    #[test]
    fn without_a_driver_there_is_a_reason_and_no_panic() {
        let error = Device::all(&Places::default()).expect_err("nowhere to look");
        assert!(error.contains("no NVIDIA driver"), "{error}");
        assert_eq!(Identity::all(&Places::default()), Err(error));
    }
}
