//! Everything about one GPU that does not change while it works, and what its sensors show now.
//!
//! Each fact stands alone: what NVML does not give is the reason why, never a zero.

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::error::NvmlError;

use super::select::Gpu;
use super::{older, reason};
use crate::base::units::{Bytes, Watts};

/// A value, or why there is none.
pub type Fact<T> = Result<T, String>;

/// Frequencies of one clock domain each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MegaHertz {
    /// The compute units.
    pub sm: Fact<u32>,
    /// The memory.
    pub memory: Fact<u32>,
}

/// The board's power limits.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerLimits {
    /// As the board was sold.
    pub default: Fact<Watts>,
    /// As it is set now.
    pub current: Fact<Watts>,
    /// What holds in effect, a limit of the chassis included.
    pub enforced: Fact<Watts>,
    /// The lowest that can be set.
    pub lowest: Fact<Watts>,
    /// The highest that can be set.
    pub highest: Fact<Watts>,
}

/// A link to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcieLink {
    /// Generation; an idle GPU lowers it.
    pub generation: Fact<u32>,
    /// Lanes.
    pub width: Fact<u32>,
}

/// A process with a CUDA context on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuProcess {
    /// As the host counts; in a container it may be another than the process sees.
    pub pid: u32,
    /// Memory it holds there, where the driver says it.
    pub memory: Option<Bytes>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuFacts {
    /// Name of the product.
    pub name: Fact<String>,
    /// Unique id of the board.
    pub uuid: Fact<String>,
    /// PCI address: `00000000:3B:00.0`.
    pub pci_bus_id: Fact<String>,
    /// Memory, all of it.
    pub memory_total: Fact<Bytes>,
    /// Memory nobody uses now.
    pub memory_free: Fact<Bytes>,
    /// Version of the driver.
    pub driver: Fact<String>,
    /// Newest CUDA the driver can run.
    pub cuda: Fact<String>,
    /// Version of NVML.
    pub nvml: Fact<String>,
    /// Version of the board's firmware.
    pub vbios: Fact<String>,
    /// Its power limits.
    pub power_limit: PowerLimits,
    /// Clocks now.
    pub clocks: MegaHertz,
    /// The highest clocks it can take.
    pub max_clocks: MegaHertz,
    /// The clocks that applications are given.
    pub application_clocks: MegaHertz,
    /// Whether its memory corrects errors now.
    pub ecc: Fact<bool>,
    /// Whether the driver stays loaded when nobody uses the GPU.
    pub persistence: Fact<bool>,
    /// Whether it is cut into slices (MIG).
    pub mig: Fact<bool>,
    /// The link now.
    pub pcie: PcieLink,
    /// The best link that GPU and slot can have.
    pub max_pcie: PcieLink,
    /// Temperature of the chip in °C.
    pub celsius: Fact<u32>,
    /// Speed of the first fan, in percent of its highest.
    pub fan_percent: Fact<u32>,
    /// Performance state: 0 is the fastest.
    pub performance_state: Fact<u32>,
    /// Who computes on it.
    pub processes: Fact<Vec<GpuProcess>>,
}

fn said<T>(answer: Result<T, NvmlError>) -> Fact<T> {
    answer.map_err(|error| reason(&error))
}

fn watts(milliwatts: Result<u32, NvmlError>) -> Fact<Watts> {
    said(milliwatts).map(|milliwatts| Watts::new(f64::from(milliwatts) / 1e3))
}

/// Whether the GPU is cut into slices. A GPU that knows no slices has none.
pub(super) fn is_mig(device: &Device<'_>) -> Fact<bool> {
    match device.mig_mode() {
        Ok(mode) => Ok(mode.current == 1),
        Err(NvmlError::NotSupported) => Ok(false),
        Err(error) => Err(reason(&error)),
    }
}

impl Gpu {
    /// Who computes on it now.
    ///
    /// # Errors
    /// A reason for people, as with every fact.
    pub fn processes(&self) -> Fact<Vec<GpuProcess>> {
        said(older::processes(self.device()))
    }

    /// All that NVML says about this GPU now.
    pub fn facts(&self) -> GpuFacts {
        let (library, device) = (self.library(), self.device());
        let memory = said(older::memory(device));
        let constraints = said(device.power_management_limit_constraints());
        let limit = |pick: fn(&nvml_wrapper::structs::device::PowerManagementConstraints) -> u32| {
            constraints.as_ref().map(|both| Watts::new(f64::from(pick(both)) / 1e3)).map_err(Clone::clone)
        };
        let clocks = |ask: &dyn Fn(Clock) -> Result<u32, NvmlError>| MegaHertz {
            sm: said(ask(Clock::SM)),
            memory: said(ask(Clock::Memory)),
        };
        GpuFacts {
            name: said(device.name()),
            uuid: self.uuid().cloned().map_err(Clone::clone),
            pci_bus_id: said(device.pci_info()).map(|pci| pci.bus_id),
            memory_total: memory.as_ref().map(|[total, _]| *total).map_err(Clone::clone),
            memory_free: memory.map(|[_, free]| free),
            driver: library.driver(),
            cuda: library.cuda(),
            nvml: library.version(),
            vbios: said(device.vbios_version()),
            power_limit: PowerLimits {
                default: watts(device.power_management_limit_default()),
                current: watts(device.power_management_limit()),
                enforced: watts(device.enforced_power_limit()),
                lowest: limit(|both| both.min_limit),
                highest: limit(|both| both.max_limit),
            },
            clocks: clocks(&|clock| device.clock_info(clock)),
            max_clocks: clocks(&|clock| device.max_clock_info(clock)),
            // Application clocks are those of the graphics domain; the SM's domain has none.
            application_clocks: MegaHertz {
                sm: said(device.applications_clock(Clock::Graphics)),
                memory: said(device.applications_clock(Clock::Memory)),
            },
            ecc: said(device.is_ecc_enabled()).map(|state| state.currently_enabled),
            persistence: said(device.is_in_persistent_mode()),
            mig: is_mig(device),
            pcie: PcieLink {
                generation: said(device.current_pcie_link_gen()),
                width: said(device.current_pcie_link_width()),
            },
            max_pcie: PcieLink {
                generation: said(device.max_pcie_link_gen()),
                width: said(device.max_pcie_link_width()),
            },
            celsius: said(older::celsius(device)),
            fan_percent: said(older::fan(device)),
            performance_state: said(device.performance_state()).and_then(|state| match state.as_c() {
                known @ 0..=15 => Ok(known),
                _ => Err("NVML: it does not know the performance state".to_owned()),
            }),
            processes: self.processes(),
        }
    }
}
