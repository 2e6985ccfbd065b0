//! A load on an engine in this process: planned, loaded, driven and sealed. The engine has the same interface as a
//! server, so only what surrounds it is here.

use crate::base::known::Known;
use crate::base::units::{Seconds, Watts};
use crate::base::{clock, sys};
use crate::engine::schedule::ServeOptions;
use crate::engine::{self, Capabilities, Demand, MemoryEstimate};
use crate::hardware::device;
use crate::hardware::nvml::Gpu;
use crate::hardware::telemetry::choose::Chosen;
use crate::record::{EngineInfo, Measurement, Metric, Record, Unknown};
use crate::run::energy::Sensors;
use crate::run::engines::Kind;
use crate::run::fingerprint::Host;
use crate::run::plan as planning;
use crate::run::session::{self, Content, EngineSetup, Resolved, Session, Watch};
use crate::run::{measure, seal as run_seal};
use crate::workload::{self, Lengths, Stopped};

use super::seal::host_keys;
use super::{Error, InProcess, Job, Plan, Prompting, Sealing, Subject, Told, seal};

/// Requests that run at once where nothing bounds them, as far as memory allows; vLLM's default.
const MOST_AT_ONCE: u32 = 256;

/// A load on an engine in this process: it is known which, and that the machine can hold it.
pub struct Local<'a> {
    session: &'a Session<'a>,
    resolved: Resolved,
    engine: EngineSetup,
    plan: Plan,
    file: Option<Lengths>,
    /// Whether an answer continues after the model's end-of-sequence token.
    ignore_eos: bool,
    /// Requests that run at once.
    most_at_once: u32,
    memory: MemoryEstimate,
}

impl<'a> Local<'a> {
    /// Plans it; `file` has the lengths where a file was named.
    ///
    /// # Errors
    /// [`Error`] where no engine serves this model, its context is too short, or the memory.
    pub fn new(
        session: &'a Session<'a>,
        resolved: Resolved,
        plan: Plan,
        file: Option<Lengths>,
        ignore_eos: bool,
    ) -> Result<Self, Error> {
        let mut engine = EngineSetup::choose(session.request, &resolved.model, session.place.device)?;
        if engine.kind != Kind::Fused {
            return Err(cannot_serve(engine.kind).into());
        }
        let mut longest = workload::Asked { prompt_tokens: 0, output_tokens: 0 };
        let mut most_positions = 0;
        let limit = resolved.model.header.spec.context_length;
        for row in &plan.rows {
            let asked = plan.lengths(row, file.as_ref())?.longest();
            let positions = u64::from(asked.prompt_tokens) + u64::from(asked.output_tokens);
            if positions > u64::from(limit) {
                let reason = format!(
                    "it needs {positions} positions, and the model's `context_length` is {limit}; lower -p or -n"
                );
                return Err(planning::Error::Model { row: row.label.clone(), reason }.into());
            }
            longest.prompt_tokens = longest.prompt_tokens.max(asked.prompt_tokens);
            longest.output_tokens = longest.output_tokens.max(asked.output_tokens);
            most_positions = most_positions.max(positions);
        }
        let estimated = |batch: u32| {
            let demand = Demand {
                batch,
                context: 0,
                prompt: longest.prompt_tokens,
                output: longest.output_tokens,
                device: session.place.device,
            };
            engine.memory_estimate(&resolved.model, demand)
        };
        let bounds: Option<Vec<u32>> = plan.rows.iter().map(|row| row.level.max_concurrency()).collect();
        let most_at_once = bounds.and_then(|bounds| bounds.into_iter().max()).unwrap_or_else(|| {
            let fits = |batch: &u32| {
                session.place.available.is_none_or(|available| estimated(*batch).total() <= available)
            };
            std::iter::successors(Some(MOST_AT_ONCE), |most| (*most > 1).then_some(most / 2))
                .find(fits)
                .unwrap_or(1)
        });
        let memory = estimated(most_at_once);
        engine.options.max_batch = Some(most_at_once);
        engine.options.max_positions = u32::try_from(most_positions).ok();
        Ok(Self { session, resolved, engine, plan, file, ignore_eos, most_at_once, memory })
    }

    /// What will be run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where it runs, in a few words: `fused on cpu, SmolLM2-135M`.
    pub fn in_words(&self) -> String {
        format!(
            "{} on {}, {}",
            self.engine.kind.name(),
            self.session.place.device,
            self.resolved.model.header.name
        )
    }

    /// Checks that the device can hold as many requests at once as were asked for.
    ///
    /// # Errors
    /// [`planning::Error::Memory`].
    pub fn check_memory(&self) -> Result<(), planning::Error> {
        const WAY_OUT: &str =
            "lower --max-concurrency, -p or -n, use a smaller model or quantization, or free memory";
        let Some(available) = self.session.place.available else { return Ok(()) };
        let what =
            format!("a load with {} in flight", crate::base::text::count(self.most_at_once, "request"));
        planning::check_memory(&what, &self.memory, available, &self.session.place.short, WAY_OUT)
    }

    /// Reads what a record keeps of the model's content.
    pub fn content(&self) -> Content {
        Content::read(&self.resolved.model, self.session.interrupt)
    }

    /// Loads the engine, drives every row and seals the record; gives what ended the run before its end as well.
    ///
    /// # Errors
    /// [`Error`] when the engine cannot be loaded or no request was answered in any row.
    pub fn measure(
        &self,
        content: &Content,
        watch: &dyn Watch,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> Result<(Record, Option<Stopped>), Error> {
        let Self { session, resolved, plan, .. } = self;
        let options = ServeOptions {
            share_prefixes: self.shares_prefixes(),
            // The cache has room for the longest of all that run at once: nothing must be kept free for their growth.
            spare_pages: Some(0),
            stop_tokens: self.stop_tokens(content)?,
            ..ServeOptions::default()
        };
        // Put back when this is dropped.
        let mut settings = session.set()?;
        let power_limit = settings.limit(&session.request.power_limits, 0).map_err(session::Error::from)?;
        let recorder = session.recorder();
        let begin = clock::now();
        let loading = watch.loading();
        let loaded = self.engine.kind.load_watched(
            &resolved.model,
            &self.engine.options,
            session.interrupt,
            &*loading,
        );
        watch.clear();
        let mut engine = match loaded {
            Err(engine::Error::Interrupted) => return Err(Error::Interrupted),
            other => other?,
        };
        let load = clock::now().since(begin);
        let job =
            Job { plan, file: self.file.as_ref(), prompting: self.prompting(), interrupt: session.interrupt };
        let mut serving = engine.serving(options).ok_or_else(|| cannot_serve(self.engine.kind))?;
        let finished = super::run(&job, &mut *serving, tell)?;
        drop(serving);
        let sensors = recorder.map(|recorder| {
            let other_device = session.sensors.as_ref().is_ok_and(|chosen| chosen.other_device);
            vec![Sensors { recorded: recorder.stop(), other_device }]
        });
        // Only now: an engine may have had to choose anew.
        let capabilities = engine.capabilities().clone();
        drop(engine);
        let set = Set { power_limit, named: settings.named() };
        drop(settings);
        let today = clock::today();
        let record = seal(
            &finished,
            Sealing {
                argv: session.request.argv.clone(),
                plan,
                created: session.created,
                subject: self.subject(&capabilities, content, load, &set),
                elsewhere: None,
                price: session.hour().price(session.catalog, today),
                sensors,
                apis: &session.request.apis,
                catalog: session.catalog,
                today,
                signal: session.interrupt.exit_code(),
            },
        )?;
        Ok((record, finished.stopped))
    }

    fn prompting(&self) -> Prompting {
        let vocabulary = Some(u64::from(self.resolved.model.header.spec.vocabulary));
        Prompting { vocabulary, as_text: false }
    }

    /// Whether prompts share something that is worth finding in the cache.
    fn shares_prefixes(&self) -> bool {
        self.plan.rows.iter().any(|row| row.prefix_tokens > 0)
    }

    /// Tokens that end an answer.
    fn stop_tokens(&self, content: &Content) -> Result<Vec<u32>, Error> {
        if self.ignore_eos {
            return Ok(Vec::new());
        }
        let stop = content.tokenizer.as_ref().map_err(Clone::clone).and_then(|tokenizer| {
            tokenizer.eos().ok_or_else(|| "the model's tokenizer has no end-of-text token".to_owned())
        });
        let reason = |reason| {
            crate::base::failure::Usage::new("--ignore-eos=false", format!("{reason}; leave it out"))
        };
        Ok(vec![stop.map_err(reason)?])
    }

    fn subject(&self, capabilities: &Capabilities, content: &Content, load: Seconds, set: &Set) -> Subject {
        let Self { session, resolved, engine, .. } = self;
        let place = &session.place;
        let mut environment = device::environment(&session.found, place.gpu, session.catalog);
        let read = session.sensors.as_ref().ok().and_then(Chosen::gpu).map(Gpu::id);
        let read = session.found.gpus.iter().position(|gpu| Some(gpu.id.as_str()) == read);
        let read = read.and_then(|index| environment.gpus.get_mut(index));
        run_seal::set_by_this_run(read, set.power_limit, &set.named);
        environment.unused_gpu.clone_from(&place.unused_gpu);
        let catalog_id = resolved.catalog_id(session.catalog);
        let [machine, boot] = host_keys();
        let text = |value: Option<&String>| value.cloned().unwrap_or_else(|| "unknown".to_owned());
        let on_processor = !place.on_gpu();
        let mut series = vec![("kv_type", capabilities.kv_type.to_owned())];
        if on_processor {
            series.push((
                "threads",
                capabilities.threads.map_or_else(String::new, |threads| threads.to_string()),
            ));
        }
        let gpu = place.gpu.and_then(|gpu| environment.gpus.get(gpu));
        let mut keys =
            vec![("machine", machine), ("boot", boot), ("kernel", text(environment.kernel.as_ref()))];
        match gpu {
            Some(gpu) => {
                keys.push(("gpu_uuid", text(gpu.uuid.as_ref())));
                let before = || run_seal::power_limit(&session.found, place.gpu);
                let limit = set.power_limit.map_or_else(before, |limit| Ok(limit.get()));
                keys.push((
                    "power_limit_watts",
                    limit.map_or_else(|_| "unknown".to_owned(), |w| w.to_string()),
                ));
            }
            None => keys.push(("microcode", text(Host::here().microcode.as_ref()))),
        }
        let isa = engine.options.isa.map_or("auto", |isa| isa.label());
        let launches = if on_processor { "none" } else { engine.options.launches.label() };
        let mut treatment = vec![
            ("kernels".to_owned(), capabilities.kernels.clone().unwrap_or_else(|| "none".to_owned())),
            ("flag.isa".to_owned(), isa.to_owned()),
            ("flag.launches".to_owned(), launches.to_owned()),
        ];
        treatment.extend(set.named.iter().map(|(name, value)| (format!("flag.{name}"), value.clone())));
        Subject {
            model: run_seal::model_info(&resolved.model, content.sha256.clone(), catalog_id),
            engine: self.engine_info(capabilities),
            server: Err("an engine in this process answered".to_owned()),
            cold_start: Err("no server was started; model_load_seconds is among the measurements".to_owned()),
            prompting: self.prompting(),
            ignore_eos: self.ignore_eos,
            prefix_cache: Ok(self.shares_prefixes()),
            measurements: process(load),
            resolved: vec![
                ("engine", engine.kind.name().into()),
                ("device", place.device.to_string().into()),
                ("most_at_once", self.most_at_once.into()),
            ],
            series,
            machine: keys,
            treatment,
            in_process: Some(InProcess {
                on_processor,
                gpu_processes: run_seal::gpu_processes(&session.found, place.gpu),
            }),
            no_idle: "a load measures no idle device",
            no_quality: [
                "the answers to random prompts mean nothing",
                "`bench run` does not measure it; `bench quality --text FILE` does",
            ],
            environment,
        }
    }

    fn engine_info(&self, capabilities: &Capabilities) -> EngineInfo {
        EngineInfo {
            name: Known::new(capabilities.engine.to_owned()),
            version: Known::new(capabilities.version.clone()),
            device: Known::new(capabilities.device.clone()),
            threads: capabilities.threads.ok_or("a GPU computes").into(),
            kv_type: Known::new(capabilities.kv_type.to_owned()),
            foreseen_memory_bytes: Known::new(self.memory.total().get()),
            caveats: capabilities.caveats.clone(),
            choices: capabilities.choices.clone(),
            unknown: Unknown::new(),
        }
    }
}

/// What the run set on the GPU.
struct Set {
    power_limit: Option<Watts>,
    /// The rest, by the flag's name.
    named: Vec<(&'static str, String)>,
}

/// Figures of the whole process.
fn process(load: Seconds) -> Vec<Measurement> {
    let peak = sys::usage().map(|usage| usage.peak_memory.get() as f64);
    vec![
        measure::of_process(
            Metric::ModelLoadSeconds,
            Ok(load.get()),
            "from the first byte read until the engine is ready",
        ),
        measure::of_process(
            Metric::PeakMemoryBytes,
            peak.ok_or_else(|| "the system does not say".to_owned()),
            "largest resident set of the process (getrusage)",
        ),
    ]
}

fn cannot_serve(kind: Kind) -> engine::Error {
    engine::Error::Unsupported {
        engine: kind.name(),
        what: "serve requests that come and go".to_owned(),
        reason: "its batches start and end together; `fused` can, if it supports the model".to_owned(),
    }
}
