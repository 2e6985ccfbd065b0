//! Views of records for people: printing code that measures nothing.

pub mod ci;
pub mod exchange;
pub mod page;
pub mod plot;
pub mod svg;
pub mod terminal;

/// A value of a history as a reader wants it: a time in its own unit, anything else with four digits or so.
fn figure(kind: &str, value: f64) -> String {
    if kind == "micro" {
        let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")];
        let (size, unit) = units.into_iter().find(|(size, _)| value.abs() >= *size).unwrap_or((1e-9, "ns"));
        return format!("{:.1} {unit}", value / size);
    }
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// What a value of a history is, where its metric's name does not say it.
fn quantity(kind: &str) -> &'static str {
    match kind {
        "gate" => "candidate's time ÷ baseline's",
        "micro" => "median time",
        _ => "",
    }
}

/// Text that cannot end an element or an attribute; signs that XML forbids become a replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(sign),
        }
    }
    out
}
