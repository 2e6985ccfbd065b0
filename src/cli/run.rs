//! `bench run`: measure one model on this machine, write one record, print what it costs.

use std::ffi::OsString;
use std::path::Path;

use crate::base::text::count;
use crate::base::units::{Bytes, Watts};
use crate::base::{clock, memory, redact, sys};
use crate::candle;
use crate::catalog::Catalog;
use crate::cost;
use crate::engine::Options;
use crate::engine::fused::Isa;
use crate::engine::{Demand, Device, Engine, Error as EngineError, MemoryForeseen};
use crate::hardware::device::{self, Choice, DeviceRequest, Found};
use crate::hardware::nvml::{self, ClockLock, PowerLimit};
use crate::hardware::telemetry::choose::{self, Chosen};
use crate::hardware::telemetry::{Rate, Recorder, host};
use crate::model::hub::HubSettings;
use crate::model::resolve::Sources;
use crate::model::tokenizer::Tokenizer;
use crate::model::{self, Model, Request};
use crate::record::{self, Greedy, Price, Record, Sensor, UnusedGpu, Verdict};
use crate::report::exchange::llama_bench_rows;
use crate::report::terminal::{self, Bar};
use crate::run::energy::Sensors;
use crate::run::engines::Kind;
use crate::run::estimate::{self, Estimate, Looked};
use crate::run::measure::energy;
use crate::run::plan::{self, Limits, Plan, PlannedRow, Row, limits, rows};
use crate::run::runner::{self, Finished, Job, Stopped};
use crate::run::seal::{self, Sealing};

use super::args::{Batch, List, LockClocks, RunArgs, only_for_our_engine};
use super::default_model::{self, DefaultModel};
use super::{Output, exit, today};

/// The prompt whose greedy continuation every record of a real model keeps.
const GREEDY_PROMPT: &str = "The capital of France is";
/// Largest batch that growing stops at.
const MOST_GROWN: u32 = 1024;

pub(super) fn run(
    args: &RunArgs,
    catalog: &dyn Fn() -> Result<Catalog, crate::catalog::Error>,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
    let created = clock::wall();
    let interrupt = sys::Interrupt::install()?;
    limit_threads(args.threads)?;
    let asked = limits::Asked {
        precision: args.precision,
        max_time: args.max_time,
        repetitions: args.repetitions.map(|r| r as usize),
        tier: args.tier.map(Into::into),
    };
    let mut limits = Limits::resolve(asked)?;
    let catalog = catalog()?;
    let wanted = args.gpu.as_deref().map(|id| catalog.gpu(id)).transpose()?;
    for api in &args.api {
        catalog.api_or_hosts(api)?;
    }
    let found = match &args.nvml_library {
        Some(library) => device::discover_through(library)?,
        None => device::discover(),
    };
    let place = choose(args.device, wanted, &found, &catalog, args.nvml_library.as_deref())?;
    let chosen = choose_sensors(args, &found, &place)?;
    let default_model =
        args.model.is_none().then(|| default_model(args, limits, &place, &catalog, &interrupt));
    announce(&place, default_model.as_ref(), output);
    if let Some(note) = chosen.as_ref().ok().and_then(|chosen| chosen.note.as_ref()) {
        output.note(note);
    }
    let calibrated = chosen.as_ref().ok().and_then(Chosen::calibrated);
    if chosen.is_ok() {
        limits.energy_seconds = energy::shortest_window(calibrated.as_ref());
    }
    if !args.dry_run {
        args.output.probe()?;
    }

    let bar = output.bar();
    let named = args.model.as_deref().or(default_model.as_ref().map(|model| model.name));
    let request = Request::parse(named.unwrap_or(default_model::SMALL))?;
    let looked = if args.dry_run {
        look(&request, &catalog, args.seed, &bar, &interrupt)
    } else {
        resolve(&request, &catalog, args.seed, &bar, &interrupt)
    };
    let model = match looked {
        Err(model::Error::Interrupted) => {
            bar.clear();
            output.note("interrupted; what was downloaded is kept, and the same command goes on from there");
            return Err(exit::Silent(interrupt.exit_code().unwrap_or(130)).into());
        }
        other => other?,
    };
    let engine = Loading::new(args, &model, &place)?;
    let mut plan = make_plan(args, limits, &model, &place, &engine)?;
    if !args.dry_run {
        check_memory(&plan, &place)?;
    }
    bar.spin("measuring what the processors can do at most");
    let looked = Looked::at(&plan, &model, place.gpu.is_some());
    plan.estimate = Some(Estimate::of(&plan, &model, &looked, chosen.is_ok()));
    if args.dry_run {
        bar.clear();
        if output.json {
            output.stdout(&(record::write::to_json(&plan)? + "\n"))?;
        } else {
            output.human(&terminal::render_plan(&plan, place.available))?;
        }
        return check_memory(&plan, &place);
    }
    bar.clear();
    if let Some(estimate) = &plan.estimate {
        output.note(&estimate.to_string());
    }
    if output.verbose > 0 {
        output.note(terminal::render_plan(&plan, place.available).trim_end());
    }

    bar.spin("reading the model's hash");
    let sha256 = content_hash(&model, &interrupt);
    let tokenizer = tokenizer(&model);
    let prompt = tokenizer.as_ref().map_err(Clone::clone).and_then(|tokenizer| {
        let tokens = tokenizer.encode(GREEDY_PROMPT, tokenizer.adds_bos());
        tokens.map_err(|error| format!("the prompt cannot be turned into tokens ({error})"))
    });
    bar.clear();
    let mut settings = Settings::apply(args, chosen.as_ref().ok())?;
    let measuring = Measuring {
        args,
        argv,
        output,
        catalog: &catalog,
        found: &found,
        place: &place,
        engine: &engine,
        plan: &plan,
        looked: &looked,
        request: &request,
        model: &model,
        sha256,
        tokenizer,
        prompt,
        chosen,
        calibrated,
        interrupt: &interrupt,
    };
    let mut records = Vec::new();
    let load = |options: &Options, progress: &dyn Fn(f64)| {
        engine.kind.load_watched(&model, options, &interrupt, progress)
    };
    let ended = measuring.each_limit(created, &mut settings, &load, &mut records);
    drop(settings);
    // What was measured is told also when a later limit failed.
    measuring.summary(&records)?;
    ended
}

/// Everything that is the same for each power limit.
struct Measuring<'a> {
    args: &'a RunArgs,
    argv: &'a [OsString],
    output: &'a Output,
    catalog: &'a Catalog,
    found: &'a Found,
    place: &'a Place,
    engine: &'a Loading,
    plan: &'a Plan,
    looked: &'a Looked,
    request: &'a Request,
    model: &'a Model,
    sha256: Result<String, String>,
    tokenizer: Result<Tokenizer, String>,
    prompt: Result<Vec<u32>, String>,
    chosen: Result<Chosen, String>,
    calibrated: Option<Sensor>,
    interrupt: &'a sys::Interrupt,
}

/// Gives the engine with the model in it, and tells now and then which share of the weights is ready.
type Load<'a> = dyn Fn(&Options, &dyn Fn(f64)) -> Result<Box<dyn Engine>, EngineError> + 'a;

/// A record, and the power limit under which it was measured.
type Limited = (Option<Watts>, Record);

impl Measuring<'_> {
    /// Measures under each power limit, once where none is asked for; what was measured before an error is in `records`.
    fn each_limit(
        &self,
        created: jiff::Timestamp,
        settings: &mut Settings,
        load: &Load<'_>,
        records: &mut Vec<Limited>,
    ) -> anyhow::Result<()> {
        let mut worst = Ok(());
        for number in 0..self.args.power_limit.len().max(1) {
            let limit = settings.limit(self.args, number)?;
            let created = if number == 0 { created } else { clock::wall() };
            let bar = self.output.bar();
            let (record, stopped) = self.one(created, limit, settings, bar, load)?;
            let kept = self.publish(&record)?;
            let verdict = record.validity.verdict;
            let rows = count(stopped.as_ref().map_or(0, |(_, rows)| *rows), "row");
            records.push((limit, record));
            match stopped.map(|(stopped, _)| stopped.error) {
                Some(None) => return Err(exit::Silent(self.interrupt.exit_code().unwrap_or(130)).into()),
                Some(Some(error)) => {
                    return Err(anyhow::Error::from(error)
                        .context(format!("{rows} measured before are kept in {kept}")));
                }
                None if verdict == Verdict::Invalid => worst = Err(exit::Silent(12).into()),
                None => {}
            }
        }
        worst
    }

    /// Measures and seals one record with the engine that `load` gives; says what stopped it, if anything did, and
    /// behind how many rows.
    fn one(
        &self,
        created: jiff::Timestamp,
        power_limit: Option<Watts>,
        settings: &Settings,
        mut observer: Bar,
        load: &Load<'_>,
    ) -> anyhow::Result<(Record, Option<(Stopped, usize)>)> {
        let plan = self.plan;
        let rows: Vec<Row> = plan.rows.iter().map(|row| row.row).collect();
        let next = |batch: u32| next_batch(&rows, self.model, self.place, self.engine, batch);
        let recorder = match &self.chosen {
            Ok(chosen) => chosen.open().and_then(|source| {
                Recorder::start(source, Rate::default())
                    .map_err(|error| format!("the sensors' thread cannot be started ({error})"))
            }),
            Err(reason) => Err(reason.clone()),
        };
        if let (Ok(recorder), Some(sensor)) = (&recorder, &self.calibrated) {
            recorder.know(sensor.clone());
        }
        let job = Job {
            rows: &rows,
            limits: plan.limits,
            seed: plan.seed,
            vocabulary: self.model.header.spec.vocabulary,
            greedy_prompt: self.prompt.as_ref().ok().cloned(),
            next_batch: plan.grow_batch.then_some(&next),
            recorder: recorder.as_ref().ok(),
            pace: self.looked.pace.as_ref().ok(),
            now: &clock::now,
            interrupt: self.interrupt,
        };
        let options = Options {
            max_positions: most_positions(&rows),
            max_batch: most_sequences(&rows, plan.grow_batch),
            ..self.engine.options
        };
        let loading = observer.loading();
        let before = host::read();
        let mut finished = runner::run(&job, || load(&options, &loading), &mut observer)?;
        let host = host::between(&before, &host::read());
        let sensors = recorder.map(|recorder| Sensors {
            recorded: recorder.stop(),
            other_device: self.chosen.as_ref().is_ok_and(|chosen| chosen.other_device),
        });
        let usage = sys::usage();
        let peaks = self.looked.peaks.clone().unwrap_or_else(|| {
            observer.spin("measuring what the processors can do at most");
            estimate::measure_peaks(plan)
        });
        observer.clear();

        let today = today();
        let record = seal::seal(
            &finished,
            Sealing {
                argv: super::typed(self.argv),
                plan,
                created,
                id: seal::unique_id(created),
                found: self.found,
                gpu: self.place.gpu,
                unused_gpu: self.place.unused_gpu.clone(),
                model: self.model,
                sha256: self.sha256.clone(),
                catalog_id: catalog_row(self.request, self.model, self.catalog),
                greedy: greedy(&finished, &self.tokenizer, &self.prompt),
                price: price(self.args, self.place, self.found, self.catalog, today),
                apis: &self.args.api,
                catalog: self.catalog,
                today,
                signal: self.interrupt.exit_code(),
                usage,
                power_limit,
                settings: settings.named(),
                host,
                peaks,
                sensors,
            },
        )?;
        let rows = finished.rows.len();
        Ok((record, finished.stopped.take().map(|stopped| (stopped, rows))))
    }

    /// Whether stdout is for a machine.
    fn for_a_machine(&self) -> bool {
        self.output.json || self.args.output.is_stdout()
    }

    /// Text for people, beside a machine's stdout unless `-q` says less.
    fn human(&self, text: &str) -> anyhow::Result<()> {
        let text = redact::text(text);
        if !self.for_a_machine() {
            return self.output.stdout(&text);
        }
        if !self.output.quiet {
            eprint!("{text}");
        }
        Ok(())
    }

    /// Writes the record and prints it; says where it is.
    fn publish(&self, record: &Record) -> anyhow::Result<String> {
        let style = self.output.human_style();
        let mut human = terminal::render(record, style);
        let written = self.args.output.keep(record);
        if let Ok(Some(path)) = &written {
            human = format!("{human}{} {}\n", style.strong("Record  "), path.display());
            human.push_str(&beside(record, style));
        }
        // A disk that is full must not take the figures along.
        self.human(&human)?;
        if self.for_a_machine() && self.args.output.rows().is_none() && self.args.power_limit.len() < 2 {
            self.output.stdout(&(record::write::to_json(record)? + "\n"))?;
        }
        Ok(written?.map_or_else(|| "the record on stdout".to_owned(), |path| path.display().to_string()))
    }

    /// llama-bench's rows when those were asked for. What several power limits gave: a table for people, one object for a
    /// machine.
    fn summary(&self, records: &[Limited]) -> anyhow::Result<()> {
        if let Some(form) = self.args.output.rows() {
            let rows = records.iter().flat_map(|(_, record)| llama_bench_rows(record).unwrap_or_default());
            self.output.stdout(&form.text(&rows.collect::<Vec<_>>()))?;
        }
        if self.args.power_limit.len() < 2 {
            return Ok(());
        }
        let swept: Vec<(Watts, &Record)> =
            records.iter().filter_map(|(limit, record)| Some(((*limit)?, record))).collect();
        if swept.len() > 1 && !self.output.quiet {
            self.human(&terminal::render_power_limits(&swept, self.output.human_style()))?;
        }
        if self.for_a_machine() && self.args.output.rows().is_none() {
            let records: Vec<&Record> = records.iter().map(|(_, record)| record).collect();
            let object = serde_json::json!({ "records": records });
            self.output.stdout(&(record::write::to_json(&object)? + "\n"))?;
        }
        Ok(())
    }
}

/// What the files called `samples-…` beside a record are, where there are some.
pub(super) fn beside(record: &Record, style: terminal::Style) -> String {
    let lists = record::write::lists_beside(record);
    if lists == 0 {
        return String::new();
    }
    let most = record::write::INLINE_SAMPLES;
    let text =
        format!("{} of more than {most} raw samples in samples-….json beside it", count(lists, "list"));
    format!("         {}\n", style.dim(&text))
}

/// The sensors that are read beside the run, or why none are.
fn choose_sensors(args: &RunArgs, found: &Found, place: &Place) -> anyhow::Result<Result<Chosen, String>> {
    let used = place.gpu.and_then(|index| found.gpus.get(index)).map(|gpu| gpu.index);
    Ok(choose::choose(&args.power, used, args.nvml_library.as_deref())?)
}

/// What this run changes on a GPU; put back when it is dropped, and by every other way out.
#[derive(Default)]
struct Settings {
    clocks: Option<ClockLock>,
    power_limit: Option<PowerLimit>,
}

impl Settings {
    /// Makes the changes that were asked for, on the GPU whose sensors are read.
    fn apply(args: &RunArgs, chosen: Option<&Chosen>) -> anyhow::Result<Self> {
        if args.lock_clocks.is_none() && args.power_limit.is_empty() {
            return Ok(Self::default());
        }
        let flag = if args.lock_clocks.is_some() { "--lock-clocks" } else { "--power-limit" };
        let unusable = |flag: &str, reason: String| choose::Error::Unusable(format!("{flag}: {reason}"));
        let out_of_range = |flag: &str, reason: String| choose::Error::Usage(format!("{flag}: {reason}"));
        let gpu = chosen.and_then(Chosen::gpu).ok_or_else(|| {
            choose::Error::Absent(format!(
                "{flag}: no GPU is measured by this run; it takes one that computes, or --power nvml[:GPU]"
            ))
        })?;
        for watts in &args.power_limit {
            nvml::check_power_limit(gpu, *watts).map_err(|reason| out_of_range("--power-limit", reason))?;
        }
        if let Some(LockClocks::At(mhz)) = args.lock_clocks {
            nvml::check_clocks(gpu, mhz).map_err(|reason| out_of_range("--lock-clocks", reason))?;
        }
        let clocks = match args.lock_clocks {
            None => None,
            Some(asked) => {
                let mhz = if let LockClocks::At(mhz) = asked { Some(mhz) } else { None };
                Some(nvml::lock_clocks(gpu, mhz).map_err(|reason| unusable("--lock-clocks", reason))?)
            }
        };
        let power_limit = match args.power_limit.first() {
            None => None,
            Some(watts) => {
                Some(nvml::set_power_limit(gpu, *watts).map_err(|reason| unusable("--power-limit", reason))?)
            }
        };
        Ok(Self { clocks, power_limit })
    }

    /// What was set, by the flag's name.
    fn named(&self) -> Vec<(&'static str, String)> {
        self.clocks.iter().map(|clocks| ("lock_clocks_mhz", clocks.mhz.to_string())).collect()
    }

    /// Moves on to the power limit with this number, and says which is in force.
    fn limit(&mut self, args: &RunArgs, number: usize) -> anyhow::Result<Option<Watts>> {
        let (Some(limit), Some(watts)) = (&mut self.power_limit, args.power_limit.get(number)) else {
            return Ok(None);
        };
        if number > 0 {
            let unusable = |reason| choose::Error::Unusable(format!("--power-limit: {reason}"));
            limit.change(*watts).map_err(unusable)?;
        }
        Ok(Some(limit.watts))
    }
}

pub(super) fn resolve(
    request: &Request,
    catalog: &Catalog,
    seed: u64,
    bar: &Bar,
    interrupt: &sys::Interrupt,
) -> Result<Model, model::Error> {
    let hub = HubSettings::from_env();
    Sources { catalog, hub: &hub, seed, progress: bar, interrupt }.open(request)
}

/// The model's header alone, for a plan: a file on the hub stays there.
fn look(
    request: &Request,
    catalog: &Catalog,
    seed: u64,
    bar: &Bar,
    interrupt: &sys::Interrupt,
) -> Result<Model, model::Error> {
    let hub = HubSettings::from_env();
    Sources { catalog, hub: &hub, seed, progress: bar, interrupt }.look(request)
}

/// Where the run computes.
pub(super) struct Place {
    /// NVML's index of the GPU.
    gpu: Option<usize>,
    pub(super) engine_device: Device,
    /// Memory that can be taken there.
    pub(super) available: Option<Bytes>,
    /// Where an error says that memory is short.
    pub(super) short: String,
    /// The GPU that is here and cannot be used.
    pub(super) unused_gpu: Option<UnusedGpu>,
}

pub(super) fn limit_threads(asked: Option<u16>) -> anyhow::Result<()> {
    let cpus = sys::logical_cpus();
    let threads = asked.map(usize::from);
    if let Some(threads) = threads.filter(|threads| *threads > cpus) {
        let reason = format!(
            "this process may use {cpus} logical processors; more threads than that only wait for each other"
        );
        return Err(plan::Error::Machine { flag: format!("--threads {threads}"), reason }.into());
    }
    // candle counts the machine's cores, which may be more than a container lets the process use.
    sys::limit_candle_threads(
        threads
            .or_else(crate::base::env::rayon_num_threads)
            .map_or_else(|| candle::threads().min(cpus), |threads| threads.min(cpus)),
    );
    Ok(())
}

pub(super) fn choose(
    asked: DeviceRequest,
    wanted: Option<&crate::catalog::Gpu>,
    found: &Found,
    catalog: &Catalog,
    nvml_library: Option<&Path>,
) -> anyhow::Result<Place> {
    let row_of = |index: usize| Some(device::row(found.gpus.get(index)?, catalog)?.family.clone());
    let order = || device::cuda_in_nvml(nvml_library);
    let drives_cuda = cfg!(feature = "candle-cuda");
    let choice = device::choose(asked, wanted, found, row_of, drives_cuda.then_some(&order as _))?;
    Ok(match choice {
        Choice::Cpu { unused } => {
            // The engine's threads and those that read and pack weights, the sensors' and two to spare.
            let threads = 2 * candle::threads() + 3;
            let memory = memory::memory();
            Place {
                gpu: None,
                engine_device: Device::Cpu,
                available: memory.map(|memory| memory.beside_threads(threads)),
                short: memory.map_or("", |memory| memory.limit.place()).to_owned(),
                unused_gpu: unused,
            }
        }
        Choice::Cuda { ordinal, gpu } => Place {
            gpu: Some(gpu),
            engine_device: Device::Cuda(ordinal),
            available: found.gpus.get(gpu).and_then(|gpu| gpu.memory_free.clone().ok()),
            short: format!(" on {}", Device::Cuda(ordinal)),
            unused_gpu: None,
        },
    })
}

/// The first lines: where it is measured, and what when nobody said what.
fn announce(place: &Place, default_model: Option<&DefaultModel>, output: &Output) {
    if let Some(gpu) = &place.unused_gpu {
        output.note(&gpu.to_string());
    }
    if let Some(model) = default_model {
        output.note(&model.announcement());
    }
}

/// The model that is measured when none is named.
fn default_model(
    args: &RunArgs,
    limits: Limits,
    place: &Place,
    catalog: &Catalog,
    interrupt: &sys::Interrupt,
) -> DefaultModel {
    let hub = HubSettings::from_env();
    let sources = Sources { catalog, hub: &hub, seed: args.seed, progress: &(), interrupt };
    let too_large = |name: &str| {
        // What is wrong with the flags is said when the run itself is planned.
        let model = sources.open(&Request::parse(name).ok()?).ok()?;
        let engine = Loading::new(args, &model, place).ok()?;
        let plan = make_plan(args, limits, &model, place, &engine).ok()?;
        check_memory(&plan, place).err()?;
        let available = place.available?;
        Some(format!("it needs {} of memory, and {available} is available", plan.memory.total()))
    };
    default_model::choose(&default_model::Fitness {
        on_gpu: place.gpu.is_some(),
        portable: args.isa.unwrap_or_else(Isa::detect) == Isa::Portable,
        too_large: &too_large,
    })
}

/// Which engine, and how it is told to load.
struct Loading {
    kind: Kind,
    options: Options,
}

impl Loading {
    fn new(args: &RunArgs, model: &Model, place: &Place) -> anyhow::Result<Self> {
        let kind = args.engine.kind(&model.header, place.engine_device);
        kind.supports(&model.header)?;
        only_for_our_engine(args.isa, args.kv_type, &[kind])?;
        let options = Options {
            device: place.engine_device,
            threads: Some(args.threads.map_or_else(candle::threads, usize::from)),
            isa: args.isa,
            kv_type: args.kv_type.unwrap_or_default(),
            ..Options::default()
        };
        Ok(Self { kind, options })
    }

    fn foreseen(&self, model: &Model, row: &Row) -> MemoryForeseen {
        self.kind.memory_foreseen(&model.header, demand(row, self.options.device), &self.options)
    }
}

fn make_plan(
    args: &RunArgs,
    limits: Limits,
    model: &Model,
    place: &Place,
    engine: &Loading,
) -> anyhow::Result<Plan> {
    let on_gpu = place.gpu.is_some();
    let grow_batch = args.batch == Some(Batch::Auto) || (args.batch.is_none() && on_gpu);
    let list = |given: &[List], cpu: u32, gpu: u32| List::joined(given, if on_gpu { gpu } else { cpu });
    // `--pg` alone asks for joint rows alone.
    let only_joint = !args.pg.is_empty() && args.prompt_tokens.is_empty() && args.output_tokens.is_empty();
    let shapes = rows::Shapes {
        prompt_tokens: if only_joint { Vec::new() } else { list(&args.prompt_tokens, 128, 512) },
        output_tokens: if only_joint { Vec::new() } else { list(&args.output_tokens, 32, 128) },
        joint: args.pg.clone(),
        batch: match &args.batch {
            Some(Batch::These(batches)) => batches.clone(),
            _ => vec![1],
        },
        depth: List::joined(&args.depth, 0),
    };
    let rows = rows::expand(&shapes);
    if rows.is_empty() {
        let reason = "there is nothing to measure: every prompt and output length is 0";
        return Err(plan::Error::Usage { flag: "-p and -n".into(), reason: reason.into() }.into());
    }
    plan::check_context(&rows, &model.header)?;
    for row in &rows {
        engine.kind.can_run(&model.header, demand(row, place.engine_device))?;
    }
    let planned: Vec<PlannedRow> = rows
        .iter()
        .map(|row| PlannedRow {
            row: *row,
            label: row.label(),
            memory_bytes: engine.foreseen(model, row).total(),
        })
        .collect();
    let largest = plan::largest(&planned).map_or(rows[0], |row| row.row);
    let memory = engine.foreseen(model, &largest);
    let threads = (!on_gpu).then(|| args.threads.map_or_else(candle::threads, usize::from));
    let own = engine.kind == Kind::Fused;
    Ok(Plan {
        model: model.id.clone(),
        quantization: model.header.quantization.clone(),
        quantization_note: model.header.quantization_note.clone(),
        engine: engine.kind.name().to_owned(),
        device: place.engine_device.to_string(),
        threads,
        isa: own.then(|| engine.options.isa.unwrap_or_else(Isa::detect).label().to_owned()),
        kv_type: own.then(|| engine.options.kv_type.label().to_owned()),
        rows: planned,
        grow_batch,
        limits,
        seed: args.seed,
        weight_bytes: model.header.weight_bytes(),
        memory,
        estimate: None,
    })
}

fn check_memory(plan: &Plan, place: &Place) -> anyhow::Result<()> {
    let (Some(available), Some(largest)) = (place.available, plan::largest(&plan.rows)) else {
        return Ok(());
    };
    Ok(plan::check_memory(&largest.row.label(), &plan.memory, available, &place.short, plan::ROW_WAY_OUT)?)
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

fn most_positions(rows: &[Row]) -> Option<u32> {
    let rows = rows.iter().map(Row::positions).max()?;
    // The fixed prompt and its continuation need room too.
    u32::try_from(rows.max(256)).ok()
}

/// Sequences that will run together at most.
fn most_sequences(rows: &[Row], grows: bool) -> Option<u32> {
    let most = rows.iter().map(|row| row.batch).max();
    if grows { most.max(Some(MOST_GROWN)) } else { most }
}

/// The rows of a larger batch, when the engine and the memory can take it.
fn next_batch(rows: &[Row], model: &Model, place: &Place, engine: &Loading, batch: u32) -> Option<Vec<Row>> {
    let last = rows.last()?.batch;
    let grown: Vec<Row> =
        rows.iter().filter(|row| row.batch == last).map(|row| Row { batch, ..*row }).collect();
    let fits = |row: &Row| {
        // `available` is from before the weights were loaded, and they are counted in what is foreseen.
        place.available.is_none_or(|available| engine.foreseen(model, row).total() <= available)
    };
    (batch <= MOST_GROWN && grown.iter().all(fits)).then_some(grown)
}

pub(super) fn content_hash(model: &Model, interrupt: &sys::Interrupt) -> Result<String, String> {
    let folder = model::hash::default_folder();
    let hasher = model::hash::Hasher { folder: &folder, interrupt, advance: &|_| () };
    match hasher.model(model) {
        Ok(Some(sha256)) => Ok(sha256),
        Ok(None) => Err("a synthetic model has no file; `source` is its recipe".to_owned()),
        Err(error) => Err(format!("not computed: {error}")),
    }
}

fn tokenizer(model: &Model) -> Result<Tokenizer, String> {
    if model.header.is_synthetic() {
        return Err(
            "a synthetic model has random weights and no vocabulary; its text would mean nothing".to_owned()
        );
    }
    match Tokenizer::open(model) {
        Ok(Some(tokenizer)) => Ok(tokenizer),
        Ok(None) => Err("the model came without a tokenizer".to_owned()),
        Err(error) => Err(format!("the tokenizer cannot be used ({error})")),
    }
}

fn greedy(
    finished: &Finished,
    tokenizer: &Result<Tokenizer, String>,
    prompt: &Result<Vec<u32>, String>,
) -> Result<Greedy, String> {
    let (tokenizer, prompt_tokens) = (tokenizer.as_ref().map_err(Clone::clone)?, prompt.clone()?);
    let why = || {
        let ended = "the run ended before the fixed prompt was continued";
        finished.greedy_skipped.clone().unwrap_or_else(|| ended.to_owned())
    };
    let tokens = finished.greedy.clone().ok_or_else(why)?;
    let text = tokenizer
        .decode(&tokens)
        .map_err(|error| format!("the tokens cannot be turned into text ({error})"))?;
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    Ok(Greedy {
        prompt: GREEDY_PROMPT.to_owned(),
        prompt_tokens,
        tokens_blake3: blake3::hash(&bytes).to_hex().to_string(),
        tokens,
        text,
    })
}

fn price(
    args: &RunArgs,
    place: &Place,
    found: &Found,
    catalog: &Catalog,
    today: jiff::civil::Date,
) -> Result<Price, String> {
    if let Some(usd) = args.price_per_hour {
        return Ok(cost::given_price(usd));
    }
    let Some(gpu) = place.gpu.and_then(|index| found.gpus.get(index)) else {
        return cost::cpu_price(catalog, found.logical_cpus, today);
    };
    let asked = || gpu.name.is_err().then(|| catalog.gpu(args.gpu.as_deref()?).ok()).flatten();
    let row = device::row(gpu, catalog).or_else(asked).ok_or_else(|| match &gpu.name {
        Ok(name) => {
            format!("the catalog has no row for `{name}`; give the rent with --price-per-hour USD")
        }
        Err(reason) => format!(
            "which GPU this is is not known ({reason}); name it with --gpu, or give the rent with --price-per-hour USD"
        ),
    })?;
    cost::gpu_price(catalog, row, today)
}

/// The catalog's row for the model: the one asked for, or the one whose hub repository it came from.
pub(super) fn catalog_row(request: &Request, model: &Model, catalog: &Catalog) -> Option<String> {
    let id = match request {
        Request::Catalog { id, .. } => id,
        Request::Synthetic { preset, .. } => preset,
        _ => &model.header.name,
    };
    catalog.model(id).ok().map(|row| row.id.clone())
}

#[cfg(test)]
mod failing;
#[cfg(test)]
mod tests;
