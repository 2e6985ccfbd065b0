//! The processor: its model, instruction sets and clocks.

use std::fs;
use std::path::{Path, PathBuf};

use super::line::{Area, Line};
use crate::base::sys;

pub(super) fn check(root: &Path) -> Vec<Line> {
    let model = sys::cpu_model().unwrap_or_else(|| "unknown model".to_owned());
    vec![
        Line::ok(Area::Processor, "model", model),
        threads(root, sys::logical_cpus()),
        instructions(&sys::instruction_sets(), sys::has_cpu_flag("amx_int8")),
        governor(root),
        clocks(root),
    ]
}

/// Usable processors, and the container's CPU quota.
fn threads(root: &Path, usable: usize) -> Line {
    let online = fs::read_to_string(root.join("proc/cpuinfo"))
        .map_or(0, |text| text.lines().filter(|line| line.starts_with("processor")).count());
    let quota = quota(root);
    let mut found = format!("{usable} usable of {online} online");
    if let Some(quota) = quota {
        found = format!("{found}, CPU quota of {quota:.1}");
    }
    let line = Line::ok(Area::Processor, "threads", found)
        .fact("usable", usable)
        .fact("online", online)
        .fact("quota", quota);
    match quota {
        // A thread that is descheduled in the middle of a step makes that step long.
        Some(quota) if quota < usable as f64 => line.warn(
            "docker run --cpuset-cpus instead of --cpus, or bench run --threads no higher than the quota",
        ),
        _ => line,
    }
}

/// The cgroup v2 CPU quota, in processors.
fn quota(root: &Path) -> Option<f64> {
    let text = fs::read_to_string(root.join("sys/fs/cgroup/cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

fn instructions(found: &[&str], amx: bool) -> Line {
    let mut names: Vec<&str> = found.to_vec();
    if amx {
        names.push("amx-int8");
    }
    let line = Line::ok(Area::Processor, "instructions", names.join(" ")).fact("sets", names.clone());
    if cfg!(target_arch = "x86_64") && !(names.contains(&"avx2") && names.contains(&"fma")) {
        return line.warn(
            "use a processor with AVX2 and FMA; without them candle's kernels are several times slower",
        );
    }
    line
}

/// The CPU frequency governor. If the system offers none, there is nothing to fix.
fn governor(root: &Path) -> Line {
    let mut names: Vec<String> = processors(root)
        .iter()
        .filter_map(|cpu| fs::read_to_string(cpu.join("cpufreq/scaling_governor")).ok())
        .map(|text| text.trim().to_owned())
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Line::ok(Area::Processor, "governor", "none (a virtual machine, or fixed clocks)");
    }
    let line = Line::ok(Area::Processor, "governor", names.join(", ")).fact("governors", names.clone());
    if names == ["performance"] {
        return line;
    }
    line.warn("echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")
}

/// Current clocks, and whether they may boost above the base clock.
fn clocks(root: &Path) -> Line {
    let text = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
    let mhz: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("cpu MHz"))
        .filter_map(|line| line.split_once(':')?.1.trim().parse().ok())
        .collect();
    let read = |path: &str| fs::read_to_string(root.join("sys/devices/system/cpu").join(path)).ok();
    let boost = read("intel_pstate/no_turbo")
        .map(|text| text.trim() == "0")
        .or_else(|| read("cpufreq/boost").map(|text| text.trim() == "1"));
    let range = match (mhz.iter().copied().reduce(f64::min), mhz.iter().copied().reduce(f64::max)) {
        (Some(low), Some(high)) if high - low < 1.0 => format!("{high:.0} MHz"),
        (Some(low), Some(high)) => format!("{low:.0} to {high:.0} MHz"),
        _ => "not reported by the system".to_owned(),
    };
    let boosts = match boost {
        Some(true) => ", may boost",
        Some(false) => ", boost off",
        None => "",
    };
    Line::ok(Area::Processor, "clocks", format!("{range}{boosts}")).fact("mhz", mhz).fact("boost", boost)
}

/// The folders `cpu0`, `cpu1`, … of the system.
fn processors(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root.join("sys/devices/system/cpu")) else { return Vec::new() };
    let numbered = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.strip_prefix("cpu").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(numbered).collect()
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn one_lazy_processor_is_enough_for_a_warning() {
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(governor(root.path()).status, Status::Ok);
        let file = |n: u32| format!("sys/devices/system/cpu/cpu{n}/cpufreq/scaling_governor");
        write(root.path(), &file(0), "performance\n");
        write(root.path(), &file(11), "performance\n");
        write(root.path(), "sys/devices/system/cpu/cpufreq/scaling_governor", "powersave\n");
        assert_eq!(governor(root.path()).status, Status::Ok);
        write(root.path(), &file(1), "powersave\n");
        let line = governor(root.path());
        assert_eq!((line.status, line.found.as_str()), (Status::Warn, "performance, powersave"));
    }

    #[test]
    fn a_quota_below_the_processors_warns() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "sys/fs/cgroup/cpu.max", "max 100000\n");
        assert_eq!(threads(root.path(), 4).status, Status::Ok);
        write(root.path(), "sys/fs/cgroup/cpu.max", "150000 100000\n");
        let line = threads(root.path(), 4);
        assert_eq!(line.status, Status::Warn);
        assert_eq!(line.facts["quota"], 1.5);
    }

    #[test]
    fn clocks_and_instruction_sets_are_told() {
        let root = tempfile::tempdir().expect("a folder");
        write(
            root.path(),
            "proc/cpuinfo",
            "processor : 0\ncpu MHz\t\t: 2100.5\nprocessor : 1\ncpu MHz\t\t: 3500.1\n",
        );
        write(root.path(), "sys/devices/system/cpu/intel_pstate/no_turbo", "1\n");
        assert_eq!(clocks(root.path()).found, "2100 to 3500 MHz, boost off");
        assert_eq!(instructions(&["avx", "fma", "avx2"], true).found, "avx fma avx2 amx-int8");
        if cfg!(target_arch = "x86_64") {
            assert_eq!(instructions(&["avx"], false).status, Status::Warn);
        }
    }
}
