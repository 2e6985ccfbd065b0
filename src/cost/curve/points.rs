//! The points of a class's curve: which prices count, and which of them set a record.

use jiff::civil::Date;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;

use crate::catalog::{Catalog, Class, DateKind, Trust};

/// A dated price of a model in the class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// The day.
    pub date: Date,
    /// What the day is worth.
    pub date_kind: DateKind,
    /// Where the day comes from.
    pub date_basis: String,
    /// Who asked the price.
    pub provider: String,
    /// For which model.
    pub model: String,
    /// USD per million tokens, input and output blended.
    pub usd_per_million: f64,
    /// USD per million input tokens.
    pub input_usd_per_million: f64,
    /// USD per million output tokens.
    pub output_usd_per_million: f64,
    /// The score that put the model into the class, percent.
    pub score_percent: f64,
    /// Where the score was published.
    pub score_source: String,
    /// Where the price was read.
    pub source: String,
}

/// Prices that count for no curve of this class, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Excluded {
    /// No score of the model was found published.
    pub without_score: usize,
    /// The model's score is below the gate.
    pub below_gate: usize,
    /// The score takes hidden reasoning tokens: its price per token is not comparable.
    pub reasoning: usize,
    /// Only a secondary page says so.
    pub low_trust: usize,
}

/// Everything that is known about a class's prices.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// All prices of members, oldest first, cheapest first within a day.
    pub points: Vec<Point>,
    /// The running minimum: those below all before them.
    pub record_lows: Vec<Point>,
    /// What was left out.
    pub excluded: Excluded,
}

/// Input and output at `ratio` input tokens for each output token: `(r · input + output) ÷ (r + 1)`.
pub fn blended(input: f64, output: f64, ratio: f64) -> f64 {
    (ratio * input + output) / (ratio + 1.0)
}

/// The class's prices up to `today`, from the price history and from today's API prices, blended at `ratio`.
pub fn series(catalog: &Catalog, class: &Class, ratio: f64, today: Date) -> Series {
    let mut points = Vec::new();
    let mut excluded = Excluded::default();
    let mut add = |row: Row<'_>| {
        if row.date > today {
            return;
        }
        let Some(score) = catalog.score(row.model, &class.benchmark) else {
            excluded.without_score += 1;
            return;
        };
        if score.percent < class.at_least {
            excluded.below_gate += 1;
        } else if score.reasoning {
            excluded.reasoning += 1;
        } else if row.trust == Trust::Low {
            excluded.low_trust += 1;
        } else {
            let usd = |price: Decimal| price.to_f64().unwrap_or(f64::NAN);
            let (input, output) = (usd(row.input), usd(row.output));
            points.push(Point {
                date: row.date,
                date_kind: row.date_kind,
                date_basis: row.date_basis.to_owned(),
                provider: row.provider.to_owned(),
                model: row.model.to_owned(),
                usd_per_million: blended(input, output, ratio),
                input_usd_per_million: input,
                output_usd_per_million: output,
                score_percent: score.percent,
                score_source: score.source.clone(),
                source: row.source.to_owned(),
            });
        }
    };
    for row in &catalog.price_history {
        add(Row {
            date: row.date,
            date_kind: row.date_kind,
            date_basis: &row.date_basis,
            provider: &row.provider,
            model: &row.model,
            input: row.input_usd_per_mtok,
            output: row.output_usd_per_mtok,
            trust: row.trust,
            source: &row.source,
        });
    }
    for row in &catalog.api_prices {
        let (date, date_kind, date_basis) = match row.effective_from {
            Some(date) => (date, DateKind::Exact, "the source says since when the price holds"),
            None => {
                (row.as_of, DateKind::OnOrBefore, "the last day on which the price can have been checked")
            }
        };
        add(Row {
            date,
            date_kind,
            date_basis,
            provider: &row.provider,
            model: &row.model,
            input: row.input_usd_per_mtok,
            output: row.output_usd_per_mtok,
            trust: Trust::Medium,
            source: &row.source,
        });
    }
    // A price of nothing is an advertisement; its logarithm would be the whole curve.
    points.retain(|point| point.usd_per_million > 0.0 && point.usd_per_million.is_finite());
    points.sort_by(|a, b| a.date.cmp(&b.date).then(a.usd_per_million.total_cmp(&b.usd_per_million)));
    let record_lows = running_minimum(&points);
    Series { points, record_lows, excluded }
}

struct Row<'a> {
    date: Date,
    date_kind: DateKind,
    date_basis: &'a str,
    provider: &'a str,
    model: &'a str,
    input: Decimal,
    output: Decimal,
    trust: Trust,
    source: &'a str,
}

/// The record-lows among the points whose day is known, give or take a month: those of an upload day left out.
pub fn dated_only(series: &Series) -> Vec<Point> {
    let dated: Vec<Point> =
        series.points.iter().filter(|point| point.date_kind.is_dated()).cloned().collect();
    running_minimum(&dated)
}

/// Those below all before them; `points` are in order of day and price.
fn running_minimum(points: &[Point]) -> Vec<Point> {
    let mut lowest = f64::INFINITY;
    let mut lows = Vec::new();
    for point in points {
        if point.usd_per_million < lowest {
            lowest = point.usd_per_million;
            lows.push(point.clone());
        }
    }
    lows
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const TODAY: Date = date(2026, 11, 23);

    #[test]
    fn a_record_low_is_below_all_before_it() {
        let catalog = Catalog::bundled();
        for class in &catalog.classes {
            let found = series(&catalog, class, 3.0, TODAY);
            let lows = &found.record_lows;
            assert!(lows.windows(2).all(|pair| pair[0].date < pair[1].date), "{}", class.id);
            for low in lows {
                let before = found.points.iter().filter(|point| point.date <= low.date);
                assert!(before.clone().all(|point| point.usd_per_million >= low.usd_per_million));
            }
            assert!(found.points.iter().all(|point| point.score_percent >= class.at_least));
            assert!(lows.len() >= 4, "{}: {}", class.id, lows.len());
        }
    }

    /// By hand from the rows: GPT-4 at 30/60 is 37.50 at 3:1, GPT-4 Turbo at 10/30 is 15, GPT-4o at 5/15 is 7.50; Claude 3
    /// Opus at 15/75 is 30 and no record.
    #[test]
    fn the_first_lows_of_the_gpt_4_class() {
        let catalog = Catalog::bundled();
        let lows = series(&catalog, catalog.class("gpt-4").expect("bundled"), 3.0, TODAY).record_lows;
        let first: Vec<(Date, f64)> =
            lows.iter().take(3).map(|low| (low.date, low.usd_per_million)).collect();
        assert_eq!(first, [(date(2023, 3, 14), 37.5), (date(2023, 11, 6), 15.0), (date(2024, 5, 13), 7.5)]);
        assert!(lows.iter().all(|low| low.model != "claude-3-opus" && low.model != "gpt-4o-mini"));
    }

    #[test]
    fn the_future_does_not_count() {
        let catalog = Catalog::bundled();
        let class = catalog.class("gpt-4").expect("bundled");
        let early = series(&catalog, class, 3.0, date(2024, 1, 1));
        assert_eq!(early.record_lows.len(), 2);
        assert!(early.points.iter().all(|point| point.date <= date(2024, 1, 1)));
    }

    #[test]
    fn reasoning_models_and_secondary_pages_are_counted_and_left_out() {
        let catalog = Catalog::bundled();
        let found = series(&catalog, catalog.class("gpt-3").expect("bundled"), 3.0, TODAY);
        assert!(
            found.excluded.reasoning > 0 && found.excluded.low_trust == 1 && found.excluded.without_score > 0
        );
        assert!(found.points.iter().all(|point| point.model != "o3" && point.model != "gpt-oss-120b"));
        assert_eq!(found.points[0].date, date(2021, 11, 18));
    }
}
