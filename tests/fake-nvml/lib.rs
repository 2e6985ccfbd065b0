//! A shared library that behaves like NVML: the sensors of a scripted machine, with the faults of real ones.
//!
//! It is loaded the way the driver's own is. Its script is the file next to it with the library's name and `.toml`;
//! a copy of the library under another name is another machine, also within one process. `script.rs` is all it can
//! pretend, `trace.rs` the true power, `sensor.rs` what the sensors make of it.
#![allow(unsafe_code, reason = "the C interface of NVML")]
#![allow(missing_docs, unreachable_pub, clippy::print_stderr, reason = "names and meaning are NVIDIA's")]
#![allow(clippy::missing_safety_doc, clippy::not_unsafe_ptr_arg_deref, reason = "as in NVIDIA's header")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures of a script are small")]

mod script;
mod sensor;
mod trace;

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_ulonglong};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlFieldValue_t, nvmlMemory_t, nvmlMemory_v2_t, nvmlPciInfo_t, nvmlProcessInfo_t,
    nvmlProcessInfo_v1_t, nvmlReturn_t, nvmlTemperature_t, nvmlViolationTime_t,
};

use script::{GpuScript, Script};

const SUCCESS: nvmlReturn_t = 0;
const UNINITIALIZED: nvmlReturn_t = 1;
const INVALID_ARGUMENT: nvmlReturn_t = 2;
const NOT_SUPPORTED: nvmlReturn_t = 3;
const NO_PERMISSION: nvmlReturn_t = 4;
const NOT_FOUND: nvmlReturn_t = 6;
const INSUFFICIENT_SIZE: nvmlReturn_t = 7;
const FUNCTION_NOT_FOUND: nvmlReturn_t = 13;
const GPU_IS_LOST: nvmlReturn_t = 15;

const UNSIGNED_INT: u32 = 1;
const UNSIGNED_LONG_LONG: u32 = 3;

struct Machine {
    script: Script,
    origin: u64,
    gpus: Vec<Gpu>,
}

struct Gpu {
    script: GpuScript,
    /// Milliwatts.
    limit: AtomicU32,
    /// MHz; 0 when not locked.
    locked: AtomicU32,
}

static MACHINE: OnceLock<Machine> = OnceLock::new();

fn monotonic() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable and of the right type.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Machine {
    fn now(&self) -> f64 {
        (monotonic() as f64 - self.origin as f64) / 1e9
    }

    /// What this function returns at this moment instead of an answer.
    fn returned(&self, name: &str) -> Option<nvmlReturn_t> {
        let text = std::fs::read_to_string(self.script.fails.as_ref()?).ok()?;
        text.lines().find_map(|line| {
            let (function, code) = line.split_once(' ')?;
            (function == name).then(|| code.parse().ok())?
        })
    }

    fn log(&self, gpu: &Gpu, what: &str) {
        let Some(path) = &self.script.log else { return };
        let line = format!("{:.6} {} {what}\n", self.now(), gpu.script.uuid);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
            eprintln!("fake NVML: {}: {error}", path.display());
        }
    }
}

/// Where this copy of the library lies.
fn own_path() -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: the address is this library's own, and `info` is read only when it was filled.
    let path = unsafe {
        if libc::dladdr((&raw const MACHINE).cast(), info.as_mut_ptr()) == 0 {
            return None;
        }
        CStr::from_ptr(info.assume_init().dli_fname)
    };
    Some(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
}

fn load() -> Result<Machine, String> {
    let mut path = own_path().ok_or("dladdr does not know this library")?.into_os_string();
    path.push(".toml");
    let path = PathBuf::from(path);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let script: Script = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let gpus = script.gpu.iter().map(|gpu| Gpu {
        limit: AtomicU32::new(gpu.power_limit[0]),
        locked: AtomicU32::new(0),
        script: gpu.clone(),
    });
    Ok(Machine { origin: script.origin.unwrap_or_else(monotonic), gpus: gpus.collect(), script })
}

fn init() -> nvmlReturn_t {
    let machine = match MACHINE.get() {
        Some(machine) => machine,
        None => match load() {
            Ok(machine) => MACHINE.get_or_init(|| machine),
            Err(why) => {
                eprintln!("fake NVML: {why}");
                return 999;
            }
        },
    };
    machine.script.init_error.unwrap_or(SUCCESS)
}

// An exported function must call no other: a test may have hidden that one.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    init()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    init()
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    SUCCESS
}

/// Answers a question about the machine.
fn system(name: &str, answer: impl FnOnce(&Machine) -> nvmlReturn_t) -> nvmlReturn_t {
    match MACHINE.get() {
        None => UNINITIALIZED,
        Some(machine) if machine.script.missing.iter().any(|missing| missing == name) => FUNCTION_NOT_FOUND,
        Some(machine) => match machine.returned(name) {
            Some(code) => code,
            None => answer(machine),
        },
    }
}

/// Answers a question about a GPU, at this moment.
fn device(
    name: &str,
    handle: nvmlDevice_t,
    answer: impl FnOnce(&Gpu, f64, &Machine) -> nvmlReturn_t,
) -> nvmlReturn_t {
    system(name, |machine| {
        let Some(gpu) = (handle as usize).checked_sub(1).and_then(|index| machine.gpus.get(index)) else {
            return INVALID_ARGUMENT;
        };
        let now = machine.now();
        if gpu.script.lost_at.is_some_and(|lost| now >= lost) {
            return GPU_IS_LOST;
        }
        if gpu.script.unsupported.iter().any(|function| function == name) {
            return NOT_SUPPORTED;
        }
        answer(gpu, now, machine)
    })
}

fn put<T>(out: *mut T, value: T) -> nvmlReturn_t {
    if out.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: not null, and the caller's pointer is to a `T` as the header demands.
    unsafe { out.write(value) };
    SUCCESS
}

fn put_text(out: *mut c_char, length: c_uint, text: &str) -> nvmlReturn_t {
    if out.is_null() || text.len() >= length as usize {
        return INSUFFICIENT_SIZE;
    }
    // SAFETY: `length` bytes are the caller's, and the text with its final zero is not longer.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), out, text.len());
        out.add(text.len()).write(0);
    }
    SUCCESS
}

macro_rules! system_texts {
    ($($name:ident: $field:ident),+) => { $(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(out: *mut c_char, length: c_uint) -> nvmlReturn_t {
            system(stringify!($name), |machine| put_text(out, length, &machine.script.$field))
        }
    )+ };
}
system_texts!(nvmlSystemGetDriverVersion: driver, nvmlSystemGetNVMLVersion: nvml);

/// One function under each of the names that newer and older drivers have for it.
macro_rules! under_each_name {
    (@ $name:ident ($($argument:ident: $kind:ty),+) $answer:expr) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn $name($($argument: $kind),+) -> nvmlReturn_t {
            let answer: fn(&str, $($kind),+) -> nvmlReturn_t = $answer;
            answer(stringify!($name), $($argument),+)
        }
    };
    ($($name:ident),+ => $arguments:tt $answer:expr) => {
        $(under_each_name!(@ $name $arguments $answer);)+
    };
}

under_each_name!(nvmlSystemGetCudaDriverVersion_v2, nvmlSystemGetCudaDriverVersion => (out: *mut c_int) |name, out| {
    system(name, |machine| put(out, machine.script.cuda))
});
under_each_name!(nvmlDeviceGetCount_v2, nvmlDeviceGetCount => (out: *mut c_uint) |name, out| {
    system(name, |machine| put(out, machine.gpus.len() as c_uint))
});

fn handle_of(index: usize) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(index + 1)
}

fn find(machine: &Machine, out: *mut nvmlDevice_t, is_it: impl Fn(&GpuScript) -> bool) -> nvmlReturn_t {
    match machine.gpus.iter().position(|gpu| is_it(&gpu.script)) {
        Some(index) => put(out, handle_of(index)),
        None => NOT_FOUND,
    }
}

under_each_name!(nvmlDeviceGetHandleByIndex_v2, nvmlDeviceGetHandleByIndex => (index: c_uint, out: *mut nvmlDevice_t) |name, index, out| {
    system(name, |machine| {
        if index as usize >= machine.gpus.len() {
            return INVALID_ARGUMENT;
        }
        device(name, handle_of(index as usize), |_, _, _| put(out, handle_of(index as usize)))
    })
});

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the header demands a text that ends with zero.
    let uuid = unsafe { CStr::from_ptr(uuid) }.to_string_lossy();
    system("nvmlDeviceGetHandleByUUID", |machine| find(machine, out, |gpu| gpu.uuid == uuid))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    pci: *const c_char,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: the header demands a text that ends with zero.
    let pci = unsafe { CStr::from_ptr(pci) }.to_string_lossy();
    system("nvmlDeviceGetHandleByPciBusId_v2", |machine| {
        find(machine, out, |gpu| gpu.pci.eq_ignore_ascii_case(&pci))
    })
}

macro_rules! texts {
    ($($name:ident: $text:expr),+) => { $(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(handle: nvmlDevice_t, out: *mut c_char, length: c_uint) -> nvmlReturn_t {
            device(stringify!($name), handle, |gpu, _, _| {
                let text: fn(&GpuScript) -> &str = $text;
                put_text(out, length, text(&gpu.script))
            })
        }
    )+ };
}
texts!(
    nvmlDeviceGetName: |gpu| &gpu.name,
    nvmlDeviceGetUUID: |gpu| &gpu.uuid,
    nvmlDeviceGetVbiosVersion: |_| "96.00.89.00.01"
);

macro_rules! numbers {
    ($($name:ident: $number:expr),+) => { $(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(handle: nvmlDevice_t, out: *mut c_uint) -> nvmlReturn_t {
            device(stringify!($name), handle, |gpu, now, _| {
                let number: fn(&Gpu, f64) -> u32 = $number;
                put(out, number(gpu, now))
            })
        }
    )+ };
}
numbers!(
    nvmlDeviceGetPowerUsage: |gpu, now| sensor::average(&gpu.script, now),
    nvmlDeviceGetPowerManagementDefaultLimit: |gpu, _| gpu.script.power_limit[0],
    nvmlDeviceGetPowerManagementLimit: |gpu, _| gpu.limit.load(Ordering::SeqCst),
    nvmlDeviceGetEnforcedPowerLimit: |gpu, _| gpu.limit.load(Ordering::SeqCst),
    nvmlDeviceGetPersistenceMode: |_, _| 1,
    nvmlDeviceGetCurrPcieLinkGeneration: |_, _| 4,
    nvmlDeviceGetCurrPcieLinkWidth: |_, _| 16,
    nvmlDeviceGetMaxPcieLinkGeneration: |_, _| 5,
    nvmlDeviceGetMaxPcieLinkWidth: |_, _| 16,
    nvmlDeviceGetPerformanceState: |_, _| 0
);

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetIndex(handle: nvmlDevice_t, out: *mut c_uint) -> nvmlReturn_t {
    device("nvmlDeviceGetIndex", handle, |_, _, _| put(out, handle as usize as c_uint - 1))
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetFanSpeed_v2(
    handle: nvmlDevice_t,
    _fan: c_uint,
    out: *mut c_uint,
) -> nvmlReturn_t {
    // A board for a server has none.
    device("nvmlDeviceGetFanSpeed_v2", handle, |_, _, _| {
        put(out, 0);
        NOT_SUPPORTED
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetFanSpeed(handle: nvmlDevice_t, _out: *mut c_uint) -> nvmlReturn_t {
    device("nvmlDeviceGetFanSpeed", handle, |_, _, _| NOT_SUPPORTED)
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetPciInfo_v3(handle: nvmlDevice_t, out: *mut nvmlPciInfo_t) -> nvmlReturn_t {
    device("nvmlDeviceGetPciInfo_v3", handle, |gpu, _, _| {
        let pci = &gpu.script.pci;
        let hex = |range| pci.get(range).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        // SAFETY: plain numbers and characters, for which zero is valid.
        let mut info: nvmlPciInfo_t = unsafe { std::mem::zeroed() };
        info.domain = hex(0..8).unwrap_or(0);
        info.bus = hex(9..11).unwrap_or(0);
        info.device = hex(12..14).unwrap_or(0);
        put_text(info.busId.as_mut_ptr(), info.busId.len() as c_uint, pci);
        put(out, info)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    handle: nvmlDevice_t,
    out: *mut nvmlMemory_v2_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetMemoryInfo_v2", handle, |gpu, _, _| {
        let (total, free) = (gpu.script.memory_mib << 20, gpu.script.memory_free_mib << 20);
        put(out, nvmlMemory_v2_t { version: 0, total, reserved: 0, free, used: total - free })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetMemoryInfo(handle: nvmlDevice_t, out: *mut nvmlMemory_t) -> nvmlReturn_t {
    device("nvmlDeviceGetMemoryInfo", handle, |gpu, _, _| {
        let (total, free) = (gpu.script.memory_mib << 20, gpu.script.memory_free_mib << 20);
        put(out, nvmlMemory_t { total, free, used: total - free })
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetPowerManagementLimitConstraints(
    handle: nvmlDevice_t,
    lowest: *mut c_uint,
    highest: *mut c_uint,
) -> nvmlReturn_t {
    device("nvmlDeviceGetPowerManagementLimitConstraints", handle, |gpu, _, _| {
        put(lowest, gpu.script.power_limit[1]);
        put(highest, gpu.script.power_limit[2])
    })
}

/// Two states that are the same now and after the next reboot.
macro_rules! states {
    ($($name:ident: $state:expr),+) => { $(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(handle: nvmlDevice_t, now: *mut c_uint, next: *mut c_uint) -> nvmlReturn_t {
            device(stringify!($name), handle, |gpu, _, _| {
                let state: fn(&GpuScript) -> u32 = $state;
                put(next, state(&gpu.script));
                put(now, state(&gpu.script))
            })
        }
    )+ };
}
states!(nvmlDeviceGetMigMode: |gpu| gpu.mig.into(), nvmlDeviceGetEccMode: |_| 1);

const CLOCK_MEMORY: u32 = 2;

macro_rules! clocks {
    ($($name:ident: $both:expr),+) => { $(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(handle: nvmlDevice_t, clock: c_uint, out: *mut c_uint) -> nvmlReturn_t {
            device(stringify!($name), handle, |gpu, now, _| {
                let both: fn(&Gpu, f64) -> [u32; 2] = $both;
                put(out, both(gpu, now)[usize::from(clock == CLOCK_MEMORY)])
            })
        }
    )+ };
}
clocks!(
    nvmlDeviceGetClockInfo: |gpu, now| {
        let locked = gpu.locked.load(Ordering::SeqCst);
        let free = gpu.script.sm_mhz.watts(now) as u32;
        [if locked > 0 { locked } else { free }, gpu.script.max_clocks[1]]
    },
    nvmlDeviceGetMaxClockInfo: |gpu, _| gpu.script.max_clocks,
    nvmlDeviceGetApplicationsClock: |gpu, _| gpu.script.application_clocks,
    nvmlDeviceGetDefaultApplicationsClock: |gpu, _| gpu.script.application_clocks
);

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetTemperature(
    handle: nvmlDevice_t,
    _sensor: c_uint,
    out: *mut c_uint,
) -> nvmlReturn_t {
    device("nvmlDeviceGetTemperature", handle, |gpu, now, _| {
        put(out, gpu.script.celsius.watts(now).round() as c_uint)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperatureV(
    handle: nvmlDevice_t,
    out: *mut nvmlTemperature_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetTemperatureV", handle, |gpu, now, _| {
        // SAFETY: the header demands a whole struct.
        let Some(asked) = (unsafe { out.as_mut() }) else { return INVALID_ARGUMENT };
        asked.temperature = gpu.script.celsius.watts(now).round() as c_int;
        SUCCESS
    })
}

under_each_name!(nvmlDeviceGetComputeRunningProcesses_v3, nvmlDeviceGetComputeRunningProcesses_v2 =>
    (handle: nvmlDevice_t, count: *mut c_uint, out: *mut nvmlProcessInfo_t) |name, handle, count, out| {
        processes(name, handle, count, out, |pid, bytes| nvmlProcessInfo_t {
            pid,
            usedGpuMemory: bytes,
            gpuInstanceId: u32::MAX,
            computeInstanceId: u32::MAX,
        })
    }
);
under_each_name!(nvmlDeviceGetComputeRunningProcesses =>
    (handle: nvmlDevice_t, count: *mut c_uint, out: *mut nvmlProcessInfo_v1_t) |name, handle, count, out| {
        processes(name, handle, count, out, |pid, bytes| nvmlProcessInfo_v1_t { pid, usedGpuMemory: bytes })
    }
);

/// Writes the list of processes in the struct of one version.
fn processes<T>(
    name: &str,
    handle: nvmlDevice_t,
    count: *mut c_uint,
    out: *mut T,
    one: fn(u32, u64) -> T,
) -> nvmlReturn_t {
    device(name, handle, |gpu, _, _| {
        let processes = &gpu.script.processes;
        // SAFETY: the header demands a count, and room for as many processes where `out` is not null.
        let room = unsafe { count.read() } as usize;
        put(count, processes.len() as c_uint);
        if room < processes.len() {
            return INSUFFICIENT_SIZE;
        }
        for (index, (pid, mib)) in processes.iter().enumerate() {
            // SAFETY: there is room, as was checked.
            unsafe { out.add(index).write(one(*pid, mib << 20)) };
        }
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetTotalEnergyConsumption(
    handle: nvmlDevice_t,
    out: *mut c_ulonglong,
) -> nvmlReturn_t {
    device("nvmlDeviceGetTotalEnergyConsumption", handle, |gpu, now, _| {
        put(out, sensor::counter(&gpu.script, now))
    })
}

macro_rules! reasons {
    ($($name:ident),+) => { $(
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(handle: nvmlDevice_t, out: *mut c_ulonglong) -> nvmlReturn_t {
            device(stringify!($name), handle, |gpu, now, _| put(out, sensor::throttle(&gpu.script, now)))
        }
    )+ };
}
reasons!(nvmlDeviceGetCurrentClocksThrottleReasons, nvmlDeviceGetCurrentClocksEventReasons);

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceGetViolationStatus(
    handle: nvmlDevice_t,
    policy: c_uint,
    out: *mut nvmlViolationTime_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetViolationStatus", handle, |gpu, now, _| {
        let reasons = match policy {
            0 => 4,
            1 => 32,
            _ => return NOT_SUPPORTED,
        };
        let violation = sensor::throttled(&gpu.script, now, reasons);
        put(out, nvmlViolationTime_t { referenceTime: (now * 1e6) as u64, violationTime: violation })
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(
    handle: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    device("nvmlDeviceGetFieldValues", handle, |gpu, now, machine| {
        let Some(count) = usize::try_from(count).ok().filter(|count| *count > 0) else {
            return INVALID_ARGUMENT;
        };
        // SAFETY: the header demands room for `count` values.
        let values = unsafe { std::slice::from_raw_parts_mut(values, count) };
        for value in values {
            value.nvmlReturn = match field(gpu, now, machine, value.fieldId, value.scopeId) {
                Some((kind, number)) => {
                    value.valueType = kind;
                    value.value.ullVal = number;
                    SUCCESS
                }
                None => NOT_SUPPORTED,
            };
        }
        SUCCESS
    })
}

/// A field's type and value, where this GPU has it.
fn field(gpu: &Gpu, now: f64, machine: &Machine, id: u32, scope: u32) -> Option<(u32, u64)> {
    let script = &gpu.script;
    if script.unsupported_fields.contains(&id) {
        return None;
    }
    let power = |milliwatts: u32| {
        let whole = u64::from(milliwatts);
        match (scope, script.power.module_only) {
            (0, false) => Some((UNSIGNED_INT, whole)),
            (1, true) => Some((UNSIGNED_INT, whole + (script.power.module_watts * 1e3) as u64)),
            _ => None,
        }
    };
    let held = |reasons: u64| Some((UNSIGNED_LONG_LONG, sensor::throttled(script, now, reasons)));
    // Driver 580.82 gave the counters other ids, and power smoothing theirs.
    let mut version = machine.script.driver.split('.').map(|part| part.parse().unwrap_or(0));
    let newer = (version.next().unwrap_or(0), version.next().unwrap_or(0)) >= (580, 82);
    match (id, newer) {
        (185, _) => power(sensor::average(script, now)),
        (186, _) => power(sensor::instant(script, now)),
        (191, _) if scope == 0 => Some((UNSIGNED_LONG_LONG, sensor::counter(script, now))),
        (74, _) => held(4),
        (251, false) | (269, true) => held(32),
        (252, false) | (270, true) => held(64),
        (253, false) | (271, true) => held(128),
        (251..=268, true) => Some((UNSIGNED_INT, 0)),
        _ => None,
    }
}

/// Changes a setting, if this user may, and writes down that it was tried.
fn set(
    name: &str,
    handle: nvmlDevice_t,
    what: &str,
    change: impl FnOnce(&Gpu) -> nvmlReturn_t,
) -> nvmlReturn_t {
    device(name, handle, |gpu, _, machine| {
        if machine.script.denied {
            machine.log(gpu, &format!("denied: {what}"));
            return NO_PERMISSION;
        }
        let returned = change(gpu);
        machine.log(gpu, &if returned == SUCCESS { what.to_owned() } else { format!("refused: {what}") });
        returned
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceSetGpuLockedClocks(
    handle: nvmlDevice_t,
    lowest: c_uint,
    highest: c_uint,
) -> nvmlReturn_t {
    set("nvmlDeviceSetGpuLockedClocks", handle, &format!("lock clocks {lowest} {highest}"), |gpu| {
        if lowest > highest || highest > gpu.script.max_clocks[0] {
            return INVALID_ARGUMENT;
        }
        gpu.locked.store(highest, Ordering::SeqCst);
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceResetGpuLockedClocks(handle: nvmlDevice_t) -> nvmlReturn_t {
    set("nvmlDeviceResetGpuLockedClocks", handle, "reset clocks", |gpu| {
        gpu.locked.store(0, Ordering::SeqCst);
        SUCCESS
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceSetPowerManagementLimit(handle: nvmlDevice_t, limit: c_uint) -> nvmlReturn_t {
    set("nvmlDeviceSetPowerManagementLimit", handle, &format!("power limit {limit}"), |gpu| {
        let [_, lowest, highest] = gpu.script.power_limit;
        if !(lowest..=highest).contains(&limit) {
            return INVALID_ARGUMENT;
        }
        if gpu.script.refused_limits.contains(&limit) {
            return 999;
        }
        gpu.limit.store(limit, Ordering::SeqCst);
        SUCCESS
    })
}
