//! The log-linear fit `ln P = a + b · t`, t in years: yearly factor, halving time, and the price on a day.
//!
//! Every figure carries its 95% interval from the residuals. Under four points there are points and no rate. Theil
//! and Sen's slope is given next to the fit, since least squares follows an outlier and a median does not.

use jiff::civil::Date;
use serde::Serialize;

use crate::base::known::{self, Known};
use crate::base::stats::{Band, Interval, Line, TheilSen, theil_sen};

use super::{CONFIDENCE, DAYS_PER_YEAR};

/// Fewest points that a rate is given for.
pub const FEWEST: usize = 4;

/// A line through the logarithms of prices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    line: Line,
    robust: TheilSen,
    first: Date,
    last: Date,
}

/// A figure with its 95% interval, open-ended where `ci95`'s second end is `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its interval.
    pub ci95: (f64, Option<f64>),
    /// Why the interval has no upper end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci95_reason: Option<String>,
}

/// The price that a fit predicts for a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PriceAt {
    /// The day.
    pub date: Date,
    /// The curve, USD per million tokens: the median, since the scatter is about the logarithm.
    pub usd_per_million: f64,
    /// Where the curve lies.
    pub confidence95: [f64; 2],
    /// Where one further record-low would lie.
    pub prediction95: [f64; 2],
}

/// What a fit says, for a reader.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct FitFigures {
    /// The model that was fitted.
    pub formula: &'static str,
    /// Points.
    pub n: usize,
    /// Day of the first point, where t is 0.
    pub from: Date,
    /// Day of the last point.
    pub to: Date,
    /// `a`: logarithm of USD per million tokens on the first day.
    pub intercept: f64,
    /// `b`, a year.
    pub slope: f64,
    /// Its interval.
    pub slope_ci95: [f64; 2],
    /// Standard deviation of the residuals, of the logarithm.
    pub residual_sd: f64,
    /// Its interval.
    pub residual_sd_ci95: [f64; 2],
    /// Share of the variance that the line explains; it is high in every falling series.
    pub r_squared: f64,
    /// By how much a price falls in a year: `e^(−b)`.
    pub yearly_factor: Estimate,
    /// Months in which a price halves; `null` when the curve does not fall.
    pub halving_months: Known<Estimate>,
    /// The slope that no single point can bend.
    pub theil_sen: RobustFigures,
}

/// Theil and Sen's slope, for a reader.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RobustFigures {
    /// A year.
    pub slope: f64,
    /// Its interval.
    pub slope_ci95: [f64; 2],
    /// `e^(−slope)`.
    pub yearly_factor: Estimate,
}

impl Fit {
    /// The line through days and prices, oldest first.
    ///
    /// # Errors
    /// One sentence: too few points, or all of one day.
    pub fn of(points: &[(Date, f64)]) -> Result<Self, String> {
        let n = points.len();
        let (Some((first, _)), Some((last, _))) = (points.first(), points.last()) else {
            return Err(format!("no price; a rate needs at least {FEWEST} points"));
        };
        if n < FEWEST {
            return Err(format!("n = {n}: a rate needs at least {FEWEST} points"));
        }
        let logs: Vec<(f64, f64)> = points.iter().map(|(day, usd)| (years(*first, *day), usd.ln())).collect();
        let fitted = Line::fit(&logs).zip(theil_sen(&logs, CONFIDENCE));
        let (line, robust) = fitted.ok_or_else(|| format!("n = {n}, all of one day: a rate needs time"))?;
        Ok(Self { line, robust, first: *first, last: *last })
    }

    /// Points.
    pub fn n(&self) -> usize {
        self.line.n
    }

    /// Day of the last point.
    pub fn last(&self) -> Date {
        self.last
    }

    /// The price on a day.
    pub fn price_at(&self, date: Date) -> PriceAt {
        let t = years(self.first, date);
        let band = |band| {
            let found = self.line.interval(t, band, CONFIDENCE).map(f64::exp);
            [found.low, found.high]
        };
        PriceAt {
            date,
            usd_per_million: self.line.at(t).exp(),
            confidence95: band(Band::Confidence),
            prediction95: band(Band::Prediction),
        }
    }

    /// Probability that a record-low on this day is at `usd` or below.
    pub fn probability_below(&self, date: Date, usd: f64) -> f64 {
        self.line.probability_below(years(self.first, date), usd.ln())
    }

    /// Rise of the logarithm in a year, with its interval.
    pub fn slope(&self) -> (f64, Interval) {
        (self.line.slope, self.line.slope_interval(CONFIDENCE))
    }

    /// By how much a price falls in a year.
    pub fn yearly_factor(&self) -> Estimate {
        let (slope, interval) = self.slope();
        factor(slope, interval)
    }

    /// The figures.
    pub fn figures(&self) -> FitFigures {
        let (slope, interval) = self.slope();
        let halving = halving_months(slope, interval);
        let sd = self.line.residual_sd_interval(CONFIDENCE);
        FitFigures {
            formula: "ln(USD per million tokens) = intercept + slope * t, t = days since `from` / 365.25",
            n: self.line.n,
            from: self.first,
            to: self.last,
            intercept: self.line.intercept,
            slope,
            slope_ci95: [interval.low, interval.high],
            residual_sd: self.line.residual_sd,
            residual_sd_ci95: [sd.low, sd.high],
            r_squared: self.line.r_squared,
            yearly_factor: self.yearly_factor(),
            halving_months: halving.ok_or("the fitted curve does not fall").into(),
            theil_sen: RobustFigures {
                slope: self.robust.slope,
                slope_ci95: [self.robust.interval.low, self.robust.interval.high],
                yearly_factor: factor(self.robust.slope, self.robust.interval),
            },
        }
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    pub(super) fn first(&self) -> Date {
        self.first
    }
}

fn factor(slope: f64, interval: Interval) -> Estimate {
    let found = interval.map(|slope| (-slope).exp());
    Estimate { value: (-slope).exp(), ci95: (found.low, Some(found.high)), ci95_reason: None }
}

fn halving_months(slope: f64, interval: Interval) -> Option<Estimate> {
    let months = |slope: f64| 12.0 * std::f64::consts::LN_2 / -slope;
    if slope >= 0.0 {
        return None;
    }
    let high = (interval.high < 0.0).then(|| months(interval.high));
    Some(Estimate {
        value: months(slope),
        ci95: (months(interval.low), high),
        ci95_reason: high
            .is_none()
            .then(|| "the slope's interval contains zero: it may never halve".to_owned()),
    })
}

/// Years from one day to another, negative when it is earlier.
pub(super) fn years(from: Date, to: Date) -> f64 {
    f64::from(days(from, to)) / DAYS_PER_YEAR
}

/// Days from one day to another.
pub(super) fn days(from: Date, to: Date) -> i32 {
    // At most 7.3 million between any two days that can be written.
    i32::try_from(to.duration_since(from).as_hours() / 24).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// OpenAI's list prices of the GPT-4 class, 3:1, as ECONOMICS has them: 4.43 a year (2.98 to 6.60), halving in 5.6 months.
    /// All digits: scipy 1.16, `stats.linregress` on the same days.
    #[test]
    fn four_list_prices_give_the_published_rate() {
        let points = [
            (date(2023, 3, 14), 37.5),
            (date(2023, 11, 6), 15.0),
            (date(2024, 5, 13), 7.5),
            (date(2024, 8, 6), 4.375),
        ];
        let found = Fit::of(&points).expect("four points").figures();
        let near =
            |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        near(found.yearly_factor.value, 4.434_297_510_799_729);
        near(found.yearly_factor.ci95.0, 2.977_603_418_150_233_3);
        near(found.yearly_factor.ci95.1.expect("an end"), 6.603_631_059_269_754);
        let halving = found.halving_months.as_ref().expect("it falls");
        near(halving.value, 5.584_757_714_960_963);
        assert!((halving.ci95.0 - 12.0 * 2f64.ln() / 6.603_631_f64.ln()).abs() < 1e-5);
        near(found.theil_sen.slope, -1.473_889_352_582_749_4);
        near(found.theil_sen.slope_ci95[0], -2.316_099_669_324_868_8);
        near(found.theil_sen.slope_ci95[1], -1.339_534_432_272_592_8);
        assert_eq!(found.n, 4);
    }

    #[test]
    fn three_points_have_no_rate() {
        let points = [(date(2023, 1, 1), 4.0), (date(2024, 1, 1), 2.0), (date(2025, 1, 1), 1.0)];
        assert!(Fit::of(&points).expect_err("three").contains("n = 3"));
        assert!(Fit::of(&[(date(2023, 1, 1), 4.0); 4]).expect_err("one day").contains("one day"));
        assert!(Fit::of(&[]).is_err());
    }

    /// A price that halves each year exactly: no scatter, so every interval is a point.
    #[test]
    fn an_exact_curve_gives_itself_back() {
        let points: Vec<(Date, f64)> = (0..5)
            .map(|n| (date(2020, 1, 1), n))
            .map(|(day, n)| (day.saturating_add(jiff::Span::new().days(n * 1461)), 0.5f64.powi(4 * n)))
            .collect();
        let fit = Fit::of(&points).expect("five points");
        let found = fit.figures();
        assert!((found.yearly_factor.value - 2.0).abs() < 1e-9);
        assert!((found.halving_months.as_ref().expect("it falls").value - 12.0).abs() < 1e-9);
        let price = fit.price_at(date(2021, 1, 1));
        assert!((price.usd_per_million - 0.5).abs() < 1e-3, "{price:?}");
        assert!((price.prediction95[1] / price.prediction95[0] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_curve_that_may_be_level_never_halves_for_sure() {
        let points = [
            (date(2023, 1, 1), 1.0),
            (date(2024, 1, 1), 0.3),
            (date(2025, 1, 1), 1.1),
            (date(2026, 1, 1), 0.4),
        ];
        let found = Fit::of(&points).expect("four points").figures();
        let halving = found.halving_months.as_ref().expect("it falls a little");
        assert_eq!(halving.ci95.1, None);
        assert!(halving.ci95_reason.is_some() && found.yearly_factor.ci95.0 < 1.0);
        let rising = [
            (date(2023, 1, 1), 1.0),
            (date(2024, 1, 1), 2.0),
            (date(2025, 1, 1), 3.0),
            (date(2026, 1, 1), 5.0),
        ];
        let found = Fit::of(&rising).expect("four points").figures();
        assert_eq!(found.halving_months, None);
        assert!(found.halving_months.reason().is_some() && found.yearly_factor.value < 1.0);
    }
}
