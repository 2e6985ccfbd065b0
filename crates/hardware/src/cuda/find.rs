//! Where CUDA's libraries lie: the loader's folders, a toolkit, then the Python wheels.
//!
//! Looks at files alone and loads nothing. The wheels matter, since many a GPU box has `PyTorch` and no toolkit.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::env;

/// A library that this program can make use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `libcuda`: the driver's, for contexts and launches.
    Driver,
    /// `libnvrtc`: compiles CUDA C++ at run time.
    Nvrtc,
    /// `libcublasLt`: matrix products.
    CublasLt,
    /// `libnvidia-ml`: the driver's, for sensors.
    Nvml,
}

/// Newest and oldest CUDA whose library is looked for by name.
const NEWEST: u32 = 15;
const OLDEST: u32 = 12;

impl Kind {
    /// Names of the file, best first.
    fn names(self) -> Vec<String> {
        let by_major = |name: &str| (OLDEST..=NEWEST).rev().map(|n| format!("{name}.so.{n}")).collect();
        match self {
            Self::Driver => vec!["libcuda.so.1".to_owned()],
            Self::Nvml => vec!["libnvidia-ml.so.1".to_owned()],
            Self::Nvrtc => by_major("libnvrtc"),
            Self::CublasLt => by_major("libcublasLt"),
        }
    }

    /// The name without its version.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "libcuda",
            Self::Nvrtc => "libnvrtc",
            Self::CublasLt => "libcublasLt",
            Self::Nvml => "libnvidia-ml",
        }
    }
}

/// How a folder came to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `LD_LIBRARY_PATH`.
    LibraryPath,
    /// The system's folders.
    System,
    /// `CUDA_HOME`, or where toolkits are installed.
    Toolkit,
    /// The packages of a Python.
    Wheel,
    /// This program's cache.
    Cache,
}

impl Place {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::LibraryPath => "LD_LIBRARY_PATH",
            Self::System => "system",
            Self::Toolkit => "toolkit",
            Self::Wheel => "Python wheel",
            Self::Cache => "cache",
        }
    }
}

/// A library that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// How it was found.
    pub place: Place,
}

impl Library {
    /// CUDA's major version, where the file's name says it: 13 of `libnvrtc.so.13`.
    fn major(&self) -> Option<u32> {
        let name = self.path.file_name()?.to_str()?;
        name.split_once(".so.")?.1.split('.').next()?.parse().ok()
    }
}

/// Folders to look into, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(Vec<(Place, PathBuf)>);

impl Places {
    /// Those of this machine.
    pub fn here() -> Self {
        let toolkits: Vec<PathBuf> = env::cuda_home().into_iter().chain(["/usr/local/cuda".into()]).collect();
        let mut packages: Vec<PathBuf> =
            env::python_prefixes().iter().flat_map(|prefix| site_packages(prefix)).collect();
        packages.extend(env::python_path());
        packages.push("/usr/lib/python3/dist-packages".into());
        let cache = env::cache_folder();
        Self::of(
            env::library_path(),
            system_folders(),
            &toolkits,
            &packages,
            // Where scripts/fetch-nvrtc and scripts/build-candle-cuda put what they get.
            vec![cache.join("nvrtc-13.0"), cache.join("cuda-13.0/lib")],
        )
    }

    /// Folders that are there, each once.
    fn of(
        library_path: Vec<PathBuf>,
        system: Vec<PathBuf>,
        toolkits: &[PathBuf],
        packages: &[PathBuf],
        cache: Vec<PathBuf>,
    ) -> Self {
        let toolkits = toolkits
            .iter()
            .flat_map(|home| ["lib64", "lib", "targets/x86_64-linux/lib"].map(|folder| home.join(folder)));
        // One folder for all of CUDA 13, one a library before.
        let wheels = packages.iter().flat_map(|packages| {
            ["cu13", "cuda_nvrtc", "cublas"].map(|name| packages.join("nvidia").join(name).join("lib"))
        });
        let all = (library_path.into_iter().map(|folder| (Place::LibraryPath, folder)))
            .chain(system.into_iter().map(|folder| (Place::System, folder)))
            .chain(toolkits.map(|folder| (Place::Toolkit, folder)))
            .chain(wheels.map(|folder| (Place::Wheel, folder)))
            .chain(cache.into_iter().map(|folder| (Place::Cache, folder)));
        let mut places: Vec<(Place, PathBuf)> = Vec::new();
        for (place, folder) in all {
            if folder.is_dir() && !places.iter().any(|(_, known)| *known == folder) {
                places.push((place, folder));
            }
        }
        Self(places)
    }

    /// Every such library, in the order of the folders.
    pub fn all(&self, kind: Kind) -> Vec<Library> {
        let names = kind.names();
        let in_folder = |(place, folder): &(Place, PathBuf)| {
            let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
            let place = *place;
            files.into_iter().filter(|file| file.is_file()).map(move |path| Library { path, place })
        };
        self.0.iter().flat_map(in_folder).collect()
    }

    /// The library that will be used. NVRTC must not be of a newer CUDA than the driver, which would not take
    /// its code; `newest` is the driver's major version where one is known.
    pub fn find(&self, kind: Kind, newest: Option<u32>) -> Option<Library> {
        let fits =
            |library: &Library| newest.is_none_or(|newest| library.major().is_none_or(|n| n <= newest));
        self.all(kind).into_iter().find(|library| kind != Kind::Nvrtc || fits(library))
    }
}

/// `lib/python3.N/site-packages` and Debian's `dist-packages`, for each N that is there.
fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(prefix.join("lib")) else { return Vec::new() };
    let mut pythons: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3")))
        .collect();
    pythons.sort();
    pythons
        .iter()
        .flat_map(|folder| ["site-packages", "dist-packages"].map(|name| folder.join(name)))
        .collect()
}

/// The loader's own folders, those its configuration adds, and where containers and WSL mount the driver.
fn system_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = [
        "/usr/lib/x86_64-linux-gnu",
        "/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/lib64",
        "/usr/lib",
        "/usr/local/lib",
        "/usr/local/nvidia/lib64",
        "/usr/local/nvidia/lib",
        "/usr/lib/wsl/lib",
        "/run/opengl-driver/lib",
    ]
    .map(PathBuf::from)
    .into();
    let Ok(entries) = fs::read_dir("/etc/ld.so.conf.d") else { return folders };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(file).unwrap_or_default();
        folders.extend(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(PathBuf::from));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, "").expect("a file");
        path.to_owned()
    }

    #[test]
    fn the_loader_comes_before_the_toolkit_and_the_toolkit_before_the_wheels() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        let wheel = touch(&at("venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13"));
        let find = || {
            let packages = site_packages(&at("venv"));
            Places::of(vec![at("ld")], vec![at("sys")], &[at("cuda")], &packages, vec![at("cache")])
                .find(Kind::Nvrtc, None)
                .expect("found")
        };
        assert_eq!(find(), Library { path: wheel, place: Place::Wheel });
        let toolkit = touch(&at("cuda/lib64/libnvrtc.so.12"));
        assert_eq!(find(), Library { path: toolkit, place: Place::Toolkit });
        let system = touch(&at("sys/libnvrtc.so.13"));
        assert_eq!(find(), Library { path: system, place: Place::System });
        let named = touch(&at("ld/libnvrtc.so.13"));
        assert_eq!(find(), Library { path: named, place: Place::LibraryPath });
    }

    #[test]
    fn a_compiler_newer_than_the_driver_is_passed_over() {
        let root = tempfile::tempdir().expect("a folder");
        touch(&root.path().join("sys/libnvrtc.so.13"));
        let old = touch(&root.path().join("venv/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"));
        let packages = [root.path().join("venv")];
        let places = Places::of(Vec::new(), vec![root.path().join("sys")], &[], &packages, Vec::new());
        assert_eq!(places.find(Kind::Nvrtc, Some(12)).expect("an older one").path, old);
        assert_eq!(places.find(Kind::Nvrtc, Some(13)).expect("the first").place, Place::System);
        assert_eq!(places.find(Kind::Nvrtc, Some(11)), None);
        assert_eq!(places.find(Kind::Driver, None), None);
    }
}
