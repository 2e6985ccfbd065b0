//! Proving a slowdown: two programs side by side on one box, and a history of one series.
//!
//! Absolute speed on a rented box says little, since the box differs from day to day by more than a commit does. So the
//! [`gate`] never compares tonight's number with last week's: it runs two programs in turn and looks at the ratio. The
//! [`store`] keeps what was found, and the [`history`] says where a level moved. [`micro`] puts the times of
//! micro-benchmarks beside them.

pub mod error;
pub mod gate;
pub mod history;
mod label;
pub mod last_gate;
pub mod micro;
pub mod store;

pub use error::Error;
