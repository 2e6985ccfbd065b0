//! How much memory this process may use: limited by the machine, its control groups, and its own resource limits.
//!
//! Sources: `MemAvailable`, every group from the process's own up to the root (`memory.max` and `memory.high` of
//! version 2, `memory.limit_in_bytes` of version 1: a container's limit is often set on a parent), `RLIMIT_AS` and
//! `RLIMIT_DATA`. A group's page cache counts as free, as it does in `MemAvailable`: the kernel drops it first.
//! Nothing is allocated here; [`super::exhausted`] handles running out of memory anyway.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::sys::{self, Resource};
use super::units::Bytes;

/// Address space that std reserves for a thread's stack, with its guard page and the stack of its signal handler.
const THREAD: u64 = (2 << 20) + (64 << 10);

/// The memory of this process: the total, and what can be used without swapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Installed memory, or the control group's limit if that is lower.
    pub total: Bytes,
    /// What this process can still use.
    pub available: Bytes,
    /// What limits `available`.
    pub limit: Limit,
}

/// What limits the memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// What is free on the machine.
    Machine,
    /// A control group: a container, a job of a scheduler, a systemd unit.
    Group,
    /// `RLIMIT_AS`: address space, whether touched or not.
    AddressSpace,
    /// `RLIMIT_DATA`: private writable memory, whether touched or not.
    Data,
}

impl Limit {
    /// The limit as a suffix for an error message; empty for the machine itself.
    pub fn place(self) -> &'static str {
        match self {
            Self::Machine => "",
            Self::Group => " in this control group (container)",
            Self::AddressSpace => " under this process's address space limit (RLIMIT_AS, `ulimit -v`)",
            Self::Data => " under this process's data limit (RLIMIT_DATA, `ulimit -d`)",
        }
    }
}

impl Memory {
    /// What remains available after the stacks of `threads` more threads, which take address space but hardly any memory.
    pub fn after_thread_stacks(self, threads: usize) -> Bytes {
        match self.limit {
            Limit::Machine | Limit::Group => self.available,
            Limit::AddressSpace | Limit::Data => {
                Bytes::new(self.available.get().saturating_sub(threads as u64 * THREAD))
            }
        }
    }
}

/// What this process may use now; `None` if the system does not report it.
pub fn memory() -> Option<Memory> {
    read(Path::new("/"), sys::limit(Resource::AddressSpace), sys::limit(Resource::Data))
}

fn read(root: &Path, address_space: Option<u64>, data: Option<u64>) -> Option<Memory> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let mut total = kib(&text, "MemTotal:")?;
    let mut least = (kib(&text, "MemAvailable:")?, Limit::Machine);
    let mut bound = |available: u64, limit: Limit| {
        if available < least.0 {
            least = (available, limit);
        }
    };
    for group in groups(root) {
        total = total.min(group.limit);
        bound(group.limit.saturating_sub(group.used), Limit::Group);
    }
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    for (most, field, limit) in
        [(address_space, "VmSize:", Limit::AddressSpace), (data, "VmData:", Limit::Data)]
    {
        if let Some(most) = most {
            bound(most.saturating_sub(kib(&status, field).unwrap_or(0)), limit);
        }
    }
    Some(Memory { total: Bytes::new(total), available: Bytes::new(least.0), limit: least.1 })
}

/// The number after `name` in one of the kernel's tables, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?;
    number.parse::<u64>().ok()?.checked_mul(1024)
}

/// A control group with a limit.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    limit: u64,
    /// Memory charged to it, excluding the page cache.
    used: u64,
}

/// The two versions of control groups.
#[derive(Debug, Clone, Copy)]
enum Version {
    One,
    Two,
}

/// Every group of this process that has a limit, of both versions.
fn groups(root: &Path) -> Vec<Group> {
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let memberships = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let membership = memberships.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let ours = match mount.version {
                Version::One => controllers.split(',').any(|name| name == "memory"),
                Version::Two => controllers.is_empty(),
            };
            ours.then_some(path)
        });
        let top = root.join(mount.point.trim_start_matches('/'));
        let mut folder = membership.and_then(|path| below(path, mount.root)).unwrap_or_default();
        loop {
            found.extend(group(&top.join(&folder), mount.version));
            if !folder.pop() {
                break;
            }
        }
    }
    found
}

/// Where control groups that count memory are mounted.
struct Mount<'a> {
    version: Version,
    /// The group visible at the mount point.
    root: &'a str,
    point: &'a str,
}

impl<'a> Mount<'a> {
    /// A line of `mountinfo`: `ID PARENT DEVICE ROOT POINT OPTIONS … - TYPE SOURCE SUPER-OPTIONS`.
    fn parse(line: &'a str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let version = match kind.next()? {
            "cgroup2" => Version::Two,
            "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => Version::One,
            _ => return None,
        };
        Some(Self { version, root, point })
    }
}

/// The folder of the group `path` under a mount whose root is the group `root`; `None` if it lies outside, as in a
/// container that sees its host's names.
fn below(path: &str, root: &str) -> Option<PathBuf> {
    let rest = Path::new(path).strip_prefix(root).ok()?;
    let rest = rest.strip_prefix("/").unwrap_or(rest);
    rest.components().all(|part| matches!(part, Component::Normal(_))).then(|| rest.to_owned())
}

/// The limit of one group, if it has one.
fn group(folder: &Path, version: Version) -> Option<Group> {
    // A group without a limit reports `max`, or in version 1 a number larger than any memory.
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limits, usage, cache): (&[_], _, &[_]) = match version {
        Version::Two => (
            &["memory.max", "memory.high"],
            "memory.current",
            &["inactive_file ", "active_file ", "slab_reclaimable "],
        ),
        Version::One => (
            &["memory.limit_in_bytes"],
            "memory.usage_in_bytes",
            &["total_inactive_file ", "total_active_file "],
        ),
    };
    let limit = limits.iter().filter_map(|name| number(name)).min()?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached: u64 = cache
        .iter()
        .filter_map(|name| stat.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<u64>().ok())
        .fold(0, u64::saturating_add);
    Some(Group { limit, used: number(usage).unwrap_or(0).saturating_sub(cached) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A root folder with these files in it, on a machine of 64 GiB of which 32 are available.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let machine = ("proc/meminfo", "MemTotal: 67108864 kB\nMemFree: 5 kB\nMemAvailable: 33554432 kB\n");
        let status = ("proc/self/status", "Name:\tbench\nVmSize:\t 1048576 kB\nVmData:\t  524288 kB\n");
        for (path, text) in [machine, status].iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn check(files: &[(&str, &str)], total: u64, available: u64, limit: Limit) {
        let root = root(files);
        let expected = Memory { total: Bytes::new(total), available: Bytes::new(available), limit };
        assert_eq!(read(root.path(), None, None), Some(expected), "{files:?}");
    }

    const TWO: (&str, &str) =
        ("proc/self/mountinfo", "31 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");

    #[test]
    fn the_tightest_group_of_the_second_version_counts_wherever_it_stands() {
        check(&[], 64 * GIB, 32 * GIB, Limit::Machine);
        let ours = ("proc/self/cgroup", "0::/jobs/ours\n");
        let group = "sys/fs/cgroup/jobs/ours";
        let max = |path: &str| format!("{path}/memory.max");
        let current = |path: &str| format!("{path}/memory.current");
        check(
            &[TWO, ours, (&max(group), "8589934592\n"), (&current(group), "1073741824\n")],
            8 * GIB,
            7 * GIB,
            Limit::Group,
        );
        // On the parent, which our own group's `max` hides when only the leaf is read.
        let parent = "sys/fs/cgroup/jobs";
        check(
            &[
                TWO,
                ours,
                (&max(group), "max\n"),
                (&max(parent), "4294967296\n"),
                (&current(parent), "1073741824\n"),
            ],
            4 * GIB,
            3 * GIB,
            Limit::Group,
        );
        // `memory.high` slows a group down to a crawl long before `memory.max` ends it.
        check(
            &[
                TWO,
                ours,
                (&max(group), "8589934592\n"),
                ("sys/fs/cgroup/jobs/ours/memory.high", "2147483648\n"),
                (&current(group), "0\n"),
            ],
            2 * GIB,
            2 * GIB,
            Limit::Group,
        );
    }

    #[test]
    fn the_page_cache_of_a_group_is_free() {
        let stat = "anon 536870912\nfile 6442450944\ninactive_file 4294967296\nactive_file 2147483648\n";
        check(
            &[
                TWO,
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "8589934592\n"),
                ("sys/fs/cgroup/memory.current", "7516192768\n"),
                ("sys/fs/cgroup/memory.stat", stat),
            ],
            8 * GIB,
            7 * GIB,
            Limit::Group,
        );
    }

    #[test]
    fn groups_of_the_first_version_count_with_and_without_a_namespace() {
        let mount = |root: &str| {
            format!(
                "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime master:9 - cgroup cgroup rw,memory\n"
            )
        };
        let limits = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "3221225472\n"),
            ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "2147483648\n"),
            ("sys/fs/cgroup/memory/a/b/memory.stat", "cache 1\ntotal_inactive_file 1073741824\n"),
        ];
        let membership = ("proc/self/cgroup", "9:cpu:/elsewhere\n4:hugetlb,memory:/a/b\n0::/\n");
        let mut files = vec![membership];
        files.extend(limits);
        let whole = mount("/");
        files.push(("proc/self/mountinfo", &whole));
        check(&files, 3 * GIB, 2 * GIB, Limit::Group);
        // A container that sees its own group at the mount point, and the host's name of it.
        let container = mount("/docker/abc");
        check(
            &[
                ("proc/self/mountinfo", &container),
                ("proc/self/cgroup", "4:memory:/docker/abc\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n"),
            ],
            GIB,
            GIB,
            Limit::Group,
        );
    }

    #[test]
    fn a_name_outside_of_the_mount_stands_for_the_mount_itself() {
        check(
            &[
                TWO,
                ("proc/self/cgroup", "0::/../../elsewhere\n"),
                ("sys/fs/cgroup/memory.max", "2147483648\n"),
                ("sys/fs/cgroup/memory.current", "1073741824\n"),
            ],
            2 * GIB,
            GIB,
            Limit::Group,
        );
    }

    #[test]
    fn the_processs_own_limits_count_with_what_it_has_taken() {
        let root = root(&[]);
        let read = |address_space, data| read(root.path(), address_space, data).unwrap();
        let found = read(Some(3 * GIB), None);
        assert_eq!((found.available.get(), found.limit), (2 * GIB, Limit::AddressSpace));
        assert_eq!(found.total.get(), 64 * GIB, "the machine has what it has");
        assert_eq!(found.after_thread_stacks(4).get(), 2 * GIB - 4 * THREAD);
        let found = read(Some(3 * GIB), Some(GIB));
        assert_eq!((found.available.get(), found.limit), (GIB / 2, Limit::Data));
        assert_eq!(read(Some(GIB / 2), None).available.get(), 0);
        assert_eq!(read(None, None).after_thread_stacks(1000).get(), 32 * GIB, "stacks are hardly touched");
    }

    #[test]
    fn this_machine_says_what_it_has() {
        let memory = memory().expect("/proc/meminfo");
        assert!(memory.available <= memory.total && memory.total.get() > 100 << 20, "{memory:?}");
    }
}
