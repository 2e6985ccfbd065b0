//! Checks of the curve against what is known: a milestone that is often quoted, and a point that the fit had not seen.

use jiff::civil::Date;
use rust_decimal::prelude::ToPrimitive as _;
use serde::Serialize;

use crate::catalog::{Catalog, Class, PricePoint};

use super::fit::{FEWEST, Fit, PriceAt, days};
use super::points::Point;

/// GPT-4 to GPT-4o mini, output price: the fall that is quoted as 100 times in 16 months, from the catalog's own rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Milestone {
    /// What is claimed.
    pub claim: &'static str,
    /// The earlier price, USD per million output tokens.
    pub from_usd_per_million: f64,
    /// Its day.
    pub from: Date,
    /// Its source.
    pub from_source: String,
    /// The later price.
    pub to_usd_per_million: f64,
    /// Its day.
    pub to: Date,
    /// Its source.
    pub to_source: String,
    /// The one over the other.
    pub factor: f64,
    /// Calendar months between the two, whole.
    pub months: i32,
    /// Whether that is 100 times in 16 months.
    pub holds: bool,
    /// What the two rows leave out.
    pub caveat: String,
}

/// The milestone from the catalog's rows.
///
/// # Errors
/// One sentence when a row is not there.
pub fn milestone(catalog: &Catalog, class: &Class) -> Result<Milestone, String> {
    let first = |model: &str| -> Result<&PricePoint, String> {
        let rows = catalog.price_history.iter().filter(|row| row.provider == "openai" && row.model == model);
        rows.min_by_key(|row| row.date).ok_or_else(|| format!("the catalog has no price of openai/{model}"))
    };
    let (from, to) = (first("gpt-4")?, first("gpt-4o-mini")?);
    let usd = |row: &PricePoint| row.output_usd_per_mtok.to_f64().unwrap_or(f64::NAN);
    let factor = usd(from) / usd(to);
    let months = (i32::from(to.date.year()) - i32::from(from.date.year())) * 12 + i32::from(to.date.month())
        - i32::from(from.date.month());
    let caveat = match catalog.score("gpt-4o-mini", &class.benchmark) {
        Some(score) => format!(
            "two output prices of one provider, no interval; GPT-4o mini's {} is {}, {} of the {} ({})",
            class.benchmark.to_uppercase(),
            score.percent,
            if score.percent < class.at_least { "below the threshold" } else { "above the threshold" },
            class.name,
            class.at_least
        ),
        None => "two output prices of one provider, no interval; no score of GPT-4o mini is known".to_owned(),
    };
    Ok(Milestone {
        claim: "GPT-4 $60 (March 2023) to GPT-4o mini $0.60 (July 2024) is 100x in 16 months",
        from_usd_per_million: usd(from),
        from: from.date,
        from_source: from.source.clone(),
        to_usd_per_million: usd(to),
        to: to.date,
        to_source: to.source.clone(),
        factor,
        months,
        holds: (factor - 100.0).abs() < 0.5 && months == 16,
        caveat,
    })
}

/// The last record-low, predicted from those before it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldOut {
    /// The point that the fit had not seen, USD per million tokens.
    pub usd_per_million: f64,
    /// What the fit of the others foresaw for its day.
    pub foreseen: PriceAt,
    /// Whether it lies in the prediction interval.
    pub within: bool,
    /// Points of that fit.
    pub n: usize,
    /// Days from the last of them to the point.
    pub days_ahead: i32,
}

/// Fits all record-lows but the last and predicts that one.
///
/// # Errors
/// One sentence when too few are left for a fit.
pub fn held_out(lows: &[Point]) -> Result<HeldOut, String> {
    let Some((last, before)) = lows.split_last() else { return Err("the class has no price".to_owned()) };
    let points: Vec<(Date, f64)> = before.iter().map(|low| (low.date, low.usd_per_million)).collect();
    let fit = Fit::of(&points)
        .map_err(|_| format!("n = {}: without the last one fewer than {FEWEST} are left", lows.len()))?;
    let foreseen = fit.price_at(last.date);
    let [low, high] = foreseen.prediction95;
    Ok(HeldOut {
        usd_per_million: last.usd_per_million,
        foreseen,
        within: (low..=high).contains(&last.usd_per_million),
        n: fit.n(),
        days_ahead: days(fit.last(), last.date),
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_hundred_times_in_sixteen_months() {
        let catalog = Catalog::bundled();
        let found = milestone(&catalog, catalog.class("gpt-4").expect("bundled")).expect("both rows");
        assert_eq!((found.from_usd_per_million, found.to_usd_per_million), (60.0, 0.6));
        assert_eq!((found.from, found.to), (date(2023, 3, 14), date(2024, 7, 18)));
        assert!((found.factor - 100.0).abs() < 1e-9 && found.months == 16 && found.holds);
        assert!(found.caveat.contains("82, below the threshold"), "{}", found.caveat);
    }

    #[test]
    fn without_the_rows_there_is_no_milestone() {
        let catalog = Catalog { price_history: Vec::new(), ..Catalog::bundled() };
        let error = milestone(&catalog, catalog.class("gpt-4").expect("bundled")).expect_err("no rows");
        assert!(error.contains("openai/gpt-4"), "{error}");
    }

    #[test]
    fn the_last_point_is_predicted_from_the_others_alone() {
        let catalog = Catalog::bundled();
        let class = catalog.class("gpt-4").expect("bundled");
        let lows = super::super::series(&catalog, class, 3.0, date(2026, 11, 23)).record_lows;
        let found = held_out(&lows).expect("enough points");
        assert_eq!((found.n, found.usd_per_million), (lows.len() - 1, lows[lows.len() - 1].usd_per_million));
        assert!(held_out(&lows[..4]).expect_err("three left").contains("fewer than 4"));
    }
}
