//! The energy of a record: each row's window, the device they belong to, and the worst grade of all.

use crate::base::event::Trace;
use crate::base::known::Known;
use crate::base::units::Watts;
use crate::hardware::telemetry::{Recorded, Scope};
use crate::record::{Energy, EnergyWindow, Unknown};

use super::measure::energy::{self, Device};
use super::runner::Finished;

/// The sensors during a run.
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
    /// Why the sensors are unknown.
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
    let grade = windows.iter().filter_map(|window| *window.grade).max();
    let mut reasons: Vec<String> = Vec::new();
    for reason in windows
        .iter()
        .flat_map(|window| window.reasons.iter().map(String::as_str).chain(window.joules.reason()))
    {
        if !reasons.iter().any(|other| other == reason) {
            reasons.push(reason.to_owned());
        }
    }
    let scope = if sensors.other_device { "other-device" } else { description.scope.name() };
    Energy {
        grade: grade
            .ok_or_else(|| reasons.first().cloned().unwrap_or_else(|| unknown.windows.to_owned()))
            .into(),
        reasons,
        source: Known::new(description.name.to_owned()),
        scope: Known::new(scope.to_owned()),
        device: Known::new(description.device.clone()),
        sensor: sensors.recorded.sensor.clone().ok_or(unknown.sensor).into(),
        idle_watts: idle.map(Watts::get).into(),
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
    Energy {
        grade: Known::unknown(reason),
        reasons: Vec::new(),
        source: Known::unknown(reason),
        scope: Known::unknown(reason),
        device: Known::unknown(reason),
        sensor: Known::unknown(reason),
        idle_watts: Known::unknown(reason),
        windows: Vec::new(),
        windows_reason: Some(reason.to_owned()),
        traces: Vec::new(),
        traces_reason: Some(reason.to_owned()),
        unknown: Unknown::new(),
    }
}
