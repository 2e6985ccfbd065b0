//! From a GGUF file's `tokenizer.ggml.*` keys to a tokenizer.
//!
//! Two kinds: `gpt2`, byte-pair merges in rank order over bytes written as letters, and `llama`, the pieces of
//! `SentencePiece` with a score each, where the neighbours whose union scores best are merged first. Keys:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, section tokenizer.

use std::collections::HashMap;

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::{AddedToken, Tokenizer};

use super::pre::{self, Pre};
use crate::gguf::value::{Array, Metadata, Value};

/// The tokens that mean no text, and whether the model expects one in front.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) adds_bos: bool,
}

/// What `SentencePiece` writes for a space.
const SPACE: &str = "▁";

/// `tokenizer.ggml.token_type`: what a token is besides text.
mod token_type {
    pub(super) const UNKNOWN: i64 = 2;
    pub(super) const CONTROL: i64 = 3;
    pub(super) const USER_DEFINED: i64 = 4;
    pub(super) const UNUSED: i64 = 5;
    pub(super) const BYTE: i64 = 6;
}

/// How a vocabulary is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Merges in rank order.
    Merges(Pre),
    /// Pieces with scores.
    Pieces,
}

/// Whether `metadata` hold a vocabulary.
///
/// # Errors
/// The reason why a vocabulary that is there cannot be used.
pub(crate) fn usable(metadata: &Metadata) -> Result<bool, String> {
    kind(metadata).map(|kind| kind.is_some())
}

/// How the vocabulary is used, or `None` when there is none.
fn kind(metadata: &Metadata) -> Result<Option<Kind>, String> {
    let kind = match metadata.str("tokenizer.ggml.model") {
        None | Some("none" | "no_vocab") => return Ok(None),
        Some("gpt2") => match metadata.str("tokenizer.ggml.pre") {
            None => {
                return Err(
                    "`tokenizer.ggml.pre` is missing, so its pre-tokenizer is unknown; put the model's tokenizer.json next to it, or convert the model again"
                        .to_owned(),
                );
            }
            Some(name) => Kind::Merges(pre::known(name).ok_or_else(|| {
                format!(
                    "`tokenizer.ggml.pre` is `{}`, an unknown pre-tokenizer; put the model's tokenizer.json next to it",
                    name.escape_debug()
                )
            })?),
        },
        Some("llama") => Kind::Pieces,
        Some(other) => {
            return Err(format!(
                "`tokenizer.ggml.model` is `{}`; supported: `gpt2`, `llama`; put the model's tokenizer.json next to it",
                other.escape_debug()
            ));
        }
    };
    let needed = match kind {
        Kind::Merges(_) => ["tokenizer.ggml.tokens", "tokenizer.ggml.merges"],
        Kind::Pieces => ["tokenizer.ggml.tokens", "tokenizer.ggml.scores"],
    };
    for key in needed {
        if metadata.get(key).and_then(Value::as_array).is_none() {
            return Err(format!("`{key}` is missing or not an array: the vocabulary is corrupted"));
        }
    }
    Ok(Some(kind))
}

/// The tokenizer of a model whose embedding has `rows` rows.
pub(super) fn build(metadata: &Metadata, rows: u32) -> Result<Option<(Tokenizer, Special)>, String> {
    let Some(kind) = kind(metadata)? else { return Ok(None) };
    let words = Words::read(metadata, rows)?;
    let special = words.special(metadata, kind)?;
    let mut tokenizer = match kind {
        Kind::Merges(pre) => byte_pairs(&words, metadata, pre),
        Kind::Pieces => pieces(&words, metadata),
    }?;
    let added = words.texts.iter().zip(&words.types).filter_map(|(text, kind)| match *kind {
        token_type::CONTROL => Some(AddedToken::from(text.clone(), true).normalized(false)),
        token_type::USER_DEFINED => Some(AddedToken::from(text.clone(), false).normalized(false)),
        _ => None,
    });
    tokenizer.add_tokens(added).map_err(|error| format!("its special tokens cannot be used: {error}"))?;
    Ok(Some((tokenizer, special)))
}

/// Tokens by id.
struct Words {
    texts: Vec<String>,
    types: Vec<i64>,
    ids: HashMap<String, u32>,
}

impl Words {
    fn read(metadata: &Metadata, rows: u32) -> Result<Self, String> {
        let strings = array(metadata, "tokenizer.ggml.tokens")?
            .strings()
            .ok_or("`tokenizer.ggml.tokens` holds no strings: the vocabulary is corrupted")?;
        let mut texts = Vec::new();
        let mut ids = HashMap::new();
        for (id, bytes) in (0_u32..).zip(strings) {
            let text = std::str::from_utf8(bytes).map_err(|error| {
                format!("token {id} is not UTF-8 text ({error}): the vocabulary is corrupted")
            })?;
            texts.push(text.to_owned());
            ids.entry(text.to_owned()).or_insert(id);
        }
        if texts.len() as u64 > u64::from(rows) {
            return Err(format!(
                "the vocabulary has {} tokens and the embedding {rows} rows: they belong to different models",
                texts.len()
            ));
        }
        let types = match metadata.get("tokenizer.ggml.token_type") {
            None => vec![1; texts.len()],
            Some(_) => array(metadata, "tokenizer.ggml.token_type")?
                .integers()
                .filter(|types| types.len() == texts.len())
                .ok_or_else(|| {
                    format!(
                        "`tokenizer.ggml.token_type` is not one number for each of {} tokens",
                        texts.len()
                    )
                })?,
        };
        Ok(Self { texts, types, ids })
    }

    /// Beginning and end of sequence; for `llama` the defaults are 1 and 2.
    fn special(&self, metadata: &Metadata, kind: Kind) -> Result<Special, String> {
        let id = |key: &str, default: Option<u32>| match metadata.get(key) {
            None => Ok(default.filter(|id| (*id as usize) < self.texts.len())),
            Some(value) => value
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .filter(|id| (*id as usize) < self.texts.len())
                .map(Some)
                .ok_or_else(|| format!("`{key}` is {value}, and there are {} tokens", self.texts.len())),
        };
        let pieces = kind == Kind::Pieces;
        let default_adds_bos = match kind {
            Kind::Merges(pre) => pre.adds_bos,
            Kind::Pieces => true,
        };
        Ok(Special {
            bos: id("tokenizer.ggml.bos_token_id", pieces.then_some(1))?,
            eos: id("tokenizer.ggml.eos_token_id", pieces.then_some(2))?,
            adds_bos: metadata
                .get("tokenizer.ggml.add_bos_token")
                .and_then(Value::as_bool)
                .unwrap_or(default_adds_bos),
        })
    }

    fn vocab(&self) -> Vocab {
        self.ids.iter().map(|(text, id)| (text.clone(), *id)).collect()
    }
}

fn array<'a>(metadata: &'a Metadata, key: &str) -> Result<&'a Array, String> {
    metadata.get(key).and_then(Value::as_array).ok_or_else(|| format!("`{key}` is not an array"))
}

/// `gpt2`: merges as written, each "left right".
fn byte_pairs(words: &Words, metadata: &Metadata, pre: Pre) -> Result<Tokenizer, String> {
    let strings = array(metadata, "tokenizer.ggml.merges")?
        .strings()
        .ok_or("`tokenizer.ggml.merges` holds no strings: the vocabulary is corrupted")?;
    let mut merges = Vec::new();
    for (rank, bytes) in strings.enumerate() {
        let pair = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once(' '));
        // The crate below takes for granted that a merge's parts and union are tokens.
        let known = |text: &str| words.ids.contains_key(text);
        match pair {
            Some((left, right)) if known(left) && known(right) && known(&format!("{left}{right}")) => {
                merges.push((left.to_owned(), right.to_owned()));
            }
            _ => {
                return Err(format!(
                    "merge {rank} (`{}`) does not join two tokens into one: the vocabulary is corrupted",
                    String::from_utf8_lossy(bytes).escape_debug()
                ));
            }
        }
    }
    let model = BPE::builder()
        .vocab_and_merges(words.vocab(), merges)
        .ignore_merges(pre.ignore_merges)
        .build()
        .map_err(|error| format!("its merges cannot be used: {error}"))?;
    let mut tokenizer = Tokenizer::new(model);
    let pre = pre.build().map_err(|error| format!("its pre-tokenizer cannot be built: {error}"))?;
    tokenizer.with_pre_tokenizer(Some(pre)).with_decoder(Some(ByteLevel::new(true, true, true)));
    Ok(tokenizer)
}

/// Longest piece of a text, in bytes. Each cut of each piece is looked up, so this bounds the time.
const LONGEST_PIECE: usize = 512;
/// Bytes of all merges together.
const MOST_MERGED: usize = 256 << 20;

/// `llama`: each way to make a piece of two pieces is a merge, the best score first.
///
/// `SentencePiece` merges the neighbours whose union scores best, the leftmost among equals; merges in the
/// order of their unions' scores do the same.
fn pieces(words: &Words, metadata: &Metadata) -> Result<Tokenizer, String> {
    let scores = array(metadata, "tokenizer.ggml.scores")?
        .fractions()
        .filter(|scores| scores.len() == words.texts.len() && scores.iter().all(|score| !score.is_nan()))
        .ok_or_else(|| {
            format!("`tokenizer.ggml.scores` is not one float for each of {} tokens", words.texts.len())
        })?;
    let mergeable = |id: u32| {
        let kind = words.types[id as usize];
        ![token_type::UNKNOWN, token_type::CONTROL, token_type::UNUSED, token_type::BYTE].contains(&kind)
    };
    let mut merges: Vec<(f32, u32, u32, u32)> = Vec::new();
    let mut bytes = 0;
    for (id, text) in (0_u32..).zip(&words.texts) {
        if !mergeable(id) || words.ids.get(text) != Some(&id) {
            continue;
        }
        if text.len() > LONGEST_PIECE {
            return Err(format!(
                "token {id} has {} bytes, and no piece of a text has more than {LONGEST_PIECE}: the vocabulary is corrupted",
                text.len()
            ));
        }
        for (cut, _) in text.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (words.ids.get(&text[..cut]), words.ids.get(&text[cut..]))
                && mergeable(*left)
                && mergeable(*right)
            {
                merges.push((scores[id as usize], id, *left, *right));
                bytes += text.len();
            }
        }
        if bytes > MOST_MERGED {
            return Err(format!(
                "its first {id} tokens combine in {} ways, more than in any language: \
                 the vocabulary is corrupted",
                merges.len()
            ));
        }
    }
    merges.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let text = |id: u32| words.texts[id as usize].clone();
    let merges = merges.into_iter().map(|(_, _, left, right)| (text(left), text(right))).collect();
    let unknown = words.types.iter().position(|kind| *kind == token_type::UNKNOWN);
    let mut model = BPE::builder().vocab_and_merges(words.vocab(), merges).fuse_unk(true).byte_fallback(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(words.texts[unknown].clone());
    }
    let model = model.build().map_err(|error| format!("its pieces cannot be used: {error}"))?;
    let mut tokenizer = Tokenizer::new(model);
    let prefix = metadata.get("tokenizer.ggml.add_space_prefix").and_then(Value::as_bool).unwrap_or(true);
    let steps = || -> Result<_, tokenizers::Error> {
        let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
        if prefix {
            normalizers.push(Prepend::new(SPACE.to_owned()).into());
        }
        normalizers.push(Replace::new(" ", SPACE)?.into());
        let mut decoders =
            vec![Replace::new(SPACE, " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
        if prefix {
            decoders.push(Strip::new(' ', 1, 0).into());
        }
        Ok((Normalizers::new(normalizers), Decoders::new(decoders)))
    };
    let (normalizer, decoder) = steps().map_err(|error| format!("its spaces cannot be handled: {error}"))?;
    tokenizer
        .with_normalizer(Some(normalizer))
        .map_err(|error| format!("its spaces cannot be handled: {error}"))?
        .with_decoder(Some(decoder));
    Ok(tokenizer)
}
