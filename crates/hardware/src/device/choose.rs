//! Chooses a run's device: what was requested, what is present, and what this program can drive.

use super::{Error, Found};
use crate::base::known::Known;
use crate::catalog::Gpu as GpuRow;
use crate::nvml::GpuFound;
use crate::record::UnusedGpu;

/// Command that says what is wrong with a GPU or its driver, and how to fix it.
const DOCTOR: &str = "bench doctor";

/// `--device`, as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceRequest {
    /// The GPU if there is one and this program can drive it, else the CPU.
    #[default]
    Auto,
    /// The CPU, whatever is present.
    Cpu,
    /// This GPU.
    Cuda(usize),
}

impl std::str::FromStr for DeviceRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "unknown; supported: auto, cpu, cuda, cuda:N".to_owned()),
        }
    }
}

/// The device a run will use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The CPU.
    Cpu {
        /// The GPU that is present but cannot be used, unless the CPU was requested.
        unused: Option<UnusedGpu>,
    },
    /// A GPU.
    Cuda {
        /// Its number in CUDA's order, as engines expect it.
        ordinal: usize,
        /// Its index in NVML's order, under which its name, memory and sensors are found.
        gpu: usize,
    },
}

/// For each CUDA GPU its NVML index, or why CUDA offers none.
pub type Order = Result<Vec<Option<usize>>, String>;

/// Chooses the device.
///
/// `wanted` is the catalog row that `--gpu` names, `family_of` gives the family of the GPU with this index of NVML's
/// when the catalog knows it, and `order` says which of NVML's each of CUDA's is, or why none can be used; it is asked only
/// where there is a GPU that may be.
///
/// # Errors
/// [`Error::Absent`] if the requested device is not present, is of another family, or cannot be driven.
pub fn choose(
    request: DeviceRequest,
    wanted: Option<&GpuRow>,
    found: &Found,
    family_of: impl Fn(usize) -> Option<String>,
    order: &dyn Fn() -> Order,
) -> Result<Choice, Error> {
    let ordinal = match request {
        DeviceRequest::Cuda(ordinal) => ordinal,
        _ => 0,
    };
    if let Some(other) = wanted.filter(|wanted| wanted.cuda_capability().is_none()) {
        return Err(Error::Absent(format!(
            "--gpu {}: the engines here compute on CPUs and NVIDIA GPUs. Start a server on the {} and measure it with --url",
            other.id, other.name
        )));
    }
    let explicit = matches!(request, DeviceRequest::Cuda(_)) || wanted.is_some();
    let index = if request == DeviceRequest::Cpu || found.gpus.is_empty() {
        // Nothing computes on it: whichever it is, it is only spoken of.
        ordinal
    } else {
        match nvml_index(ordinal, &order()) {
            // A GPU that cannot be reached has a place in NVML's order and none among those found.
            Ok(index) => found.gpus.iter().position(|gpu| gpu.index as usize == index).unwrap_or(index),
            Err(reason) if explicit => return Err(Error::Absent(reason)),
            // What is spoken of is the first that NVML counts: CUDA does not say which it would have been.
            Err(reason) => {
                return Ok(Choice::Cpu { unused: Some(unused(&found.gpus[0], &reason)) });
            }
        }
    };
    let gpu = found.gpus.get(index);
    if let Some(wanted) = wanted {
        let Some(gpu) = gpu else {
            let why = found.no_gpu.as_deref().unwrap_or("no such GPU");
            return Err(Error::Absent(format!(
                "--gpu {}: no NVIDIA GPU was found on this machine: {why}. Run this on the machine with the GPU, or omit --gpu to measure this machine; `bench cost RECORD --price-per-hour USD` prices a record from elsewhere",
                wanted.id
            )));
        };
        let found_family = family_of(index);
        // If the driver does not report the name, the flag is trusted.
        if gpu.name.is_ok() && found_family.as_deref() != Some(wanted.family.as_str()) {
            return Err(Error::Absent(format!(
                "--gpu {}: the GPU on this machine is `{}`{}. Name its family, or omit --gpu",
                wanted.id,
                gpu.label(),
                found_family.map_or(String::new(), |family| format!(" of the family {family}"))
            )));
        }
    }
    match (request, gpu) {
        (DeviceRequest::Cpu, _) => Ok(Choice::Cpu { unused: None }),
        (DeviceRequest::Auto, None) => {
            let why = found.no_gpu.as_ref().filter(|_| found.expected);
            let name = Known::unknown("the driver does not answer");
            let unused = |why: &String| UnusedGpu::new(name, why, DOCTOR);
            Ok(Choice::Cpu { unused: why.map(unused) })
        }
        (_, Some(_)) => Ok(Choice::Cuda { ordinal, gpu: index }),
        (DeviceRequest::Cuda(_), None) => Err(Error::Absent(format!(
            "--device cuda:{ordinal}: no such GPU on this machine: {}. Use --device cpu, or run this on the machine with the GPU",
            found.no_gpu.clone().unwrap_or_else(|| format!("{} found", found.gpus.len()))
        ))),
    }
}

fn unused(gpu: &GpuFound, reason: &str) -> UnusedGpu {
    let named =
        |name: &String| if name.starts_with("NVIDIA") { name.clone() } else { format!("NVIDIA {name}") };
    UnusedGpu::new(gpu.name.as_ref().map(named).map_err(String::as_str).into(), reason, DOCTOR)
}

/// The NVML index of CUDA's GPU `ordinal`.
fn nvml_index(ordinal: usize, order: &Order) -> Result<usize, String> {
    let order = order.as_ref().map_err(|reason| format!("CUDA cannot use it ({reason})"))?;
    match order.get(ordinal) {
        Some(Some(index)) => Ok(*index),
        Some(None) => Err(format!(
            "CUDA's GPU {ordinal} is unknown to NVML, so its name and sensors are unavailable: unset CUDA_VISIBLE_DEVICES"
        )),
        None => Err(format!(
            "CUDA offers {} GPU(s), so there is no GPU {ordinal}; numbers start at 0, and CUDA_VISIBLE_DEVICES may hide some",
            order.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Bytes;
    use crate::nvml::GpuFound;

    fn found(name: Option<&str>) -> Found {
        let gpus = name.map(|name| GpuFound {
            index: 0,
            id: "GPU-0".to_owned(),
            name: Ok(name.to_owned()),
            uuid: Ok("GPU-0".to_owned()),
            memory_total: Ok(Bytes::new(80 << 30)),
            memory_free: Ok(Bytes::new(80 << 30)),
        });
        Found {
            no_gpu: gpus.is_none().then(|| "NVML cannot be loaded".to_owned()),
            gpus: gpus.into_iter().collect(),
            facts: Vec::new(),
            expected: false,
            driver: Err("not asked".to_owned()),
            cuda: Err("not asked".to_owned()),
            cpu: None,
            logical_cpus: 2,
        }
    }

    const ORDER: &dyn Fn() -> Order = &|| Ok(vec![Some(0)]);
    const FIRST: Choice = Choice::Cuda { ordinal: 0, gpu: 0 };

    fn h100() -> GpuRow {
        crate::catalog::Catalog::bundled().gpu("h100").expect("bundled").clone()
    }

    #[test]
    fn without_flags_the_best_that_can_be_driven_is_taken() {
        let auto = |found: &Found, order| choose(DeviceRequest::Auto, None, found, |_| None, order);
        assert_eq!(auto(&found(None), ORDER).expect("a CPU"), Choice::Cpu { unused: None });
        assert_eq!(auto(&found(Some("NVIDIA H200")), ORDER).expect("a GPU"), FIRST);
    }

    #[test]
    fn a_named_family_must_be_here() {
        let here = found(Some("NVIDIA A100-SXM4-80GB"));
        let error = choose(DeviceRequest::Auto, Some(&h100()), &here, |_| Some("a100".into()), ORDER)
            .expect_err("another family");
        assert!(error.to_string().contains("A100"), "{error}");
        let pcie = found(Some("NVIDIA H100 PCIe"));
        let choice = choose(DeviceRequest::Auto, Some(&h100()), &pcie, |_| Some("h100".into()), ORDER);
        assert_eq!(choice.expect("the same family"), FIRST);
        let error =
            choose(DeviceRequest::Auto, Some(&h100()), &found(None), |_| None, ORDER).expect_err("none");
        assert!(error.to_string().contains("no NVIDIA GPU was found"), "{error}");
    }

    #[test]
    fn an_explicit_gpu_is_never_replaced_by_the_cpu() {
        let broken: &dyn Fn() -> Order = &|| Err("CUDA: no permission".to_owned());
        for (found, order) in [(found(None), ORDER), (found(Some("NVIDIA H200")), broken)] {
            assert!(choose(DeviceRequest::Cuda(0), None, &found, |_| None, order).is_err());
        }
    }

    #[test]
    fn whatever_keeps_a_gpu_from_being_used_is_said_and_the_cpu_is_measured() {
        let reasons = [
            "CUDA: no permission",
            "libcuda.so.1 is not here",
            "the driver supports CUDA up to 11.8, but 12.0 or newer is needed",
            "no CUDA-capable device is detected",
        ];
        let geforce = found(Some("GeForce RTX 3060 Laptop GPU"));
        for reason in reasons {
            let broken = || Err(reason.to_owned());
            let chosen = choose(DeviceRequest::Auto, None, &geforce, |_| None, &broken);
            let Ok(Choice::Cpu { unused: Some(gpu) }) = chosen else { panic!("{reason}: {chosen:?}") };
            assert_eq!(
                gpu.to_string(),
                format!(
                    "CPU measured; NVIDIA GeForce RTX 3060 Laptop GPU not used: CUDA cannot use it ({reason}); bench doctor"
                )
            );
            let explicit = choose(DeviceRequest::Cuda(0), None, &geforce, |_| None, &broken);
            assert!(explicit.expect_err(reason).to_string().contains(reason));
            // A run that asks for the CPU leaves no GPU unused.
            let cpu = choose(DeviceRequest::Cpu, None, &geforce, |_| None, &broken);
            assert_eq!(cpu.expect("a CPU"), Choice::Cpu { unused: None });
        }
        let mut silent = found(None);
        silent.expected = true;
        let chosen = choose(DeviceRequest::Auto, None, &silent, |_| None, ORDER);
        let Ok(Choice::Cpu { unused: Some(gpu) }) = chosen else { panic!("{chosen:?}") };
        assert_eq!(gpu.to_string(), "CPU measured; NVIDIA GPU not used: NVML cannot be loaded; bench doctor");
        assert!(gpu.name.is_none() && gpu.name.reason().is_some());
    }

    #[test]
    fn a_number_is_cudas_and_the_sensors_are_those_of_the_same_board() {
        let mut two = found(Some("NVIDIA T4"));
        two.gpus.push(GpuFound {
            index: 1,
            id: "GPU-1".to_owned(),
            name: Ok("NVIDIA H200".to_owned()),
            uuid: Ok("GPU-1".to_owned()),
            ..two.gpus[0].clone()
        });
        // CUDA puts the faster one first; a third is hidden from NVML.
        let order: &dyn Fn() -> Order = &|| Ok(vec![Some(1), Some(0), None]);
        let choose_for = |request| choose(request, None, &two, |_| None, order);
        assert_eq!(choose_for(DeviceRequest::Auto).expect("a GPU"), Choice::Cuda { ordinal: 0, gpu: 1 });
        assert_eq!(choose_for(DeviceRequest::Cuda(1)).expect("a GPU"), Choice::Cuda { ordinal: 1, gpu: 0 });
        for (ordinal, word) in [(2, "CUDA_VISIBLE_DEVICES"), (3, "offers 3")] {
            let error = choose_for(DeviceRequest::Cuda(ordinal)).expect_err("not one of NVML's");
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn devices_parse() {
        for (text, expected) in [
            ("auto", Ok(DeviceRequest::Auto)),
            ("cpu", Ok(DeviceRequest::Cpu)),
            ("cuda", Ok(DeviceRequest::Cuda(0))),
            ("cuda:3", Ok(DeviceRequest::Cuda(3))),
        ] {
            assert_eq!(text.parse(), expected);
        }
        assert!("gpu".parse::<DeviceRequest>().is_err());
    }
}
