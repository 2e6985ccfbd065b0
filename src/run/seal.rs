//! Puts a record together: measure → validity → cost → fingerprint. Writing it is the caller's.

use crate::base::clock::{self, ClockQuality};
use crate::base::event::{Event, EventSink as _, Phase, StepEvent};
use crate::base::known::Known;
use crate::base::units::{Seconds, Watts};
use crate::base::{redact, stats, sys};
use crate::catalog::Catalog;
use crate::cost::{self, Assumptions};
use crate::engine::Capabilities;
use crate::hardware::device::peaks::{self, DevicePeaks};
use crate::hardware::device::{self, Found};
use crate::hardware::telemetry::host::HostWindow;
use crate::model::Model;
use crate::record::{
    Command, EngineInfo, Gpu, Greedy, Measurement, Metric, ModelInfo, Peaks, Price, Quality, Record,
    RowLeftOut, SCHEMA, Telemetry, Tool, Unknown, UnusedGpu, Workload,
};

use super::demand;
use super::energy::{self, Sensors};
use super::estimate;
use super::fingerprint;
use super::measure;
use super::measure::roofline::{self, ModelDemand, Utilization};
use super::plan::Plan;
use super::runner::{Finished, LeftOut, Stopped};
use super::validity::{self, Evidence};

/// Times that the peaks are measured again when a figure breaks them.
const PEAKS_AGAIN: usize = 3;

/// Everything that goes into a record besides the runner's results.
pub struct Sealing<'a> {
    /// The command line as typed.
    pub argv: Vec<String>,
    /// The plan.
    pub plan: &'a Plan,
    /// When the run began.
    pub created: jiff::Timestamp,
    /// Unique name of the run.
    pub id: String,
    /// The machine.
    pub found: &'a Found,
    /// NVML's index of the GPU that computed.
    pub gpu: Option<usize>,
    /// The GPU that is here and could not be used.
    pub unused_gpu: Option<UnusedGpu>,
    /// The model.
    pub model: &'a Model,
    /// sha256 of its content, or why there is none.
    pub sha256: Result<String, String>,
    /// The catalog's row for it.
    pub catalog_id: Option<String>,
    /// The greedy continuation as far as the command has it, or why there is none.
    pub greedy: Result<Greedy, String>,
    /// The price of the hour, or why there is none.
    pub price: Result<Price, String>,
    /// APIs that were named.
    pub apis: &'a [String],
    /// Catalog of GPUs and prices.
    pub catalog: &'a Catalog,
    /// The day for the age of prices.
    pub today: jiff::civil::Date,
    /// Exit code of the signal that stopped the run.
    pub signal: Option<u8>,
    /// Largest resident set when measuring ended.
    pub usage: Option<sys::Usage>,
    /// What else happened on the machine during the run.
    pub host: HostWindow,
    /// Power limit that this run set.
    pub power_limit: Option<Watts>,
    /// Settings of the device that stand in no plan, by the flag's name.
    pub settings: Vec<(&'static str, String)>,
    /// What the device can do at most, or why that was not measured.
    pub peaks: Result<DevicePeaks, String>,
    /// Measures that again.
    pub measure_peaks: &'a dyn Fn() -> Result<DevicePeaks, String>,
    /// What the sensors said, or why none were read.
    pub sensors: Result<Sensors, String>,
}

/// Seals a record.
///
/// # Errors
/// [`cost::Error`] or the catalog's when an API that was named is not in it.
pub fn seal(finished: &Finished, s: Sealing<'_>) -> Result<Record, crate::catalog::Error> {
    let mut measurements: Vec<_> =
        finished.rows.iter().flat_map(|row| measure::measurements(&row.trials)).collect();
    let peak = s.usage.map(|usage| usage.peak_memory.get() as f64);
    measurements.push(measure::of_process(
        Metric::ModelLoadSeconds,
        finished.load.map(Seconds::get).ok_or_else(|| "the model was not loaded".to_owned()),
        "from the first byte read until the engine is ready",
    ));
    measurements.push(measure::of_process(
        Metric::PeakMemoryBytes,
        peak.ok_or_else(|| "the system does not say".to_owned()),
        "largest resident set of the process (getrusage)",
    ));

    let energy = energy::energy(finished, s.sensors.as_ref());
    measurements.extend(energy.windows.iter().flat_map(measure::energy::measurements));

    let clock_quality = clock::measure_quality();
    let meter = meter_overhead();
    let capabilities = finished.capabilities.as_ref();
    let demand = demand::model_demand(&s.model.header, capabilities.map_or("f32", |c| c.kv_type));
    let mut peaks = s.peaks;
    let mut rows = against_peaks(&measurements, &demand, &peaks);
    // A ceiling that a figure breaks may itself have been measured while others worked: it is measured again before
    // the figure is called impossible.
    for _ in 0..PEAKS_AGAIN {
        match &mut peaks {
            Ok(peaks) if rows.as_deref().is_ok_and(validity::breaks_the_ceiling) => {
                let Ok(again) = (s.measure_peaks)() else { break };
                peaks.add(again);
            }
            _ => break,
        }
        rows = against_peaks(&measurements, &demand, &peaks);
    }
    measurements.extend(rows.iter().flatten().flat_map(roofline::measurements));
    let evidence = Evidence {
        rows: &finished.rows,
        caveats: capabilities.map(|c| c.caveats.as_slice()),
        agreement: finished.agreement,
        agreement_skipped: finished.agreement_skipped.as_deref(),
        left_out: &finished.left_out,
        stopped: finished.stopped.as_ref(),
        growth_ended: finished.growth_ended.as_deref(),
        clock: clock_quality,
        meter,
        debug_build: cfg!(debug_assertions),
        repetitions: s.plan.limits.repetitions,
        energy: Some(&energy),
        host: Some(s.host),
        on_processor: s.gpu.is_none(),
        gpu_processes: gpu_processes(s.found, s.gpu),
        gpu_processes_during: s.sensors.as_ref().ok().and_then(others_on_the_gpu),
        roofline: rows.as_deref().map_err(String::as_str),
    };
    let validity = validity::validate(&evidence);
    let shortest = validity::shortest_step(&evidence);
    let telemetry =
        telemetry(clock_quality, meter, shortest, finished.measuring, s.host, s.sensors.as_ref().ok());

    let mut cost = cost::assess(&measurements, s.price, Assumptions::default());
    cost::electricity(&mut cost, &measurements, s.catalog);

    let tool = tool();
    let mut environment = device::environment(s.found, s.gpu, s.catalog);
    environment.unused_gpu = s.unused_gpu;
    let read = s.found.gpus.iter().position(|gpu| energy.device.as_ref() == Some(&gpu.id));
    let read = read.and_then(|index| environment.gpus.get_mut(index));
    set_by_this_run(read, s.power_limit, &s.settings);
    environment.peaks = peaks.map(record_peaks).into();
    let model = model_info(s.model, s.sha256, s.catalog_id);
    let engine = engine_info(capabilities, s.plan);
    let workload = workload(s.plan, &finished.left_out);
    let fingerprint = fingerprint::fingerprint(&fingerprint::Inputs {
        tool: &tool,
        model: &model,
        engine: &engine,
        workload: &workload,
        plan: s.plan,
        environment: &environment,
        host: fingerprint::Host::here(),
        kernels: capabilities.and_then(|capabilities| capabilities.kernels.as_deref()),
        power_limit_watts: s.power_limit.map_or_else(|| power_limit(s.found, s.gpu), |limit| Ok(limit.get())),
        settings: &s.settings,
    });
    let mut record = Record {
        schema: SCHEMA.to_owned(),
        id: s.id,
        created: s.created.to_string(),
        tool,
        command: Command {
            argv: redact::words(&s.argv),
            plan: redact::value("plan", serde_json::to_value(s.plan).unwrap_or_default(), &mut Vec::new()),
            seed: Known::new(s.plan.seed),
            interrupted_reason: Some(match &finished.stopped {
                Some(stopped) if stopped.by_user() => {
                    format!("the signal came while {}", stopped.stage.name())
                }
                Some(stopped) => stopped.to_string(),
                None => "the run completed".to_owned(),
            }),
            interrupted: s.signal.filter(|_| finished.stopped.as_ref().is_some_and(Stopped::by_user)),
            unknown: Unknown::new(),
        },
        environment,
        model,
        engine,
        workload,
        measurements,
        telemetry: Known::new(telemetry),
        imported: None,
        serving: None,
        energy,
        cost,
        validity,
        quality: Quality {
            greedy: s.greedy.into(),
            perplexity: Known::unknown("`bench run` does not measure it; `bench quality --text FILE` does"),
            unknown: Unknown::new(),
        },
        fingerprint,
        unknown: Unknown::new(),
    };
    cost::compare_api::fill_record(&mut record, s.apis, s.catalog, s.today)?;
    Ok(record)
}

/// Cost of metering one step: two readings of the clock and two events kept, the mean of many.
fn meter_overhead() -> Seconds {
    const STEPS: u32 = 2000;
    let mut events: Vec<Event> = Vec::with_capacity(STEPS as usize * 2);
    let begin = clock::now();
    for step in 0..STEPS {
        let start = clock::now();
        let end = clock::now();
        events.take(Event::Step(StepEvent {
            phase: Phase::Decode,
            start,
            end,
            sequences: 1,
            prompt_tokens: 0,
            fed_output_tokens: 1,
            recomputed_tokens: 0,
            output_tokens: 1,
        }));
        events.take(Event::Token(crate::base::event::TokenEvent { sequence: 0, at: end, token: step }));
    }
    std::hint::black_box(&events);
    clock::now().since(begin) * (1.0 / f64::from(STEPS))
}

fn telemetry(
    clock: ClockQuality,
    meter: Seconds,
    shortest: Option<f64>,
    measuring: Option<Seconds>,
    host: HostWindow,
    sensors: Option<&Sensors>,
) -> Telemetry {
    const UNSAID: &str = "the system does not say";
    let sampler = sensors.map(|sensors| &sensors.recorded);
    let sampler_time = sampler.and_then(|recorded| recorded.processor_time);
    let share = shortest.map(|step| meter.get() / step);
    Telemetry {
        measuring_seconds: measuring.map(Seconds::get).ok_or("the model was not loaded").into(),
        clock_precision_seconds: clock.precision.get(),
        clock_overhead_seconds: clock.overhead.get(),
        meter_overhead_seconds_per_step: meter.get(),
        meter_overhead_share: share.ok_or("no step was measured").into(),
        timing_method: "host".to_owned(),
        involuntary_switches: host.involuntary_switches.ok_or(UNSAID).into(),
        foreign_processor_share: host.foreign_share.ok_or(UNSAID).into(),
        stolen_processor_share: host.stolen_share.ok_or(UNSAID).into(),
        quota_held_back_share: host.quota_share.ok_or(UNSAID).into(),
        thermal_events: host.thermal_events.ok_or(UNSAID).into(),
        clock_step_seconds: host.clock_step_seconds,
        sampler_readings: sampler.map_or(0, |r| r.trace.energy.len().max(r.trace.power.len())),
        sampler_processor_seconds: sampler_time
            .map(Seconds::get)
            .ok_or_else(|| match sampler {
                Some(_) => "the system does not say".to_owned(),
                None => "no sensor was read during the run".to_owned(),
            })
            .into(),
        unknown: Unknown::new(),
    }
}

fn record_peaks(peaks: DevicePeaks) -> Peaks {
    Peaks {
        threads: peaks.threads,
        read_bytes_per_second: peaks::best(&peaks.read),
        write_bytes_per_second: peaks::best(&peaks.write),
        copy_bytes_per_second: peaks::best(&peaks.copy),
        flops_per_second: peaks::best(&peaks.flops),
        flops_instruction_set: peaks.instruction_set.to_owned(),
        narrow_operations_per_second: peaks
            .narrow
            .as_ref()
            .map(|(rounds, _)| peaks::best(rounds))
            .ok_or("this processor has no 8-bit dot products that this program knows")
            .into(),
        narrow_instruction_set: peaks.narrow.as_ref().map(|(_, name)| (*name).to_owned()),
        fp8_flops_per_second: peaks.fp8.as_deref().map(peaks::best),
        array_bytes: peaks.bytes.get(),
        rounds: [peaks.read, peaks.write, peaks.copy, peaks.flops],
    }
}

/// The rows against the peaks of this machine.
fn against_peaks(
    measurements: &[Measurement],
    demand: &ModelDemand,
    peaks: &Result<DevicePeaks, String>,
) -> Result<Vec<Utilization>, String> {
    let peaks = peaks.as_ref().map_err(Clone::clone)?;
    Ok(roofline::utilization(measurements, demand, &estimate::ceiling(peaks)))
}

/// Processes that NVML saw on the GPU that computes, before the run.
pub fn gpu_processes(found: &Found, gpu: Option<usize>) -> Option<usize> {
    Some(found.facts.get(gpu?)?.get("processes")?.as_array()?.len())
}

/// Largest number of other processes that the sensors saw on the GPU; this one is there when the GPU computes.
pub fn others_on_the_gpu(sensors: &Sensors) -> Option<u32> {
    let most = sensors.recorded.trace.clocks.iter().filter_map(|sample| sample.processes).max()?;
    Some(most.saturating_sub(u32::from(!sensors.other_device)))
}

/// This program, as a record names it.
pub fn tool() -> Tool {
    let commit = option_env!("INFERCOST_COMMIT").map(str::to_owned);
    let cuda = cfg!(feature = "candle-cuda");
    Tool {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit.ok_or("not set when this program was built; INFERCOST_COMMIT sets it").into(),
        binary_blake3: binary_hash().into(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        features: if cuda { vec!["candle-cuda".to_owned()] } else { Vec::new() },
        cuda_linkage: if cuda { "link time" } else { "run time" }.to_owned(),
        unknown: Unknown::new(),
    }
}

fn binary_hash() -> Result<String, String> {
    let hash = || {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(std::env::current_exe()?)?)?;
        Ok::<_, std::io::Error>(hasher.finalize().to_hex().to_string())
    };
    hash().map_err(|error| format!("the executable cannot be read ({error})"))
}

/// What a record says of a model; `catalog_id` is the row whose API prices are its own.
pub fn model_info(model: &Model, sha256: Result<String, String>, catalog_id: Option<String>) -> ModelInfo {
    let spec = &model.header.spec;
    ModelInfo {
        id: redact::text(&model.id).into_owned(),
        name: redact::text(&model.header.name).into_owned(),
        source: redact::text(&model.origin).into_owned(),
        synthetic: Known::new(model.header.is_synthetic()),
        architecture: Known::new(spec.architecture.clone()),
        parameters: Known::new(model.header.parameters()),
        quantization: Known::new(model.header.quantization.clone()),
        quantization_note: model.header.quantization_note.clone(),
        weight_bytes: Known::new(model.header.weight_bytes().get()),
        context_length: Known::new(spec.context_length),
        layers: Known::new(spec.layers),
        vocabulary: Known::new(spec.vocabulary),
        sha256: sha256.into(),
        catalog_id: catalog_id.ok_or("this model is not in the catalog").into(),
        unknown: Unknown::new(),
    }
}

fn engine_info(capabilities: Option<&Capabilities>, plan: &Plan) -> EngineInfo {
    let not_loaded = || "the model was not loaded".to_owned();
    let threads = capabilities.and_then(|c| c.threads);
    EngineInfo {
        name: Known::new(plan.engine.clone()),
        version: capabilities.map(|c| c.version.clone()).ok_or_else(not_loaded).into(),
        device: Known::new(plan.device.clone()),
        threads: threads
            .ok_or_else(|| if capabilities.is_some() { "a GPU computes".to_owned() } else { not_loaded() })
            .into(),
        kv_type: capabilities.map(|c| c.kv_type.to_owned()).ok_or_else(not_loaded).into(),
        foreseen_memory_bytes: Known::new(plan.memory.total().get()),
        caveats: capabilities.map_or_else(Vec::new, |c| c.caveats.clone()),
        choices: capabilities.map_or_else(Vec::new, |c| c.choices.clone()),
        unknown: Unknown::new(),
    }
}

fn workload(plan: &Plan, left_out: &[LeftOut]) -> Workload {
    Workload {
        kind: "shapes".to_owned(),
        rows: plan.rows.iter().map(|row| row.label.clone()).collect(),
        rows_left_out: left_out
            .iter()
            .map(|left_out| RowLeftOut {
                row: left_out.row.label(),
                reason: left_out.to_string(),
                trial_seconds: Known::new(left_out.trial.get()),
                unknown: Unknown::new(),
            })
            .collect(),
        tokens: Known::new("random, uniform over the vocabulary, new in each trial".to_owned()),
        sampling: Known::new("greedy".to_owned()),
        prefix_cache: Known::new(false),
        unknown: Unknown::new(),
    }
}

/// Adds what this run set on the GPU whose sensors were read to its facts, which are from before.
pub fn set_by_this_run(
    gpu: Option<&mut Gpu>,
    power_limit: Option<Watts>,
    settings: &[(&'static str, String)],
) {
    let Some(gpu) = gpu else { return };
    if let Some(limit) = power_limit {
        gpu.facts.insert("power_limit_set_by_this_run_watts".to_owned(), limit.get().into());
    }
    for (name, value) in settings {
        gpu.facts.insert(
            format!("{name}_set_by_this_run"),
            value.parse::<u32>().map_or(value.clone().into(), Into::into),
        );
    }
}

/// Power limit of the GPU that computes, in watts, as NVML saw it before the run.
///
/// # Errors
/// Why it is not known.
pub fn power_limit(found: &Found, gpu: Option<usize>) -> Result<f64, String> {
    let facts = gpu.and_then(|gpu| found.facts.get(gpu)).ok_or_else(|| "no GPU computes".to_owned())?;
    let watts = facts.get("power_limit_enforced_watts").and_then(serde_json::Value::as_f64);
    watts.ok_or_else(|| "NVML does not say".to_owned())
}

/// A name for the run that no other run has: the hash of its start, its process and a reading of the clock.
pub fn unique_id(created: jiff::Timestamp) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(created.to_string().as_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(&clock::now().nanos().to_le_bytes());
    hasher.update(sys::boot_id().unwrap_or_default().as_bytes());
    hasher.finalize().to_hex()[..12].to_owned()
}

/// Whether a server on another machine did the work.
pub fn is_elsewhere(record: &Record) -> bool {
    let server = record.serving.as_ref().and_then(|serving| serving.server.as_ref());
    server.is_some_and(|server| !server.on_this_machine)
}

/// The file's name without its ending: `<date>-<device>-<model>-<id>`.
pub fn stem(record: &Record) -> String {
    let date = record.created.split('T').next().unwrap_or_default();
    let device = match record.environment.gpus.iter().find(|gpu| gpu.used) {
        Some(gpu) => gpu.catalog_id.clone().into_option().unwrap_or_else(|| gpu.label().to_owned()),
        // Another tool's file may not say what computed, nor does a server elsewhere.
        None if (record.imported.is_some() && record.engine.device.as_deref() != Some("cpu"))
            || is_elsewhere(record) =>
        {
            "unknown".to_owned()
        }
        None => "cpu".to_owned(),
    };
    let model = record.model.id.rsplit('/').next().unwrap_or_default();
    let model = model.trim_end_matches(".gguf").trim_start_matches("synthetic:");
    let clean = |text: &str| {
        let plain = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' });
        plain.take(60).collect::<String>()
    };
    format!("{date}-{}-{}-{}", clean(&device), clean(model), record.id)
}

/// The relative half width that the record's rows reached, the widest of them; for a line at the end.
pub fn widest(record: &Record) -> Option<f64> {
    let widths = record.measurements.iter().filter(|m| m.unit == "tokens/s").filter_map(|m| {
        let interval: stats::Interval = m.interval()?;
        Some(interval.relative_half_width((*m.value)?))
    });
    widths.max_by(f64::total_cmp)
}
