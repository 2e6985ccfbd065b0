//! The energy of a record: each row's window, the device they belong to, and the worst grade of all.

use crate::base::event::Trace;
use crate::base::units::Watts;
use crate::hardware::telemetry::{Recorded, Scope};
use crate::record::{Energy, EnergyWindow, Unknown};

use super::measure::energy::{self, Device};
use super::runner::Finished;

/// The sensors beside a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensors {
    /// What they said.
    pub recorded: Recorded,
    /// Whether they belong to another device than the one that did the work.
    pub other_device: bool,
}

/// Puts the energy of a run together.
pub fn energy(finished: &Finished, sensors: Result<&Sensors, &String>) -> Energy {
    let sensors = match sensors {
        Ok(sensors) => sensors,
        Err(reason) => return none(reason),
    };
    let description = &sensors.recorded.description;
    let no_power = description.no_power.as_deref();
    let idle = idle(finished, &sensors.recorded.trace, no_power);
    let idle = idle.as_ref().copied().map_err(String::as_str);
    let device = Device {
        trace: &sensors.recorded.trace,
        idle,
        no_power,
        module: description.scope == Scope::Module,
        other_device: sensors.other_device,
        shortest: energy::shortest_window(sensors.recorded.sensor.as_ref()),
    };
    let windows = finished
        .rows
        .iter()
        .filter_map(|row| Some(energy::of_row(&row.trials.row, row.window.as_ref()?, &device)))
        .collect();
    let unknown =
        Unknowns { windows: "no row was finished", sensor: "the run ended before they were watched" };
    of_windows(windows, sensors, idle, unknown)
}

/// Why something is not known, where it is not.
#[derive(Debug, Clone, Copy)]
pub struct Unknowns {
    /// Why no row has a window.
    pub windows: &'static str,
    /// Why nobody knows what the sensors are.
    pub sensor: &'static str,
}

/// The energy of a record whose rows took `windows`.
pub fn of_windows(
    windows: Vec<EnergyWindow>,
    sensors: &Sensors,
    idle: Result<Watts, &str>,
    unknown: Unknowns,
) -> Energy {
    let description = &sensors.recorded.description;
    let traces = energy::traces(&sensors.recorded.trace);
    let grade = windows.iter().filter_map(|window| window.grade).max();
    let mut reasons: Vec<String> = Vec::new();
    for reason in windows.iter().flat_map(|window| window.reasons.iter().chain(&window.joules_reason)) {
        if !reasons.contains(reason) {
            reasons.push(reason.clone());
        }
    }
    let scope = if sensors.other_device { "other-device" } else { description.scope.name() };
    Energy {
        grade_reason: grade
            .is_none()
            .then(|| reasons.first().cloned().unwrap_or_else(|| unknown.windows.to_owned())),
        grade,
        reasons,
        source: Some(description.name.to_owned()),
        source_reason: None,
        scope: Some(scope.to_owned()),
        scope_reason: None,
        device: Some(description.device.clone()),
        device_reason: None,
        sensor_reason: sensors.recorded.sensor.is_none().then(|| unknown.sensor.to_owned()),
        sensor: sensors.recorded.sensor.clone(),
        idle_watts: idle.ok().map(Watts::get),
        idle_watts_reason: idle.err().map(str::to_owned),
        windows_reason: windows.is_empty().then(|| unknown.windows.to_owned()),
        windows,
        traces_reason: traces.is_empty().then(|| "no sensor showed power, clocks or temperature".to_owned()),
        traces,
        unknown: Unknown::new(),
    }
}

/// Power of the idle device: by its counter, else by the samples that were taken meanwhile.
fn idle(finished: &Finished, trace: &Trace, no_power: Option<&str>) -> Result<Watts, String> {
    let not_measured = || "the run ended before the idle device was measured".to_owned();
    let counted = finished.idle.clone().ok_or_else(not_measured)?;
    counted.or_else(|reason| {
        let span = finished.idle_span.ok_or_else(not_measured)?;
        let sampled = no_power.map_or_else(|| energy::sampled_power(trace, span), |why| Err(why.to_owned()));
        sampled.map_err(|second| if reason == second { second } else { format!("{reason}; {second}") })
    })
}

/// The energy of a run without sensors.
pub fn none(reason: &str) -> Energy {
    let why = || Some(reason.to_owned());
    Energy {
        grade: None,
        grade_reason: why(),
        reasons: Vec::new(),
        source: None,
        source_reason: why(),
        scope: None,
        scope_reason: why(),
        device: None,
        device_reason: why(),
        sensor: None,
        sensor_reason: why(),
        idle_watts: None,
        idle_watts_reason: why(),
        windows: Vec::new(),
        windows_reason: why(),
        traces: Vec::new(),
        traces_reason: why(),
        unknown: Unknown::new(),
    }
}
