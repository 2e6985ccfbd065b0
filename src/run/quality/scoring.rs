//! `bench quality`, from the request to the figures: the models and their engines, the text as tokens, the memory,
//! the scores.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::base::failure::Usage;
use crate::base::sys::Interrupt;
use crate::base::units::Bytes;
use crate::base::{redact, text};
use crate::candle;
use crate::catalog::Catalog;
use crate::engine::fused::{Isa, KvType};
use crate::engine::{Demand, Engine, Error as EngineError, Launches, MemoryEstimate, Options};
use crate::model::hub::HubSettings;
use crate::model::resolve::{Reach, Sources};
use crate::model::tokenizer::Tokenizer;
use crate::model::{self, Model};
use crate::run::engines::{self, Kind};
use crate::run::session::{self, Place, Resolved, Watch};
use crate::run::{plan, seal};

use super::view::{Assessment, Figures, Protocol, SCHEMA, Subject, TextInfo};
use super::{Error, Text, measure, reference_bytes};

/// A request to score a text.
#[derive(Debug, Clone)]
pub struct QualityRequest {
    /// The text's file.
    pub text: PathBuf,
    /// The model's name.
    pub model: String,
    /// Its engine; without one the best for model and device.
    pub engine: Option<Kind>,
    /// What it is compared with.
    pub reference: Option<Reference>,
    /// Tokens of a chunk, of which the second half is scored.
    pub context: u32,
    /// Most chunks that are scored.
    pub chunks: Option<u32>,
    /// Threads that compute on the CPU [default: the physical cores].
    pub threads: Option<u16>,
    /// Instruction set of our own engine [default: the best there is].
    pub isa: Option<Isa>,
    /// Format of our own engine's KV cache [default: f16].
    pub kv_type: Option<KvType>,
}

/// What a model is compared with.
#[derive(Debug, Clone)]
pub struct Reference {
    /// A model's name; without one the same model.
    pub model: Option<String>,
    /// Its engine; without one the best for model and device.
    pub engine: Option<Kind>,
}

/// The text of a file without its last line end, as llama-perplexity takes it.
///
/// # Errors
/// [`Error::NoText`] and [`Error::BadText`].
pub fn read(path: &Path) -> Result<(String, TextInfo), Error> {
    let name = path.display().to_string();
    let bad = |reason: String| Error::BadText { path: name.clone(), reason };
    // Opening a pipe without a writer would block forever, and a device may never end.
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
        bad(format!("byte {} is not UTF-8 text; convert the file first", error.utf8_error().valid_up_to()))
    })?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok((text, info))
}

const NO_REFERENCE: &str = "no reference; name one with --reference MODEL or --reference-engine ENGINE";

/// What all steps share.
pub struct Scoring<'a> {
    /// What is asked.
    pub request: &'a QualityRequest,
    /// Models.
    pub catalog: &'a Catalog,
    /// Where it is computed.
    pub place: &'a Place,
    /// Is told what is being done.
    pub watch: &'a dyn Watch,
    /// Whether the user wants to stop.
    pub interrupt: &'a Interrupt,
}

/// A model with the engine that is to run it.
struct Side {
    resolved: Resolved,
    kind: Kind,
    options: Options,
}

/// What came of it.
#[derive(Debug)]
pub struct Scored {
    text: TextInfo,
    protocol: Option<Protocol>,
    model: Subject,
    reference: Option<Subject>,
    figures: Figures,
    interrupted: bool,
}

impl Scored {
    /// What is printed: with the command line without secrets, the time at which it began, and the exit code of a signal.
    pub fn assessment(self, argv: Vec<String>, created: jiff::Timestamp, signal: Option<u8>) -> Assessment {
        Assessment {
            schema: SCHEMA,
            created: created.to_string(),
            tool: seal::tool(),
            argv,
            interrupted: signal.filter(|_| self.interrupted),
            text: self.text,
            protocol: self.protocol,
            model: self.model,
            reference: self.reference.ok_or(NO_REFERENCE).into(),
            figures: self.figures,
        }
    }
}

impl Scoring<'_> {
    /// Scores `text`, which `info` describes.
    ///
    /// # Errors
    /// [`Error`]; an interruption is one until the first chunk is begun.
    pub fn score(&self, text: &str, mut info: TextInfo) -> Result<Scored, Error> {
        let request = self.request;
        let side = self.side(self.open(&request.model)?, request.engine)?;
        let reference = match &request.reference {
            None => None,
            Some(Reference { model: Some(name), engine }) => Some(self.side(self.open(name)?, *engine)?),
            Some(Reference { model: None, engine }) => Some(self.side(side.resolved.clone(), *engine)?),
        };
        self.check_flags(&side, reference.as_ref())?;
        let synthetic = [Some(&side), reference.as_ref()]
            .into_iter()
            .flatten()
            .find(|side| side.resolved.model.header.is_synthetic());
        if let Some(Side { resolved: Resolved { model, .. }, .. }) = synthetic {
            let reason = format!(
                "{} has random weights and no vocabulary; how well it predicts a text means nothing",
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
            self.watch.parts(done, text.chunks(), &format!("chunk {} of {}", done + 1, text.chunks()));
        };
        let finished = measure(
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
            progress: self.watch,
            interrupt: self.interrupt,
        };
        Resolved::find(name, Reach::Weights, &sources)
    }

    /// The engine for a model, or why it cannot run chunks of it.
    fn side(&self, resolved: Resolved, engine: Option<Kind>) -> Result<Side, Error> {
        let (model, device) = (&resolved.model, self.place.device);
        let kind = engine.unwrap_or_else(|| Kind::best(&model.header, device));
        kind.supports(&model.header)?;
        let context = model.header.spec.context_length;
        if self.request.context > context {
            let reason = format!("the `context_length` of {} is {context}; ask for less", model.id);
            return Err(
                plan::Error::Model { row: format!("--ctx-size {}", self.request.context), reason }.into()
            );
        }
        kind.can_run(&model.header, self.demand())?;
        let own = kind == Kind::Fused;
        let options = Options {
            device,
            max_positions: Some(self.request.context),
            max_batch: Some(1),
            threads: Some(self.request.threads.map_or_else(candle::threads, usize::from)),
            isa: self.request.isa.filter(|_| own),
            kv_type: self.request.kv_type.filter(|_| own).unwrap_or_default(),
            // Every step hands logits over, so none would be a graph.
            launches: Launches::Single,
        };
        Ok(Side { resolved, kind, options })
    }

    fn demand(&self) -> Demand {
        let device = self.place.device;
        Demand { batch: 1, context: self.request.context, prompt: 0, output: 0, device }
    }

    /// Flags of our own engine where it does not run at all.
    fn check_flags(&self, side: &Side, reference: Option<&Side>) -> Result<(), Usage> {
        let kinds: Vec<Kind> = [Some(side), reference].into_iter().flatten().map(|side| side.kind).collect();
        engines::check_fused_flags(self.request.isa, self.request.kv_type, Launches::default(), &kinds)
    }

    /// The text in tokens of both, which must be the same.
    fn cut(&self, text: &str, model: &Model, reference: Option<&Model>) -> Result<Text, Error> {
        self.watch.busy("turning the text into tokens");
        let Some(tokenizer) = Tokenizer::open(model)?.map(Tokenizer::literal) else {
            let reason =
                "it has no vocabulary, so no text can be scored; put the model's tokenizer.json next to it";
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
                return Err(differ(format!("their vocabularies have {ours} and {theirs} tokens")));
            }
            if let Some(other) = Tokenizer::open(reference)?.map(Tokenizer::literal) {
                let others = other.encode(text, other.adds_bos())?;
                if others != tokens {
                    let same = tokens.iter().zip(&others).take_while(|(one, other)| one == other).count();
                    return Err(differ(format!("they tokenize this text differently from token {same} on")));
                }
            }
        }
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        let path = text::path(&self.request.text);
        Text::new(&path, tokens, bos, self.request.context, self.request.chunks)
    }

    fn check_memory(&self, side: &Side, reference: Option<&Side>) -> Result<(), plan::Error> {
        let estimated = |side: &Side| {
            let estimated =
                side.kind.memory_estimate(&side.resolved.model.header, self.demand(), &side.options);
            estimated.parts
        };
        let mut parts = estimated(side);
        if let Some(reference) = reference {
            parts.extend(estimated(reference).into_iter().map(|(_, bytes)| ("the reference", bytes)));
            let rows = reference_bytes(self.request.context, side.resolved.model.header.spec.vocabulary);
            parts.push(("the reference's logits", Bytes::new(rows)));
        }
        let estimated = MemoryEstimate { parts };
        let Some(available) = self.place.available else { return Ok(()) };
        let what = format!("a context of {}", self.request.context);
        let way_out = "use a smaller model or reference, lower --ctx-size, or free memory";
        plan::check_memory(&what, &estimated, available, &self.place.short, way_out)
    }

    fn load(&self, side: &Side) -> Result<Box<dyn Engine>, EngineError> {
        self.watch.busy(&format!("loading {}", side.resolved.model.id));
        side.kind.load(&side.resolved.model, &side.options, self.interrupt)
    }

    fn subject(&self, side: &Side, engine: Option<&dyn Engine>) -> Subject {
        self.watch.busy("reading the model's hash");
        let hash = session::content_hash(&side.resolved.model, self.interrupt);
        let row = side.resolved.catalog_id(self.catalog);
        Subject {
            model: seal::model_info(&side.resolved.model, hash, row),
            engine: engine.map(|engine| engine.capabilities().clone()),
        }
    }
}
