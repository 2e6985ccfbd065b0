//! A claim about a future price, tested against the fit.

use jiff::civil::Date;
use serde::Serialize;

use super::fit::{Fit, PriceAt, days};
use super::points::{Point, Series};
use super::when::{DayInterval, day_below};
use crate::base::known::{self, Known};

/// "Below this price by that day."
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Claim {
    /// USD per million tokens, at the curve's blend.
    pub usd_per_million: f64,
    /// The day.
    pub by: Date,
}

/// What the fit says to a claim.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct ClaimTest {
    /// The claim.
    #[serde(flatten)]
    pub claim: Claim,
    /// In a word.
    pub verdict: ClaimVerdict,
    /// In a sentence.
    pub reason: String,
    /// The price that the fit predicts for the day; `null` without a fit.
    pub foreseen: Known<PriceAt>,
    /// Probability of a record-low at or below the price on the day, if the model of the fit holds; `null` without a fit.
    pub probability: Known<f64>,
    /// Points of the fit.
    pub n: usize,
    /// When the fit has the price; `null` without a fit.
    pub reached: Known<DayInterval>,
    /// The lowest price so far; `null` without any.
    pub lowest_so_far: Known<Point>,
    /// The same against the fit through dated prices alone; `null` without one.
    pub dated_only: Known<Second>,
    /// By how much the lowest price so far has still to fall.
    pub factor_to_go: Known<f64>,
    /// Days from today to the day; negative when it has passed.
    pub days_to_go: i32,
}

/// What another fit says to the same claim.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Second {
    /// In a word.
    pub verdict: ClaimVerdict,
    /// The price that it predicts for the day.
    pub foreseen: PriceAt,
    /// Probability of a record-low at or below the price on the day.
    pub probability: f64,
    /// Its points.
    pub n: usize,
}

/// What a claim is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimVerdict {
    /// A price of the class was there by the day.
    True,
    /// The day has passed and no price of the class was there.
    False,
    /// The whole prediction interval is at or below the price.
    Supported,
    /// The whole prediction interval is above the price.
    Contradicted,
    /// The price lies within the prediction interval.
    Undecided,
    /// There is no fit to hold it against.
    Untested,
}

/// Holds `claim` against the prices of `series` and against `fit`.
pub fn test_claim(
    claim: Claim,
    series: &Series,
    fit: Result<&Fit, &str>,
    dated_only: Result<&Fit, &str>,
    today: Date,
) -> ClaimTest {
    let Claim { usd_per_million: usd, by } = claim;
    let foreseen = Known::from(fit.map(|fit| fit.price_at(by)));
    let reached = series.record_lows.iter().find(|low| low.usd_per_million <= usd && low.date <= by);
    let (verdict, reason) = match (reached, &*foreseen) {
        (Some(low), _) => (
            ClaimVerdict::True,
            format!("{}/{} is listed at {:.4} on {}", low.provider, low.model, low.usd_per_million, low.date),
        ),
        (None, _) if by < today => {
            (ClaimVerdict::False, "the day has passed and no price of the class was that low".to_owned())
        }
        (None, Some(price)) => {
            let verdict = judge(price, usd);
            let reason = match verdict {
                ClaimVerdict::Supported => "the whole prediction interval is at or below the price",
                ClaimVerdict::Contradicted => "the whole prediction interval is above the price",
                _ => "the price lies within the prediction interval",
            };
            (verdict, reason.to_owned())
        }
        (None, None) => (ClaimVerdict::Untested, fit.err().unwrap_or_default().to_owned()),
    };
    let lowest = series.record_lows.last().cloned();
    let lowest = lowest.ok_or("the class has no price");
    let second = |fit: &Fit| {
        let foreseen = fit.price_at(by);
        let probability = fit.probability_below(by, usd);
        Second { verdict: judge(&foreseen, usd), foreseen, probability, n: fit.n() }
    };
    ClaimTest {
        claim,
        verdict,
        reason,
        probability: fit.map(|fit| fit.probability_below(by, usd)).into(),
        n: series.record_lows.len(),
        reached: fit.map(|fit| day_below(fit, usd)).into(),
        dated_only: dated_only.map(second).into(),
        factor_to_go: lowest.as_ref().map(|low| low.usd_per_million / usd).map_err(|why| *why).into(),
        days_to_go: days(today, by),
        foreseen,
        lowest_so_far: lowest.into(),
    }
}

fn judge(price: &PriceAt, usd: f64) -> ClaimVerdict {
    let [low, high] = price.prediction95;
    if high <= usd {
        ClaimVerdict::Supported
    } else if low > usd {
        ClaimVerdict::Contradicted
    } else {
        ClaimVerdict::Undecided
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::catalog::Catalog;

    const TODAY: Date = date(2026, 11, 23);

    fn verdict(usd: f64, by: Date) -> ClaimTest {
        let catalog = Catalog::bundled();
        let series = super::super::series(&catalog, catalog.class("gpt-4").expect("bundled"), 3.0, TODAY);
        let points: Vec<(Date, f64)> =
            series.record_lows.iter().map(|low| (low.date, low.usd_per_million)).collect();
        let fit = Fit::of(&points).expect("enough points");
        test_claim(Claim { usd_per_million: usd, by }, &series, Ok(&fit), Err("not asked"), TODAY)
    }

    #[test]
    fn a_cent_by_2027_is_contradicted() {
        let found = verdict(0.01, date(2027, 1, 1));
        assert_eq!(found.verdict, ClaimVerdict::Contradicted, "{found:?}");
        assert!(found.probability.is_some_and(|p| p < 0.025));
        assert!((found.factor_to_go.expect("a price") - 15.5).abs() < 1e-9, "{found:?}");
        assert_eq!(found.days_to_go, 39);
    }

    #[test]
    fn what_happened_is_true_and_what_did_not_is_false() {
        assert_eq!(verdict(1.0, date(2025, 6, 1)).verdict, ClaimVerdict::True);
        assert_eq!(verdict(1.0, date(2024, 6, 1)).verdict, ClaimVerdict::False);
    }

    #[test]
    fn far_enough_the_fit_supports_it_and_between_it_does_not_know() {
        assert_eq!(verdict(0.01, date(2035, 1, 1)).verdict, ClaimVerdict::Supported);
        assert_eq!(verdict(0.05, date(2027, 6, 1)).verdict, ClaimVerdict::Undecided);
    }

    #[test]
    fn without_a_fit_it_is_untested() {
        let empty = Series {
            points: Vec::new(),
            record_lows: Vec::new(),
            excluded: super::super::Excluded::default(),
        };
        let claim = Claim { usd_per_million: 0.01, by: date(2027, 1, 1) };
        let found = test_claim(claim, &empty, Err("n = 0"), Err("n = 0"), TODAY);
        assert_eq!(
            (found.verdict, *found.probability, *found.factor_to_go),
            (ClaimVerdict::Untested, None, None)
        );
        assert!(found.probability.reason().is_some() && found.lowest_so_far.reason().is_some());
    }
}
