//! CUDA's libraries: which were found and where, and whether the compiler among them works.

use super::line::{Area, Line};
use crate::base::env;
use crate::hardware::cuda::{Architecture, Kind, LOAD, Library, Nvrtc, Places, cubin};

/// What gets a library that has no driver in it.
const NVRTC: &str = "pip install nvidia-cuda-nvrtc==13.0.88, or scripts/fetch-nvrtc";
const CUBLAS: &str = "pip install nvidia-cublas==13.1.0.3";
const DRIVER: &str = "install NVIDIA's driver, or start the container with it: docker run --gpus all";

/// `gpu` says whether one is here: without one nothing of this is missed.
pub(super) fn look(gpu: bool) -> Vec<Line> {
    let places = Places::here();
    [(Kind::Driver, DRIVER), (Kind::Nvml, DRIVER), (Kind::Nvrtc, NVRTC), (Kind::CublasLt, CUBLAS)]
        .into_iter()
        .map(|(kind, mend)| match places.find(kind, None) {
            Some(library) if kind == Kind::Nvrtc => compiler(&library),
            Some(library) => found(kind, &library),
            None => missing(kind, gpu, mend),
        })
        .collect()
}

fn found(kind: Kind, library: &Library) -> Line {
    let path = library.path.canonicalize().unwrap_or_else(|_| library.path.clone());
    let text = format!("{} ({})", path.display(), library.place.name());
    Line::ok(Area::Libraries, kind.name(), text)
        .fact("path", path.to_string_lossy())
        .fact("place", library.place.name())
}

fn missing(kind: Kind, gpu: bool, mend: &str) -> Line {
    let line = |text: &str| Line::ok(Area::Libraries, kind.name(), text);
    if gpu { line("not found").warn(mend) } else { line("not found; only an NVIDIA GPU needs it") }
}

/// A compiler that does not find its other half looks fine until it is used, so it is used.
fn compiler(library: &Library) -> Line {
    let line = found(Kind::Nvrtc, library);
    let hopper = Architecture { major: 9, minor: 0 };
    let tried = Nvrtc::open(library).and_then(|nvrtc| {
        cubin(&nvrtc, LOAD, hopper, &env::cache_folder())?;
        Ok(nvrtc.version())
    });
    match tried {
        Ok(version) => {
            let text = format!("{version}, {}", line.found);
            Line { found: text, ..line }.fact("version", version)
        }
        Err(reason) => {
            let text = format!("{} does not work: {reason}", line.found);
            Line { found: text, ..line }.warn(NVRTC)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn a_library_is_missed_only_where_there_is_a_gpu() {
        assert_eq!(missing(Kind::CublasLt, false, CUBLAS).status, Status::Ok);
        let line = missing(Kind::CublasLt, true, CUBLAS);
        assert_eq!((line.status, line.mend.as_deref()), (Status::Warn, Some(CUBLAS)));
    }

    #[test]
    fn a_compiler_that_cannot_compile_is_told_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("libnvrtc.so.13");
        std::fs::write(&path, "no library").expect("a file");
        let place = crate::hardware::cuda::Place::System;
        let line = compiler(&Library { path, place });
        assert_eq!(line.status, Status::Warn);
        assert!(line.found.contains("cannot be loaded"), "{line:?}");
    }
}
