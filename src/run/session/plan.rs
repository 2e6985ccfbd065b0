//! Engine, rows and memory of a run, and how long it will take: all that is known before a weight is read.

use jiff::tz::TimeZone;

use crate::base::failure::Usage;
use crate::candle;
use crate::cost;
use crate::engine::fused::Isa;
use crate::engine::{Demand, Device, Launches, MemoryEstimate, Options};
use crate::model::Model;
use crate::run::demand;
use crate::run::engines::{self, Kind};
use crate::run::estimate::Looked;
use crate::run::plan::{self, Estimate, Fits, Plan, PlannedRow, Row, rows};
use crate::run::runner::{self, LeftOut};

use super::{Batch, Content, Error, Place, Ready, Resolved, RunRequest, Session};

/// Largest batch that growing stops at.
const MOST_GROWN: u32 = 1024;

/// Which engine, and how it is told to load.
#[derive(Debug, Clone, Copy)]
pub struct EngineSetup {
    /// Which.
    pub kind: Kind,
    /// What it is told.
    pub options: Options,
}

/// Engine, rows, limits and memory are known.
pub struct Planned<'a> {
    pub(super) session: &'a Session<'a>,
    pub(super) resolved: Resolved,
    pub(super) engine: EngineSetup,
    pub(super) plan: Plan,
}

impl Session<'_> {
    /// Plans a run of `resolved`: the engine, the rows, and the memory of each.
    ///
    /// # Errors
    /// [`Error::Engine`] where the engine cannot run the model or a row of it; [`Error::Usage`] where flags contradict
    /// the engine or leave no row; [`Error::Plan`] where the model's context is too short for a row.
    pub fn plan(&self, resolved: Resolved) -> Result<Planned<'_>, Error> {
        let engine = EngineSetup::choose(self.request, &resolved.model, self.place.device)?;
        let plan = make_plan(self, &resolved.model, &engine)?;
        Ok(Planned { session: self, resolved, engine, plan })
    }
}

impl EngineSetup {
    /// The engine that was asked for, else the best for the model on `device`.
    ///
    /// # Errors
    /// [`Error::Engine`] where it cannot run the model; [`Error::Usage`] where flags contradict it.
    pub fn choose(request: &RunRequest, model: &Model, device: Device) -> Result<Self, Error> {
        let kind = request.engine.unwrap_or_else(|| Kind::best(&model.header, device));
        kind.supports(&model.header)?;
        engines::check_fused_flags(request.isa, request.kv_type, request.launches, &[kind])?;
        let flag = match request.launches {
            Launches::Graphs => None,
            Launches::Single => Some("--no-graphs"),
            Launches::Watched => Some("--debug-kernels"),
        };
        if let Some(flag) = flag.filter(|_| device == Device::Cpu) {
            return Err(
                Usage::new(flag, "it is for a GPU, and this runs on the processor; leave it out").into()
            );
        }
        let options = Options {
            device,
            threads: Some(threads(request)),
            isa: request.isa,
            kv_type: request.kv_type.unwrap_or_default(),
            launches: request.launches,
            ..Options::default()
        };
        Ok(Self { kind, options })
    }

    fn memory(&self, model: &Model, row: &Row) -> MemoryEstimate {
        self.memory_estimate(model, demand(row, self.options.device))
    }

    /// The memory that it will need.
    pub fn memory_estimate(&self, model: &Model, demand: Demand) -> MemoryEstimate {
        self.kind.memory_estimate(&model.header, demand, &self.options)
    }
}

fn threads(request: &RunRequest) -> usize {
    request.threads.map_or_else(candle::threads, usize::from)
}

fn make_plan(session: &Session<'_>, model: &Model, engine: &EngineSetup) -> Result<Plan, Error> {
    let (request, place) = (session.request, &session.place);
    let on_gpu = place.on_gpu();
    let rows = rows::expand(&shapes(request, on_gpu));
    if rows.is_empty() {
        let reason = "there is nothing to measure: every prompt and output length is 0";
        return Err(Usage::new("-p and -n", reason).into());
    }
    plan::check_context(&rows, &model.header)?;
    for row in &rows {
        engine.kind.can_run(&model.header, demand(row, place.device))?;
    }
    let planned: Vec<PlannedRow> = rows
        .iter()
        .map(|row| PlannedRow {
            row: *row,
            label: row.label(),
            memory_bytes: engine.memory(model, row).total(),
        })
        .collect();
    let largest = plan::largest(&planned).map_or(rows[0], |row| row.row);
    let own = engine.kind == Kind::Fused;
    Ok(Plan {
        model: model.id.clone(),
        quantization: model.header.quantization.clone(),
        quantization_note: model.header.quantization_note.clone(),
        engine: engine.kind.name().to_owned(),
        device: place.device.to_string(),
        threads: (!on_gpu).then(|| threads(request)),
        isa: (own && !on_gpu).then(|| engine.options.isa.unwrap_or_else(Isa::detect).label().to_owned()),
        kv_type: own.then(|| engine.options.kv_type.label().to_owned()),
        launches: (own && on_gpu).then(|| engine.options.launches.label().to_owned()),
        rows: planned,
        grow_batch: request.batch == Some(Batch::Auto) || (request.batch.is_none() && on_gpu),
        limits: session.limits,
        seed: request.seed,
        weight_bytes: model.header.weight_bytes(),
        memory: engine.memory(model, &largest),
        estimate: None,
        fits: fits(session, model, engine),
    })
}

/// What fits on the GPU that computes.
fn fits(session: &Session<'_>, model: &Model, engine: &EngineSetup) -> Option<Fits> {
    let (gpu, available) = (session.gpu_row()?, session.place.available?);
    let usd_per_hour = session.request.usd_per_hour.or_else(|| {
        let today = session.created.to_zoned(TimeZone::UTC).date();
        cost::gpu_price(session.catalog, gpu, today).ok().map(|price| price.usd_per_hour)
    });
    let asked = demand::model_demand(&model.header, engine.options.kv_type.label());
    let memory = |batch, (prompt, output)| {
        let row = Demand { batch, context: 0, prompt, output, device: session.place.device };
        engine.memory_estimate(model, row).total() <= available
    };
    Some(Fits::of(gpu, usd_per_hour, model.header.spec.context_length, &asked, &memory))
}

/// What was asked for, with the defaults of the device.
fn shapes(request: &RunRequest, on_gpu: bool) -> rows::Shapes {
    let list = |given: &[u32], cpu: u32, gpu: u32| match given {
        [] => vec![if on_gpu { gpu } else { cpu }],
        given => given.to_vec(),
    };
    // Joint rows alone, when nothing else was asked for.
    let only_joint =
        !request.joint.is_empty() && request.prompt_tokens.is_empty() && request.output_tokens.is_empty();
    rows::Shapes {
        prompt_tokens: if only_joint { Vec::new() } else { list(&request.prompt_tokens, 128, 512) },
        output_tokens: if only_joint { Vec::new() } else { list(&request.output_tokens, 32, 128) },
        joint: request.joint.clone(),
        batch: match &request.batch {
            Some(Batch::These(batches)) => batches.clone(),
            _ => vec![1],
        },
        depth: list(&request.depth, 0, 0),
    }
}

fn demand(row: &Row, device: Device) -> Demand {
    Demand {
        batch: row.batch,
        context: row.context_tokens(),
        prompt: row.prompt_tokens(),
        output: row.output_tokens(),
        device,
    }
}

impl<'a> Planned<'a> {
    /// What will be run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Checks that the device can hold the row that takes most.
    ///
    /// # Errors
    /// [`plan::Error::Memory`].
    pub fn check_memory(&self) -> Result<(), plan::Error> {
        let Place { available, short, .. } = &self.session.place;
        let (Some(available), Some(largest)) = (*available, plan::largest(&self.plan.rows)) else {
            return Ok(());
        };
        plan::check_memory(&largest.row.label(), &self.plan.memory, available, short, plan::ROW_WAY_OUT)
    }

    /// Measures what the processors can do at most, which takes about a second, and tells from that how long the run
    /// will take.
    pub fn estimate(self) -> Estimated<'a> {
        let looked = Looked::at(&self.plan, &self.resolved.model, self.session.place.device);
        self.estimated(looked)
    }

    /// Tells how long the run will take from what is known of the machine already.
    pub fn estimated(mut self, looked: Looked) -> Estimated<'a> {
        let sensors = self.session.sensors.is_ok();
        self.plan.estimate = Some(Estimate::of(&self.plan, &self.resolved.model, &looked, sensors));
        Estimated { planned: self, looked }
    }

    /// What the engine is told when it loads: room for the longest row and the largest batch.
    pub(super) fn options(&self, rows: &[Row]) -> Options {
        let longest = rows.iter().map(Row::positions).max();
        let largest = rows.iter().map(|row| row.batch).max();
        Options {
            // The fixed prompt and its continuation need room too.
            max_positions: longest.and_then(|positions| u32::try_from(positions.max(256)).ok()),
            max_batch: if self.plan.grow_batch { largest.max(Some(MOST_GROWN)) } else { largest },
            ..self.engine.options
        }
    }

    /// The rows of a larger batch, when the engine and the memory can take it.
    pub(super) fn next_batch(&self, rows: &[Row], batch: u32) -> Option<Vec<Row>> {
        let last = rows.last()?.batch;
        let grown: Vec<Row> =
            rows.iter().filter(|row| row.batch == last).map(|row| Row { batch, ..*row }).collect();
        let fits = |row: &Row| {
            // `available` is from before the weights were loaded, and they are counted in what is estimated.
            let needed = self.engine.memory(&self.resolved.model, row).total();
            self.session.place.available.is_none_or(|available| needed <= available)
        };
        (batch <= MOST_GROWN && grown.iter().all(fits)).then_some(grown)
    }
}

/// It is known how long the run will take.
pub struct Estimated<'a> {
    pub(super) planned: Planned<'a>,
    pub(super) looked: Looked,
}

impl<'a> Estimated<'a> {
    /// What will be run, with its estimate.
    pub fn plan(&self) -> &Plan {
        &self.planned.plan
    }

    /// As [`Planned::check_memory`].
    ///
    /// # Errors
    /// [`plan::Error::Memory`].
    pub fn check_memory(&self) -> Result<(), plan::Error> {
        self.planned.check_memory()
    }

    /// Checks that one trial of one row may end in time: what the measured peaks forbid is not tried.
    ///
    /// # Errors
    /// [`runner::Error::NoTime`].
    pub fn check_time(&self) -> Result<(), runner::Error> {
        let plan = &self.planned.plan;
        let (Some(max_time), Ok(pace)) = (plan.limits.max_time_seconds, &self.looked.pace) else {
            return Ok(());
        };
        if plan.rows.iter().any(|planned| pace.least(&planned.row) <= max_time) {
            return Ok(());
        }
        let too_long = |planned: &PlannedRow| LeftOut {
            row: planned.row,
            trial: pace.trial(&planned.row),
            left: max_time,
        };
        Err(runner::Error::NoTime { max_time, rows: plan.rows.iter().map(too_long).collect() })
    }

    /// Reads what a record keeps of the model's content.
    pub fn content(&self) -> Content {
        Content::read(&self.planned.resolved.model, self.planned.session.interrupt)
    }

    /// Checks that the GPU's clocks and power limit can be set where that was asked for; changes nothing.
    ///
    /// # Errors
    /// As [`ready`](Self::ready).
    pub fn check_settings(&self) -> Result<(), Error> {
        self.planned.session.check_settings()
    }

    /// Sets the GPU's clocks and power limit where that was asked for.
    ///
    /// # Errors
    /// [`Error::Sensors`] when a setting is out of the GPU's range or may not be made.
    pub fn ready(self, content: Content) -> Result<Ready<'a>, Error> {
        let Self { planned, looked } = self;
        let settings = planned.session.set()?;
        Ok(Ready { planned, looked, content, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::device::DeviceRequest;
    use crate::hardware::telemetry::choose::PowerRequest;
    use crate::run::plan::{Limits, limits};

    fn nothing_asked() -> RunRequest {
        RunRequest {
            argv: Vec::new(),
            model: None,
            engine: None,
            prompt_tokens: Vec::new(),
            output_tokens: Vec::new(),
            joint: Vec::new(),
            batch: None,
            depth: Vec::new(),
            gpu: None,
            device: DeviceRequest::Cpu,
            threads: None,
            isa: None,
            kv_type: None,
            launches: Launches::default(),
            power: PowerRequest::None,
            nvml_library: None,
            lock_clocks: None,
            power_limits: Vec::new(),
            limits: Limits::resolve(limits::Asked::default()).expect("no conflict"),
            seed: 0,
            usd_per_hour: None,
            apis: Vec::new(),
            plan_only: false,
        }
    }

    #[test]
    fn what_was_not_asked_for_has_the_defaults_of_the_device() {
        let labels = |request: &RunRequest, on_gpu| -> Vec<String> {
            rows::expand(&shapes(request, on_gpu)).iter().map(Row::label).collect()
        };
        let nothing = nothing_asked();
        assert_eq!(labels(&nothing, false), ["pp128", "tg32"]);
        assert_eq!(labels(&nothing, true), ["pp512", "tg128"]);
        let joint = RunRequest { joint: vec![(16, 8)], ..nothing.clone() };
        assert_eq!(labels(&joint, true), ["pp16+tg8"]);
        let both = RunRequest { output_tokens: vec![4], ..joint };
        assert_eq!(labels(&both, false), ["pp128", "tg4", "pp16+tg8"]);
        let batches = RunRequest {
            prompt_tokens: vec![0],
            batch: Some(Batch::These(vec![1, 8])),
            depth: vec![64],
            ..nothing
        };
        assert_eq!(labels(&batches, false), ["tg32 @ d64", "tg32 @ d64 b8"]);
    }
}
