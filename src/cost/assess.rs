//! A record's cost object: every cell priced, and the cheapest one's figures at the top.

use crate::base::known::Known;
use crate::record::{Cost, CostCell, Figure, Measurement, Metric, Phase, Price, Unknown};

use super::cells::{Assumptions, measured, price_cells};
use super::hour::Hour;
use super::part::{Part, combine};
use super::serving::price_serving;

/// Ratios of input to output closer than this are one mix.
const SAME_MIX: f64 = 0.05;

/// The whole cost object of a record at a rent, without the comparison with APIs.
///
/// With `price` absent every figure is `null` with its reason. With rows of one kind alone, the figure of
/// that kind is there and the others say what is missing.
pub fn assess(measurements: &[Measurement], price: Result<Price, String>, assume: Assumptions) -> Cost {
    assess_hour(measurements, &Hour::rent(price), assume)
}

/// Why no figure has a cell, where another tool's file does not say what its figures are of.
fn cell_less(measurements: &[Measurement]) -> Option<String> {
    let reason = measurements.first()?.cell.reason()?;
    measurements.iter().all(|m| m.cell.reason().is_some()).then(|| reason.to_owned())
}

/// [`assess`] at the cost of any hour, an owned machine's too.
pub fn assess_hour(measurements: &[Measurement], hour: &Hour, assume: Assumptions) -> Cost {
    let mut price = hour.price.clone();
    let rate = hour.rate(assume.utilization);
    let (mut cells, mut separations) = (Vec::new(), Vec::new());
    if let Some(rate) = &rate {
        cells = price_cells(measurements, rate, &assume);
        let (serving, fits) = price_serving(measurements, rate, &assume);
        cells.extend(serving);
        separations = fits;
        let has_power = measurements.iter().any(|m| m.metric == Metric::PowerWatts && m.value.is_some());
        if let Ok(price) = price.as_mut()
            && rate.needs_watts()
        {
            if has_power {
                price.label.push_str("; electricity from measured joules");
            } else {
                price.warnings.push(
                    "electricity is not included: the record has no measured power; give --watts".to_owned(),
                );
            }
        }
    }
    let top = headline(&cells, measurements);
    let solo = |metric: Metric, phase: Phase| {
        let rates = measurements
            .iter()
            .filter(|m| m.metric == metric && m.cell.as_ref().is_none_or(|cell| cell.phase == phase));
        let rate = rate.as_ref()?;
        let figures: Vec<Figure> = rates.filter_map(|m| Some(Part::at_rate(m, 1.0)?.figure(rate))).collect();
        cheapest(figures.iter(), |figure| Some(*figure)).copied()
    };
    let input = top.map_or_else(
        || solo(Metric::PrefillTokensPerSecond, Phase::Prefill),
        |cell| *cell.usd_per_million_input_tokens,
    );
    let output = top.map_or_else(
        || solo(Metric::DecodeTokensPerSecond, Phase::Decode),
        |cell| *cell.usd_per_million_output_tokens,
    );
    let blended = top.and_then(|cell| *cell.usd_per_million_blended_tokens);
    let all_output = top.map_or_else(
        || {
            // Cells without one to name: none of them keeps its goals.
            if cells.is_empty() { solo(Metric::OutputTokensPerSecond, Phase::Serving) } else { None }
        },
        |cell| Some(cell.usd_per_million_all_output_tokens),
    );
    // A total without recorded lengths is still a price of all tokens alike.
    let total_alone = || {
        let alone = |m: &&Measurement| m.metric == Metric::TotalTokensPerSecond && m.cell.is_none();
        Some(Part::at_rate(measurements.iter().find(alone)?, 1.0)?.figure(rate.as_ref()?))
    };
    let total = top.map_or_else(total_alone, mix);
    let why = |missing: &str| match (&price, top.and_then(|cell| cell.usd_per_million_input_tokens.reason()))
    {
        (Err(reason), _) => format!("no price: {reason}"),
        (Ok(_), Some(reason)) => reason.to_owned(),
        (Ok(_), None) => {
            let served =
                measurements.iter().any(|m| m.cell.as_ref().is_some_and(|c| c.phase == Phase::Serving));
            let unsteady = || {
                let why = if cells.is_empty() {
                    "no row of the load had a steady window, so none has a rate"
                } else {
                    "no rate that was tried kept the goals"
                };
                why.to_owned()
            };
            cell_less(measurements)
                .or_else(|| served.then(unsteady))
                .unwrap_or_else(|| format!("{missing} was not measured in this run"))
        }
    };
    let pair = "a prompt row (-p) together with an output row (-n) of the same batch and depth";
    Cost {
        usd_per_million_input_tokens: input.ok_or_else(|| why("a prompt row (-p)")).into(),
        usd_per_million_output_tokens: output.ok_or_else(|| why("an output row (-n)")).into(),
        usd_per_million_blended_tokens: blended.ok_or_else(|| why(pair)).into(),
        usd_per_million_all_output_tokens: all_output.ok_or_else(|| why(pair)).into(),
        usd_per_million_total_tokens: total.ok_or_else(|| why(pair)).into(),
        blend_ratio: assume.blend_ratio,
        utilization: assume.utilization,
        headline_cell: top.map(|c| c.cell.clone()).ok_or_else(|| why(pair)).into(),
        electricity: Known::unknown("not looked at"),
        cells,
        separations,
        api_comparison: Vec::new(),
        api_comparison_reason: Some("not compared".to_owned()),
        verdict: Known::unknown("not compared"),
        price: price.into(),
        unknown: Unknown::new(),
    }
}

/// The cell whose figures stand at the top.
pub fn headline_cell(cost: &Cost) -> Option<&CostCell> {
    cost.cells.iter().find(|cell| Some(&cell.cell) == cost.headline_cell.as_ref())
}

/// USD per million tokens at the cell's own mix; computed for cells of older records, which lack it.
pub fn mix(cell: &CostCell) -> Option<Figure> {
    cell.usd_per_million_total_tokens.or_else(|| {
        let [input, output] = cell.tokens.map(|count| count as f64);
        at_mix(cell, input / output)
    })
}

/// USD per million tokens at `ratio` input tokens for each output token; `None` if the two are not separate.
pub fn at_mix(cell: &CostCell, ratio: f64) -> Option<Figure> {
    let parts = cell.usd_per_million_input_tokens.zip(*cell.usd_per_million_output_tokens);
    parts.map(|(input, output)| combine(input, ratio / (ratio + 1.0), output, 1.0 / (ratio + 1.0)))
}

/// Whether two ratios of input to output are one mix.
pub(super) fn same_mix(a: f64, b: f64) -> bool {
    (a.ln() - b.ln()).abs() < SAME_MIX
}

/// The cheapest by `figure`; what has no interval, a single lucky sample perhaps, only where nothing has one.
pub(super) fn cheapest<'a, T>(
    all: impl Iterator<Item = &'a T>,
    figure: impl Fn(&T) -> Option<Figure>,
) -> Option<&'a T> {
    let key = |one: &T| {
        let found = figure(one);
        let usd = found.map_or(f64::INFINITY, |figure| figure.value);
        (found.is_none_or(|figure| figure.ci95.is_none()), usd)
    };
    all.min_by(|a, b| {
        let ((a_bare, a_usd), (b_bare, b_usd)) = (key(a), key(b));
        a_bare.cmp(&b_bare).then(a_usd.total_cmp(&b_usd))
    })
}

/// The cell for the top of the record: the cheapest at its mix when all cells have one mix or were not told
/// apart, the cheapest blended among several mixes; a cell without an interval only where none has one.
/// Of a search for the highest rate that keeps its goals only cells that do keep them: higher rates are cheaper and do not.
fn headline<'a>(cells: &'a [CostCell], measurements: &[Measurement]) -> Option<&'a CostCell> {
    let misses = |cell: &&CostCell| {
        let mut said = measured(measurements, Metric::KeepsGoals, Phase::Serving)
            .filter(|(other, _)| **other == cell.cell);
        said.any(|(_, m)| *m.value == Some(0.0))
    };
    let kept: Vec<&CostCell> = cells.iter().filter(|cell| !misses(cell)).collect();
    cheapest_of(&kept)
}

fn cheapest_of<'a>(cells: &[&'a CostCell]) -> Option<&'a CostCell> {
    // The mean lengths of served requests differ a little from run to run.
    let ratio = |cell: &CostCell| cell.tokens[0] as f64 / cell.tokens[1] as f64;
    let one_mix = cells.windows(2).all(|pair| {
        let lengths = |at: usize| (pair[at].cell.prompt_tokens, pair[at].cell.output_tokens);
        let served = pair.iter().all(|cell| cell.cell.phase == Phase::Serving);
        lengths(0) == lengths(1) || served && same_mix(ratio(pair[0]), ratio(pair[1]))
    });
    let apart = cells.iter().all(|cell| cell.usd_per_million_blended_tokens.is_some());
    cheapest(cells.iter().copied(), |cell| {
        if one_mix || !apart { mix(cell) } else { *cell.usd_per_million_blended_tokens }
    })
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::cost::given_price;
    use crate::record::{Apart, Cell};

    fn rate(metric: Metric, cell: Cell, value: f64, relative: f64) -> Measurement {
        let ci95 = Known::new([value * (1.0 - relative), value * (1.0 + relative)]);
        Measurement { ci95, n: 5, ..Measurement::new(metric, Known::new(cell), Known::new(value), "") }
    }

    fn cell(prompt_tokens: u32, output_tokens: u32, batch: u32, phase: Phase) -> Cell {
        Cell { prompt_tokens, output_tokens, batch, depth: 0, phase, requests_per_second: None }
    }

    fn price_at(rates: &[Measurement], usd_per_hour: Decimal, assume: Assumptions) -> Vec<CostCell> {
        assess(rates, Ok(given_price(usd_per_hour)), assume).cells
    }

    fn pair(prefill: f64, decode: f64, batch: u32) -> Vec<Measurement> {
        vec![
            rate(Metric::PrefillTokensPerSecond, cell(512, 0, batch, Phase::Prefill), prefill, 0.02),
            rate(Metric::DecodeTokensPerSecond, cell(0, 128, batch, Phase::Decode), decode, 0.02),
        ]
    }

    /// By hand: 2.49 / 3600 · 1e6 = 691.67; ÷ 3458.33 = 0.2.
    #[test]
    fn the_glossary_figure() {
        let cells =
            price_at(&pair(3_458.333_333, 3_458.333_333, 1), Decimal::new(249, 2), Assumptions::default());
        let cell = &cells[0];
        for figure in [*cell.usd_per_million_input_tokens, *cell.usd_per_million_blended_tokens, mix(cell)] {
            assert!((figure.expect("priced").value - 0.2).abs() < 1e-9, "{figure:?}");
        }
        // All output: 512 input tokens ride on 128 output tokens, so five times the price.
        assert!((cells[0].usd_per_million_all_output_tokens.value - 1.0).abs() < 1e-9);
        let [low, high] =
            cell.usd_per_million_output_tokens.and_then(|figure| figure.ci95).expect("an interval");
        assert!((low - 0.2 / 1.02).abs() < 1e-9 && (high - 0.2 / 0.98).abs() < 1e-9);
    }

    #[test]
    fn the_headline_is_the_cheapest_batch() {
        let mut rates = pair(1000.0, 100.0, 1);
        rates.extend(pair(1100.0, 700.0, 8));
        rates.extend(pair(1000.0, 600.0, 32));
        let cost = assess(&rates, Ok(given_price(Decimal::ONE)), Assumptions::default());
        assert_eq!(cost.cells.len(), 3);
        assert_eq!(cost.headline_cell, Some(cell(512, 128, 8, Phase::Pair)));
    }

    #[test]
    fn what_was_not_measured_or_priced_is_null_with_a_reason() {
        let cost = assess(&pair(1.0, 1.0, 1), Err("no GPU".into()), Assumptions::default());
        assert_eq!(cost.usd_per_million_input_tokens, None);
        assert_eq!(cost.usd_per_million_input_tokens.reason(), Some("no price: no GPU"));
        assert_eq!(cost.price.reason(), Some("no GPU"));
    }

    #[test]
    fn utilization_divides_throughput() {
        let full = price_at(&pair(1000.0, 100.0, 1), Decimal::TWO, Assumptions::default());
        let half = price_at(
            &pair(1000.0, 100.0, 1),
            Decimal::TWO,
            Assumptions { utilization: 0.4, ..Assumptions::default() },
        );
        let usd = |cells: &[CostCell]| cells[0].usd_per_million_output_tokens.expect("priced").value;
        assert!((usd(&half) / usd(&full) - 2.5).abs() < 1e-12);
    }

    /// Half of the prompt from the cache, at a tenth of the work: input costs 0.55, output what it did.
    #[test]
    fn cached_prompt_tokens_take_their_share_of_the_inputs_time() {
        let assume = Assumptions { cached_share: 0.5, cached_cost_share: 0.1, ..Assumptions::default() };
        let full = price_at(&pair(1000.0, 100.0, 1), Decimal::TWO, Assumptions::default());
        let cached = price_at(&pair(1000.0, 100.0, 1), Decimal::TWO, assume);
        let usd = |figure: Option<Figure>| figure.expect("priced").value;
        let of = |f: fn(&CostCell) -> Option<Figure>| usd(f(&cached[0])) / usd(f(&full[0]));
        assert!((of(|cell| *cell.usd_per_million_input_tokens) - 0.55).abs() < 1e-12);
        assert!((of(|cell| *cell.usd_per_million_output_tokens) - 1.0).abs() < 1e-12);
        assert_eq!(cached[0].tokens, full[0].tokens, "prompt tokens are counted whether computed or not");
    }

    /// 3,000 in and 1,000 out tokens a second at 3.60 USD an hour: 0.001 USD a second.
    fn serving(relative: Option<f64>) -> Vec<Measurement> {
        let cell = cell(1500, 500, 64, Phase::Serving);
        let mut rates: Vec<Measurement> = [
            (Metric::InputTokensPerSecond, 3000.0),
            (Metric::OutputTokensPerSecond, 1000.0),
            (Metric::TotalTokensPerSecond, 4000.0),
            (Metric::RequestsPerSecond, 2.0),
            (Metric::DurationSeconds, 50.0),
        ]
        .map(|(metric, value)| rate(metric, cell.clone(), value, relative.unwrap_or(0.0)))
        .into();
        if relative.is_none() {
            for rate in &mut rates {
                rate.ci95 = Known::unknown("one run");
            }
        }
        rates
    }

    #[test]
    fn a_servers_totals_are_priced_and_not_split() {
        let cost = assess(&serving(Some(0.1)), Ok(given_price(Decimal::new(36, 1))), Assumptions::default());
        let total = cost.usd_per_million_total_tokens.expect("priced");
        assert!((total.value - 0.25).abs() < 1e-12, "{total:?}");
        let [low, high] = total.ci95.expect("an interval");
        assert!((low - 0.25 / 1.1).abs() < 1e-12 && (high - 0.25 / 0.9).abs() < 1e-12);
        assert!((cost.usd_per_million_all_output_tokens.expect("priced").value - 1.0).abs() < 1e-12);
        assert!(cost.usd_per_million_input_tokens.is_none() && cost.usd_per_million_blended_tokens.is_none());
        let reason = cost.usd_per_million_input_tokens.reason().expect("a reason").to_owned();
        assert!(reason.contains("1 input:output ratio was measured, 3 are needed"), "{reason}");
        let cell = &cost.cells[0];
        assert_eq!((cell.tokens, cell.total_seconds, *cell.seconds), ([150_000, 50_000], Some(50.0), None));
        assert_eq!(cell.apart, Apart::Together);
    }

    /// 4,000 tokens for 0.001 USD; at 4:1 they weigh 3,000 + 4 · 1,000: input 1/7 USD a million, output 4/7.
    #[test]
    fn at_a_price_ratio_the_cost_is_allocated_and_labelled_so() {
        let assume = Assumptions { price_ratio: Some(4.0), ..Assumptions::default() };
        let cost = assess(&serving(None), Ok(given_price(Decimal::new(36, 1))), assume);
        let [input, output] = [*cost.usd_per_million_input_tokens, *cost.usd_per_million_output_tokens]
            .map(|figure| figure.expect("allocated").value);
        assert!((input - 1.0 / 7.0).abs() < 1e-12 && (output - 4.0 / 7.0).abs() < 1e-12, "{input} {output}");
        assert_eq!(cost.cells[0].apart, Apart::Allocated);
    }

    #[test]
    fn what_an_engines_steps_took_is_the_price_of_each_kind() {
        let mut rates = serving(Some(0.1));
        let cell = rates[0].cell.as_ref().expect("a cell").clone();
        for (metric, value) in [
            (Metric::InputTimeSeconds, 10.0),
            (Metric::OutputTimeSeconds, 40.0),
            (Metric::MixedTimeShare, 0.25),
        ] {
            rates.push(rate(metric, cell.clone(), value, 0.0));
        }
        let cost = assess(&rates, Ok(given_price(Decimal::new(36, 1))), Assumptions::default());
        let usd = |figure: Option<Figure>| figure.expect("measured").value;
        // 10 s are 0.01 USD for 150,000 tokens, 40 s 0.04 USD for 50,000.
        assert!((usd(*cost.usd_per_million_input_tokens) - 0.01 / 0.15).abs() < 1e-9);
        assert!((usd(*cost.usd_per_million_output_tokens) - 0.04 / 0.05).abs() < 1e-9);
        let found = &cost.cells[0];
        assert_eq!((found.apart, *found.mixed_time_share), (Apart::Measured, Some(0.25)));
        // Of a search only cells that keep the goals stand at the top.
        rates.push(rate(Metric::KeepsGoals, cell, 0.0, 0.0));
        let missed = assess(&rates, Ok(given_price(Decimal::new(36, 1))), Assumptions::default());
        assert_eq!((missed.headline_cell.as_ref(), missed.cells.len()), (None, 1));
        let reason = missed.headline_cell.reason().expect("a reason");
        assert!(reason.contains("kept the goals"), "{reason}");
    }

    #[test]
    fn several_mixes_of_one_concurrency_are_told_apart() {
        let (a, b) = (1.0 / 20_000.0, 1.0 / 2500.0);
        let mut rates = Vec::new();
        for (prompt, output) in [(8192, 128), (2048, 512), (1024, 1024), (256, 1024)] {
            let cell = cell(prompt, output, 64, Phase::Serving);
            let requests = 1.0 / (a * f64::from(prompt) + b * f64::from(output));
            rates.push(rate(Metric::RequestsPerSecond, cell.clone(), requests, 0.01));
            rates.push(rate(Metric::RequestInputTokens, cell.clone(), f64::from(prompt), 0.0));
            rates.push(rate(Metric::RequestOutputTokens, cell, f64::from(output), 0.0));
        }
        let cost = assess(&rates, Ok(given_price(Decimal::new(249, 2))), Assumptions::default());
        let usd = |figure: Option<Figure>| figure.expect("separated").value;
        // 2.49 / 3600 · 1e6 = 691.67 USD per million seconds.
        assert!((usd(*cost.usd_per_million_input_tokens) - 0.034_583).abs() < 1e-6);
        assert!((usd(*cost.usd_per_million_output_tokens) - 0.276_667).abs() < 1e-6);
        assert!(cost.cells.iter().all(|cell| cell.apart == Apart::Separated));
        let fit = &cost.separations[0];
        assert_eq!((fit.batch, fit.cells), (64, 4));
        assert!((fit.seconds_per_input_token / a - 1.0).abs() < 1e-9 && fit.condition_number < 3.0);
    }

    /// Computed input, cached input and output take 1/20,000, 1/200,000 and 1/2,500 of a second.
    #[test]
    fn a_server_of_known_prices_gives_input_cached_input_and_output_back() {
        let (a, c, b) = (1.0 / 20_000.0, 1.0 / 200_000.0, 1.0 / 2500.0);
        let mut rates = Vec::new();
        let mixes = [(2048, 0, 64), (256, 2048, 64), (512, 512, 256), (128, 4096, 128), (256, 1024, 512)];
        for (own, shared, output) in mixes {
            let cell = Cell { depth: shared, ..cell(own, output, 64, Phase::Serving) };
            let [own, shared, output] = [own, shared, output].map(f64::from);
            let requests = 1.0 / (a * own + c * shared + b * output);
            for (metric, tokens) in [
                (Metric::InputTokensPerSecond, own + shared),
                (Metric::CachedInputTokensPerSecond, shared),
                (Metric::OutputTokensPerSecond, output),
                (Metric::TotalTokensPerSecond, own + shared + output),
            ] {
                rates.push(rate(metric, cell.clone(), requests * tokens, 0.01));
            }
        }
        let cost = assess(&rates, Ok(given_price(Decimal::new(36, 1))), Assumptions::default());
        // A second is 0.001 USD.
        let is_close = |figure: Option<Figure>, truth: f64| {
            let usd = figure.expect("separated").value;
            assert!((usd / (truth * 1000.0) - 1.0).abs() < 1e-6, "{usd} for {truth}");
        };
        for cell in &cost.cells {
            assert_eq!(cell.apart, Apart::Separated);
            is_close(*cell.usd_per_million_input_tokens, a);
            is_close(*cell.usd_per_million_cached_input_tokens, c);
            is_close(*cell.usd_per_million_output_tokens, b);
            let [input, output] = cell.seconds.expect("told apart");
            assert!((input + output - cell.total_seconds.expect("known")).abs() < 1e-6 * input);
        }
        assert_eq!(cost.separations.len(), 1);
        assert!(
            cost.separations[0]
                .seconds_per_cached_input_token
                .is_some_and(|found| (found / c - 1.0).abs() < 1e-6)
        );
    }

    #[test]
    fn an_owned_machines_electricity_follows_the_measured_power_of_each_part() {
        let mut rates = pair(1000.0, 100.0, 1);
        rates.push(rate(Metric::PowerWatts, cell(512, 0, 1, Phase::Prefill), 700.0, 0.0));
        rates.push(rate(Metric::PowerWatts, cell(0, 128, 1, Phase::Decode), 400.0, 0.0));
        let drawn = super::super::hour::Drawn { usd_per_kwh: 0.1, pue: 1.5, idle_watts: None };
        let hour = Hour { price: Ok(given_price(Decimal::TWO)), drawn: Some(drawn) };
        let cost = assess_hour(&rates, &hour, Assumptions::default());
        // 2 + 0.7 · 1.5 · 0.1 = 2.105 USD an hour of input, 2.06 of output.
        let usd = |figure: Option<Figure>| figure.expect("priced").value;
        assert!((usd(*cost.usd_per_million_input_tokens) - 2.105 / 3.6).abs() < 1e-9);
        assert!((usd(*cost.usd_per_million_output_tokens) - 20.6 / 3.6).abs() < 1e-9);
        let without = assess_hour(&pair(1000.0, 100.0, 1), &hour, Assumptions::default());
        assert!(without.price.as_ref().expect("a price").warnings[0].contains("electricity is not included"));
    }
}
