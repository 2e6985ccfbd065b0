//! The inverse of the fit: from a price to the day on which the curve gets below it, as an interval.
//!
//! The days whose prediction interval contains the price (Fieller's method). Where the slope may be zero the
//! interval has no last day, and says so.

use jiff::Span;
use jiff::civil::Date;

use crate::base::known::{self, Known};
use crate::base::stats::{Band, Crossing};

use super::fit::{Fit, days};
use super::{CONFIDENCE, DAYS_PER_YEAR};

/// When the curve gets below a price.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct DayInterval {
    /// The price, USD per million tokens.
    pub usd_per_million: f64,
    /// The day on which the curve itself is there; `null` when it never is.
    pub expected: Known<Date>,
    /// First day of the 95% interval.
    pub earliest: Known<Date>,
    /// Last day of the 95% interval.
    pub latest: Known<Date>,
    /// What the interval is of.
    pub interval: &'static str,
    /// Points that it is fitted to.
    pub n: usize,
    /// Years from the last point to the expected day: how far it is beyond the data; negative within it.
    pub years_beyond_data: Known<f64>,
}

const NEVER: &str = "the slope's interval contains zero: the price may never be reached";
const FAR: &str = "beyond the year 9999";
const LEVEL: &str = "the fitted curve does not fall";

/// The days on which the curve may get below `usd`.
pub fn day_below(fit: &Fit, usd: f64) -> DayInterval {
    let line = fit.line();
    let falls = line.slope < 0.0;
    let expected = line.solve(usd.ln()).filter(|_| falls);
    let expected_day = expected.and_then(|t| day(fit.first(), t));
    let crossing =
        if falls { line.crossing(usd.ln(), Band::Prediction, CONFIDENCE) } else { Crossing::Anywhere };
    let (low, high) = match crossing {
        Crossing::Between(found) => (Some(found.low), Some(found.high)),
        Crossing::From(first) => (Some(first), None),
        Crossing::Until(last) => (None, Some(last)),
        Crossing::Anywhere => (None, None),
    };
    let known = |t: Option<f64>, unbounded: &'static str| {
        let t = t.ok_or(if falls { unbounded } else { LEVEL });
        t.and_then(|t| day(fit.first(), t).ok_or(FAR)).into()
    };
    DayInterval {
        usd_per_million: usd,
        expected: known(expected, LEVEL),
        earliest: known(low, "the slope's interval contains zero: no day is excluded"),
        latest: known(high, NEVER),
        interval: "95%: the days whose prediction interval contains the price",
        n: fit.n(),
        years_beyond_data: expected_day
            .map(|day| f64::from(days(fit.last(), day)) / DAYS_PER_YEAR)
            .ok_or("there is no expected day")
            .into(),
    }
}

/// The day `years` after `first`, to the nearest day.
#[allow(clippy::cast_possible_truncation, reason = "bounded on the line before")]
pub(super) fn day(first: Date, years: f64) -> Option<Date> {
    let days = (years * DAYS_PER_YEAR).round();
    if days.abs() > 4e6 {
        return None;
    }
    first.checked_add(Span::new().days(days as i64)).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn four() -> Fit {
        let points = [
            (date(2023, 3, 14), 37.5),
            (date(2023, 11, 6), 15.0),
            (date(2024, 5, 13), 7.5),
            (date(2024, 8, 6), 4.375),
        ];
        Fit::of(&points).expect("four points")
    }

    /// scipy 1.16 and `numpy.roots`: t = 2.4524, and 1.9991 to 3.1597 years.
    #[test]
    fn a_dollar_is_reached_where_scipy_says() {
        let found = day_below(&four(), 1.0);
        assert_eq!(found.expected, Some(date(2025, 8, 26)), "{found:?}");
        assert_eq!(found.earliest, Some(date(2025, 3, 13)), "{found:?}");
        assert_eq!(found.latest, Some(date(2026, 5, 11)), "{found:?}");
        assert!((found.years_beyond_data.expect("a day") - 385.0 / 365.25).abs() < 1e-9);
    }

    #[test]
    fn the_day_and_the_price_are_each_others_inverse() {
        let fit = four();
        for usd in [20.0, 1.0, 0.05] {
            let found = day_below(&fit, usd);
            let near = |found: f64| assert!((found / usd - 1.0).abs() < 0.01, "{found} is not {usd}");
            near(fit.price_at(found.expected.expect("a day")).usd_per_million);
            near(fit.price_at(found.earliest.expect("a day")).prediction95[0]);
            near(fit.price_at(found.latest.expect("a day")).prediction95[1]);
        }
    }

    #[test]
    fn a_curve_that_may_be_level_has_no_last_day() {
        let points = [
            (date(2023, 1, 1), 1.0),
            (date(2024, 1, 1), 0.3),
            (date(2025, 1, 1), 1.1),
            (date(2026, 1, 1), 0.4),
        ];
        let found = day_below(&Fit::of(&points).expect("four points"), 0.001);
        assert!(found.expected.is_some() && found.earliest.is_some());
        assert_eq!(found.latest, Known::unknown(NEVER));
        let rising = [
            (date(2023, 1, 1), 1.0),
            (date(2024, 1, 1), 2.0),
            (date(2025, 1, 1), 3.0),
            (date(2026, 1, 1), 5.0),
        ];
        let found = day_below(&Fit::of(&rising).expect("four points"), 0.001);
        assert_eq!((*found.expected, *found.earliest, *found.latest), (None, None, None));
        assert_eq!(found.latest.reason(), Some(LEVEL));
    }

    #[test]
    fn a_price_of_almost_nothing_is_beyond_the_calendar() {
        let found = day_below(&four(), 1e-300);
        assert!(found.expected.is_some_and(|day| day.year() > 2400), "{found:?}");
        assert_eq!(day(date(2023, 1, 1), 1e9), None);
    }
}
