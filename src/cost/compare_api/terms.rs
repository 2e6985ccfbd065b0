//! What is compared, on which terms: what was asked, this machine, and the month to serve.

use jiff::civil::Date;
use serde::Serialize;

use crate::record::{Cell, Figure};

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// APIs named, `provider/model` or a model for all its hosts, next to the record's own.
    pub named: &'a [String],
    /// Input tokens for each output token instead of the workload's own.
    pub mix: Option<f64>,
    /// Tokens a month that are to be served.
    pub tokens_per_month: Option<f64>,
    /// One text in both models' tokens.
    pub counted: Option<&'a Counted>,
    /// Days a price may be old.
    pub max_age_days: Option<i64>,
    /// The day.
    pub today: Date,
}

impl<'a> Asked<'a> {
    /// At the workload's own mix, always on: what `run` and `cost` ask.
    pub fn own_mix(named: &'a [String], max_age_days: Option<i64>, today: Date) -> Self {
        Self { named, mix: None, tokens_per_month: None, counted: None, max_age_days, today }
    }
}

/// How the record's figures came about: the tier of the same kind is its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// All sequences start together, without queueing or a bound on latency: like a batch tier.
    Offline,
    /// Requests were served: like a standard tier.
    Online,
}

/// This machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Here {
    /// The cell that is compared.
    pub cell: Cell,
    /// How its figures came about.
    pub service: Service,
    /// Input tokens for each output token.
    pub input_to_output: f64,
    /// USD per million tokens at that mix and at the utilization asked for.
    pub usd_per_million: Figure,
    /// USD an hour costs.
    pub usd_per_hour: f64,
    /// Share of the hour in which the engine is busy.
    pub utilization: f64,
    /// Whether input and output are separate.
    pub apart: bool,
    /// Whether the mix was measured; otherwise rate and cost are computed from the cell's input and output.
    pub mix_measured: bool,
    /// Tokens per second while busy.
    pub tokens_per_second: f64,
    /// Tokens of a month, always busy.
    pub capacity_tokens_per_month: f64,
}

/// Serving so many tokens a month.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Volume {
    /// Tokens a month.
    pub tokens_per_month: f64,
    /// Machines like this one that serve them at the utilization asked for.
    pub machines: u64,
    /// Their utilization then.
    pub utilization: f64,
    /// What they cost a month, always on.
    pub usd_per_month: f64,
    /// Low and high end: a slower machine may need another one. `null` when the speed has no interval.
    pub usd_per_month_ci95: Option<[f64; 2]>,
}

impl Volume {
    /// What the machines cost a month.
    pub(crate) fn bill(&self) -> Figure {
        Figure { value: self.usd_per_month, ci95: self.usd_per_month_ci95 }
    }
}

/// One text, counted by two tokenizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Characters of the text.
    pub characters: u64,
    /// Its tokens by the record's model.
    pub own_tokens: u64,
    /// Its tokens by the API's model.
    pub api_tokens: u64,
}
