//! The processor's energy: whether this user can read RAPL's counters.

use std::fs;
use std::path::Path;

use super::line::{Area, Line};
use crate::base::sys;

pub(super) fn check(root: &Path) -> Line {
    let folder = root.join("sys/class/powercap");
    let mut zones = Vec::new();
    let mut unreadable = false;
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let counter = path.join("energy_uj");
        if !entry.file_name().to_string_lossy().starts_with("intel-rapl:") || !counter.exists() {
            continue;
        }
        // Only reading them proves it: since 2020 the kernel restricts the counters to root.
        unreadable |= fs::read_to_string(&counter).is_err();
        zones.push(fs::read_to_string(path.join("name")).unwrap_or_default().trim().to_owned());
    }
    zones.sort();
    if zones.is_empty() {
        let guest = sys::has_cpu_flag("hypervisor");
        let why = if guest { ": a virtual machine hides them" } else { "" };
        let line =
            Line::ok(Area::Power, "rapl", format!("no counters{why}; the processor's energy will be null"));
        return line.warn(if guest {
            "run on bare metal: the host can read them"
        } else {
            "sudo modprobe intel_rapl_msr"
        });
    }
    let line = Line::ok(Area::Power, "rapl", zones.join(", ")).fact("zones", zones.clone());
    if unreadable {
        let found = format!("{}: not readable by this user", zones.join(", "));
        return Line { found, ..line }.warn("sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn counters_are_named_and_their_absence_has_a_way_out() {
        let root = tempfile::tempdir().expect("a folder");
        let line = check(root.path());
        assert_eq!(line.status, Status::Warn);
        assert!(line.fix.is_some());
        for (zone, name) in [("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "dram")] {
            let folder = root.path().join("sys/class/powercap").join(zone);
            fs::create_dir_all(&folder).expect("a folder");
            fs::write(folder.join("name"), name).expect("a file");
            fs::write(folder.join("energy_uj"), "12").expect("a file");
        }
        // The control type has no counter of its own.
        fs::create_dir_all(root.path().join("sys/class/powercap/intel-rapl")).expect("a folder");
        let line = check(root.path());
        assert_eq!((line.status, line.found.as_str()), (Status::Ok, "dram, package-0"));
        // A folder in the file's place cannot be read by anyone, root included.
        let counter = root.path().join("sys/class/powercap/intel-rapl:0/energy_uj");
        fs::remove_file(&counter).expect("removed");
        fs::create_dir(&counter).expect("a folder");
        let line = check(root.path());
        assert_eq!(line.status, Status::Warn);
        assert!(line.fix.expect("a command").contains("chmod a+r"));
    }
}
