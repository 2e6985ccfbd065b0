//! One NVIDIA GPU's settings that would degrade its figures, and the sensors it has.

use std::path::Path;

use super::line::{Area, Line};
use crate::base::sys;
use crate::nvml::{self, Gpu, GpuFacts, NvmlSource, Wanted};
use crate::telemetry::Source as _;

/// The lines for the GPU with NVML index `index`.
pub(super) fn check(index: u32, library: Option<&Path>) -> Vec<Line> {
    let name = |what: &str| format!("GPU {index} {what}");
    let gpu = nvml::open(library).map_err(|absent| absent.to_string());
    let gpu = gpu.and_then(|library| nvml::select(library, &Wanted::Index(index)));
    let gpu = match gpu {
        Ok(gpu) => gpu,
        Err(reason) => {
            return vec![
                Line::ok(Area::Gpu, name("settings"), reason).warn("nvidia-smi reports the problem"),
            ];
        }
    };
    let facts = gpu.facts();
    vec![
        power(name("power"), index, &facts),
        modes(name("modes"), index, &facts),
        others(name("processes"), &facts),
        sensors(name("sensors"), index, &gpu),
    ]
}

/// Whether this user may lock clocks and set power limits; not tested, since that would change the GPU.
pub(super) fn permission() -> Line {
    permitted(sys::is_root())
}

fn permitted(root: bool) -> Line {
    let line = |text: &str| Line::ok(Area::Gpu, "settings", text).fact("root", root);
    if root {
        // Root in a container may still be refused; the run then reports it before measuring.
        return line("this user can try --lock-clocks and --power-limit");
    }
    line("--lock-clocks and --power-limit need root, everything else does not")
        .warn("sudo bench run --lock-clocks")
}

/// The power limit and the current clocks and temperature.
fn power(name: String, index: u32, facts: &GpuFacts) -> Line {
    let limit = &facts.power_limit;
    let said = |watts: Option<f64>| watts.map_or("unknown".to_owned(), |watts| format!("{watts:.0} W"));
    let watts = |fact: &nvml::Fact<crate::base::units::Watts>| fact.as_ref().ok().map(|watts| watts.get());
    let (now, default) = (watts(&limit.enforced).or(watts(&limit.current)), watts(&limit.default));
    let mut found = format!("limit {}, default {}", said(now), said(default));
    if let (Ok(now), Ok(highest)) = (&facts.clocks.sm, &facts.max_clocks.sm) {
        found = format!("{found}; {now} MHz of {highest} now");
    }
    if let Ok(celsius) = facts.celsius {
        found = format!("{found}, {celsius} °C");
    }
    let line = Line::ok(Area::Gpu, name, found);
    match (now, default) {
        (Some(now), Some(default)) if now < default * 0.99 => {
            line.warn(format!("sudo nvidia-smi -i {index} --power-limit={default:.0}"))
        }
        _ => line,
    }
}

fn modes(name: String, index: u32, facts: &GpuFacts) -> Line {
    let on = |what: &str, fact: &nvml::Fact<bool>| match fact {
        Ok(on) => format!("{what} {}", if *on { "on" } else { "off" }),
        Err(_) => format!("{what} unknown"),
    };
    let found =
        [on("persistence", &facts.persistence), on("ECC", &facts.ecc), on("slices (MIG)", &facts.mig)]
            .join(", ");
    let line = Line::ok(Area::Gpu, name, found);
    if facts.mig == Ok(true) {
        return line.warn(format!(
            "sudo nvidia-smi -i {index} -mig 0; NVML has no energy counter for a slice, so joules will be null"
        ));
    }
    if facts.persistence == Ok(false) {
        // Without persistence, the first client waits for the driver to load, and its counters restart at zero.
        return line.warn(format!("sudo nvidia-smi -i {index} -pm 1"));
    }
    line
}

fn others(name: String, facts: &GpuFacts) -> Line {
    match &facts.processes {
        Ok(processes) if processes.is_empty() => Line::ok(Area::Gpu, name, "no other process is using it"),
        Ok(processes) => {
            let ids: Vec<String> = processes.iter().map(|process| process.pid.to_string()).collect();
            // In a container the ids are the host's.
            Line::ok(Area::Gpu, name, format!("{} are using it: {}", ids.len(), ids.join(", "))).warn(
                "stop them, or select another GPU with CUDA_VISIBLE_DEVICES: a run alongside them is suspect",
            )
        }
        Err(reason) => Line::ok(Area::Gpu, name, reason.as_str()),
    }
}

/// The sensors available to a run.
fn sensors(name: String, index: u32, gpu: &Gpu) -> Line {
    let mut source = match NvmlSource::open(gpu) {
        Ok(source) => source,
        Err(reason) => {
            return Line::ok(Area::Gpu, name, reason).warn("nvidia-smi reports the problem");
        }
    };
    let description = source.description().clone();
    let kinds: Vec<&str> =
        source.power().unwrap_or_default().into_iter().map(|(kind, _)| kind.name()).collect();
    let state = source.clocks();
    let mut found = vec![
        match &description.no_counter {
            None => "energy counter".to_owned(),
            Some(reason) => reason.clone(),
        },
        match &description.no_power {
            None => format!("power ({})", kinds.join(", ")),
            Some(reason) => reason.clone(),
        },
        if state.throttle.is_some() { "throttle reasons" } else { "no throttle reasons" }.to_owned(),
    ];
    // A slice has the same reason for both.
    found.dedup();
    let line = Line::ok(Area::Gpu, name, format!("{}; scope {}", found.join(", "), description.scope.name()))
        .fact("energy_counter", description.no_counter.is_none())
        .fact("power_kinds", kinds);
    if let Some(held) = state.throttle.filter(|now| now.thermal || now.power_brake || now.hardware_slowdown) {
        let by = if held.thermal { "temperature" } else { "the board or its power supply" };
        let found = format!("{}; its clocks are currently limited by {by}", line.found);
        return Line { found, ..line }.warn(format!(
            "nvidia-smi -i {index} -q -d PERFORMANCE,TEMPERATURE; wait until it has cooled down, or use another GPU"
        ));
    }
    match (&description.no_counter, &description.no_power) {
        (None, None) => line,
        (Some(_), Some(_)) => {
            line.warn("joules will be null here: use a whole GPU, Volta or newer, to measure them")
        }
        (Some(_), None) => line.warn(
            "joules will be integrated from power samples, grade C: a newer driver may have the counter",
        ),
        (None, Some(_)) => {
            line.warn("nothing to check the counter against, grade B: a newer driver may report power")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    #[test]
    fn settings_need_root_and_say_how() {
        assert_eq!(permitted(true).status, Status::Ok);
        let line = permitted(false);
        assert_eq!((line.status, line.fix.as_deref()), (Status::Warn, Some("sudo bench run --lock-clocks")));
    }
}
