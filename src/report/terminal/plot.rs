//! A [`LogPlot`] in characters: 80 columns, logarithmic height, points over curve over band.

use crate::report::plot::{LogPlot, Mark, PlotSeries, Scale, amount};

use super::{Page, Style, WIDTH};

/// Rows of the drawing.
const ROWS: usize = 18;
/// Columns of the labels at the side, the axis included.
const SIDE: usize = 10;
const COLUMNS: usize = WIDTH - SIDE - 1;

/// What lies on a place; the later lies on top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ink {
    None,
    Band,
    Today,
    Level,
    Curve,
    Beyond,
    Faint,
    Strong,
    Other,
}

impl Ink {
    const fn sign(self) -> char {
        match self {
            Self::None => ' ',
            Self::Band => '░',
            Self::Today => '┊',
            Self::Level => '╌',
            Self::Curve => '─',
            Self::Beyond => '·',
            Self::Faint => '∘',
            Self::Strong => '●',
            Self::Other => '◆',
        }
    }

    fn draw(self, text: &str, style: Style) -> String {
        match self {
            Self::None | Self::Curve | Self::Beyond => text.to_owned(),
            Self::Band | Self::Today | Self::Faint => style.dim(text),
            Self::Level => style.warn(text),
            Self::Strong => style.strong(text),
            Self::Other => style.good(text),
        }
    }
}

/// The drawing, empty when there is nothing to draw.
pub fn render_plot(plot: &LogPlot, style: Style) -> String {
    let Some(scale) = plot.scale() else { return String::new() };
    let grid = grid(plot, &scale);
    let mut out = Page::default();
    out.line(format_args!("{}", style.strong(&plot.title)));
    out.line(format_args!("{}", style.dim(&format!("{}, logarithmic", plot.y_label))));
    let mut labels = vec![None; ROWS];
    for height in scale.heights() {
        if let Some(row) = row(&scale, height) {
            labels[row] = Some(height);
        }
    }
    for (label, row) in labels.iter().zip(&grid) {
        let text = label.map_or(String::new(), amount);
        let axis = if label.is_some() { '┤' } else { '│' };
        let cells: String = row
            .chunk_by(|a, b| a == b)
            .map(|run| run[0].draw(&run.iter().map(|ink| ink.sign()).collect::<String>(), style))
            .collect();
        out.line(format_args!("{text:>width$} {axis}{cells}", width = SIDE - 2));
    }
    out.line(format_args!("{}", axis(&scale)));
    out.line(format_args!("{}", years(&scale)));
    for entry in legend(plot, &grid) {
        out.line(format_args!(
            "{:SIDE$}{} {}",
            "",
            entry.0.draw(&entry.0.sign().to_string(), style),
            entry.1
        ));
    }
    out.into_text()
}

fn grid(plot: &LogPlot, scale: &Scale) -> Vec<Vec<Ink>> {
    let mut grid = vec![vec![Ink::None; COLUMNS]; ROWS];
    let mut put = |column: Option<usize>, row: Option<usize>, ink: Ink| {
        if let (Some(column), Some(row)) = (column, row) {
            let place: &mut Ink = &mut grid[row][column];
            *place = (*place).max(ink);
        }
    };
    // The curve is known at some days; between two of them its logarithm is straight.
    for pair in plot.curve.windows(2) {
        let (from, to) = (scale.x(pair[0].date), scale.x(pair[1].date));
        for at in 0..COLUMNS {
            let share = (at as f64 / (COLUMNS - 1) as f64 - from) / (to - from);
            if !(0.0..=1.0).contains(&share) {
                continue;
            }
            let height = |a: f64, b: f64| scale.y(a) + (scale.y(b) - scale.y(a)) * share;
            let (low, high) = (height(pair[0].low, pair[1].low), height(pair[0].high, pair[1].high));
            for line in 0..ROWS {
                let middle = (ROWS - 1 - line) as f64 / (ROWS - 1) as f64;
                if (low..=high).contains(&middle) {
                    put(Some(at), Some(line), Ink::Band);
                }
            }
            let beyond = plot.data_end.is_some_and(|end| scale.x(end) < at as f64 / (COLUMNS - 1) as f64);
            let ink = if beyond { Ink::Beyond } else { Ink::Curve };
            put(Some(at), place(height(pair[0].value, pair[1].value), ROWS).map(|up| ROWS - 1 - up), ink);
        }
    }
    if let Some(today) = plot.today {
        (0..ROWS).for_each(|line| put(column(scale.x(today)), Some(line), Ink::Today));
    }
    for (_, value) in &plot.levels {
        (0..COLUMNS).for_each(|at| put(Some(at), row(scale, *value), Ink::Level));
    }
    for series in &plot.series {
        for point in &series.points {
            put(column(scale.x(point.date)), row(scale, point.value), ink(series));
        }
    }
    grid
}

fn ink(series: &PlotSeries) -> Ink {
    match series.mark {
        Mark::Faint => Ink::Faint,
        Mark::Strong => Ink::Strong,
        Mark::Other => Ink::Other,
    }
}

fn row(scale: &Scale, value: f64) -> Option<usize> {
    place(scale.y(value), ROWS).map(|up| ROWS - 1 - up)
}

fn column(share: f64) -> Option<usize> {
    place(share, COLUMNS)
}

/// Which of `count` places a share falls on; `None` off the paper.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and count - 1")]
fn place(share: f64, count: usize) -> Option<usize> {
    (0.0..=1.0).contains(&share).then(|| (share * (count - 1) as f64).round() as usize)
}

/// The axis below, with a tick at each year.
fn axis(scale: &Scale) -> String {
    let mut line: Vec<char> = vec!['─'; COLUMNS];
    for day in scale.years() {
        if let Some(at) = column(scale.x(day)) {
            line[at] = '┬';
        }
    }
    format!("{:>SIDE$}{}", "└", line.iter().collect::<String>())
}

fn years(scale: &Scale) -> String {
    let mut line: Vec<char> = vec![' '; SIDE + COLUMNS];
    let mut free = 0;
    for day in scale.years() {
        let text = day.year().to_string();
        let Some(at) = column(scale.x(day)).map(|at| (at + SIDE).saturating_sub(text.len() / 2)) else {
            continue;
        };
        if at < free || at + text.len() > line.len() {
            continue;
        }
        for (offset, sign) in text.chars().enumerate() {
            line[at + offset] = sign;
        }
        free = at + text.len() + 1;
    }
    line.iter().collect()
}

/// What the symbols in `grid` mean; those that are absent are left out.
fn legend(plot: &LogPlot, grid: &[Vec<Ink>]) -> Vec<(Ink, String)> {
    let drawn = |ink: Ink| grid.iter().flatten().any(|found| *found == ink);
    let mut entries: Vec<(Ink, String)> = plot
        .series
        .iter()
        .rev()
        .filter(|series| !series.points.is_empty())
        .map(|series| (ink(series), series.name.clone()))
        .collect();
    if !plot.curve.is_empty() {
        entries.push((Ink::Curve, plot.curve_label.clone()));
        entries.push((Ink::Beyond, format!("{}, beyond its last point", plot.curve_label)));
        entries.push((Ink::Band, plot.band_label.clone()));
    }
    entries.extend(plot.levels.iter().map(|(name, _)| (Ink::Level, name.clone())));
    entries.extend(plot.today.map(|day| (Ink::Today, format!("today, {day}"))));
    entries.retain(|(ink, _)| drawn(*ink));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plot::tests::falling;

    #[test]
    fn the_drawing_fits_and_falls() {
        let text = render_plot(&falling(), Style::new(false));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        let at = |sign: char| -> Vec<(usize, usize)> {
            let rows = lines.iter().enumerate().skip(2).take(ROWS);
            rows.flat_map(|(row, line)| {
                line.chars()
                    .enumerate()
                    .filter(move |(_, found)| *found == sign)
                    .map(move |(column, _)| (row, column))
            })
            .collect()
        };
        // Three lows, each lower on the paper and further right than the one before.
        let lows = at('●');
        assert_eq!(lows.len(), 3, "{text}");
        assert!(lows.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1), "{text}");
        assert_eq!((at('∘').len(), lows[0].1), (1, SIDE + 1), "{text}");
        assert!(
            !at('░').is_empty() && !at('·').is_empty() && !at('╌').is_empty() && !at('┊').is_empty(),
            "{text}"
        );
        for needle in ["$10 ┤", "$1 ┤", "$0.1 ┤", "2024", "lows", "fit", "95%", "needed", "today, 2027-01-01"]
        {
            assert!(text.contains(needle), "{needle} is not in\n{text}");
        }
    }

    #[test]
    fn without_colours_there_is_no_escape() {
        assert!(!render_plot(&falling(), Style::new(false)).contains('\x1b'));
        let colours = render_plot(&falling(), Style::new(true));
        assert!(colours.contains("\x1b[1m●\x1b[0m"), "{colours}");
    }

    #[test]
    fn nothing_is_drawn_as_nothing() {
        let mut plot = falling();
        plot.series.clear();
        plot.curve.clear();
        plot.levels.clear();
        assert_eq!(render_plot(&plot, Style::new(false)), "");
    }
}
