//! Turns an imported file's content into a record: everything else is `null`, with its reason.
//!
//! The verdict is never `valid`: the figures are another tool's, and this program did not observe the measurement.

use std::collections::BTreeMap;

use crate::base::known::Known;
use crate::base::redact;
use crate::cost::{self, Assumptions};
use crate::record::{
    Check, Command, Energy, EngineInfo, Environment, Fingerprint, Imported, Measurement, ModelInfo, Quality,
    Record, SCHEMA, Unknown, Validity, Verdict, Workload,
};
use crate::run::seal;

use super::foreign::Foreign;
use super::model::{Named, clean};
use super::not_stated::NotStated;
use super::{ImportError, Options, Source, machine, power};

/// Builds a record.
///
/// # Errors
/// [`crate::catalog::Error::Unknown`] if a flag's value is not in the catalog, [`super::Error::Contradicted`] if one
/// contradicts the file.
pub(super) fn seal(
    mut foreign: Foreign,
    model: Named,
    source: &Source<'_>,
    options: &Options<'_>,
) -> Result<Record, ImportError> {
    machine::reconcile(&mut foreign, source, options)?;
    let not_stated = NotStated(foreign.tool);
    let environment = machine::environment(&foreign, options, not_stated)?;
    let on_gpu = environment.gpus.iter().any(|gpu| gpu.used);
    let price = machine::price(&environment, &foreign, &model.id, options);
    let engine = engine(&foreign, on_gpu, not_stated);
    let workload = workload(&foreign, not_stated);
    let model = model_info(&foreign, model, not_stated);
    let fingerprint = fingerprint(&foreign, source, &environment, &model, &engine, &workload);

    let mut cost = cost::assess(&foreign.measurements, price, Assumptions::default());
    cost::electricity(&mut cost, &foreign.measurements, options.catalog);

    let created = foreign.measured.unwrap_or(options.now);
    let mut record = Record {
        schema: SCHEMA.to_owned(),
        id: seal::unique_id(options.now),
        created: created.to_string(),
        tool: seal::tool(),
        command: Command {
            argv: redact::words(options.argv),
            plan: serde_json::json!({
                "format": source.format.name(),
                "model": options.model.map(clean),
                "gpu": options.gpu,
                "gpus": options.gpus,
                "price_per_hour": options.price_per_hour.map(|usd| usd.to_string()),
            }),
            seed: foreign.seed.ok_or_else(|| not_stated.why()).into(),
            interrupted: None,
            interrupted_reason: Some("imported".to_owned()),
            unknown: Unknown::new(),
        },
        environment,
        model,
        engine,
        workload,
        telemetry: Known::unknown(not_stated.why()),
        energy: energy(&foreign, not_stated),
        cost,
        validity: validity(&foreign),
        quality: Quality {
            greedy: Known::unknown(not_stated.why()),
            perplexity: Known::unknown(not_stated.why()),
            unknown: Unknown::new(),
        },
        fingerprint,
        imported: Some(imported(&foreign, source, not_stated)),
        serving: None,
        measurements: foreign.measurements.into_iter().map(Measurement::with_own_percentiles).collect(),
        unknown: Unknown::new(),
    };
    cost::compare_api::fill_record(&mut record, &[], options.catalog, options.today)?;
    Ok(record)
}

fn model_info(foreign: &Foreign, named: Named, not_stated: NotStated) -> ModelInfo {
    let said = &foreign.model;
    let architecture = not_stated.or(said.architecture.as_deref().map(clean));
    let parameters = not_stated.or(said.parameters);
    let quantization = not_stated.or(named.quantization);
    let weight_bytes = not_stated.or(said.weight_bytes);
    let synthetic = not_stated.or(said.synthetic);
    ModelInfo {
        source: format!("imported from {}", foreign.tool),
        id: named.id,
        name: named.name,
        synthetic,
        architecture,
        parameters,
        quantization,
        quantization_note: None,
        weight_bytes,
        context_length: Known::unknown(not_stated.why()),
        layers: Known::unknown(not_stated.why()),
        vocabulary: Known::unknown(not_stated.why()),
        sha256: Known::unknown(not_stated.why()),
        catalog_id: named.catalog_id.ok_or("not in the catalog; name the model with --model").into(),
        unknown: Unknown::new(),
    }
}

fn engine(foreign: &Foreign, on_gpu: bool, not_stated: NotStated) -> EngineInfo {
    let said = &foreign.engine;
    let name = not_stated.or(said.name.as_deref().map(clean));
    let version = not_stated.or(said.version.as_deref().map(clean));
    let given = || on_gpu.then(|| "gpu".to_owned());
    let device = not_stated.or(said.device.as_deref().map(clean).or_else(given));
    let threads = not_stated.or(said.threads);
    let kv_type = not_stated.or(said.kv_type.as_deref().map(clean));
    EngineInfo {
        name,
        version,
        device,
        threads,
        kv_type,
        foreseen_memory_bytes: Known::unknown("imported; not estimated"),
        caveats: Vec::new(),
        choices: Vec::new(),
        unknown: Unknown::new(),
    }
}

fn workload(foreign: &Foreign, not_stated: NotStated) -> Workload {
    let said = &foreign.workload;
    let tokens = not_stated.or(said.tokens.as_deref().map(clean));
    let sampling = not_stated.or(said.sampling.as_deref().map(clean));
    let prefix_cache = not_stated.or(said.prefix_cache);
    Workload {
        rows_left_out: Vec::new(),
        kind: said.kind.to_owned(),
        rows: said.rows.iter().map(|row| clean(row)).collect(),
        tokens,
        sampling,
        prefix_cache,
        unknown: Unknown::new(),
    }
}

/// The energy that the tool measured; graded no better than the worst of its windows.
fn energy(foreign: &Foreign, not_stated: NotStated) -> Energy {
    let why = || not_stated.why();
    let measured = !foreign.energy.is_empty();
    let worst = foreign.energy.iter().filter_map(|window| *window.grade).max();
    Energy {
        grade: not_stated.or(worst),
        reasons: if measured { vec![power::SAMPLED.to_owned()] } else { Vec::new() },
        source: not_stated.or(measured.then(|| format!("{}'s power samples", foreign.tool))),
        scope: not_stated.or(measured.then(|| "gpu".to_owned())),
        device: Known::unknown(why()),
        idle_watts: Known::unknown(why()),
        sensor: Known::unknown(why()),
        windows: foreign.energy.clone(),
        windows_reason: (!measured).then(why),
        traces: Vec::new(),
        traces_reason: Some(why()),
        unknown: Unknown::new(),
    }
}

fn validity(foreign: &Foreign) -> Validity {
    let version =
        foreign.tool_version.as_deref().map_or(String::new(), |version| format!(" {}", clean(version)));
    let mut evidence = format!(
        "the figures are from {}{version}, by its own formulas; none of this program's checks observed the measurement",
        foreign.tool
    );
    for note in foreign.notes.iter().chain(&foreign.left_out.summary()) {
        evidence.push_str("; ");
        evidence.push_str(&redact::text(note));
    }
    let mut checks = vec![Check { name: "imported".to_owned(), verdict: Verdict::Suspect, evidence }];
    checks.extend(crate::run::validity::none_made("another tool measured"));
    if let Some(failed) = foreign.failed.filter(|failed| *failed > 0) {
        let of =
            foreign.completed.map_or(String::new(), |done| format!(" of {}", done.saturating_add(failed)));
        checks.push(Check {
            name: "requests".to_owned(),
            verdict: Verdict::Suspect,
            evidence: format!("{failed}{of} requests failed; the rates count only the others"),
        });
    }
    Validity::of(checks)
}

fn imported(foreign: &Foreign, source: &Source<'_>, not_stated: NotStated) -> Imported {
    let tool_version = not_stated.or(foreign.tool_version.as_deref().map(clean));
    let measured = not_stated.or(foreign.measured.map(|time| time.to_string()));
    let requests_completed = not_stated.or(foreign.completed);
    let requests_failed = not_stated.or(foreign.failed);
    Imported {
        tool: foreign.tool.to_owned(),
        tool_version,
        format: format!("{}-{}", source.format.name(), source.form),
        file: clean(&source.path.file_name().unwrap_or_default().to_string_lossy()),
        sha256: source.sha256.clone(),
        measured,
        requests_completed,
        requests_failed,
        fields: foreign.kept.fields.clone(),
        rows: foreign.kept.rows.clone(),
        left_out: foreign.kept.left_out(),
        rows_left_out: foreign.left_out.all(),
        rows_left_out_count: foreign.left_out.count(),
        notes: foreign.notes.iter().map(|note| redact::text(note).into_owned()).collect(),
        unknown: Unknown::new(),
    }
}

/// What it can be compared with. The tool is part of the series, since tools share names but not formulas; the file stands
/// in for the unknown machine.
fn fingerprint(
    foreign: &Foreign,
    source: &Source<'_>,
    environment: &Environment,
    model: &ModelInfo,
    engine: &EngineInfo,
    workload: &Workload,
) -> Fingerprint {
    let text = |value: Option<&String>| value.cloned().unwrap_or_else(|| "unknown".to_owned());
    let mut series = vec![
        ("measured_by", foreign.tool.to_owned()),
        ("model_content", format!("not hashed: {}", model.catalog_id.as_ref().unwrap_or(&model.name))),
        ("quantization", text(model.quantization.as_ref())),
        ("kv_type", text(engine.kv_type.as_ref())),
        ("engine", text(engine.name.as_ref())),
        ("workload", format!("{}: {}", workload.kind, workload.rows.join(", "))),
        ("tokens", text(workload.tokens.as_ref())),
        ("sampling", text(workload.sampling.as_ref())),
        ("seed", text(foreign.seed.map(|seed| seed.to_string()).as_ref())),
    ];
    if let Some(gpu) = environment.gpus.iter().find(|gpu| gpu.used) {
        series.push(("gpu", gpu.label().to_owned()));
        series.push(("gpus", environment.gpus.len().to_string()));
    } else {
        series.push(("cpu", text(environment.cpu.as_ref())));
        series.push(("threads", text(engine.threads.map(|count| count.to_string()).as_ref())));
    }
    let named = |fields: Vec<(&str, String)>| -> BTreeMap<String, String> {
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let program = foreign.tool_version.as_deref().unwrap_or("of an unknown version");
    Fingerprint::of(
        named(series),
        named(vec![("imported_file", source.sha256.clone())]),
        named(vec![("binary", clean(&format!("{} {program}", foreign.tool)))]),
    )
}
