//! Which sensors are read beside a run: what was asked for, against what is here and what does the work.

use std::path::Path;
use std::str::FromStr;

use super::rapl::RaplSource;
use super::{Source, calibration};
use crate::base::env;
use crate::hardware::nvml::{self, Absent, Gpu, NvmlSource, Wanted};
use crate::record::Sensor;

/// `--power`, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PowerRequest {
    /// The sensors of whatever does the work, if it has any that can be read.
    #[default]
    Auto,
    /// A GPU's, through NVML: the one that does the work, or the one that is named.
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
                None => Err(format!("`{text}` is no power sensor; take auto, nvml, nvml:UUID, rapl or none")),
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

/// A choice, and whether it is the device that does the work.
#[derive(Debug)]
pub struct Chosen {
    /// Whose.
    pub sensors: Sensors,
    /// Whether another device does the work.
    pub other_device: bool,
}

/// Why what was asked for by name cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there (exit code 13).
    #[error("{0}")]
    Absent(String),
    /// It is there and cannot be used (exit code 1).
    #[error("{0}")]
    Unusable(String),
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
    /// Opens the source; it may be opened again for another run.
    ///
    /// # Errors
    /// A reason for people.
    pub fn open(&self) -> Result<Box<dyn Source>, String> {
        Ok(match &self.sensors {
            Sensors::Gpu(gpu) => Box::new(NvmlSource::open(gpu)?),
            Sensors::Rapl => Box::new(RaplSource::open(Path::new(super::rapl::ROOT))?),
        })
    }

    /// What an earlier calibration found of these sensors under the driver that serves them now.
    pub fn calibrated(&self) -> Option<Sensor> {
        calibration::find(&env::cache_folder(), self.open().ok()?.description())
    }

    /// The GPU whose sensors they are.
    pub fn gpu(&self) -> Option<&Gpu> {
        match &self.sensors {
            Sensors::Gpu(gpu) => Some(gpu),
            Sensors::Rapl => None,
        }
    }
}

/// Chooses the sensors. `used` is the UUID of the GPU that does the work, `None` when the processor does.
///
/// `Ok(Err(reason))` when nobody asked for sensors by name and there are none.
///
/// # Errors
/// [`Error`] when what was asked for by name cannot be had.
pub fn choose(
    request: &PowerRequest,
    used: Option<&str>,
    library: Option<&Path>,
) -> Result<Result<Chosen, String>, Error> {
    let gpu = |wanted: &Wanted| {
        let library = nvml::open(library)?;
        nvml::select(library, wanted).map_err(Error::Absent)
    };
    let rapl = || RaplSource::open(Path::new(super::rapl::ROOT)).map(drop);
    match (request, used) {
        (PowerRequest::None, _) => Ok(Err("--power none".to_owned())),
        (PowerRequest::Auto, Some(uuid)) => {
            let found = gpu(&Wanted::Uuid(uuid.to_owned())).map_err(|error| error.to_string());
            Ok(found.map(|gpu| Chosen { sensors: Sensors::Gpu(gpu), other_device: false }))
        }
        (PowerRequest::Auto, None) => {
            Ok(rapl().map(|()| Chosen { sensors: Sensors::Rapl, other_device: false }))
        }
        (PowerRequest::Rapl, _) => match rapl() {
            Ok(()) => Ok(Ok(Chosen { sensors: Sensors::Rapl, other_device: used.is_some() })),
            Err(reason) => Err(Error::Unusable(format!("--power rapl: {reason}"))),
        },
        (PowerRequest::Nvml(wanted), _) => {
            let default = used.map_or(Wanted::Index(0), |uuid| Wanted::Uuid(uuid.to_owned()));
            let gpu = gpu(wanted.as_ref().unwrap_or(&default)).map_err(|error| match error {
                // A library that was named is an error of its own flag.
                Error::Absent(reason) if library.is_none() => {
                    Error::Absent(format!("--power nvml: {reason}"))
                }
                other => other,
            })?;
            let other_device = used != Some(gpu.uuid());
            Ok(Ok(Chosen { sensors: Sensors::Gpu(gpu), other_device }))
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
