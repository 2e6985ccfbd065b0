//! The two settings of a GPU that a run may change: locked clocks and the power limit.
//!
//! Each change returns a guard that restores the previous setting when dropped, also on a panic or on a signal
//! that ends the process at once ([`Undo`]). NVML does not report which clocks were locked before, so
//! restoring those means the driver's default: no lock.

use std::io::Write as _;

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::device::GpuLockedClocksSetting;
use nvml_wrapper::error::NvmlError;

use super::reason;
use super::select::Gpu;
use crate::base::undo::Undo;
use crate::base::units::Watts;

/// Keeps the clocks of the compute units at one frequency.
#[derive(Debug)]
pub struct ClockLock {
    /// The requested frequency; temperature and the power limit may still keep the GPU below it.
    pub mhz: u32,
    /// Where the number comes from.
    pub chosen: &'static str,
    _undo: Undo,
}

/// Locks the clocks of the compute units to `mhz`, or to the GPU's default application clock, which it is
/// designed to sustain, or if it has none to its highest clock.
///
/// # Errors
/// A human-readable reason: not permitted, not supported, or out of the GPU's range.
pub fn lock_clocks(gpu: &Gpu, mhz: Option<u32>) -> Result<ClockLock, String> {
    let device = gpu.device();
    let highest = device.max_clock_info(Clock::Graphics).ok().filter(|mhz| *mhz > 0);
    let default = device.default_applications_clock(Clock::Graphics).ok().filter(|mhz| *mhz > 0);
    let (mhz, chosen) = match (mhz, default, highest) {
        (Some(mhz), _, _) => (mhz, "asked for"),
        (None, Some(mhz), _) => (mhz, "the GPU's default application clock"),
        (None, None, Some(mhz)) => (mhz, "the GPU's highest clock"),
        (None, None, None) => {
            return Err("locking clocks: NVML does not report this GPU's clocks; specify one".to_owned());
        }
    };
    check_clocks(gpu, mhz)?;
    let mut changed = gpu.device_again().map_err(|error| refused("locking clocks", &error))?;
    let mut restored = gpu.device_again().map_err(|error| refused("locking clocks", &error))?;
    let fix = format!("sudo nvidia-smi -i {} --reset-gpu-clocks", gpu.smi());
    let undo = Undo::after(
        || {
            let setting = GpuLockedClocksSetting::Numeric { min_clock_mhz: mhz, max_clock_mhz: mhz };
            changed.set_gpu_locked_clocks(setting).map_err(|error| refused("locking clocks", &error))
        },
        move || restore(&mut restored, &fix, Device::reset_gpu_locked_clocks),
    )?;
    Ok(ClockLock { mhz, chosen, _undo: undo })
}

/// Checks that this clock is within the GPU's range.
///
/// # Errors
/// A human-readable reason, with the highest clock.
pub fn check_clocks(gpu: &Gpu, mhz: u32) -> Result<(), String> {
    let highest = gpu.device().max_clock_info(Clock::Graphics).ok().filter(|mhz| *mhz > 0);
    if highest.is_some_and(|highest| mhz > highest) || mhz == 0 {
        return Err(format!(
            "locking clocks: {mhz} MHz is out of this GPU's range, up to {}",
            highest.map_or("unknown".to_owned(), |mhz| format!("{mhz} MHz"))
        ));
    }
    Ok(())
}

/// Keeps a GPU's power limit at a different value.
#[derive(Debug)]
pub struct PowerLimit {
    /// The limit in force, as read back from NVML.
    pub watts: Watts,
    /// The previous limit, which is restored.
    pub before: Watts,
    device: Device<'static>,
    undo: Undo,
}

/// Sets the power limit. A sweep sets it once and then uses [`PowerLimit::change`], so that the original limit is the
/// one restored.
///
/// # Errors
/// A human-readable reason: not permitted, not supported, or out of the GPU's range.
pub fn set_power_limit(gpu: &Gpu, watts: Watts) -> Result<PowerLimit, String> {
    const WHAT: &str = "setting the power limit";
    let milliwatts = checked(gpu.device(), watts)?;
    let before = gpu.device().power_management_limit().map_err(|error| refused(WHAT, &error))?;
    let mut device = gpu.device_again().map_err(|error| refused(WHAT, &error))?;
    let mut restored = gpu.device_again().map_err(|error| refused(WHAT, &error))?;
    let fix = format!("sudo nvidia-smi -i {} --power-limit={}", gpu.smi(), f64::from(before) / 1e3);
    let undo = Undo::after(
        || device.set_power_management_limit(milliwatts).map_err(|error| refused(WHAT, &error)),
        move || restore(&mut restored, &fix, |device| device.set_power_management_limit(before)),
    )?;
    let watts = in_force(&device, watts);
    Ok(PowerLimit { watts, before: Watts::new(f64::from(before) / 1e3), device, undo })
}

/// Checks that this limit is within the GPU's range, so that a sweep does not fail at its last value.
///
/// # Errors
/// A human-readable reason, with the range.
pub fn check_power_limit(gpu: &Gpu, watts: Watts) -> Result<(), String> {
    checked(gpu.device(), watts).map(drop)
}

impl PowerLimit {
    /// Changes the limit to another value.
    ///
    /// # Errors
    /// As [`set_power_limit`]; the limit is then unchanged.
    pub fn change(&mut self, watts: Watts) -> Result<(), String> {
        let milliwatts = checked(&self.device, watts)?;
        let device = &mut self.device;
        self.undo
            .again(|| device.set_power_management_limit(milliwatts))
            .map_err(|error| refused("setting the power limit", &error))?;
        self.watts = in_force(&self.device, watts);
        Ok(())
    }
}

fn in_force(device: &Device<'_>, asked: Watts) -> Watts {
    device.power_management_limit().map_or(asked, |milliwatts| Watts::new(f64::from(milliwatts) / 1e3))
}

/// Milliwatts, if within the GPU's range.
fn checked(device: &Device<'_>, watts: Watts) -> Result<u32, String> {
    let asked = watts.get() * 1e3;
    let (lowest, highest) = match device.power_management_limit_constraints() {
        Ok(range) => (range.min_limit, range.max_limit),
        Err(_) => (1, u32::MAX),
    };
    if !(f64::from(lowest)..=f64::from(highest)).contains(&asked) {
        return Err(format!(
            "setting the power limit: {} W is out of this GPU's range, {} to {} W",
            watts.get(),
            f64::from(lowest) / 1e3,
            f64::from(highest) / 1e3
        ));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range above")]
    Ok(asked.round() as u32)
}

fn refused(what: &str, error: &NvmlError) -> String {
    match error {
        NvmlError::NoPermission => format!(
            "{what} needs root: run it with sudo, or in a privileged container (docker run --privileged); the run also works without the flag, and the record says whether clocks were throttled"
        ),
        other => format!("{what}: {}", reason(other)),
    }
}

/// Restores a setting. There may be no caller left to report to, so a failure is printed on the terminal, with the
/// command that fixes it.
fn restore(
    device: &mut Device<'static>,
    fix: &str,
    step: impl Fn(&mut Device<'static>) -> Result<(), NvmlError>,
) {
    if let Err(error) = step(device).or_else(|_| step(device)) {
        let why = reason(&error);
        // The terminal may be gone, which must not cause a panic here.
        drop(writeln!(
            std::io::stderr(),
            "warning: the GPU's setting could not be restored ({why}); run: {fix}"
        ));
    }
}
