//! The progress line on terminals of several widths: one line, never more, whatever is said in it.

use crate::support::{Bench, terminal};

const RUN: &[&str] = &[
    "run",
    "--model",
    "synthetic:smollm2-135m:q4_0",
    "-p",
    "2",
    "-n",
    "1",
    "-r",
    "1",
    "--price-per-hour",
    "1",
];

fn check(columns: u16, room: usize) {
    let bench = Bench::new();
    let shown = terminal::run(bench.command(RUN), columns);
    assert!(matches!(shown.code, 0 | 12), "{columns}: {}", shown.text);
    let lines = shown.drawn();
    assert!(lines.iter().any(|line| line.contains("meas")), "{columns}: {:?}", shown.text);
    for line in lines {
        assert!(!line.contains('\n') && line.chars().count() < room, "{columns}: {line:?}");
    }
    // Nothing else goes to that terminal: a line feed would be a line that scrolls away.
    assert!(!shown.text.contains('\n'), "{columns}: {:?}", shown.text);
}

#[test]
fn a_narrow_terminal_does_not_scroll() {
    check(40, 40);
    check(20, 20);
}

#[test]
fn a_terminal_that_does_not_say_its_width_does_not_scroll() {
    check(0, 40);
}
