//! The sensor's answer to the square wave, drawn: figures above, the load that ran below.

use crate::hardware::doctor::Calibration;

/// Columns of the drawing, and rows of its figures.
const COLUMNS: usize = 66;
const ROWS: usize = 8;
/// Periods of the wave that are drawn: enough to see the sensor's phase walk through them.
const PERIODS: usize = 6;

/// One drawing for each kind of power, nothing when no wave ran.
pub(super) fn plots(found: &Calibration) -> String {
    let on = &found.load_on_seconds;
    // From the middle, where the sensor has settled.
    let first = (on.len() / 2).saturating_sub(PERIODS / 2);
    let Some(shown) = on.get(first..(first + PERIODS).min(on.len())).filter(|shown| shown.len() > 1) else {
        return String::new();
    };
    let (from, to) = (shown[0][0], shown[shown.len() - 1][1]);
    let mut kinds: Vec<&str> = found.figures.iter().map(|figure| figure.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut text = String::new();
    for kind in kinds {
        let figures: Vec<(f64, f64)> = found
            .figures
            .iter()
            .filter(|figure| figure.kind == kind)
            .map(|figure| (figure.at_seconds, figure.watts))
            .collect();
        text.push_str(&plot(kind, &figures, shown, from, to));
    }
    text
}

fn plot(kind: &str, figures: &[(f64, f64)], on: &[[f64; 2]], from: f64, to: f64) -> String {
    let width = (to - from) / COLUMNS as f64;
    let middle = |column: usize| from + (column as f64 + 0.5) * width;
    // What the sensor showed at a moment is its latest figure.
    let shown = |at: f64| figures.iter().take_while(|(seen, _)| *seen <= at).last().map(|(_, watts)| *watts);
    let values: Vec<Option<f64>> = (0..COLUMNS).map(|column| shown(middle(column))).collect();
    let known = || values.iter().flatten().copied();
    let (Some(low), Some(high)) = (known().reduce(f64::min), known().reduce(f64::max)) else {
        return String::new();
    };
    let row_of = |watts: f64| {
        let share = if high > low { (watts - low) / (high - low) } else { 0.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and ROWS - 1")]
        let up = (share * (ROWS - 1) as f64).round() as usize;
        ROWS - 1 - up
    };
    let mut rows = vec![format!("  {kind}, figures over {:.1} s of the square wave", to - from)];
    for row in 0..ROWS {
        let label = match row {
            0 => format!("{high:6.0} W"),
            _ if row == ROWS - 1 => format!("{low:6.0} W"),
            _ => String::new(),
        };
        let dots: String =
            values.iter().map(|value| if value.map(row_of) == Some(row) { '•' } else { ' ' }).collect();
        rows.push(format!("{label:>10} │{dots}").trim_end().to_owned());
    }
    let under_load = |at: f64| on.iter().any(|[from, to]| *from <= at && at <= *to);
    let load: String =
        (0..COLUMNS).map(|column| if under_load(middle(column)) { '█' } else { '·' }).collect();
    rows.push(format!("{:>10} │{load}", "load"));
    rows.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_that_follows_draws_the_wave() {
        let on: Vec<[f64; 2]> = (0..6).map(|n| [f64::from(n), f64::from(n) + 0.5]).collect();
        let figures: Vec<(f64, f64)> =
            on.iter().flat_map(|[from, to]| [(*from, 600.0), (*to, 100.0)]).collect();
        let text = plot("instant", &figures, &on, 0.0, 5.5);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 1 + ROWS + 1);
        assert!(rows[1].contains("600 W") && rows[ROWS].contains("100 W"), "{text}");
        // Where the load is on the upper row has the dot, elsewhere the lowest one.
        let cells = |row: usize| rows[row].chars().skip(12).collect::<Vec<char>>();
        let (top, load) = (cells(1), cells(1 + ROWS));
        for (column, cell) in load.iter().enumerate() {
            assert_eq!(top.get(column) == Some(&'•'), *cell == '█', "column {column}\n{text}");
        }
        assert!(rows.iter().all(|row| row.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_frozen_sensor_is_one_flat_row() {
        let text = plot("average", &[(0.0, 70.0)], &[[0.0, 0.5], [1.0, 1.5]], 0.0, 1.5);
        let flat = text.lines().filter(|line| line.contains('•')).count();
        assert_eq!(flat, 1, "{text}");
    }
}
