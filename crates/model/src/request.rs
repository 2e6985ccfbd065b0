//! What the user typed after `--model`, understood by its form.
//!
//! The rules, first match wins:
//! 1. `hf:…` names a repository on the hub, `synthetic:…` a recipe.
//! 2. A path that exists is that path: a folder holds safetensors, a file is GGUF.
//! 3. What has a `/` or a `\`, or ends in `.gguf`, was meant as a path, and it is missing.
//! 4. Anything else is a catalog id, with an optional `:quant`.
//!
//! Only form is judged here; [`super::resolve`] says whether the catalog or the hub knows the name.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Error, other};

/// A model as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A GGUF file on this machine.
    Gguf(PathBuf),
    /// A folder with `config.json` and safetensors on this machine.
    Safetensors(PathBuf),
    /// `hf:org/repo[/file][@revision]` or `hf:org/repo:QUANT[@revision]`.
    Hub(HubName),
    /// `llama-3-70b:q4_k_m`: a row of the catalog, fetched from the hub.
    Catalog {
        /// The row's id or one of its aliases.
        id: String,
        /// The quantization, in lower case; `None` leaves the choice to the row.
        quant: Option<String>,
    },
    /// `synthetic:PRESET[:QUANT]`: true shapes and formats, random values.
    Synthetic {
        /// The id of a catalog row, whose shape is taken.
        preset: String,
        /// The quantization, in lower case; `None` means [`DEFAULT_SYNTHETIC_QUANT`].
        quant: Option<String>,
    },
}

/// Quantization of synthetic weights when none is named: what most people run, 4.8 bits a weight.
pub const DEFAULT_SYNTHETIC_QUANT: &str = "q4_k_m";

/// A place on the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    /// `org/repo`, or `repo` for the few old ones without an owner.
    pub repo: String,
    /// Path of one file inside the repository.
    pub file: Option<String>,
    /// Instead of a file: the quantization that the file's name must carry, in lower case.
    pub quant: Option<String>,
    /// Branch, tag or commit; `None` means `main`.
    pub revision: Option<String>,
}

impl HubName {
    /// The revision to ask for.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

impl Request {
    /// Understands what was typed after `--model`.
    ///
    /// # Errors
    /// [`Error::BadName`] when it can be no model's name, [`Error::Missing`] when it is a path and nothing is there,
    /// [`Error::Unusable`] for one file of a folder that holds no model.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.trim().is_empty() {
            return Err(bad(text, format!("it is empty; {FORMS}")));
        }
        if let Some(name) = text.strip_prefix("hf:") {
            return parse_hub(text, name).map(Self::Hub);
        }
        if let Some(recipe) = text.strip_prefix("synthetic:") {
            let (preset, quant) = split_quant(text, recipe)?;
            return Ok(Self::Synthetic { preset, quant });
        }
        let path = Path::new(text);
        if path.is_dir() {
            return Ok(Self::Safetensors(path.into()));
        }
        if path.exists() {
            if has_extension(path, "safetensors") {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                other::refuse_folder(folder)?;
                let reason = format!(
                    "a safetensors model is a folder with config.json next to the weights; give the folder: {}",
                    folder.display()
                );
                return Err(bad(text, reason));
            }
            return Ok(Self::Gguf(path.into()));
        }
        if text.contains(['/', '\\']) || has_extension(path, "gguf") || has_extension(path, "safetensors") {
            return Err(missing_path(text));
        }
        let (id, quant) = split_quant(text, text)?;
        Ok(Self::Catalog { id, quant })
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon =
            |quant: &Option<String>| quant.as_ref().map_or(String::new(), |quant| format!(":{quant}"));
        match self {
            Self::Gguf(path) | Self::Safetensors(path) => write!(f, "{}", path.display()),
            Self::Hub(HubName { repo, file, quant, revision }) => {
                let file = file.as_ref().map_or(String::new(), |file| format!("/{file}"));
                let revision = revision.as_ref().map_or(String::new(), |revision| format!("@{revision}"));
                write!(f, "hf:{repo}{file}{}{revision}", colon(quant))
            }
            Self::Catalog { id, quant } => write!(f, "{id}{}", colon(quant)),
            Self::Synthetic { preset, quant } => write!(f, "synthetic:{preset}{}", colon(quant)),
        }
    }
}

const FORMS: &str = "give a catalog id (llama-3-8b:q4_k_m), a path to a .gguf file or to a safetensors folder, \
                     hf:org/repo[/file], or synthetic:PRESET[:QUANT]; `bench catalog models` lists ids and presets";

fn bad(name: &str, reason: impl Into<String>) -> Error {
    Error::BadName { name: name.to_owned(), reason: reason.into() }
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

fn missing_path(text: &str) -> Error {
    let mut parts = text.split('/');
    let looks_like_repo = matches!((parts.next(), parts.next()), (Some(org), Some(repo))
        if valid_name(org) && valid_name(repo) && !org.starts_with('.'));
    let reason = if text.contains("://") {
        "it looks like a URL, and URLs are not downloaded; for the hub write hf:org/repo/file.gguf, otherwise download it and give its path"
            .to_owned()
    } else if looks_like_repo {
        format!("a repository on the hub is written hf:{text}")
    } else {
        format!("check the path, or {FORMS}")
    };
    Error::Missing { what: text.to_owned(), reason }
}

/// Splits `id[:quant]`; both must be plain words.
fn split_quant(whole: &str, text: &str) -> Result<(String, Option<String>), Error> {
    let (id, quant) = match text.split_once(':') {
        Some((id, quant)) => (id, Some(quant)),
        None => (text, None),
    };
    if !valid_name(id) {
        return Err(bad(whole, format!("`{id}` cannot be an id; {FORMS}")));
    }
    Ok((id.to_owned(), quant.map(|quant| parse_quant(whole, quant)).transpose()?))
}

fn parse_quant(whole: &str, quant: &str) -> Result<String, Error> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if quant.is_empty() || quant.len() > 32 || !quant.chars().all(word) {
        let reason =
            format!("`{quant}` after the colon is not a quantization; use one such as q4_k_m, q8_0 or f16");
        return Err(bad(whole, reason));
    }
    Ok(quant.to_ascii_lowercase())
}

/// The hub's rule for a name's characters, which also keeps names from climbing out of a folder.
fn valid_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 96 && name.chars().all(plain) && !name.contains("..") && name != "."
}

fn parse_hub(whole: &str, name: &str) -> Result<HubName, Error> {
    const FORM: &str =
        "write hf:org/repo, hf:org/repo/file.gguf or hf:org/repo:q4_k_m, each with an optional @revision";
    let (name, revision) = match name.rsplit_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (name, None),
    };
    if let Some(revision) = revision
        && !(revision.split('/').all(valid_name) && revision.len() <= 200)
    {
        return Err(bad(whole, format!("`{revision}` after the @ is not a branch, tag or commit; {FORM}")));
    }
    let (name, quant) = match name.split_once(':') {
        Some((name, quant)) => (name, Some(parse_quant(whole, quant)?)),
        None => (name, None),
    };
    let mut parts = name.splitn(3, '/');
    let repo: Vec<&str> = parts.by_ref().take(2).collect();
    if let Some(wrong) = repo.iter().find(|part| !valid_name(part)) {
        return Err(bad(whole, format!("`{wrong}` cannot be part of a repository's name; {FORM}")));
    }
    let file = parts.next();
    if let Some(file) = file
        && !valid_file(file)
    {
        return Err(bad(whole, format!("`{file}` cannot be a file in a repository; {FORM}")));
    }
    if file.is_some() && quant.is_some() {
        return Err(bad(
            whole,
            format!("it names a file and a quantization, but only one is allowed; {FORM}"),
        ));
    }
    Ok(HubName {
        repo: repo.join("/"),
        file: file.map(str::to_owned),
        quant,
        revision: revision.map(str::to_owned),
    })
}

/// Whether this is a relative path that stays where it is put. Also asked of names that a server sends.
pub(super) fn valid_file(file: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part != "." && part != "..";
    !file.contains(['\\', '\0', ':']) && file.len() <= 512 && file.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(repo: &str, file: Option<&str>, quant: Option<&str>, revision: Option<&str>) -> Request {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Request::Hub(HubName {
            repo: repo.into(),
            file: own(file),
            quant: own(quant),
            revision: own(revision),
        })
    }

    #[test]
    fn names_are_understood_by_their_form() {
        let catalog = |id: &str, quant: Option<&str>| Request::Catalog {
            id: id.into(),
            quant: quant.map(str::to_owned),
        };
        let synthetic = |preset: &str, quant: Option<&str>| Request::Synthetic {
            preset: preset.into(),
            quant: quant.map(str::to_owned),
        };
        let cases = [
            ("llama-3-70b:Q4_K_M", catalog("llama-3-70b", Some("q4_k_m"))),
            ("llama-3.2-1b", catalog("llama-3.2-1b", None)),
            ("synthetic:llama-3-70b:q8_0", synthetic("llama-3-70b", Some("q8_0"))),
            ("synthetic:smollm2-135m", synthetic("smollm2-135m", None)),
            ("hf:org/repo", hub("org/repo", None, None, None)),
            ("hf:gpt2", hub("gpt2", None, None, None)),
            ("hf:org/repo/a/b.gguf@v1.0", hub("org/repo", Some("a/b.gguf"), None, Some("v1.0"))),
            ("hf:org/repo:Q8_0@refs/pr/1", hub("org/repo", None, Some("q8_0"), Some("refs/pr/1"))),
        ];
        for (text, expected) in cases {
            let parsed = Request::parse(text).unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(Request::parse(&parsed.to_string()).unwrap(), expected, "printed and parsed again");
        }
    }

    #[test]
    fn a_path_that_exists_wins_over_every_other_reading() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights");
        std::fs::write(&file, b"GGUF").unwrap();
        assert_eq!(Request::parse(file.to_str().unwrap()).unwrap(), Request::Gguf(file));
        let path = folder.path().to_path_buf();
        assert_eq!(Request::parse(path.to_str().unwrap()).unwrap(), Request::Safetensors(path.clone()));
        let shard = path.join("model.safetensors");
        std::fs::write(&shard, b"").unwrap();
        let error = Request::parse(shard.to_str().unwrap()).unwrap_err();
        assert!(
            matches!(error, Error::BadName { .. }) && error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_a_model_says_why_and_what_to_write() {
        let bad_names = [
            ("", "empty"),
            ("  ", "empty"),
            ("llama-3-70b:", "quantization"),
            ("llama-3-70b:q4 k", "quantization"),
            ("two words", "cannot be an id"),
            ("synthetic:", "cannot be an id"),
            ("synthetic:a/b", "cannot be an id"),
            ("hf:", "repository's name"),
            ("hf:../../etc", "repository's name"),
            ("hf:org/repo/../../x", "file in a repository"),
            ("hf:org/repo/", "file in a repository"),
            ("hf:org/repo@", "branch, tag or commit"),
            ("hf:org/repo@../x", "branch, tag or commit"),
            ("hf:org/repo/x.gguf:q8_0", "only one is allowed"),
        ];
        for (text, expected) in bad_names {
            let error = Request::parse(text).unwrap_err();
            assert!(matches!(error, Error::BadName { .. }), "{text}: {error}");
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
        let missing = [
            ("no-such.gguf", "does not exist: check the path"),
            ("/no/such/folder", "does not exist: check the path"),
            ("meta-llama/Llama-3.1-8B", "hf:meta-llama/Llama-3.1-8B"),
            ("https://example.org/x.gguf", "URL"),
        ];
        for (text, expected) in missing {
            let error = Request::parse(text).unwrap_err();
            assert!(matches!(error, Error::Missing { .. }), "{text}: {error}");
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
    }
}
