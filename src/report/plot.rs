//! A drawing before it is drawn: dated values on a logarithmic height, a curve with its band, and levels.
//!
//! The terminal and the SVG draw the same [`LogPlot`]; what is where on the paper is computed here, once.

use jiff::civil::{Date, date};

/// Share of the width that is left free on either side, so that a mark on the first day is whole.
const AIR: f64 = 0.02;

/// Dated values on a logarithmic height.
#[derive(Debug, Clone, PartialEq)]
pub struct LogPlot {
    /// What it shows.
    pub title: String,
    /// Text under the title: assumptions, counts.
    pub subtitle: String,
    /// What the height is, with its unit.
    pub y_label: String,
    /// Points, the last series on top.
    pub series: Vec<PlotSeries>,
    /// A curve with its band, in order of days.
    pub curve: Vec<CurvePoint>,
    /// The day after which the curve is continued beyond the data.
    pub data_end: Option<Date>,
    /// What the curve is.
    pub curve_label: String,
    /// What the band is.
    pub band_label: String,
    /// Heights drawn across.
    pub levels: Vec<(String, f64)>,
    /// A day drawn upright.
    pub today: Option<Date>,
}

/// Points of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotSeries {
    /// What they are.
    pub name: String,
    /// How they look.
    pub mark: Mark,
    /// Each with what to say about it.
    pub points: Vec<PlotPoint>,
}

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotPoint {
    /// When.
    pub date: Date,
    /// How high, above zero.
    pub value: f64,
    /// What it is.
    pub label: String,
}

/// The look of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// In the background.
    Faint,
    /// What the curve goes through.
    Strong,
    /// Something of another kind.
    Other,
}

/// A place of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// When.
    pub date: Date,
    /// The curve.
    pub value: f64,
    /// Lower edge of the band.
    pub low: f64,
    /// Upper edge of the band.
    pub high: f64,
}

/// Where things are: shares of the width from the left and of the height from below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    from: Date,
    days: f64,
    low: f64,
    span: f64,
}

impl LogPlot {
    /// The scale that holds every point, level and the curve; the band may leave it. `None` when there is nothing.
    pub fn scale(&self) -> Option<Scale> {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let days = || {
            points()
                .map(|point| point.date)
                .chain(self.curve.iter().map(|place| place.date))
                .chain(self.today)
        };
        let values = points()
            .map(|point| point.value)
            .chain(self.curve.iter().map(|place| place.value))
            .chain(self.levels.iter().map(|(_, value)| *value))
            .filter(|value| *value > 0.0 && value.is_finite());
        let (from, to) = (days().min()?, days().max()?);
        let (mut low, mut high) = (f64::INFINITY, 0f64);
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            return None;
        }
        // Air above and below, and a decade at least, so that a level curve is not all height.
        let (mut low, mut high) = ((low / 1.4).ln(), (high * 1.4).ln());
        let short = (10f64.ln() - (high - low)).max(0.0) / 2.0;
        low -= short;
        high += short;
        Some(Scale { from, days: between(from, to).max(1.0), low, span: high - low })
    }
}

impl Scale {
    /// Share of the width at which a day is.
    pub fn x(&self, day: Date) -> f64 {
        AIR + (1.0 - 2.0 * AIR) * between(self.from, day) / self.days
    }

    /// Share of the height at which a value is; outside 0 to 1 it is off the paper.
    pub fn y(&self, value: f64) -> f64 {
        (value.ln() - self.low) / self.span
    }

    /// Heights to write at the side: powers of ten, with 2 and 5 between when there are few of them.
    pub fn heights(&self) -> Vec<f64> {
        let steps: &[f64] = if self.span > 3.0 * 10f64.ln() { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let (low, high) = (self.low / 10f64.ln(), (self.low + self.span) / 10f64.ln());
        #[allow(clippy::cast_possible_truncation, reason = "logarithms of an f64")]
        let decades = (low.floor() as i32)..=(high.ceil() as i32);
        #[allow(clippy::cast_possible_truncation, reason = "logarithms of an f64")]
        let each = ((high - low) / 8.0).ceil().max(1.0) as i32;
        let decades = decades.filter(move |decade| decade % each == 0);
        let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
        all.filter(|value| (0.0..=1.0).contains(&self.y(*value))).collect()
    }

    /// Days to write below: first days of years, every second, fifth … one when there are many.
    pub fn years(&self) -> Vec<Date> {
        #[allow(clippy::cast_possible_truncation, reason = "at most 9999 years")]
        let count = (self.days / 365.25) as i16;
        let step = [1, 2, 5, 10, 50, 100, 500].into_iter().find(|step| count / step <= 12).unwrap_or(1000);
        let first = self.from.year();
        (first..=first.saturating_add(count).saturating_add(1))
            .filter(|year| year % step == 0)
            .filter(|year| (-9999..=9999).contains(year))
            .map(|year| date(year, 1, 1))
            .filter(|day| (0.0..=1.0).contains(&self.x(*day)))
            .collect()
    }
}

/// An amount at the side: plain, or with an exponent where plain would not fit.
pub(super) fn amount(value: f64) -> String {
    if (1e-4..1e5).contains(&value) { format!("${value}") } else { format!("${value:e}") }
}

fn between(from: Date, to: Date) -> f64 {
    to.duration_since(from).as_hours() as f64 / 24.0
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Prices that fall from 10 to 0.1 in four years.
    pub(crate) fn falling() -> LogPlot {
        let day = |year| date(year, 1, 1);
        let point = |year: i16, value: f64, label: &str| PlotPoint {
            date: day(year),
            value,
            label: label.to_owned(),
        };
        LogPlot {
            title: "prices <of> \"A & B\"".to_owned(),
            subtitle: "n = 3".to_owned(),
            y_label: "USD per million tokens".to_owned(),
            series: vec![
                PlotSeries {
                    name: "all".to_owned(),
                    mark: Mark::Faint,
                    points: vec![point(2023, 5.0, "dear")],
                },
                PlotSeries {
                    name: "lows".to_owned(),
                    mark: Mark::Strong,
                    points: vec![point(2022, 10.0, "a<b"), point(2024, 1.0, "b"), point(2026, 0.1, "c")],
                },
            ],
            curve: (2022..=2028)
                .map(|year| {
                    let value = 10f64.powf(f64::from(2024 - year) / 2.0);
                    CurvePoint { date: day(year), value, low: value / 2.0, high: value * 2.0 }
                })
                .collect(),
            data_end: Some(day(2026)),
            curve_label: "fit".to_owned(),
            band_label: "95%".to_owned(),
            levels: vec![("needed".to_owned(), 0.05)],
            today: Some(day(2027)),
        }
    }

    #[test]
    fn powers_of_ten_are_equally_far_apart() {
        let scale = falling().scale().expect("points");
        let steps: Vec<f64> =
            [10.0, 1.0, 0.1].windows(2).map(|pair| scale.y(pair[0]) - scale.y(pair[1])).collect();
        assert!((steps[0] - steps[1]).abs() < 1e-12 && steps[0] > 0.0);
        assert_eq!(scale.heights(), [0.01, 0.1, 1.0, 10.0]);
        assert_eq!(scale.years().len(), 7);
        assert!((scale.x(date(2022, 1, 1)) - AIR).abs() < 1e-12);
        assert!((scale.x(date(2028, 1, 1)) + AIR - 1.0).abs() < 1e-12);
    }

    #[test]
    fn one_level_price_still_has_a_scale() {
        let mut plot = falling();
        plot.curve.clear();
        plot.levels.clear();
        plot.today = None;
        plot.series.truncate(1);
        let scale = plot.scale().expect("a point");
        assert!((scale.y(5.0) - 0.5).abs() < 1e-9 && scale.heights().len() >= 3);
        plot.series.clear();
        assert_eq!(plot.scale(), None);
    }

    #[test]
    fn forty_decades_leave_room_between_the_labels() {
        let mut plot = falling();
        plot.levels = vec![("tiny".to_owned(), 1e-20), ("huge".to_owned(), 1e20)];
        let heights = plot.scale().expect("points").heights();
        assert!((4..=9).contains(&heights.len()), "{heights:?}");
        assert!(heights.iter().all(|height| amount(*height).len() <= 8), "{heights:?}");
        assert_eq!((amount(0.01).as_str(), amount(1e-20).as_str()), ("$0.01", "$1e-20"));
    }

    #[test]
    fn centuries_do_not_fill_the_line() {
        let mut plot = falling();
        plot.today = Some(date(4000, 1, 1));
        let years = plot.scale().expect("points").years();
        assert!((4..=13).contains(&years.len()), "{}", years.len());
    }
}
