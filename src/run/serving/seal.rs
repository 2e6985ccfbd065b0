//! Puts the record of a load together. What only the server knows is `null` with the reason.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::base::known::Known;
use crate::base::units::Seconds;
use crate::base::{redact, text};
use crate::catalog::{self, Catalog};
use crate::cost::{self, Assumptions};
use crate::endpoint::{Api, Stopped};
use crate::hardware::device::{self, Found};
use crate::record::serving::{Goals, Load, Server as ServerInfo};
use crate::record::{
    Command, EngineInfo, Environment, Fingerprint, Gpu, ModelInfo, Price, Quality, Record, RowLeftOut,
    SCHEMA, Serving, Unknown, Workload,
};
use crate::run::energy::Sensors;
use crate::run::fingerprint::Host;
use crate::run::{measure, seal as run_seal};

use super::measures;
use super::{Finished, Plan, Server, checks, energy};

/// Everything that goes into a record beside what the rows gave.
pub struct Sealing<'a> {
    /// The command line as typed.
    pub argv: Vec<String>,
    /// The plan.
    pub plan: &'a Plan,
    /// When the run began.
    pub created: jiff::Timestamp,
    /// The server.
    pub server: &'a Server,
    /// `--model`, where it was given.
    pub model: Option<&'a str>,
    /// What `--gpu` and `--gpus` say.
    pub hardware: Hardware<'a>,
    /// This machine.
    pub found: &'a Found,
    /// The price of the hour, or why there is none.
    pub price: Result<Price, String>,
    /// What the sensors of the server's device said, or why none were read.
    pub sensors: Result<Sensors, String>,
    /// APIs that were named.
    pub apis: &'a [String],
    /// Catalog of GPUs and prices.
    pub catalog: &'a Catalog,
    /// The day for the age of prices.
    pub today: Date,
    /// Exit code of the signal that stopped the run.
    pub signal: Option<u8>,
}

/// The server's GPUs as the command line names them; they need not be here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hardware<'a> {
    /// `--gpu`.
    pub gpu: Option<&'a catalog::Gpu>,
    /// `--gpus`.
    pub gpus: Option<u32>,
}

/// Why nothing of the server's machine is read.
pub const ELSEWHERE: &str = "the server runs on another machine";
const UNSAID: &str = "the server does not say";

impl Hardware<'_> {
    /// Whether the GPU that is named can be one of this machine's. A server behind a tunnel has an address here, and its GPU
    /// elsewhere.
    pub fn may_be_here(self, found: &Found, catalog: &Catalog) -> bool {
        self.gpu.is_none_or(|named| {
            found
                .gpus
                .iter()
                .any(|gpu| device::row(gpu, catalog).is_some_and(|row| row.family == named.family))
        })
    }
}

/// Seals a record.
///
/// # Errors
/// The catalog's when an API that was named is not in it.
pub fn seal(finished: &Finished, s: &Sealing<'_>) -> Result<Record, catalog::Error> {
    let mut measurements: Vec<_> = finished.rows.iter().flat_map(measures::measurements).collect();
    let energy = energy::energy(finished, s.sensors.as_ref());
    measurements.extend(energy.windows.iter().flat_map(measure::energy::measurements));
    let environment = environment(s);
    let model = model(s);
    let engine = engine(s.server);
    let workload = workload(finished, s.plan, s.server);
    let fingerprint = fingerprint(s, &environment, &model, &engine, &workload);
    let mut cost = cost::assess(&measurements, s.price.clone(), Assumptions::default());
    cost::electricity(&mut cost, &measurements, s.catalog);
    let interrupted = finished.stopped == Some(Stopped::Interrupted);
    let validity = checks::validate(&checks::Evidence {
        finished,
        on_this_machine: s.server.on_this_machine,
        ignore_eos: s.server.target.ignore_eos,
    });
    let mut record = Record {
        schema: SCHEMA.to_owned(),
        id: run_seal::unique_id(s.created),
        created: s.created.to_string(),
        tool: run_seal::tool(),
        command: Command {
            argv: redact::words(&s.argv),
            plan: redact::value("plan", resolved(s.plan, s.server), &mut Vec::new()),
            seed: Known::new(s.plan.seed),
            interrupted: s.signal.filter(|_| interrupted),
            interrupted_reason: Some(match finished.rows.last().filter(|_| finished.stopped.is_some()) {
                Some(last) => format!("it ended in the row {}: {}", last.row.label, last.ended_by),
                None => "the run came to its end".to_owned(),
            }),
            unknown: Unknown::new(),
        },
        environment,
        model,
        engine,
        workload,
        telemetry: Known::unknown(
            "no steps of an engine were metered; what the client did stands in serving.rows[].client",
        ),
        energy,
        cost,
        validity,
        quality: Quality {
            greedy: Known::unknown("the answers to random prompts mean nothing"),
            perplexity: Known::unknown("a server gives no logits"),
            unknown: Unknown::new(),
        },
        fingerprint,
        imported: None,
        serving: Some(serving(finished, s)),
        measurements,
        unknown: Unknown::new(),
    };
    cost::compare_api::fill_record(&mut record, s.apis, s.catalog, s.today)?;
    Ok(record)
}

/// The price of the server's machine for an hour: given, or the catalog's for its GPUs; of this machine where it is here.
///
/// # Errors
/// One sentence with the way out.
pub fn price(
    given: Option<Decimal>,
    hardware: Hardware<'_>,
    server: &Server,
    found: &Found,
    catalog: &Catalog,
    today: Date,
) -> Result<Price, String> {
    let count = hardware.gpus.unwrap_or(1);
    // As `bench import` has it: with --gpus the price is of one GPU, without of the whole machine.
    if let Some(usd) = given {
        return cost::of_gpus(cost::given_price(usd), count);
    }
    if let Some(gpu) = hardware.gpu {
        return cost::of_gpus(cost::gpu_price(catalog, gpu, today)?, count);
    }
    if !server.on_this_machine {
        return Err(format!(
            "{ELSEWHERE}; name its GPUs with --gpu ID and --gpus N, or give its rent with --price-per-hour USD"
        ));
    }
    match found.gpus.as_slice() {
        [] => cost::cpu_price(catalog, found.logical_cpus, today),
        [first, ..] if used_here(hardware, found) => {
            let row = device::row(first, catalog).ok_or_else(|| {
                "the catalog has no row for this machine's GPU; name it with --gpu, or give the rent with --price-per-hour USD"
                    .to_owned()
            })?;
            cost::of_gpus(cost::gpu_price(catalog, row, today)?, count)
        }
        all => Err(format!(
            "this machine has {}, and which of them the server uses is not known; say how many with --gpus",
            text::count(all.len(), "GPU")
        )),
    }
}

/// Whether the GPUs of this machine must be the server's: it has as many as it was said to use.
fn used_here(hardware: Hardware<'_>, found: &Found) -> bool {
    u32::try_from(found.gpus.len()).is_ok_and(|here| here > 0 && here == hardware.gpus.unwrap_or(1))
}

fn environment(s: &Sealing<'_>) -> Environment {
    let here = s.server.on_this_machine;
    let mut environment = if here { device::environment(s.found, None, s.catalog) } else { elsewhere() };
    let count = s.hardware.gpus.unwrap_or(1);
    match s.hardware.gpu {
        Some(row) => {
            let family = |gpu: &&mut Gpu| {
                let known = gpu.catalog_id.as_deref().and_then(|id| s.catalog.gpu(id).ok());
                known.is_some_and(|known| known.family == row.family)
            };
            let mut left = count;
            for gpu in environment.gpus.iter_mut().filter(family).take(count as usize) {
                gpu.used = true;
                left -= 1;
            }
            environment.gpus.extend((0..left).map(|_| named(row)));
            environment.gpus_reason = None;
        }
        None if here && used_here(s.hardware, s.found) => {
            environment.gpus.iter_mut().for_each(|gpu| gpu.used = true);
        }
        None => {}
    }
    environment
}

/// A GPU that --gpu names.
fn named(row: &catalog::Gpu) -> Gpu {
    let why = "it is named with --gpu and was not looked at";
    Gpu {
        name: Known::new(row.name.clone()),
        uuid: Known::unknown(why),
        catalog_id: Known::new(row.id.clone()),
        memory_bytes: Known::unknown(why),
        used: true,
        facts: Unknown::new(),
        unknown: Unknown::new(),
    }
}

fn elsewhere() -> Environment {
    Environment {
        gpus_reason: Some(format!("{ELSEWHERE}; --gpu names its GPUs")),
        ..Environment::unknown(ELSEWHERE)
    }
}

/// The model by the server's name for it, and the catalog's row by --model, else by that name.
fn model(s: &Sealing<'_>) -> ModelInfo {
    let served = s.server.target.model.as_str();
    let (asked, format) = match s.model {
        Some(model) => match model.split_once(':') {
            Some((id, format)) if s.catalog.model(id).is_ok() => (Some(id), Some(format.to_uppercase())),
            _ => (Some(model), None),
        },
        None => (None, None),
    };
    let row = asked.and_then(|asked| s.catalog.model_named(asked)).or_else(|| s.catalog.model_named(served));
    let format = format.or_else(|| catalog::format_in_name(served).map(str::to_uppercase));
    let format = format.ok_or_else(|| format!("{UNSAID}; --model ID:FORMAT says it"));
    let last = served.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(served);
    let listed = s.server.listed.as_ref().ok();
    let number = |said: Option<u64>| said.and_then(|said| u32::try_from(said).ok()).ok_or(UNSAID).into();
    ModelInfo {
        id: clean(served),
        name: row.map_or_else(|| clean(last), |row| row.name.clone()),
        source: format!("served at {}", s.server.target.url),
        synthetic: Known::unknown(UNSAID),
        architecture: Known::unknown(UNSAID),
        parameters: Known::unknown(UNSAID),
        quantization: format.into(),
        quantization_note: None,
        weight_bytes: Known::unknown(UNSAID),
        context_length: number(listed.and_then(|model| model.context)),
        layers: Known::unknown(UNSAID),
        vocabulary: number(listed.and_then(|model| model.vocabulary)),
        sha256: Known::unknown(UNSAID),
        catalog_id: row
            .map(|row| row.id.clone())
            .ok_or("no row of the catalog is this model; say which with --model")
            .into(),
        unknown: Unknown::new(),
    }
}

/// A stranger's text for the record: short, without secrets and without signs that steer a terminal.
fn clean(said: &str) -> String {
    text::clipped(&redact::text(said), 200)
}

fn engine(server: &Server) -> EngineInfo {
    let owner = server.listed.as_ref().ok().and_then(|model| model.owner.as_deref());
    EngineInfo {
        name: owner.map(clean).ok_or(UNSAID).into(),
        version: Known::unknown(UNSAID),
        device: Known::unknown(UNSAID),
        threads: Known::unknown(UNSAID),
        kv_type: Known::unknown(UNSAID),
        foreseen_memory_bytes: Known::unknown("nothing is loaded here"),
        caveats: Vec::new(),
        choices: Vec::new(),
        unknown: Unknown::new(),
    }
}

fn prompts(server: &Server) -> &'static str {
    if server.as_text { "random common words" } else { "random token ids" }
}

fn api(server: &Server) -> &'static str {
    match server.target.api {
        Api::Completions => "completions",
        Api::Chat => "chat",
    }
}

fn workload(finished: &Finished, plan: &Plan, server: &Server) -> Workload {
    Workload {
        kind: "serving".to_owned(),
        rows: plan.rows.iter().map(|row| row.label.clone()).collect(),
        rows_left_out: finished
            .left_out
            .iter()
            .map(|row| RowLeftOut {
                row: row.label.clone(),
                reason: if finished.stopped.is_some() {
                    "the run ended before it"
                } else {
                    "no time was left for it"
                }
                .to_owned(),
                trial_seconds: Known::unknown("a row of a load has no trials"),
                unknown: Unknown::new(),
            })
            .collect(),
        tokens: Known::new(format!("{}, new in each run and row", prompts(server))),
        sampling: Known::new("temperature 0".to_owned()),
        prefix_cache: Known::unknown(
            "it is the server's choice; no two prompts begin alike, and serving.rows[].cached_share has what it found",
        ),
        unknown: Unknown::new(),
    }
}

fn serving(finished: &Finished, s: &Sealing<'_>) -> Serving {
    let listed = s.server.listed.as_ref();
    let listed = listed.map_err(String::as_str);
    let gpus = s.hardware.gpus.or_else(|| s.hardware.gpu.map(|_| 1));
    let goals = s.plan.goals;
    let none = goals == crate::run::measure::serving::Goals::default();
    Serving {
        server: ServerInfo {
            url: redact::text(&s.server.target.url.to_string()).into_owned(),
            api: api(s.server).to_owned(),
            model: clean(&s.server.target.model),
            owned_by: listed.and_then(|model| model.owner.as_deref().map(clean).ok_or(UNSAID)).into(),
            context_tokens: listed.and_then(|model| model.context.ok_or(UNSAID)).into(),
            on_this_machine: s.server.on_this_machine,
            gpus: gpus.ok_or("neither --gpu nor --gpus was given").into(),
            unknown: Unknown::new(),
        },
        load: Load {
            prompts: prompts(s.server).to_owned(),
            lengths: s.plan.lengths_in_words(),
            salt: format!("{:x}", s.plan.salt),
            ignore_eos: s.server.target.ignore_eos,
            unknown: Unknown::new(),
        },
        goals: if none {
            Known::unknown("no --slo was given")
        } else {
            Known::new(Goals {
                time_to_first_token_seconds: goals.time_to_first_token.map(Seconds::get),
                time_per_output_token_seconds: goals.time_per_output_token.map(Seconds::get),
                end_to_end_latency_seconds: goals.end_to_end_latency.map(Seconds::get),
            })
        },
        rows: finished.rows.iter().map(measures::row).collect(),
        unknown: Unknown::new(),
    }
}

/// The plan with what only the server decided.
fn resolved(plan: &Plan, server: &Server) -> serde_json::Value {
    let mut value = serde_json::to_value(plan).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("engine".to_owned(), "endpoint".into());
        object.insert("url".to_owned(), server.target.url.to_string().into());
        object.insert("api".to_owned(), api(server).into());
        object.insert("served_model".to_owned(), server.target.model.clone().into());
        object.insert("ignore_eos".to_owned(), server.target.ignore_eos.into());
        object.insert("prompts".to_owned(), prompts(server).into());
    }
    value
}

/// What the record can be compared with. The box is the server with the machine that loads it; the salt is in none of the
/// keys: prompts are meant to differ from run to run.
fn fingerprint(
    s: &Sealing<'_>,
    environment: &Environment,
    model: &ModelInfo,
    engine: &EngineInfo,
    workload: &Workload,
) -> Fingerprint {
    let text = |value: Option<&String>| value.cloned().unwrap_or_else(|| "unknown".to_owned());
    let fields = |pairs: Vec<(&str, String)>| -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let hashed = |id: Option<String>| {
        text(id.map(|id| blake3::hash(id.as_bytes()).to_hex()[..16].to_owned()).as_ref())
    };
    let plan = s.plan;
    let mut series = vec![
        ("model_content", format!("not hashed: {}", model.catalog_id.as_ref().unwrap_or(&model.name))),
        ("quantization", text(model.quantization.as_ref())),
        ("engine", text(engine.name.as_ref())),
        ("workload", format!("{}: {}", workload.kind, workload.rows.join(", "))),
        ("lengths", plan.lengths_in_words()),
        ("tokens", text(workload.tokens.as_ref())),
        ("sampling", text(workload.sampling.as_ref())),
        ("ignore_eos", s.server.target.ignore_eos.to_string()),
        ("api", api(s.server).to_owned()),
        ("seed", plan.seed.to_string()),
    ];
    let used: Vec<&Gpu> = environment.gpus.iter().filter(|gpu| gpu.used).collect();
    match used.first() {
        Some(gpu) => {
            series.push(("gpu", gpu.label().to_owned()));
            series.push(("gpus", used.len().to_string()));
        }
        None => series.push(("cpu", text(environment.cpu.as_ref()))),
    }
    let host = Host::here();
    let machine = vec![
        ("server", s.server.target.url.to_string()),
        ("client", hashed(host.machine_id)),
        ("client_boot", hashed(host.boot_id)),
    ];
    let tool = run_seal::tool();
    let seconds =
        |time: Option<Seconds>| time.map_or_else(|| "none".to_owned(), |time| time.get().to_string());
    let number = |number: Option<u32>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let treatment = vec![
        (
            "binary",
            tool.binary_blake3.into_option().unwrap_or_else(|| format!("{} {}", tool.version, tool.profile)),
        ),
        ("flag.max_time_seconds", seconds(plan.max_time_seconds)),
        ("flag.row_seconds", seconds(plan.row_seconds)),
        ("flag.num_prompts", number(plan.num_prompts)),
        ("flag.num_warmups", number(plan.num_warmups)),
    ];
    Fingerprint::of(fields(series), fields(machine), fields(treatment))
}
