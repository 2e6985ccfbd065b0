//! What `bench quality --json` prints: one object, described field by field in docs/metrics.md.

use serde::Serialize;

use super::scores::Estimate;
use super::{Finished, Text};
use crate::base::known::{self, Known};
use crate::engine::Capabilities;
use crate::record::{ModelInfo, Tool};

/// The schema this version prints.
pub const SCHEMA: &str = "infercost.quality/1";

/// A text scored by a model, and by a reference if one was named.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Assessment {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// When it began, in UTC (RFC 3339).
    pub created: String,
    /// The program that measured.
    pub tool: Tool,
    /// The command line as typed.
    pub argv: Vec<String>,
    /// Exit code of the signal that ended it early, 130 or 143; the figures then are of the chunks before.
    pub interrupted: Option<u8>,
    /// The text.
    pub text: TextInfo,
    /// How it was scored; `null` when nothing was.
    pub protocol: Option<Protocol>,
    /// The model that was asked about.
    pub model: Subject,
    /// What it is compared with.
    pub reference: Known<Subject>,
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// A model, and the engine that ran it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Subject {
    /// The model, as in a record.
    pub model: ModelInfo,
    /// Its engine; `null` when nothing was loaded.
    pub engine: Option<Capabilities>,
}

/// The text that was scored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TextInfo {
    /// Its file, as typed.
    pub file: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// Tokens of all of it; `null` without a tokenizer.
    pub tokens: Option<usize>,
}

/// llama-perplexity's protocol in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Protocol {
    /// Tokens of a chunk.
    pub context: usize,
    /// Chunks that were scored.
    pub chunks: usize,
    /// First token of a chunk after which logits are used.
    pub scored_from: usize,
    /// Tokens that were scored.
    pub scored_tokens: usize,
    /// Whether each chunk starts with the beginning-of-sequence token.
    pub beginning_of_sequence: bool,
}

/// All figures; each has a reason where it has no value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// How surprised the model is by a token: 1 not at all, the vocabulary's size when it guesses.
    pub perplexity: Figure,
    /// The same of the reference.
    pub reference_perplexity: Figure,
    /// How far the model's probabilities are from the reference's.
    pub kl_divergence: Figure,
    /// How often both would choose the same token.
    pub top1_agreement: Figure,
}

/// One figure.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Figure {
    /// Id of the formula, explained in docs/metrics.md.
    pub formula: &'static str,
    /// Unit of `value` and `standard_error`.
    pub unit: &'static str,
    /// The figure.
    pub value: Known<f64>,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// Scored tokens.
    pub n: usize,
}

impl Figures {
    /// The figures of what was scored; `no_reference` says why there is nothing to compare with.
    pub fn of(finished: &Finished, no_reference: &str) -> Self {
        let n = finished.scores.count();
        let stopped = "interrupted before the first chunk was scored";
        let of = |estimate: Option<Estimate>| estimate.ok_or(stopped);
        let against = |estimate: fn(&Finished) -> Option<Estimate>| match finished.against {
            Some(_) => of(estimate(finished)),
            None => Err(no_reference),
        };
        Self::new(
            n,
            [
                of(finished.scores.perplexity()),
                against(|finished| finished.against.and_then(|(scores, _)| scores.perplexity())),
                against(|finished| finished.against.and_then(|(_, agreement)| agreement.divergence())),
                against(|finished| finished.against.and_then(|(_, agreement)| agreement.top1())),
            ],
        )
    }

    /// No figure at all, for this reason.
    pub fn none(reason: &str) -> Self {
        Self::new(0, [Err(reason); 4])
    }

    fn new(n: usize, found: [Result<Estimate, &str>; 4]) -> Self {
        let figure = |formula, unit, found: Result<Estimate, &str>| Figure {
            formula,
            unit,
            value: found.map(|estimate| estimate.value).into(),
            standard_error: found.ok().map(|estimate| estimate.standard_error),
            n: if found.is_ok() { n } else { 0 },
        };
        let [perplexity, of_reference, divergence, top1] = found;
        Self {
            perplexity: figure("infercost.perplexity/1", "1", perplexity),
            reference_perplexity: figure("infercost.perplexity/1", "1", of_reference),
            kl_divergence: figure("infercost.kl_divergence/1", "nat/token", divergence),
            top1_agreement: figure("infercost.top1_agreement/1", "share", top1),
        }
    }
}

impl Protocol {
    /// How `text` was scored until the end or the interruption.
    pub fn of(text: &Text, finished: &Finished) -> Self {
        Self {
            context: text.context(),
            chunks: finished.chunks,
            scored_from: text.scored_from(),
            scored_tokens: finished.scores.count(),
            beginning_of_sequence: text.with_bos(),
        }
    }
}
