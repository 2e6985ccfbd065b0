//! CUDA's libraries: which were found and where, and whether the compiler works.

use std::path::Path;

use super::line::{Area, Line};
use crate::base::{env, text};
use crate::cuda::{Architecture, Form, Kind, LOAD, Library, Nvrtc, Places, code};
use crate::nvml;

/// How to get the driver's CUDA library if NVML already works: images and packages ship them separately.
pub(super) const CUDA_TOO: &str = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility, or the driver's CUDA package (libnvidia-compute)";
/// How to fix a named library that is unusable.
pub(super) const NAMED: &str =
    "name the driver's own library (ldconfig -p | grep libnvidia-ml), or omit --nvml-library";
const DRIVER: &str = "install NVIDIA's driver, or give the container access: docker run --gpus all";

/// How to get a library that is not part of the driver, for the CUDA version that the driver supports: it rejects code
/// from a newer one.
fn fix(kind: Kind, newest: Option<u32>) -> &'static str {
    match (kind, newest) {
        (Kind::Driver, Some(_)) => CUDA_TOO,
        (Kind::Driver | Kind::Nvml, _) => DRIVER,
        (Kind::Nvrtc, Some(12)) => "pip install nvidia-cuda-nvrtc-cu12",
        (Kind::CublasLt, Some(12)) => "pip install nvidia-cublas-cu12",
        (Kind::Nvrtc, _) => "pip install nvidia-cuda-nvrtc==13.0.88, or scripts/fetch-nvrtc",
        (Kind::CublasLt, _) => "pip install nvidia-cublas==13.1.0.3",
    }
}

/// `gpu` says whether there is a GPU: without one, none of this is needed. `newest` is the CUDA version that its driver
/// supports, `nvml` the library named by the user.
pub(super) fn check(gpu: bool, newest: Option<u32>, nvml: Option<&Path>) -> Vec<Line> {
    let places = Places::here();
    let check = |kind| match (places.find(kind, newest), nvml) {
        (_, Some(path)) if kind == Kind::Nvml => named(path),
        (Some(library), _) if kind == Kind::Nvrtc => compiler(&library, fix(kind, newest)),
        (Some(library), _) => found(kind, &library),
        (None, _) => match (places.find(kind, None), newest) {
            (Some(newer), Some(newest)) => too_new(kind, &newer, newest),
            _ => missing(kind, gpu, fix(kind, newest)),
        },
    };
    [Kind::Driver, Kind::Nvml, Kind::Nvrtc, Kind::CublasLt].map(check).into()
}

/// A library named by the user must open; no other one replaces it.
fn named(path: &Path) -> Line {
    let shown = text::path(path);
    let line =
        |found: String| Line::ok(Area::Libraries, Kind::Nvml.name(), found).fact("path", shown.as_str());
    match nvml::open(Some(path)) {
        Ok(_) => line(format!("{shown} (named)")),
        Err(reason) => line(reason.to_string()).fail(NAMED),
    }
}

/// A library was found, but the driver would reject its output.
fn too_new(kind: Kind, library: &Library, newest: u32) -> Line {
    let line = found(kind, library);
    let text = format!("{} is for a newer CUDA than this driver's {newest}", line.found);
    Line { found: text, ..line }.warn(fix(kind, Some(newest)))
}

fn found(kind: Kind, library: &Library) -> Line {
    let path = library.path.canonicalize().unwrap_or_else(|_| library.path.clone());
    let shown = text::path(&path);
    let text = format!("{shown} ({})", library.place.name());
    Line::ok(Area::Libraries, kind.name(), text)
        .fact("path", shown.as_str())
        .fact("place", library.place.name())
}

fn missing(kind: Kind, gpu: bool, fix: &str) -> Line {
    let line = |text: &str| Line::ok(Area::Libraries, kind.name(), text);
    if gpu { line("not found").warn(fix) } else { line("not found; only needed for an NVIDIA GPU") }
}

/// A compiler that cannot find its companion library looks fine until it is used, so try it.
fn compiler(library: &Library, fix: &str) -> Line {
    let line = found(Kind::Nvrtc, library);
    let hopper = Architecture { major: 9, minor: 0 };
    let tried = Nvrtc::open(library).and_then(|nvrtc| {
        code(&nvrtc, LOAD, &[], hopper, Form::Cubin, &env::cache_folder())?;
        Ok(nvrtc.version())
    });
    match tried {
        Ok(version) => {
            let text = format!("{version}, {}", line.found);
            Line { found: text, ..line }.fact("version", version)
        }
        Err(reason) => {
            let text = format!("{} does not work: {reason}", line.found);
            Line { found: text, ..line }.warn(fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn a_library_is_missed_only_where_there_is_a_gpu() {
        let fix = fix(Kind::CublasLt, None);
        assert_eq!(missing(Kind::CublasLt, false, fix).status, Status::Ok);
        let line = missing(Kind::CublasLt, true, fix);
        assert_eq!((line.status, line.fix.as_deref()), (Status::Warn, Some(fix)));
    }

    #[test]
    fn a_library_that_was_named_is_tried() {
        let line = named(Path::new("/nowhere/lib.so"));
        assert_eq!((line.status, line.fix.as_deref()), (Status::Fail, Some(NAMED)));
        assert!(line.found.contains("no such file"), "{line:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libnvidia-ml.so.1");
        std::fs::write(&path, "no library").expect("a file");
        assert_eq!(named(&path).status, Status::Fail);
    }

    #[test]
    fn an_older_driver_is_offered_what_it_takes() {
        let library = Library { path: "/x/libnvrtc.so.13".into(), place: crate::cuda::Place::System };
        let line = too_new(Kind::Nvrtc, &library, 12);
        assert_eq!(line.fix.as_deref(), Some("pip install nvidia-cuda-nvrtc-cu12"));
        assert!(line.found.contains("newer CUDA than this driver's 12"), "{line:?}");
    }

    #[test]
    fn a_compiler_that_cannot_compile_is_told_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libnvrtc.so.13");
        std::fs::write(&path, "no library").expect("a file");
        let place = crate::cuda::Place::System;
        let line = compiler(&Library { path, place }, "pip");
        assert_eq!(line.status, Status::Warn);
        assert!(line.found.contains("cannot be loaded"), "{line:?}");
    }
}
