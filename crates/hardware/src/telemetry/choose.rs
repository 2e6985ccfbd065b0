//! Chooses the sensors for a run: what was requested, what is present, and which device does the work.

use std::path::Path;
use std::str::FromStr;

use super::rapl::RaplSource;
use super::{Source, calibration};
use crate::base::env;
use crate::base::failure::{Class, Classed};
use crate::nvml::{self, Absent, Gpu, NvmlSource, Wanted};
use crate::record::Sensor;

/// `--power`, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PowerRequest {
    /// The sensors of the device that does the work, if it has any that can be read.
    #[default]
    Auto,
    /// A GPU's, through NVML: the one that does the work, or the named one.
    Nvml(Option<Wanted>),
    /// The processor's, through RAPL.
    Rapl,
    /// None.
    None,
}

impl FromStr for PowerRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "nvml" => Ok(Self::Nvml(None)),
            "rapl" => Ok(Self::Rapl),
            "none" => Ok(Self::None),
            _ => match text.strip_prefix("nvml:") {
                Some(gpu) => Ok(Self::Nvml(Some(gpu.parse()?))),
                None => Err(format!(
                    "unknown power sensor `{text}`; supported: auto, nvml, nvml:GPU (a UUID, a PCI address or an NVML index), rapl, none"
                )),
            },
        }
    }
}

/// The sensors that were chosen.
#[derive(Debug)]
pub enum Sensors {
    /// A GPU's.
    Gpu(Gpu),
    /// The processor's.
    Rapl,
}

/// The chosen sensors, and whether they belong to the device that does the work.
#[derive(Debug)]
pub struct Chosen {
    /// The sensors.
    pub sensors: Sensors,
    /// Whether a different device does the work.
    pub other_device: bool,
    /// A remark about the choice for the user.
    pub note: Option<String>,
}

/// Why explicitly requested sensors are unavailable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not present (exit code 13).
    #[error("{0}")]
    Absent(String),
    /// Present but unusable (exit code 1).
    #[error("{0}")]
    Unusable(String),
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::Absent(_) => Class::Missing,
            Self::Unusable(_) => Class::Unusable,
        }
    }
}

impl From<Absent> for Error {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Unusable { .. } => Self::Unusable(absent.to_string()),
            _ => Self::Absent(absent.to_string()),
        }
    }
}

impl Chosen {
    /// Opens the source; it can be opened again for another run.
    ///
    /// # Errors
    /// A human-readable reason.
    pub fn open(&self) -> Result<Box<dyn Source>, String> {
        Ok(match &self.sensors {
            Sensors::Gpu(gpu) => Box::new(NvmlSource::open(gpu)?),
            Sensors::Rapl => Box::new(RaplSource::open(Path::new(super::rapl::ROOT))?),
        })
    }

    /// An earlier calibration of these sensors under the current driver.
    pub fn calibrated(&self) -> Option<Sensor> {
        calibration::find(&env::cache_folder(), self.open().ok()?.description())
    }

    /// The GPU that the sensors belong to.
    pub fn gpu(&self) -> Option<&Gpu> {
        match &self.sensors {
            Sensors::Gpu(gpu) => Some(gpu),
            Sensors::Rapl => None,
        }
    }
}

/// Chooses the sensors. `used` is the NVML index of the GPU that does the work, `None` if the processor does.
///
/// `Ok(Err(reason))` if no sensors were requested explicitly and there are none.
///
/// # Errors
/// [`Error`] if explicitly requested sensors are unavailable.
pub fn choose(
    request: &PowerRequest,
    used: Option<u32>,
    library: Option<&Path>,
) -> Result<Result<Chosen, String>, Error> {
    let gpu = |wanted: &Wanted| {
        let opened = nvml::open(library).map_err(|absent| match Error::from(absent) {
            // An explicitly named library is an error of its own flag.
            Error::Absent(reason) if library.is_none() => Error::Absent(format!("--power nvml: {reason}")),
            other => other,
        })?;
        let all = opened.count().unwrap_or(0);
        let found = nvml::select(opened, wanted);
        found.map(|gpu| (gpu, all)).map_err(|reason| Error::Absent(format!("--power nvml: {reason}")))
    };
    let chosen = |sensors, other_device| Chosen { sensors, other_device, note: None };
    let rapl = || RaplSource::open(Path::new(super::rapl::ROOT)).map(drop);
    match (request, used) {
        (PowerRequest::None, _) => Ok(Err("--power none".to_owned())),
        (PowerRequest::Auto, Some(index)) => {
            let found = nvml::open(library)
                .map_err(|absent| absent.to_string())
                .and_then(|library| nvml::select(library, &Wanted::Index(index)));
            Ok(found.map(|gpu| chosen(Sensors::Gpu(gpu), false)))
        }
        (PowerRequest::Auto, None) => Ok(rapl().map(|()| chosen(Sensors::Rapl, false))),
        (PowerRequest::Rapl, _) => match rapl() {
            Ok(()) => Ok(Ok(chosen(Sensors::Rapl, used.is_some()))),
            Err(reason) if RaplSource::is_here(Path::new(super::rapl::ROOT)) => {
                Err(Error::Unusable(format!("--power rapl: {reason}")))
            }
            Err(reason) => Err(Error::Absent(format!(
                "--power rapl: {reason}; on bare metal `sudo modprobe intel_rapl_msr` enables them; --power none measures without"
            ))),
        },
        (PowerRequest::Nvml(wanted), _) => {
            let default = Wanted::Index(used.unwrap_or(0));
            let (gpu, all) = gpu(wanted.as_ref().unwrap_or(&default))?;
            let other_device = used != Some(gpu.index());
            let note = (wanted.is_none() && used.is_none() && all > 1).then(|| {
                format!(
                    "--power nvml: using the first of {all} GPUs, {}; --power nvml:GPU selects another",
                    gpu.id()
                )
            });
            Ok(Ok(Chosen { note, ..chosen(Sensors::Gpu(gpu), other_device) }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_parse() {
        assert_eq!("auto".parse(), Ok(PowerRequest::Auto));
        assert_eq!("nvml".parse(), Ok(PowerRequest::Nvml(None)));
        let uuid = Wanted::Uuid("GPU-1".to_owned());
        assert_eq!("nvml:GPU-1".parse(), Ok(PowerRequest::Nvml(Some(uuid))));
        for wrong in ["", "watts", "nvml:MIG-1", "rapl:0"] {
            assert!(wrong.parse::<PowerRequest>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_library_that_is_named_and_not_there_is_absent() {
        let nowhere = Path::new("/nowhere/libnvidia-ml.so.1");
        let error = choose(&PowerRequest::Nvml(None), None, Some(nowhere)).expect_err("not there");
        assert!(matches!(error, Error::Absent(_)), "{error}");
        let quiet = choose(&PowerRequest::None, None, Some(nowhere)).expect("not asked");
        assert!(quiet.is_err());
    }
}
