//! The kernels that are embedded in the program, and their code, compiled once a box.
//!
//! Code lies in the cache under the hash of all it came from: source, options, compiler and architecture.
//! What has changed is thus another file, and nothing is ever stale.

use std::fs;
use std::path::Path;

use super::{Architecture, Nvrtc};

/// A file of `kernels/`.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    /// Its name, for messages.
    pub name: &'static str,
    /// CUDA C++.
    pub source: &'static str,
    /// What it includes: names and sources.
    pub headers: &'static [(&'static str, &'static str)],
}

/// The load under which the power sensor is measured.
pub const LOAD: Kernel =
    Kernel { name: "load.cu", source: include_str!("../../../../kernels/load.cu"), headers: &[] };

/// What a GPU does at most.
pub const PEAKS: Kernel =
    Kernel { name: "peaks.cu", source: include_str!("../../../../kernels/peaks.cu"), headers: &[] };

const BASE: (&str, &str) = ("base.cuh", include_str!("../../../../kernels/base.cuh"));
const HALVES: (&str, &str) = ("halves.cuh", include_str!("../../../../kernels/halves.cuh"));
const KINDS: (&str, &str) = ("kinds.cuh", include_str!("../../../../kernels/kinds.cuh"));
const BLOCKS: (&str, &str) = ("blocks.cuh", include_str!("../../../../kernels/blocks.cuh"));

/// Matrices of one tensor type, which `KIND` names, times activations.
pub const MATRIX: Kernel = Kernel {
    name: "matrix.cu",
    source: include_str!("../../../../kernels/matrix.cu"),
    headers: &[BASE, KINDS, BLOCKS],
};

/// The same on tensor cores, for the types that they are used for.
pub const TENSOR: Kernel = Kernel {
    name: "tensor.cu",
    source: include_str!("../../../../kernels/tensor.cu"),
    headers: &[BASE, KINDS, ("fragments.cuh", include_str!("../../../../kernels/fragments.cuh"))],
};

/// Rotation, the KV cache and attention over it, for heads of `HEAD` elements and a cache of f16 or, with `EIGHT_BITS=1`,
/// `q8_0`.
pub const ATTENTION: Kernel = Kernel {
    name: "attention.cu",
    source: include_str!("../../../../kernels/attention.cu"),
    headers: &[BASE, HALVES],
};

/// What lies between matrices and attention.
pub const LAYER: Kernel = Kernel {
    name: "layer.cu",
    source: include_str!("../../../../kernels/layer.cu"),
    headers: &[BASE, HALVES],
};

/// Options for every kernel: a plain function is a device function, and the log says registers and spills.
pub(super) const OPTIONS: &[&str] = &["--std=c++17", "-default-device", "--ptxas-options=-v"];

/// What a kernel is compiled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Machine code of one architecture.
    Cubin,
    /// PTX for it, which the driver compiles further; it ends in a zero byte.
    Ptx,
}

impl Form {
    fn ending(self) -> &'static str {
        match self {
            Self::Cubin => "cubin",
            Self::Ptx => "ptx",
        }
    }
}

/// The kernel's code, out of `cache` or compiled; `defines` are further options, `-DKIND=Q4_0`.
///
/// # Errors
/// What the compiler says. A cache that cannot be written costs time and is no error.
pub fn code(
    nvrtc: &Nvrtc,
    kernel: Kernel,
    defines: &[String],
    architecture: Architecture,
    form: Form,
    cache: &Path,
) -> Result<Vec<u8>, String> {
    let folder = cache.join("cubins");
    let options: Vec<&str> = OPTIONS.iter().copied().chain(defines.iter().map(String::as_str)).collect();
    let key = key(kernel, &options, &nvrtc.version(), architecture);
    let file = folder.join(format!("{key}.{}", form.ending()));
    if let Ok(code) = fs::read(&file) {
        return Ok(code);
    }
    let compiled = nvrtc.compile(kernel, &options, architecture, form)?;
    // By rename, so that a reader sees all of it or nothing.
    let partial = file.with_extension(format!("{}.partial", std::process::id()));
    let kept = fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&partial, &compiled.code))
        .and_then(|()| fs::rename(&partial, &file));
    if kept.is_err() {
        // Nothing is left half-written; whether this works does not matter either.
        fs::remove_file(&partial).ok();
    }
    Ok(compiled.code)
}

fn key(kernel: Kernel, options: &[&str], version: &str, architecture: Architecture) -> String {
    let mut hash = blake3::Hasher::new();
    let (options, architecture) = (options.join(" "), architecture.to_string());
    let headers = kernel.headers.iter().flat_map(|(name, source)| [*name, *source]);
    for part in [kernel.source, &options, version, &architecture].into_iter().chain(headers) {
        // With its length, so that no two lists of parts are the same bytes.
        hash.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hash.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOPPER: Architecture = Architecture { major: 9, minor: 0 };

    #[test]
    fn whatever_changes_the_code_changes_its_place() {
        let plain = |source| Kernel { name: "test.cu", source, headers: &[] };
        let with = |headers| Kernel { headers, ..plain("a") };
        let base = key(plain("a"), &["-x"], "13.0", HOPPER);
        for other in [
            key(plain("b"), &["-x"], "13.0", HOPPER),
            key(plain("a"), &["-y"], "13.0", HOPPER),
            key(plain("a"), &["-x"], "12.9", HOPPER),
            key(plain("a"), &["-x"], "13.0", Architecture { major: 8, minor: 0 }),
            key(plain("a-x"), &[], "13.0", HOPPER),
            key(with(&[("h", "")]), &["-x"], "13.0", HOPPER),
            key(with(&[("h", "1")]), &["-x"], "13.0", HOPPER),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(key(with(&[("h", "")]), &[], "", HOPPER), key(with(&[("h", "1")]), &[], "", HOPPER));
        assert_eq!(base, key(plain("a"), &["-x"], "13.0", HOPPER));
    }

    #[test]
    fn the_second_time_the_file_is_taken() {
        let Some(nvrtc) = super::super::testing::nvrtc() else { return };
        let cache = tempfile::tempdir().expect("a folder");
        let code = |form| code(&nvrtc, LOAD, &[], HOPPER, form, cache.path());
        let compiled = code(Form::Cubin).expect("compiled");
        let files: Vec<_> = fs::read_dir(cache.path().join("cubins")).expect("a cache").collect();
        assert_eq!(files.len(), 1);
        let file = files[0].as_ref().expect("an entry").path();
        assert_eq!(fs::read(&file).expect("the code"), compiled);
        fs::write(&file, "marked").expect("written");
        assert_eq!(code(Form::Cubin).expect("read"), b"marked");
        let ptx = code(Form::Ptx).expect("compiled");
        assert!(ptx.ends_with(b"\0") && String::from_utf8_lossy(&ptx).contains(".target sm_90a"));
    }
}
