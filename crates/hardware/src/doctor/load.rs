//! Other load on the machine: processor time used by others, watched for half a second.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::line::{Area, Line};
use crate::base::{clock, sys};

/// How long it watches.
const WATCH: Duration = Duration::from_millis(500);
/// Share of all processors above which others count as a disturbance: a twentieth of the time is a twentieth of the figure.
const DISTURBING: f64 = 0.05;

pub(super) fn check(root: &Path) -> Line {
    let before = (busy(root), own());
    clock::sleep(WATCH);
    let after = (busy(root), own());
    let (Some(before_all), Some(after_all)) = (before.0, after.0) else {
        return Line::ok(Area::Load, "others", "not reported by the system");
    };
    judge(before_all, after_all, (after.1 - before.1).max(0.0))
}

/// `ours` is this process's processor time between the two, in ticks.
fn judge(before: Ticks, after: Ticks, ours: f64) -> Line {
    let all = (after.all - before.all).max(1.0);
    let share = ((after.busy - before.busy - ours) / all).clamp(0.0, 1.0);
    let stolen = ((after.stolen - before.stolen) / all).clamp(0.0, 1.0);
    let mut found = format!("{:.0}% of the processor time is used by others", share * 100.0);
    if stolen > 0.0 {
        found = format!("{found}, {:.0}% is stolen by the host", stolen * 100.0);
    }
    let line = Line::ok(Area::Load, "others", found).fact("share", share).fact("stolen_share", stolen);
    if share > DISTURBING || stolen > DISTURBING {
        return line.warn("wait for it or stop it: ps aux --sort=-%cpu | head");
    }
    line
}

/// Ticks since boot, summed over all processors.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ticks {
    all: f64,
    busy: f64,
    stolen: f64,
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn busy(root: &Path) -> Option<Ticks> {
    let text = fs::read_to_string(root.join("proc/stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
    let &[user, nice, system, idle, iowait, irq, softirq, stolen] = ticks.as_slice() else { return None };
    let busy = user + nice + system + irq + softirq;
    Some(Ticks { all: busy + idle + iowait + stolen, busy, stolen })
}

/// This process's processor time in ticks of 10 ms, the unit of `/proc/stat` on Linux.
fn own() -> f64 {
    sys::usage().map_or(0.0, |usage| (usage.user + usage.system).get() * 100.0)
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn ours_is_not_counted_and_the_hosts_share_is() {
        let at = |all, busy, stolen| Ticks { all, busy, stolen };
        let quiet = judge(at(1000.0, 100.0, 0.0), at(1100.0, 130.0, 0.0), 29.0);
        assert_eq!(
            (quiet.status, quiet.found.as_str()),
            (Status::Ok, "1% of the processor time is used by others")
        );
        let loud = judge(at(1000.0, 100.0, 0.0), at(1100.0, 130.0, 0.0), 0.0);
        assert_eq!(loud.status, Status::Warn);
        let robbed = judge(at(1000.0, 100.0, 0.0), at(1100.0, 100.0, 20.0), 0.0);
        assert_eq!(robbed.status, Status::Warn);
        assert!(robbed.found.contains("20% is stolen by the host"), "{robbed:?}");
    }

    #[test]
    fn the_systems_line_is_read() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("proc")).expect("a folder");
        let text = "cpu  10 1 5 100 4 2 3 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        fs::write(root.path().join("proc/stat"), text).expect("a file");
        assert_eq!(busy(root.path()), Some(Ticks { all: 132.0, busy: 21.0, stolen: 7.0 }));
        assert_eq!(busy(&root.path().join("nowhere")), None);
    }
}
