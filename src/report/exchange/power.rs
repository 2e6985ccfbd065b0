//! The energy that InferenceX measured during a run, if it considered its own measurement valid.
//!
//! It samples the power of all boards of a deployment and integrates it over the run (`utils/aggregate_power.py`). Its
//! per-token figures are the total energy over input tokens, over output tokens and over all: three ways to distribute one
//! amount, which must not be added up.

use crate::base::known::Known;
use crate::record::{Cell, EnergyWindow, Grade, Measurement, Metric};

use super::Error;
use super::fields::At;
use super::foreign::Formula;
use super::json::Node;

const POWER: Formula = Formula::new(
    Metric::PowerWatts,
    "inferencex.avg_total_gpu_power_w",
    "mean over the run, of all boards; the tool's own figure",
);
const ENERGY: Formula = Formula::new(
    Metric::EnergyJoules,
    "inferencex.total_gpu_energy_j",
    "power samples of each board, integrated over the run; the tool's own figure",
);
const NOT_STATED: &str = "imported; inferencex's file does not state it";
const OVER: &str = "energy of the whole run ÷ these tokens; the tool's own figure";
const BY_TOKEN: [(&str, Formula); 4] = [
    (
        "joules_per_total_token",
        Formula::new(Metric::JoulesPerTotalToken, "inferencex.joules_per_total_token", OVER),
    ),
    (
        "joules_per_output_token",
        Formula::new(Metric::JoulesPerOutputTokenAlone, "inferencex.joules_per_output_token", OVER),
    ),
    (
        "joules_per_input_token",
        Formula::new(Metric::JoulesPerInputTokenAlone, "inferencex.joules_per_input_token", OVER),
    ),
    (
        "joules_per_successful_query",
        Formula::new(
            Metric::JoulesPerRequest,
            "inferencex.joules_per_successful_query",
            "energy of the whole run ÷ requests that completed; the tool's own figure",
        ),
    ),
];

/// The reason for every grade here.
pub(super) const SAMPLED: &str = "power samples without a counter (about 1 a second), integrated by the tool";
const ROUNDED: &str = "seconds and tokens of the window are derived from the tool's rounded quotients";

/// A row's energy figures.
#[derive(Debug, Default)]
pub(super) struct Power {
    pub(super) measurements: Vec<Measurement>,
    pub(super) window: Option<EnergyWindow>,
    pub(super) note: Option<String>,
}

/// Reads a row's power, summed over `gpus`; `output_rate` is also summed.
pub(super) fn read(
    at: &At<'_>,
    cell: &Result<Cell, String>,
    gpus: u64,
    output_rate: Option<f64>,
) -> Result<Power, Error> {
    let figure = |field: &str| -> Result<Option<f64>, Error> {
        Ok(at.figure(field)?.and_then(|figure| figure.value()))
    };
    let mean = ["avg_total_gpu_power_w", "avg_power_w"].into_iter().any(|name| at.get(name).is_some());
    match valid(at) {
        Some(true) => {}
        Some(false) => {
            let note = "no energy: InferenceX marked its power measurement as invalid (`power_valid` 0)";
            return Ok(Power { note: Some(note.to_owned()), ..Power::default() });
        }
        None if mean => {
            let note = "no energy: its power has no `power_valid`, so it is unchecked";
            return Ok(Power { note: Some(note.to_owned()), ..Power::default() });
        }
        None => return Ok(Power::default()),
    }
    // The first version wrote only the mean of one board.
    let one_board = figure("avg_power_w")?.map(|watts| watts * gpus as f64);
    let watts = figure("avg_total_gpu_power_w")?.or(one_board);
    let joules = figure("total_gpu_energy_j")?;
    let mut measurements = Vec::new();
    measurements.extend(watts.map(|watts| POWER.single(cell, watts)));
    measurements.extend(joules.map(|joules| ENERGY.single(cell, joules)));
    let mut by_token = [None; 4];
    for (found, (field, formula)) in by_token.iter_mut().zip(BY_TOKEN) {
        *found = figure(field)?;
        measurements.extend(found.map(|joules| formula.single(cell, joules)));
    }
    let [_, per_output, per_input, _] = by_token;
    let window = match (cell, watts, joules) {
        (Ok(cell), Some(watts), Some(joules)) => Some(Window { cell, watts, joules, per_output, per_input }),
        _ => None,
    };
    // Without the run's energy, the rate gives the same quotient, but no window.
    let computed = watts.zip(output_rate).map(|(watts, rate)| watts / rate);
    if let (None, None, Some(joules)) = (joules, per_output, computed) {
        measurements.push(BY_TOKEN[1].1.single(cell, joules));
    }
    Ok(Power { measurements, window: window.map(Window::sealed), note: None })
}

/// `power_valid`, which is a number in numeric-only stores.
fn valid(at: &At<'_>) -> Option<bool> {
    match at.get("power_valid")? {
        Node::Bool(truth) => Some(*truth),
        Node::Text(text) => Some(text.eq_ignore_ascii_case("true") || text.trim() == "1"),
        node => at.number(node).map(|number| (number - 1.0).abs() < f64::EPSILON),
    }
}

/// A run's energy.
struct Window<'a> {
    cell: &'a Cell,
    watts: f64,
    joules: f64,
    per_output: Option<f64>,
    per_input: Option<f64>,
}

impl Window<'_> {
    fn sealed(self) -> EnergyWindow {
        let seconds = self.joules / self.watts;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "finite, positive; saturates"
        )]
        let tokens = |each: Option<f64>| each.map_or(0, |each| (self.joules / each).round() as u64);
        EnergyWindow {
            cell: self.cell.clone(),
            begin_seconds: Known::unknown(NOT_STATED),
            seconds,
            own_seconds: seconds,
            context_seconds: 0.0,
            input_tokens: tokens(self.per_input),
            output_tokens: tokens(self.per_output),
            joules: Known::new(self.joules),
            method: Known::new("samples".to_owned()),
            error_bound_share: Known::unknown(NOT_STATED),
            idle_subtracted_joules: Known::unknown(NOT_STATED),
            counter_joules: Known::unknown("InferenceX integrates power samples"),
            integral_joules: Known::new(self.joules),
            mean_watts: Known::new(self.watts),
            peak_watts: Known::unknown(NOT_STATED),
            throttled_share: Known::unknown(NOT_STATED),
            power_capped_share: Known::unknown(NOT_STATED),
            celsius: Known::unknown(NOT_STATED),
            sm_mhz: Known::unknown(NOT_STATED),
            memory_mhz: Known::unknown(NOT_STATED),
            grade: Known::new(Grade::C),
            reasons: vec![SAMPLED.to_owned(), ROUNDED.to_owned()],
        }
    }
}
