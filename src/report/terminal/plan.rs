//! A plan as text, for `--dry-run`.

use crate::base::text::count;
use crate::base::units::Bytes;
use crate::run::plan::Plan;

use super::Page;

/// Everything that was resolved, and nothing measured.
pub fn render_plan(plan: &Plan, available: Option<Bytes>) -> String {
    let mut out = Page::default();
    let mut line = |name: &str, value: String| out.line(format_args!("{name:<10} {value}"));
    line("model", format!("{} ({}, {} of weights)", plan.model, plan.quantization, plan.weight_bytes));
    if let Some(note) = &plan.quantization_note {
        line("weights", note.clone());
    }
    let threads = plan.threads.map_or(String::new(), |threads| format!(", {}", count(threads, "thread")));
    let isa = plan.isa.as_ref().map_or(String::new(), |isa| format!(", {isa}"));
    let cache = plan.kv_type.as_ref().map_or(String::new(), |kv_type| format!(", {kv_type} KV cache"));
    line("engine", format!("{} on {}{threads}{isa}{cache}", plan.engine, plan.device));
    for row in &plan.rows {
        line("row", format!("{:<24} {} of memory", row.label, row.memory_bytes));
    }
    if plan.grow_batch {
        line("batch", "doubles until throughput stops rising or memory ends".into());
    }
    for (name, bytes) in &plan.memory.parts {
        line("memory", format!("{bytes:<12} {name}", bytes = bytes.to_string()));
    }
    let available = available.map_or(String::new(), |bytes| format!(" of {bytes} available"));
    line(
        "memory",
        format!("{} in all{available} ({} bytes)", plan.memory.total(), plan.memory.total().get()),
    );
    let limits = &plan.limits;
    let until = match (limits.repetitions, limits.tier) {
        (Some(repetitions), _) => format!("{repetitions} trials a row"),
        (None, Some(tier)) if limits.max_time_seconds.is_none() => {
            format!("tier {tier:?}, at least {} a row", limits.row_seconds).to_lowercase()
        }
        _ => format!("until the 95% interval is within {}%", limits.precision * 100.0),
    };
    let bound =
        limits.max_time_seconds.map_or(String::new(), |time| format!(", {time} of measuring at most"));
    line("length", format!("{until}{bound}"));
    if let Some(estimate) = &plan.estimate {
        line("time", estimate.to_string());
        for (row, trial) in plan.rows.iter().zip(&estimate.trial_seconds) {
            let too_long = limits.max_time_seconds.is_some_and(|most| *trial > most);
            let left_out = if too_long { ", more than --max-time: left out unless it is faster" } else { "" };
            line("", format!("{:<24} about {trial} a trial{left_out}", row.label));
        }
        if let Some(reason) = estimate.measuring_seconds.reason() {
            line("", format!("the rows' time is not known: {reason}"));
        }
    }
    line("seed", plan.seed.to_string());
    out.into_text()
}
