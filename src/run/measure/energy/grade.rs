//! How far a window's energy can be trusted: each fault of the sensors, and what it costs.

use crate::base::units::Seconds;
use crate::record::Grade;

/// What the grade looks at.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Evidence {
    /// Whether the counter gave the energy; the samples otherwise.
    pub(super) counter: bool,
    /// Edge to edge.
    pub(super) length: Seconds,
    /// What it should last at least, with these sensors.
    pub(super) shortest: Seconds,
    /// Whether both edges were seen to step.
    pub(super) aligned: bool,
    /// Bound of the error from edges and foreign time.
    pub(super) error_bound: f64,
    /// Counter ÷ integral − 1, where both are there.
    pub(super) disagreement: Option<f64>,
    /// Share of the time held back by heat, brake or board.
    pub(super) throttled: Option<f64>,
    /// Change of temperature.
    pub(super) warmed: Option<f64>,
    /// Whether the sensors cover more than the GPU.
    pub(super) module: bool,
    /// Whether they belong to a device that did not do the work.
    pub(super) other_device: bool,
}

/// Windows under this length are too short for a sensor that shows 25 ms of each 100 (SC'24, see `sensor.rs`).
pub(super) const SHORTEST: Seconds = Seconds::new(5.0);
/// Two methods may differ by this much without a word, and by [`DISPUTED`] before neither is believed.
const AGREED: f64 = 0.02;
const DISPUTED: f64 = 0.05;
const EDGE_SMALL: f64 = 0.01;
const EDGE_LARGE: f64 = 0.04;
const WARMED: f64 = 10.0;
const THROTTLED: f64 = 0.01;

/// The grade, and each reason that lowered it.
pub(super) fn grade(e: &Evidence) -> (Grade, Vec<String>) {
    let mut grade = Grade::A;
    let mut reasons = Vec::new();
    let mut lower = |to: Grade, reason: String| {
        grade = grade.max(to);
        reasons.push(reason);
    };
    if e.other_device {
        lower(Grade::D, "the sensors belong to a device that did not do this work".to_owned());
    }
    if !e.counter {
        lower(Grade::C, "there is no usable counter: the energy is a sum of power samples".to_owned());
    }
    if e.length < e.shortest {
        lower(Grade::C, format!("the window lasted {}, under {}", e.length, e.shortest));
    }
    if e.counter && !e.aligned {
        lower(Grade::B, "an edge was not aligned with the counter's step".to_owned());
    }
    let percent = e.error_bound * 100.0;
    if e.error_bound > EDGE_LARGE {
        lower(Grade::C, format!("edges and time outside the row's steps leave {percent:.1}% uncertain"));
    } else if e.error_bound > EDGE_SMALL {
        lower(Grade::B, format!("edges and time outside the row's steps leave {percent:.1}% uncertain"));
    }
    match e.disagreement.map(|by| (by.abs(), by * 100.0)) {
        Some((by, percent)) if by > DISPUTED => {
            lower(Grade::C, format!("counter and power samples disagree by {percent:+.1}%"));
        }
        Some((by, percent)) if by > AGREED => {
            lower(Grade::B, format!("counter and power samples differ by {percent:+.1}%"));
        }
        None if e.counter => lower(Grade::B, "nothing to check the counter against".to_owned()),
        _ => {}
    }
    if let Some(share) = e.throttled.filter(|share| *share > THROTTLED) {
        lower(Grade::B, format!("clocks were held back for {:.1}% of the window", share * 100.0));
    }
    if let Some(by) = e.warmed.filter(|by| by.abs() > WARMED) {
        lower(Grade::B, format!("the temperature changed by {by:+.0} °C"));
    }
    if e.module {
        lower(Grade::B, "the sensors cover the whole module, its processor included".to_owned());
    }
    (grade, reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: Evidence = Evidence {
        counter: true,
        length: Seconds::new(6.0),
        shortest: SHORTEST,
        aligned: true,
        error_bound: 0.001,
        disagreement: Some(0.01),
        throttled: Some(0.0),
        warmed: Some(2.0),
        module: false,
        other_device: false,
    };

    #[test]
    fn each_fault_has_its_price() {
        assert_eq!(grade(&CLEAN), (Grade::A, vec![]));
        for (fault, expected) in [
            (Evidence { counter: false, disagreement: None, ..CLEAN }, Grade::C),
            (Evidence { length: Seconds::new(4.9), ..CLEAN }, Grade::C),
            (Evidence { shortest: Seconds::new(8.0), ..CLEAN }, Grade::C),
            (Evidence { aligned: false, ..CLEAN }, Grade::B),
            (Evidence { error_bound: 0.02, ..CLEAN }, Grade::B),
            (Evidence { error_bound: 0.05, ..CLEAN }, Grade::C),
            (Evidence { disagreement: Some(-0.03), ..CLEAN }, Grade::B),
            (Evidence { disagreement: Some(0.06), ..CLEAN }, Grade::C),
            (Evidence { disagreement: None, ..CLEAN }, Grade::B),
            (Evidence { throttled: Some(0.02), ..CLEAN }, Grade::B),
            (Evidence { warmed: Some(-11.0), ..CLEAN }, Grade::B),
            (Evidence { module: true, ..CLEAN }, Grade::B),
            (Evidence { other_device: true, ..CLEAN }, Grade::D),
        ] {
            let (found, reasons) = grade(&fault);
            assert_eq!((found, reasons.len()), (expected, 1), "{fault:?}: {reasons:?}");
        }
    }
}
