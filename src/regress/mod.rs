//! Proving a slowdown: two programs side by side on one machine, and the history of a series.
//!
//! Absolute speed on a rented machine says little, since the machine varies from day to day by more than a commit does. So
//! the [`gate`] never compares tonight's number with last week's: it runs two programs alternately and looks at the ratio.
//! The [`store`] keeps the results, and the [`history`] shows where a level shifted. [`micro`] adds the times of
//! micro-benchmarks.

pub mod error;
pub mod gate;
pub mod history;
mod label;
pub mod last_gate;
pub mod micro;
pub mod store;

pub use error::Error;
