//! Where a run is, for a view to show.

use crate::base::units::Seconds;

use super::{LeftOut, MeasuredRow};

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Measuring the idle device.
    Idle,
    /// Reading the weights.
    Load,
    /// Continuing the fixed prompt.
    Greedy,
    /// Warming a row up.
    Warmup,
    /// Measuring a row.
    Measure,
    /// Running sequences alone and together.
    Agreement,
}

impl Stage {
    /// The stage's name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "measuring the idle device",
            Self::Load => "loading",
            Self::Greedy => "checking the output",
            Self::Warmup => "warming up",
            Self::Measure => "measuring",
            Self::Agreement => "comparing a batch with single sequences",
        }
    }
}

/// A report of where the run is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The stage.
    pub stage: Stage,
    /// The row's label, once there is one.
    pub row: Option<String>,
    /// Rows finished and rows known of.
    pub rows: (usize, usize),
    /// Trials of this row so far.
    pub trials: usize,
    /// Time left at most; `None` when nothing bounds it.
    pub left: Option<Seconds>,
}

/// Is told where the run is; called between trials, never inside one.
pub trait Observer {
    /// The run has come to `progress`.
    fn update(&mut self, progress: &Progress);

    /// A row is measured.
    fn measured(&mut self, _row: &MeasuredRow) {}

    /// A row is left out.
    fn left_out(&mut self, _row: &LeftOut) {}
}
