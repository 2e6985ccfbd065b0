//! From records to pairs of figures, and what makes two records incomparable.

use std::collections::BTreeMap;

use crate::record::{Measurement, Percentile, Record, Verdict as Validity};

use super::decide::{Decision, Margin, Pairs, Reported, decide};

/// Margins by kind of metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margins {
    /// Of prefill and decode throughput.
    pub throughput: Margin,
    /// Of times to and per token, and of joules per token.
    pub others: Margin,
}

impl Default for Margins {
    fn default() -> Self {
        Self { throughput: Margin(0.03), others: Margin(0.05) }
    }
}

impl Margins {
    /// What is gated: its name, whether more is better, its margin. Tails are not, nor dollars: at one price they are
    /// the inverse of throughput. Equal slowdowns are named in this order: rates before times, times before joules.
    fn gated(&self) -> [(&'static str, bool, Margin); 6] {
        [
            ("prefill_tokens_per_second", true, self.throughput),
            ("decode_tokens_per_second", true, self.throughput),
            ("time_to_first_token_seconds", false, self.others),
            ("time_per_output_token_seconds", false, self.others),
            ("joules_per_input_token", false, self.others),
            ("joules_per_output_token", false, self.others),
        ]
    }
}

/// Decides on these records, and adds what is only shown.
pub(super) fn decision(records: &[[&Record; 2]], margins: &Margins, alpha: f64) -> Decision {
    let mut decision = decide(&pairs(records, margins), alpha);
    decision.reported = tails(records).iter().filter_map(|pairs| Reported::of(pairs, alpha)).collect();
    decision
}

/// The pairs of every gated metric that all records have.
fn pairs(records: &[[&Record; 2]], margins: &Margins) -> Vec<Pairs> {
    let Some([first, _]) = records.first() else { return Vec::new() };
    let mut found = Vec::new();
    for (metric, more_is_better, margin) in margins.gated() {
        for cell in first.measurements.iter().filter(|m| m.metric == metric).filter_map(|m| m.cell.as_ref()) {
            let figure = |record: &Record| {
                let mut all = record.measurements.iter();
                all.find(|m| m.metric == metric && m.cell.as_ref() == Some(cell))?
                    .value
                    .filter(|value| *value > 0.0)
            };
            let values: Option<Vec<[f64; 2]>> =
                records.iter().map(|[a, b]| Some([figure(a)?, figure(b)?])).collect();
            let metric = format!("{metric} {}", cell.label());
            found.extend(values.map(|values| Pairs { metric, more_is_better, margin, values }));
        }
    }
    found
}

/// The tails of the gaps between tokens, where all records have enough gaps for them.
fn tails(records: &[[&Record; 2]]) -> Vec<Pairs> {
    const METRIC: &str = "inter_token_latency_seconds";
    let Some([first, _]) = records.first() else { return Vec::new() };
    let mut found = Vec::new();
    for cell in first.measurements.iter().filter(|m| m.metric == METRIC).filter_map(|m| m.cell.as_ref()) {
        let tails: [(&str, fn(&Measurement) -> Percentile); 2] =
            [("p90", |m| m.percentiles.p90), ("p99", |m| m.percentiles.p99)];
        for (tail, pick) in tails {
            let figure = |record: &Record| {
                let mut all = record.measurements.iter();
                let measured = all.find(|m| m.metric == METRIC && m.cell.as_ref() == Some(cell))?;
                pick(measured)?.filter(|value| *value > 0.0)
            };
            let values: Option<Vec<[f64; 2]>> =
                records.iter().map(|[a, b]| Some([figure(a)?, figure(b)?])).collect();
            let metric = format!("{METRIC} {tail} {}", cell.label());
            // Nothing is decided on it, so its margin is of no account.
            let margin = Margin(0.0);
            found.extend(values.map(|values| Pairs { metric, more_is_better: false, margin, values }));
        }
    }
    found
}

/// Why one of these records is no replicate of the first one's series on the first one's box.
///
/// # Errors
/// One sentence that names the fields.
pub(super) fn comparable<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<(), String> {
    let mut records = records.into_iter();
    let Some(first) = records.next() else { return Err("there are no records".to_owned()) };
    for record in records {
        let (a, b) = (&first.fingerprint, &record.fingerprint);
        if a.series_key != b.series_key {
            let fields = differing(&a.series_fields, &b.series_fields);
            return Err(format!("they measured different things: {fields}"));
        }
        if a.box_key != b.box_key {
            let fields = differing(&a.box_fields, &b.box_fields);
            return Err(format!("they ran on different boxes, or the box changed between them: {fields}"));
        }
    }
    Ok(())
}

fn differing(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> String {
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let show = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
    let fields = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    let texts = fields.map(|name| format!("{name} ({} against {})", show(a.get(name)), show(b.get(name))));
    texts.collect::<Vec<_>>().join(", ")
}

/// Checks of a record that say that the box was disturbed while it was made: another try may be better.
const DISTURBED: [&str; 3] = ["foreign_load", "clocks_held_back", "clock_step"];

/// Why this record is no good as a replicate.
///
/// # Errors
/// One sentence with the check's evidence.
pub(super) fn sound(record: &Record) -> Result<(), String> {
    let wrong = record.validity.checks.iter().find(|check| {
        check.verdict == Validity::Invalid
            || (check.verdict == Validity::Suspect && DISTURBED.contains(&check.name.as_str()))
    });
    match wrong {
        Some(check) => Err(format!("{}: {}", check.name, check.evidence)),
        None => Ok(()),
    }
}

/// Clocks may differ by this share between replicates.
const CLOCKS: f64 = 0.05;

/// Whether the GPU's clocks were about the same in all replicates; nothing to say where no clock was read.
///
/// # Errors
/// One sentence with the clocks.
pub(super) fn same_clocks<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<(), String> {
    let clocks: Vec<f64> = records
        .into_iter()
        .filter_map(|record| {
            let windows = record.energy.windows.iter().filter_map(|window| window.sm_mhz);
            let middle: Vec<f64> =
                windows.map(|[low, high]| f64::midpoint(f64::from(low), f64::from(high))).collect();
            crate::base::stats::mean(&middle)
        })
        .collect();
    let (low, high) =
        clocks.iter().fold((f64::INFINITY, 0f64), |(low, high), mhz| (low.min(*mhz), high.max(*mhz)));
    if high > low * (1.0 + CLOCKS) {
        return Err(format!(
            "the GPU's clock was {low:.0} MHz in one replicate and {high:.0} MHz in another; lock it with -- --lock-clocks"
        ));
    }
    Ok(())
}
