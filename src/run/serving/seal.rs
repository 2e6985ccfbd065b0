//! Assembles the record of a load, whatever served it.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::prelude::ToPrimitive as _;

use crate::base::known::Known;
use crate::base::redact;
use crate::base::units::Seconds;
use crate::catalog::{self, Catalog};
use crate::cost::{self, Assumptions};
use crate::record::serving::{self as record, Goals, Load};
use crate::record::{
    Command, Fingerprint, Gpu, Price, Quality, Record, RowLeftOut, SCHEMA, Serving, Unknown, Workload,
};
use crate::run::energy::Sensors;
use crate::run::fingerprint::Host;
use crate::run::validity::Machine;
use crate::run::{measure, seal as run_seal};
use crate::workload::Stopped;

use super::measures;
use super::{ColdStart, Finished, Plan, Search, Subject, checks, energy};

/// Everything that goes into a record besides the results of the rows.
pub struct Sealing<'a> {
    /// The command line as typed.
    pub argv: Vec<String>,
    /// The plan.
    pub plan: &'a Plan,
    /// When the run began.
    pub created: jiff::Timestamp,
    /// What served it.
    pub subject: Subject,
    /// Why that is not taken to be on this machine; `None` where it is.
    pub elsewhere: Option<String>,
    /// The price of the hour, or why there is none.
    pub price: Result<Price, String>,
    /// What the sensors of the subject's devices said, one a device, or why none were read.
    pub sensors: Result<Vec<Sensors>, String>,
    /// APIs that were named.
    pub apis: &'a [String],
    /// Catalog of GPUs and prices.
    pub catalog: &'a Catalog,
    /// The day for the age of prices.
    pub today: Date,
    /// Exit code of the signal that stopped the run.
    pub signal: Option<u8>,
}

/// Seals a record.
///
/// # Errors
/// The catalog's when an API that was named is not in it.
pub fn seal(finished: &Finished, s: Sealing<'_>) -> Result<Record, catalog::Error> {
    let mut measurements: Vec<_> = finished.rows.iter().flat_map(measures::measurements).collect();
    let mut subject = s.subject;
    measurements.append(&mut subject.measurements);
    let energy = energy::energy(finished, s.sensors.as_deref(), subject.no_idle);
    measurements.extend(energy.windows.iter().flat_map(measure::energy::measurements));
    let workload = workload(finished, s.plan, &subject);
    let fingerprint = fingerprint(s.plan, &subject, &workload);
    let mut cost = cost::assess(&measurements, s.price.clone(), Assumptions::default());
    cost::electricity(&mut cost, &measurements, s.catalog);
    let interrupted = finished.stopped == Some(Stopped::Interrupted);
    let validity = checks::validate(&checks::Evidence {
        finished,
        machine: subject.in_process.as_ref().map(|in_process| Machine {
            caveats: &subject.engine.caveats,
            energy: &energy,
            host: finished.host,
            on_processor: in_process.on_processor,
            gpu_processes: in_process.gpu_processes,
            gpu_processes_during: s.sensors.iter().flatten().find_map(run_seal::others_on_the_gpu),
        }),
        elsewhere: s.elsewhere.as_deref(),
        ignore_eos: subject.ignore_eos,
    });
    let [greedy, perplexity] = subject.no_quality;
    let mut record = Record {
        schema: SCHEMA.to_owned(),
        id: run_seal::unique_id(s.created),
        created: s.created.to_string(),
        tool: run_seal::tool(),
        command: Command {
            argv: redact::words(&s.argv),
            plan: redact::value("plan", resolved(s.plan, &subject), &mut Vec::new()),
            seed: Known::new(s.plan.seed),
            interrupted: s.signal.filter(|_| interrupted),
            interrupted_reason: Some(match finished.rows.last().filter(|_| finished.stopped.is_some()) {
                Some(last) => format!("it ended in the row {}: {}", last.row.label, last.ended_by),
                None => "the run completed".to_owned(),
            }),
            unknown: Unknown::new(),
        },
        serving: Some(serving(finished, s.plan, &subject, cost.price.as_ref())),
        environment: subject.environment,
        model: subject.model,
        engine: subject.engine,
        workload,
        telemetry: Known::unknown(
            "engine steps were not metered one by one; what the client did is in serving.rows[].client",
        ),
        energy,
        cost,
        validity,
        quality: Quality {
            greedy: Known::unknown(greedy),
            perplexity: Known::unknown(perplexity),
            unknown: Unknown::new(),
        },
        fingerprint,
        imported: None,
        measurements,
        unknown: Unknown::new(),
    };
    cost::compare_api::fill_record(&mut record, s.apis, s.catalog, s.today)?;
    Ok(record)
}

fn workload(finished: &Finished, plan: &Plan, subject: &Subject) -> Workload {
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
        tokens: Known::new(format!("{}, new in each run and row", subject.prompting.in_words())),
        sampling: Known::new("temperature 0".to_owned()),
        prefix_cache: subject.prefix_cache.clone().into(),
        unknown: Unknown::new(),
    }
}

fn serving(finished: &Finished, plan: &Plan, subject: &Subject, price: Option<&Price>) -> Serving {
    let goals = plan.goals;
    let none = goals == crate::run::measure::serving::Goals::default();
    let cold_start = subject.cold_start.as_ref().map_err(Clone::clone);
    Serving {
        server: subject.server.clone().into(),
        cold_start: cold_start.map(|cold| cold_start_of(cold, price)).into(),
        load: Load {
            prompts: subject.prompting.in_words().to_owned(),
            lengths: plan.lengths_in_words(),
            salt: format!("{:x}", plan.salt),
            ignore_eos: subject.ignore_eos,
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
        search: finished.search.as_ref().map(search_of).ok_or("--find max-rate was not asked for").into(),
        rows: finished.rows.iter().map(measures::row).collect(),
        unknown: Unknown::new(),
    }
}

fn search_of(search: &Search) -> record::Search {
    record::Search {
        share: search.share,
        max_requests_per_second: search.kept.clone().into(),
        missed_at_requests_per_second: search.missed.clone().into(),
        probes: search
            .probes
            .iter()
            .map(|probe| record::Probe {
                requests_per_second: probe.requests_per_second,
                good: probe.good,
                due: probe.due,
                grows: probe.grows,
                verdict: probe.verdict.name().to_owned(),
            })
            .collect(),
    }
}

fn cold_start_of(cold: &ColdStart, price: Option<&Price>) -> record::ColdStart {
    let first = cold.first_token.ok_or("the first request had no token");
    let usd = first.and_then(|time| {
        let price = price.and_then(|price| price.usd_per_hour.to_f64()).ok_or("no hourly price")?;
        Ok(price * time.get() / 3600.0)
    });
    record::ColdStart {
        command: cold.command.clone(),
        listening_seconds: cold.listening.get(),
        healthy_seconds: cold.healthy.get(),
        first_token_seconds: first.map(Seconds::get).into(),
        usd: usd.into(),
    }
}

/// The plan with what only the subject decided.
fn resolved(plan: &Plan, subject: &Subject) -> serde_json::Value {
    let mut value = serde_json::to_value(plan).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.extend(subject.resolved.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        object.insert("ignore_eos".to_owned(), subject.ignore_eos.into());
        object.insert("prompts".to_owned(), subject.prompting.in_words().into());
    }
    value
}

/// This machine and its start, hashed: they tell machines apart and name none.
pub(super) fn host_keys() -> [String; 2] {
    let host = Host::here();
    [host.machine_id, host.boot_id]
        .map(|id| id.map_or_else(unknown, |id| blake3::hash(id.as_bytes()).to_hex()[..16].to_owned()))
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// What the record can be compared with. The salt is in none of the keys: prompts are meant to differ from run to run.
fn fingerprint(plan: &Plan, subject: &Subject, workload: &Workload) -> Fingerprint {
    let Subject { environment, model, engine, .. } = subject;
    let text = |value: Option<&String>| value.cloned().unwrap_or_else(unknown);
    let fields = |pairs: Vec<(&str, String)>| -> BTreeMap<String, String> {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let not_hashed = || format!("not hashed: {}", model.catalog_id.as_ref().unwrap_or(&model.name));
    let content = match &*model.sha256 {
        Some(sha256) => sha256.clone(),
        // A synthetic model is its recipe.
        None if model.synthetic == Some(true) => model.source.clone(),
        None => not_hashed(),
    };
    let mut series = vec![
        ("model_content", content),
        ("quantization", text(model.quantization.as_ref())),
        ("engine", text(engine.name.as_ref())),
        ("workload", format!("{}: {}", workload.kind, workload.rows.join(", "))),
        ("lengths", plan.lengths_in_words()),
        ("tokens", text(workload.tokens.as_ref())),
        ("sampling", text(workload.sampling.as_ref())),
        ("ignore_eos", subject.ignore_eos.to_string()),
        ("seed", plan.seed.to_string()),
    ];
    series.extend(subject.series.clone());
    let used: Vec<&Gpu> = environment.gpus.iter().filter(|gpu| gpu.used).collect();
    match used.first() {
        Some(gpu) => {
            series.push(("gpu", gpu.label().to_owned()));
            series.push(("gpus", used.len().to_string()));
        }
        None => series.push(("cpu", text(environment.cpu.as_ref()))),
    }
    let tool = run_seal::tool();
    let seconds =
        |time: Option<Seconds>| time.map_or_else(|| "none".to_owned(), |time| time.get().to_string());
    let number = |number: Option<u32>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let mut treatment = vec![
        (
            "binary",
            tool.binary_blake3.into_option().unwrap_or_else(|| format!("{} {}", tool.version, tool.profile)),
        ),
        ("flag.max_time_seconds", seconds(plan.max_time_seconds)),
        ("flag.row_seconds", seconds(plan.row_seconds)),
        ("flag.num_prompts", number(plan.num_prompts)),
        ("flag.num_warmups", number(plan.num_warmups)),
    ];
    treatment.extend(subject.treatment.iter().map(|(name, value)| (name.as_str(), value.clone())));
    Fingerprint::of(fields(series), fields(subject.machine.clone()), fields(treatment))
}
