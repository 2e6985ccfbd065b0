//! A plan as text, for `--dry-run`.

use crate::base::text::count;
use crate::base::units::{Bytes, figure, thousands};
use crate::report::format::hourly;
use crate::run::plan::{Fits, Load, Plan};

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
    let single = plan.launches.as_ref().filter(|launches| *launches != "graphs");
    let launches = single.map_or("", |_| ", no CUDA graphs");
    line("engine", format!("{} on {}{threads}{isa}{cache}{launches}", plan.engine, plan.device));
    for row in &plan.rows {
        line("row", format!("{:<24} {} of memory", row.label, row.memory_bytes));
    }
    if plan.grow_batch {
        line("batch", "doubles until throughput stops rising or memory is full".into());
    }
    for (name, bytes) in &plan.memory.parts {
        line("memory", format!("{bytes:<12} {name}", bytes = bytes.to_string()));
    }
    let available = available.map_or(String::new(), |bytes| format!(" of {bytes} available"));
    line(
        "memory",
        format!("{} in all{available} ({} bytes)", plan.memory.total(), plan.memory.total().get()),
    );
    if let Some(fits) = &plan.fits {
        for load in &fits.loads {
            line("fits", fit(load));
        }
        line("", bound(fits));
    }
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
            line("", format!("how long the rows take is unknown: {reason}"));
        }
    }
    line("seed", plan.seed.to_string());
    out.into_text()
}

/// How many sequences of a load fit, and what they can give at most.
fn fit(load: &Load) -> String {
    let lengths =
        format!("{} in, {} out", thousands(load.prompt_tokens.into()), thousands(load.output_tokens.into()));
    let Some(rate) = load.most_tokens_per_second else { return format!("{lengths:<20} none at once") };
    let price = load.least_usd_per_million_tokens.map_or(String::new(), |usd| format!(" (≥ ${usd:.3}/M)"));
    format!(
        "{lengths:<20} {} at once, {} staggered: ≤ {} tokens/s{price}",
        thousands(load.batch_together.into()),
        thousands(load.batch_staggered.into()),
        figure(rate, 3)
    )
}

/// What the bounds are from.
fn bound(fits: &Fits) -> String {
    let computes =
        fits.operations_per_second.map_or(String::new(), |rate| format!(" and {:.0} TFLOP/s", rate / 1e12));
    let rent = fits.usd_per_hour.map_or(String::new(), |usd| format!(" and ${} an hour", hourly(usd)));
    format!(
        "in + out tokens, bounded by {:.2} TB/s{computes} of {}'s data sheet{rent}",
        fits.bytes_per_second / 1e12,
        fits.gpu
    )
}
