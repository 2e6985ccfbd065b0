//! Joules, watts and how far they can be trusted.

use super::{Page, Style};
use crate::base::units::{Watts, significant};
use crate::record::{Energy, EnergyWindow, Grade, Metric, Phase, Record};
use crate::report::format::wrap;

/// The energy of a run, or one line that says why there is none.
pub(super) fn render(out: &mut Page, energy: &Energy, style: Style) {
    if energy.windows.is_empty() {
        let reason = energy.source.reason().or(energy.windows_reason.as_deref());
        for text in reason.iter().flat_map(|reason| wrap(&format!("no energy: {reason}"), 78)) {
            out.line(format_args!("  {}", style.dim(&text)));
        }
        return;
    }
    let widest =
        energy.windows.iter().map(|w| w.cell.label().chars().count()).max().unwrap_or(3).clamp(3, 26);
    let header = format!(
        "{:<widest$} {:>12} {:>8} {:>8} {:>6} {:>5}",
        "energy", "J/token", "watts", "peak", "± open", "grade"
    );
    out.line(format_args!("\n{}", style.dim(&header)));
    for window in &energy.windows {
        let number =
            |value: Option<f64>, digits| value.map_or("–".to_owned(), |value| significant(value, digits));
        let open =
            window.error_bound_share.map_or("–".to_owned(), |share| format!("{:.1}%", share * 100.0));
        out.line(format_args!(
            "{:<widest$} {} {:>8} {:>8} {:>6} {:>5}",
            window.cell.label(),
            style.strong(&format!("{:>12}", number(joules_per_token(window), 3))),
            number(*window.mean_watts, 3),
            number(*window.peak_watts, 3),
            open,
            grade(*window.grade, style),
        ));
    }
    let of = [&energy.source, &energy.scope, &energy.device].into_iter().filter_map(|known| known.as_deref());
    let sensors = of.collect::<Vec<_>>().join(", ");
    let idle = energy.idle_watts.map_or(String::new(), |watts| format!(", {} W idle", significant(watts, 3)));
    out.line(format_args!("  {}", style.dim(&format!("{sensors}{idle}"))));
    for text in energy.reasons.iter().flat_map(|reason| wrap(reason, 78)) {
        out.line(format_args!("  {}", style.warn(&text)));
    }
}

/// What each power limit does to speed and to energy.
pub fn render_power_limits(swept: &[(Watts, &Record)], style: Style) -> String {
    let mut out = Page::default();
    let header = format!("{:<9} {:<20} {:>12} {:>12} {:>8}", "limit", "row", "tokens/s", "J/token", "watts");
    out.line(format_args!("\n{}", style.dim(&header)));
    for (limit, record) in swept {
        for window in &record.energy.windows {
            let rate = record.measurements.iter().find(|m| {
                m.cell.as_ref() == Some(&window.cell)
                    && match window.cell.phase {
                        Phase::Prefill => m.metric == Metric::PrefillTokensPerSecond,
                        Phase::Decode => m.metric == Metric::DecodeTokensPerSecond,
                        _ => m.metric == Metric::TotalTokensPerSecond,
                    }
            });
            let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| significant(value, 4));
            out.line(format_args!(
                "{:<9} {:<20} {:>12} {:>12} {:>8}",
                format!("{} W", significant(limit.get(), 3)),
                window.cell.label(),
                number(rate.and_then(|m| *m.value)),
                number(joules_per_token(window)),
                number(*window.mean_watts),
            ));
        }
    }
    out.into_text()
}

/// The figure of a row's own kind of token; of all tokens in a joint row.
fn joules_per_token(window: &EnergyWindow) -> Option<f64> {
    let tokens = window.input_tokens + window.output_tokens;
    window.joules.filter(|_| tokens > 0).map(|joules| joules / tokens as f64)
}

fn grade(grade: Option<Grade>, style: Style) -> String {
    match grade {
        None => format!("{:>5}", "–"),
        Some(grade @ Grade::A) => style.good(&format!("{:>5}", format!("{grade:?}"))),
        Some(grade @ Grade::B) => format!("{:>5}", format!("{grade:?}")),
        Some(grade) => style.warn(&format!("{:>5}", format!("{grade:?}"))),
    }
}
