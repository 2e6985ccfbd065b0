//! Statistics on plain `f64`: definitions are in each function's doc, tests use published numbers.

mod interval;
mod moments;
mod quantile;
mod serial;

pub use interval::{Interval, t_interval, t_interval_positive};
pub use moments::{mean, sample_sd};
pub use quantile::{median, quantile};
pub use serial::effective_sample_size;
