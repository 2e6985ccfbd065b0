//! Dollars, as they are in a record. The arithmetic is the `cost` room's.

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cell, Unknown};
use crate::base::known::{self, Known};

/// What a million tokens cost at the hourly price.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Cost {
    /// The price of the hour; `null` when none is known.
    #[reason = "Why `price` is `null`."]
    pub price: Known<Price>,
    /// USD per million input tokens of the headline cell.
    pub usd_per_million_input_tokens: Known<Figure>,
    /// USD per million output tokens of the headline cell.
    pub usd_per_million_output_tokens: Known<Figure>,
    /// USD per million tokens, input and output blended at `blend_ratio`.
    pub usd_per_million_blended_tokens: Known<Figure>,
    /// USD per million output tokens when input is called free: the naive figure others quote.
    pub usd_per_million_all_output_tokens: Known<Figure>,
    /// USD per million tokens, input and output counted alike, at the headline cell's own mix.
    #[serde(default)]
    pub usd_per_million_total_tokens: Known<Figure>,
    /// Input tokens for each output token in the blended figure.
    pub blend_ratio: f64,
    /// Share of the hour in which the engine is busy: 1 as measured.
    pub utilization: f64,
    /// The cell that the figures above repeat.
    pub headline_cell: Known<Cell>,
    /// The electricity of a million tokens, shown next to the rent and never added to it.
    pub electricity: Known<Electricity>,
    /// One entry for each prompt length, output length, batch and depth.
    pub cells: Vec<CostCell>,
    /// Fits that told input and output apart in serving cells, one for each concurrency and depth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub separations: Vec<Separation>,
    /// What the same tokens cost from an API, cheapest first.
    pub api_comparison: Vec<ApiComparison>,
    /// Why `api_comparison` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_comparison_reason: Option<String>,
    /// Whether this machine is cheaper than the cheapest of them that sells as much; absent in older records.
    #[serde(default)]
    pub verdict: Known<ApiVerdict>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The price of one hour of what the model ran on.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Price {
    /// USD for one hour.
    #[serde(with = "rust_decimal::serde::float")]
    #[schemars(with = "f64")]
    pub usd_per_hour: Decimal,
    /// What the hour buys, in words: `one H100 SXM5, median of 7 on-demand prices`.
    pub label: String,
    /// Where the price comes from.
    pub source: String,
    /// The day the price was seen (YYYY-MM-DD).
    #[reason = "Why `observed` is `null`."]
    pub observed: Known<String>,
    /// Lowest and highest price among the rows it was taken from, USD per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range_usd_per_hour: Option<[f64; 2]>,
    /// What to keep in mind about it: age, scaling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A figure in dollars with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// USD per million tokens, or of what the field says.
    pub value: f64,
    /// Low and high end of the 95% interval; `null` when one sample or one price has none.
    pub ci95: Option<[f64; 2]>,
}

/// What the measured energy costs: the device's alone, without its host, fans and the building.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct Electricity {
    /// USD per kWh.
    pub usd_per_kwh: f64,
    /// Whose price it is: `us-commercial`.
    pub label: String,
    /// Where the price comes from.
    pub source: String,
    /// The day the price can have been checked (YYYY-MM-DD).
    #[reason = "Why `observed` is `null`."]
    pub observed: Known<String>,
    /// Power of the building for each watt of the device; absent when it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pue: Option<f64>,
    /// USD of electricity per million input tokens of the headline cell.
    pub usd_per_million_input_tokens: Known<f64>,
    /// USD of electricity per million output tokens of the headline cell.
    pub usd_per_million_output_tokens: Known<f64>,
}

/// The cost of one cell.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct CostCell {
    /// Which cell.
    pub cell: Cell,
    /// USD per million input tokens; `null` when input and output were not told apart.
    pub usd_per_million_input_tokens: Known<Figure>,
    /// USD per million input tokens that a server found in its cache; `null` where those are no kind of their own. Then the
    /// price of input is that of the computed ones.
    #[serde(default)]
    pub usd_per_million_cached_input_tokens: Known<Figure>,
    /// USD per million output tokens.
    pub usd_per_million_output_tokens: Known<Figure>,
    /// USD per million tokens at the blend ratio.
    pub usd_per_million_blended_tokens: Known<Figure>,
    /// USD per million output tokens when input is called free.
    pub usd_per_million_all_output_tokens: Figure,
    /// USD per million tokens, input and output counted alike, at the cell's own mix; absent in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_million_total_tokens: Option<Figure>,
    /// How input and output were told apart.
    #[serde(default)]
    pub apart: Apart,
    /// Seconds the cell takes, input part and output part.
    pub seconds: Known<[f64; 2]>,
    /// Seconds of both parts together; absent in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_seconds: Option<f64>,
    /// Tokens of the cell, input and output, summed over the batch; of a serving cell over the run.
    pub tokens: [u64; 2],
    /// Share of the time in steps that mixed input and output, which had to be split by a model.
    pub mixed_time_share: Known<f64>,
}

/// How the cost of input and that of output were told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Apart {
    /// Each part was timed.
    #[default]
    Measured,
    /// By least squares over cells of different input:output ratio.
    Separated,
    /// Shared out at a price ratio that was given: allocated, not measured.
    Allocated,
    /// Not at all.
    Together,
}

/// A fit of seconds on input and output tokens over serving cells of several mixes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Separation {
    /// Parallel requests of its cells; 0 when they were not bounded.
    pub batch: u32,
    /// Tokens already in the context of its cells.
    pub depth: u32,
    /// Number of cells it rests on.
    pub cells: usize,
    /// Seconds an input token takes, with its 95% interval.
    pub seconds_per_input_token: f64,
    /// Low and high end.
    pub seconds_per_input_token_ci95: [f64; 2],
    /// Seconds an input token takes that the server found in its cache; absent where those are no kind of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_per_cached_input_token: Option<f64>,
    /// Low and high end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_per_cached_input_token_ci95: Option<[f64; 2]>,
    /// Seconds an output token takes, with its 95% interval.
    pub seconds_per_output_token: f64,
    /// Low and high end.
    pub seconds_per_output_token_ci95: [f64; 2],
    /// Condition number of the weighted design with columns of unit length: above 30 it is refused.
    pub condition_number: f64,
    /// Measured ÷ fitted time − 1 of each cell, in the order of the cells.
    pub residuals: Vec<f64>,
    /// USD per million input tokens by the fit, over all its cells.
    pub usd_per_million_input_tokens: Figure,
    /// USD per million cached input tokens by the fit; absent where those are no kind of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_million_cached_input_tokens: Option<Figure>,
    /// USD per million output tokens by the fit.
    pub usd_per_million_output_tokens: Figure,
}

/// The same tokens bought from an API.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct ApiComparison {
    /// `provider/model`.
    pub api: String,
    /// Which of its prices; older records have the standard one alone.
    #[serde(default)]
    pub tier: Tier,
    /// USD per million input tokens, a cached share at its price.
    #[serde(with = "rust_decimal::serde::float")]
    #[schemars(with = "f64")]
    pub input_usd_per_million: Decimal,
    /// USD per million output tokens.
    #[serde(with = "rust_decimal::serde::float")]
    #[schemars(with = "f64")]
    pub output_usd_per_million: Decimal,
    /// What a request costs besides its tokens, USD; absent when nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_request: Option<f64>,
    /// USD per million tokens at the headline cell's own mix of input and output, a fee for the request included.
    pub mix_usd_per_million: f64,
    /// This machine's USD per million tokens at the same mix.
    pub here_usd_per_million: f64,
    /// This machine ÷ API: below 1 this machine is cheaper.
    pub ratio: f64,
    /// Low and high end of the ratio's 95% interval; `null` when the cost here has none, and in older records.
    #[serde(default)]
    #[reason = "Why there is no interval."]
    pub ratio_ci95: Known<[f64; 2]>,
    /// Whether it is the same model or another that was named.
    pub same_model: bool,
    /// Where the price comes from.
    pub source: String,
    /// The last day the price can have been checked (YYYY-MM-DD).
    pub observed: String,
    /// Whether the price is older than prices of its kind should be.
    pub stale: bool,
}

/// Which price of an API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Answered at once.
    #[default]
    Standard,
    /// Answered within hours.
    Batch,
}

/// A figure without a unit, with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Low and high end; `null` when what it was computed from has none.
    pub ci95: Option<[f64; 2]>,
}

impl Estimate {
    /// A monotonic function of a figure.
    pub fn of(figure: Figure, f: impl Fn(f64) -> f64) -> Self {
        let ci95 = figure.ci95.map(|ci| ci.map(&f)).map(|[a, b]| [a.min(b), a.max(b)]);
        Self { value: f(figure.value), ci95 }
    }
}

/// Whether this machine is cheaper than an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is, over the whole interval.
    Cheaper,
    /// The API is, over the whole interval.
    Dearer,
    /// The interval holds both.
    NotToldApart,
    /// The figures cannot carry an answer; `doubts` says why.
    NoVerdict,
}

/// Why figures carry no verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "doubt", rename_all = "snake_case")]
pub enum Doubt {
    /// These checks say that the figures cannot be true.
    Invalid {
        /// By name.
        checks: Vec<String>,
    },
    /// These checks say that the figures should not be relied on.
    Suspect {
        /// By name.
        checks: Vec<String>,
    },
    /// A GPU was found, and the CPU was measured.
    GpuNotUsed {
        /// Why.
        why: String,
    },
    /// The API sells another model, whose tokens buy something else.
    AnotherModel,
    /// The cost here has no interval: a row has one sample.
    NoInterval,
}

/// The answer to whether a million tokens is cheaper here, and what it rests on.
#[derive(Debug, Clone, PartialEq, known::Serialize, known::Deserialize, known::JsonSchema)]
pub struct ApiVerdict {
    /// The answer.
    pub answer: Answer,
    /// What keeps the figures from carrying one; empty when nothing does.
    pub doubts: Vec<Doubt>,
    /// The cheapest price that buys as much, `provider/model`.
    pub api: String,
    /// Which of its prices.
    pub tier: Tier,
    /// Whether it sells this model.
    pub same_model: bool,
    /// USD per million tokens here, at the mix and at `utilization`.
    pub here_usd_per_million: Figure,
    /// What the API asks for them.
    pub api_usd_per_million: f64,
    /// Here ÷ API, of the month's bills where tokens a month were given; `null` without an answer.
    pub ratio: Known<Estimate>,
    /// Share of the hour in which the engine is taken to be busy.
    pub utilization: f64,
    /// Utilization from which one machine is cheaper; above 1 none is enough.
    pub break_even_utilization: Known<Estimate>,
    /// Tokens a month from which one machine that is always on is cheaper.
    pub break_even_tokens_per_month: Known<f64>,
    /// The two bills of a month, where its tokens were given: the answer is then about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month: Option<MonthBills>,
}

impl ApiVerdict {
    /// Whether it is good news that nothing casts doubt on: what alone may be green.
    pub fn is_good(&self) -> bool {
        self.answer == Answer::Cheaper && self.doubts.is_empty()
    }
}

/// A month's tokens, served here and bought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MonthBills {
    /// Tokens a month.
    pub tokens_per_month: f64,
    /// Machines like this one that serve them.
    pub machines: u64,
    /// Their utilization then.
    pub utilization: f64,
    /// USD a month of the machines, always on.
    pub here_usd: Figure,
    /// USD a month of the API.
    pub api_usd: f64,
}
