//! `bench run`: measure one model on this machine, write one record, print what it costs.

use std::ffi::OsString;
use std::path::Path;

use crate::base::units::Bytes;
use crate::base::{clock, sys};
use crate::catalog::Catalog;
use crate::cost;
use crate::engine::candle;
use crate::hardware::device::{self, Choice, Found};
use crate::model::hub::HubSettings;
use crate::model::resolve::Sources;
use crate::model::tokenizer::Tokenizer;
use crate::model::{self, Model, Request, Source};
use crate::record::{self, Greedy, Price, Verdict};
use crate::report::terminal::{self, Bar};
use crate::run::plan::{self, Limits, Plan, PlannedRow, Row, limits, rows};
use crate::run::runner::{self, Finished, Job};
use crate::run::seal::{self, Sealing};

use super::args::{Batch, EngineName, List, RunArgs};
use super::{Output, exit, today};

/// The prompt whose greedy continuation every record of a real model keeps.
const GREEDY_PROMPT: &str = "The capital of France is";
/// Measured when no model is named: small enough for any CPU.
const CPU_PRESET: &str = "synthetic:smollm2-135m:q4_0";
/// Measured when no model is named and a GPU computes.
const GPU_PRESET: &str = "synthetic:llama-3.1-8b:q4_k_m";
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
    limit_threads(args)?;
    let asked = limits::Asked {
        precision: args.precision,
        max_time: args.max_time,
        repetitions: args.repetitions.map(|r| r as usize),
        tier: args.tier.map(Into::into),
    };
    let limits = Limits::resolve(asked)?;
    let catalog = catalog()?;
    let wanted = args.gpu.as_deref().map(|id| catalog.gpu(id)).transpose()?;
    for api in &args.api {
        catalog.api(api)?;
    }
    let found = device::discover();
    let place = choose(args, wanted, &found, &catalog)?;
    announce(args, &place, output);
    let to_stdout = args.output == Path::new("-");
    if !to_stdout && !args.dry_run {
        record::write::probe_folder(&args.output)?;
    }

    let bar = Bar::new(output.progress());
    let name = args.model.as_deref().unwrap_or(if place.gpu.is_some() { GPU_PRESET } else { CPU_PRESET });
    let request = Request::parse(name)?;
    let model = match resolve(&request, &catalog, args.seed, &bar, &interrupt) {
        Err(model::Error::Interrupted) => {
            bar.clear();
            output.note("interrupted; what was downloaded is kept, and the same command goes on from there");
            return Err(exit::Silent(interrupt.exit_code().unwrap_or(130)).into());
        }
        other => other?,
    };
    let plan = make_plan(args, limits, &model, &place)?;
    if args.dry_run {
        bar.clear();
        if output.json {
            output.stdout(&(record::write::to_json(&plan)? + "\n"))?;
        } else {
            output.human(&terminal::render_plan(&plan, place.available))?;
        }
        return check_memory(&plan, &place);
    }
    check_memory(&plan, &place)?;
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
    let rows: Vec<Row> = plan.rows.iter().map(|row| row.row).collect();
    let next = |batch: u32| next_batch(&rows, &model, &place, batch);
    let job = Job {
        rows: &rows,
        limits: plan.limits,
        seed: plan.seed,
        vocabulary: model.header.spec.vocabulary,
        greedy_prompt: prompt.as_ref().ok().cloned(),
        next_batch: plan.grow_batch.then_some(&next),
        recorder: None,
        interrupt: &interrupt,
    };
    let options = candle::Options { device: place.engine_device, max_positions: most_positions(&rows) };
    let mut observer = bar;
    let finished = runner::run(&job, || candle::load(&model, &options, &interrupt), &mut observer)?;
    observer.clear();

    let today = today();
    let record = seal::seal(
        &finished,
        Sealing {
            argv: argv.iter().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            plan: &plan,
            created,
            id: seal::unique_id(created),
            found: &found,
            gpu: place.gpu,
            model: &model,
            sha256,
            catalog_id: catalog_row(&request, &model, &catalog),
            greedy: greedy(&finished, tokenizer, prompt),
            price: price(args, &place, &found, &catalog, today),
            apis: &args.api,
            catalog: &catalog,
            today,
            signal: interrupt.exit_code(),
            usage: sys::usage(),
            sensors: Err("this version does not measure power".to_owned()),
        },
    )?;

    let style = output.human_style();
    let mut human = terminal::render(&record, style);
    let mut machine = None;
    if to_stdout || output.json {
        machine = Some(record::write::to_json(&record)? + "\n");
    }
    if !to_stdout {
        let path = record::write::write(&record, &args.output, &seal::stem(&record))?;
        human = format!("{human}{} {}\n", style.strong("Record  "), path.display());
    }
    if let Some(machine) = machine {
        if !output.quiet {
            eprint!("{human}");
        }
        output.stdout(&machine)?;
    } else {
        output.human(&human)?;
    }
    match (interrupt.exit_code().filter(|_| finished.interrupted.is_some()), record.validity.verdict) {
        (Some(code), _) => Err(exit::Silent(code).into()),
        (None, Verdict::Invalid) => Err(exit::Silent(12).into()),
        (None, _) => Ok(()),
    }
}

fn resolve(
    request: &Request,
    catalog: &Catalog,
    seed: u64,
    bar: &Bar,
    interrupt: &sys::Interrupt,
) -> Result<Model, model::Error> {
    let hub = HubSettings::from_env();
    Sources { catalog, hub: &hub, seed, progress: bar, interrupt }.open(request)
}

/// Where the run computes.
struct Place {
    /// NVML's index of the GPU.
    gpu: Option<usize>,
    engine_device: candle::Device,
    /// Memory that can be taken there.
    available: Option<Bytes>,
    note: Option<String>,
}

fn limit_threads(args: &RunArgs) -> anyhow::Result<()> {
    let cpus = sys::logical_cpus();
    let threads = args.threads.map(usize::from);
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

fn choose(
    args: &RunArgs,
    wanted: Option<&crate::catalog::Gpu>,
    found: &Found,
    catalog: &Catalog,
) -> anyhow::Result<Place> {
    let row_of = |index: usize| {
        let gpu = found.gpus.get(index)?;
        Some(catalog.gpu_by_device_name(&gpu.name, gpu.memory_total.get())?.family.clone())
    };
    let choice = device::choose(args.device, wanted, found, row_of, cfg!(feature = "candle-cuda"))?;
    Ok(match choice {
        Choice::Cpu { note } => Place {
            gpu: None,
            engine_device: candle::Device::Cpu,
            available: sys::memory().map(|memory| memory.available),
            note,
        },
        Choice::Cuda(index) => Place {
            gpu: Some(index),
            engine_device: candle::Device::Cuda(index),
            available: found.gpus.get(index).map(|gpu| gpu.memory_free),
            note: None,
        },
    })
}

/// The first lines: what is measured when nobody said what.
fn announce(args: &RunArgs, place: &Place, output: &Output) {
    if let Some(note) = &place.note {
        output.note(note);
    }
    if args.model.is_none() {
        let preset = if place.gpu.is_some() { GPU_PRESET } else { CPU_PRESET };
        output.note(&format!(
            "no --model: measuring {preset} (true shapes and formats, random values).\n\
             A real model: bench run --model hf:org/repo, --model llama-3.2-1b:q4_k_m, or a .gguf file"
        ));
    }
}

fn make_plan(args: &RunArgs, limits: Limits, model: &Model, place: &Place) -> anyhow::Result<Plan> {
    candle::supports(&model.header)?;
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
        candle::can_run(&model.header, demand(row, place.engine_device))?;
    }
    let planned: Vec<PlannedRow> = rows
        .iter()
        .map(|row| PlannedRow {
            row: *row,
            label: row.label(),
            memory_bytes: foreseen(model, row, place.engine_device).total(),
        })
        .collect();
    let largest = planned.iter().max_by_key(|row| row.memory_bytes).map_or(rows[0], |row| row.row);
    let memory = foreseen(model, &largest, place.engine_device);
    let threads = (!on_gpu).then(|| args.threads.map_or_else(candle::threads, usize::from));
    Ok(Plan {
        model: model.id.clone(),
        quantization: model.header.quantization.clone(),
        engine: match args.engine {
            EngineName::Auto | EngineName::Candle => "candle".to_owned(),
        },
        device: place.engine_device.to_string(),
        threads,
        rows: planned,
        grow_batch,
        limits,
        seed: args.seed,
        weight_bytes: model.header.weight_bytes(),
        memory,
    })
}

fn check_memory(plan: &Plan, place: &Place) -> anyhow::Result<()> {
    let (Some(available), Some(largest)) =
        (place.available, plan.rows.iter().max_by_key(|row| row.memory_bytes))
    else {
        return Ok(());
    };
    let where_to = if place.gpu.is_some() { format!(" on {}", plan.device) } else { String::new() };
    Ok(plan::check_memory(&largest.row, &plan.memory, available, &where_to)?)
}

fn foreseen(model: &Model, row: &Row, device: candle::Device) -> crate::engine::MemoryForeseen {
    candle::memory_foreseen(&model.header, demand(row, device))
}

fn demand(row: &Row, device: candle::Device) -> candle::Demand {
    candle::Demand {
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

/// The rows of a larger batch, when the engine and the memory can take it.
fn next_batch(rows: &[Row], model: &Model, place: &Place, batch: u32) -> Option<Vec<Row>> {
    let last = rows.last()?.batch;
    let grown: Vec<Row> =
        rows.iter().filter(|row| row.batch == last).map(|row| Row { batch, ..*row }).collect();
    let fits = |row: &Row| {
        // `available` is from before the weights were loaded, and they are counted in what is foreseen.
        place.available.is_none_or(|available| foreseen(model, row, place.engine_device).total() <= available)
    };
    (batch <= MOST_GROWN && grown.iter().all(fits)).then_some(grown)
}

fn content_hash(model: &Model, interrupt: &sys::Interrupt) -> Result<String, String> {
    let folder = model::hash::default_folder();
    let hasher = model::hash::Hasher { folder: &folder, interrupt, advance: &|_| () };
    match hasher.model(model) {
        Ok(Some(sha256)) => Ok(sha256),
        Ok(None) => Err("a synthetic model has no file; `source` is its recipe".to_owned()),
        Err(error) => Err(format!("not computed: {error}")),
    }
}

fn tokenizer(model: &Model) -> Result<Tokenizer, String> {
    if matches!(model.source, Source::Synthetic(_)) {
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
    tokenizer: Result<Tokenizer, String>,
    prompt: Result<Vec<u32>, String>,
) -> Result<Greedy, String> {
    let (tokenizer, prompt_tokens) = (tokenizer?, prompt?);
    let tokens =
        finished.greedy.clone().ok_or("the run was interrupted before the fixed prompt was continued")?;
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
    let row = catalog.gpu_by_device_name(&gpu.name, gpu.memory_total.get());
    let row = row.ok_or_else(|| {
        format!("the catalog has no row for `{}`; give the rent with --price-per-hour USD", gpu.name)
    })?;
    cost::gpu_price(catalog, row, today)
}

/// The catalog's row for the model: the one asked for, or the one whose hub repository it came from.
fn catalog_row(request: &Request, model: &Model, catalog: &Catalog) -> Option<String> {
    let id = match request {
        Request::Catalog { id, .. } => id,
        Request::Synthetic { preset, .. } => preset,
        _ => &model.header.name,
    };
    catalog.model(id).ok().map(|row| row.id.clone())
}
