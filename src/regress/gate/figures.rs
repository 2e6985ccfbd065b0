//! Extracts pairs of figures from records, and determines whether records are comparable.

use std::collections::BTreeMap;

use crate::record::serving::Server;
use crate::record::{Cell, Direction, Measurement, Metric, Phase, Record, Verdict as Validity};

use super::decide::{Decision, Margin, Pairs, Reported, decide_wider};

/// Margins by kind of metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margins {
    /// For prefill and decode throughput.
    pub throughput: Margin,
    /// For times to and per token, and for joules per token.
    pub others: Margin,
}

impl Default for Margins {
    fn default() -> Self {
        Self { throughput: Margin(0.03), others: Margin(0.05) }
    }
}

impl Margins {
    /// The gated metrics with their margins. Tails are not gated, nor are dollars: at a fixed price they
    /// are the inverse of throughput. Equal slowdowns are listed in this order: rates before times, times before joules.
    fn gated(&self) -> [(Metric, Margin); 7] {
        [
            (Metric::PrefillTokensPerSecond, self.throughput),
            (Metric::DecodeTokensPerSecond, self.throughput),
            (Metric::OutputTokensPerSecond, self.throughput),
            (Metric::TimeToFirstTokenSeconds, self.others),
            (Metric::TimePerOutputTokenSeconds, self.others),
            (Metric::JoulesPerInputToken, self.others),
            (Metric::JoulesPerOutputToken, self.others),
        ]
    }
}

/// Decides on these records, and adds the metrics that are only reported. `width` is how far the ends of the intervals
/// move outwards.
pub(super) fn decision(records: &[[&Record; 2]], margins: &Margins, alpha: f64, width: f64) -> Decision {
    let mut decision = decide_wider(&pairs(records, margins), alpha, width);
    decision.reported = tails(records).iter().filter_map(|pairs| Reported::of(pairs, alpha)).collect();
    decision
}

/// The pairs of every gated metric that all records have.
fn pairs(records: &[[&Record; 2]], margins: &Margins) -> Vec<Pairs> {
    let Some([first, _]) = records.first() else { return Vec::new() };
    let mut found = Vec::new();
    for (metric, margin) in margins.gated() {
        let more_is_better = metric.good() == Some(Direction::High);
        for cell in first.measurements.iter().filter(|m| m.metric == metric).filter_map(|m| m.cell.as_ref()) {
            let figure = |record: &Record| {
                let mut all = record.measurements.iter();
                all.find(|m| m.metric == metric && m.cell.as_ref().is_some_and(|own| alike(own, cell)))?
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

/// Whether two cells are the same. The lengths of a server's requests are means over a run, which differ slightly.
fn alike(a: &Cell, b: &Cell) -> bool {
    /// Relative difference allowed between mean lengths of the same load.
    const LENGTHS: f64 = 0.05;
    let near = |a: u32, b: u32| f64::from(a.abs_diff(b)) <= LENGTHS * f64::from(a.max(b));
    let served = a.phase == Phase::Serving
        && (&a.phase, a.batch, a.depth, a.requests_per_second)
            == (&b.phase, b.batch, b.depth, b.requests_per_second)
        && near(a.prompt_tokens, b.prompt_tokens)
        && near(a.output_tokens, b.output_tokens);
    a == b || served
}

/// Selects a percentile of a measurement.
type Pick = fn(&Measurement) -> Option<f64>;

/// The tails of the gaps between tokens, if all records have enough gaps.
fn tails(records: &[[&Record; 2]]) -> Vec<Pairs> {
    const METRIC: Metric = Metric::InterTokenLatencySeconds;
    let Some([first, _]) = records.first() else { return Vec::new() };
    let mut found = Vec::new();
    for cell in first.measurements.iter().filter(|m| m.metric == METRIC).filter_map(|m| m.cell.as_ref()) {
        let tails: [(&str, Pick); 2] =
            [("p90", |m| **m.percentiles.p90.as_ref()?), ("p99", |m| **m.percentiles.p99.as_ref()?)];
        for (tail, pick) in tails {
            let figure = |record: &Record| {
                let mut all = record.measurements.iter();
                let measured =
                    all.find(|m| m.metric == METRIC && m.cell.as_ref().is_some_and(|own| alike(own, cell)))?;
                pick(measured).filter(|value| *value > 0.0)
            };
            let values: Option<Vec<[f64; 2]>> =
                records.iter().map(|[a, b]| Some([figure(a)?, figure(b)?])).collect();
            let metric = format!("{METRIC} {tail} {}", cell.label());
            // Not decided on, so its margin does not matter.
            let margin = Margin(0.0);
            found.extend(values.map(|values| Pairs { metric, more_is_better: false, margin, values }));
        }
    }
    found
}

/// Checks that all records are replicates of the first one's series on the first one's machine.
///
/// # Errors
/// One sentence that names the fields.
pub(super) fn comparable<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<(), String> {
    let mut records = records.into_iter();
    let Some(first) = records.next() else { return Err("no records".to_owned()) };
    for record in records {
        same(first, record, |_| true)?;
    }
    Ok(())
}

/// The same for the measurements of two commands: by one tool, and each command always measuring the same thing. The two
/// commands may differ from each other.
///
/// # Errors
/// One sentence that names the fields.
pub(super) fn comparable_commands(pairs: &[[&Record; 2]]) -> Result<(), String> {
    let Some([first_a, first_b]) = pairs.first() else { return Err("no records".to_owned()) };
    for [a, b] in pairs {
        // The name of a server's row contains its mean lengths; cells are compared for each figure.
        same(first_a, a, |field| field != "workload")?;
        same(first_b, b, |field| field != "workload")?;
    }
    if served_by(first_a).is_some() && served_by(first_b).is_some() {
        // Two servers may be two boxes, which a note next to the verdict says.
        return Ok(());
    }
    same(first_a, first_b, |field| field == "measured_by")
}

/// Refuses replicates of one side that are one measurement: a command that prints a result it kept.
///
/// # Errors
/// One sentence that names the pairs.
pub(super) fn distinct(pairs: &[[&Record; 2]]) -> Result<(), String> {
    let measured = |record: &Record| record.imported.as_ref().map(|of| of.measured.clone());
    let alike = |a: &Record, b: &Record| {
        measured(a).is_some() && measured(a) == measured(b) && a.measurements == b.measurements
    };
    for (side, name) in ['A', 'B'].into_iter().enumerate() {
        for (number, pair) in pairs.iter().enumerate() {
            if let Some(first) = pairs[..number].iter().position(|other| alike(other[side], pair[side])) {
                return Err(format!(
                    "pairs {} and {} of {name} have the same time and the same figures: one result was read twice, so the noise is unknown",
                    first + 1,
                    number + 1
                ));
            }
        }
    }
    Ok(())
}

/// What to know about a verdict on two commands: what they measured differently, and whether they are two servers.
pub(super) fn on_commands(a: &Record, b: &Record) -> Vec<String> {
    let differing =
        differences(a, b).map(|fields| format!("the commands measured different things, A vs B: {fields}"));
    differing.into_iter().chain(two_servers(a, b)).collect()
}

/// What a verdict on two servers may be about besides the servers; nothing where there is one.
fn two_servers(a: &Record, b: &Record) -> Option<String> {
    let (a, b) = served_by(a).zip(served_by(b))?;
    (a.url != b.url).then(|| {
        format!(
            "two servers, {} and {}: unless both run on one machine, a difference may be due to the machines",
            a.url, b.url
        )
    })
}

/// The server of a load, where one answered.
fn served_by(record: &Record) -> Option<&Server> {
    record.serving.as_ref().and_then(|serving| serving.server.as_ref())
}

fn same(first: &Record, record: &Record, counts: impl Fn(&str) -> bool) -> Result<(), String> {
    let (a, b) = (&first.fingerprint, &record.fingerprint);
    let counted = |fields: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let kept = fields.iter().filter(|(name, _)| counts(name));
        kept.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let (series_a, series_b) = (counted(&a.series_fields), counted(&b.series_fields));
    // Records of older versions are compared by their keys.
    let whole = series_a.len() == a.series_fields.len();
    if series_a != series_b || (whole && a.series_key != b.series_key) {
        return Err(format!("they measured different things: {}", differing(&series_a, &series_b)));
    }
    // For another tool's result, the file stands in for the unknown machine.
    let imported = |fields: &BTreeMap<String, String>| fields.contains_key(FILE);
    if !(imported(&a.box_fields) && imported(&b.box_fields)) && a.box_key != b.box_key {
        let fields = differing(&a.box_fields, &b.box_fields);
        return Err(format!("they ran on different machines, or the machine changed between them: {fields}"));
    }
    Ok(())
}

/// The field that stands in for the machine of an imported record.
const FILE: &str = "imported_file";

/// Whether it is unknown on which machine a record's figures were measured.
pub(super) fn box_unknown(record: &Record) -> bool {
    record.fingerprint.box_fields.contains_key(FILE)
}

/// The fields of the series in which two commands differ, with their values; `None` if there are none.
fn differences(a: &Record, b: &Record) -> Option<String> {
    let fields = differing(&a.fingerprint.series_fields, &b.fingerprint.series_fields);
    (!fields.is_empty()).then_some(fields)
}

fn differing(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> String {
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let show = |value: Option<&String>| value.map_or("none", String::as_str).to_owned();
    let fields = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    let texts = fields.map(|name| format!("{name} ({} vs {})", show(a.get(name)), show(b.get(name))));
    texts.collect::<Vec<_>>().join(", ")
}

/// Checks that this record is valid as a replicate.
///
/// # Errors
/// One sentence with the check's evidence.
pub(super) fn check_valid(record: &Record) -> Result<(), String> {
    match record.validity.checks.iter().find(|check| check.verdict == Validity::Invalid) {
        Some(check) => Err(format!("{}: {}", check.name, check.evidence)),
        None => Ok(()),
    }
}

/// Relative difference allowed between replicates' clocks.
const CLOCKS: f64 = 0.05;

/// Checks that the GPU's clocks were about the same in all replicates, if they were read.
///
/// # Errors
/// One sentence with the clocks.
pub(super) fn same_clocks<'a>(records: impl IntoIterator<Item = &'a Record>) -> Result<(), String> {
    let clocks: Vec<f64> = records
        .into_iter()
        .filter_map(|record| {
            let windows = record.energy.windows.iter().filter_map(|window| *window.sm_mhz);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_load_are_alike_by_their_rate_and_nearly_equal_lengths() {
        let served = |prompt_tokens, rate| Cell {
            prompt_tokens,
            output_tokens: 128,
            batch: 64,
            depth: 0,
            phase: Phase::Serving,
            requests_per_second: rate,
        };
        assert!(alike(&served(512, Some(2.0)), &served(520, Some(2.0))));
        assert!(!alike(&served(512, Some(2.0)), &served(512, Some(4.0))), "another rate");
        assert!(!alike(&served(512, Some(2.0)), &served(512, None)), "no rate");
        assert!(!alike(&served(512, Some(2.0)), &served(600, Some(2.0))), "other lengths");
        let prompts = |prompt_tokens| Cell { phase: Phase::Prefill, ..served(prompt_tokens, None) };
        assert!(
            alike(&prompts(512), &prompts(512)) && !alike(&prompts(512), &prompts(520)),
            "exact elsewhere"
        );
    }
}
