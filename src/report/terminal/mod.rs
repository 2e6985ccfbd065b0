//! The terminal: a result that fits 80 columns, and a bar that shows where the run is.

mod compare;
mod cost;
mod energy;
mod forecast;
mod kernels;
mod month;
mod plan;
mod plot;
mod progress;
mod quality;
mod regress;
mod result;
mod serving;
mod style;
mod verdict;

pub use compare::{render_compare_api, render_compare_records};
pub use cost::{render_cost_view, render_hours, render_priced};
pub use energy::render_power_limits;
pub use forecast::{log_plot, render_forecast};
pub use kernels::{render_checked, render_kernels};
pub use month::render_month;
pub use plan::render_plan;
pub use plot::render_plot;
pub use progress::Bar;
pub use quality::render_quality;
pub use regress::{render_gate, render_history};
pub use result::{render, render_caveats, render_cost, render_doubts};
pub use serving::{render_row, render_serving_plan};
pub use style::Style;

/// What other forms of the same views say alike.
pub(in crate::report) mod words {
    pub(in crate::report) use super::month::{head as month_head, kept_busy, legend, this_month};
}

/// Columns that every table fits.
pub const WIDTH: usize = 80;

/// Text that grows line by line.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.0.push_str(text.to_string().trim_end_matches(' '));
        self.0.push('\n');
    }

    fn into_text(self) -> String {
        self.0
    }
}
