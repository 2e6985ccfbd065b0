//! The checks for people: one line per fact, with the command that fixes a problem; the sensor as a table.

use crate::base::known::Known;
use crate::base::units::{Seconds, significant};
use crate::hardware::doctor::{Calibration, Examination, Line, Status};
use crate::report::terminal::{Style, WIDTH};

use super::plot;

/// Column of what was found: status and the longest name stand before it.
const FOUND: usize = 25;

pub(super) fn lines(lines: &[Line], style: Style) -> String {
    let mut page = String::new();
    let mut area = None;
    for line in lines {
        if area != Some(line.area) {
            area = Some(line.area);
            page.push_str(&style.strong(line.area.name()));
            page.push('\n');
        }
        // Padded before it is coloured: escape sequences have no width.
        let status = coloured(line.status, &format!("{:<4}", line.status.name()), style);
        let head = format!("  {status}  {:<1$}", line.name, FOUND - 8);
        page.push_str(&wrapped(&head, FOUND, &line.found));
        if let Some(fix) = &line.fix {
            let head = format!("{:FOUND$}{} ", "", style.dim("fix:"));
            page.push_str(&wrapped(&head, FOUND + 5, fix));
        }
    }
    page
}

fn coloured(status: Status, text: &str, style: Style) -> String {
    match status {
        Status::Ok => style.good(text),
        Status::Warn => style.warn(text),
        Status::Fail => style.bad(text),
    }
}

/// `words` after `head`, which is `indent` columns wide, broken where a line would pass 80 columns.
fn wrapped(head: &str, indent: usize, words: &str) -> String {
    let mut text = head.to_owned();
    let mut column = indent;
    for (at, word) in words.split_whitespace().enumerate() {
        let width = word.chars().count();
        if at > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(indent));
            column = indent;
        } else if at > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
    text
}

/// How many lines are how good.
pub(super) fn verdict(lines: &[Line], style: Style) -> String {
    let count = |status: Status| lines.iter().filter(|line| line.status == status).count();
    let of = |status: Status| {
        let text = format!("{} {}", count(status), status.name());
        if count(status) == 0 { style.dim(&text) } else { coloured(status, &text, style) }
    };
    format!("{}, {}, {}\n", of(Status::Ok), of(Status::Warn), of(Status::Fail))
}

/// The sensor's table and plot; nothing when it was not asked for.
pub(super) fn calibration(examination: &Examination, style: Style) -> String {
    let Some(found) = &examination.calibration else {
        return match &examination.calibration_reason {
            Some(reason) => format!("{}\n  not measured: {reason}\n", style.strong("power sensor")),
            None => String::new(),
        };
    };
    let mut text =
        format!("{} {} {} ({})\n", style.strong("power sensor"), found.source, found.device, found.scope);
    for (name, value) in rows(found) {
        text.push_str(&wrapped(&format!("  {name:<30}"), 32, &value));
    }
    text.push_str(&plot::plots(found));
    text
}

fn rows(found: &Calibration) -> Vec<(String, String)> {
    let unknown =
        |reason: Option<&str>| reason.map_or("unknown".to_owned(), |reason| format!("unknown: {reason}"));
    let seconds = |seconds: f64| Seconds::new(seconds).to_string();
    let time = |time: &Known<f64>| time.map_or_else(|| unknown(time.reason()), seconds);
    let sensor = &found.sensor;
    let mut rows =
        vec![("polled every".to_owned(), sensor.poll_seconds.map_or_else(|| unknown(None), seconds))];
    match &*sensor.counter {
        Some(counter) => {
            rows.push(("counter: period".to_owned(), seconds(counter.period_seconds)));
            rows.push(("counter: step".to_owned(), format!("{} J", significant(counter.step_joules, 3))));
            rows.push(("counter: shortest window".to_owned(), time(&counter.shortest_window_seconds)));
        }
        None => rows.push(("counter".to_owned(), unknown(sensor.counter.reason()))),
    }
    for power in &sensor.power {
        let name = |what: &str| format!("power, {}: {what}", power.kind);
        rows.push((name("period"), time(&power.period_seconds)));
        rows.push((name("window"), time(&power.window_seconds)));
        if let Some(lag) = *power.lag_seconds {
            rows.push((name("lag"), seconds(lag)));
        }
    }
    if let Some(reason) = &found.no_load {
        rows.push(("load".to_owned(), format!("none: {reason}")));
    }
    match &*found.kept_in {
        Some(path) => rows.push(("kept for bench run in".to_owned(), path.display().to_string())),
        None => rows.push(("kept for bench run".to_owned(), unknown(found.kept_in.reason()))),
    }
    for failure in &found.failures {
        rows.push(("failed readings".to_owned(), failure.clone()));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::doctor::Area;

    #[test]
    fn every_line_fits_and_the_command_stands_under_it() {
        let long = "a ".repeat(60);
        let page = lines(
            &[
                Line::ok(Area::System, "clock", "tsc"),
                Line::ok(Area::Memory, "swap", long.trim()).warn("sudo swapoff -a"),
            ],
            Style::new(false),
        );
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        assert!(
            page.starts_with("system\n  ok    clock            tsc\nmemory\n  warn  swap             a a"),
            "{page}"
        );
        assert!(page.ends_with("                         fix: sudo swapoff -a\n"), "{page}");
    }

    #[test]
    fn the_verdict_counts() {
        let lines = [Line::ok(Area::System, "a", ""), Line::ok(Area::System, "b", "").fail("c")];
        assert_eq!(verdict(&lines, Style::new(false)), "1 ok, 0 warn, 1 fail\n");
    }
}
