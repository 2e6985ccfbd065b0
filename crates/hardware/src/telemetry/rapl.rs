//! The processor's energy: RAPL's counters as Linux exposes them under powercap.
//!
//! Packages are summed, plus DRAM if it is a separate domain; `core` and `uncore` are part of the package and `psys` is
//! outside it, so they are ignored. AMD's counters appear under the same `intel-rapl` names. A counter wraps at
//! `max_energy_range_uj` (262 kJ on many: 20 minutes at 200 W), so each reading is unwrapped against the previous one; the
//! recorder reads every 50 ms, so a wrap cannot be missed below 5 MW.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Description, Scope, Source};
use crate::base::event::{ClockSample, PowerKind, ThrottledTime};
use crate::base::units::{Joules, Watts};

/// Where Linux exposes the counters.
pub const ROOT: &str = "/sys/class/powercap";

/// The packages of this machine, and their memory if it has a counter.
#[derive(Debug)]
pub struct RaplSource {
    domains: Vec<Domain>,
    description: Description,
}

#[derive(Debug)]
struct Domain {
    file: PathBuf,
    /// Value at which the counter wraps, in microjoules.
    range: u64,
    last: u64,
    /// Microjoules since the source was opened.
    total: u64,
}

impl RaplSource {
    /// Whether there is a domain under `root`, readable or not.
    pub fn is_here(root: &Path) -> bool {
        let mut zones = fs::read_dir(root).into_iter().flatten().flatten();
        zones.any(|zone| {
            zone.file_name().to_string_lossy().starts_with("intel-rapl:")
                && zone.path().join("energy_uj").exists()
        })
    }

    /// Opens every package and DRAM domain under `root`.
    ///
    /// # Errors
    /// A sentence that says why there is nothing to read, with the command that fixes it if there is one.
    pub fn open(root: &Path) -> Result<Self, String> {
        let mut zones: Vec<PathBuf> = fs::read_dir(root)
            .map_err(|_| {
                "this system has no RAPL counters (no /sys/class/powercap), as is usual for virtual machines"
                    .to_owned()
            })?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|zone| {
                zone.file_name().is_some_and(|name| name.to_string_lossy().starts_with("intel-rapl:"))
            })
            .collect();
        zones.sort();
        let mut domains = Vec::new();
        let mut names = Vec::new();
        let mut dram = false;
        for zone in &zones {
            let Ok(name) = fs::read_to_string(zone.join("name")) else { continue };
            let name = name.trim().to_owned();
            if !(name.starts_with("package") || name == "dram") {
                continue;
            }
            domains.push(Domain::open(zone)?);
            dram |= name == "dram";
            names.push(name);
        }
        if domains.is_empty() {
            return Err(
                "this system has no RAPL package counters, as is usual for virtual machines".to_owned()
            );
        }
        let description = Description {
            name: "rapl",
            device: names.join(", "),
            driver: None,
            scope: if dram { Scope::PackageAndDram } else { Scope::Package },
            no_counter: None,
            no_power: Some("RAPL has an energy counter but no power sensor".to_owned()),
        };
        Ok(Self { domains, description })
    }
}

impl Domain {
    fn open(zone: &Path) -> Result<Self, String> {
        let file = zone.join("energy_uj");
        let last = read(&file)?;
        let range = read(&zone.join("max_energy_range_uj"))?;
        Ok(Self { file, range, last, total: 0 })
    }

    fn advance(&mut self) -> Result<u64, String> {
        let now = read(&self.file)?;
        self.total += match now.checked_sub(self.last) {
            Some(step) => step,
            // Wrapped once: two wraps between two readings are impossible.
            None => now + self.range.saturating_sub(self.last),
        };
        self.last = now;
        Ok(self.total)
    }
}

fn read(file: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!(
            "only root can read {}; `sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj` allows it until the next boot",
            file.display()
        ),
        _ => format!("{}: {error}", file.display()),
    })?;
    text.trim().parse().map_err(|_| format!("{}: `{}` is not a number", file.display(), text.trim()))
}

impl Source for RaplSource {
    fn description(&self) -> &Description {
        &self.description
    }

    fn energy(&mut self) -> Result<Joules, String> {
        let mut microjoules = 0;
        for domain in &mut self.domains {
            microjoules += domain.advance()?;
        }
        Ok(Joules::new(microjoules as f64 / 1e6))
    }

    fn power(&mut self) -> Result<Vec<(PowerKind, Watts)>, String> {
        Err("RAPL has an energy counter but no power sensor".to_owned())
    }

    fn clocks(&mut self) -> ClockSample {
        ClockSample::default()
    }

    fn throttled(&mut self) -> ThrottledTime {
        ThrottledTime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(root: &Path, zone: &str, name: &str, energy: u64) {
        let folder = root.join(zone);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("name"), format!("{name}\n")).expect("a file");
        fs::write(folder.join("max_energy_range_uj"), "1000000\n").expect("a file");
        fs::write(folder.join("energy_uj"), format!("{energy}\n")).expect("a file");
    }

    fn set(root: &Path, zone: &str, energy: u64) {
        fs::write(root.join(zone).join("energy_uj"), format!("{energy}\n")).expect("a file");
    }

    #[test]
    fn packages_and_memory_are_summed_and_unwrapped() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        zone(root, "intel-rapl:0", "package-0", 900_000);
        zone(root, "intel-rapl:0:0", "core", 5);
        zone(root, "intel-rapl:0:1", "dram", 100);
        zone(root, "intel-rapl:1", "psys", 7);
        zone(root, "intel-rapl-mmio:0", "package-0", 9);
        let mut source = RaplSource::open(root).expect("readable");
        assert_eq!(source.description().device, "package-0, dram");
        assert_eq!(source.description().scope, Scope::PackageAndDram);
        assert_eq!(source.energy(), Ok(Joules::ZERO));
        set(root, "intel-rapl:0", 950_000);
        set(root, "intel-rapl:0:0", 999_999);
        assert_eq!(source.energy(), Ok(Joules::new(0.05)));
        // Wraps at one joule: 50,000 to the end and 30,000 after it.
        set(root, "intel-rapl:0", 30_000);
        set(root, "intel-rapl:0:1", 20_100);
        assert_eq!(source.energy(), Ok(Joules::new(0.15)));
    }

    #[test]
    fn nothing_to_read_is_said_with_the_way_out() {
        let root = tempfile::tempdir().expect("a folder");
        let missing = RaplSource::open(&root.path().join("powercap")).expect_err("absent");
        assert!(missing.contains("as is usual for virtual machines"), "{missing}");
        let empty = RaplSource::open(root.path()).expect_err("empty");
        assert!(empty.contains("no RAPL package counters"), "{empty}");
        zone(root.path(), "intel-rapl:0", "package-0", 1);
        fs::write(root.path().join("intel-rapl:0/energy_uj"), "watts").expect("a file");
        assert!(RaplSource::is_here(root.path()) && !RaplSource::is_here(&root.path().join("powercap")));
        let broken = RaplSource::open(root.path()).expect_err("no number");
        assert!(broken.contains("energy_uj") && broken.contains("`watts` is not a number"), "{broken}");
    }
}
