//! The host during a run: processor time used by others, time stolen by the hypervisor, and changes of the wall clock.
//!
//! Two readings, before and after; nothing runs in between.

use std::fs;
use std::path::Path;

use crate::base::event::Tick;
use crate::base::units::Seconds;
use crate::base::{clock, sys};

/// The machine's counters at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HostReading {
    at: Tick,
    wall: jiff::Timestamp,
    /// Processor time of all processes and time stolen by the hypervisor, summed over processors.
    processors: Option<Processors>,
    /// This process's processor time and involuntary switches.
    own: Option<sys::Usage>,
    /// Thermal throttle events, summed over processors.
    thermal: Option<u64>,
    /// Processor time throttled by a container's quota, summed over processors.
    throttled: Option<Seconds>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Processors {
    count: usize,
    busy: Seconds,
    stolen: Seconds,
}

/// What happened between two readings; `None` for what the system does not report.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostWindow {
    /// Share of all processors' time used by other processes.
    pub foreign_share: Option<f64>,
    /// Share of all processors' time stolen by the hypervisor.
    pub stolen_share: Option<f64>,
    /// Involuntary context switches of this process.
    pub involuntary_switches: Option<u64>,
    /// Share of all processors' time for which a container's quota throttled this process's threads; can exceed 1, since each
    /// waiting thread counts.
    pub quota_share: Option<f64>,
    /// Thermal throttle events.
    pub thermal_events: Option<u64>,
    /// How far the wall clock moved relative to the monotonic one, that is, was set.
    pub clock_step_seconds: f64,
}

/// Reads the counters.
pub fn read() -> HostReading {
    HostReading {
        at: clock::now(),
        wall: clock::wall(),
        processors: fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| processors(&text, &sys::allowed_cpus())),
        own: sys::usage(),
        thermal: thermal(),
        throttled: throttled_time(Path::new("/")),
    }
}

/// What happened from `begin` to `end`.
pub fn between(begin: &HostReading, end: &HostReading) -> HostWindow {
    let wall_seconds = end.at.since(begin.at).get();
    let own = begin.own.zip(end.own);
    let shares = begin.processors.zip(end.processors).filter(|_| wall_seconds > 0.0).map(|(from, to)| {
        let capacity = wall_seconds * to.count as f64;
        let ours = own.map_or(0.0, |(a, b)| ((b.user + b.system) - (a.user + a.system)).get());
        let foreign = ((to.busy - from.busy).get() - ours).max(0.0) / capacity;
        [foreign, (to.stolen - from.stolen).get() / capacity]
    });
    let dates = end.wall.duration_since(begin.wall).as_secs_f64();
    HostWindow {
        foreign_share: shares.map(|[foreign, _]| foreign.min(1.0)),
        stolen_share: shares.map(|[_, stolen]| stolen.clamp(0.0, 1.0)),
        involuntary_switches: own.map(|(a, b)| b.involuntary_switches - a.involuntary_switches),
        quota_share: begin
            .throttled
            .zip(end.throttled)
            .zip(end.processors)
            .filter(|_| wall_seconds > 0.0)
            .map(|((from, to), processors)| (to - from).get() / (wall_seconds * processors.count as f64)),
        thermal_events: begin.thermal.zip(end.thermal).map(|(a, b)| b.saturating_sub(a)),
        clock_step_seconds: dates - wall_seconds,
    }
}

/// The lines of `/proc/stat` for the processors that this process may use, in the kernel's hundredths of a second: load
/// elsewhere on a large machine is no disturbance. Guest time is already included in `user`.
fn processors(text: &str, allowed: &[usize]) -> Option<Processors> {
    let mut found = Processors { count: 0, busy: Seconds::ZERO, stolen: Seconds::ZERO };
    for line in text.lines() {
        let Some((cpu, fields)) = line.strip_prefix("cpu").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        if !cpu.parse().is_ok_and(|cpu| allowed.contains(&cpu)) {
            continue;
        }
        let mut fields = fields.split_whitespace().map(str::parse::<u64>);
        let mut next = || fields.next()?.ok().map(|ticks| Seconds::new(ticks as f64 / 100.0));
        let [user, nice, system, _idle, _iowait, irq, softirq, stolen] =
            [next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?];
        found.count += 1;
        found.busy += user + nice + system + irq + softirq;
        found.stolen += stolen;
    }
    (found.count > 0).then_some(found)
}

/// Time throttled by the quotas of this process's control groups (cgroup v2); any ancestor group may have a quota.
fn throttled_time(root: &Path) -> Option<Seconds> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let top = root.join("sys/fs/cgroup");
    // Inside a container the path may be the host's; the mount's root is then the container's group.
    let held = |group: &Path| {
        let text = fs::read_to_string(group.join("cpu.stat")).ok()?;
        let micros = text.lines().find_map(|line| line.strip_prefix("throttled_usec "))?;
        micros.trim().parse::<f64>().ok().map(|micros| Seconds::new(micros / 1e6))
    };
    let leaf = top.join(own);
    let groups = leaf.ancestors().take_while(|group| group.starts_with(&top));
    groups.filter_map(held).reduce(|a, b| if a > b { a } else { b })
}

fn thermal() -> Option<u64> {
    let mut total = None;
    for entry in fs::read_dir("/sys/devices/system/cpu").ok()?.flatten() {
        let file = entry.path().join("thermal_throttle/core_throttle_count");
        if let Some(count) = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u64>().ok()) {
            *total.get_or_insert(0) += count;
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(seconds: f64, busy: f64, stolen: f64, own: f64) -> HostReading {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        let nanos = (seconds * 1e9) as u64;
        HostReading {
            at: Tick::from_nanos(nanos),
            wall: jiff::Timestamp::from_nanosecond(i128::from(nanos)).expect("a date"),
            processors: Some(Processors { count: 2, busy: Seconds::new(busy), stolen: Seconds::new(stolen) }),
            own: Some(sys::Usage {
                peak_memory: crate::base::units::Bytes::new(0),
                user: Seconds::new(own),
                system: Seconds::ZERO,
                involuntary_switches: 7,
            }),
            thermal: None,
            throttled: None,
        }
    }

    #[test]
    fn others_are_told_from_this_process() {
        // 20 s of two processors: 40 s, of which 30 are busy, 26 of them ours; 2 are stolen.
        let window = between(&reading(100.0, 500.0, 1.0, 50.0), &reading(120.0, 530.0, 3.0, 76.0));
        assert!((window.foreign_share.expect("read") - 0.1).abs() < 1e-12, "{window:?}");
        assert!((window.stolen_share.expect("read") - 0.05).abs() < 1e-12, "{window:?}");
        assert!(window.clock_step_seconds.abs() < 1e-6);
        assert_eq!((window.involuntary_switches, window.thermal_events), (Some(0), None));
    }

    #[test]
    fn a_quota_anywhere_above_shows() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        assert_eq!(throttled_time(root.path()), None);
        write("proc/self/cgroup", "1:name=systemd:/\n0::/pod/job\n");
        write("sys/fs/cgroup/cpu.stat", "usage_usec 9\n");
        assert_eq!(throttled_time(root.path()), None);
        write("sys/fs/cgroup/pod/cpu.stat", "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500000\n");
        write("sys/fs/cgroup/pod/job/cpu.stat", "throttled_usec 0\n");
        assert_eq!(throttled_time(root.path()), Some(Seconds::new(2.5)));
        let mut begin = reading(100.0, 500.0, 1.0, 50.0);
        let mut end = reading(120.0, 530.0, 1.0, 76.0);
        (begin.throttled, end.throttled) = (Some(Seconds::new(2.5)), Some(Seconds::new(6.5)));
        assert!((between(&begin, &end).quota_share.expect("read") - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_clock_that_was_set_shows() {
        let mut end = reading(120.0, 530.0, 3.0, 76.0);
        end.wall = jiff::Timestamp::from_second(3720).expect("a date");
        let window = between(&reading(100.0, 500.0, 1.0, 50.0), &end);
        assert!((window.clock_step_seconds - 3600.0).abs() < 1e-6, "{window:?}");
    }

    #[test]
    fn the_kernels_line_is_read() {
        let text = "cpu  900 9 9 9 9 9 9 9 0 0\ncpu0 100 20 300 4000 50 6 7 80 0 0\ncpu1 900 9 9 9 9 9 9 9 0 0\nintr 5\n";
        let found = processors(text, &[0]).expect("a line");
        assert_eq!((found.count, found.busy, found.stolen), (1, Seconds::new(4.33), Seconds::new(0.8)));
        assert_eq!(processors(text, &[0, 1]).map(|found| found.count), Some(2));
        assert_eq!(processors("cpu0 1 2", &[0]), None);
        assert_eq!(processors(text, &[7]), None);
    }
}
