//! Cells of a server, whose steps mix input and output: priced at their own mix, and separately only where that is
//! justified.
//!
//! Every cell has its total: the rent of its time over all tokens, and over output tokens alone. Separate prices: by
//! the time of each where the steps are known, as those of our own engine are; over cells of several mixes at one
//! concurrency by least squares ([`separate`], and [`separate_cached`] where some prompt tokens came from a cache);
//! else, on request, at a price ratio, which is an allocation and not a measurement; else none, with the reason. In
//! an open loop a server also idles, and idle time is neither input nor output, so its cells are never fitted. A
//! separated cell's prices are the fit's, scaled by the cell's own residual, so that all of them together stay
//! exactly the rent of its time.

use crate::base::known::Known;
use crate::record::{Apart, Cell, CostCell, Figure, Measurement, Metric, Phase, Separation};

use super::cells::{Assumptions, measured};
use super::hour::Rate;
use super::part::{combine, times};
use super::separate::{self, Fit};
use super::separate_cached::{self, CachedFit};

/// The note on a serving cell whose time is not split.
const MIXED: &str = "a server mixes input and output in its steps, and its totals cannot separate them";
/// Why input and output of open-loop cells are not separated.
const IDLES: &str = "not separable: a server that gets requests on a schedule also idles; with --max-concurrency alone it does not";
/// Why a cell has no price of cached input.
const NOTHING_CACHED: &str = "no prompt token is known to have come from a cache";
/// Share of a group's prompt tokens that must have come from the cache before they are a kind of their own.
const CACHED: f64 = 0.01;
/// Over what a cell is counted when the run's length is not known: so long that whole tokens round nothing away.
const LONG_SECONDS: f64 = 1e6;

/// A server's throughput at one workload.
struct Served<'a> {
    cell: &'a Cell,
    /// Input and output tokens per second.
    rates: [f64; 2],
    /// Of the input, what came from the server's cache, where it says.
    cached: Option<f64>,
    /// The interval of all tokens per second, and of output alone, over their values.
    relative: [Option<[f64; 2]>; 2],
    seconds: f64,
    watts: Option<f64>,
    /// Input's and output's time of `seconds` and the share of steps that had to be split, where steps were seen.
    timed: Option<Timed>,
}

/// How input and output were separated over the cells of one concurrency.
enum Fitted {
    /// Input and output.
    Two(Fit),
    /// Input, cached input and output.
    Three(CachedFit),
}

/// How an engine's time was used, by its steps.
#[derive(Debug, Clone, Copy)]
struct Timed {
    seconds: [f64; 2],
    mixed_share: f64,
}

/// Prices every serving cell, and returns the fits of those with separate input and output.
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
    let mut done: Vec<(u32, Option<u32>)> = Vec::new();
    for first in &served {
        // Cells that differ in what was in the cache are one group: that tells its price.
        let cached = served.iter().filter(|s| s.cell.batch == first.cell.batch).any(has_cached);
        let key = (first.cell.batch, (!cached).then_some(first.cell.depth));
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let is_alike =
            |s: &&Served<'_>| s.cell.batch == key.0 && key.1.is_none_or(|depth| s.cell.depth == depth);
        let group: Vec<&Served<'_>> = served.iter().filter(is_alike).collect();
        let fit = fit(&group, cached);
        if let Ok(fit) = &fit {
            separations.push(separation((key.0, first.cell.depth), group.len(), fit, rate));
        }
        cells.extend(group.iter().map(|served| price(served, &fit, rate, assume)));
    }
    (cells, separations)
}

fn has_cached(served: &Served<'_>) -> bool {
    served.cached.is_some_and(|cached| cached > CACHED * served.rates[0])
}

/// Tells a group apart; `cached` when some of it had prompt tokens from a cache.
fn fit(group: &[&Served<'_>], cached: bool) -> Result<Fitted, String> {
    if !cached {
        let rates: Vec<[f64; 2]> = group.iter().map(|served| served.rates).collect();
        return separate::fit(&rates).map(Fitted::Two);
    }
    let rates: Option<Vec<[f64; 3]>> = group.iter().map(|served| served.kinds()).collect();
    let rates = rates
        .ok_or("not separable: the number of cached prompt tokens is known for only some of the cells")?;
    separate_cached::fit(&rates).map(Fitted::Three)
}

impl Served<'_> {
    /// Computed input, cached input and output tokens per second.
    fn kinds(&self) -> Option<[f64; 3]> {
        let cached = self.cached?;
        Some([(self.rates[0] - cached).max(0.0), cached, self.rates[1]])
    }
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
    let rates = |cell| {
        let find = |metric: Metric| {
            measured(measurements, metric, Phase::Serving).find(|(other, _)| *other == cell).map(|(_, m)| m)
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
        let plain = |metric: Metric| find(metric).and_then(|m| *m.value);
        let timed = || {
            let seconds = [plain(Metric::InputTimeSeconds)?, plain(Metric::OutputTimeSeconds)?];
            Some(Timed { seconds, mixed_share: plain(Metric::MixedTimeShare)? })
        };
        let (watts, timed) = (value(Metric::PowerWatts), timed());
        let cached = plain(Metric::CachedInputTokensPerSecond);
        Some(Served { cell, rates: [input, output], cached, relative, seconds, watts, timed })
    };
    cells.into_iter().filter_map(rates).collect()
}

/// The fit at the hourly price.
fn separation((batch, depth): (u32, u32), cells: usize, fit: &Fitted, rate: &Rate) -> Separation {
    let usd = 1e6 * rate.usd_per_second(None);
    let figure = |value: f64, ci95: [f64; 2]| times(Figure { value, ci95: Some(ci95) }, usd);
    let (seconds, ci95, cached, condition_number, residuals) = match fit {
        Fitted::Two(fit) => (
            [fit.input_seconds, fit.output_seconds],
            [fit.input_ci95, fit.output_ci95],
            None,
            fit.condition_number,
            &fit.residuals,
        ),
        Fitted::Three(fit) => (
            [fit.seconds[0], fit.seconds[2]],
            [fit.ci95[0], fit.ci95[2]],
            Some((fit.seconds[1], fit.ci95[1])),
            fit.condition_number,
            &fit.residuals,
        ),
    };
    Separation {
        batch,
        depth,
        cells,
        seconds_per_input_token: seconds[0],
        seconds_per_input_token_ci95: ci95[0],
        seconds_per_cached_input_token: cached.map(|(seconds, _)| seconds),
        seconds_per_cached_input_token_ci95: cached.map(|(_, ci95)| ci95),
        seconds_per_output_token: seconds[1],
        seconds_per_output_token_ci95: ci95[1],
        condition_number,
        residuals: residuals.clone(),
        usd_per_million_input_tokens: figure(seconds[0], ci95[0]),
        usd_per_million_cached_input_tokens: cached.map(|(seconds, ci95)| figure(seconds, ci95)),
        usd_per_million_output_tokens: figure(seconds[1], ci95[1]),
    }
}

/// Prices of input, of cached input where that is a kind of its own, and of output, per million.
type Parts = (Figure, Option<Figure>, Figure);

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "token counts, whole and positive"
)]
fn price(served: &Served<'_>, fit: &Result<Fitted, String>, rate: &Rate, assume: &Assumptions) -> CostCell {
    let usd_per_second = rate.usd_per_second(served.watts);
    let [input, output] = served.rates;
    let all = input + output;
    // Dollars for a million, from what a second costs and the tokens in it; a rate's interval turns round.
    let figure = |per_second: f64, relative: Option<[f64; 2]>| {
        let value = 1e6 * usd_per_second / per_second;
        Figure { value, ci95: relative.map(|[low, high]| [value / high, value / low]) }
    };
    let (total, output_alone) = (figure(all, served.relative[0]), figure(output, served.relative[1]));
    let (apart, parts): (Apart, Result<Parts, &str>) = match (served.timed, fit, assume.price_ratio) {
        (Some(timed), ..) => {
            // The tokens of a kind over the time that they took; as sure as the rate of all.
            let per_second = |kind: usize| served.rates[kind] * served.seconds / timed.seconds[kind];
            let [input, output] = [0, 1].map(|kind| figure(per_second(kind), served.relative[0]));
            (Apart::Measured, Ok((input, None, output)))
        }
        (None, Ok(fit), _) => {
            // A cell's prices are the fit's, scaled by its own residual: they add up to its rent.
            let scaled = |closure: f64, value: f64, ci95: [f64; 2]| {
                times(Figure { value, ci95: Some(ci95) }, 1e6 * usd_per_second * closure)
            };
            let parts = match fit {
                Fitted::Two(fit) => {
                    let closure = 1.0 / (fit.input_seconds * input + fit.output_seconds * output);
                    let of = |value, ci95| scaled(closure, value, ci95);
                    (of(fit.input_seconds, fit.input_ci95), None, of(fit.output_seconds, fit.output_ci95))
                }
                Fitted::Three(fit) => {
                    let kinds = served.kinds().unwrap_or_default();
                    let closure =
                        1.0 / kinds.iter().zip(fit.seconds).map(|(rate, each)| rate * each).sum::<f64>();
                    let of = |kind: usize| scaled(closure, fit.seconds[kind], fit.ci95[kind]);
                    (of(0), Some(of(1)), of(2))
                }
            };
            (Apart::Separated, Ok(parts))
        }
        (None, Err(_), Some(ratio)) => {
            let input_usd = times(total, all / (input + ratio * output));
            (Apart::Allocated, Ok((input_usd, None, times(input_usd, ratio))))
        }
        (None, Err(reason), None) => (Apart::Together, Err(reason.as_str())),
    };
    // A prompt token from the cache takes less of the input's time; output's stays.
    let cached_part: Known<Figure> = parts.and_then(|(_, cached, _)| cached.ok_or(NOTHING_CACHED)).into();
    // What the prompts of this cell cost, cached tokens at their own price.
    let shares = parts.map(|(computed, cached, output_usd)| {
        let cached_rate = cached.and(served.cached).unwrap_or(0.0);
        let of_input =
            computed.value * (input - cached_rate) + cached.map_or(0.0, |cached| cached.value * cached_rate);
        [of_input, output_usd.value * output]
    });
    let parts = parts.map(|(input, _, output)| [times(input, assume.input_factor()), output]);
    let whole = |weights: [f64; 2], without_cache: Figure| {
        let Some([input, output]) = parts.ok().filter(|_| assume.input_factor() < 1.0) else {
            return without_cache;
        };
        let value = weights[0] * input.value + weights[1] * output.value;
        times(without_cache, value / without_cache.value)
    };
    let ratio = assume.blend_ratio;
    let seconds = shares.map(|[of_input, of_output]| {
        [of_input * assume.input_factor(), of_output].map(|usd| usd / 1e6 / usd_per_second * served.seconds)
    });
    CostCell {
        cell: served.cell.clone(),
        usd_per_million_input_tokens: parts.map(|[input, _]| input).into(),
        usd_per_million_cached_input_tokens: cached_part,
        usd_per_million_output_tokens: parts.map(|[_, output]| output).into(),
        usd_per_million_blended_tokens: parts
            .map(|[input, output]| combine(input, ratio / (ratio + 1.0), output, 1.0 / (ratio + 1.0)))
            .into(),
        usd_per_million_all_output_tokens: whole([input / output, 1.0], output_alone),
        usd_per_million_total_tokens: Some(whole([input / all, output / all], total)),
        apart,
        seconds: seconds.into(),
        total_seconds: Some(seconds.map_or(served.seconds, |[input, output]| input + output)),
        // Of a short run with few tokens as well: a ratio of none is no number.
        tokens: served.rates.map(|rate| (rate * served.seconds).round().max(1.0) as u64),
        mixed_time_share: served.timed.map(|timed| timed.mixed_share).ok_or(MIXED).into(),
    }
}
