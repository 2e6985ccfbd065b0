//! Statistics on plain `f64`: definitions are in each function's doc, tests use published numbers.

mod change_points;
mod holm;
mod interval;
mod mean_test;
mod moments;
mod quantile;
mod serial;

pub use change_points::{ChangePoint, Rules as ChangeRules, change_points};
pub use holm::holm;
pub use interval::{Interval, t_interval, t_interval_positive};
pub use mean_test::{MeanTest, quantile_t};
pub use moments::{mean, sample_sd};
pub use quantile::{median, quantile};
pub use serial::effective_sample_size;
