//! A GPU's sensors as a [`Source`]: energy, power, clocks and throttling.
//!
//! What this GPU publishes is probed once when the source is opened, and queried the same way from then on. The energy
//! counter is the driver's own; power uses the instant and average fields if they exist, since the older function means
//! instant on some GPUs and average on newer ones. A sensor that reads 0 W does not exist: some drivers report zero
//! instead of "not supported".

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Clock;

use super::facts::is_mig;
use super::fields::{self, ENERGY, FieldScope, Number, POWER_AVERAGE, POWER_INSTANT};
use super::older;
use super::reason;
use super::select::Gpu;
use super::throttle::{self, Counters};
use crate::base::event::{ClockSample, PowerKind, ThrottledTime, Tick};
use crate::base::units::{Joules, Watts};
use crate::telemetry::{Description, Scope, Source};

const READS_ZERO: &str = "the power sensor reads 0 W";

/// How energy is read on this GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
enum EnergyBy {
    Counter,
    Field(FieldScope),
    Nothing(String),
}

/// How power is read on this GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PowerBy {
    Fields(FieldScope, Vec<(PowerKind, u32)>),
    Usage,
    Nothing(String),
}

/// The sensors of one GPU.
#[derive(Debug)]
pub struct NvmlSource {
    device: Device<'static>,
    description: Description,
    energy: EnergyBy,
    power: PowerBy,
    counters: Counters,
}

impl NvmlSource {
    /// Probes the GPU's sensors. A GPU without any is still a source, and its description says why it has none.
    ///
    /// # Errors
    /// A human-readable reason if the GPU cannot be reached.
    pub fn open(gpu: &Gpu) -> Result<Self, String> {
        let device = gpu.device_again().map_err(|error| reason(&error))?;
        let (energy, power) = if is_mig(&device) == Ok(true) {
            let why = "the GPU is partitioned into slices (MIG): NVML has no energy counter for a slice, and the whole GPU's counter includes other slices";
            (EnergyBy::Nothing(why.to_owned()), PowerBy::Nothing(why.to_owned()))
        } else {
            (probe_energy(&device), probe_power(&device))
        };
        let module = matches!(energy, EnergyBy::Field(FieldScope::Module))
            || matches!(power, PowerBy::Fields(FieldScope::Module, _));
        let description = Description {
            name: "nvml",
            device: gpu.id().to_owned(),
            driver: gpu.library().driver().ok(),
            scope: if module { Scope::Module } else { Scope::Gpu },
            no_counter: match &energy {
                EnergyBy::Nothing(why) => Some(why.clone()),
                _ => None,
            },
            no_power: match &power {
                PowerBy::Nothing(why) => Some(why.clone()),
                _ => None,
            },
        };
        Ok(Self { device, description, energy, power, counters: Counters::of(gpu.library()) })
    }
}

fn probe_energy(device: &Device<'_>) -> EnergyBy {
    let why = match device.total_energy_consumption() {
        Ok(_) => return EnergyBy::Counter,
        Err(error) => reason(&error),
    };
    for scope in [FieldScope::Gpu, FieldScope::Module] {
        // An unsupported scope reads as zero.
        if energy_field(device, scope).is_ok_and(|millijoules| millijoules > 0) {
            return EnergyBy::Field(scope);
        }
    }
    EnergyBy::Nothing(format!("no energy counter ({why})"))
}

fn probe_power(device: &Device<'_>) -> PowerBy {
    let mut why = Vec::new();
    for scope in [FieldScope::Gpu, FieldScope::Module] {
        let kinds = [(PowerKind::Instant, POWER_INSTANT), (PowerKind::Average, POWER_AVERAGE)];
        let mut published = Vec::new();
        for ((kind, id), answer) in kinds.into_iter().zip(power_fields(device, scope, &kinds)) {
            match answer {
                Ok(_) => published.push((kind, id)),
                Err(reason) => why.push(reason),
            }
        }
        if !published.is_empty() {
            return PowerBy::Fields(scope, published);
        }
    }
    match usage(device) {
        Ok(_) => PowerBy::Usage,
        Err(reason) => {
            why.push(reason);
            why.sort();
            why.dedup();
            // An impossible reading is not the same as none.
            PowerBy::Nothing(if why.iter().any(|reason| reason == READS_ZERO) {
                READS_ZERO.to_owned()
            } else {
                format!("no power sensor ({})", why.join("; "))
            })
        }
    }
}

fn energy_field(device: &Device<'_>, scope: FieldScope) -> Result<u64, String> {
    fields::read(device, scope, &[ENERGY])
        .pop()
        .unwrap_or_else(|| Err("NVML: no answer".to_owned()))
        .and_then(Number::whole)
}

fn power_fields(
    device: &Device<'_>,
    scope: FieldScope,
    kinds: &[(PowerKind, u32)],
) -> Vec<Result<Watts, String>> {
    let ids: Vec<u32> = kinds.iter().map(|(_, id)| *id).collect();
    let answers = fields::read(device, scope, &ids).into_iter();
    answers.map(|answer| answer.and_then(Number::whole).and_then(watts)).collect()
}

fn usage(device: &Device<'_>) -> Result<Watts, String> {
    device.power_usage().map_err(|error| reason(&error)).and_then(|milliwatts| watts(milliwatts.into()))
}

fn watts(milliwatts: u64) -> Result<Watts, String> {
    match milliwatts {
        0 => Err(READS_ZERO.to_owned()),
        _ => Ok(Watts::new(milliwatts as f64 / 1e3)),
    }
}

impl Source for NvmlSource {
    fn description(&self) -> &Description {
        &self.description
    }

    fn energy(&mut self) -> Result<Joules, String> {
        let millijoules = match &self.energy {
            EnergyBy::Counter => self.device.total_energy_consumption().map_err(|error| reason(&error))?,
            EnergyBy::Field(scope) => energy_field(&self.device, *scope)?,
            EnergyBy::Nothing(why) => return Err(why.clone()),
        };
        Ok(Joules::new(millijoules as f64 / 1e3))
    }

    fn power(&mut self) -> Result<Vec<(PowerKind, Watts)>, String> {
        match &self.power {
            PowerBy::Fields(scope, kinds) => {
                let mut shown = Vec::with_capacity(kinds.len());
                let mut why = None;
                for ((kind, _), answer) in kinds.iter().zip(power_fields(&self.device, *scope, kinds)) {
                    match answer {
                        Ok(watts) => shown.push((*kind, watts)),
                        Err(reason) => why = Some(reason),
                    }
                }
                match why {
                    Some(why) if shown.is_empty() => Err(why),
                    _ => Ok(shown),
                }
            }
            PowerBy::Usage => Ok(vec![(PowerKind::Unspecified, usage(&self.device)?)]),
            PowerBy::Nothing(why) => Err(why.clone()),
        }
    }

    fn clocks(&mut self) -> ClockSample {
        ClockSample {
            at: Tick::default(),
            sm_mhz: self.device.clock_info(Clock::SM).ok(),
            memory_mhz: self.device.clock_info(Clock::Memory).ok(),
            celsius: older::celsius(&self.device).ok().map(f64::from),
            throttle: throttle::now(&self.device),
            processes: older::process_count(&self.device).ok(),
        }
    }

    fn throttled(&mut self) -> ThrottledTime {
        self.counters.read(&self.device)
    }
}
