//! Events in, figures out: the same for every engine.
//!
//! No I/O, no clock, no engine: a trial is a list of events, a row is a list of trials, and the
//! formulas are those of `docs/metrics.md`.

pub mod energy;
pub mod roofline;
mod row;
pub mod serving;
mod trial;

pub use row::{RowTrials, half_width, measurements};
pub use trial::{Trial, TrialError};

use crate::base::known::Known;
use crate::record::{Measurement, Metric};

/// A figure of the whole process, without a cell and without an interval.
pub fn of_process(metric: Metric, value: Result<f64, String>, method: &str) -> Measurement {
    Measurement {
        ci95: Known::unknown("one value of the whole process"),
        ..Measurement::new(metric, Known::unknown("it belongs to the whole process"), value.into(), method)
    }
}
