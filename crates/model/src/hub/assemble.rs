//! From a name on the hub to a model on this machine: which files make it up, and all of them fetched.
//!
//! A file that is named is taken as [`Hub::fetch`] finds it. A repository alone is asked what it holds, and
//! all comes from the one commit of that answer, so that no folder mixes two versions.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::{FetchProgress, Hub, HubSettings, Listing, pick};
use crate::base::sys::Interrupt;
use crate::request::HubName;
use crate::{Error, Header, Request, Source, gguf, other, safetensors};

/// What a safetensors model's vocabulary is called.
const TOKENIZER: &str = "tokenizer.json";

/// A model of the hub, whole on this machine.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// Where it is: a GGUF file, or a safetensors folder.
    pub source: Source,
    /// What was meant, with the file that was chosen.
    pub name: HubName,
    /// Its address at the hub, with the commit.
    pub origin: String,
}

/// What a model of the hub is, found out without its weights.
#[derive(Debug, Clone)]
pub struct Looked {
    /// What its file says, or its folder's files together.
    pub header: Header,
    /// Where it would be: a GGUF file's name, or a safetensors folder.
    pub source: Source,
    /// What was meant, with the file that was chosen.
    pub name: HubName,
    /// Its address at the hub, with the commit.
    pub origin: String,
}

/// Where the hub is, who is told of transfers, and who may end them.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    /// The hub.
    pub settings: &'a HubSettings,
    /// Told of downloads.
    pub progress: &'a dyn FetchProgress,
    /// Looked at meanwhile.
    pub interrupt: &'a Interrupt,
}

impl<'a> Way<'a> {
    fn to(self, name: &HubName, revision: &str) -> Hub<'a> {
        Hub::new(self.settings, (&name.repo, revision), self.progress, self.interrupt)
    }
}

/// Finds and fetches what `name` means.
///
/// # Errors
/// As [`Hub::list`] and [`Hub::fetch`]; [`Error::Missing`] when nothing there is a model or it is not clear
/// which, with the choices; [`Error::Unusable`] for a split GGUF or a safetensors model that cannot be run,
/// before its weights are fetched.
pub fn assemble(name: &HubName, way: Way<'_>) -> Result<Assembled, Error> {
    let meant = meant(name, way)?;
    let hub = way.to(name, &meant.revision);
    let assembled = match meant.what {
        What::File(file) => {
            let fetched = hub.fetch(&file)?;
            let origin = hub.url(&fetched.commit, &file);
            let name = HubName { file: Some(file), quant: None, ..name.clone() };
            Assembled { source: Source::Gguf(fetched.path), name, origin }
        }
        What::Folder(listing) => {
            let (folder, weights) = folder(&hub, name, &listing)?;
            if listing.files.iter().any(|file| file == TOKENIZER) {
                hub.fetch(TOKENIZER)?;
            }
            for file in &weights.files {
                hub.fetch(file)?;
            }
            let origin = tree(name, way, &listing);
            Assembled { source: Source::Safetensors(folder), name: name.clone(), origin }
        }
    };
    if let Some(commit) = meant.listed {
        way.to(name, name.revision()).remember(&commit)?;
    }
    Ok(assembled)
}

/// Finds what `name` means and reads its header: of files that are not in the cache only the beginning, and for a
/// safetensors model `config.json` and the index.
///
/// # Errors
/// As [`assemble`].
pub fn look(name: &HubName, way: Way<'_>) -> Result<Looked, Error> {
    let meant = meant(name, way)?;
    let hub = way.to(name, &meant.revision);
    match meant.what {
        What::File(file) => {
            let (header, commit) = hub.header(&file, |reader, length, path| {
                // As when it is read from a disk: a header is many small reads.
                gguf::parse(BufReader::with_capacity(1 << 14, reader), length, path)
            })?;
            let origin = hub.url(&commit, &file);
            let source = Source::Gguf(PathBuf::from(&origin));
            let name = HubName { file: Some(file), quant: None, ..name.clone() };
            Ok(Looked { header: header.header, source, name, origin })
        }
        What::Folder(listing) => {
            let (folder, weights) = folder(&hub, name, &listing)?;
            let only = (!weights.indexed).then(|| weights.files.first().map(String::as_str)).flatten();
            let has_tokenizer = listing.files.iter().any(|file| file == TOKENIZER);
            let header = safetensors::look(&folder, only, has_tokenizer, |path| {
                let file = path.strip_prefix(&folder).unwrap_or(path).to_string_lossy();
                let read = |reader: &mut dyn Read, length, path: &Path| {
                    safetensors::parse_file(reader, length, path)
                };
                Ok(hub.header(&file, read)?.0)
            })?;
            let origin = tree(name, way, &listing);
            Ok(Looked { header, source: Source::Safetensors(folder), name: name.clone(), origin })
        }
    }
}

fn tree(name: &HubName, way: Way<'_>, listing: &Listing) -> String {
    format!("{}/{}/tree/{}", way.settings.endpoint, name.repo, listing.commit)
}

/// What a name stands for.
struct Meant {
    what: What,
    /// The revision at which it is: a commit when the repository was listed.
    revision: String,
    /// The commit of the listing.
    listed: Option<String>,
}

enum What {
    /// One GGUF file.
    File(String),
    /// A safetensors model.
    Folder(Listing),
}

/// Finds out which files are meant; asks the hub for nothing but a listing.
fn meant(name: &HubName, way: Way<'_>) -> Result<Meant, Error> {
    if let Some(file) = &name.file {
        check_file(name, file)?;
        let what = What::File(file.clone());
        return Ok(Meant { what, revision: name.revision().to_owned(), listed: None });
    }
    let listing = way.to(name, name.revision()).list()?;
    let missing = |reason| Error::Missing { what: Request::Hub(name.clone()).to_string(), reason };
    let chosen = pick::gguf(&listing.files, name.quant.as_deref()).map_err(missing)?.map(str::to_owned);
    let commit = listing.commit.clone();
    let what = match chosen {
        Some(file) => {
            check_file(name, &file)?;
            What::File(file)
        }
        None if name.quant.is_some() => {
            return Err(missing("the repository has no GGUF file to choose from".into()));
        }
        None => What::Folder(listing),
    };
    Ok(Meant { what, revision: commit.clone(), listed: Some(commit) })
}

fn check_file(name: &HubName, file: &str) -> Result<(), Error> {
    let shown = || Request::Hub(name.clone()).to_string();
    if !Path::new(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        let reason = format!(
            "it is not a .gguf file; for a safetensors model, name only the repository: hf:{}",
            name.repo
        );
        return Err(Error::BadName { name: shown(), reason });
    }
    pick::whole(file).map_err(|reason| Error::unusable(shown(), reason))
}

/// The files of a safetensors model that hold weights.
struct Weights {
    files: Vec<String>,
    /// Whether an index names them.
    indexed: bool,
}

/// Fetches the small files: they say whether the large ones are worth it, and which there are.
fn folder(hub: &Hub<'_>, name: &HubName, listing: &Listing) -> Result<(PathBuf, Weights), Error> {
    let has = |file: &str| listing.files.iter().any(|listed| listed == file);
    let what = || Request::Hub(name.clone()).to_string();
    if let Some(reason) = other::refusal(&listing.files, None) {
        return Err(Error::unusable(what(), reason));
    }
    let neither = || {
        let reason = "the repository has neither a .gguf file nor a config.json with weights in *.safetensors; name another repository, or one file of it: hf:org/repo/file.gguf"
            .into();
        Error::Missing { what: what(), reason }
    };
    if !has("config.json") {
        return Err(neither());
    }
    let config = hub.fetch("config.json")?.path;
    safetensors::check_config(&config)?;
    let indexed = has(safetensors::INDEX);
    let files = if indexed {
        safetensors::indexed_names(&hub.fetch(safetensors::INDEX)?.path)?
    } else {
        let top = |file: &&String| !file.contains('/') && file.to_ascii_lowercase().ends_with(".safetensors");
        match listing.files.iter().filter(top).collect::<Vec<_>>().as_slice() {
            _ if has("model.safetensors") => vec!["model.safetensors".to_owned()],
            [file] => vec![(*file).clone()],
            [] => return Err(neither()),
            found => {
                let reason = format!(
                    "the repository has no .gguf file, and {} *.safetensors without an index; name another repository",
                    found.len()
                );
                return Err(Error::Missing { what: what(), reason });
            }
        }
    };
    Ok((config.parent().unwrap_or(&config).to_owned(), Weights { files, indexed }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sha2::{Digest, Sha256};

    use super::super::tests::hub_server::{COMMIT, HubServer};
    use super::*;
    use crate::gguf;
    use crate::testing::Draft;

    struct Case {
        server: HubServer,
        folder: tempfile::TempDir,
    }

    impl Case {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let server = HubServer::start();
            for (file, bytes) in files {
                server.put(
                    &format!("org/model/{file}"),
                    bytes.to_vec(),
                    &format!("{:x}", Sha256::digest(bytes)),
                );
            }
            Self { server, folder: tempfile::tempdir().unwrap() }
        }

        fn with<T>(
            &self,
            name: &str,
            offline: bool,
            work: impl FnOnce(&HubName, Way<'_>) -> Result<T, Error>,
        ) -> Result<T, Error> {
            let settings = HubSettings {
                endpoint: self.server.url(),
                token: None,
                cache: self.folder.path().to_owned(),
                offline,
                attempts: 2,
                first_pause: Duration::from_millis(1),
                silence: Duration::from_secs(5),
            };
            let Request::Hub(name) = Request::parse(name).unwrap() else {
                panic!("{name} is no name of the hub")
            };
            let interrupt = Interrupt::default();
            work(&name, Way { settings: &settings, progress: &(), interrupt: &interrupt })
        }

        fn assemble_with(&self, name: &str, offline: bool) -> Result<Assembled, Error> {
            self.with(name, offline, assemble)
        }

        fn look(&self, name: &str) -> Result<Looked, Error> {
            self.with(name, false, look)
        }

        fn assemble(&self, name: &str) -> Result<Assembled, Error> {
            self.assemble_with(name, false)
        }

        fn refused(&self, name: &str, parts: &[&str]) {
            let error = self.assemble(name).unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "`{part}` is not in: {error}");
            }
        }
    }

    #[test]
    fn a_gguf_is_found_by_file_by_quantization_and_alone() {
        let tiny = Draft::new().file();
        let case = Case::new(&[("tiny-Q8_0.gguf", &tiny), ("tiny-Q4_0.gguf", b"GGUF"), ("README.md", b"x")]);
        for name in ["hf:org/model/tiny-Q8_0.gguf", "hf:org/model:q8_0", "hf:org/model:Q8_0@main"] {
            let found = case.assemble(name).unwrap();
            let Source::Gguf(path) = &found.source else { panic!("{:?}", found.source) };
            assert_eq!(gguf::read(path).unwrap().header.name, "Tiny");
            assert_eq!(found.name.file.as_deref(), Some("tiny-Q8_0.gguf"));
            let url = case.server.url();
            assert_eq!(found.origin, format!("{url}/org/model/resolve/{COMMIT}/tiny-Q8_0.gguf"));
        }
        assert_eq!(case.server.downloads("tiny-Q8_0.gguf").len(), 1);
        assert!(
            case.assemble_with("hf:org/model:q8_0", true).is_ok(),
            "the cache remembers what main stood for"
        );
        case.refused("hf:org/model", &["2 GGUF files", "tiny-Q4_0.gguf, tiny-Q8_0.gguf"]);
        case.refused("hf:org/model:q6_k", &["matches `q6_k`", "tiny-Q4_0.gguf, tiny-Q8_0.gguf"]);
        case.refused("hf:org/model/README.md", &["not a .gguf file", "hf:org/model"]);
        case.refused("hf:org/model/x.gguf", &["no such file"]);
        case.refused("hf:org/other", &["no such repository"]);
    }

    #[test]
    fn a_split_model_is_refused_before_a_byte_comes() {
        let case = Case::new(&[("m-00001-of-00002.gguf", b"GGUF"), ("m-00002-of-00002.gguf", b"GGUF")]);
        case.refused("hf:org/model/m-00002-of-00002.gguf", &["one of 2 pieces", "--merge"]);
        case.refused("hf:org/model", &["one of 2 pieces"]);
        assert!(case.server.downloads(".gguf").is_empty());
    }

    const CONFIG: &str = r#"{"model_type":"llama","hidden_size":2,"intermediate_size":4,"num_hidden_layers":1,
        "num_attention_heads":1,"vocab_size":3,"max_position_embeddings":64,"tie_word_embeddings":true}"#;

    fn shard(name: &str, rows: usize) -> Vec<u8> {
        let zeros = vec![0; rows * 4];
        let view =
            ::safetensors::tensor::TensorView::new(::safetensors::Dtype::F16, vec![rows, 2], &zeros).unwrap();
        ::safetensors::serialize([(name.to_owned(), view)], None).unwrap()
    }

    #[test]
    fn a_safetensors_repository_becomes_a_folder() {
        let (first, second) =
            (shard("model.embed_tokens.weight", 3), shard("model.layers.0.mlp.up_proj.weight", 4));
        let index = br#"{"weight_map":{"model.embed_tokens.weight":"m-1.safetensors",
            "model.layers.0.mlp.up_proj.weight":"m-2.safetensors"}}"#;
        let files: [(&str, &[u8]); 6] = [
            ("config.json", CONFIG.as_bytes()),
            ("model.safetensors.index.json", index),
            ("m-1.safetensors", &first),
            ("m-2.safetensors", &second),
            ("original.safetensors", b"unused"),
            ("tokenizer.json", b"{}"),
        ];
        let case = Case::new(&files);
        let found = case.assemble("hf:org/model").unwrap();
        let Source::Safetensors(folder) = &found.source else { panic!("{:?}", found.source) };
        let header = safetensors::read(folder).unwrap();
        assert_eq!((header.name.as_str(), header.parameters(), header.has_tokenizer), ("model", 14, true));
        assert!(found.origin.ends_with(&format!("/org/model/tree/{COMMIT}")));
        assert!(case.server.downloads("original.safetensors").is_empty(), "only what the index names");
        let again = case.assemble_with("hf:org/model", true).unwrap();
        assert!(matches!(again.source, Source::Safetensors(other) if other == *folder));
        case.refused("hf:org/model:q8_0", &["no GGUF file to choose from"]);
    }

    #[test]
    fn a_repository_is_looked_at_without_its_weights() {
        let (first, second) =
            (shard("model.embed_tokens.weight", 3), shard("model.layers.0.mlp.up_proj.weight", 1 << 20));
        let index = br#"{"weight_map":{"model.embed_tokens.weight":"m-1.safetensors",
            "model.layers.0.mlp.up_proj.weight":"m-2.safetensors"}}"#;
        let files: [(&str, &[u8]); 5] = [
            ("config.json", CONFIG.as_bytes()),
            ("model.safetensors.index.json", index),
            ("m-1.safetensors", &first),
            ("m-2.safetensors", &second),
            ("tokenizer.json", b"{}"),
        ];
        let case = Case::new(&files);
        let looked = case.look("hf:org/model").unwrap();
        let header = &looked.header;
        assert_eq!(
            (header.name.as_str(), header.parameters(), header.has_tokenizer),
            ("model", 6 + (2 << 20), true)
        );
        assert!(looked.origin.ends_with(&format!("/org/model/tree/{COMMIT}")));
        for file in ["m-1.safetensors", "m-2.safetensors"] {
            let asked = case.server.downloads(file);
            assert!(!asked.is_empty() && asked.iter().all(|seen| seen.range.is_some()), "{asked:?}");
            assert!(asked.iter().map(|seen| seen.body_bytes).sum::<u64>() <= 64 << 10, "{asked:?}");
        }
        assert!(case.server.downloads("tokenizer.json").is_empty());
        // Then it is fetched as if nothing had been looked at.
        let Source::Safetensors(folder) = case.assemble("hf:org/model").unwrap().source else {
            panic!("a folder")
        };
        assert_eq!(&safetensors::read(&folder).unwrap(), header);
    }

    #[test]
    fn a_gguf_that_is_looked_at_is_the_one_that_would_be_fetched() {
        let tiny = Draft::new().file();
        let case = Case::new(&[("tiny-Q8_0.gguf", &tiny), ("tiny-Q4_0.gguf", &tiny)]);
        let looked = case.look("hf:org/model:q4_0").unwrap();
        let assembled = case.assemble("hf:org/model:q4_0").unwrap();
        assert_eq!((looked.name, looked.origin), (assembled.name, assembled.origin));
        assert!(case.look("hf:org/model").unwrap_err().to_string().contains("2 GGUF files"));
    }

    #[test]
    fn a_repository_that_is_no_model_is_called_what_it_is() {
        let adapter: [(&str, &[u8]); 2] =
            [("adapter_config.json", b"{}"), ("adapter_model.safetensors", b"x")];
        Case::new(&adapter).refused("hf:org/model", &["hf:org/model: this is a LoRA adapter"]);
        let torch: [(&str, &[u8]); 2] = [("config.json", CONFIG.as_bytes()), ("pytorch_model.bin", b"x")];
        let case = Case::new(&torch);
        case.refused("hf:org/model", &["PyTorch weights (pytorch_model.bin)"]);
        assert!(case.server.downloads("pytorch_model.bin").is_empty());
    }

    #[test]
    fn a_model_that_cannot_be_run_is_refused_before_its_weights_come() {
        let config = CONFIG.replace("llama", "mamba");
        let case = Case::new(&[("config.json", config.as_bytes()), ("model.safetensors", b"big")]);
        case.refused("hf:org/model", &["model_type `mamba`"]);
        assert!(case.server.downloads("model.safetensors").is_empty());
        Case::new(&[("README.md", b"x")])
            .refused("hf:org/model", &["neither a .gguf file nor a config.json"]);
        let two: [(&str, &[u8]); 3] =
            [("config.json", CONFIG.as_bytes()), ("a.safetensors", b"x"), ("b.safetensors", b"x")];
        Case::new(&two).refused("hf:org/model", &["2 *.safetensors without an index"]);
    }
}
