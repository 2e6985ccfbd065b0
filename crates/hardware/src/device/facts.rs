//! NVML's facts about a GPU in the form of a record: the unit in the key, `null` with its reason.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::units::{Bytes, Watts};
use crate::nvml::{self, Fact, GpuFacts, Wanted};

/// A record's facts about one GPU.
pub type Facts = Map<String, Value>;

/// The facts about the GPU with this NVML index; empty if it can no longer be reached.
pub(crate) fn of(index: u32, library: Option<&Path>) -> Facts {
    let gpu = nvml::open(library).map_err(|absent| absent.to_string());
    let gpu = gpu.and_then(|library| nvml::select(library, &Wanted::Index(index)));
    gpu.map(|gpu| facts(&gpu.facts())).unwrap_or_default()
}

fn facts(gpu: &GpuFacts) -> Facts {
    let mut facts = Facts::new();
    let watts = |fact: &Fact<Watts>| fact.as_ref().map(|watts| watts.get()).map_err(Clone::clone);
    put(&mut facts, "pci_bus_id", &gpu.pci_bus_id);
    put(&mut facts, "vbios", &gpu.vbios);
    put(&mut facts, "nvml", &gpu.nvml);
    put(&mut facts, "power_limit_default_watts", &watts(&gpu.power_limit.default));
    put(&mut facts, "power_limit_watts", &watts(&gpu.power_limit.current));
    put(&mut facts, "power_limit_enforced_watts", &watts(&gpu.power_limit.enforced));
    put(&mut facts, "power_limit_lowest_watts", &watts(&gpu.power_limit.lowest));
    put(&mut facts, "power_limit_highest_watts", &watts(&gpu.power_limit.highest));
    put(&mut facts, "sm_clock_mhz", &gpu.clocks.sm);
    put(&mut facts, "memory_clock_mhz", &gpu.clocks.memory);
    put(&mut facts, "sm_clock_highest_mhz", &gpu.max_clocks.sm);
    put(&mut facts, "memory_clock_highest_mhz", &gpu.max_clocks.memory);
    put(&mut facts, "sm_clock_applications_mhz", &gpu.application_clocks.sm);
    put(&mut facts, "memory_clock_applications_mhz", &gpu.application_clocks.memory);
    put(&mut facts, "ecc", &gpu.ecc);
    put(&mut facts, "persistence_mode", &gpu.persistence);
    put(&mut facts, "mig", &gpu.mig);
    put(&mut facts, "pcie_generation", &gpu.pcie.generation);
    put(&mut facts, "pcie_lanes", &gpu.pcie.width);
    put(&mut facts, "pcie_generation_highest", &gpu.max_pcie.generation);
    put(&mut facts, "pcie_lanes_highest", &gpu.max_pcie.width);
    put(&mut facts, "celsius", &gpu.celsius);
    put(&mut facts, "fan_percent", &gpu.fan_percent);
    put(&mut facts, "performance_state", &gpu.performance_state);
    let processes = gpu.processes.as_ref().map_err(Clone::clone).map(|all| {
        let one = |process: &nvml::GpuProcess| {
            serde_json::json!({ "pid": process.pid, "memory_bytes": process.memory.map(Bytes::get) })
        };
        all.iter().map(one).collect::<Vec<_>>()
    });
    put(&mut facts, "processes", &processes);
    facts
}

fn put<T: Serialize>(facts: &mut Facts, name: &str, fact: &Fact<T>) {
    match fact {
        Ok(value) => {
            facts.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
        }
        Err(reason) => {
            facts.insert(name.to_owned(), Value::Null);
            facts.insert(format!("{name}_reason"), Value::from(reason.as_str()));
        }
    }
}
