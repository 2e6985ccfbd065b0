//! Cells whose parts were timed separately: each prompt row with each output row at one batch and depth, and each
//! joint row.

use crate::base::known::Known;
use crate::record::{Apart, Cell, CostCell, Measurement, Metric, Phase};

use super::hour::Rate;
use super::part::{Part, combine};

/// What the arithmetic assumes besides the rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumptions {
    /// Input tokens for each output token in the blended figure.
    pub blend_ratio: f64,
    /// Share of the hour in which the engine is busy, above 0 and at most 1.
    pub utilization: f64,
    /// Share of the prompt tokens that are found in the prefix cache.
    pub cached_share: f64,
    /// What a cached prompt token takes, as a share of a computed one.
    pub cached_cost_share: f64,
    /// Price of an output token over that of an input token, at which the cost of serving cells is shared out
    /// that could not be separated.
    pub price_ratio: Option<f64>,
}

impl Default for Assumptions {
    /// 3:1, the ratio that price trackers use, an engine that is always busy, and no cache.
    fn default() -> Self {
        Self {
            blend_ratio: 3.0,
            utilization: 1.0,
            cached_share: 0.0,
            cached_cost_share: 0.0,
            price_ratio: None,
        }
    }
}

impl Assumptions {
    /// Time of a prompt token over that of a computed one: some come from the cache.
    pub(super) fn input_factor(&self) -> f64 {
        1.0 - self.cached_share * (1.0 - self.cached_cost_share)
    }
}

/// Prices every cell that the measurements allow, without those of a server.
pub(super) fn price_cells(measurements: &[Measurement], rate: &Rate, assume: &Assumptions) -> Vec<CostCell> {
    let watts = |cell: &Cell| {
        let of =
            measurements.iter().find(|m| m.metric == Metric::PowerWatts && m.cell.as_ref() == Some(cell));
        of.and_then(|m| *m.value)
    };
    let mut cells = Vec::new();
    for (input_cell, prefill) in measured(measurements, Metric::PrefillTokensPerSecond, Phase::Prefill) {
        for (output_cell, decode) in measured(measurements, Metric::DecodeTokensPerSecond, Phase::Decode) {
            if (input_cell.batch, input_cell.depth) != (output_cell.batch, output_cell.depth) {
                continue;
            }
            let cell =
                Cell { output_tokens: output_cell.output_tokens, phase: Phase::Pair, ..input_cell.clone() };
            let [input, output] = tokens(&cell);
            let parts = Part::at_rate(prefill, input).zip(Part::at_rate(decode, output));
            cells.extend(parts.map(|(input, output)| {
                let input = input.drawing(watts(input_cell));
                price_cell(cell, input, output.drawing(watts(output_cell)), rate, assume)
            }));
        }
    }
    for (cell, input_time) in measured(measurements, Metric::InputTimeSeconds, Phase::Joint) {
        let mut outputs = measured(measurements, Metric::OutputTimeSeconds, Phase::Joint);
        let Some((_, output_time)) = outputs.find(|(other, _)| *other == cell) else { continue };
        let [input, output] = tokens(cell);
        let parts = Part::in_seconds(input_time, input).zip(Part::in_seconds(output_time, output));
        cells.extend(parts.map(|(input, output)| {
            let watts = watts(cell);
            price_cell(cell.clone(), input.drawing(watts), output.drawing(watts), rate, assume)
        }));
    }
    cells
}

/// The measurements of one metric in one phase, with their cells.
pub(super) fn measured(
    measurements: &[Measurement],
    metric: Metric,
    phase: Phase,
) -> impl Iterator<Item = (&Cell, &Measurement)> {
    measurements.iter().filter_map(move |m| {
        let cell = m.cell.as_ref()?;
        (m.metric == metric && cell.phase == phase).then_some((cell, m))
    })
}

fn tokens(cell: &Cell) -> [f64; 2] {
    let batch = f64::from(cell.batch);
    [f64::from(cell.prompt_tokens) * batch, f64::from(cell.output_tokens) * batch]
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "token counts, whole and positive"
)]
fn price_cell(cell: Cell, input: Part, output: Part, rate: &Rate, assume: &Assumptions) -> CostCell {
    let input = input.scaled(assume.input_factor());
    let (input_usd, output_usd) = (input.figure(rate), output.figure(rate));
    let ratio = assume.blend_ratio;
    let tokens = [input.tokens, output.tokens];
    let all = tokens[0] + tokens[1];
    CostCell {
        cell,
        usd_per_million_input_tokens: Known::new(input_usd),
        usd_per_million_cached_input_tokens: Known::unknown("no prompt token came from a cache"),
        usd_per_million_output_tokens: Known::new(output_usd),
        usd_per_million_blended_tokens: Known::new(combine(
            input_usd,
            ratio / (ratio + 1.0),
            output_usd,
            1.0 / (ratio + 1.0),
        )),
        usd_per_million_all_output_tokens: combine(input_usd, tokens[0] / tokens[1], output_usd, 1.0),
        usd_per_million_total_tokens: Some(combine(input_usd, tokens[0] / all, output_usd, tokens[1] / all)),
        apart: Apart::Measured,
        seconds: Known::new([input.seconds, output.seconds]),
        total_seconds: Some(input.seconds + output.seconds),
        tokens: tokens.map(|count| count as u64),
        mixed_time_share: Known::new(0.0),
    }
}
