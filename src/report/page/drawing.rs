//! Draws one series as an inline SVG: its points, the levels between changes, and the changes.

use crate::regress::history::Line;
use crate::regress::store::Point;
use crate::report::escaped;

use super::tone;

const LEFT: f64 = 70.0;
const BOTTOM: f64 = 24.0;

/// The drawing for one range of screen widths: scaled down to a phone, the text of a single drawing would be too small.
struct Sheet {
    class: &'static str,
    width: f64,
    height: f64,
    /// More dots than this would not be distinguishable.
    most_dots: usize,
}

/// The drawing of one series.
pub(super) fn wide(line: &Line, points: &[Point]) -> String {
    chart(line, points, &Sheet { class: "wide", width: 900.0, height: 180.0, most_dots: 1500 })
}

/// The same for a phone.
pub(super) fn narrow(line: &Line, points: &[Point]) -> String {
    chart(line, points, &Sheet { class: "narrow", width: 360.0, height: 200.0, most_dots: 150 })
}

fn chart(line: &Line, points: &[Point], sheet: &Sheet) -> String {
    let Sheet { class, width, height, most_dots } = *sheet;
    let (low, high) = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| {
        (low.min(point.value), high.max(point.value))
    });
    let axis = Axis::new(&line.kind, low, high);
    let room = ((high - low) * 0.08).max(high.abs() * 1e-3).max(f64::MIN_POSITIVE);
    let (low, high) = (low - room, high + room);
    let x = |index: f64| LEFT + (width - LEFT - 10.0) * (index + 0.5) / points.len().max(1) as f64;
    let y = |value: f64| 8.0 + (height - BOTTOM - 8.0) * (high - value) / (high - low);
    let mut svg = format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{} over time\">",
        escaped(&line.metric)
    );
    let mut put = |text: std::fmt::Arguments<'_>| svg.push_str(&text.to_string());
    for value in [low + room, f64::midpoint(low, high), high - room] {
        let at = y(value);
        put(format_args!(
            "<line x1=\"{LEFT}\" x2=\"{width}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--line)\" stroke-width=\".5\"/><text x=\"{:.0}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"end\" fill=\"var(--faint)\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            axis.text(value)
        ));
    }
    let every = points.len().div_ceil(most_dots).max(1);
    put(format_args!("<g fill=\"var(--dot)\">"));
    for (index, point) in points.iter().enumerate().step_by(every) {
        put(format_args!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\"/>", x(index as f64), y(point.value)));
    }
    put(format_args!("</g>"));
    let ends = line.changes.iter().map(|change| change.at).chain([points.len()]);
    let levels = line.changes.first().map(|change| change.before).into_iter();
    let mut begin = 0;
    for (level, end) in levels.chain(line.changes.iter().map(|change| change.after)).zip(ends) {
        let [from, to] = [begin as f64 - 0.5, end as f64 - 0.5].map(x);
        let at = y(level);
        put(format_args!(
            "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--ink)\" stroke-opacity=\".55\" stroke-width=\"1.5\"/>"
        ));
        begin = end;
    }
    for change in &line.changes {
        let at = x(change.at as f64 - 0.5);
        put(format_args!(
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"4\" y2=\"{:.0}\" stroke=\"var(--{})\" stroke-dasharray=\"3 2\"><title>{}</title></line>",
            height - BOTTOM,
            tone(change),
            escaped(&change.to[0])
        ));
    }
    for (anchor, at, moment) in [("start", LEFT, &line.span[0]), ("end", width, &line.span[1])] {
        put(format_args!(
            "<text x=\"{at:.0}\" y=\"{:.0}\" font-size=\"11\" text-anchor=\"{anchor}\" fill=\"var(--faint)\">{}</text>",
            height - 6.0,
            escaped(moment.get(..10).unwrap_or(moment))
        ));
    }
    put(format_args!("</svg>"));
    svg
}

/// The format of the axis labels: one unit, and enough decimals to distinguish them.
struct Axis {
    size: f64,
    unit: &'static str,
    decimals: usize,
}

impl Axis {
    fn new(kind: &str, low: f64, high: f64) -> Self {
        let (size, unit) = if kind == "micro" { time_unit(high) } else { (1.0, "") };
        let step = ((high - low) / 2.0).max(high.abs() * 1e-3).max(f64::MIN_POSITIVE) / size;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 6")]
        let decimals = (1.0 - step.log10().floor()).clamp(0.0, 6.0) as usize;
        Self { size, unit, decimals }
    }

    fn text(&self, value: f64) -> String {
        format!("{:.*}{}", self.decimals, value / self.size, self.unit)
    }
}

fn time_unit(seconds: f64) -> (f64, &'static str) {
    let units = [(1.0, " s"), (1e-3, " ms"), (1e-6, " µs")];
    units.into_iter().find(|(size, _)| seconds.abs() >= *size).unwrap_or((1e-9, " ns"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beside_the_drawing_can_be_told_apart() {
        let axis = |kind, low, high| {
            let axis = Axis::new(kind, low, high);
            [low, f64::midpoint(low, high), high].map(|value| axis.text(value))
        };
        assert_eq!(axis("gate", 0.9749, 1.0480), ["0.975", "1.011", "1.048"]);
        assert_eq!(axis("record", 772.5, 832.4), ["772", "802", "832"]);
        assert_eq!(axis("micro", 4.0e-8, 4.4e-8), ["40.0 ns", "42.0 ns", "44.0 ns"]);
        assert_eq!(axis("record", 5.0, 5.0), ["5.0000", "5.0000", "5.0000"]);
    }
}
