//! Finds and opens the library, by its default name or by a given path.
//!
//! A GPU counts as present if NVML returns a handle for it; everything else is a fact, or the reason why it is unknown.
//!
//! An opened library stays open until the process ends: a step that restores clocks may run at any moment, and a device
//! must not outlive its library.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::{Fact, older, reason};
use crate::base::failure::{Class, Classed};

/// Why NVML is unavailable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// The named library does not exist (exit code 13).
    #[error(
        "--nvml-library {}: no such file. `ldconfig -p | grep libnvidia-ml` finds the driver's; without the flag it is found automatically",
        .0.display()
    )]
    Named(PathBuf),
    /// The named file exists but is not a working NVML.
    #[error("--nvml-library {}: {reason}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No library: the normal case on a machine without an NVIDIA GPU.
    #[error("{0}")]
    NoLibrary(String),
    /// The library is present but returns no GPU: the driver is missing or mismatched, or no GPU can be reached.
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
/// [`Absent`], with a remedy.
pub fn open(path: Option<&Path>) -> Result<Library, Absent> {
    // A name without a folder would be searched in the system's paths, not in the current folder.
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
    // Leaked once per library, for the reason given at the top of this file.
    let library = Library { nvml: Box::leak(Box::new(nvml)) };
    open.push((path, library));
    Ok(library)
}

fn init_reason(error: &NvmlError, named: bool) -> String {
    match error {
        NvmlError::LibloadingError(error) if named => format!("it cannot be loaded ({error})"),
        NvmlError::LibloadingError(error) => format!(
            "NVML cannot be loaded ({error}): no NVIDIA driver is installed, or this container has no access to it (docker run --gpus all)"
        ),
        NvmlError::DriverNotLoaded => {
            "NVML is installed but the driver is not loaded; `sudo modprobe nvidia` loads it".to_owned()
        }
        NvmlError::LibRmVersionMismatch => {
            "NVML and the loaded driver have different versions: the driver was updated, reboot".to_owned()
        }
        NvmlError::NoPermission => {
            "NVML has no permission to access the driver; this user needs access to /dev/nvidiactl and /dev/nvidia0"
                .to_owned()
        }
        NvmlError::FailedToLoadSymbol(what) => format!("the library is not NVML ({what})"),
        other => format!("NVML cannot start ({other})"),
    }
}

impl Library {
    /// The wrapper, for this module.
    pub(super) fn nvml(self) -> &'static Nvml {
        self.nvml
    }

    /// Number of GPUs that NVML reports.
    ///
    /// # Errors
    /// A human-readable reason.
    pub fn count(self) -> Result<u32, String> {
        older::count(self.nvml).map_err(|error| reason(&error))
    }

    /// Version of the driver: `580.95.05`.
    ///
    /// # Errors
    /// A human-readable reason, as with every fact.
    pub fn driver(self) -> Fact<String> {
        self.nvml.sys_driver_version().map_err(|error| reason(&error))
    }

    /// Version of the library: `13.580.95.05`.
    ///
    /// # Errors
    /// A human-readable reason, as with every fact.
    pub fn version(self) -> Fact<String> {
        self.nvml.sys_nvml_version().map_err(|error| reason(&error))
    }

    /// Newest CUDA version that the driver supports: `13.0`.
    ///
    /// # Errors
    /// A human-readable reason, as with every fact.
    pub fn cuda(self) -> Fact<String> {
        let version = older::cuda(self.nvml).map_err(|error| reason(&error))?;
        Ok(format!("{}.{}", cuda_driver_version_major(version), cuda_driver_version_minor(version)))
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
