//! Finds and opens the library, by its default name or by a path that somebody gave.
//!
//! A GPU is here when NVML gives a handle for it: what else it says is a fact, or the reason why there is none.
//!
//! An opened library stays open until the process ends: a step that puts clocks back may run at any moment,
//! and a device must not outlive its library.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::facts::Fact;
use super::{older, reason, select};
use crate::base::failure::{Class, Classed};
use crate::base::units::Bytes;

/// Why there is no NVML to ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The library that somebody named is not there (exit code 13).
    #[error(
        "--nvml-library {}: there is no such file. `ldconfig -p | grep libnvidia-ml` finds the driver's; without the flag it is looked for by itself",
        .0.display()
    )]
    Named(PathBuf),
    /// The file that somebody named is there and is no NVML that works.
    #[error("--nvml-library {}: {reason}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No library: the normal case of a box without an NVIDIA GPU.
    #[error("{0}")]
    NoLibrary(String),
    /// A library is here and gives no GPU: its driver is missing or another's, or no GPU can be reached.
    #[error("{0}")]
    NoDriver(String),
}

impl Classed for Absent {
    fn class(&self) -> Class {
        match self {
            Self::Unusable { .. } => Class::Unusable,
            Self::Named(_) | Self::NoLibrary(_) | Self::NoDriver(_) => Class::Missing,
        }
    }
}

/// An open library.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    nvml: &'static Nvml,
}

static OPEN: Mutex<Vec<(Option<PathBuf>, Library)>> = Mutex::new(Vec::new());

/// Opens NVML: the file at `path`, or what the system finds under the default name.
///
/// # Errors
/// [`Absent`], with the way out.
pub fn open(path: Option<&Path>) -> Result<Library, Absent> {
    // A name without a folder would be looked for in the system's paths, not here.
    let path = match path {
        Some(path) => match path.canonicalize() {
            Ok(found) if found.is_file() => Some(found),
            _ => return Err(Absent::Named(path.to_owned())),
        },
        None => None,
    };
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, library)) = open.iter().find(|(name, _)| *name == path) {
        return Ok(*library);
    }
    let loaded = match &path {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    };
    let nvml = loaded.map_err(|error| match (&path, &error) {
        (Some(path), _) => Absent::Unusable { path: path.clone(), reason: init_reason(&error, true) },
        (None, NvmlError::LibloadingError(_)) => Absent::NoLibrary(init_reason(&error, false)),
        (None, _) => Absent::NoDriver(init_reason(&error, false)),
    })?;
    // Leaked once a library, for the reason on top of this file.
    let library = Library { nvml: Box::leak(Box::new(nvml)) };
    open.push((path, library));
    Ok(library)
}

fn init_reason(error: &NvmlError, named: bool) -> String {
    match error {
        NvmlError::LibloadingError(error) if named => format!("it cannot be loaded ({error})"),
        NvmlError::LibloadingError(error) => format!(
            "NVML cannot be loaded ({error}): no NVIDIA driver is installed, or this container was started without it (docker run --gpus all)"
        ),
        NvmlError::DriverNotLoaded => {
            "NVML is here and the driver is not loaded; `sudo modprobe nvidia` loads it".to_owned()
        }
        NvmlError::LibRmVersionMismatch => {
            "NVML and the loaded driver are of different versions: the driver was updated, reboot".to_owned()
        }
        NvmlError::NoPermission => {
            "NVML may not talk to the driver; this user needs access to /dev/nvidiactl and /dev/nvidia0"
                .to_owned()
        }
        NvmlError::FailedToLoadSymbol(what) => format!("the library is no NVML ({what})"),
        other => format!("NVML cannot start ({other})"),
    }
}

impl Library {
    /// The wrapper, for this room.
    pub(super) fn nvml(self) -> &'static Nvml {
        self.nvml
    }

    /// GPUs that NVML counts.
    ///
    /// # Errors
    /// A reason for people.
    pub fn count(self) -> Result<u32, String> {
        older::count(self.nvml).map_err(|error| reason(&error))
    }

    /// Version of the driver: `580.95.05`.
    ///
    /// # Errors
    /// A reason for people, as with every fact.
    pub fn driver(self) -> Fact<String> {
        self.nvml.sys_driver_version().map_err(|error| reason(&error))
    }

    /// Version of the library: `13.580.95.05`.
    ///
    /// # Errors
    /// A reason for people, as with every fact.
    pub fn version(self) -> Fact<String> {
        self.nvml.sys_nvml_version().map_err(|error| reason(&error))
    }

    /// Newest CUDA that the driver can run: `13.0`.
    ///
    /// # Errors
    /// A reason for people, as with every fact.
    pub fn cuda(self) -> Fact<String> {
        let version = older::cuda(self.nvml).map_err(|error| reason(&error))?;
        Ok(format!("{}.{}", cuda_driver_version_major(version), cuda_driver_version_minor(version)))
    }
}

/// The GPUs of this machine as NVML sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// Every GPU that can be reached, in NVML's order (by PCI address).
    pub gpus: Vec<GpuFound>,
    /// Those that cannot: their place in NVML's order, and why.
    pub unreached: Vec<(u32, String)>,
    /// Version of the driver.
    pub driver: Fact<String>,
    /// Newest CUDA the driver can run: `13.0`.
    pub cuda: Fact<String>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuFound {
    /// Its place in NVML's order.
    pub index: u32,
    /// What tells it from the other GPUs of this machine: its UUID, else its PCI address, else its place.
    pub id: String,
    /// Name of the product.
    pub name: Fact<String>,
    /// Unique id of the board.
    pub uuid: Fact<String>,
    /// Memory, all of it.
    pub memory_total: Fact<Bytes>,
    /// Memory nobody uses now.
    pub memory_free: Fact<Bytes>,
}

impl GpuFound {
    /// Its name, or that it has none.
    pub fn label(&self) -> &str {
        self.name.as_deref().unwrap_or("NVIDIA GPU of unknown name")
    }
}

/// Looks for GPUs through the library at `path`, or the system's own.
///
/// # Errors
/// [`Absent`] when NVML cannot be asked, or when it gives no handle for any of the GPUs that it counts.
pub fn discover(path: Option<&Path>) -> Result<Gpus, Absent> {
    let library = open(path)?;
    let (mut gpus, mut unreached) = (Vec::new(), Vec::new());
    for (index, found) in (0..).zip(select::gpus(library)) {
        match found {
            Ok(gpu) => gpus.push(describe(&gpu)),
            Err(reason) => unreached.push((index, reason)),
        }
    }
    if let (true, Some((index, reason))) = (gpus.is_empty(), unreached.first()) {
        let reason = format!("GPU {index} cannot be reached: {reason}");
        return Err(path.map_or_else(
            || Absent::NoDriver(reason.clone()),
            |path| Absent::Unusable { path: path.to_owned(), reason: reason.clone() },
        ));
    }
    Ok(Gpus { gpus, unreached, driver: library.driver(), cuda: library.cuda() })
}

fn describe(gpu: &select::Gpu) -> GpuFound {
    let memory = older::memory(gpu.device()).map_err(|error| reason(&error));
    GpuFound {
        index: gpu.index(),
        id: gpu.id().to_owned(),
        name: gpu.device().name().map_err(|error| reason(&error)),
        uuid: gpu.uuid().cloned().map_err(Clone::clone),
        memory_total: memory.as_ref().map(|[total, _]| *total).map_err(Clone::clone),
        memory_free: memory.map(|[_, free]| free),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_library_must_be_there_and_be_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("libnvidia-ml.so.1");
        let error = open(Some(&missing)).expect_err("missing");
        assert_eq!(error, Absent::Named(missing.clone()));
        assert!(error.to_string().contains("ldconfig"), "{error}");

        std::fs::write(&missing, "no library").expect("a file");
        let error = open(Some(&missing)).expect_err("not a library");
        assert!(
            matches!(&error, Absent::Unusable { reason, .. } if reason.contains("it cannot be loaded")),
            "{error}"
        );
    }
}
