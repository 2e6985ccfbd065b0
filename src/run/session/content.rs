//! What a record keeps of a model's content: its hash, and the continuation of a fixed prompt.

use crate::base::sys::Interrupt;
use crate::model::tokenizer::Tokenizer;
use crate::model::{self, Model};
use crate::record::Greedy;
use crate::run::runner::Finished;

/// The prompt whose greedy continuation every record of a real model keeps.
const GREEDY_PROMPT: &str = "The capital of France is";

/// What is read of a model before it is loaded; each part, or why it is not there.
pub struct Content {
    /// sha256 of its files.
    pub sha256: Result<String, String>,
    /// Its tokenizer.
    pub tokenizer: Result<Tokenizer, String>,
    /// The fixed prompt in its tokens.
    pub prompt: Result<Vec<u32>, String>,
}

impl Content {
    /// Reads it; the hash of a large file takes a while where it is not known from before.
    pub fn read(model: &Model, interrupt: &Interrupt) -> Self {
        let sha256 = content_hash(model, interrupt);
        let tokenizer = tokenizer(model);
        let prompt = tokenizer.as_ref().map_err(Clone::clone).and_then(|tokenizer| {
            let tokens = tokenizer.encode(GREEDY_PROMPT, tokenizer.adds_bos());
            tokens.map_err(|error| format!("the prompt cannot be turned into tokens ({error})"))
        });
        Self { sha256, tokenizer, prompt }
    }

    /// The continuation of the fixed prompt as a record has it, or why there is none.
    pub(super) fn greedy(&self, finished: &Finished) -> Result<Greedy, String> {
        let (tokenizer, prompt_tokens) =
            (self.tokenizer.as_ref().map_err(Clone::clone)?, self.prompt.clone()?);
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
}

/// sha256 of a model's files, or why there is none.
///
/// # Errors
/// A reason for the record.
pub fn content_hash(model: &Model, interrupt: &Interrupt) -> Result<String, String> {
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
