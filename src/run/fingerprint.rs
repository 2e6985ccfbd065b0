//! What goes into a record's three keys: the series, the box and the treatment.
//!
//! Two programs are compared fairly when series and box are the same and the treatment is not; a history is one
//! series. So what the user chose to *measure* is the series, what the machine *is* is the box, and the program
//! with the settings of its meter is the treatment. Where the record is kept, what an hour costs and where the
//! model lies are in none of them: they change no figure of speed.

use std::collections::BTreeMap;

use crate::base::sys;
use crate::record::{EngineInfo, Environment, Fingerprint, Gpu, ModelInfo, Tool, Workload};

use super::plan::Plan;

type Fields = BTreeMap<String, String>;

/// What the keys are made of.
pub struct Inputs<'a> {
    /// The program.
    pub tool: &'a Tool,
    /// The model.
    pub model: &'a ModelInfo,
    /// The engine.
    pub engine: &'a EngineInfo,
    /// What it was given to do.
    pub workload: &'a Workload,
    /// What was resolved from flags, files and defaults.
    pub plan: &'a Plan,
    /// The machine.
    pub environment: &'a Environment,
    /// What else the system reports about itself.
    pub host: Host,
    /// blake3 of the kernels that the engine compiled at run time, when it has any.
    pub kernels: Option<&'a str>,
    /// Power limit of the GPU while it was measured, in watts, or why it is not known.
    pub power_limit_watts: Result<f64, String>,
    /// Settings that change the device and stand in no plan: `lock_clocks`.
    pub settings: &'a [(&'static str, String)],
}

/// The host as far as only the system knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Of the installation of the operating system; private.
    pub machine_id: Option<String>,
    /// Of this start of the machine; private.
    pub boot_id: Option<String>,
    /// Version of the processor's microcode.
    pub microcode: Option<String>,
    /// Processors this process may use.
    pub affinity: Option<Vec<usize>>,
}

impl Host {
    /// This host.
    pub fn here() -> Self {
        Self {
            machine_id: sys::machine_id(),
            boot_id: sys::boot_id(),
            microcode: sys::microcode(),
            affinity: Some(sys::allowed_cpus()).filter(|cpus| !cpus.is_empty()),
        }
    }
}

/// The three keys with the fields that went in.
pub fn fingerprint(inputs: &Inputs<'_>) -> Fingerprint {
    let gpu = inputs.environment.gpus.iter().find(|gpu| gpu.used);
    Fingerprint::of(series(inputs, gpu), machine(inputs, gpu), treatment(inputs))
}

/// Model content, engine, workload, precision, and the kind of device.
fn series(inputs: &Inputs<'_>, gpu: Option<&Gpu>) -> Fields {
    let Inputs { model, engine, workload, plan, environment, .. } = inputs;
    let growing = if plan.grow_batch { " and batches doubling" } else { "" };
    let mut fields = fields([
        ("model_content", content(model)),
        ("quantization", text(model.quantization.as_ref())),
        ("kv_type", text(engine.kv_type.as_ref())),
        ("engine", text(engine.name.as_ref())),
        ("workload", format!("{}: {}{growing}", workload.kind, workload.rows.join(", "))),
        ("tokens", text(workload.tokens.as_ref())),
        ("sampling", text(workload.sampling.as_ref())),
        ("seed", plan.seed.to_string()),
    ]);
    fields.extend(match gpu {
        Some(gpu) => self::fields([("gpu", text(gpu.name.as_ref()))]),
        None => self::fields([
            ("cpu", text(environment.cpu.as_ref())),
            match &plan.isa {
                Some(isa) => ("instruction_set_used", isa.clone()),
                // Which of them an engine uses that chooses for itself is not known.
                None => ("instruction_sets", environment.instruction_sets.join(" ")),
            },
            ("threads", text(engine.threads.as_ref())),
        ]),
    });
    fields
}

/// The very device between two reboots, as it was set.
fn machine(inputs: &Inputs<'_>, gpu: Option<&Gpu>) -> Fields {
    let Inputs { environment, host, .. } = inputs;
    let boot = ("boot", hashed(host.boot_id.as_ref()));
    match gpu {
        Some(gpu) => fields([
            ("gpu_uuid", text(gpu.uuid.as_ref())),
            boot,
            ("driver", text(environment.driver.as_ref())),
            ("power_limit_watts", text(inputs.power_limit_watts.as_ref().ok())),
        ]),
        None => fields([
            ("machine", hashed(host.machine_id.as_ref())),
            boot,
            ("cpu", text(environment.cpu.as_ref())),
            ("microcode", text(host.microcode.as_ref())),
            ("kernel", text(environment.kernel.as_ref())),
            ("affinity", text(host.affinity.as_deref().map(ranges).as_ref())),
        ]),
    }
}

/// Binary, kernels and flags. A flag counts by what it resolved to: spelled out or left at its default, in
/// whatever order, it is the same treatment. Of the series fields only the choices of our own engine are
/// repeated: they are its kernels.
fn treatment(inputs: &Inputs<'_>) -> Fields {
    let limits = &inputs.plan.limits;
    let tool = inputs.tool;
    let binary = tool.binary_blake3.clone().into_option();
    let by_version = || format!("{} {} {}", tool.version, tool.profile, tool.features.join(","));
    let seconds = |seconds: crate::base::units::Seconds| seconds.get().to_string();
    let mut fields = fields([
        ("binary", binary.unwrap_or_else(by_version)),
        ("kernels", inputs.kernels.unwrap_or("none").to_owned()),
        ("flag.precision", limits.precision.to_string()),
        ("flag.max_time_seconds", limits.max_time_seconds.map_or_else(none, seconds)),
        ("flag.repetitions", limits.repetitions.map_or_else(none, |count| count.to_string())),
        ("flag.min_trials", limits.min_trials.to_string()),
        ("flag.trial_seconds", seconds(limits.trial_seconds)),
        ("flag.row_seconds", seconds(limits.row_seconds)),
        ("flag.energy_seconds", seconds(limits.energy_seconds)),
    ]);
    let plan = inputs.plan;
    let own = [("flag.isa", &plan.isa), ("flag.kv_type", &plan.kv_type), ("flag.launches", &plan.launches)];
    fields.extend(own.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
    fields.extend(inputs.settings.iter().map(|(name, value)| (format!("flag.{name}"), value.clone())));
    fields
}

/// The weights themselves. A synthetic model is its recipe; a file that was not hashed to its end is told by what
/// its header says, never by its path.
fn content(model: &ModelInfo) -> String {
    match &*model.sha256 {
        Some(sha256) => sha256.clone(),
        None if *model.synthetic == Some(true) => model.source.clone(),
        None => format!(
            "not hashed: {}, {} parameters, {} bytes",
            model.name,
            text(model.parameters.as_ref()),
            text(model.weight_bytes.as_ref())
        ),
    }
}

fn fields<const N: usize>(pairs: [(&str, String); N]) -> Fields {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn none() -> String {
    "none".to_owned()
}

fn text(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "unknown".to_owned(), ToString::to_string)
}

/// Private ids are stored hashed: they tell machines apart and name none.
fn hashed(id: Option<&String>) -> String {
    text(id.map(|id| blake3::hash(id.as_bytes()).to_hex()[..16].to_owned()).as_ref())
}

/// `0-3,8`, as Linux writes lists of processors.
fn ranges(cpus: &[usize]) -> String {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match found.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => found.push((cpu, cpu)),
        }
    }
    let one = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    found.into_iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::known::Known;
    use crate::base::units::{Bytes, Seconds};
    use crate::engine::MemoryEstimate;
    use crate::run::plan::Limits;
    use crate::run::plan::limits::Asked;
    use serde_json::{Value, json};

    fn typed<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("as the record has it")
    }

    struct Case {
        tool: Tool,
        model: ModelInfo,
        engine: EngineInfo,
        workload: Workload,
        plan: Plan,
        environment: Environment,
        host: Host,
        power_limit_watts: Result<f64, String>,
        settings: Vec<(&'static str, String)>,
    }

    impl Case {
        fn new(asked: Asked, gpu: bool) -> Self {
            let gpus = json!([{ "name": "NVIDIA H200", "uuid": "GPU-1", "catalog_id": null,
                "memory_bytes": 1, "used": true }]);
            Self {
                tool: typed(json!({ "name": "infercost", "version": "1", "binary_blake3": "b1nary",
                    "profile": "release", "features": [], "cuda_linkage": "run time" })),
                model: typed(
                    json!({ "id": "a", "name": "A", "source": "/home/me/a.gguf", "synthetic": false,
                    "architecture": "llama", "parameters": 100, "quantization": "Q4_K_M",
                    "weight_bytes": 60, "context_length": 1, "layers": 1, "vocabulary": 1,
                    "sha256": "c0ntent", "catalog_id": null }),
                ),
                engine: typed(json!({ "name": "candle", "version": "0.11.1", "device": "cpu", "threads": 2,
                    "kv_type": "f32", "foreseen_memory_bytes": 1, "caveats": [] })),
                workload: typed(json!({ "kind": "shapes", "rows": ["pp128", "tg32"], "tokens": "random",
                    "sampling": "greedy", "prefix_cache": false })),
                plan: Plan {
                    model: "a".into(),
                    quantization: "Q4_K_M".into(),
                    quantization_note: None,
                    engine: "candle".into(),
                    device: "cpu".into(),
                    threads: None,
                    isa: None,
                    kv_type: None,
                    launches: None,
                    rows: Vec::new(),
                    grow_batch: false,
                    limits: Limits::resolve(asked).expect("valid"),
                    seed: 0,
                    weight_bytes: Bytes::new(60),
                    memory: MemoryEstimate { parts: Vec::new() },
                    estimate: None,
                    fits: None,
                },
                environment: typed(json!({ "cpu": "EPYC", "logical_cpus": 4,
                    "instruction_sets": ["avx2", "avx512f"], "memory_bytes": 1, "operating_system": "Linux",
                    "kernel": "6.1", "container": null, "gpus": if gpu { gpus } else { json!([]) },
                    "driver": "580.65", "cuda": "13.0" })),
                host: Host {
                    machine_id: Some("private".into()),
                    boot_id: Some("boot".into()),
                    microcode: Some("0xa10113e".into()),
                    affinity: Some(vec![0, 1, 2, 5]),
                },
                power_limit_watts: Ok(700.0),
                settings: Vec::new(),
            }
        }

        fn fingerprint(&self) -> Fingerprint {
            fingerprint(&Inputs {
                tool: &self.tool,
                model: &self.model,
                engine: &self.engine,
                workload: &self.workload,
                plan: &self.plan,
                environment: &self.environment,
                host: self.host.clone(),
                kernels: None,
                power_limit_watts: self.power_limit_watts.clone(),
                settings: &self.settings,
            })
        }
    }

    fn names(fields: &Fields) -> Vec<&str> {
        fields.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_processor_and_a_gpu_are_told_by_other_fields() {
        let of = |gpu| Case::new(Asked::default(), gpu).fingerprint();
        let (cpu, gpu) = (of(false), of(true));
        assert_eq!(names(&cpu.box_fields), ["affinity", "boot", "cpu", "kernel", "machine", "microcode"]);
        assert_eq!(names(&gpu.box_fields), ["boot", "driver", "gpu_uuid", "power_limit_watts"]);
        let shared =
            ["engine", "kv_type", "model_content", "quantization", "sampling", "seed", "tokens", "workload"];
        let with = |own: &[&'static str]| {
            let mut all = [&shared[..], own].concat();
            all.sort_unstable();
            all
        };
        assert_eq!(names(&cpu.series_fields), with(&["cpu", "instruction_sets", "threads"]));
        assert_eq!(names(&gpu.series_fields), with(&["gpu"]));
        assert_eq!(cpu.box_fields["affinity"], "0-2,5");
        assert_eq!(gpu.box_fields["power_limit_watts"], "700");
        let private = serde_json::to_string(&cpu).expect("JSON");
        assert!(!private.contains("private") && !private.contains("/home/me"), "{private}");
    }

    #[test]
    fn each_fact_changes_its_own_key_alone() {
        let base = Case::new(Asked::default(), false).fingerprint();
        // Which of series, box and treatment differ.
        let changed = |change: fn(&mut Case)| {
            let mut case = Case::new(Asked::default(), false);
            change(&mut case);
            let other = case.fingerprint();
            [
                other.series_key != base.series_key,
                other.box_key != base.box_key,
                other.treatment != base.treatment,
            ]
        };
        let (series, machine, treatment) = ([true, false, false], [false, true, false], [false, false, true]);
        assert_eq!(changed(|c| c.model.sha256 = Known::new("other".into())), series);
        assert_eq!(changed(|c| c.workload.rows.push("tg64".into())), series);
        assert_eq!(changed(|c| c.plan.grow_batch = true), series);
        assert_eq!(changed(|c| c.plan.seed = 1), series);
        assert_eq!(changed(|c| c.engine.threads = Known::new(4)), series);
        assert_eq!(changed(|c| c.environment.instruction_sets.truncate(1)), series);
        assert_eq!(changed(|c| c.host.boot_id = Some("next".into())), machine);
        assert_eq!(changed(|c| c.host.microcode = None), machine);
        assert_eq!(changed(|c| c.host.affinity = Some(vec![0])), machine);
        assert_eq!(changed(|c| c.tool.binary_blake3 = Known::new("next".into())), treatment);
        assert_eq!(changed(|c| c.settings.push(("lock_clocks", "1500".into()))), treatment);
        // The engine that has kernels of its own is held to one set of instructions; what else the processor has
        // is then nothing to it.
        assert_eq!(changed(|c| c.plan.isa = Some("avx2".into())), [true, false, true]);
        assert_eq!(changed(|c| c.plan.kv_type = Some("f16".into())), treatment);
        assert_eq!(changed(|c| c.plan.launches = Some("single".into())), treatment);
        // Neither the path of the file, nor the engine's version besides the binary, nor its name.
        assert_eq!(changed(|c| c.model.source = "/elsewhere/b.gguf".into()), [false; 3]);
        assert_eq!(changed(|c| c.model.id = "./b.gguf".into()), [false; 3]);
        assert_eq!(changed(|c| c.engine.version = Known::new("0.12".into())), [false; 3]);
        // The processor of a box changes both: it is another kind of device, and another one.
        assert_eq!(changed(|c| c.environment.cpu = Known::unknown("hidden")), [true, true, false]);
    }

    #[test]
    fn an_instruction_set_that_is_used_stands_for_those_that_are_there() {
        let of = |isa: &str, there: usize| {
            let mut case = Case::new(Asked::default(), false);
            case.plan.isa = Some(isa.to_owned());
            case.environment.instruction_sets.truncate(there);
            case.fingerprint()
        };
        let wide = of("avx512", 2);
        assert_eq!(wide.series_fields["instruction_set_used"], "avx512");
        assert_eq!(wide.treatment_fields["flag.isa"], "avx512");
        assert_ne!(wide.series_key, of("avx2", 2).series_key);
        assert_eq!(of("avx2", 1).series_key, of("avx2", 2).series_key);
    }

    #[test]
    fn a_default_that_is_spelled_out_is_the_same_treatment() {
        let of = |asked| Case::new(asked, true).fingerprint().treatment;
        let defaults = of(Asked::default());
        let spelled = Asked { precision: Some(0.02), max_time: Some(Seconds::new(60.0)), ..Asked::default() };
        assert_eq!(of(spelled), defaults);
        assert_ne!(of(Asked { max_time: Some(Seconds::new(30.0)), ..Asked::default() }), defaults);
        assert_ne!(of(Asked { repetitions: Some(5), ..Asked::default() }), defaults);
    }

    #[test]
    fn a_model_without_a_hash_is_told_by_its_recipe_or_its_header() {
        let mut case = Case::new(Asked::default(), false);
        case.model.sha256 = Known::unknown("not hashed");
        let content = |case: &Case| case.fingerprint().series_fields["model_content"].clone();
        assert_eq!(content(&case), "not hashed: A, 100 parameters, 60 bytes");
        (case.model.synthetic, case.model.source) = (Known::new(true), "synthetic, seed 7".into());
        assert_eq!(content(&case), "synthetic, seed 7");
    }
}
