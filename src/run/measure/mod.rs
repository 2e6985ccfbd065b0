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

use crate::record::{Measurement, Percentiles, Samples};

/// A figure of the whole process, without a cell and without an interval.
pub fn of_process(metric: &str, unit: &str, value: Result<f64, String>, method: &str) -> Measurement {
    let (value, value_reason) = match value {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(reason)),
    };
    Measurement {
        metric: metric.to_owned(),
        formula: format!("infercost.{metric}/1"),
        unit: unit.to_owned(),
        value,
        value_reason,
        ci95: None,
        ci95_reason: Some("one value of the whole process".to_owned()),
        percentiles: Percentiles::default(),
        n: usize::from(value.is_some()),
        method: method.to_owned(),
        cell: None,
        cell_reason: Some("it belongs to the whole process".to_owned()),
        samples: Samples::inline(unit, value.into_iter().collect()),
        unknown: crate::record::Unknown::new(),
    }
}
