//! Finds and opens the library, by its default name or by a path that somebody gave.
//!
//! An opened library stays open until the process ends: a step that puts clocks back may run at any moment,
//! and a device must not outlive its library.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::facts::Fact;
use super::reason;
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
    /// No library, or no driver behind it: the normal case of a box without an NVIDIA GPU.
    #[error("{0}")]
    NoDriver(String),
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
    let nvml = loaded.map_err(|error| match &path {
        Some(path) => Absent::Unusable { path: path.clone(), reason: init_reason(&error, true) },
        None => Absent::NoDriver(init_reason(&error, false)),
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
        self.nvml.device_count().map_err(|error| reason(&error))
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
        let version = self.nvml.sys_cuda_driver_version().map_err(|error| reason(&error))?;
        Ok(format!("{}.{}", cuda_driver_version_major(version), cuda_driver_version_minor(version)))
    }
}

/// The GPUs of this machine as NVML sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// Every GPU, in NVML's order (by PCI address).
    pub gpus: Vec<GpuFound>,
    /// Version of the driver.
    pub driver: Option<String>,
    /// Newest CUDA the driver can run: `13.0`.
    pub cuda: Option<String>,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuFound {
    /// Name of the product.
    pub name: String,
    /// Unique id of the board.
    pub uuid: String,
    /// Memory, all of it.
    pub memory_total: Bytes,
    /// Memory nobody uses now.
    pub memory_free: Bytes,
}

/// Looks for GPUs through the library at `path`, or the system's own.
///
/// # Errors
/// [`Absent`] when NVML cannot be asked; a GPU that it cannot describe is [`Absent::NoDriver`] as well.
pub fn discover(path: Option<&Path>) -> Result<Gpus, Absent> {
    let library = open(path)?;
    let cannot = |what: &str, error: &NvmlError| {
        let reason = format!("NVML cannot {what} ({error})");
        path.map_or_else(
            || Absent::NoDriver(reason.clone()),
            |path| Absent::Unusable { path: path.to_owned(), reason: reason.clone() },
        )
    };
    let count = library.nvml.device_count().map_err(|error| cannot("count the GPUs", &error))?;
    let mut gpus = Vec::new();
    for index in 0..count {
        let describe = || {
            let device = library.nvml.device_by_index(index)?;
            let memory = device.memory_info()?;
            Ok::<_, NvmlError>(GpuFound {
                name: device.name()?,
                uuid: device.uuid()?,
                memory_total: Bytes::new(memory.total),
                memory_free: Bytes::new(memory.free),
            })
        };
        gpus.push(describe().map_err(|error| cannot(&format!("describe GPU {index}"), &error))?);
    }
    Ok(Gpus { gpus, driver: library.driver().ok(), cuda: library.cuda().ok() })
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
