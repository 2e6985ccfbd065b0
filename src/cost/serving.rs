//! Cells of a server, whose steps mix input and output: priced at their own mix, and apart only where that can be
//! defended.
//!
//! Every cell has its total: the rent of its time over all tokens, and over output tokens alone. Apart: over cells of
//! several mixes at one concurrency by least squares ([`separate`]); else, when asked, at a price ratio, and that is
//! allocated and not measured; else not at all, with the reason. In an open loop a server also idles, and idle time is
//! neither input nor output, so its cells are never fitted. A separated cell's two prices are the fit's, scaled
//! by the cell's own residual, so that input $ + output $ stays exactly the rent of its time.

use crate::base::known::Known;
use crate::record::{Apart, Cell, CostCell, Figure, Measurement, Metric, Phase, Separation};

use super::cells::{Assumptions, of};
use super::hour::Rate;
use super::part::{combine, times};
use super::separate::{self, Fit};

/// What stands under a serving cell where time is not split.
const MIXED: &str = "a server mixes input and output in its steps, and its totals do not tell them apart";
/// Why the cells of an open loop are not told apart.
const IDLES: &str = "not separable: a server that is sent requests by a schedule also idles; with --max-concurrency alone it does not";
/// Over what a cell is counted when the run's length is not known: so long that whole tokens round nothing away.
const LONG_SECONDS: f64 = 1e6;

/// A server's throughput at one workload.
struct Served<'a> {
    cell: &'a Cell,
    /// Input and output tokens per second.
    rates: [f64; 2],
    /// The interval of all tokens per second, and of output alone, over their values.
    relative: [Option<[f64; 2]>; 2],
    seconds: f64,
    watts: Option<f64>,
}

/// Prices every serving cell, and the fits behind those that were told apart.
pub(super) fn price_serving(
    measurements: &[Measurement],
    rate: &Rate,
    assume: &Assumptions,
) -> (Vec<CostCell>, Vec<Separation>) {
    let (open, served): (Vec<Served<'_>>, Vec<Served<'_>>) =
        served(measurements).into_iter().partition(|served| served.cell.requests_per_second.is_some());
    let idles = Err(IDLES.to_owned());
    let mut cells: Vec<CostCell> = open.iter().map(|served| price(served, &idles, rate, assume)).collect();
    let mut separations = Vec::new();
    let mut done: Vec<(u32, u32)> = Vec::new();
    for first in &served {
        let key = (first.cell.batch, first.cell.depth);
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let group: Vec<&Served<'_>> = served.iter().filter(|s| (s.cell.batch, s.cell.depth) == key).collect();
        let rates: Vec<[f64; 2]> = group.iter().map(|served| served.rates).collect();
        let fit = separate::fit(&rates);
        if let Ok(fit) = &fit {
            separations.push(separation(key, group.len(), fit, rate));
        }
        cells.extend(group.iter().map(|served| price(served, &fit, rate, assume)));
    }
    (cells, separations)
}

/// The serving cells whose tokens per second are known for input and for output.
fn served(measurements: &[Measurement]) -> Vec<Served<'_>> {
    let mut cells: Vec<&Cell> = Vec::new();
    for cell in
        measurements.iter().filter_map(|m| m.cell.as_ref()).filter(|cell| cell.phase == Phase::Serving)
    {
        if !cells.contains(&cell) {
            cells.push(cell);
        }
    }
    let rates = |cell: &'_ Cell| {
        let find = |metric: Metric| {
            of(measurements, metric, Phase::Serving).find(|(other, _)| *other == cell).map(|(_, m)| m)
        };
        let value = |metric: Metric| find(metric).and_then(|m| *m.value).filter(|value| *value > 0.0);
        let [input, output, total] =
            [Metric::InputTokensPerSecond, Metric::OutputTokensPerSecond, Metric::TotalTokensPerSecond]
                .map(value);
        let requests = value(Metric::RequestsPerSecond);
        let each = |metric: Metric| requests.zip(value(metric)).map(|(requests, tokens)| requests * tokens);
        let rest =
            |part: Option<f64>| total.zip(part).map(|(total, part)| total - part).filter(|rest| *rest > 0.0);
        let input = input.or_else(|| rest(output)).or_else(|| each(Metric::RequestInputTokens))?;
        let output = output.or_else(|| rest(Some(input))).or_else(|| each(Metric::RequestOutputTokens))?;
        let relative = |metric: Metric| {
            let m: &Measurement = find(metric)?;
            let value = m.value.filter(|value| *value > 0.0)?;
            m.ci95.filter(|ci| ci[0] > 0.0).map(|ci| ci.map(|end| end / value))
        };
        let relative = [Metric::TotalTokensPerSecond, Metric::OutputTokensPerSecond].map(relative);
        let seconds = value(Metric::DurationSeconds).unwrap_or(LONG_SECONDS);
        Some(([input, output], relative, seconds, value(Metric::PowerWatts)))
    };
    cells
        .into_iter()
        .filter_map(|cell| {
            let (rates, relative, seconds, watts) = rates(cell)?;
            Some(Served { cell, rates, relative, seconds, watts })
        })
        .collect()
}

/// The fit at the price of the hour.
fn separation((batch, depth): (u32, u32), cells: usize, fit: &Fit, rate: &Rate) -> Separation {
    let usd = 1e6 * rate.usd_per_second(None);
    let figure = |value: f64, ci95: [f64; 2]| times(Figure { value, ci95: Some(ci95) }, usd);
    Separation {
        batch,
        depth,
        cells,
        seconds_per_input_token: fit.input_seconds,
        seconds_per_input_token_ci95: fit.input_ci95,
        seconds_per_output_token: fit.output_seconds,
        seconds_per_output_token_ci95: fit.output_ci95,
        condition_number: fit.condition_number,
        residuals: fit.residuals.clone(),
        usd_per_million_input_tokens: figure(fit.input_seconds, fit.input_ci95),
        usd_per_million_output_tokens: figure(fit.output_seconds, fit.output_ci95),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "token counts, whole and positive"
)]
fn price(served: &Served<'_>, fit: &Result<Fit, String>, rate: &Rate, assume: &Assumptions) -> CostCell {
    let usd_per_second = rate.usd_per_second(served.watts);
    let [input, output] = served.rates;
    let all = input + output;
    // Dollars for a million, from what a second costs and the tokens in it; a rate's interval turns round.
    let figure = |per_second: f64, relative: Option<[f64; 2]>| {
        let value = 1e6 * usd_per_second / per_second;
        Figure { value, ci95: relative.map(|[low, high]| [value / high, value / low]) }
    };
    let (total, output_alone) = (figure(all, served.relative[0]), figure(output, served.relative[1]));
    let (apart, parts) = match (fit, assume.price_ratio) {
        (Ok(fit), _) => {
            let closure = 1.0 / (fit.input_seconds * input + fit.output_seconds * output);
            let of = |value: f64, ci95: [f64; 2]| {
                times(Figure { value, ci95: Some(ci95) }, 1e6 * usd_per_second * closure)
            };
            let parts = [of(fit.input_seconds, fit.input_ci95), of(fit.output_seconds, fit.output_ci95)];
            (Apart::Separated, Ok(parts))
        }
        (Err(_), Some(ratio)) => {
            let input_usd = times(total, all / (input + ratio * output));
            (Apart::Allocated, Ok([input_usd, times(input_usd, ratio)]))
        }
        (Err(reason), None) => (Apart::Together, Err(reason.as_str())),
    };
    // A prompt token from the cache takes less of the input's time; output's stays.
    let parts = parts.map(|[input, output]| [times(input, assume.input_factor()), output]);
    let whole = |weights: [f64; 2], without_cache: Figure| {
        let Some([input, output]) = parts.ok().filter(|_| assume.input_factor() < 1.0) else {
            return without_cache;
        };
        let value = weights[0] * input.value + weights[1] * output.value;
        times(without_cache, value / without_cache.value)
    };
    let ratio = assume.blend_ratio;
    let seconds = parts.map(|[i, o]| {
        [i.value * input, o.value * output].map(|usd| usd / 1e6 / usd_per_second * served.seconds)
    });
    CostCell {
        cell: served.cell.clone(),
        usd_per_million_input_tokens: parts.map(|[input, _]| input).into(),
        usd_per_million_output_tokens: parts.map(|[_, output]| output).into(),
        usd_per_million_blended_tokens: parts
            .map(|[input, output]| combine(input, ratio / (ratio + 1.0), output, 1.0 / (ratio + 1.0)))
            .into(),
        usd_per_million_all_output_tokens: whole([input / output, 1.0], output_alone),
        usd_per_million_total_tokens: Some(whole([input / all, output / all], total)),
        apart,
        seconds: seconds.into(),
        total_seconds: Some(seconds.map_or(served.seconds, |[input, output]| input + output)),
        tokens: served.rates.map(|rate| (rate * served.seconds).round() as u64),
        mixed_time_share: Known::unknown(MIXED),
    }
}
