//! Views of records for people: printing code that measures nothing.

pub mod ci;
pub mod exchange;
pub mod format;
pub mod markdown;
pub mod page;
pub mod plot;
pub mod svg;
pub mod terminal;
pub mod verdict;

use crate::base::redact;
use crate::base::text::count;
use crate::cost::view::View;
use crate::record::Record;
use crate::regress::gate::Margin;
use crate::regress::history::Line;
use crate::run::seal;

use format::{percent, signed_percent};

/// A record priced again, for a view of several.
#[derive(Debug, Clone, Copy)]
pub struct PricedRow<'a> {
    /// Its file.
    pub label: &'a str,
    /// The record.
    pub record: &'a Record,
    /// What it costs.
    pub view: &'a View,
}

/// What computed.
fn device(record: &Record) -> String {
    match record.environment.gpus.iter().find(|gpu| gpu.used) {
        Some(gpu) => gpu.label().to_owned(),
        None if (record.imported.is_some() && record.engine.device.as_deref() != Some("cpu"))
            || seal::is_elsewhere(record) =>
        {
            "a device that is not named".to_owned()
        }
        None => record.environment.cpu.as_deref().unwrap_or("CPU").to_owned(),
    }
}

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

/// What more of makes a metric worse: a rate is a time as well.
fn cost(metric: &str) -> &'static str {
    if metric.starts_with("joules") { "energy" } else { "time" }
}

/// What a value of a history is, where its metric's name does not say it.
fn quantity(kind: &str, metric: &str) -> String {
    match kind {
        "gate" => format!("candidate's {} ÷ baseline's", cost(metric)),
        "micro" => "median time".to_owned(),
        _ if metric.contains("tokens_per_second") => "tokens/s".to_owned(),
        _ if metric.starts_with("joules_per_") => "J/token".to_owned(),
        _ => String::new(),
    }
}

/// The margin of a metric, and how much more time or energy that is: `5% (+5.3% time)`.
fn let_pass(margin: Margin, metric: &str) -> String {
    format!("{} ({} {})", percent(margin.0), signed_percent(margin.slowdown()), cost(metric))
}

/// What a search for changes in this history can find at all.
fn sight(line: &Line) -> String {
    match line.smallest_step.as_result() {
        Ok(step) => format!(
            "a step of {:.1}% halfway through the last {} would be detected 4 times in 5",
            step * 100.0,
            count(line.n.min(50), "point")
        ),
        Err(reason) => reason.to_owned(),
    }
}

/// Text that cannot end an element or an attribute; characters that XML forbids become a replacement character.
fn escaped(text: &str) -> String {
    let text = redact::text(text);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_margin_is_said_in_the_unit_of_what_is_held_against_it() {
        assert_eq!(let_pass(Margin(0.05), "time_to_first_token_seconds pp128"), "5% (+5.3% time)");
        assert_eq!(let_pass(Margin(0.0001), "decode_tokens_per_second tg32"), "0.01% (+0.0% time)");
        assert_eq!(let_pass(Margin(0.025), "joules_per_output_token tg32"), "2.5% (+2.6% energy)");
        assert_eq!(quantity("gate", "joules_per_output_token tg32"), "candidate's energy ÷ baseline's");
        assert_eq!(quantity("gate", "decode_tokens_per_second tg32"), "candidate's time ÷ baseline's");
    }
}
