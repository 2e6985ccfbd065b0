//! Text to tokens and back, with what came with the model.
//!
//! A GGUF file's own vocabulary comes first, since it is surely this model's; then a `tokenizer.json`
//! next to the weights. How a vocabulary cuts text into words before merging is named in the file
//! (`tokenizer.ggml.pre`), and a name that is not known here is an error: a guess would give other tokens
//! than the model was trained on, and it would go unnoticed.
//!
//! Merging itself is the `tokenizers` crate's. Not read: `tokenizer.model` files, and vocabularies of the
//! kinds `bert`, `t5` and `rwkv`.

mod json;
mod pre;
#[cfg(test)]
mod tests;
pub(crate) mod vocabulary;

use std::path::{Path, PathBuf};

use vocabulary::Special;

use super::gguf::{self, Gguf};
use super::{Error, Model, Source};

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special: Special,
    /// The file it came from, for messages.
    path: PathBuf,
}

impl Tokenizer {
    /// The tokenizer of `model`, or `None` when it came with none (synthetic weights have no text).
    ///
    /// # Errors
    /// [`Error::Unusable`] when there is one and it cannot be used, with the reason: a pre-tokenizer not
    /// known here, a corrupted vocabulary.
    pub fn open(model: &Model) -> Result<Option<Self>, Error> {
        match &model.source {
            Source::Synthetic(_) => Ok(None),
            Source::Safetensors(folder) => json::in_folder(folder, model.header.spec.vocabulary),
            Source::Gguf(path) => {
                let own = Self::from_gguf(&gguf::read(path)?, path);
                if let Ok(Some(_)) = own {
                    return own;
                }
                let folder = path.parent().unwrap_or_else(|| Path::new(""));
                match json::in_folder(folder, model.header.spec.vocabulary)? {
                    Some(found) => Ok(Some(found)),
                    None => own,
                }
            }
        }
    }

    /// The tokenizer in one file: a GGUF file's vocabulary, or a `tokenizer.json` by whatever name.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such file, else as [`Self::open`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            let none = || {
                Error::unusable(path, "it has no vocabulary: use a file that has one, or a tokenizer.json")
            };
            return Self::from_gguf(&gguf::read(path)?, path)?.ok_or_else(none);
        }
        json::file(path, u32::MAX)?.ok_or_else(|| Error::Missing {
            what: path.display().to_string(),
            reason: "no such tokenizer file".to_owned(),
        })
    }

    /// The tokenizer in a GGUF file's metadata, or `None` when it has no vocabulary.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_gguf(file: &Gguf, path: &Path) -> Result<Option<Self>, Error> {
        let built = vocabulary::build(&file.metadata, file.header.spec.vocabulary);
        match built {
            Ok(None) => Ok(None),
            Ok(Some((inner, special))) => Ok(Some(Self { inner, special, path: path.to_owned() })),
            Err(reason) => Err(Error::unusable(path, reason)),
        }
    }

    /// The tokens of `text`; with `add_bos`, the beginning-of-sequence token comes first when the model has
    /// one. Special tokens written out in `text` (`<|im_start|>`) become themselves.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the vocabulary cannot express the text.
    pub fn encode(&self, text: &str, add_bos: bool) -> Result<Vec<u32>, Error> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|error| self.bad("encode the text", &error))?;
        let bos = self.special.bos.filter(|_| add_bos);
        Ok(bos.into_iter().chain(encoding.get_ids().iter().copied()).collect())
    }

    /// The same tokenizer, but a special token written out in a text is plain text.
    #[must_use]
    pub fn literal(mut self) -> Self {
        self.inner.set_encode_special_tokens(true);
        self
    }

    /// The text of `tokens`, without special tokens; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Unusable`] when the decoder fails.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Error> {
        self.inner.decode(tokens, true).map_err(|error| self.bad("decode tokens", &error))
    }

    /// The beginning-of-sequence token.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// The end-of-sequence token.
    pub fn eos(&self) -> Option<u32> {
        self.special.eos
    }

    /// Whether the model expects the beginning-of-sequence token in front of a text.
    pub fn adds_bos(&self) -> bool {
        self.special.adds_bos
    }

    /// Number of tokens known, added ones included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    fn bad(&self, what: &str, error: &tokenizers::Error) -> Error {
        Error::unusable(&self.path, format!("its tokenizer cannot {what}: {error}"))
    }
}
