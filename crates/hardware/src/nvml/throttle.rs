//! What limits a GPU's clocks: the current reasons, and the accumulated time of each.
//!
//! Polling the reasons misses short events; a difference of the counters does not. The ids of the thermal and power brake
//! counters changed with driver 580.82 (CUDA 13.0 Update 1): 251 to 253 became 269 to 271, and the old ids now mean power
//! smoothing ("Known issues" of NVIDIA's NVML reference). So the id depends on the driver's version, and a 32-bit answer,
//! which is what power smoothing returns, is not a counter.

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::PerformancePolicy;
use nvml_wrapper::{Device, FieldIdScheme};

use super::fields::{self, FieldScope, Number, THROTTLED_BY_POWER_CAP};
use super::library::Library;
use super::older;
use crate::base::event::{Throttle, ThrottledTime};
use crate::base::units::Seconds;

/// The current throttle reasons; `None` if the GPU does not report them.
pub(super) fn now(device: &Device<'_>) -> Option<Throttle> {
    older::throttle_reasons(device).ok().map(decode)
}

fn decode(reasons: u64) -> Throttle {
    let reasons = ThrottleReasons::from_bits_truncate(reasons);
    let any = |of: ThrottleReasons| reasons.intersects(of);
    let thermal = any(ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN);
    let power_brake = any(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN);
    Throttle {
        power_cap: any(ThrottleReasons::SW_POWER_CAP),
        thermal,
        power_brake,
        // The general bit accompanies the two specific ones.
        hardware_slowdown: any(ThrottleReasons::HW_SLOWDOWN)
            && !any(ThrottleReasons::HW_THERMAL_SLOWDOWN)
            && !power_brake,
    }
}

/// The ids of the loaded driver's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    /// Thermal by the driver, thermal by the board, power brake; `None` if the driver's version is unknown, so that an id
    /// could mean either.
    ids: Option<[u32; 3]>,
}

impl Counters {
    pub(super) fn of(library: Library) -> Self {
        let scheme = library.nvml().field_id_scheme();
        Self { ids: library.driver().is_ok().then(|| ids(scheme)) }
    }

    /// Time throttled since the driver was loaded.
    pub(super) fn read(self, device: &Device<'_>) -> ThrottledTime {
        let mut wanted = vec![THROTTLED_BY_POWER_CAP];
        wanted.extend(self.ids.into_iter().flatten());
        let mut answers =
            fields::read(device, FieldScope::Gpu, &wanted).into_iter().map(|answer| counter(&answer));
        let mut next = || answers.next().flatten();
        let (power_cap, by_driver, by_board, power_brake) = (next(), next(), next(), next());
        // The older query covers the power limit and the driver's thermal throttling.
        let older = |policy| {
            let time = device.violation_status(policy).ok()?;
            Some(Seconds::new(time.violation_time as f64 / 1e9))
        };
        ThrottledTime {
            power_cap: power_cap.or_else(|| older(PerformancePolicy::Power)),
            thermal: by_driver
                .zip(by_board)
                .map(|(driver, board)| driver + board)
                .or_else(|| older(PerformancePolicy::Thermal)),
            power_brake,
        }
    }
}

fn ids(scheme: FieldIdScheme) -> [u32; 3] {
    match scheme {
        FieldIdScheme::V12 => [251, 252, 253],
        FieldIdScheme::V13Update1 => [269, 270, 271],
    }
}

fn counter(answer: &Result<Number, String>) -> Option<Seconds> {
    match answer {
        Ok(Number::Long(nanoseconds)) => Some(Seconds::new(*nanoseconds as f64 / 1e9)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_has_its_cause() {
        assert_eq!(decode(0), Throttle::default());
        assert_eq!(decode(1 | 2), Throttle::default(), "idle and application clocks hold nothing back");
        assert_eq!(decode(4), Throttle { power_cap: true, ..Throttle::default() });
        assert_eq!(decode(32), Throttle { thermal: true, ..Throttle::default() });
        assert_eq!(decode(8 | 64), Throttle { thermal: true, ..Throttle::default() });
        assert_eq!(decode(8 | 128), Throttle { power_brake: true, ..Throttle::default() });
        assert_eq!(decode(8), Throttle { hardware_slowdown: true, ..Throttle::default() });
        assert_eq!(
            decode(8 | 32),
            Throttle { thermal: true, hardware_slowdown: true, ..Throttle::default() }
        );
    }

    #[test]
    fn a_short_answer_is_no_counter() {
        assert_eq!(counter(&Ok(Number::Long(1_500_000_000))), Some(Seconds::new(1.5)));
        assert_eq!(counter(&Ok(Number::Short(1))), None);
        assert_eq!(counter(&Err("not supported".to_owned())), None);
    }
}
