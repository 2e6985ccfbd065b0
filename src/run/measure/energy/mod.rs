//! Energy of a row: two edges of a counter, the power samples between them, and which of the time was the row's.
//!
//! The counter's difference between two edges is primary: read often and summed, a counter that advances every
//! 100 ms is wrong by tens of percent (`docs/power.md`). The samples' integral is the check on it.

mod grade;
mod integral;
mod several;
mod traces;

use crate::base::event::{
    ClockSample, EnergyEdge, Event, Phase, PhaseEdge, Span, ThrottledTime, Tick, Trace,
};
use crate::base::known::Known;
use crate::base::units::{Joules, Seconds, Watts};
use crate::record::{Cell, EnergyWindow, Measurement, Metric, Sensor};
use crate::run::plan::Row;

pub use several::sum;
pub use traces::{first_reading, traces};

/// Windows are stretched to this length where energy is asked for.
pub const SHORTEST: Seconds = grade::SHORTEST;

/// The length to which windows are stretched with these sensors: a calibration may ask for more.
pub fn shortest_window(sensor: Option<&Sensor>) -> Seconds {
    let calibrated = sensor.and_then(|sensor| *sensor.counter.as_ref()?.shortest_window_seconds);
    Seconds::new(calibrated.unwrap_or(0.0).max(SHORTEST.get()))
}

/// The stretch in which a row's trials ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// The edge before the first trial.
    pub begin: PhaseEdge,
    /// The edge after the last.
    pub end: PhaseEdge,
    /// The row's own steps, a stretch for each schedule that ran.
    pub own: Vec<Span>,
    /// The steps that filled contexts.
    pub context: Vec<Span>,
}

/// What is known about the device besides its trace.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// What its sensors said.
    pub trace: &'a Trace,
    /// Its power before the model was loaded, or why that is not known.
    pub idle: Result<Watts, &'a str>,
    /// Why there are no figures of its power, if its source says so.
    pub no_power: Option<&'a str>,
    /// Whether its sensors cover more than a GPU.
    pub module: bool,
    /// Whether it is another device than the one that did the work.
    pub other_device: bool,
    /// Shortest window that its sensors can be trusted with ([`shortest_window`]).
    pub shortest: Seconds,
}

/// The stretches of one schedule's own steps and of its context's, from the events that it reported.
pub fn spans(events: &[Event]) -> [Option<Span>; 2] {
    let of = |context: bool| {
        let mut steps = events.iter().filter_map(|event| match event {
            Event::Step(step) if (step.phase == Phase::Context) == context => Some(step),
            _ => None,
        });
        let first = steps.next()?;
        let last = steps.next_back().unwrap_or(first);
        Some(Span { from: first.start, to: last.end })
    };
    [of(false), of(true)]
}

/// Mean power over `span` from the samples in it, for a device whose counter does not say.
///
/// # Errors
/// One sentence when there are too few.
pub fn sampled_power(trace: &Trace, span: Span) -> Result<Watts, String> {
    let kind = integral::best_kind(&trace.power).ok_or("no power value was read")?;
    let mut inside = trace
        .power
        .iter()
        .filter(|sample| sample.kind == kind && span.from <= sample.at && sample.at <= span.to);
    let reach =
        inside.next().zip(inside.next_back()).map(|(first, last)| Span { from: first.at, to: last.at });
    let reach = reach.filter(|reach| reach.length() > span.length() * 0.5);
    let reach = reach.ok_or("the power samples do not cover it")?;
    integral::integral(&trace.power, kind, reach).map(|joules| joules / reach.length())
}

/// An edge that is looked for in a trace afterwards, if the counter could not be awaited at that moment: the first step
/// that its polls saw from `at` on.
pub fn edge_in(trace: &Trace, at: Tick) -> PhaseEdge {
    let before = trace.energy.partition_point(|reading| reading.at < at).saturating_sub(1);
    let step =
        trace.energy[before..].windows(2).find(|pair| pair[1].at >= at && pair[1].joules != pair[0].joules);
    let edge = step.map(|pair| {
        let uncertainty = pair[1].at.since(pair[0].at);
        EnergyEdge { reading: pair[1], uncertainty, aligned: true }
    });
    PhaseEdge {
        at: edge.map_or(at, |edge| edge.reading.at),
        energy: edge.ok_or_else(|| "no step of an energy counter was seen".to_owned()),
        throttled: ThrottledTime::default(),
    }
}

/// What a row took.
pub fn of_row(row: &Row, window: &Window, device: &Device<'_>) -> EnergyWindow {
    let runs = window.own.len() as u64 * u64::from(row.batch);
    let tokens = [row.prompt_tokens(), row.output_tokens()].map(|tokens| runs * u64::from(tokens));
    of_window(row.cell(), tokens, window, device)
}

/// What the window of a cell took, with its prompt and output tokens.
pub fn of_window(cell: Cell, tokens: [u64; 2], window: &Window, device: &Device<'_>) -> EnergyWindow {
    let span = Span { from: window.begin.at, to: window.end.at };
    let total = |spans: &[Span]| spans.iter().fold(Seconds::ZERO, |sum, span| sum + span.length());
    let (own, context) = (total(&window.own), total(&window.context));
    let counter = counter_joules(window);
    let kind = integral::best_kind(&device.trace.power);
    let integrated = |span: Span| match kind {
        Some(kind) => integral::integral(&device.trace.power, kind, span),
        None => Err(device.no_power.unwrap_or("no power value was read").to_owned()),
    };
    let integral = integrated(span);

    let whole = counter.clone().or_else(|reason| {
        integral.clone().map_err(|second| {
            // A slice has one reason for both.
            if reason == second { reason } else { format!("{reason}; {second}") }
        })
    });
    let share = shared(&whole, span.length(), own, context, device.idle);
    let edges = match (&counter, &window.begin.energy, &window.end.energy) {
        (Ok(_), Ok(begin), Ok(end)) => (begin.uncertainty + end.uncertainty).get() / span.length().get(),
        _ => 0.0,
    };
    let aligned = [&window.begin, &window.end].iter().all(|e| e.energy.as_ref().is_ok_and(|e| e.aligned));
    let (joules, error_bound) = match share {
        Ok((joules, open)) => (Ok(joules), Ok(open + edges)),
        Err(reason) => (Err(reason.clone()), Err(reason)),
    };
    let idle = device.idle.map_err(str::to_owned);
    let subtracted = joules.clone().and_then(|joules| Ok(joules - idle? * own));
    let mean = joules.clone().map(|joules| joules / own);
    let clocks: Vec<&ClockSample> =
        device.trace.clocks.iter().filter(|c| span.from <= c.at && c.at <= span.to).collect();
    let celsius = celsius(&device.trace.clocks, span);
    let sm_mhz = range(clocks.iter().filter_map(|sample| sample.sm_mhz));
    let memory_mhz = range(clocks.iter().filter_map(|sample| sample.memory_mhz));
    let first = first_reading(device.trace).filter(|first| *first <= span.from);
    let [held_back, capped] =
        throttled(&window.begin.throttled, &window.end.throttled, &clocks, span.length());
    let peak = device
        .trace
        .power
        .iter()
        .filter(|sample| span.from <= sample.at && sample.at <= span.to)
        .map(|sample| sample.watts.get())
        .reduce(f64::max);
    let graded = error_bound.as_ref().ok().map(|bound| {
        grade::grade(&grade::Evidence {
            counter: counter.is_ok(),
            length: span.length(),
            shortest: device.shortest,
            aligned,
            error_bound: *bound,
            disagreement: counter
                .as_ref()
                .ok()
                .zip(integral.as_ref().ok())
                .map(|(c, i)| c.get() / i.get() - 1.0),
            throttled: held_back,
            warmed: celsius.map(|[before, after]| after - before),
            module: device.module,
            other_device: device.other_device,
        })
    });
    let (grade, mut reasons) = graded.map_or((None, Vec::new()), |(grade, reasons)| (Some(grade), reasons));
    reasons.extend(device.trace.failures.iter().map(|failure| format!("a reading failed: {failure}")));
    let method = if counter.is_ok() { "counter" } else { "samples" };
    let no_energy = || joules.as_ref().err().cloned().unwrap_or_default();
    let unsaid = |what: &str| format!("the device does not report {what}");
    EnergyWindow {
        cell,
        begin_seconds: first
            .map(|first| span.from.since(first).get())
            .ok_or("the sensors were first read later")
            .into(),
        seconds: span.length().get(),
        own_seconds: own.get(),
        context_seconds: context.get(),
        input_tokens: tokens[0],
        output_tokens: tokens[1],
        grade: grade.ok_or_else(no_energy).into(),
        method: joules.as_ref().map(|_| method.to_owned()).map_err(Clone::clone).into(),
        joules: joules.map(Joules::get).into(),
        error_bound_share: error_bound.into(),
        idle_subtracted_joules: subtracted.map(Joules::get).into(),
        counter_joules: counter.map(Joules::get).into(),
        integral_joules: integral.map(Joules::get).into(),
        mean_watts: mean.map(Watts::get).into(),
        peak_watts: peak.ok_or_else(|| unsaid("its power")).into(),
        throttled_share: held_back.ok_or_else(|| unsaid("what holds its clocks back")).into(),
        power_capped_share: capped.ok_or_else(|| unsaid("when it is at its power limit")).into(),
        celsius: celsius.ok_or_else(|| unsaid("its temperature")).into(),
        sm_mhz: sm_mhz.ok_or_else(|| unsaid("its clocks")).into(),
        memory_mhz: memory_mhz.ok_or_else(|| unsaid("its memory's clock")).into(),
        reasons,
    }
}

/// The contract's metrics of energy, one cell's at a time.
pub fn measurements(window: &EnergyWindow) -> Vec<Measurement> {
    let reason = || window.joules.reason().unwrap_or("no energy was measured").to_owned();
    let per = |tokens: u64, other: u64, what: &str| match *window.joules {
        Some(_) if tokens > 0 && other > 0 => {
            Err(format!("{what} tokens share this row with others; the pure row has its own figure"))
        }
        Some(_) if tokens == 0 => Err("no token arrived in the window".to_owned()),
        Some(joules) => Ok(joules / tokens as f64),
        None => Err(reason()),
    };
    let mut found = vec![
        one(
            window,
            Metric::EnergyJoules,
            window.joules.ok_or_else(reason),
            "energy of the row's own steps in its window",
        ),
        one(
            window,
            Metric::PowerWatts,
            window.mean_watts.ok_or_else(reason),
            "energy ÷ seconds in the row's own steps",
        ),
    ];
    let (input, output) = (window.input_tokens, window.output_tokens);
    if input > 0 {
        let value = per(input, output, "input");
        found.push(one(window, Metric::JoulesPerInputToken, value, "energy ÷ prompt tokens"));
    }
    if output > 0 {
        let value = per(output, input, "output");
        found.push(one(window, Metric::JoulesPerOutputToken, value, "energy ÷ output tokens"));
    }
    if window.cell.phase == crate::record::Phase::Serving {
        let value = per(input + output, 0, "all");
        found.push(one(window, Metric::JoulesPerTotalToken, value, "energy ÷ input and output tokens"));
    }
    found
}

fn one(window: &EnergyWindow, metric: Metric, value: Result<f64, String>, method: &str) -> Measurement {
    Measurement {
        ci95: Known::unknown("one window; its error bound is in energy.windows"),
        ..Measurement::new(metric, Known::new(window.cell.clone()), value.into(), method)
    }
}

/// The counter's difference, where it can be one.
fn counter_joules(window: &Window) -> Result<Joules, String> {
    let (begin, end) = (window.begin.energy.clone()?, window.end.energy.clone()?);
    let joules = end.reading.joules - begin.reading.joules;
    if joules < Joules::ZERO {
        return Err(format!("the counter went back by {:.1} J: it was reset", -joules.get()));
    }
    if joules > Joules::ZERO && begin.aligned && !end.aligned {
        return Err(format!("the counter stopped: no step came within {} at the end", end.uncertainty));
    }
    if joules == Joules::ZERO {
        return Err("the counter did not move".to_owned());
    }
    Ok(joules)
}

/// Contexts may take this share of the working time before the row's part cannot be told from theirs.
const CONTEXT_SHARE: f64 = 0.25;

/// The part of `whole` that the row's own steps took, and the share of it that is open.
///
/// Between steps the device idles, at the power that it had before the run where that is known; the steps of a
/// context draw the power of the row's own, give or take, so they are shared by time.
fn shared(
    whole: &Result<Joules, String>,
    window: Seconds,
    own: Seconds,
    context: Seconds,
    idle: Result<Watts, &str>,
) -> Result<(Joules, f64), String> {
    let whole = whole.clone()?;
    if own <= Seconds::ZERO {
        return Err("no step was finished".to_owned());
    }
    let working = own + context;
    let foreign = context.get() / working.get();
    if foreign > CONTEXT_SHARE {
        return Err(format!(
            "filling the context took {:.0}% of the working time, and the counter cannot tell its energy from the row's",
            foreign * 100.0
        ));
    }
    let between = Seconds::new((window - working).get().max(0.0));
    let busy = match idle {
        Ok(idle) => whole - idle * between,
        Err(_) => whole,
    };
    if busy <= Joules::ZERO {
        return Err("the device drew no more than when idle".to_owned());
    }
    // Just after a step a device draws more than when it idles: a third of the time between is left uncertain.
    let open = between.get() / window.get() / if idle.is_ok() { 3.0 } else { 1.0 };
    Ok((Joules::new(busy.get() * own.get() / working.get()), open + foreign * 0.2))
}

fn celsius(samples: &[ClockSample], span: Span) -> Option<[f64; 2]> {
    let known = || samples.iter().filter_map(|sample| Some((sample.at, sample.celsius?)));
    let before = known().rfind(|(at, _)| *at <= span.from).or_else(|| known().next())?;
    let after = known().rfind(|(at, _)| *at <= span.to)?;
    Some([before.1, after.1])
}

fn range(values: impl Iterator<Item = u32> + Clone) -> Option<[u32; 2]> {
    Some([values.clone().min()?, values.max()?])
}

/// Shares of the window held back by heat, brake or board, and by the power limit. The cumulative counters say
/// what no poll saw; where they are silent, the polls are counted.
fn throttled(
    begin: &ThrottledTime,
    end: &ThrottledTime,
    polls: &[&ClockSample],
    window: Seconds,
) -> [Option<f64>; 2] {
    let between = |pick: fn(&ThrottledTime) -> Option<Seconds>| {
        pick(end).zip(pick(begin)).map(|(to, from)| ((to - from).get() / window.get()).clamp(0.0, 1.0))
    };
    let states: Vec<_> = polls.iter().filter_map(|sample| sample.throttle).collect();
    let polled = |held: fn(&crate::base::event::Throttle) -> bool| {
        (!states.is_empty()).then(|| states.iter().filter(|s| held(s)).count() as f64 / states.len() as f64)
    };
    let most = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b)).or(a).or(b);
    let counted = most(between(|t| t.thermal), between(|t| t.power_brake));
    [
        most(counted, polled(|s| s.thermal || s.power_brake || s.hardware_slowdown)),
        most(between(|t| t.power_cap), polled(|s| s.power_cap)),
    ]
}

#[cfg(test)]
mod tests;
