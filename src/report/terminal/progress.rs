//! The progress bar: phase, row and time left, on stderr and only on a terminal.
//!
//! It is drawn between trials, never by a thread of its own while a trial runs: what measures must not
//! share the processor with what prints. Only loading and downloading, which are not measured at this
//! grain, tick by themselves.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::units::{Bytes, Seconds};
use crate::model::hub::FetchProgress;
use crate::run::runner::{Observer, Progress, Stage};

/// What the bar says while weights are read.
const LOADING: &str = "loading the model";
/// Steps of the bar: time in thousandths.
const STEPS: u64 = 1000;

/// The bar with a message behind it.
const PLAIN: &str = "{bar:24} {msg}";
/// What is done, where it is, what is left.
const SHAPE: &str = "━╸ ";

/// A bar on the terminal, or nothing at all.
pub struct Bar {
    bar: Option<ProgressBar>,
    total: Option<Seconds>,
}

impl Bar {
    /// A bar when `visible`, else an observer that shows nothing.
    pub fn new(visible: bool) -> Self {
        let bar = visible.then(|| {
            let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(PLAIN) {
                bar.set_style(style.progress_chars(SHAPE));
            }
            bar
        });
        Self { bar, total: None }
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// What shows which share of the model is loaded; loading is not measured at this grain.
    pub fn loading(&self) -> impl Fn(f64) + use<> {
        let bar = self.bar.clone();
        move |share| {
            if let Some(bar) = &bar {
                bar.set_message(format!("{LOADING}, {:.0}%", share * 100.0));
            }
        }
    }

    /// Shows how many parts of a work are done, drawn when it is called.
    pub fn parts(&self, done: usize, all: usize, message: &str) {
        if let Some(bar) = &self.bar {
            bar.disable_steady_tick();
            bar.set_position((done as u64 * STEPS).checked_div(all as u64).unwrap_or(0));
            bar.set_message(message.to_owned());
            bar.tick();
        }
    }

    /// Shows a message that moves by itself, for work outside the measuring.
    pub fn spin(&self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
        }
    }
}

impl Observer for Bar {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a thousand")]
    fn update(&mut self, progress: &Progress) {
        let Some(bar) = &self.bar else { return };
        if progress.stage == Stage::Load {
            self.total = progress.left;
            self.spin(LOADING);
            return;
        }
        bar.disable_steady_tick();
        if let (Some(total), Some(left)) = (self.total, progress.left) {
            let share = 1.0 - left.get() / total.get();
            bar.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
        }
        bar.set_message(message(progress));
        bar.tick();
    }
}

impl FetchProgress for Bar {
    fn start(&self, file: &str, total: Bytes, already: Bytes) {
        if let Some(bar) = &self.bar {
            bar.disable_steady_tick();
            if let Ok(style) = ProgressStyle::with_template(
                "{bar:24} {msg} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            ) {
                bar.set_style(style.progress_chars(SHAPE));
            }
            bar.set_length(total.get());
            bar.set_position(already.get());
            bar.reset_eta();
            bar.set_message(file.rsplit('/').next().unwrap_or(file).to_owned());
        }
    }

    fn advance(&self, bytes: Bytes) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes.get());
        }
    }

    fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.set_length(STEPS);
            bar.set_position(0);
            if let Ok(style) = ProgressStyle::with_template(PLAIN) {
                bar.set_style(style.progress_chars(SHAPE));
            }
        }
    }

    fn waiting(&self, file: &str) {
        self.spin(&format!("waiting for another process that is fetching {file}"));
    }
}

fn message(progress: &Progress) -> String {
    let mut text = progress.stage.name().to_owned();
    if let Some(row) = &progress.row {
        text = format!("{text} {row} (row {} of {})", progress.rows.0 + 1, progress.rows.1);
    }
    if progress.trials > 0 {
        text = format!("{text}, {} trials", progress.trials);
    }
    if let Some(left) = progress.left {
        text = format!("{text}, {:.0} s left at most", left.get().ceil());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_says_phase_row_and_time_left() {
        let progress = Progress {
            stage: Stage::Measure,
            row: Some("pp512".into()),
            rows: (0, 2),
            trials: 3,
            left: Some(Seconds::new(41.2)),
        };
        assert_eq!(message(&progress), "measuring pp512 (row 1 of 2), 3 trials, 42 s left at most");
    }
}
