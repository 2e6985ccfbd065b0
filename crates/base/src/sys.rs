//! The only access to the operating system: interrupts, memory, and the processor's capabilities.
//!
//! Complete on Linux; elsewhere an unknown value is `None`, never a guess.
#![allow(unsafe_code, reason = "the only place for system calls that std does not offer")]

use std::ffi::CString;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::clock;
use super::undo;
use super::units::{Bytes, Seconds};

/// Whether the user asked to stop, and by which signal.
///
/// The first Ctrl-C (SIGINT) or SIGTERM sets the flag, which workers check between two steps. A second
/// signal ends the process at once, in case a worker does not check, unless it comes within half a second of the first; so
/// does the loss of the terminal (SIGHUP) or SIGQUIT; what the process has changed on the machine is restored first
/// ([`undo`]). A further signal meanwhile ends the process without waiting. Signals that were ignored when the process started stay
/// ignored, but for SIGTERM.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    asked: Arc<AtomicUsize>,
    /// The interrupt of the whole, if this one is for a part.
    whole: Option<Arc<AtomicUsize>>,
}

/// Signals within this time are one request: `timeout` sends one to its child and one to the child's group, and a supervisor may
/// do so too.
const TOGETHER: Seconds = Seconds::new(0.5);

impl Interrupt {
    /// Installs the handlers, and a thread that ends the process when it must end at once: changes to the
    /// machine cannot be undone inside a signal handler.
    ///
    /// # Errors
    /// If the system refuses a handler, the pipe or the thread.
    pub fn install() -> std::io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        let flag = Self::default();
        let at_once = Arc::new(AtomicUsize::new(0));
        let ending = Arc::new(AtomicBool::new(false));
        let (mut woken, wakes) = UnixStream::pair()?;
        let signals = [
            (SIGINT, 130, &flag.asked),
            (SIGTERM, 143, &flag.asked),
            (SIGHUP, 129, &at_once),
            (SIGQUIT, 131, &at_once),
        ];
        for (signal, code, told) in signals {
            // As `nohup` asks for hang-ups, and a shell for what the keyboard sends to what it starts in the background.
            if signal != SIGTERM && is_ignored(signal) {
                continue;
            }
            // Order matters: the thread reads the number after the wake-up.
            signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&ending))?;
            signal_hook::flag::register_usize(signal, Arc::clone(told), usize::try_from(code).unwrap_or(1))?;
            signal_hook::low_level::pipe::register(signal, wakes.try_clone()?)?;
        }
        let asked = Arc::clone(&flag.asked);
        let wait = move || {
            let mut first = None;
            while woken.read_exact(&mut [0]).is_ok() {
                let now = clock::now();
                let since_first = now.since(*first.get_or_insert(now));
                let code = match at_once.load(Ordering::SeqCst) {
                    0 if since_first < TOGETHER => continue,
                    0 => asked.load(Ordering::SeqCst),
                    code => code,
                };
                ending.store(true, Ordering::SeqCst);
                undo::before(|| signal_hook::low_level::exit(i32::try_from(code).unwrap_or(1)));
            }
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(|error| {
            std::io::Error::new(
                error.kind(),
                format!(
                    "cannot start the thread that waits for Ctrl-C ({error}); raise ulimit -u or ulimit -v"
                ),
            )
        })?;
        Ok(flag)
    }

    /// The exit code of the signal (130 or 143), once one has arrived.
    pub fn exit_code(&self) -> Option<u8> {
        let code =
            |asked: &AtomicUsize| u8::try_from(asked.load(Ordering::Relaxed)).ok().filter(|code| *code != 0);
        self.whole.as_deref().and_then(code).or_else(|| code(&self.asked))
    }

    /// An interrupt for a part of the work: set when the whole is interrupted, or when requested itself.
    pub fn child(&self) -> Self {
        let whole = self.whole.as_ref().unwrap_or(&self.asked);
        Self { asked: Arc::default(), whole: Some(Arc::clone(whole)) }
    }

    /// Whether a signal has arrived.
    pub fn requested(&self) -> bool {
        self.exit_code().is_some()
    }

    /// Behaves as if SIGINT had arrived, for callers with another way to ask.
    pub fn request(&self) {
        self.asked.store(130, Ordering::Relaxed);
    }
}

/// Makes the child of `command` receive SIGTERM when this process ends, however that happens.
pub fn die_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    #[cfg(target_os = "linux")]
    // SAFETY: between fork and exec only one system call is made, which takes numbers and touches no memory.
    unsafe {
        command.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    // Its own group: this process forwards a Ctrl-C in the terminal itself.
    command.process_group(0);
}

/// Sends SIGTERM to the process and the group that it leads. It must be a child that was not waited for, started by a
/// command that went through [`die_with_parent`], so that the id is still its own.
pub fn ask_to_end(process: u32) {
    signal_group(process, libc::SIGTERM);
}

/// Sends SIGKILL to the process and the group that it leads; the requirements of [`ask_to_end`] apply.
pub fn end_group(process: u32) {
    signal_group(process, libc::SIGKILL);
}

fn signal_group(process: u32, signal: libc::c_int) {
    if let Ok(pid) = libc::pid_t::try_from(process)
        && pid > 1
    {
        // SAFETY: the call takes two numbers, and a group that is gone is only an error.
        unsafe { libc::kill(-pid, signal) };
    }
}

/// Whether this child has ended. It is not reaped, so its id, which is also its group's, is not reused.
///
/// # Errors
/// The system's error, such as that it is not a child of this process.
pub fn has_ended(process: u32) -> std::io::Result<bool> {
    let mut about = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `about` is writable memory of the right size, zeroed, which stands for a child that has not ended.
    unsafe {
        if libc::waitid(libc::P_PID, process, about.as_mut_ptr(), flags) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(about.assume_init().si_pid() != 0)
    }
}

/// Whether the process was started with this signal ignored.
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no new action is given, and `action` is writable memory of the right size that is read only
    // when the call says it was filled.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Whether this user is root.
pub fn is_root() -> bool {
    // SAFETY: the call takes nothing and always succeeds.
    unsafe { libc::geteuid() == 0 }
}

/// The process's resource usage since it started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Largest resident set so far.
    pub peak_memory: Bytes,
    /// Processor time in user mode, all threads.
    pub user: Seconds,
    /// Processor time in the kernel, all threads.
    pub system: Seconds,
    /// Involuntary context switches.
    pub involuntary_switches: u64,
}

/// The process's resource usage, from `getrusage(2)`.
pub fn usage() -> Option<Usage> {
    let mut raw = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `raw` is writable memory of the right size; it is read only when the call says it was filled.
    let raw = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, raw.as_mut_ptr()) != 0 {
            return None;
        }
        raw.assume_init()
    };
    let time = |t: libc::timeval| Seconds::new(t.tv_sec as f64 + t.tv_usec as f64 / 1e6);
    // Linux counts ru_maxrss in KiB, macOS in bytes.
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Some(Usage {
        peak_memory: Bytes::new(u64::try_from(raw.ru_maxrss).ok()? * unit),
        user: time(raw.ru_utime),
        system: time(raw.ru_stime),
        involuntary_switches: u64::try_from(raw.ru_nivcsw).ok()?,
    })
}

/// Resets the largest resident set, so that earlier, freed allocations do not count; returns whether the system supports
/// it.
pub fn reset_peak_memory() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Processor time of the calling thread so far, if the system reports it.
pub fn thread_time() -> Option<Seconds> {
    let mut raw = std::mem::MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `raw` is writable memory of the right size; it is read only when the call says it was filled.
    let raw = unsafe {
        if libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, raw.as_mut_ptr()) != 0 {
            return None;
        }
        raw.assume_init()
    };
    Some(Seconds::new(raw.tv_sec as f64 + raw.tv_nsec as f64 / 1e9))
}

/// A limit that the system sets on a process (`getrlimit(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Address space in use, touched or not (`RLIMIT_AS`).
    AddressSpace,
    /// Private writable memory (`RLIMIT_DATA`).
    Data,
    /// Open files, including sockets (`RLIMIT_NOFILE`).
    Files,
}

/// The limit in force on this process, in bytes or files; `None` when there is none.
pub fn limit(resource: Resource) -> Option<u64> {
    let number = match resource {
        Resource::AddressSpace => libc::RLIMIT_AS,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Files => libc::RLIMIT_NOFILE,
    };
    let mut raw = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `raw` is writable memory of the right size.
    let told = unsafe { libc::getrlimit(number, &raw mut raw) } == 0;
    (told && raw.rlim_cur != libc::RLIM_INFINITY).then_some(raw.rlim_cur)
}

/// Makes all threads allocate from one heap: glibc reserves 64 MiB of address space per thread otherwise.
pub fn share_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes two numbers; a heap that exists stays.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Writes to stderr without allocating or locking, over a progress bar that may be shown.
pub fn write_stderr(text: &[u8]) {
    let write = |text: &[u8]| {
        // SAFETY: the bytes are readable for as long as the call lasts.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) }
    };
    // SAFETY: the call takes a number.
    if unsafe { libc::isatty(libc::STDERR_FILENO) } == 1 {
        write(b"\r\x1b[K");
    }
    write(text);
}

/// Columns of the terminal on stderr; `None` if unknown.
pub fn terminal_columns() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is writable memory of the right size.
    let told = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &raw mut size) } == 0;
    (told && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Ends the process at once: no destructor and no handler runs.
pub fn exit_now(code: u8) -> ! {
    // SAFETY: the call takes a number and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Free disk space at `folder` that this user may use.
pub fn disk_free(folder: &Path) -> Option<Bytes> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut raw = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends in zero, `raw` is writable memory of the right size and read only when filled.
    let raw = unsafe {
        if libc::statvfs(path.as_ptr(), raw.as_mut_ptr()) != 0 {
            return None;
        }
        raw.assume_init()
    };
    Some(Bytes::new(raw.f_bavail.saturating_mul(raw.f_frsize)))
}

/// The processor as the operating system names it.
pub fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Logical processors this process may use.
pub fn logical_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The processors this process may run on, by the system's numbers; empty if unknown.
pub fn allowed_cpus() -> Vec<usize> {
    #[cfg(target_os = "linux")]
    {
        let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: `set` is writable memory of the stated size; it is read only when the call says it was filled.
        let set = unsafe {
            if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) != 0 {
                return Vec::new();
            }
            set.assume_init()
        };
        let most = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
        // SAFETY: every index is below the size of the set.
        (0..most).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
    }
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

/// Version of the processor's microcode, if the system reports it.
pub fn microcode() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("microcode"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Pins the calling thread to one processor; returns whether that succeeded.
pub fn pin_thread(cpu: usize) -> bool {
    pin_thread_to(&[cpu])
}

/// Pins the calling thread to these processors; returns whether that succeeded.
pub fn pin_thread_to(cpus: &[usize]) -> bool {
    #[cfg(target_os = "linux")]
    {
        let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
        if cpus.is_empty() || cpus.iter().any(|cpu| *cpu >= limit) {
            return false;
        }
        let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: an empty set is all zeros, and each number is below its size.
        unsafe {
            for cpu in cpus {
                libc::CPU_SET(*cpu, set.assume_init_mut());
            }
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set.as_ptr()) == 0
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = cpus;
        false
    }
}

/// The processors this process may use, one of each core first: two threads on one core share its units.
pub fn allowed_cpus_core_by_core() -> Vec<usize> {
    let mut seen: Vec<String> = Vec::new();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for cpu in allowed_cpus() {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        match fs::read_to_string(path) {
            Ok(siblings) if seen.contains(&siblings) => rest.push(cpu),
            Ok(siblings) => {
                seen.push(siblings);
                first.push(cpu);
            }
            Err(_) => first.push(cpu),
        }
    }
    first.extend(rest);
    first
}

/// One cache as the system reports it: level, the processors that share it, bytes.
fn cache(folder: &std::path::Path) -> Option<(u32, String, u64)> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let size = read("size")?;
    let size = size.trim();
    let bytes = match size.strip_suffix('K') {
        Some(number) => number.parse::<u64>().ok()? << 10,
        None => size.strip_suffix('M')?.parse::<u64>().ok()? << 20,
    };
    Some((read("level")?.trim().parse().ok()?, read("shared_cpu_list")?, bytes))
}

/// Size of the last-level caches of the processors this process may use, each shared one counted once.
pub fn last_level_cache() -> Option<Bytes> {
    let mut caches: Vec<(u32, String, u64)> = Vec::new();
    for cpu in allowed_cpus() {
        let Ok(folder) = fs::read_dir(format!("/sys/devices/system/cpu/cpu{cpu}/cache")) else { continue };
        for found in folder.flatten().filter_map(|entry| cache(&entry.path())) {
            if !caches.iter().any(|known| (known.0, &known.1) == (found.0, &found.1)) {
                caches.push(found);
            }
        }
    }
    let last = caches.iter().map(|(level, ..)| *level).max()?;
    Some(Bytes::new(caches.iter().filter(|(level, ..)| *level == last).map(|(.., bytes)| bytes).sum()))
}

/// Instruction sets that matter to inference and that this processor has, widest last.
pub fn instruction_sets() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        let mut found = Vec::new();
        macro_rules! probe {
            ($($name:tt),+) => { $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })+ };
        }
        probe!(
            "sse4.2",
            "avx",
            "f16c",
            "fma",
            "avx2",
            "avxvnni",
            "avx512f",
            "avx512bw",
            "avx512vnni",
            "avx512bf16"
        );
        // std knows these in its nightly form alone.
        let linux = [("amx_int8", "amx-int8"), ("amx_bf16", "amx-bf16")];
        found.extend(linux.into_iter().filter(|(flag, _)| has_cpu_flag(flag)).map(|(_, name)| name));
        found
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        vec![std::env::consts::ARCH]
    }
}

/// Whether Linux lists `flag` for the first processor (`amx_int8`); std knows some features by name only
/// in its nightly form.
pub fn has_cpu_flag(flag: &str) -> bool {
    static FLAGS: OnceLock<String> = OnceLock::new();
    let flags = FLAGS.get_or_init(|| {
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        text.lines().find(|line| line.starts_with("flags")).unwrap_or_default().to_owned()
    });
    flags.split_whitespace().any(|word| word == flag)
}

/// Whether this process may use the registers of matrices (AMX, with products of bytes and of bfloat16): the processor
/// has them, and Linux, which grants them to a process on request alone, was asked.
pub fn matrix_registers() -> bool {
    static GRANTED: OnceLock<bool> = OnceLock::new();
    *GRANTED.get_or_init(|| {
        ["amx_tile", "amx_int8", "amx_bf16"].into_iter().all(has_cpu_flag) && ask_for_matrix_registers()
    })
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn ask_for_matrix_registers() -> bool {
    // From the kernel's documentation of XSTATE features: `ARCH_REQ_XCOMP_PERM`, and the number of the tiles' data.
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and changes what the process may use, no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn ask_for_matrix_registers() -> bool {
    false
}

/// Name and version of the operating system and its kernel.
pub fn operating_system() -> (Option<String>, Option<String>) {
    let pretty = fs::read_to_string("/etc/os-release").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("PRETTY_NAME="))?;
        Some(line.trim_start_matches("PRETTY_NAME=").trim_matches('"').to_owned())
    });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned());
    (pretty, kernel)
}

/// The kind of container the process runs in, if recognized.
pub fn container() -> Option<&'static str> {
    if fs::exists("/.dockerenv").unwrap_or(false) {
        return Some("docker");
    }
    if fs::exists("/run/.containerenv").unwrap_or(false) {
        return Some("podman");
    }
    let groups = fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    ["kubepods", "docker", "lxc", "containerd"].into_iter().find(|name| groups.contains(name))
}

/// A timer that a poll loop waits for along with its sockets: `timerfd_create(2)` is accurate to some microseconds, while a
/// timeout of `epoll_wait(2)` is rounded up to milliseconds.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub struct Alarm(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Alarm {
    /// A timer that is not set.
    ///
    /// # Errors
    /// The system's error, such as that there is no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        use std::os::fd::FromRawFd as _;
        // SAFETY: the call takes two numbers.
        let fd =
            unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and owned by nobody else.
        Ok(Self(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }))
    }

    /// Sets it to fire once, `after` from now, replacing any earlier setting. Zero fires at once.
    ///
    /// # Errors
    /// What the system said.
    pub fn set(&self, after: std::time::Duration) -> std::io::Result<()> {
        use std::os::fd::AsRawFd as _;
        // All zeros would disarm it.
        let after = after.max(std::time::Duration::from_nanos(1));
        let once = libc::timespec {
            tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(after.subsec_nanos().cast_signed()),
        };
        let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let setting = libc::itimerspec { it_interval: none, it_value: once };
        // SAFETY: the descriptor is a timer, `setting` is readable for as long as the call lasts, the old setting is not wanted.
        match unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const setting, std::ptr::null_mut())
        } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}

#[cfg(target_os = "linux")]
impl std::os::fd::AsRawFd for Alarm {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

/// Enables arrival timestamps on `socket`, for [`receive`]; returns whether that succeeded.
pub fn stamp_arrivals(socket: std::os::fd::BorrowedFd<'_>) -> bool {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd as _;
        let flags = libc::SOF_TIMESTAMPING_RX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
        let size = libc::socklen_t::try_from(size_of_val(&flags)).unwrap_or(0);
        let value = (&raw const flags).cast();
        // SAFETY: `value` is readable memory of the stated size.
        unsafe {
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, value, size) == 0
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        false
    }
}

/// Reads from a socket as `recv(2)` does, and returns how long ago the last of these bytes arrived at this machine, if the
/// system timestamps arrivals ([`stamp_arrivals`]) and its wall clock was not changed meanwhile.
///
/// # Errors
/// The system's error; `WouldBlock` if there is nothing to read.
pub fn receive(
    socket: std::os::fd::BorrowedFd<'_>,
    buffer: &mut [u8],
) -> std::io::Result<(usize, Option<std::time::Duration>)> {
    use std::os::fd::AsRawFd as _;
    // Room for one timestamp record, which holds three times, aligned as a control message header must be.
    let mut control = [0usize; 16];
    let mut into = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a message of zeros is one without buffers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut into;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: both buffers are writable memory of the sizes told, and outlive the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| std::io::Error::last_os_error())?;
    Ok((length, arrived_ago(&message)))
}

#[cfg(target_os = "linux")]
fn arrived_ago(message: &libc::msghdr) -> Option<std::time::Duration> {
    // SAFETY: the system has filled `message`, whose control buffer is alive and aligned; a header that the macro finds lies
    // within it, and its data is read only when it is long enough.
    let stamp = unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        if header.is_null()
            || (*header).cmsg_level != libc::SOL_SOCKET
            || (*header).cmsg_type != libc::SO_TIMESTAMPING
            || (*header).cmsg_len < libc::CMSG_LEN(u32::try_from(size_of::<libc::timespec>()).ok()?) as usize
        {
            return None;
        }
        libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned()
    };
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable memory of the right size.
    if unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) } != 0 || stamp.tv_sec == 0 {
        return None;
    }
    let nanos = (now.tv_sec - stamp.tv_sec).checked_mul(1_000_000_000)? + (now.tv_nsec - stamp.tv_nsec);
    u64::try_from(nanos).ok().map(std::time::Duration::from_nanos)
}

#[cfg(not(target_os = "linux"))]
fn arrived_ago(_: &libc::msghdr) -> Option<std::time::Duration> {
    None
}

/// Identifies this boot of this machine: changes at every reboot.
pub fn boot_id() -> Option<String> {
    Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned())
}

/// Identifies this installation of the operating system; private, so only ever stored hashed.
pub fn machine_id() -> Option<String> {
    Some(fs::read_to_string("/etc/machine-id").ok()?.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Limits candle's two thread pools, which read their size only from the environment.
///
/// Must be called before any other thread exists, except that of [`Interrupt`], and before candle computes
/// anything.
#[expect(
    clippy::disallowed_methods,
    reason = "the only writer of the environment, before any thread reads it"
)]
pub fn limit_candle_threads(threads: usize) {
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        // SAFETY: called from main before any thread starts but the one that waits for signals, and that one
        // never looks at the environment, so nobody reads it meanwhile.
        unsafe { std::env::set_var(name, threads.to_string()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_counts_what_was_allocated() {
        let before = usage().expect("getrusage");
        let block = vec![1u8; 64 << 20];
        std::hint::black_box(&block);
        let after = usage().expect("getrusage");
        assert!(after.peak_memory >= before.peak_memory);
        assert!(after.peak_memory.get() > 64 << 20, "{after:?}");
    }

    #[test]
    fn a_limit_of_this_process_is_what_the_system_shows() {
        let text = fs::read_to_string("/proc/self/limits").expect("Linux");
        let shown = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the limit's line");
            line.split_whitespace().next().expect("the soft limit").parse::<u64>().ok()
        };
        assert_eq!(limit(Resource::AddressSpace), shown("Max address space"));
        assert_eq!(limit(Resource::Data), shown("Max data size"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_arrived_is_stamped_and_read() {
        use std::io::Write as _;
        use std::os::fd::AsFd as _;
        use std::time::Duration;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut there =
            std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (here, _) = listener.accept().expect("accepts");
        assert!(stamp_arrivals(here.as_fd()));
        // The system begins to stamp a moment after the first socket asks.
        crate::clock::sleep(Duration::from_millis(20));
        there.write_all(b"seventeen bytes ..").expect("writes");
        crate::clock::sleep(Duration::from_millis(50));
        let mut buffer = [0; 64];
        let (length, ago) = receive(here.as_fd(), &mut buffer).expect("reads");
        assert_eq!(&buffer[..length], b"seventeen bytes ..");
        let ago = ago.expect("a stamp");
        assert!(ago >= Duration::from_millis(40) && ago < Duration::from_secs(5), "{ago:?}");
        here.set_nonblocking(true).expect("a socket");
        let error = receive(here.as_fd(), &mut buffer).expect_err("nothing is there");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_disk_has_room_and_a_folder_that_is_not_there_has_none() {
        assert!(disk_free(Path::new("/")).is_some());
        assert_eq!(disk_free(Path::new("/no/such/folder")), None);
    }

    #[test]
    fn an_interrupt_is_seen_by_every_clone() {
        let flag = Interrupt::default();
        let other = flag.clone();
        assert_eq!(other.exit_code(), None);
        flag.request();
        assert_eq!(other.exit_code(), Some(130));
    }
}
