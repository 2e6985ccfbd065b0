//! What a run changes on a GPU: clocks and power limit.

use crate::base::failure::Usage;
use crate::base::units::Watts;
use crate::hardware::nvml::{self, ClockLock, Gpu, PowerLimit};
use crate::hardware::telemetry::choose::{self, Chosen};

use super::{Error, LockClocks, RunRequest};

/// The changes that are in force; put back when this is dropped, and by every other way out.
#[derive(Default)]
pub(in crate::run) struct Settings {
    clocks: Option<ClockLock>,
    power_limit: Option<PowerLimit>,
}

impl Settings {
    /// Whether the changes that were asked for can be made; the GPU whose sensors are read, if any were.
    pub(super) fn check<'a>(
        request: &RunRequest,
        chosen: Option<&'a Chosen>,
    ) -> Result<Option<&'a Gpu>, Error> {
        if request.lock_clocks.is_none() && request.power_limits.is_empty() {
            return Ok(None);
        }
        let flag = if request.lock_clocks.is_some() { "--lock-clocks" } else { "--power-limit" };
        let gpu = chosen.and_then(Chosen::gpu).ok_or_else(|| {
            choose::Error::Absent(format!(
                "{flag}: this run measures no GPU; compute on one, or name one with --power nvml[:GPU]"
            ))
        })?;
        for watts in &request.power_limits {
            nvml::check_power_limit(gpu, *watts).map_err(|reason| Usage::new("--power-limit", reason))?;
        }
        if let Some(LockClocks::At(mhz)) = request.lock_clocks {
            nvml::check_clocks(gpu, mhz).map_err(|reason| Usage::new("--lock-clocks", reason))?;
        }
        Ok(Some(gpu))
    }

    /// Makes the changes that were asked for, on the GPU whose sensors are read.
    pub(super) fn apply(request: &RunRequest, chosen: Option<&Chosen>) -> Result<Self, Error> {
        let Some(gpu) = Self::check(request, chosen)? else { return Ok(Self::default()) };
        let unusable = |flag: &str, reason: String| choose::Error::Unusable(format!("{flag}: {reason}"));
        let clocks = match request.lock_clocks {
            None => None,
            Some(asked) => {
                let mhz = if let LockClocks::At(mhz) = asked { Some(mhz) } else { None };
                Some(nvml::lock_clocks(gpu, mhz).map_err(|reason| unusable("--lock-clocks", reason))?)
            }
        };
        let power_limit = match request.power_limits.first() {
            None => None,
            Some(watts) => {
                Some(nvml::set_power_limit(gpu, *watts).map_err(|reason| unusable("--power-limit", reason))?)
            }
        };
        Ok(Self { clocks, power_limit })
    }

    /// What was set, by the flag's name.
    pub(in crate::run) fn named(&self) -> Vec<(&'static str, String)> {
        self.clocks.iter().map(|clocks| ("lock_clocks_mhz", clocks.mhz.to_string())).collect()
    }

    /// Moves on to the one of `limits` with this number, and says which is in force.
    pub(in crate::run) fn limit(
        &mut self,
        limits: &[Watts],
        number: usize,
    ) -> Result<Option<Watts>, choose::Error> {
        let (Some(limit), Some(watts)) = (&mut self.power_limit, limits.get(number)) else {
            return Ok(None);
        };
        if number > 0 {
            let unusable = |reason| choose::Error::Unusable(format!("--power-limit: {reason}"));
            limit.change(*watts).map_err(unusable)?;
        }
        Ok(Some(limit.watts))
    }
}
