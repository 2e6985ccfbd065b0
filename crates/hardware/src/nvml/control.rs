//! The two settings of a GPU that a run may change: locked clocks and the power limit.
//!
//! Each change returns a guard; what was before is put back when the guard goes, by a panic and by a signal
//! that ends the process at once as well ([`Undo`]). NVML does not say which clocks were locked before, so
//! putting those back means the driver's default: no lock.

use std::io::Write as _;

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::device::GpuLockedClocksSetting;
use nvml_wrapper::error::NvmlError;

use super::reason;
use super::select::Gpu;
use crate::base::undo::Undo;
use crate::base::units::Watts;

/// Holds the clocks of the compute units at one frequency.
#[derive(Debug)]
pub struct ClockLock {
    /// The frequency asked for; heat and the power limit may still hold the GPU below it.
    pub mhz: u32,
    /// Where the number comes from.
    pub chosen: &'static str,
    _undo: Undo,
}

/// Locks the clocks of the compute units to `mhz`, or to the GPU's default application clock, which it is
/// made to sustain, or where it has none to its highest.
///
/// # Errors
/// A reason for people: not permitted, not supported, or out of the GPU's range.
pub fn lock_clocks(gpu: &Gpu, mhz: Option<u32>) -> Result<ClockLock, String> {
    let device = gpu.device();
    let highest = device.max_clock_info(Clock::Graphics).ok().filter(|mhz| *mhz > 0);
    let default = device.default_applications_clock(Clock::Graphics).ok().filter(|mhz| *mhz > 0);
    let (mhz, chosen) = match (mhz, default, highest) {
        (Some(mhz), _, _) => (mhz, "asked for"),
        (None, Some(mhz), _) => (mhz, "the GPU's default application clock"),
        (None, None, Some(mhz)) => (mhz, "the GPU's highest clock"),
        (None, None, None) => {
            return Err("locking clocks: NVML does not say which clocks this GPU has; name one".to_owned());
        }
    };
    check_clocks(gpu, mhz)?;
    let mut changed = gpu.device_again().map_err(|error| refused("locking clocks", &error))?;
    let mut restored = gpu.device_again().map_err(|error| refused("locking clocks", &error))?;
    let mends = format!("sudo nvidia-smi -i {} --reset-gpu-clocks", gpu.smi());
    let undo = Undo::after(
        || {
            let setting = GpuLockedClocksSetting::Numeric { min_clock_mhz: mhz, max_clock_mhz: mhz };
            changed.set_gpu_locked_clocks(setting).map_err(|error| refused("locking clocks", &error))
        },
        move || put_back(&mut restored, &mends, Device::reset_gpu_locked_clocks),
    )?;
    Ok(ClockLock { mhz, chosen, _undo: undo })
}

/// Whether the GPU's range holds this clock.
///
/// # Errors
/// A reason for people, with the highest.
pub fn check_clocks(gpu: &Gpu, mhz: u32) -> Result<(), String> {
    let highest = gpu.device().max_clock_info(Clock::Graphics).ok().filter(|mhz| *mhz > 0);
    if highest.is_some_and(|highest| mhz > highest) || mhz == 0 {
        return Err(format!(
            "locking clocks: {mhz} MHz is out of this GPU's range, whose highest is {}",
            highest.map_or("unknown".to_owned(), |mhz| format!("{mhz} MHz"))
        ));
    }
    Ok(())
}

/// Holds a GPU's power limit at another value.
#[derive(Debug)]
pub struct PowerLimit {
    /// The limit in force, as NVML reads it back.
    pub watts: Watts,
    /// What it was, and will be again.
    pub before: Watts,
    device: Device<'static>,
    undo: Undo,
}

/// Sets the power limit. A sweep sets it once and goes on with [`PowerLimit::change`], so that what was
/// before stays what was before.
///
/// # Errors
/// A reason for people: not permitted, not supported, or out of the GPU's range.
pub fn set_power_limit(gpu: &Gpu, watts: Watts) -> Result<PowerLimit, String> {
    const WHAT: &str = "setting the power limit";
    let milliwatts = checked(gpu.device(), watts)?;
    let before = gpu.device().power_management_limit().map_err(|error| refused(WHAT, &error))?;
    let mut device = gpu.device_again().map_err(|error| refused(WHAT, &error))?;
    let mut restored = gpu.device_again().map_err(|error| refused(WHAT, &error))?;
    let mends = format!("sudo nvidia-smi -i {} --power-limit={}", gpu.smi(), f64::from(before) / 1e3);
    let undo = Undo::after(
        || device.set_power_management_limit(milliwatts).map_err(|error| refused(WHAT, &error)),
        move || put_back(&mut restored, &mends, |device| device.set_power_management_limit(before)),
    )?;
    let watts = in_force(&device, watts);
    Ok(PowerLimit { watts, before: Watts::new(f64::from(before) / 1e3), device, undo })
}

/// Whether the GPU's range holds this limit: a sweep that fails at its last value has lost the time of all before.
///
/// # Errors
/// A reason for people, with the range.
pub fn check_power_limit(gpu: &Gpu, watts: Watts) -> Result<(), String> {
    checked(gpu.device(), watts).map(drop)
}

impl PowerLimit {
    /// Moves the limit on to another value.
    ///
    /// # Errors
    /// As [`set_power_limit`]; the limit is then the one before.
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

/// Milliwatts, when the GPU's range holds them.
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
            "{what} needs root: run it with sudo, or in a container that may (docker run --privileged); without the flag the run goes on, and the record says whether clocks were held back"
        ),
        other => format!("{what}: {}", reason(other)),
    }
}

/// Puts a setting back. Whoever could be told may be gone by now, so a failure goes to the terminal together
/// with the command that mends it.
fn put_back(
    device: &mut Device<'static>,
    mends: &str,
    step: impl Fn(&mut Device<'static>) -> Result<(), NvmlError>,
) {
    if let Err(error) = step(device).or_else(|_| step(device)) {
        let why = reason(&error);
        // A terminal that is gone takes nothing, and that must not panic here.
        drop(writeln!(
            std::io::stderr(),
            "warning: the GPU's setting could not be put back ({why}); do it with: {mends}"
        ));
    }
}
