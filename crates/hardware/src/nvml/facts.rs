//! The static properties of one GPU, and the current readings of its sensors.
//!
//! Each fact is independent: what NVML does not report is an error with the reason, never a zero.

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::error::NvmlError;

use super::older::GpuProcess;
use super::select::Gpu;
use super::{Fact, older, reason};
use crate::base::units::{Bytes, Watts};

/// The frequencies of the clock domains.
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
    /// The board's default.
    pub default: Fact<Watts>,
    /// The current setting.
    pub current: Fact<Watts>,
    /// The limit in effect, including that of the chassis.
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

/// One GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct GpuFacts {
    /// Name of the product.
    pub name: Fact<String>,
    /// Unique id of the board.
    pub uuid: Fact<String>,
    /// PCI address: `00000000:3B:00.0`.
    pub pci_bus_id: Fact<String>,
    /// Total memory.
    pub memory_total: Fact<Bytes>,
    /// Free memory.
    pub memory_free: Fact<Bytes>,
    /// Version of the driver.
    pub driver: Fact<String>,
    /// Newest CUDA version that the driver supports.
    pub cuda: Fact<String>,
    /// Version of NVML.
    pub nvml: Fact<String>,
    /// Version of the board's firmware.
    pub vbios: Fact<String>,
    /// Its power limits.
    pub power_limit: PowerLimits,
    /// Current clocks.
    pub clocks: MegaHertz,
    /// The highest clocks it supports.
    pub max_clocks: MegaHertz,
    /// The application clocks.
    pub application_clocks: MegaHertz,
    /// Whether ECC is enabled.
    pub ecc: Fact<bool>,
    /// Whether the driver stays loaded when the GPU is unused.
    pub persistence: Fact<bool>,
    /// Whether it is partitioned into slices (MIG).
    pub mig: Fact<bool>,
    /// The current link.
    pub pcie: PcieLink,
    /// The best link that GPU and slot support.
    pub max_pcie: PcieLink,
    /// Temperature of the chip in °C.
    pub celsius: Fact<u32>,
    /// Speed of the first fan, in percent of its maximum.
    pub fan_percent: Fact<u32>,
    /// Performance state: 0 is the fastest.
    pub performance_state: Fact<u32>,
    /// The processes that compute on it.
    pub processes: Fact<Vec<GpuProcess>>,
}

fn said<T>(answer: Result<T, NvmlError>) -> Fact<T> {
    answer.map_err(|error| reason(&error))
}

fn watts(milliwatts: Result<u32, NvmlError>) -> Fact<Watts> {
    said(milliwatts).map(|milliwatts| Watts::new(f64::from(milliwatts) / 1e3))
}

/// Whether the GPU is partitioned into slices; `false` for a GPU without that capability.
pub(super) fn is_mig(device: &Device<'_>) -> Fact<bool> {
    match device.mig_mode() {
        Ok(mode) => Ok(mode.current == 1),
        Err(NvmlError::NotSupported) => Ok(false),
        Err(error) => Err(reason(&error)),
    }
}

impl Gpu {
    /// The processes that currently compute on it.
    ///
    /// # Errors
    /// A human-readable reason, as with every fact.
    pub fn processes(&self) -> Fact<Vec<GpuProcess>> {
        said(older::processes(self.device()))
    }

    /// Everything that NVML currently reports about this GPU.
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
            // Application clocks belong to the graphics domain; the SM domain has none.
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
                _ => Err("NVML: unknown performance state".to_owned()),
            }),
            processes: self.processes(),
        }
    }
}
