//! A record against a record: what may be compared, and by how much each figure differs.
//!
//! Two records are comparable when their series fields are the same; each difference that is meant is named with
//! `--across` and becomes a caveat of the result. The ratio's interval comes from both intervals on the log
//! scale, half widths in quadrature, since the runs are independent. If it contains 1, no difference is shown, whatever
//! the middle says; if either record is suspect or invalid, none is claimed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::base::failure::Usage;
use crate::base::known::{self, Known};
use crate::base::stats::{holm, normal_tail};
use crate::record::{Cell, Cost, CostCell, Direction, Doubt, Figure, Metric, Record};

use super::assess::mix;
use super::margin::Estimate;
use super::{Error, verdict};

/// Series fields that say how much was asked, and not of what.
const WORKLOAD: [&str; 4] = ["workload", "tokens", "seed", "sampling"];
/// The fields that a name for the whole device covers.
const DEVICE: [&str; 5] = ["gpu", "cpu", "instruction_sets", "instruction_set_used", "threads"];

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldDifference {
    /// Its name: `quantization`.
    pub field: String,
    /// In the baseline; `null` when it has no such field.
    pub baseline: Option<String>,
    /// In the other.
    pub other: Option<String>,
}

/// What the two fingerprints say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fingerprints {
    /// Whether the same was measured.
    pub same_series: bool,
    /// Whether on the same machine between the same reboots.
    pub same_box: bool,
    /// Whether by the same program with the same settings of its meter.
    pub same_treatment: bool,
    /// Series fields that differ, all of them named with `--across`.
    pub series: Vec<FieldDifference>,
    /// Box fields that differ.
    #[serde(rename = "box")]
    pub machine: Vec<FieldDifference>,
    /// Treatment fields that differ.
    pub treatment: Vec<FieldDifference>,
}

/// Which way a figure differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The other is better: faster, cheaper, thriftier.
    Better,
    /// The other is worse.
    Worse,
    /// The other is higher; whether that is good is undefined.
    Higher,
    /// The other is lower.
    Lower,
    /// The interval of the ratio holds 1.
    NoDifferenceShown,
    /// One of the two has no interval.
    NoInterval,
    /// One of the two records is suspect or invalid.
    NoVerdict,
}

/// One figure in both records.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct FigureRatio {
    /// Name of the metric or of the price.
    pub metric: String,
    /// Its cell; `null` for figures of the whole process.
    pub cell: Known<Cell>,
    /// In the baseline.
    pub baseline: f64,
    /// In the other.
    pub other: f64,
    /// Other ÷ baseline.
    pub ratio: Estimate,
    /// What that says.
    pub difference: Difference,
}

/// A record against a baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The baseline's id.
    pub baseline: String,
    /// The other's id.
    pub other: String,
    /// What the fingerprints say.
    pub fingerprints: Fingerprints,
    /// What to keep in mind.
    pub caveats: Vec<String>,
    /// What speaks against the figures of either record; if anything does, no difference is claimed.
    pub doubts: Vec<Doubt>,
    /// Figures of speed, time and energy that both have.
    pub metrics: Vec<FigureRatio>,
    /// Dollars per million tokens of the cells that both have.
    pub dollars: Vec<FigureRatio>,
}

/// A record with its dollars, as it is compared.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its dollars, priced as was asked.
    pub cost: &'a Cost,
}

/// Compares `other` with `baseline`.
///
/// # Errors
/// [`Error::Incomparable`] with the fields that differ and were not named in `across`, or when no figure is in
/// both; [`Error::Usage`] when `across` names a field that neither has.
pub fn compare(baseline: Side<'_>, other: Side<'_>, across: &[String]) -> Result<Comparison, Error> {
    let (a, b) = (&baseline.record.fingerprint, &other.record.fingerprint);
    let mut allowed = allowed(across, &a.series_fields, &b.series_fields)?;
    // Another quantization is another file; of another model it is another comparison.
    if across.iter().any(|name| name == "quantization") && may_be_one_model(baseline.record, other.record) {
        allowed.insert("model_content".to_owned());
    }
    let series = differences(&a.series_fields, &b.series_fields);
    let refused: Vec<&FieldDifference> =
        series.iter().filter(|found| !allowed.contains(&found.field)).collect();
    if !refused.is_empty() {
        return Err(incomparable(baseline.record, other.record, &refused, across));
    }
    let fingerprints = Fingerprints {
        same_series: a.series_key == b.series_key,
        same_box: a.box_key == b.box_key,
        same_treatment: a.treatment == b.treatment,
        series,
        machine: differences(&a.box_fields, &b.box_fields),
        treatment: differences(&a.treatment_fields, &b.treatment_fields),
    };
    let mut metrics = metrics(baseline.record, other.record);
    let mut dollars = dollars(baseline.cost, other.cost);
    if metrics.is_empty() && dollars.is_empty() {
        return Err(Error::Incomparable(format!(
            "{} and {} have no figure in common: no row has the same prompt and output tokens, batch or requests in flight, request rate and depth in both",
            baseline.record.id, other.record.id
        )));
    }
    // A GPU that was left unused says nothing about a comparison of what was measured.
    let doubts: Vec<Doubt> = verdict::doubts(&[baseline.record, other.record])
        .into_iter()
        .filter(|doubt| matches!(doubt, Doubt::Invalid { .. } | Doubt::Suspect { .. }))
        .collect();
    if !doubts.is_empty() {
        metrics.iter_mut().chain(&mut dollars).for_each(|figure| figure.difference = Difference::NoVerdict);
    }
    Ok(Comparison {
        baseline: baseline.record.id.clone(),
        other: other.record.id.clone(),
        caveats: caveats(&fingerprints, baseline.cost, other.cost)
            .into_iter()
            .chain(defined_differently(baseline.record, other.record))
            .chain(above_one(&metrics))
            .collect(),
        doubts,
        fingerprints,
        metrics,
        dollars,
    })
}

/// Refuses records that differ in more than how much they were asked.
///
/// # Errors
/// [`Error::Incomparable`] with the fields.
pub fn same_but_workload(records: &[&Record]) -> Result<(), Error> {
    let Some((first, others)) = records.split_first() else { return Ok(()) };
    for other in others {
        let found = differences(&first.fingerprint.series_fields, &other.fingerprint.series_fields);
        let refused: Vec<&FieldDifference> =
            found.iter().filter(|found| !WORKLOAD.contains(&found.field.as_str())).collect();
        if !refused.is_empty() {
            let list = list(&refused);
            return Err(Error::Incomparable(format!(
                "{} and {} cannot be combined: they differ in {list}",
                first.id, other.id
            )));
        }
    }
    Ok(())
}

/// The fields that `across` covers.
fn allowed(
    across: &[String],
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
) -> Result<BTreeSet<String>, Error> {
    let known: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let mut allowed = BTreeSet::new();
    for name in across {
        match name.as_str() {
            "all" => allowed.extend(known.iter().map(|field| (*field).clone())),
            "device" | "gpu" => allowed.extend(DEVICE.map(str::to_owned)),
            "model" => allowed.extend(["model_content".to_owned()]),
            _ if known.contains(name) => allowed.extend([name.clone()]),
            _ => {
                let names: Vec<&str> = known.iter().map(|field| field.as_str()).collect();
                let reason = format!(
                    "neither record has this field; they have {}; `device`, `model` and `all` stand for several",
                    names.join(", ")
                );
                return Err(Usage::new(format!("--across {name}"), reason).into());
            }
        }
    }
    Ok(allowed)
}

fn differences(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<FieldDifference> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    names
        .into_iter()
        .filter(|name| a.get(*name) != b.get(*name))
        .map(|name| FieldDifference {
            field: name.clone(),
            baseline: a.get(name).cloned(),
            other: b.get(name).cloned(),
        })
        .collect()
}

fn incomparable(a: &Record, b: &Record, refused: &[&FieldDifference], given: &[String]) -> Error {
    let refused_names = refused.iter().map(|found| found.field.as_str());
    let names: Vec<&str> = given.iter().map(String::as_str).chain(refused_names).collect();
    Error::Incomparable(format!(
        "{} and {} cannot be compared: they differ in {}; to compare them anyway: --across {}",
        a.id,
        b.id,
        list(refused),
        names.join(",")
    ))
}

fn list(found: &[&FieldDifference]) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
    let each = found
        .iter()
        .map(|found| format!("{} ({} against {})", found.field, value(&found.baseline), value(&found.other)));
    each.collect::<Vec<_>>().join(", ")
}

fn caveats(found: &Fingerprints, a: &Cost, b: &Cost) -> Vec<String> {
    let mut caveats: Vec<String> =
        found.series.iter().map(|field| format!("across {}", list(&[field]))).collect();
    let names = |fields: &[FieldDifference]| {
        fields.iter().map(|found| found.field.as_str()).collect::<Vec<_>>().join(", ")
    };
    if !found.same_box {
        caveats.push(format!(
            "not the same machine and boot ({}): differences may come from the machine",
            names(&found.machine)
        ));
    } else if found.same_treatment && found.series.is_empty() {
        caveats.push(
            "the same program on the same machine: differences are chance, or something that was not recorded".to_owned(),
        );
    }
    if !found.same_treatment {
        caveats.push(format!("not the same program or measurement settings ({})", names(&found.treatment)));
    }
    if let Some((a, b)) = a.price.as_ref().zip(b.price.as_ref())
        && a.usd_per_hour != b.usd_per_hour
    {
        let (a, b) = (a.usd_per_hour.normalize(), b.usd_per_hour.normalize());
        caveats
            .push(format!("dollars at {a} USD an hour against {b}; --price-per-hour sets one price for all"));
    }
    caveats
}

/// Whether two records may be of one model in two formats: by its catalog row, or by its shape where that is known.
fn may_be_one_model(a: &Record, b: &Record) -> bool {
    let (a, b) = (&a.model, &b.model);
    if let Some((a, b)) = a.catalog_id.as_ref().zip(b.catalog_id.as_ref()) {
        return a == b;
    }
    agree(a.architecture.as_ref(), b.architecture.as_ref())
        && agree(a.layers.as_ref(), b.layers.as_ref())
        && agree(a.vocabulary.as_ref(), b.vocabulary.as_ref())
}

/// Whether two values are the same, as far as both are known.
fn agree<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
    a.zip(b).is_none_or(|(a, b)| a == b)
}

/// Why a share of a peak is above one.
fn above_one(figures: &[FigureRatio]) -> Option<String> {
    let name = Metric::ModelFlopsUtilization.to_string();
    let above = |figure: &FigureRatio| figure.metric == name && figure.baseline.max(figure.other) > 1.0;
    figures.iter().any(above).then(|| {
        format!("{name} is above 1 where the engine computes in narrower numbers: it is a share of the single-precision peak")
    })
}

/// The figures that both have and that are not compared, since two tools define them differently.
fn defined_differently(baseline: &Record, other: &Record) -> Option<String> {
    let mut names: Vec<String> = Vec::new();
    for a in &baseline.measurements {
        let differs = |b: &&crate::record::Measurement| {
            (&b.metric, &b.cell) == (&a.metric, &a.cell) && b.formula != a.formula
        };
        if let Some(b) = other.measurements.iter().find(differs) {
            let name = format!("{} ({} against {})", a.metric, a.formula, b.formula);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    (!names.is_empty()).then(|| {
        format!(
            "not compared, since the two tools define them differently (docs/metrics.md): {}",
            names.join(", ")
        )
    })
}

fn metrics(baseline: &Record, other: &Record) -> Vec<FigureRatio> {
    let mut found = Vec::new();
    for a in &baseline.measurements {
        let same = |b: &&crate::record::Measurement| b.metric == a.metric && *b.cell == *a.cell;
        let Some(b) = other.measurements.iter().find(same) else { continue };
        if a.formula != b.formula {
            continue;
        }
        let Some((x, y)) = a.value.zip(*b.value).filter(|(x, y)| *x > 0.0 && *y > 0.0) else { continue };
        let ratio = ratio((x, *a.ci95), (y, *b.ci95));
        found.push(FigureRatio {
            metric: a.metric.to_string(),
            cell: a.cell.clone(),
            baseline: x,
            other: y,
            difference: difference(ratio, a.metric.good()),
            ratio,
        });
    }
    found
}

fn dollars(baseline: &Cost, other: &Cost) -> Vec<FigureRatio> {
    let mut found = Vec::new();
    for a in &baseline.cells {
        let Some(b) = other.cells.iter().find(|b| b.cell == a.cell) else { continue };
        for (index, name) in PRICES.into_iter().enumerate() {
            let Some((x, y)) = prices(a)[index].zip(prices(b)[index]) else { continue };
            let ratio = ratio((x.value, x.ci95), (y.value, y.ci95));
            found.push(FigureRatio {
                metric: name.to_owned(),
                cell: Known::new(a.cell.clone()),
                baseline: x.value,
                other: y.value,
                difference: difference(ratio, Some(Direction::Low)),
                ratio,
            });
        }
    }
    found
}

/// What the dollars of a cell are called, in the order of [`prices`].
const PRICES: [&str; 4] = [
    "usd_per_million_input_tokens",
    "usd_per_million_output_tokens",
    "usd_per_million_total_tokens",
    "usd_per_million_all_output_tokens",
];

fn prices(cell: &CostCell) -> [Option<Figure>; 4] {
    [
        *cell.usd_per_million_input_tokens,
        *cell.usd_per_million_output_tokens,
        mix(cell),
        Some(cell.usd_per_million_all_output_tokens),
    ]
}

/// `other ÷ baseline` of two independent figures above zero; the interval on the log scale.
pub fn ratio(
    (baseline, baseline_ci): (f64, Option<[f64; 2]>),
    (other, other_ci): (f64, Option<[f64; 2]>),
) -> Estimate {
    let value = other / baseline;
    let ci95 = baseline_ci.zip(other_ci).filter(|(a, b)| a[0] > 0.0 && b[0] > 0.0).map(|(a, b)| {
        let below = (other / b[0]).ln().hypot((a[1] / baseline).ln());
        let above = (b[1] / other).ln().hypot((baseline / a[0]).ln());
        [value * (-below).exp(), value * above.exp()]
    });
    Estimate { value, ci95 }
}

/// What a comparison proves of the other record being slower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slower {
    /// Figures that have an interval in both.
    pub judged: usize,
    /// Those that are worse, each with its cell.
    pub proven: Vec<String>,
}

/// The figures of speed and energy in which the other is worse at a level of `alpha` over all of them (Holm).
pub fn slower(comparison: &Comparison, alpha: f64) -> Slower {
    /// Half the width of a 95% interval of a normal.
    const HALF: f64 = 1.959_964;
    // Load time and memory are not speeds.
    let counts = |metric: &Metric| {
        let name = metric.as_str();
        name.ends_with("tokens_per_second")
            || name.starts_with("joules_per_")
            || (metric.unit() == "s" && *metric != Metric::ModelLoadSeconds)
    };
    let judged: Vec<(&FigureRatio, f64)> = comparison
        .metrics
        .iter()
        .map(|figure| (figure, Metric::from(figure.metric.as_str())))
        .filter(|(_, metric)| counts(metric))
        .filter_map(|(figure, metric)| {
            let ([low, high], good) = (figure.ratio.ci95?, metric.good()?);
            let worse = match good {
                Direction::High => -figure.ratio.value.ln(),
                Direction::Low => figure.ratio.value.ln(),
            };
            let sd = (high / low).ln() / (2.0 * HALF);
            (sd > 0.0 && worse.is_finite()).then(|| (figure, normal_tail(worse / sd)))
        })
        .collect();
    let p: Vec<f64> = judged.iter().map(|(_, p)| *p).collect();
    let proven = judged.iter().zip(holm(&p, alpha)).filter(|(_, proven)| *proven).map(|((figure, _), _)| {
        let cell = figure.cell.as_ref().map_or_else(String::new, |cell| format!(" {}", cell.label()));
        format!("{}{cell}", figure.metric)
    });
    Slower { judged: judged.len(), proven: proven.collect() }
}

fn difference(ratio: Estimate, good: Option<Direction>) -> Difference {
    let Some([low, high]) = ratio.ci95 else { return Difference::NoInterval };
    let higher = low > 1.0;
    if !higher && high >= 1.0 {
        return Difference::NoDifferenceShown;
    }
    match good {
        Some(good) if (good == Direction::High) == higher => Difference::Better,
        Some(_) => Difference::Worse,
        None if higher => Difference::Higher,
        None => Difference::Lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: ln(120 ÷ 114) = 0.051293, ln(105 ÷ 100) = 0.048790, in quadrature 0.070791; 1.2 · e^∓0.070791.
    #[test]
    fn the_ratios_interval_is_in_quadrature_on_the_log_scale() {
        let found = ratio((100.0, Some([95.0, 105.0])), (120.0, Some([114.0, 126.0])));
        let [low, high] = found.ci95.expect("both have one");
        assert!((found.value - 1.2).abs() < 1e-12);
        assert!((low - 1.117_987).abs() < 1e-6 && (high - 1.288_029).abs() < 1e-6, "{low} {high}");
        // Turned round, it is its own inverse.
        let back = ratio((120.0, Some([114.0, 126.0])), (100.0, Some([95.0, 105.0])));
        let [back_low, back_high] = back.ci95.expect("both have one");
        assert!((back_low * high - 1.0).abs() < 1e-12 && (back_high * low - 1.0).abs() < 1e-12);
        assert_eq!(ratio((1.0, None), (2.0, Some([1.9, 2.1]))).ci95, None);
    }

    #[test]
    fn a_difference_is_shown_only_when_the_interval_leaves_one() {
        let estimate = |low, high| Estimate { value: 1.1, ci95: Some([low, high]) };
        let faster = Metric::DecodeTokensPerSecond.good();
        assert_eq!(difference(estimate(1.05, 1.2), faster), Difference::Better);
        assert_eq!(difference(estimate(0.99, 1.2), faster), Difference::NoDifferenceShown);
        assert_eq!(difference(estimate(0.8, 0.9), faster), Difference::Worse);
        assert_eq!(
            difference(estimate(0.8, 0.9), Metric::TimeToFirstTokenSeconds.good()),
            Difference::Better
        );
        assert_eq!(
            difference(estimate(0.8, 0.9), Metric::ModelBandwidthUtilization.good()),
            Difference::Lower
        );
        assert_eq!(difference(Estimate { value: 2.0, ci95: None }, faster), Difference::NoInterval);
    }

    #[test]
    fn a_share_of_the_peak_above_one_is_explained() {
        let figure = |metric: Metric, other: f64| FigureRatio {
            metric: metric.to_string(),
            cell: Known::unknown("none"),
            baseline: 0.5,
            other,
            ratio: Estimate { value: other / 0.5, ci95: None },
            difference: Difference::NoInterval,
        };
        assert_eq!(above_one(&[figure(Metric::ModelFlopsUtilization, 0.9)]), None);
        assert_eq!(above_one(&[figure(Metric::DecodeTokensPerSecond, 90.0)]), None);
        let said = above_one(&[figure(Metric::ModelFlopsUtilization, 1.1)]);
        assert!(said.is_some_and(|said| said.contains("single-precision peak")));
    }

    /// Two decode rates 4% apart with intervals of ±1%: z = 0.0408 ÷ (0.0283 ÷ 3.92) = 5.66; a second figure 1% apart
    /// has z = 1.39 and stays unproven.
    #[test]
    fn a_slowdown_is_proven_by_intervals_alone() {
        let figure = |metric: &str, baseline: f64, other: f64, half: Option<f64>| {
            let interval = |value: f64| half.map(|half| [value * (1.0 - half), value * (1.0 + half)]);
            FigureRatio {
                metric: metric.to_owned(),
                cell: Known::unknown("none"),
                baseline,
                other,
                ratio: ratio((baseline, interval(baseline)), (other, interval(other))),
                difference: Difference::NoInterval,
            }
        };
        let found = |metrics: Vec<FigureRatio>| {
            let fingerprints = Fingerprints {
                same_series: true,
                same_box: true,
                same_treatment: false,
                series: Vec::new(),
                machine: Vec::new(),
                treatment: Vec::new(),
            };
            let (baseline, other) = (String::new(), String::new());
            let comparison = Comparison {
                baseline,
                other,
                fingerprints,
                caveats: Vec::new(),
                doubts: Vec::new(),
                metrics,
                dollars: Vec::new(),
            };
            slower(&comparison, 0.05)
        };
        let rate = "decode_tokens_per_second";
        let both = found(vec![
            figure(rate, 100.0, 96.0, Some(0.01)),
            figure("time_to_first_token_seconds", 1.0, 1.01, Some(0.01)),
        ]);
        assert_eq!((both.judged, &both.proven[..]), (2, &[rate.to_owned()][..]));
        assert_eq!(found(vec![figure(rate, 96.0, 100.0, Some(0.01))]).proven.len(), 0);
        assert_eq!(found(vec![figure(rate, 100.0, 50.0, None)]), Slower { judged: 0, proven: Vec::new() });
        // Memory and loading are no slowdown of a token.
        for metric in ["peak_memory_bytes", "model_load_seconds"] {
            assert_eq!(found(vec![figure(metric, 1.0, 2.0, Some(0.01))]).judged, 0, "{metric}");
        }
    }

    #[test]
    fn fields_are_named_and_unknown_ones_refused() {
        let fields = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let a = fields(&[("gpu", "H100"), ("quantization", "Q4_0")]);
        let b = fields(&[("cpu", "EPYC"), ("quantization", "Q4_0")]);
        let found = differences(&a, &b);
        assert_eq!(found.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(), ["cpu", "gpu"]);
        assert_eq!(found[0].baseline, None);
        let device = allowed(&["gpu".to_owned()], &a, &b).expect("known");
        assert!(found.iter().all(|field| device.contains(&field.field)));
        let error = allowed(&["colour".to_owned()], &a, &b).expect_err("unknown").to_string();
        assert!(error.contains("cpu, gpu, quantization"), "{error}");
    }
}
