//! Selects one of several GPUs: by UUID or PCI address, and by index only if a person chose it.
//!
//! NVML orders by PCI address, CUDA differently (`CUDA_DEVICE_ORDER`, `CUDA_VISIBLE_DEVICES`, containers), so an index of
//! one is meaningless to the other.

use std::str::FromStr;

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

use super::library::Library;
use super::{Fact, older, reason};

/// One GPU of an open library.
#[derive(Debug)]
pub struct Gpu {
    library: Library,
    device: Device<'static>,
    index: u32,
    uuid: Fact<String>,
    /// Its UUID, else its PCI address, else its index.
    id: String,
}

impl Gpu {
    /// Only the handle is required; anything else that NVML does not report is an unknown fact.
    fn new(library: Library, index: u32) -> Result<Self, String> {
        let device = older::device(library.nvml(), index).map_err(|error| reason(&error))?;
        let uuid = device.uuid().map_err(|error| reason(&error));
        let id = match &uuid {
            Ok(uuid) => uuid.clone(),
            Err(_) => device.pci_info().map_or_else(|_| format!("NVML's GPU {index}"), |pci| pci.bus_id),
        };
        Ok(Self { library, device, index, uuid, id })
    }

    pub(super) fn library(&self) -> Library {
        self.library
    }

    pub(super) fn device(&self) -> &Device<'static> {
        &self.device
    }

    /// Another handle of the device, for a step that may outlive this one.
    pub(super) fn device_again(&self) -> Result<Device<'static>, NvmlError> {
        older::device(self.library.nvml(), self.index)
    }

    /// Unique id of the board.
    ///
    /// # Errors
    /// A human-readable reason, as with every fact.
    pub fn uuid(&self) -> Result<&String, &String> {
        self.uuid.as_ref()
    }

    /// What identifies it on this machine: its UUID, else its PCI address, else its index.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its identifier for `nvidia-smi -i`.
    pub(super) fn smi(&self) -> String {
        self.uuid.clone().unwrap_or_else(|_| self.index.to_string())
    }

    /// Its NVML index.
    pub fn index(&self) -> u32 {
        self.index
    }
}

/// Number of indices to try if NVML does not report a count.
const MOST_GPUS: u32 = 64;

/// Every GPU of the library, in NVML's order; an unreachable one is an error with the reason.
pub fn gpus(library: Library) -> Vec<Result<Gpu, String>> {
    let uncounted = match library.count() {
        Ok(count) => return (0..count).map(|index| Gpu::new(library, index)).collect(),
        Err(reason) => reason,
    };
    let reached: Vec<_> =
        (0..MOST_GPUS).map(|index| Gpu::new(library, index)).take_while(Result::is_ok).collect();
    if reached.is_empty() {
        let first = Gpu::new(library, 0)
            .map_err(|reason| format!("the GPUs cannot be counted ({uncounted}), {reason}"));
        return vec![first];
    }
    reached
}

/// A GPU as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// By its unique id: `GPU-…`, in full or any unambiguous prefix.
    Uuid(String),
    /// By its PCI address: `0000:3b:00.0`.
    Pci(PciAddress),
    /// By its NVML index (as in `nvidia-smi`).
    Index(u32),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        if upper.starts_with("MIG-") {
            return Err(format!("`{text}` is a slice of a GPU (MIG): NVML has no energy counter for slices"));
        }
        if upper.starts_with("GPU-") {
            return Ok(Self::Uuid(text.to_owned()));
        }
        if let Ok(index) = text.parse() {
            return Ok(Self::Index(index));
        }
        text.parse().map(Self::Pci).map_err(|()| {
            format!("`{text}` is not a GPU; use a UUID (GPU-…), a PCI address (0000:3b:00.0) or an index, as listed by `nvidia-smi -L`")
        })
    }
}

/// Domain, bus and device of a PCI address. The function is always 0 for a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciAddress {
    domain: u32,
    bus: u32,
    device: u32,
}

impl FromStr for PciAddress {
    type Err = ();

    /// Accepts `00000000:3B:00.0` as in NVML, `0000:3b:00.0` as in CUDA and Linux, and `3b:00.0`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = |digits: &str| u32::from_str_radix(digits, 16).map_err(|_| ());
        let (place, _function) = text.split_once('.').ok_or(())?;
        let mut parts = place.rsplit(':');
        let (device, bus) = (parts.next().ok_or(())?, parts.next().ok_or(())?);
        let domain = parts.next().unwrap_or("0");
        if parts.next().is_some() {
            return Err(());
        }
        Ok(Self { domain: hex(domain)?, bus: hex(bus)?, device: hex(device)? })
    }
}

/// The GPU that the user named.
///
/// # Errors
/// A human-readable reason, with the GPUs that are present.
pub fn select(library: Library, wanted: &Wanted) -> Result<Gpu, String> {
    let all = gpus(library);
    let count = all.len();
    let mut fitting = Vec::new();
    let mut here = Vec::new();
    for (index, gpu) in all.into_iter().enumerate() {
        let gpu = match gpu {
            Ok(gpu) => gpu,
            Err(why) => {
                here.push(format!("GPU {index}: {why}"));
                continue;
            }
        };
        here.push(gpu.id.clone());
        let fits = match wanted {
            Wanted::Uuid(text) => gpu.uuid.as_ref().is_ok_and(|uuid| starts_with(uuid, text)),
            Wanted::Pci(address) => pci_address(&gpu) == Some(*address),
            Wanted::Index(index) => gpu.index == *index,
        };
        if fits {
            fitting.push(gpu);
        }
    }
    let named = match wanted {
        Wanted::Uuid(text) => text.clone(),
        Wanted::Pci(address) => {
            format!("{:04x}:{:02x}:{:02x}.0", address.domain, address.bus, address.device)
        }
        Wanted::Index(index) => format!("GPU {index}"),
    };
    match (fitting.pop(), fitting.len()) {
        (Some(gpu), 0) => Ok(gpu),
        (Some(_), more) => Err(format!("{named} matches {} GPUs; give more digits", more + 1)),
        (None, _) => Err(match count {
            0 => format!("{named} not found: NVML reports no GPU"),
            1 => format!("{named} is not this machine's only GPU ({})", here.join(", ")),
            _ => format!("{named} is not among the {count} GPUs of this machine ({})", here.join(", ")),
        }),
    }
}

fn starts_with(uuid: &str, text: &str) -> bool {
    text.len() > "GPU-".len() && uuid.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
}

fn pci_address(gpu: &Gpu) -> Option<PciAddress> {
    let pci = gpu.device.pci_info().ok()?;
    Some(PciAddress { domain: pci.domain, bus: pci.bus, device: pci.device })
}

/// The NVML GPU of a CUDA device, by UUID and, if that is not found (a driver that predates CUDA's UUIDs), by PCI
/// address.
///
/// # Errors
/// A human-readable reason: neither is found, or the two name different GPUs.
pub fn by_cuda(library: Library, uuid: Option<&str>, pci_bus_id: Option<&str>) -> Result<Gpu, String> {
    let by_uuid = uuid.and_then(|uuid| select(library, &Wanted::Uuid(uuid.to_owned())).ok());
    let address = pci_bus_id.and_then(|id| id.parse().ok());
    let by_pci = address.and_then(|address| select(library, &Wanted::Pci(address)).ok());
    match (by_uuid, by_pci) {
        (Some(gpu), Some(other)) if gpu.index != other.index => Err(format!(
            "CUDA's GPU has the UUID of {} but the PCI address of {}: its sensors are ambiguous",
            gpu.id, other.id
        )),
        (Some(gpu), _) | (None, Some(gpu)) => Ok(gpu),
        (None, None) => Err(format!(
            "NVML does not know CUDA's GPU (UUID {}, PCI {})",
            uuid.unwrap_or("unknown"),
            pci_bus_id.unwrap_or("unknown")
        )),
    }
}

/// CUDA's sixteen UUID bytes in NVML's notation.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let mut text = "GPU".to_owned();
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 0 | 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_named_by_uuid_address_or_index() {
        let address = PciAddress { domain: 0, bus: 0x3b, device: 0 };
        for text in ["00000000:3B:00.0", "0000:3b:00.0", "3b:00.0"] {
            assert_eq!(text.parse(), Ok(Wanted::Pci(address)), "{text}");
        }
        assert_eq!("2".parse(), Ok(Wanted::Index(2)));
        assert_eq!("GPU-4e".parse(), Ok(Wanted::Uuid("GPU-4e".to_owned())));
        assert!("MIG-4e".parse::<Wanted>().expect_err("a slice").contains("slice"));
        for text in ["h100", "", "0000:00:3b:00.0", "3b.0"] {
            assert!(text.parse::<Wanted>().expect_err(text).contains("nvidia-smi -L"), "{text}");
        }
    }

    #[test]
    fn a_prefix_of_a_uuid_is_some_of_it() {
        assert!(starts_with("GPU-4e00ab", "gpu-4E"));
        assert!(!starts_with("GPU-4e00ab", "GPU-"));
        assert!(!starts_with("GPU-4e", "GPU-4e00"));
    }

    #[test]
    fn the_bytes_of_a_uuid_become_its_text() {
        let bytes = *b"\x01\x23\x45\x67\x89\xab\xcd\xef\x00\x11\x22\x33\x44\x55\x66\x77";
        assert_eq!(uuid_text(bytes), "GPU-01234567-89ab-cdef-0011-223344556677");
    }
}
