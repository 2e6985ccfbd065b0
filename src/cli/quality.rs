//! `bench quality --text FILE`: perplexity, and KL divergence and top-1 agreement against a reference.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use sha2::{Digest as _, Sha256};

use crate::base::failure::Usage;
use crate::base::units::Bytes;
use crate::base::{clock, redact, sys, text};
use crate::candle;
use crate::catalog::Catalog;
use crate::engine::Options;
use crate::engine::fused::{Isa, KvType};
use crate::engine::{Demand, Engine, Error as EngineError, MemoryForeseen};
use crate::hardware::device::{self, DeviceRequest};
use crate::model::hub::HubSettings;
use crate::model::resolve::{Reach, Sources};
use crate::model::tokenizer::Tokenizer;
use crate::model::{self, Model};
use crate::record;
use crate::report::terminal::{self, Bar};
use crate::run::engines::{self, Kind};
use crate::run::quality::view::{Assessment, Figures, Protocol, SCHEMA, Subject, TextInfo};
use crate::run::quality::{self, Error, LEAST_CONTEXT, Text};
use crate::run::session::{self, Place, Resolved};
use crate::run::{plan, seal};

use super::values::engine::{EngineName, isa, kv_type};
use super::values::number::threads;
use super::{Output, exit};

/// `bench quality`.
#[derive(Debug, Args)]
pub(super) struct QualityArgs {
    /// As of `bench run`: catalog id with `:quant`, path of a GGUF file or safetensors folder, `hf:org/repo[/file]`
    #[arg(short, long, value_name = "MODEL", help_heading = "What")]
    model: String,
    /// File with plain UTF-8 text, at least twice as long as the context
    #[arg(long, value_name = "FILE", help_heading = "What")]
    text: PathBuf,
    /// Engine
    #[arg(long, value_enum, default_value_t = EngineName::Auto, help_heading = "What")]
    engine: EngineName,
    /// Model with the same vocabulary to compare with: the unquantized one
    #[arg(long, value_name = "MODEL", help_heading = "What")]
    reference: Option<String>,
    /// Engine of the reference; without --reference the same model on this engine
    #[arg(long, value_enum, value_name = "ENGINE", help_heading = "What")]
    reference_engine: Option<EngineName>,
    /// Tokens of a chunk, of which the second half is scored
    #[arg(short, long, value_name = "N", default_value_t = 512, help_heading = "What",
        value_parser = clap::value_parser!(u32).range(i64::from(LEAST_CONTEXT)..), allow_negative_numbers = true)]
    ctx_size: u32,
    /// Score this many chunks at most [default: all of the text]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true, help_heading = "How long")]
    chunks: Option<u32>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", help_heading = "Where")]
    device: DeviceRequest,
    /// Threads that compute on the CPU [default: the physical cores]
    #[arg(short, long, value_name = "N", value_parser = threads, allow_negative_numbers = true, help_heading = "Where")]
    threads: Option<u16>,
    /// Hold our own engine to an instruction set: portable, avx2, avx512 or avx512vnni [default: the best there is]
    #[arg(long, value_name = "ISA", value_parser = isa, help_heading = "Where")]
    isa: Option<Isa>,
    /// Format of our own engine's KV cache: `f16` or `q8_0` [default: f16]
    #[arg(long, value_name = "TYPE", value_parser = kv_type, help_heading = "Where")]
    kv_type: Option<KvType>,
}

pub(super) fn run(
    args: &QualityArgs,
    catalog: &dyn Fn() -> Result<Catalog, crate::catalog::Error>,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
    let created = clock::wall();
    let interrupt = sys::Interrupt::install()?;
    session::limit_threads(args.threads)?;
    let (text, info) = read(&args.text)?;
    let catalog = catalog()?;
    let place = Place::choose(args.device, None, &device::discover(), &catalog, None)?;
    if let Some(gpu) = &place.unused_gpu {
        output.note(&gpu.to_string());
    }
    let bar = output.bar();
    let scored = Scoring { args, catalog: &catalog, place: &place, bar: &bar, interrupt: &interrupt }
        .score(&text, info);
    bar.clear();
    let stopped = |code: Option<u8>| anyhow::Error::from(exit::Silent(code.unwrap_or(130)));
    let scored = match scored {
        Err(error) if interrupt.requested() && is_interruption(&error) => {
            output.note("interrupted before anything was scored");
            return Err(stopped(interrupt.exit_code()));
        }
        other => other?,
    };
    let found = Assessment {
        schema: SCHEMA,
        created: created.to_string(),
        tool: seal::tool(),
        argv: super::typed(argv),
        interrupted: interrupt.exit_code().filter(|_| scored.interrupted),
        text: scored.text,
        protocol: scored.protocol,
        model: scored.model,
        reference_reason: scored.reference.is_none().then(|| NO_REFERENCE.to_owned()),
        reference: scored.reference,
        figures: scored.figures,
    };
    if output.json {
        output.stdout(&(record::write::to_json(&found)? + "\n"))?;
    }
    if !(output.json && output.quiet) {
        output.human(&terminal::render_quality(&found, output.human_style()))?;
    }
    if found.interrupted.is_some() { Err(stopped(found.interrupted)) } else { Ok(()) }
}

const NO_REFERENCE: &str = "no reference was named; --reference MODEL or --reference-engine ENGINE does";

fn is_interruption(error: &anyhow::Error) -> bool {
    let of_engine = error.chain().any(|error| matches!(error.downcast_ref(), Some(EngineError::Interrupted)));
    of_engine || error.chain().any(|error| matches!(error.downcast_ref(), Some(model::Error::Interrupted)))
}

/// The text of a file without its last line end, as llama-perplexity takes it.
fn read(path: &Path) -> Result<(String, TextInfo), Error> {
    let name = path.display().to_string();
    let bad = |reason: String| Error::BadText { path: name.clone(), reason };
    // Opening a pipe that nobody writes to would wait for ever, and a device may never end.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(bad("not a regular file; --text takes a file with plain text".to_owned()));
    }
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NoText { path: name.clone() },
        _ => bad(format!("it cannot be read ({error}); --text takes a file with plain text")),
    })?;
    let info = TextInfo {
        file: redact::text(&name).into_owned(),
        bytes: bytes.len() as u64,
        sha256: format!("{:x}", Sha256::digest(&bytes)),
        tokens: None,
    };
    let mut text = String::from_utf8(bytes).map_err(|error| {
        bad(format!("byte {} is no UTF-8 text; convert the file first", error.utf8_error().valid_up_to()))
    })?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok((text, info))
}

/// What all steps share.
struct Scoring<'a> {
    args: &'a QualityArgs,
    catalog: &'a Catalog,
    place: &'a Place,
    bar: &'a Bar,
    interrupt: &'a sys::Interrupt,
}

/// A model with the engine that is to run it.
struct Side {
    resolved: Resolved,
    kind: Kind,
    options: Options,
}

/// What came of it.
struct Scored {
    text: TextInfo,
    protocol: Option<Protocol>,
    model: Subject,
    reference: Option<Subject>,
    figures: Figures,
    interrupted: bool,
}

impl Scoring<'_> {
    fn score(&self, text: &str, mut info: TextInfo) -> anyhow::Result<Scored> {
        let args = self.args;
        let side = self.side(self.open(&args.model)?, args.engine)?;
        let reference = match (&args.reference, args.reference_engine) {
            (None, None) => None,
            (Some(name), engine) => Some(self.side(self.open(name)?, engine.unwrap_or(EngineName::Auto))?),
            (None, Some(engine)) => Some(self.side(side.resolved.clone(), engine)?),
        };
        self.check_flags(&side, reference.as_ref())?;
        let synthetic = [Some(&side), reference.as_ref()]
            .into_iter()
            .flatten()
            .find(|side| side.resolved.model.header.is_synthetic());
        if let Some(Side { resolved: Resolved { model, .. }, .. }) = synthetic {
            let reason = format!(
                "{} has random weights and no vocabulary; how well it foresees a text means nothing",
                model.id
            );
            return Ok(Scored {
                text: info,
                protocol: None,
                model: self.subject(&side, None),
                reference: reference.map(|reference| self.subject(&reference, None)),
                figures: Figures::none(&reason),
                interrupted: false,
            });
        }
        let against = reference.as_ref().map(|reference| &reference.resolved.model);
        let text = self.cut(text, &side.resolved.model, against)?;
        info.tokens = Some(text.tokens().len());
        self.check_memory(&side, reference.as_ref())?;

        let mut engine = self.load(&side)?;
        let mut against = reference.as_ref().map(|reference| self.load(reference)).transpose()?;
        let mut progress = |done: usize| {
            self.bar.parts(done, text.chunks(), &format!("chunk {} of {}", done + 1, text.chunks()));
        };
        let finished = quality::measure(
            &text,
            &mut *engine,
            against.as_mut().map(|engine| &mut **engine as &mut dyn Engine),
            self.interrupt,
            &mut progress,
        )?;
        Ok(Scored {
            text: info,
            protocol: Some(Protocol::of(&text, &finished)),
            model: self.subject(&side, Some(&*engine)),
            reference: reference.map(|reference| self.subject(&reference, against.as_deref())),
            figures: Figures::of(&finished, NO_REFERENCE),
            interrupted: finished.interrupted,
        })
    }

    fn open(&self, name: &str) -> Result<Resolved, model::Error> {
        let sources = Sources {
            catalog: self.catalog,
            hub: &HubSettings::from_env(),
            seed: 0,
            progress: self.bar,
            interrupt: self.interrupt,
        };
        Resolved::find(name, Reach::Weights, &sources)
    }

    /// The engine for a model, or why it cannot run chunks of it.
    fn side(&self, resolved: Resolved, engine: EngineName) -> anyhow::Result<Side> {
        let (model, device) = (&resolved.model, self.place.device);
        let kind = engine.kind().unwrap_or_else(|| Kind::best(&model.header, device));
        kind.supports(&model.header)?;
        let context = model.header.spec.context_length;
        if self.args.ctx_size > context {
            let reason = format!("the `context_length` of {} is {context}; ask for less", model.id);
            return Err(
                plan::Error::Model { row: format!("--ctx-size {}", self.args.ctx_size), reason }.into()
            );
        }
        kind.can_run(&model.header, self.demand())?;
        let own = kind == Kind::Fused;
        let options = Options {
            device,
            max_positions: Some(self.args.ctx_size),
            max_batch: Some(1),
            threads: Some(self.args.threads.map_or_else(candle::threads, usize::from)),
            isa: self.args.isa.filter(|_| own),
            kv_type: self.args.kv_type.filter(|_| own).unwrap_or_default(),
        };
        Ok(Side { resolved, kind, options })
    }

    fn demand(&self) -> Demand {
        let device = self.place.device;
        Demand { batch: 1, context: self.args.ctx_size, prompt: 0, output: 0, device }
    }

    /// Flags of our own engine where it does not run at all.
    fn check_flags(&self, side: &Side, reference: Option<&Side>) -> Result<(), Usage> {
        let kinds: Vec<Kind> = [Some(side), reference].into_iter().flatten().map(|side| side.kind).collect();
        engines::only_for_our_engine(self.args.isa, self.args.kv_type, &kinds)
    }

    /// The text in tokens of both, which must be the same.
    fn cut(&self, text: &str, model: &Model, reference: Option<&Model>) -> anyhow::Result<Text> {
        self.bar.spin("turning the text into tokens");
        let Some(tokenizer) = Tokenizer::open(model)?.map(Tokenizer::literal) else {
            let reason =
                "it has no vocabulary, so no text can be scored; put the model's tokenizer.json beside it";
            return Err(model::Error::unusable(&model.origin, reason).into());
        };
        let tokens = tokenizer.encode(text, tokenizer.adds_bos())?;
        if let Some(reference) = reference {
            let differ = |reason: String| Error::Incomparable {
                model: model.id.clone(),
                reference: reference.id.clone(),
                reason,
            };
            let [ours, theirs] = [model, reference].map(|model| model.header.spec.vocabulary);
            if ours != theirs {
                return Err(differ(format!("their vocabularies have {ours} and {theirs} tokens")).into());
            }
            if let Some(other) = Tokenizer::open(reference)?.map(Tokenizer::literal) {
                let others = other.encode(text, other.adds_bos())?;
                if others != tokens {
                    let same = tokens.iter().zip(&others).take_while(|(one, other)| one == other).count();
                    return Err(
                        differ(format!("their tokens of this text differ from token {same} on")).into()
                    );
                }
            }
        }
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        let path = text::path(&self.args.text);
        Ok(Text::new(&path, tokens, bos, self.args.ctx_size, self.args.chunks)?)
    }

    fn check_memory(&self, side: &Side, reference: Option<&Side>) -> Result<(), plan::Error> {
        let foreseen = |side: &Side| {
            let foreseen =
                side.kind.memory_foreseen(&side.resolved.model.header, self.demand(), &side.options);
            foreseen.parts
        };
        let mut parts = foreseen(side);
        if let Some(reference) = reference {
            parts.extend(foreseen(reference).into_iter().map(|(_, bytes)| ("the reference", bytes)));
            let rows =
                quality::reference_bytes(self.args.ctx_size, side.resolved.model.header.spec.vocabulary);
            parts.push(("the reference's logits", Bytes::new(rows)));
        }
        let foreseen = MemoryForeseen { parts };
        let Some(available) = self.place.available else { return Ok(()) };
        let what = format!("a context of {}", self.args.ctx_size);
        let way_out = "take a smaller model or reference, lower --ctx-size, or free memory";
        plan::check_memory(&what, &foreseen, available, &self.place.short, way_out)
    }

    fn load(&self, side: &Side) -> Result<Box<dyn Engine>, EngineError> {
        self.bar.spin(&format!("loading {}", side.resolved.model.id));
        side.kind.load(&side.resolved.model, &side.options, self.interrupt)
    }

    fn subject(&self, side: &Side, engine: Option<&dyn Engine>) -> Subject {
        self.bar.spin("reading the model's hash");
        let hash = session::content_hash(&side.resolved.model, self.interrupt);
        let row = side.resolved.catalog_id(self.catalog);
        Subject {
            model: seal::model_info(&side.resolved.model, hash, row),
            engine: engine.map(|engine| engine.capabilities().clone()),
        }
    }
}
