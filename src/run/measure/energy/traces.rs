//! The sensors' figures over time, as a record keeps them: what a plot is drawn from.

use crate::base::event::{PowerKind, Tick, Trace};
use crate::record::{Samples, SensorTrace};

/// When the sensors were first read: the beginning of a record's traces.
pub fn first_reading(trace: &Trace) -> Option<Tick> {
    let firsts = [
        trace.power.first().map(|sample| sample.at),
        trace.energy.first().map(|reading| reading.at),
        trace.clocks.first().map(|sample| sample.at),
    ];
    firsts.into_iter().flatten().min()
}

/// Every sensor that showed something. The counter is left out: its edges stand in the windows, and between them it
/// is power again.
pub fn traces(trace: &Trace) -> Vec<SensorTrace> {
    let Some(first) = first_reading(trace) else { return Vec::new() };
    let power = |kind: PowerKind| {
        let of_kind = trace.power.iter().filter(move |sample| sample.kind == kind);
        of_kind.map(|sample| (sample.at, sample.watts.get())).collect::<Vec<_>>()
    };
    let clocks = |pick: fn(&crate::base::event::ClockSample) -> Option<f64>| {
        trace.clocks.iter().filter_map(|sample| Some((sample.at, pick(sample)?))).collect::<Vec<_>>()
    };
    [
        ("power_instant", "W", power(PowerKind::Instant)),
        ("power_average", "W", power(PowerKind::Average)),
        ("power_unspecified", "W", power(PowerKind::Unspecified)),
        ("sm_clock", "MHz", clocks(|sample| sample.sm_mhz.map(f64::from))),
        ("memory_clock", "MHz", clocks(|sample| sample.memory_mhz.map(f64::from))),
        ("temperature", "°C", clocks(|sample| sample.celsius)),
    ]
    .into_iter()
    .filter_map(|(sensor, unit, figures)| {
        let (at, values): (Vec<Tick>, Vec<f64>) = shown(&figures).into_iter().unzip();
        let seconds = at.into_iter().map(|at| at.since(first).get()).collect();
        (!values.is_empty()).then(|| SensorTrace {
            sensor: sensor.to_owned(),
            seconds: Samples::inline("s", seconds),
            values: Samples::inline(unit, values),
        })
    })
    .collect()
}

/// Each figure when it was first seen, and the last reading: a sensor is read oftener than it publishes.
fn shown(figures: &[(Tick, f64)]) -> Vec<(Tick, f64)> {
    let mut shown: Vec<(Tick, f64)> = Vec::new();
    for (index, figure) in figures.iter().enumerate() {
        let changed = shown.last().is_none_or(|(_, before)| before.to_bits() != figure.1.to_bits());
        if changed || index + 1 == figures.len() {
            shown.push(*figure);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::event::{ClockSample, PowerSample};
    use crate::base::known::Known;
    use crate::base::units::Watts;

    #[test]
    fn a_figure_stands_where_it_was_first_seen() {
        let mut trace = Trace::default();
        for (poll, watts) in [100.0, 100.0, 300.0, 300.0, 300.0].into_iter().enumerate() {
            let at = Tick::from_nanos(1_000_000_000 + poll as u64 * 50_000_000);
            trace.power.push(PowerSample { at, watts: Watts::new(watts), kind: PowerKind::Instant });
        }
        let at = Tick::from_nanos(1_000_000_000);
        trace.clocks.push(ClockSample { at, celsius: Some(41.0), ..ClockSample::default() });
        let found = traces(&trace);
        assert_eq!(
            found.iter().map(|t| t.sensor.as_str()).collect::<Vec<_>>(),
            ["power_instant", "temperature"]
        );
        assert_eq!(found[0].values.values, Some(vec![100.0, 300.0, 300.0]));
        assert_eq!(found[0].seconds.values, Some(vec![0.0, 0.1, 0.2]));
        assert_eq!((found[1].values.unit.as_str(), &found[1].values.values), ("°C", &Known::new(vec![41.0])));
        assert_eq!(traces(&Trace::default()), []);
    }
}
