//! A [`LogPlot`] as SVG: one file without scripts, fonts or links, readable on light and on dark ground.
//!
//! Everything that comes from outside goes through `escape`; numbers are written with two decimals. Colours follow the
//! reader's own setting (`prefers-color-scheme`), and no meaning hangs on colour alone: marks differ in shape, lines in dash.

use super::escaped;
use super::plot::{LogPlot, Mark, PlotSeries, Scale, amount};

const WIDTH: f64 = 860.0;
/// Paper left, right, above and below the drawing.
const LEFT: f64 = 88.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 66.0;
const HEIGHT: f64 = 340.0;
const LINE: f64 = 19.0;

const STYLE: &str = "\
svg{color-scheme:light dark;--paper:#ffffff;--ink:#1b1f24;--soft:#59636e;--grid:#d8dee4;--strong:#0550ae;--band:#0969da;--other:#953800;--level:#9a6700}\
@media(prefers-color-scheme:dark){svg{--paper:#0d1117;--ink:#e6edf3;--soft:#9198a1;--grid:#2b3138;--strong:#79c0ff;--band:#4493f8;--other:#ffa657;--level:#d29922}}\
text{font:13px system-ui,sans-serif;fill:var(--ink)}\
.title{font-size:17px;font-weight:600}.soft{fill:var(--soft);font-size:12px}\
.paper{fill:var(--paper)}.grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--soft);stroke-width:1}\
.band{fill:var(--band);fill-opacity:.16;stroke:none}.curve{fill:none;stroke:var(--strong);stroke-width:2}.beyond{stroke-dasharray:3 5}\
.level{stroke:var(--level);stroke-width:1.5;stroke-dasharray:8 4}.today{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}\
.faint{fill:none;stroke:var(--soft);stroke-width:1.2}.strong{fill:var(--strong)}.other{fill:var(--other)}";

/// The drawing as a file's text; with nothing to draw, the title alone.
pub fn render(plot: &LogPlot) -> String {
    let entries = legend(plot);
    let total = TOP + HEIGHT + 62.0 + LINE * entries.len() as f64;
    let mut out = Paper::default();
    out.push(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {total}\" width=\"{WIDTH}\" height=\"{total}\" role=\"img\" aria-labelledby=\"title desc\">"
    ));
    out.push(&format!("<title id=\"title\">{}</title>", escaped(&plot.title)));
    out.push(&format!("<desc id=\"desc\">{}; {}</desc>", escaped(&plot.y_label), escaped(&plot.subtitle)));
    out.push(&format!("<style>{STYLE}</style>"));
    out.push(&format!("<rect class=\"paper\" width=\"{WIDTH}\" height=\"{total}\"/>"));
    out.text(LEFT, 28.0, "title", "start", &plot.title);
    out.text(LEFT, 48.0, "soft", "start", &plot.subtitle);
    if let Some(scale) = plot.scale() {
        draw(&mut out, plot, &scale);
    }
    for (index, (class, shape, text)) in entries.iter().enumerate() {
        let y = TOP + HEIGHT + 66.0 + LINE * index as f64;
        out.push(&shape_at(shape, class, LEFT + 12.0, y - 4.5, None));
        out.text(LEFT + 32.0, y, "", "start", text);
    }
    out.push("</svg>");
    out.0
}

fn draw(out: &mut Paper, plot: &LogPlot, scale: &Scale) {
    let width = WIDTH - LEFT - RIGHT;
    let x = |day| LEFT + width * scale.x(day);
    // The band may leave the paper; a bound keeps its coordinates finite.
    let y = |value: f64| TOP + HEIGHT * (1.0 - scale.y(value).clamp(-3.0, 4.0));
    let bottom = TOP + HEIGHT;
    out.push(&format!(
        "<clipPath id=\"inside\"><rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{HEIGHT}\"/></clipPath>"
    ));
    for height in scale.heights() {
        let at = y(height);
        out.push(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.2}\" y1=\"{at:.2}\" y2=\"{at:.2}\"/>",
            LEFT + width
        ));
        out.text(LEFT - 8.0, at + 4.5, "", "end", &amount(height));
    }
    for day in scale.years() {
        let at = x(day);
        out.push(&format!(
            "<line class=\"grid\" x1=\"{at:.2}\" x2=\"{at:.2}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
        ));
        out.text(at, bottom + 18.0, "", "middle", &day.year().to_string());
    }
    out.push(&format!(
        "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {TOP}V{bottom}H{:.2}\"/>",
        LEFT + width
    ));
    out.text(LEFT + width / 2.0, bottom + 38.0, "soft", "middle", "date (a year begins at its line)");
    out.push(&format!(
        "<text class=\"soft\" text-anchor=\"middle\" transform=\"translate(20 {:.2}) rotate(-90)\">{}</text>",
        TOP + HEIGHT / 2.0,
        escaped(&format!("{}, logarithmic", plot.y_label))
    ));
    out.push("<g clip-path=\"url(#inside)\">");
    if !plot.curve.is_empty() {
        let upper = plot.curve.iter().map(|place| (x(place.date), y(place.high)));
        let lower = plot.curve.iter().rev().map(|place| (x(place.date), y(place.low)));
        out.push(&format!("<path class=\"band\" d=\"{}Z\"/>", path(upper.chain(lower))));
        let end = plot.data_end;
        let within = plot.curve.iter().filter(|place| end.is_none_or(|end| place.date <= end));
        // The continued part begins where the other ends.
        let last = within.clone().next_back().map(|place| place.date);
        let beyond = plot.curve.iter().filter(|place| last.is_none_or(|last| place.date >= last));
        out.push(&format!(
            "<path class=\"curve\" d=\"{}\"/>",
            path(within.map(|place| (x(place.date), y(place.value))))
        ));
        out.push(&format!(
            "<path class=\"curve beyond\" d=\"{}\"/>",
            path(beyond.map(|place| (x(place.date), y(place.value))))
        ));
    }
    if let Some(today) = plot.today {
        let at = x(today);
        out.push(&format!(
            "<line class=\"today\" x1=\"{at:.2}\" x2=\"{at:.2}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
        ));
    }
    for (_, value) in &plot.levels {
        let at = y(*value);
        out.push(&format!(
            "<line class=\"level\" x1=\"{LEFT}\" x2=\"{:.2}\" y1=\"{at:.2}\" y2=\"{at:.2}\"/>",
            LEFT + width
        ));
    }
    for series in &plot.series {
        let (class, shape) = look(series);
        for point in &series.points {
            out.push(&shape_at(shape, class, x(point.date), y(point.value), Some(&point.label)));
        }
    }
    out.push("</g>");
}

/// `M x y L x y …`; of nothing a place without extent.
fn path(places: impl Iterator<Item = (f64, f64)>) -> String {
    let mut text = String::from("M");
    for (index, (x, y)) in places.enumerate() {
        let place = format!("{x:.2} {y:.2}");
        text.push_str(if index == 0 { "" } else { "L" });
        text.push_str(&place);
    }
    if text.len() == 1 { "M0 0".to_owned() } else { text }
}

fn look(series: &PlotSeries) -> (&'static str, &'static str) {
    match series.mark {
        Mark::Faint => ("faint", "ring"),
        Mark::Strong => ("strong", "disc"),
        Mark::Other => ("other", "diamond"),
    }
}

fn shape_at(shape: &str, class: &str, x: f64, y: f64, label: Option<&str>) -> String {
    let title = label.map_or(String::new(), |label| format!("<title>{}</title>", escaped(label)));
    match shape {
        "ring" => format!("<circle class=\"{class}\" cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"3\">{title}</circle>"),
        "disc" => format!("<circle class=\"{class}\" cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"5\">{title}</circle>"),
        "diamond" => format!(
            "<path class=\"{class}\" d=\"M{x:.2} {:.2}L{:.2} {y:.2}L{x:.2} {:.2}L{:.2} {y:.2}Z\">{title}</path>",
            y - 6.5,
            x + 6.5,
            y + 6.5,
            x - 6.5
        ),
        "patch" => format!(
            "<rect class=\"{class}\" x=\"{:.2}\" y=\"{:.2}\" width=\"24\" height=\"10\"/>",
            x - 12.0,
            y - 5.0
        ),
        _ => format!("<path class=\"{class}\" d=\"M{:.2} {y:.2}h24\"/>", x - 12.0),
    }
}

/// Class, shape and words of each entry.
fn legend(plot: &LogPlot) -> Vec<(&'static str, &'static str, String)> {
    let series = plot.series.iter().rev().filter(|series| !series.points.is_empty());
    let mut entries: Vec<_> =
        series.map(|series| (look(series).0, look(series).1, series.name.clone())).collect();
    if !plot.curve.is_empty() {
        let last = plot.data_end;
        let beyond = last.is_some_and(|last| plot.curve.iter().any(|place| place.date > last));
        let dotted = if beyond { "; dotted past the last point" } else { "" };
        entries.push(("curve", "line", format!("{}{dotted}", plot.curve_label)));
        entries.push(("band", "patch", plot.band_label.clone()));
    }
    entries.extend(plot.levels.iter().map(|(name, _)| ("level", "line", name.clone())));
    entries.extend(plot.today.map(|day| ("today", "line", format!("today, {day}"))));
    entries
}

#[derive(Debug, Default)]
struct Paper(String);

impl Paper {
    fn push(&mut self, element: &str) {
        self.0.push_str(element);
        self.0.push('\n');
    }

    fn text(&mut self, x: f64, y: f64, class: &str, anchor: &str, text: &str) {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        self.push(&format!(
            "<text{class} x=\"{x:.2}\" y=\"{y:.2}\" text-anchor=\"{anchor}\">{}</text>",
            escaped(text)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plot::tests::falling;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert_eq!(escaped("a<b>&\"c'\u{1}\n"), "a&lt;b&gt;&amp;&quot;c&#39;\u{fffd} ");
        let text = render(&falling());
        assert!(
            text.contains("prices &lt;of&gt; &quot;A &amp; B&quot;")
                && text.contains("<title>a&lt;b</title>")
        );
        assert!(!text.contains("<of>") && !text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn every_element_is_closed() {
        let text = render(&falling());
        let mut open = Vec::new();
        for tag in text.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "{tag}");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn the_lows_are_discs_that_fall_to_the_right() {
        let text = render(&falling());
        let number = |line: &str, name: &str| -> f64 {
            let rest = line.split(&format!("{name}=\"")).nth(1).unwrap_or_default();
            rest.split('"').next().unwrap_or_default().parse().expect("a number")
        };
        let discs: Vec<(f64, f64)> = text
            .lines()
            .filter(|line| line.starts_with("<circle class=\"strong\"") && line.contains("<title>"))
            .map(|line| (number(line, "cx"), number(line, "cy")))
            .collect();
        assert_eq!(discs.len(), 3);
        // Equal steps of ten in equal steps of two years: the middle one is half way.
        assert!((discs[1].1 - f64::midpoint(discs[0].1, discs[2].1)).abs() < 0.02, "{discs:?}");
        assert!(discs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1), "{discs:?}");
    }

    #[test]
    fn a_band_beyond_all_bounds_keeps_finite_coordinates() {
        let mut plot = falling();
        for place in &mut plot.curve {
            (place.low, place.high) = (0.0, f64::INFINITY);
        }
        let text = render(&plot);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }
}
