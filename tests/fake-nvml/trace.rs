//! True power over time, and its exact integral: what a perfect meter would have shown.
//!
//! The library reads its sensors off a trace and a test takes the truth from the same trace, so that what lies
//! between the two is the sensor alone. Time is in seconds since the script's origin; before it, power was
//! what it is at the origin.

use serde::{Deserialize, Serialize};

/// Power in watts as a function of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Trace {
    /// The same for ever.
    Constant { watts: f64 },
    /// From one value to another in a straight line, and on from there.
    Ramp { from: f64, to: f64, seconds: f64 },
    /// High for the first `duty` of each period, low for the rest.
    Square { period: f64, duty: f64, low: f64, high: f64 },
    /// One burst in each slot of `every` seconds, somewhere in it.
    Bursts { every: f64, length: f64, low: f64, high: f64, seed: u64 },
    /// `[since, watts]`, in the order of time.
    Steps { steps: Vec<[f64; 2]> },
}

impl Trace {
    pub fn constant(watts: f64) -> Self {
        Self::Constant { watts }
    }

    /// Power at a moment.
    pub fn watts(&self, at: f64) -> f64 {
        let at = at.max(0.0);
        match self {
            Self::Constant { watts } => *watts,
            Self::Ramp { from, to, seconds } => from + (to - from) * (at / seconds).min(1.0),
            Self::Square { period, duty, low, high } => {
                if at % period < duty * period {
                    *high
                } else {
                    *low
                }
            }
            Self::Bursts { every, length, low, high, seed } => {
                let slot = (at / every).floor();
                let since = at - slot * every - offset(*seed, slot) * (every - length);
                if (0.0..*length).contains(&since) { *high } else { *low }
            }
            Self::Steps { steps } => {
                let begun = steps.iter().rev().find(|[since, _]| *since <= at);
                begun.or(steps.first()).map_or(0.0, |[_, watts]| *watts)
            }
        }
    }

    /// Energy in joules between two moments.
    pub fn joules(&self, from: f64, to: f64) -> f64 {
        self.since_origin(to) - self.since_origin(from)
    }

    /// The integral from the origin, negative before it.
    pub fn since_origin(&self, at: f64) -> f64 {
        if at < 0.0 {
            return at * self.watts(0.0);
        }
        match self {
            Self::Constant { watts } => watts * at,
            Self::Ramp { from, to, seconds } => {
                let ramp = at.min(*seconds);
                from * ramp + (to - from) * ramp * ramp / (2.0 * seconds) + to * (at - ramp)
            }
            Self::Square { period, duty, low, high } => {
                let whole = (at / period).floor();
                let high_time = whole * duty * period + (at - whole * period).min(duty * period);
                low * at + (high - low) * high_time
            }
            Self::Bursts { every, length, low, high, seed } => {
                let slot = (at / every).floor();
                let begin = slot * every + offset(*seed, slot) * (every - length);
                let high_time = slot * length + (at - begin).clamp(0.0, *length);
                low * at + (high - low) * high_time
            }
            Self::Steps { steps } => {
                let mut joules = 0.0;
                for (index, [since, watts]) in steps.iter().enumerate() {
                    let begin = if index == 0 { 0.0 } else { *since };
                    let end = steps.get(index + 1).map_or(at, |[next, _]| next.min(at));
                    joules += watts * (end - begin).max(0.0);
                }
                joules
            }
        }
    }
}

/// Where in its slot a burst begins, 0 to 1: the same at every reading (`SplitMix64`).
fn offset(seed: u64, slot: f64) -> f64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of slots")]
    let slot = slot as u64;
    let mut state = seed.wrapping_add(slot.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((state ^ (state >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}
