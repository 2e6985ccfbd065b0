//! The price curve of a class of models: what the cheapest one above a threshold cost, how fast that falls, and when
//! it gets below a price.
//!
//! Owns the statistics of dated prices and nothing of a record: a price curve is not a cost curve, since margins and subsidies
//! move too, so a machine's own cost is compared with it and never put into it. Formulas and pitfalls are in docs/forecast.md.

mod checks;
mod claim;
mod fit;
mod forecast;
mod own;
mod points;
mod use_case;
mod when;

pub use checks::{HeldOut, Milestone, held_out, milestone};
pub use claim::{Claim, ClaimTest, ClaimVerdict, Second, test_claim};
pub use fit::{Estimate, FEWEST, Fit, FitFigures, PriceAt, RobustFigures};
pub use forecast::{Ask, Forecast, UseCaseForecast, forecast};
pub use own::{IMPORTED, Own};
pub use points::{Excluded, Point, Series, blended, dated_only, series};
pub use use_case::{
    Basis, BasisKind, ByRate, Limit, Standing, UseCase, api_basis, cheapest_basis, limit, needed_price,
    standing,
};
pub use when::{DayInterval, day_below};

/// Confidence of every interval here.
pub const CONFIDENCE: f64 = 0.95;

/// Days of a year, for all rates.
const DAYS_PER_YEAR: f64 = 365.25;
