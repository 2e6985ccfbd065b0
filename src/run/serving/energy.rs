//! The energy of a load in each row's steady window, if the device is in this machine.
//!
//! A counter's step cannot be awaited while requests are sent, so the edges of a window are looked up among the polls
//! afterwards: each is as accurate as the time between two polls.

use crate::base::event::Span;
use crate::base::known::Known;
use crate::hardware::telemetry::Scope;
use crate::record::{Energy, EnergyWindow, Metric, SensorTrace};
use crate::run::energy::{Sensors, Unknowns, none, of_windows};
use crate::run::measure::energy::{self, Device, Window};

use super::{Driven, Finished};

const UNKNOWN: Unknowns = Unknowns {
    windows: "no row has a steady window",
    sensor: "sensors are calibrated on an idle device, and a server's may be busy; use bench doctor --calibrate-power",
};

/// Puts the energy of a load together: of each device that served it, added up.
pub(super) fn energy(finished: &Finished, sensors: Result<&[Sensors], &String>, no_idle: &str) -> Energy {
    let all = match sensors {
        Ok(sensors) => sensors,
        Err(reason) => return none(reason),
    };
    let Some(first) = all.first() else { return none("no sensors were read") };
    let devices: Vec<Device<'_>> = all.iter().map(|sensors| device(sensors, no_idle)).collect();
    let windows = finished.rows.iter().filter_map(|row| {
        let each: Vec<EnergyWindow> = devices.iter().filter_map(|device| window(row, device)).collect();
        energy::sum(&each)
    });
    let energy = of_windows(windows.collect(), first, Err(no_idle), UNKNOWN);
    if all.len() == 1 {
        return energy;
    }
    let name = |sensors: &Sensors| sensors.recorded.description.device.clone();
    let traces = all.iter().flat_map(|sensors| {
        energy::traces(&sensors.recorded.trace).into_iter().map(|trace| {
            let sensor = format!("{} of {}", trace.sensor, name(sensors));
            SensorTrace { sensor, ..trace }
        })
    });
    Energy {
        device: Known::new(all.iter().map(name).collect::<Vec<_>>().join(", ")),
        sensor: Known::unknown("each of several GPUs has its own"),
        traces: traces.collect(),
        ..energy
    }
}

fn device<'a>(sensors: &'a Sensors, no_idle: &'a str) -> Device<'a> {
    let recorded = &sensors.recorded;
    Device {
        trace: &recorded.trace,
        idle: Err(no_idle),
        no_power: recorded.description.no_power.as_deref(),
        module: recorded.description.scope == Scope::Module,
        other_device: sensors.other_device,
        shortest: energy::shortest_window(recorded.sensor.as_ref()),
    }
}

/// What a row took in its steady window; nothing where it had none.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate × a time, both above zero"
)]
fn window(row: &Driven, device: &Device<'_>) -> Option<EnergyWindow> {
    let steady = row.serving.steady.window.as_ref().ok()?;
    let [begin, end] = [steady.from, steady.to].map(|at| energy::edge_in(device.trace, at));
    let span = Span { from: begin.at, to: end.at };
    let rate = |metric: Metric| {
        let figure = row.serving.figures.iter().find(|figure| figure.metric == metric);
        figure.and_then(|figure| figure.value.clone().ok()).unwrap_or(0.0)
    };
    let tokens = [Metric::InputTokensPerSecond, Metric::OutputTokensPerSecond]
        .map(|metric| (rate(metric) * span.length().get()).round() as u64);
    // A server under load has no steps of its own to separate from others: the whole window counts.
    let window = Window { begin, end, own: vec![span], context: Vec::new() };
    Some(energy::of_window(row.cell.clone(), tokens, &window, device))
}
