//! A straight line fitted by ordinary least squares, with the intervals that follow from its residuals.
//!
//! The textbook model: residuals are normal, independent and of equal variance (Draper and Smith, Applied Regression
//! Analysis, chapters 1 and 3). Checking these assumptions is up to the caller.

use statrs::distribution::{ChiSquared, ContinuousCDF, StudentsT};

use super::interval::Interval;

/// A fitted line `y = intercept + slope · x`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Value at `x = 0`.
    pub intercept: f64,
    /// Rise per unit of `x`.
    pub slope: f64,
    /// Standard deviation of the residuals, with n − 2 degrees of freedom.
    pub residual_sd: f64,
    /// Share of the variance of `y` that the line explains; 1 if `y` does not vary.
    pub r_squared: f64,
    /// Number of points.
    pub n: usize,
    mean_x: f64,
    /// Sum of squared deviations of `x`.
    spread_x: f64,
}

/// What an interval is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Band {
    /// The line itself: a confidence interval of the mean.
    Confidence,
    /// One further point: a prediction interval, the line's uncertainty plus that point's own scatter.
    Prediction,
}

/// Where a band crosses a height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crossing {
    /// Between these two finite values.
    Between(Interval),
    /// From this value on, unbounded above: the slope may be zero.
    From(f64),
    /// Up to this value, unbounded below.
    Until(f64),
    /// No value is excluded.
    Anywhere,
}

impl Line {
    /// The line through `points`; `None` for fewer than three points, if all share one `x`, or if one is not finite.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let n = points.len();
        if n < 3 || points.iter().any(|(x, y)| !x.is_finite() || !y.is_finite()) {
            return None;
        }
        let count = n as f64;
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let spread_x: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        if spread_x <= 0.0 {
            return None;
        }
        let together: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
        let slope = together / spread_x;
        let intercept = mean_y - slope * mean_x;
        let residuals: f64 = points.iter().map(|(x, y)| (y - intercept - slope * x).powi(2)).sum();
        let spread_y: f64 = points.iter().map(|(_, y)| (y - mean_y).powi(2)).sum();
        let r_squared = if spread_y > 0.0 { 1.0 - residuals / spread_y } else { 1.0 };
        let residual_sd = (residuals / (count - 2.0)).sqrt();
        Some(Self { intercept, slope, residual_sd, r_squared, n, mean_x, spread_x })
    }

    /// Value of the line at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }

    /// Standard error of the slope.
    pub fn slope_error(&self) -> f64 {
        self.residual_sd / self.spread_x.sqrt()
    }

    /// Student's t interval of the slope.
    pub fn slope_interval(&self, confidence: f64) -> Interval {
        let half = self.t(confidence) * self.slope_error();
        Interval { low: self.slope - half, high: self.slope + half }
    }

    /// The interval of the residuals' standard deviation, by the chi-squared distribution of its square.
    pub fn residual_sd_interval(&self, confidence: f64) -> Interval {
        let end = |share: f64| {
            let quantile = ChiSquared::new(self.freedom()).map_or(f64::NAN, |chi| chi.inverse_cdf(share));
            self.residual_sd * (self.freedom() / quantile).sqrt()
        };
        Interval { low: end(0.5 + confidence / 2.0), high: end(0.5 - confidence / 2.0) }
    }

    /// The interval about the line, or about one further point, at `x`.
    pub fn interval(&self, x: f64, band: Band, confidence: f64) -> Interval {
        let half = self.t(confidence) * self.error(x, band);
        Interval { low: self.at(x) - half, high: self.at(x) + half }
    }

    /// Probability that one further point at `x` lies at `y` or below.
    pub fn probability_below(&self, x: f64, y: f64) -> f64 {
        let error = self.error(x, Band::Prediction);
        if error <= 0.0 {
            return if y >= self.at(x) { 1.0 } else { 0.0 };
        }
        StudentsT::new(0.0, 1.0, self.freedom()).map_or(f64::NAN, |t| t.cdf((y - self.at(x)) / error))
    }

    /// Where the line reaches `y`; `None` if it is horizontal.
    pub fn solve(&self, y: f64) -> Option<f64> {
        let x = (y - self.intercept) / self.slope;
        x.is_finite().then_some(x)
    }

    /// Every `x` whose band contains `height` (Fieller 1954; Draper and Smith, section 3.2).
    ///
    /// With `u = x − mean`, `d = mean y − height` and `q = (t · sd)²` the band contains `height` where
    /// `(slope² − q/spread) u² + 2 slope d u + d² − q (k + 1/n) ≤ 0`, `k` being 1 for a further point and 0 for the line.
    /// If the slope's interval contains zero, the first coefficient is not positive and the set is unbounded on one side.
    pub fn crossing(&self, height: f64, band: Band, confidence: f64) -> Crossing {
        let scatter = (self.t(confidence) * self.residual_sd).powi(2);
        let above = self.at(self.mean_x) - height;
        let further = if band == Band::Prediction { 1.0 } else { 0.0 };
        let (square, half_linear) = (self.slope.powi(2) - scatter / self.spread_x, self.slope * above);
        let constant = above.powi(2) - scatter * (further + 1.0 / self.n as f64);
        let discriminant = half_linear.powi(2) - square * constant;
        let Some(centre) = self.solve(height) else { return Crossing::Anywhere };
        if discriminant < 0.0 || square.abs() < f64::EPSILON * self.slope.powi(2) {
            return Crossing::Anywhere;
        }
        let root = |sign: f64| self.mean_x + (sign * discriminant.sqrt() - half_linear) / square;
        let (first, second) = (root(-1.0).min(root(1.0)), root(-1.0).max(root(1.0)));
        if square > 0.0 {
            Crossing::Between(Interval { low: first, high: second })
        } else if centre >= second {
            Crossing::From(second)
        } else {
            Crossing::Until(first)
        }
    }

    fn freedom(&self) -> f64 {
        self.n as f64 - 2.0
    }

    fn t(&self, confidence: f64) -> f64 {
        StudentsT::new(0.0, 1.0, self.freedom()).map_or(f64::NAN, |t| t.inverse_cdf(0.5 + confidence / 2.0))
    }

    fn error(&self, x: f64, band: Band) -> f64 {
        let further = if band == Band::Prediction { 1.0 } else { 0.0 };
        let away = (x - self.mean_x).powi(2) / self.spread_x;
        self.residual_sd * (further + 1.0 / self.n as f64 + away).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINTS: [(f64, f64); 6] =
        [(0.0, 3.6), (0.65, 2.7), (1.17, 2.0), (1.4, 1.1), (2.3, 0.4), (3.1, -1.2)];

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    fn ends(found: Interval, low: f64, high: f64) {
        near(found.low, low);
        near(found.high, high);
    }

    /// scipy 1.16: `stats.linregress`, and `stats.t.ppf` put into the formulas of the book.
    #[test]
    fn agrees_with_scipy() {
        let line = Line::fit(&POINTS).expect("six points");
        near(line.slope, -1.519_040_527_603_446_4);
        near(line.intercept, 3.615_688_224_656_951_3);
        near(line.slope_error(), 0.104_078_838_767_842_06);
        near(line.r_squared, 0.981_568_246_807_285_6);
        near(line.residual_sd, 0.260_557_653_747_682_4);
        ends(line.slope_interval(0.95), -1.808_009_710_055_091_8, -1.230_071_345_151_801);
        ends(line.residual_sd_interval(0.95), 0.156_108_725_015_275_5, 0.748_726_913_928_854_6);
        ends(line.interval(4.0, Band::Confidence, 0.95), -3.257_904_925_906_929_3, -1.663_042_845_606_739_7);
        ends(line.interval(4.0, Band::Prediction, 0.95), -3.537_153_308_768_269_6, -1.383_794_462_745_399_5);
        near(line.probability_below(4.0, -2.0), 0.849_623_607_705_525_9);
    }

    /// The roots of Fieller's quadratic by `numpy.roots`.
    #[test]
    fn a_band_crosses_a_height_where_numpy_says() {
        let line = Line::fit(&POINTS).expect("six points");
        let between = |band| match line.crossing(-2.0, band, 0.95) {
            Crossing::Between(found) => found,
            other => panic!("{other:?}"),
        };
        ends(between(Band::Prediction), 3.093_581_189_429_137_6, 4.469_875_510_935_09);
        ends(between(Band::Confidence), 3.293_641_566_812_779, 4.269_815_133_551_448_5);
        near(line.solve(-2.0).expect("a falling line"), 5.615_688_224_656_951 / 1.519_040_527_603_446_4);
    }

    /// At both ends of the crossing the band's edge is at the height: the inverse is the inverse.
    #[test]
    fn the_ends_of_a_crossing_lie_on_the_band() {
        let line = Line::fit(&POINTS).expect("six points");
        for band in [Band::Confidence, Band::Prediction] {
            for height in [-4.0, -2.0, 0.5, 3.0] {
                let Crossing::Between(found) = line.crossing(height, band, 0.9) else { panic!("{height}") };
                near(line.interval(found.low, band, 0.9).low, height);
                near(line.interval(found.high, band, 0.9).high, height);
            }
        }
    }

    #[test]
    fn a_slope_that_may_be_zero_gives_no_last_day() {
        let line = Line::fit(&[(0.0, 1.0), (1.0, 0.2), (2.0, 1.1), (3.0, 0.3)]).expect("four points");
        assert!(line.slope_interval(0.95).contains(0.0));
        match line.crossing(-3.0, Band::Prediction, 0.95) {
            Crossing::From(first) => near(first, 3.626_186_597_184_662_3),
            other => panic!("{other:?}"),
        }
        assert_eq!(line.crossing(0.6, Band::Prediction, 0.95), Crossing::Anywhere);
    }

    #[test]
    fn two_points_or_one_day_are_no_line() {
        assert_eq!(Line::fit(&POINTS[..2]), None);
        assert_eq!(Line::fit(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        assert_eq!(Line::fit(&[(1.0, 1.0), (2.0, f64::NAN), (3.0, 3.0)]), None);
    }

    #[test]
    fn points_on_a_line_leave_no_doubt() {
        let line = Line::fit(&[(0.0, 2.0), (1.0, 1.0), (2.0, 0.0), (3.0, -1.0)]).expect("four points");
        near(line.residual_sd, 0.0);
        near(line.probability_below(5.0, -2.9), 1.0);
        near(line.probability_below(5.0, -3.1), 0.0);
        let Crossing::Between(found) = line.crossing(-2.0, Band::Prediction, 0.95) else { panic!("a line") };
        ends(found, 4.0, 4.0);
    }
}
