//! A server as the subject of a record. What only the server knows is `null` with the reason.

use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::base::known::Known;
use crate::base::{redact, text};
use crate::catalog::{self, Catalog};
use crate::cost;
use crate::endpoint::Api;
use crate::hardware::device::{self, Found};
use crate::record::serving::Server as ServerInfo;
use crate::record::{EngineInfo, Environment, Gpu, ModelInfo, Price, Unknown};

use super::seal::host_keys;
use super::{ColdStart, Server, Subject};

const UNSAID: &str = "the server does not say";

/// The server's GPUs as the command line names them; they need not be here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hardware<'a> {
    /// `--gpu`.
    pub gpu: Option<&'a catalog::Gpu>,
    /// `--gpus`.
    pub gpus: Option<u32>,
}

impl Hardware<'_> {
    /// Why a server at an address of this machine is taken to be elsewhere: the GPU that is named is none of this
    /// machine's, as when the address is the end of a tunnel.
    pub fn elsewhere(self, found: &Found, catalog: &Catalog) -> Option<String> {
        let named = self.gpu?;
        let is_here = found
            .gpus
            .iter()
            .any(|gpu| device::row(gpu, catalog).is_some_and(|row| row.family == named.family));
        (!is_here).then(|| {
            format!(
                "--gpu names {}, which this machine does not have, so the server is taken to be elsewhere",
                named.name
            )
        })
    }
}

/// The server as a record has it; `named` is `--model`, `cold_start` of one that was started for the run.
pub fn subject(
    server: &Server,
    named: Option<&str>,
    hardware: Hardware<'_>,
    cold_start: Option<ColdStart>,
    (found, catalog): (&Found, &Catalog),
) -> Subject {
    let [client, client_boot] = host_keys();
    let url = server.target.url.to_string();
    Subject {
        environment: environment(server, hardware, found, catalog),
        model: model(server, named, catalog),
        engine: engine(server),
        server: Ok(info(server, hardware)),
        cold_start: cold_start.ok_or_else(|| "it was already running; --serve starts one".to_owned()),
        prompting: server.prompting(),
        ignore_eos: server.target.ignore_eos,
        prefix_cache: Err(
            "it is up to the server; no two prompts start the same, and serving.rows[].cached_share has the hits"
                .to_owned(),
        ),
        measurements: Vec::new(),
        resolved: vec![
            ("engine", "endpoint".into()),
            ("url", url.clone().into()),
            ("api", api(server).into()),
            ("served_model", server.target.model.clone().into()),
        ],
        series: vec![("api", api(server).to_owned())],
        // The box is the server with the machine that loads it.
        machine: vec![("server", url), ("client", client), ("client_boot", client_boot)],
        treatment: Vec::new(),
        in_process: None,
        no_idle: "the server had already loaded its model, so its device was not seen idle",
        no_quality: ["the answers to random prompts mean nothing", "a server gives no logits"],
    }
}

fn info(server: &Server, hardware: Hardware<'_>) -> ServerInfo {
    let listed = server.listed.as_ref();
    let listed = listed.map_err(String::as_str);
    let gpus = hardware.gpus.or_else(|| hardware.gpu.map(|_| 1));
    ServerInfo {
        url: redact::text(&server.target.url.to_string()).into_owned(),
        api: api(server).to_owned(),
        model: clean(&server.target.model),
        owned_by: listed.and_then(|model| model.owner.as_deref().map(clean).ok_or(UNSAID)).into(),
        context_tokens: listed.and_then(|model| model.context.ok_or(UNSAID)).into(),
        on_this_machine: server.elsewhere.is_none(),
        gpus: gpus.ok_or("neither --gpu nor --gpus was given").into(),
        unknown: Unknown::new(),
    }
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
        let mut price = cost::of_gpus(cost::gpu_price(catalog, gpu, today)?, count)?;
        price.warnings.extend(cost::too_large(&server.target.model, gpu, count, catalog));
        return Ok(price);
    }
    if let Some(why) = &server.elsewhere {
        return Err(format!(
            "{why}; name its GPUs with --gpu ID and --gpus N, or give its rent with --price-per-hour USD"
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
            "this machine has {}, and it is not known which the server uses; say how many with --gpus",
            text::count(all.len(), "GPU")
        )),
    }
}

/// Whether the GPUs of this machine must be the server's: it has as many as it was said to use.
fn used_here(hardware: Hardware<'_>, found: &Found) -> bool {
    u32::try_from(found.gpus.len()).is_ok_and(|here| here > 0 && here == hardware.gpus.unwrap_or(1))
}

fn environment(server: &Server, hardware: Hardware<'_>, found: &Found, catalog: &Catalog) -> Environment {
    let mut environment = match &server.elsewhere {
        None => device::environment(found, None, catalog),
        Some(why) => Environment {
            gpus_reason: Some(format!("{why}; --gpu names its GPUs")),
            ..Environment::unknown(why)
        },
    };
    let count = hardware.gpus.unwrap_or(1);
    match hardware.gpu {
        Some(row) => {
            let family = |gpu: &&mut Gpu| {
                let known = gpu.catalog_id.as_deref().and_then(|id| catalog.gpu(id).ok());
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
        None if server.elsewhere.is_none() && used_here(hardware, found) => {
            environment.gpus.iter_mut().for_each(|gpu| gpu.used = true);
        }
        None => {}
    }
    environment
}

/// A GPU that --gpu names.
fn named(row: &catalog::Gpu) -> Gpu {
    let why = "it is named with --gpu and was not inspected";
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

/// The model by the server's name for it, and the catalog's row by --model, else by that name.
fn model(server: &Server, named: Option<&str>, catalog: &Catalog) -> ModelInfo {
    let served = server.target.model.as_str();
    let (asked, format) = match named {
        Some(model) => match model.split_once(':') {
            Some((id, format)) if catalog.model(id).is_ok() => (Some(id), Some(format.to_uppercase())),
            _ => (Some(model), None),
        },
        None => (None, None),
    };
    let row = asked.and_then(|asked| catalog.model_named(asked)).or_else(|| catalog.model_named(served));
    let format = format.or_else(|| catalog::format_in_name(served).map(str::to_uppercase));
    let format = format.ok_or_else(|| format!("{UNSAID}; --model ID:FORMAT says it"));
    let last = served.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(served);
    let listed = server.listed.as_ref().ok();
    let number = |said: Option<u64>| said.and_then(|said| u32::try_from(said).ok()).ok_or(UNSAID).into();
    ModelInfo {
        id: clean(served),
        name: row.map_or_else(|| clean(last), |row| row.name.clone()),
        source: format!("served at {}", server.target.url),
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
            .ok_or("this model is not in the catalog; name it with --model")
            .into(),
        unknown: Unknown::new(),
    }
}

/// Untrusted text for the record: short, without secrets and without terminal control characters.
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

fn api(server: &Server) -> &'static str {
    match server.target.api {
        Api::Completions => "completions",
        Api::Chat => "chat",
    }
}
