//! Operating system, container, virtual machine, and the clock used for all timing.

use std::fs;
use std::path::Path;

use super::line::{Area, Line};
use crate::base::{clock, sys};

/// Clock sources that cost a system call or more.
const SLOW_CLOCKS: [&str; 3] = ["hpet", "acpi_pm", "jiffies"];

pub(super) fn check(root: &Path) -> Vec<Line> {
    let (name, kernel) = sys::operating_system();
    let unknown = || "unknown".to_owned();
    let system = format!("{}, kernel {}", name.unwrap_or_else(unknown), kernel.unwrap_or_else(unknown));
    let container = sys::container();
    let guest = sys::has_cpu_flag("hypervisor");
    let place = match (container, guest) {
        (Some(container), true) => format!("{container} container in a virtual machine"),
        (Some(container), false) => format!("{container} container"),
        (None, true) => "virtual machine, no container detected".to_owned(),
        (None, false) => "no container or virtual machine detected".to_owned(),
    };
    vec![
        Line::ok(Area::System, "operating system", system),
        Line::ok(Area::System, "container", place).fact("container", container).fact("guest", guest),
        clock_line(root),
    ]
}

fn clock_line(root: &Path) -> Line {
    let path = root.join("sys/devices/system/clocksource/clocksource0");
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default().trim().to_owned();
    let source = read("current_clocksource");
    let quality = clock::measure_quality();
    let found = format!(
        "{}: {} per reading, resolution {}",
        if source.is_empty() { "unknown source" } else { &source },
        quality.overhead,
        quality.precision
    );
    let line = Line::ok(Area::System, "clock", found)
        .fact("source", source.as_str())
        .fact("overhead_seconds", quality.overhead.get())
        .fact("precision_seconds", quality.precision.get());
    if SLOW_CLOCKS.contains(&source.as_str()) {
        let better = read("available_clocksource");
        let better =
            better.split_whitespace().find(|name| !SLOW_CLOCKS.contains(name)).unwrap_or("tsc").to_owned();
        return line.warn(format!(
            "echo {better} | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource"
        ));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn a_slow_clock_is_named_with_a_better_one() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("sys/devices/system/clocksource/clocksource0");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("current_clocksource"), "hpet\n").expect("a file");
        fs::write(folder.join("available_clocksource"), "hpet kvm-clock acpi_pm\n").expect("a file");
        let line = clock_line(root.path());
        assert_eq!(line.status, Status::Warn);
        assert!(line.fix.expect("a command").starts_with("echo kvm-clock |"));
        fs::write(folder.join("current_clocksource"), "tsc\n").expect("a file");
        assert_eq!(clock_line(root.path()).status, Status::Ok);
    }
}
