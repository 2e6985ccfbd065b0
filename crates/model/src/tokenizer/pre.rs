//! How text is cut into words before merging, by the name a GGUF file gives (`tokenizer.ggml.pre`).
//!
//! The expressions are part of each model: they are in the `tokenizer.json` published with it (`pre_tokenizer`), and
//! another expression gives other tokens. Which name means which of them is listed in llama.cpp's
//! src/llama-vocab.cpp, as is the set of names that take a whole word that is a token before merging
//! (`ignore_merges`) and those that put the beginning-of-sequence token in front.

use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// What a pre-tokenizer's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pre {
    /// Expressions applied one after the other; each cuts out its matches, and leaves what is between.
    cuts: &'static [&'static str],
    /// A word that is a token as it stands is not merged from its bytes.
    pub ignore_merges: bool,
    /// The beginning-of-sequence token comes first unless the file says otherwise.
    pub adds_bos: bool,
}

const GPT2_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const GPT2: &[&str] = &[GPT2_WORDS];
const DIGIT_BY_DIGIT: &[&str] = &[r"\p{N}", GPT2_WORDS];
const LLAMA_3: &[&str] = &[
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
const QWEN_2: &[&str] = &[
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
const DEEPSEEK_3: &[&str] = &[
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
];
const TEKKEN: &[&str] = &[
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
const GPT_4O: &[&str] = &[
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// What llama.cpp does for files that name `default`.
const DEFAULT: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT2_WORDS, r"\p{N}+", "[0-9][0-9][0-9]"];

/// Name, expressions, `ignore_merges`, `adds_bos`.
const KNOWN: &[(&str, &[&str], bool, bool)] = &[
    ("default", DEFAULT, false, false),
    ("gpt-2", GPT2, false, false),
    ("phi-2", GPT2, false, false),
    ("mpt", GPT2, false, false),
    ("olmo", GPT2, false, false),
    ("jais", GPT2, false, false),
    ("smollm", DIGIT_BY_DIGIT, false, false),
    ("starcoder", DIGIT_BY_DIGIT, false, false),
    ("refact", DIGIT_BY_DIGIT, false, false),
    ("codeshell", DIGIT_BY_DIGIT, false, false),
    ("command-r", DIGIT_BY_DIGIT, false, false),
    ("exaone", DIGIT_BY_DIGIT, false, false),
    ("llama-bpe", LLAMA_3, true, true),
    ("llama3", LLAMA_3, true, true),
    ("llama-v3", LLAMA_3, true, true),
    ("falcon3", LLAMA_3, true, true),
    ("pixtral", LLAMA_3, true, true),
    ("dbrx", LLAMA_3, false, false),
    ("smaug-bpe", LLAMA_3, false, false),
    ("glm4", LLAMA_3, true, false),
    ("qwen2", QWEN_2, false, false),
    ("deepseek-r1-qwen", QWEN_2, false, false),
    ("stablelm2", QWEN_2, false, false),
    ("deepseek-v3", DEEPSEEK_3, false, false),
    ("tekken", TEKKEN, true, true),
    ("gpt-4o", GPT_4O, false, false),
    ("llama4", GPT_4O, false, false),
];

/// What `name` stands for.
pub(super) fn known(name: &str) -> Option<Pre> {
    KNOWN.iter().find(|(known, ..)| *known == name).map(|(_, cuts, ignore_merges, adds_bos)| Pre {
        cuts,
        ignore_merges: *ignore_merges,
        adds_bos: *adds_bos,
    })
}

impl Pre {
    /// As a step of the `tokenizers` crate; the last step writes bytes as the printable letters of GPT-2.
    pub(super) fn build(self) -> Result<PreTokenizerWrapper, tokenizers::Error> {
        let mut steps = Vec::new();
        for cut in self.cuts {
            let pattern = SplitPattern::Regex((*cut).to_owned());
            steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
        }
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps).into())
    }
}
