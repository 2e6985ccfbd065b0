//! How well a model predicts a text, and how far it is from a reference: perplexity, KL divergence, top-1 agreement.
//!
//! The protocol is llama-perplexity's, so that the figures can be compared: the text is cut into chunks of as many
//! tokens as the context has, what is left over is not used, each chunk starts from an empty cache and, when the model
//! wants one, with the beginning-of-sequence token in place of its first; the tokens of its second half are scored.
//! [`scores`] has the formulas. The text is the same for model and reference, token for token.

pub mod scores;
pub mod scoring;
pub mod view;

use crate::base::failure::{Class, Classed, Usage};
use crate::base::sys::Interrupt;
use crate::engine::{Engine, Error as EngineError};
use crate::model;
use crate::run::plan;
use scores::{Agreement, Row, Scores};

/// Smallest context: a standard error takes more than one scored token.
pub const LEAST_CONTEXT: u32 = 8;

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text file is not there (exit code 13).
    #[error("{path} does not exist; --text takes a file with plain text")]
    NoText {
        /// As typed.
        path: String,
    },
    /// The text file is there and cannot be used (exit code 1).
    #[error("{path}: {reason}")]
    BadText {
        /// As typed.
        path: String,
        /// What it is, what was expected and the way out.
        reason: String,
    },
    /// Model and reference do not speak of the same tokens (exit code 12).
    #[error("{model} and {reference} cannot be compared: {reason}")]
    Incomparable {
        /// The model that was asked about.
        model: String,
        /// What it was to be compared with.
        reference: String,
        /// What differs.
        reason: String,
    },
    /// A figure that is not finite (exit code 12).
    #[error(
        "chunk {chunk}: the logits after token {position} on engine {engine} contain NaN or infinity; the weights are damaged, or the engine is wrong: try another with --engine"
    )]
    NonFinite {
        /// Counted from 0.
        chunk: usize,
        /// Within the chunk.
        position: usize,
        /// Which engine.
        engine: &'static str,
    },
    /// A flag is invalid (exit code 2).
    #[error(transparent)]
    Usage(#[from] Usage),
    /// A model cannot be found or read.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// The model or the machine cannot do what is asked.
    #[error(transparent)]
    Plan(#[from] plan::Error),
    /// An engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Classed for Error {
    fn class(&self) -> Class {
        match self {
            Self::NoText { .. } => Class::Missing,
            Self::BadText { .. } => Class::Unusable,
            Self::Incomparable { .. } | Self::NonFinite { .. } => Class::Incomparable,
            Self::Usage(error) => error.class(),
            Self::Model(error) => error.class(),
            Self::Plan(error) => error.class(),
            Self::Engine(error) => error.class(),
        }
    }
}

/// A text cut into chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    tokens: Vec<u32>,
    bos: Option<u32>,
    context: usize,
    chunks: usize,
}

impl Text {
    /// Cuts `tokens` into chunks of `context` tokens, `most` of them at most. `bos` replaces each chunk's first token;
    /// `path` names the text in messages.
    ///
    /// # Errors
    /// [`Error::BadText`] with both numbers when there are fewer than two chunks, as llama-perplexity demands.
    pub fn new(
        path: &str,
        tokens: Vec<u32>,
        bos: Option<u32>,
        context: u32,
        most: Option<u32>,
    ) -> Result<Self, Error> {
        let context = context.max(LEAST_CONTEXT) as usize;
        if tokens.len() < 2 * context {
            let reason = format!(
                "it has {} tokens, and a context of {context} takes at least {}; give a longer text, or a smaller \
                 --ctx-size",
                tokens.len(),
                2 * context
            );
            return Err(Error::BadText { path: path.to_owned(), reason });
        }
        let whole = tokens.len() / context;
        let chunks = most.map_or(whole, |most| whole.min(most as usize));
        Ok(Self { tokens, bos, context, chunks })
    }

    /// Tokens of the whole text.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens of a chunk.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Chunks to score.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// Whether each chunk starts with the beginning-of-sequence token.
    pub fn with_bos(&self) -> bool {
        self.bos.is_some()
    }

    /// The first token of a chunk after which logits are used: they predict the token that follows.
    pub fn scored_from(&self) -> usize {
        self.context / 2
    }

    /// What is fed of a chunk: nothing is scored after its last token.
    fn fed(&self, chunk: usize) -> Vec<u32> {
        let mut fed = self.tokens[chunk * self.context..][..self.context - 1].to_vec();
        if let Some(bos) = self.bos {
            fed[0] = bos;
        }
        fed
    }

    /// The token after position `at` of a chunk.
    fn next(&self, chunk: usize, at: usize) -> u32 {
        self.tokens[chunk * self.context + at + 1]
    }
}

/// What was scored until the end, or until the user asked to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Finished {
    /// The model's surprise.
    pub scores: Scores,
    /// The reference's surprise, and how far the model is from it.
    pub against: Option<(Scores, Agreement)>,
    /// Chunks that were scored, each whole.
    pub chunks: usize,
    /// Whether the user asked to stop.
    pub interrupted: bool,
}

/// Scores `text` chunk by chunk and tells `progress` how many are done.
///
/// With a reference its logits of half a chunk are held in memory, four bytes each: [`reference_bytes`].
///
/// # Errors
/// [`Error::NonFinite`], and [`Error::Engine`] for all but an interruption, which is no error here.
pub fn measure(
    text: &Text,
    engine: &mut dyn Engine,
    mut reference: Option<&mut dyn Engine>,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(usize),
) -> Result<Finished, Error> {
    let mut finished =
        Finished { against: reference.is_some().then(<(Scores, Agreement)>::default), ..Finished::default() };
    let mut theirs = Vec::new();
    for chunk in 0..text.chunks() {
        progress(chunk);
        // A chunk that is not scored to its end leaves no trace.
        let mut next = finished;
        match one(text, chunk, engine, reference.as_deref_mut(), &mut theirs, &mut next, interrupt) {
            Ok(()) => finished = Finished { chunks: chunk + 1, ..next },
            Err(Error::Engine(EngineError::Interrupted)) => {
                finished.interrupted = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(finished)
}

/// Scores one chunk; `theirs` is room for the reference's logits.
fn one(
    text: &Text,
    chunk: usize,
    engine: &mut dyn Engine,
    reference: Option<&mut (dyn Engine + '_)>,
    theirs: &mut Vec<f32>,
    sums: &mut Finished,
    interrupt: &Interrupt,
) -> Result<(), Error> {
    let (Some(reference), Some((scores, agreement))) = (reference, &mut sums.against) else {
        return score(text, chunk, engine, interrupt, &mut |_, row, _| sums.scores.add(row));
    };
    theirs.clear();
    score(text, chunk, reference, interrupt, &mut |_, row, logits| {
        scores.add(row);
        theirs.extend_from_slice(logits);
    })?;
    let mut outside = false;
    score(text, chunk, engine, interrupt, &mut |number, row, logits| {
        sums.scores.add(row);
        match theirs.get(number * logits.len()..(number + 1) * logits.len()) {
            Some(of_reference) => agreement.add(of_reference, logits),
            None => outside = true,
        }
    })?;
    if outside || sums.scores.count() != scores.count() {
        return Err(Error::Incomparable {
            model: engine.capabilities().engine.to_owned(),
            reference: reference.capabilities().engine.to_owned(),
            reason: "their vocabularies are not of the same size".to_owned(),
        });
    }
    Ok(())
}

/// Memory that holds a reference's logits.
pub fn reference_bytes(context: u32, vocabulary: u32) -> u64 {
    u64::from(context - context / 2) * u64::from(vocabulary) * 4
}

/// Feeds one chunk and hands each scored row over, counted from 0.
fn score(
    text: &Text,
    chunk: usize,
    engine: &mut dyn Engine,
    interrupt: &Interrupt,
    each: &mut dyn FnMut(usize, Row, &[f32]),
) -> Result<(), Error> {
    let from = text.scored_from();
    let name = engine.capabilities().engine;
    let mut wrong = None;
    let mut take = |position: usize, logits: &[f32]| {
        if wrong.is_some() {
            return;
        }
        match Row::of(logits, text.next(chunk, position)) {
            Some(row) => each(position - from, row, logits),
            None => wrong = Some(position),
        }
    };
    engine.every_logits(&text.fed(chunk), from, &mut take, interrupt)?;
    match wrong {
        Some(position) => Err(Error::NonFinite { chunk, position, engine: name }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
