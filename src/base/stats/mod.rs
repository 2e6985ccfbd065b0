//! Statistics on plain `f64`: definitions are in each function's doc, tests use published numbers.

mod interval;
mod line;
mod moments;
mod quantile;
mod serial;
mod theil_sen;

pub use interval::{Interval, t_interval, t_interval_positive};
pub use line::{Band, Crossing, Line};
pub use moments::{mean, sample_sd};
pub use quantile::{median, quantile};
pub use serial::effective_sample_size;
pub use theil_sen::{TheilSen, theil_sen};
