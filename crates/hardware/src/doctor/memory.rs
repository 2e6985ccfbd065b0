//! Memory: how much is free, whether the machine swaps, whether huge pages are available.

use std::fs;
use std::path::Path;

use super::line::{Area, Line};
use crate::base::memory::{self, Limit, Memory};
use crate::base::units::Bytes;

/// Below this the smallest run does not fit.
const MIN_FREE: Bytes = Bytes::new(512 << 20);

pub(super) fn check(root: &Path) -> Vec<Line> {
    vec![free(memory::memory()), swap(root), huge_pages(root)]
}

fn free(memory: Option<Memory>) -> Line {
    let Some(memory) = memory else {
        return Line::ok(Area::Memory, "free", "not reported by the system");
    };
    let found = format!("{} free of {}", memory.available, memory.total);
    let line = Line::ok(Area::Memory, "free", found)
        .fact("bytes_free", memory.available.get())
        .fact("bytes_total", memory.total.get());
    let who = match memory.limit {
        Limit::Machine => "stop what uses it: ps aux --sort=-rss | head",
        Limit::Group => "raise the container's limit (memory.max), or stop what else runs in it",
        Limit::AddressSpace => "raise the address space limit: ulimit -v unlimited",
        Limit::Data => "raise the data limit: ulimit -d unlimited",
    };
    if memory.available < MIN_FREE {
        return line.fail(who);
    }
    if memory.available.get() < memory.total.get() / 4 {
        return line.warn(who);
    }
    line
}

/// Swap in use means that a step may wait for a disk.
fn swap(root: &Path) -> Line {
    let text = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let kib = |name: &str| -> Option<u64> {
        text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    let (Some(total), Some(free)) = (kib("SwapTotal:"), kib("SwapFree:")) else {
        return Line::ok(Area::Memory, "swap", "not reported by the system");
    };
    let (total, used) = (Bytes::new(total * 1024), Bytes::new(total.saturating_sub(free) * 1024));
    let found = match (total.get(), used.get()) {
        (0, _) => "none".to_owned(),
        (_, 0) => format!("{total}, unused"),
        _ => format!("{used} in use of {total}"),
    };
    let line =
        Line::ok(Area::Memory, "swap", found).fact("bytes_used", used.get()).fact("bytes_total", total.get());
    if used.get() > 0 { line.warn("sudo swapoff -a") } else { line }
}

/// With 4 KiB pages, reading weights costs a TLB lookup every 4 KiB.
fn huge_pages(root: &Path) -> Line {
    let path = "sys/kernel/mm/transparent_hugepage/enabled";
    let text = fs::read_to_string(root.join(path)).unwrap_or_default();
    let Some(mode) = text.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0)) else {
        return Line::ok(Area::Memory, "huge pages", "not reported by the system");
    };
    let line = Line::ok(Area::Memory, "huge pages", mode).fact("mode", mode);
    if mode == "never" { line.warn(format!("echo madvise | sudo tee /{path}")) } else { line }
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
    fn swap_warns_only_when_used() {
        let root = tempfile::tempdir().expect("a folder");
        for (free, status, found) in [
            (2_097_152, Status::Ok, "2.00 GiB, unused"),
            (1_048_576, Status::Warn, "1.00 GiB in use of 2.00 GiB"),
        ] {
            write(
                root.path(),
                "proc/meminfo",
                &format!("SwapCached: 5 kB\nSwapTotal: 2097152 kB\nSwapFree: {free} kB\n"),
            );
            let line = swap(root.path());
            assert_eq!((line.status, line.found.as_str()), (status, found));
        }
    }

    #[test]
    fn huge_pages_that_are_off_warn() {
        let root = tempfile::tempdir().expect("a folder");
        let path = "sys/kernel/mm/transparent_hugepage/enabled";
        for (text, mode, status) in [
            ("[always] madvise never\n", "always", Status::Ok),
            ("always [madvise] never\n", "madvise", Status::Ok),
            ("always madvise [never]\n", "never", Status::Warn),
        ] {
            write(root.path(), path, text);
            let line = huge_pages(root.path());
            assert_eq!((line.found.as_str(), line.status), (mode, status));
        }
    }

    #[test]
    fn too_little_memory_fails_and_a_full_machine_warns() {
        let gib = |n: u64| Bytes::new(n << 30);
        let status = |available, total| free(Some(Memory { total, available, limit: Limit::Machine })).status;
        assert_eq!(status(gib(12), gib(16)), Status::Ok);
        assert_eq!(status(gib(3), gib(16)), Status::Warn);
        assert_eq!(status(Bytes::new(400 << 20), gib(1)), Status::Fail);
    }
}
