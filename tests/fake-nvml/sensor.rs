//! From true power to what the sensors of a real GPU show of it: late, in steps, and only a part of the time.

use super::script::{CounterScript, GpuScript};
use super::trace::Trace;

/// The last moment at or before `at` at which something periodic happened.
fn last(at: f64, period: f64, phase: f64) -> f64 {
    if period <= 0.0 {
        return at;
    }
    ((at - phase) / period).floor() * period + phase
}

/// Mean power over the `window` before the sensor's last value, in milliwatts.
fn shown(gpu: &GpuScript, at: f64, window: f64) -> u32 {
    let sensor = &gpu.power;
    let made = last(at - sensor.lag, sensor.period, sensor.phase);
    let watts =
        if window > 0.0 { gpu.watts.joules(made - window, made) / window } else { gpu.watts.watts(made) };
    if sensor.zero { 0 } else { (watts * sensor.gain * 1e3).round() as u32 }
}

/// The instant value in milliwatts.
pub fn instant(gpu: &GpuScript, at: f64) -> u32 {
    shown(gpu, at, gpu.power.window)
}

/// The average value in milliwatts.
pub fn average(gpu: &GpuScript, at: f64) -> u32 {
    shown(gpu, at, gpu.power.average_window)
}

/// The counter of energy in millijoules.
pub fn counter(gpu: &GpuScript, at: f64) -> u64 {
    let CounterScript { start, step, lag, phase, gain, reset_at, frozen_at, jump } = &gpu.counter;
    let at = frozen_at.map_or(at, |frozen| at.min(frozen));
    let counted = last(at - lag, *step, *phase);
    let true_joules = match reset_at {
        Some(reset) if at >= *reset => gain * gpu.watts.joules(*reset, counted.max(*reset)),
        _ => start + gain * gpu.watts.since_origin(counted),
    };
    let jumped = jump.filter(|[moment, _]| counted >= *moment).map_or(0.0, |[_, joules]| joules);
    ((true_joules + jumped).max(0.0) * 1e3).round() as u64
}

/// What holds the clocks back at a moment.
pub fn throttle(gpu: &GpuScript, at: f64) -> u64 {
    gpu.throttle.iter().rev().find(|(since, _)| *since <= at).map_or(0, |(_, reasons)| *reasons)
}

/// Nanoseconds since the origin in which one of the `reasons` held the clocks back.
pub fn throttled(gpu: &GpuScript, at: f64, reasons: u64) -> u64 {
    let held = gpu.throttle.iter().map(|(since, now)| [*since, f64::from(u8::from(now & reasons != 0))]);
    let held = Trace::Steps { steps: held.collect() };
    let begin = gpu.throttle.first().map_or(0.0, |(since, _)| *since);
    (held.joules(begin, at.max(begin)) * 1e9).round() as u64
}
