//! Statistics on plain `f64`: definitions are in each function's doc, tests use published numbers.

mod change_points;
#[cfg(test)]
mod change_simulation;
mod histogram;
mod holm;
mod interval;
mod line;
mod mean_test;
mod moments;
mod order;
mod orders;
mod power;
mod quantile;
mod serial;
mod splits;
mod theil_sen;

pub use change_points::{ChangePoint, Rules as ChangeRules, change_points};
pub use histogram::Histogram;
pub use holm::holm;
pub use interval::{Interval, t_interval, t_interval_positive};
pub use line::{Band, Crossing, Line};
pub use mean_test::{MeanTest, normal_tail, quantile_t};
pub use moments::{mean, sample_sd};
pub use order::{quantile_interval, samples_for_quantile, share_interval};
pub use power::{points_needed, smallest_step};
pub use quantile::{median, quantile, quantile_of_sorted};
pub use serial::effective_sample_size;
pub use theil_sen::{TheilSen, theil_sen};
