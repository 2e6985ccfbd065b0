//! Cells: each prompt length with each output length at one batch and depth, priced.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::record::{Cell, Cost, CostCell, Figure, Measurement, Price, Unknown};

/// What the arithmetic assumes beside the rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumptions {
    /// Input tokens for each output token in the blended figure.
    pub blend_ratio: f64,
    /// Share of the hour in which the engine is busy, above 0 and at most 1.
    pub utilization: f64,
}

impl Default for Assumptions {
    /// 3:1, the ratio that price trackers use, and an engine that is always busy.
    fn default() -> Self {
        Self { blend_ratio: 3.0, utilization: 1.0 }
    }
}

/// A part of a cell: its seconds with their interval, and its tokens.
#[derive(Debug, Clone, Copy)]
struct Part {
    seconds: f64,
    ci95: Option<[f64; 2]>,
    tokens: f64,
}

impl Part {
    /// From a rate: the seconds that `tokens` take, the interval turned round with them.
    fn at_rate(rate: &Measurement, tokens: f64) -> Option<Self> {
        let value = rate.value.filter(|value| *value > 0.0)?;
        let ci95 = rate.ci95.filter(|ci| ci[0] > 0.0).map(|[low, high]| [tokens / high, tokens / low]);
        Some(Self { seconds: tokens / value, ci95, tokens })
    }

    /// From measured seconds.
    fn in_seconds(seconds: &Measurement, tokens: f64) -> Option<Self> {
        Some(Self { seconds: seconds.value?, ci95: seconds.ci95, tokens })
    }

    fn figure(self, usd_per_second: f64) -> Figure {
        let usd = |seconds: f64| 1e6 * usd_per_second * seconds / self.tokens;
        Figure { value: usd(self.seconds), ci95: self.ci95.map(|[low, high]| [usd(low), usd(high)]) }
    }
}

/// `a · x + b · y` of two figures whose errors are independent: the half widths add in quadrature, each
/// side by itself.
fn combine(x: Figure, a: f64, y: Figure, b: f64) -> Figure {
    let value = a * x.value + b * y.value;
    let ci95 = x.ci95.zip(y.ci95).map(|(cx, cy)| {
        let below = (a * (x.value - cx[0])).hypot(b * (y.value - cy[0]));
        let above = (a * (cx[1] - x.value)).hypot(b * (cy[1] - y.value));
        [value - below, value + above]
    });
    Figure { value, ci95 }
}

/// Prices every cell that the measurements allow.
pub fn price_cells(
    measurements: &[Measurement],
    usd_per_hour: Decimal,
    assume: Assumptions,
) -> Vec<CostCell> {
    let usd_per_second = usd_per_second(usd_per_hour, assume);
    let of = |metric: &'static str, phase: &'static str| {
        measurements.iter().filter_map(move |m| {
            let cell = m.cell.as_ref()?;
            (m.metric == metric && cell.phase == phase).then_some((cell, m))
        })
    };
    let mut cells = Vec::new();
    for (input_cell, prefill) in of("prefill_tokens_per_second", "prefill") {
        for (output_cell, decode) in of("decode_tokens_per_second", "decode") {
            if (input_cell.batch, input_cell.depth) != (output_cell.batch, output_cell.depth) {
                continue;
            }
            let cell =
                Cell { output_tokens: output_cell.output_tokens, phase: "pair".into(), ..input_cell.clone() };
            let [input, output] = tokens(&cell);
            let parts = Part::at_rate(prefill, input).zip(Part::at_rate(decode, output));
            cells
                .extend(parts.map(|(input, output)| price_cell(cell, input, output, usd_per_second, assume)));
        }
    }
    for (cell, input_time) in of("input_time_seconds", "joint") {
        let Some((_, output_time)) = of("output_time_seconds", "joint").find(|(other, _)| *other == cell)
        else {
            continue;
        };
        let [input, output] = tokens(cell);
        let parts = Part::in_seconds(input_time, input).zip(Part::in_seconds(output_time, output));
        cells.extend(
            parts.map(|(input, output)| price_cell(cell.clone(), input, output, usd_per_second, assume)),
        );
    }
    cells
}

fn tokens(cell: &Cell) -> [f64; 2] {
    let batch = f64::from(cell.batch);
    [f64::from(cell.prompt_tokens) * batch, f64::from(cell.output_tokens) * batch]
}

/// Utilization divides throughput: an idle hour is paid like a busy one.
fn usd_per_second(usd_per_hour: Decimal, assume: Assumptions) -> f64 {
    usd_per_hour.to_f64().unwrap_or(f64::NAN) / 3600.0 / assume.utilization
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "token counts, whole and positive"
)]
fn price_cell(cell: Cell, input: Part, output: Part, usd_per_second: f64, assume: Assumptions) -> CostCell {
    let (input_usd, output_usd) = (input.figure(usd_per_second), output.figure(usd_per_second));
    let ratio = assume.blend_ratio;
    let tokens = [input.tokens, output.tokens];
    CostCell {
        cell,
        usd_per_million_input_tokens: input_usd,
        usd_per_million_output_tokens: output_usd,
        usd_per_million_blended_tokens: combine(
            input_usd,
            ratio / (ratio + 1.0),
            output_usd,
            1.0 / (ratio + 1.0),
        ),
        usd_per_million_all_output_tokens: combine(input_usd, tokens[0] / tokens[1], output_usd, 1.0),
        seconds: [input.seconds, output.seconds],
        tokens: tokens.map(|count| count as u64),
        mixed_time_share: 0.0,
    }
}

/// USD per million tokens at the cell's own mix of input and output.
pub(super) fn mix_usd_per_million(cell: &CostCell) -> f64 {
    let [input, output] = cell.tokens.map(|count| count as f64);
    (cell.usd_per_million_input_tokens.value * input + cell.usd_per_million_output_tokens.value * output)
        / (input + output)
}

/// The cell for the top of the record: the cheapest at its mix when all cells have one mix, the
/// cheapest blended among several.
fn headline(cells: &[CostCell]) -> Option<&CostCell> {
    let mix = |cell: &CostCell| (cell.cell.prompt_tokens, cell.cell.output_tokens);
    let one_mix = cells.windows(2).all(|pair| mix(&pair[0]) == mix(&pair[1]));
    let cost = |cell: &CostCell| {
        if one_mix { mix_usd_per_million(cell) } else { cell.usd_per_million_blended_tokens.value }
    };
    cells.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)))
}

/// The whole cost object of a record, without the comparison with APIs.
///
/// With `price` absent every figure is `null` with its reason. With rows of one kind alone, the figure of
/// that kind is there and the others say what is missing.
pub fn assess(measurements: &[Measurement], price: Result<Price, String>, assume: Assumptions) -> Cost {
    let (price, price_reason) = match price {
        Ok(price) => (Some(price), None),
        Err(reason) => (None, Some(reason)),
    };
    let cells =
        price.as_ref().map_or(Vec::new(), |price| price_cells(measurements, price.usd_per_hour, assume));
    let top = headline(&cells);
    let solo = |metric: &str| {
        let usd_per_second = usd_per_second(price.as_ref()?.usd_per_hour, assume);
        let rates = measurements.iter().filter(|m| m.metric == metric);
        let figures = rates.filter_map(|m| Some(Part::at_rate(m, 1.0)?.figure(usd_per_second)));
        figures.min_by(|a, b| a.value.total_cmp(&b.value))
    };
    let input = top.map(|c| c.usd_per_million_input_tokens).or_else(|| solo("prefill_tokens_per_second"));
    let output = top.map(|c| c.usd_per_million_output_tokens).or_else(|| solo("decode_tokens_per_second"));
    let blended = top.map(|c| c.usd_per_million_blended_tokens);
    let all_output = top.map(|c| c.usd_per_million_all_output_tokens);
    let why = |missing: &str| {
        Some(price_reason.clone().map_or_else(
            || format!("{missing} was not measured in this run"),
            |reason| format!("no price: {reason}"),
        ))
    };
    let pair = "a prompt row (-p) together with an output row (-n) of the same batch and depth";
    Cost {
        usd_per_million_input_tokens_reason: input.is_none().then(|| why("a prompt row (-p)")).flatten(),
        usd_per_million_output_tokens_reason: output.is_none().then(|| why("an output row (-n)")).flatten(),
        usd_per_million_blended_tokens_reason: blended.is_none().then(|| why(pair)).flatten(),
        usd_per_million_all_output_tokens_reason: all_output.is_none().then(|| why(pair)).flatten(),
        headline_cell_reason: top.is_none().then(|| why(pair)).flatten(),
        usd_per_million_input_tokens: input,
        usd_per_million_output_tokens: output,
        usd_per_million_blended_tokens: blended,
        usd_per_million_all_output_tokens: all_output,
        blend_ratio: assume.blend_ratio,
        utilization: assume.utilization,
        headline_cell: top.map(|c| c.cell.clone()),
        electricity: None,
        electricity_reason: Some("not looked at".to_owned()),
        cells,
        api_comparison: Vec::new(),
        api_comparison_reason: Some("not compared".to_owned()),
        price,
        price_reason,
        unknown: Unknown::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Samples;

    fn rate(metric: &str, cell: Cell, value: f64, relative: f64) -> Measurement {
        Measurement {
            metric: metric.into(),
            formula: String::new(),
            unit: String::new(),
            value: Some(value),
            value_reason: None,
            ci95: Some([value * (1.0 - relative), value * (1.0 + relative)]),
            ci95_reason: None,
            n: 5,
            method: String::new(),
            cell: Some(cell),
            cell_reason: None,
            samples: Samples::inline("", vec![]),
            unknown: Unknown::new(),
        }
    }

    fn cell(prompt_tokens: u32, output_tokens: u32, batch: u32, phase: &str) -> Cell {
        Cell { prompt_tokens, output_tokens, batch, depth: 0, phase: phase.into() }
    }

    fn pair(prefill: f64, decode: f64, batch: u32) -> Vec<Measurement> {
        vec![
            rate("prefill_tokens_per_second", cell(512, 0, batch, "prefill"), prefill, 0.02),
            rate("decode_tokens_per_second", cell(0, 128, batch, "decode"), decode, 0.02),
        ]
    }

    /// By hand: 2.49 / 3600 · 1e6 = 691.67; ÷ 3458.33 = 0.2.
    #[test]
    fn the_glossary_figure() {
        let cells =
            price_cells(&pair(3_458.333_333, 3_458.333_333, 1), Decimal::new(249, 2), Assumptions::default());
        for figure in [cells[0].usd_per_million_input_tokens, cells[0].usd_per_million_blended_tokens] {
            assert!((figure.value - 0.2).abs() < 1e-9, "{figure:?}");
        }
        // All output: 512 input tokens ride on 128 output tokens, so five times the price.
        assert!((cells[0].usd_per_million_all_output_tokens.value - 1.0).abs() < 1e-9);
        let [low, high] = cells[0].usd_per_million_output_tokens.ci95.expect("an interval");
        assert!((low - 0.2 / 1.02).abs() < 1e-9 && (high - 0.2 / 0.98).abs() < 1e-9);
    }

    #[test]
    fn the_headline_is_the_cheapest_batch() {
        let mut rates = pair(1000.0, 100.0, 1);
        rates.extend(pair(1100.0, 700.0, 8));
        rates.extend(pair(1000.0, 600.0, 32));
        let price = Price {
            usd_per_hour: Decimal::ONE,
            label: String::new(),
            source: String::new(),
            observed: None,
            observed_reason: None,
            range_usd_per_hour: None,
            warnings: vec![],
        };
        let cost = assess(&rates, Ok(price), Assumptions::default());
        assert_eq!(cost.cells.len(), 3);
        assert_eq!(cost.headline_cell, Some(cell(512, 128, 8, "pair")));
    }

    #[test]
    fn what_was_not_measured_or_priced_is_null_with_a_reason() {
        let cost = assess(&pair(1.0, 1.0, 1), Err("no GPU".into()), Assumptions::default());
        assert_eq!(cost.usd_per_million_input_tokens, None);
        assert_eq!(cost.usd_per_million_input_tokens_reason.as_deref(), Some("no price: no GPU"));
        assert_eq!(cost.price_reason.as_deref(), Some("no GPU"));
    }

    #[test]
    fn utilization_divides_throughput() {
        let full = price_cells(&pair(1000.0, 100.0, 1), Decimal::TWO, Assumptions::default());
        let half = price_cells(
            &pair(1000.0, 100.0, 1),
            Decimal::TWO,
            Assumptions { utilization: 0.4, ..Assumptions::default() },
        );
        let ratio = half[0].usd_per_million_output_tokens.value / full[0].usd_per_million_output_tokens.value;
        assert!((ratio - 2.5).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn input_and_output_dollars_are_the_rent_of_the_time(
            input_ms in 0.1f64..1e6, output_ms in 0.1f64..1e6,
            prompt in 1u32..100_000, output in 1u32..100_000, batch in 1u32..512, cents in 1i64..100_000,
        ) {
            let joint = cell(prompt, output, batch, "joint");
            let times = vec![
                rate("input_time_seconds", joint.clone(), input_ms / 1e3, 0.01),
                rate("output_time_seconds", joint, output_ms / 1e3, 0.01),
            ];
            let priced = &price_cells(&times, Decimal::new(cents, 2), Assumptions::default())[0];
            let million = |figure: Figure, tokens: u64| figure.value * tokens as f64 / 1e6;
            let dollars = million(priced.usd_per_million_input_tokens, priced.tokens[0])
                + million(priced.usd_per_million_output_tokens, priced.tokens[1]);
            let rent = cents as f64 / 100.0 / 3600.0 * (input_ms + output_ms) / 1e3;
            prop_assert!((dollars / rent - 1.0).abs() < 1e-12);
        }
    }
}
