//! How long a run will take, announced before it begins: from the bytes and operations in the model's header and the
//! measured peaks of the machine.
//!
//! [`Pace`] has the time of one piece of work, at least (at the peaks) and typically (at the share of them that the
//! engine reaches). [`Estimate`] adds a run up. Both only announce and avoid hopeless attempts: its own first steps
//! show what a row really takes.

use crate::base::units::Seconds;
use crate::base::{clock, sys};
use crate::engine::Device;
use crate::hardware::device::peaks::{self, DevicePeaks};
use crate::model::Model;

use super::demand;
use super::measure::roofline::{Ceiling, ModelDemand, Work};
use super::plan::{Estimate, Limits, Plan, Row};

/// Share of the single-precision peak that a prompt reaches, and of the read bandwidth that decode steps reach, roughly, for
/// our own engine and for candle.
const TYPICAL: [(&str, f64, f64); 2] = [("fused", 0.5, 0.8), ("candle", 0.2, 0.6)];
/// Share of the peak of narrow arithmetic that a prompt on quantized weights reaches in our own engine: 0.44 with AVX2, 0.5 to
/// 0.56 with AVX-512 VNNI (prompts of `docs/engine.md`, peaks of their records).
const TYPICAL_NARROW: f64 = 0.45;
/// The same where that peak is of tile registers, which wait for what loads and scales their products: 0.12 for 135 M parameters,
/// 0.2 for 1 B.
const TYPICAL_TILES: f64 = 0.2;
/// Formats of weights that are multiplied in single precision.
const WHOLE: [&str; 3] = ["F32", "F16", "BF16"];
/// Bytes of weights that become ready in a second: synthetic ones are made, a file's read from memory and packed.
const LOADED_PER_SECOND: [f64; 2] = [0.35e9, 1.0e9];
/// How long the machine's power at rest is watched, where a sensor is read.
const IDLE: Seconds = Seconds::new(2.0);
/// Trials of a warm-up that settles at once.
const WARMUP: f64 = 2.0;

/// How long work takes on this machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    demand: ModelDemand,
    ceiling: Ceiling,
    /// Operations per second, and bytes per second, that are typically reached.
    typical: [f64; 2],
}

impl Pace {
    /// Of this model in the engine of that name on processors with these peaks.
    pub fn new(model: &Model, engine: &str, kv_type: &str, peaks: &DevicePeaks) -> Self {
        let header = &model.header;
        let demand = demand::model_demand(header, kv_type);
        let ceiling = ceiling(peaks);
        let is_narrow = engine == TYPICAL[0].0 && !WHOLE.contains(&header.quantization.as_str());
        let (_, prompt, step) = TYPICAL.into_iter().find(|(name, ..)| *name == engine).unwrap_or(TYPICAL[0]);
        let of_tiles = peaks.narrow.as_ref().is_some_and(|(_, name)| *name == "amx");
        let share = if of_tiles { TYPICAL_TILES } else { TYPICAL_NARROW };
        let narrow = if is_narrow { ceiling.narrow * share } else { 0.0 };
        Self { demand, ceiling, typical: [(ceiling.flops * prompt).max(narrow), ceiling.read * step] }
    }

    /// Whatever it is fed, a step of this length, and no bound below it.
    #[cfg(test)]
    pub(super) fn of_steps(seconds: f64) -> Self {
        let demand = ModelDemand {
            weight_bytes: crate::base::units::Bytes::new(1_000_000_000),
            experts: None,
            kv_bytes_per_position: 0.0,
            window: None,
            body_parameters: 0.0,
            head_parameters: 0.0,
            attention_operations: 0.0,
        };
        let cache = crate::base::units::Bytes::new(0);
        let ceiling = Ceiling { read: f64::INFINITY, flops: 1.0, narrow: 0.0, cache };
        Self { demand, ceiling, typical: [1.0, 1e9 / seconds] }
    }

    /// Feeding a prompt of `tokens` to each of `batch` sequences after `depth` others.
    pub fn prompt(&self, batch: u32, depth: u32, tokens: u32) -> Seconds {
        if tokens == 0 {
            return Seconds::ZERO;
        }
        self.typically(self.demand.prompt(f64::from(batch), f64::from(depth), f64::from(tokens)))
    }

    /// `steps` decode steps of `batch` sequences after `depth` tokens.
    pub fn steps(&self, batch: u32, depth: u32, steps: u32) -> Seconds {
        self.typically(self.demand.step(f64::from(batch), f64::from(depth), f64::from(steps)))
            * f64::from(steps)
    }

    /// One trial of a row, its context apart.
    pub fn trial(&self, row: &Row) -> Seconds {
        let (prompt, batch) = (row.prompt_tokens(), row.batch);
        let steps = self.steps(batch, row.depth + prompt, row.decode_steps());
        self.prompt(batch, row.depth, prompt) + steps
    }

    /// Feeding a row's context, which is done once.
    pub fn context(&self, row: &Row) -> Seconds {
        self.prompt(row.batch, 0, row.context_tokens())
    }

    /// One trial of a row at the peaks: nothing is faster.
    pub fn least(&self, row: &Row) -> Seconds {
        let (batch, depth) = (f64::from(row.batch), f64::from(row.depth));
        let (prompt, steps) = (f64::from(row.prompt_tokens()), f64::from(row.decode_steps()));
        let fed = if prompt > 0.0 { self.at_least(self.demand.prompt(batch, depth, prompt)) } else { 0.0 };
        Seconds::new(fed + steps * self.at_least(self.demand.step(batch, depth + prompt, steps)))
    }

    fn at_least(&self, work: Work) -> f64 {
        let Ceiling { read, cache, .. } = self.ceiling;
        let bytes = (work.least_bytes - cache.get() as f64).max(0.0);
        (bytes / read).max(work.operations / self.ceiling.fastest())
    }

    fn typically(&self, work: Work) -> Seconds {
        let [operations, bytes] = self.typical;
        Seconds::new((work.bytes / bytes).max(work.operations / operations))
    }
}

/// What the machine can do, looked at before anything is loaded.
#[derive(Debug)]
pub struct Looked {
    /// The device's peaks; `None` where they are measured after the run, since memory taken for them could not be told from the
    /// model's, or since a fault of a GPU's would end the run.
    pub peaks: Option<Result<DevicePeaks, String>>,
    /// How long work takes by them.
    pub pace: Result<Pace, String>,
    /// How long looking took.
    pub seconds: Seconds,
}

impl Looked {
    /// Measures the processors, unless a GPU computes.
    pub fn at(plan: &Plan, model: &Model, device: Device) -> Self {
        let begin = clock::now();
        let peaks = if device == Device::Cpu && sys::reset_peak_memory() {
            let peaks = measure_peaks(plan, device);
            // Their arrays are gone, and the model's memory counts from here.
            sys::reset_peak_memory();
            Some(peaks)
        } else {
            None
        };
        let kv_type = plan.kv_type.as_deref().unwrap_or("f32");
        let pace = match &peaks {
            Some(Ok(peaks)) => Ok(Pace::new(model, &plan.engine, kv_type, peaks)),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err("the device's peaks are measured after the run".to_owned()),
        };
        Self { peaks, pace, seconds: clock::now().since(begin) }
    }
}

/// The peaks of the device, of processors with as many threads as the plan has.
///
/// # Errors
/// As [`peaks::measure`] and [`peaks::measure_gpu`].
pub fn measure_peaks(plan: &Plan, device: Device) -> Result<DevicePeaks, String> {
    match device {
        Device::Cpu => peaks::measure(plan.threads.unwrap_or_else(sys::logical_cpus)),
        Device::Cuda(ordinal) => peaks::measure_gpu(ordinal),
    }
}

/// What the device does at most.
pub(super) fn ceiling(peaks: &DevicePeaks) -> Ceiling {
    Ceiling {
        read: peaks::best(&peaks.read),
        flops: peaks::best(&peaks.flops),
        narrow: peaks.narrow.as_ref().map_or(0.0, |(rounds, _)| peaks::best(rounds)),
        cache: peaks.cache,
    }
}

impl Estimate {
    /// Of a plan; `idle` where a sensor is read.
    pub fn of(plan: &Plan, model: &Model, looked: &Looked, idle: bool) -> Self {
        let pace = looked.pace.as_ref();
        let rows = || plan.rows.iter().map(|row| row.row);
        let measuring = |pace: &Pace| rows().map(|row| fewest_trials(&row, pace, plan.limits).get()).sum();
        let [made, read] = LOADED_PER_SECOND;
        let rate = if model.header.is_synthetic() { made } else { read };
        Self {
            load_seconds: Seconds::new(plan.weight_bytes.get() as f64 / rate),
            machine_seconds: looked.seconds + if idle { IDLE } else { Seconds::ZERO },
            measuring_seconds: pace.map(|pace| Seconds::new(measuring(pace))).map_err(Clone::clone).into(),
            max_time_seconds: plan.limits.max_time_seconds,
            trial_seconds: pace.map_or(Vec::new(), |pace| rows().map(|row| pace.trial(&row)).collect()),
            grows: plan.grow_batch,
        }
    }
}

/// A row with the fewest trials that its limits allow.
fn fewest_trials(row: &Row, pace: &Pace, limits: Limits) -> Seconds {
    let limits = limits.for_row(limits.max_time_seconds);
    let trials = limits.repetitions.unwrap_or(limits.min_trials) as f64;
    let longer = |a: Seconds, b: Seconds| if a > b { a } else { b };
    let trial = pace.trial(row);
    let measured = longer(longer(trial, limits.trial_seconds) * trials, limits.row_seconds);
    pace.context(row) + trial * WARMUP + measured
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Bytes;
    use crate::run::plan::RowKind;

    /// 1 GB of weights with a parameter a byte, on 10 GB/s and 1 and 4 TFLOP/s, of which all is reached.
    fn pace() -> Pace {
        let demand = ModelDemand {
            weight_bytes: Bytes::new(1_000_000_000),
            experts: None,
            kv_bytes_per_position: 0.0,
            window: None,
            body_parameters: 1e9,
            head_parameters: 0.0,
            attention_operations: 0.0,
        };
        let ceiling = Ceiling { read: 10e9, flops: 1e12, narrow: 4e12, cache: Bytes::new(200_000_000) };
        Pace { demand, ceiling, typical: [2e12, 5e9] }
    }

    #[test]
    fn bytes_and_operations_over_what_the_machine_does_are_the_time() {
        let pace = pace();
        let row = |kind, batch, depth| Row { kind, batch, depth };
        let prompt = row(RowKind::Prefill { prompt_tokens: 1000 }, 1, 0);
        let output = row(RowKind::Decode { output_tokens: 10 }, 1, 1000);
        let close = |found: Seconds, expected: f64| assert!((found.get() - expected).abs() < 1e-9, "{found}");
        // 2 · 1000 · 1e9 operations.
        close(pace.trial(&prompt), 1.0);
        close(pace.least(&prompt), 0.5);
        // Ten times 1 GB, of which 0.2 may lie in the cache.
        close(pace.trial(&output), 2.0);
        close(pace.least(&output), 0.8);
        close(pace.context(&output), 1.0);
        close(pace.trial(&row(RowKind::Joint { prompt_tokens: 1000, output_tokens: 11 }, 1, 0)), 3.0);
    }

    fn estimate(measuring: Option<f64>, most: Option<f64>) -> Estimate {
        Estimate {
            load_seconds: Seconds::new(2.2),
            machine_seconds: Seconds::new(1.5),
            measuring_seconds: measuring.map(Seconds::new).ok_or("no pace").into(),
            max_time_seconds: most.map(Seconds::new),
            trial_seconds: Vec::new(),
            grows: false,
        }
    }

    #[test]
    fn an_estimate_is_a_sentence() {
        for (measuring, most, said) in [
            (
                Some(12.4),
                Some(60.0),
                "takes about 18 s: 3 s to load the model, 13 s to measure it (1 min 0 s at most, --max-time), 2 s to measure the machine",
            ),
            (
                Some(400.0),
                Some(30.0),
                "takes about 35 s: 3 s to load the model, 30 s to measure it (--max-time), 2 s to measure the machine",
            ),
            (
                None,
                Some(30.0),
                "takes about 35 s: 3 s to load the model, 30 s to measure it (--max-time), 2 s to measure the machine",
            ),
            (
                Some(1200.0),
                None,
                "takes about 20 min 5 s: 3 s to load the model, 20 min 0 s to measure it, 2 s to measure the machine",
            ),
        ] {
            assert_eq!(estimate(measuring, most).to_string(), said);
        }
    }
}
