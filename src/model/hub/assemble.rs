//! From a name on the hub to a model on this machine: which files make it up, and all of them fetched.
//!
//! A file that is named is taken as [`Hub::fetch`] finds it. A repository alone is asked what it holds, and
//! all comes from the one commit of that answer, so that no folder mixes two versions.

use std::path::{Path, PathBuf};

use super::{FetchProgress, Hub, HubSettings, Listing, pick};
use crate::base::sys::Interrupt;
use crate::model::request::HubName;
use crate::model::{Error, Request, Source, safetensors};

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

/// Finds and fetches what `name` means.
///
/// # Errors
/// As [`Hub::list`] and [`Hub::fetch`]; [`Error::Missing`] when nothing there is a model or it is not clear
/// which, with the choices; [`Error::Unusable`] for a split GGUF or a safetensors model that cannot be run,
/// before its weights are fetched.
pub fn assemble(
    name: &HubName,
    settings: &HubSettings,
    progress: &dyn FetchProgress,
    interrupt: &Interrupt,
) -> Result<Assembled, Error> {
    let at = |revision| Hub::new(settings, (&name.repo, revision), progress, interrupt);
    if let Some(file) = &name.file {
        return one_file(&at(name.revision()), name, file);
    }
    let listing = at(name.revision()).list()?;
    let hub = at(&listing.commit);
    let missing = |reason| Error::Missing { what: Request::Hub(name.clone()).to_string(), reason };
    match pick::gguf(&listing.files, name.quant.as_deref()).map_err(missing)? {
        Some(file) => {
            let found = HubName { file: Some(file.to_owned()), quant: None, ..name.clone() };
            let assembled = one_file(&hub, &found, file)?;
            at(name.revision()).remember(&listing.commit)?;
            Ok(assembled)
        }
        None if name.quant.is_some() => {
            Err(missing("the repository holds no GGUF file to choose from".into()))
        }
        None => {
            let source = Source::Safetensors(folder(&hub, name, &listing)?);
            at(name.revision()).remember(&listing.commit)?;
            let origin = format!("{}/{}/tree/{}", settings.endpoint, name.repo, listing.commit);
            Ok(Assembled { source, name: name.clone(), origin })
        }
    }
}

fn one_file(hub: &Hub<'_>, name: &HubName, file: &str) -> Result<Assembled, Error> {
    let shown = || Request::Hub(name.clone()).to_string();
    if !Path::new(file).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        let reason = format!(
            "it is no .gguf file; a safetensors model is named by its repository alone, hf:{}",
            name.repo
        );
        return Err(Error::BadName { name: shown(), reason });
    }
    pick::whole(file).map_err(|reason| Error::unusable(shown(), reason))?;
    let fetched = hub.fetch(file)?;
    let origin = hub.url(&fetched.commit, file);
    Ok(Assembled { source: Source::Gguf(fetched.path), name: name.clone(), origin })
}

/// Fetches the small files first: they say whether the large ones are worth it, and which there are.
fn folder(hub: &Hub<'_>, name: &HubName, listing: &Listing) -> Result<PathBuf, Error> {
    let has = |file: &str| listing.files.iter().any(|listed| listed == file);
    let what = || Request::Hub(name.clone()).to_string();
    if !has("config.json") {
        let reason = "the repository holds neither a .gguf file nor a config.json; name another repository, \
                      or one file of it: hf:org/repo/file.gguf"
            .into();
        return Err(Error::Missing { what: what(), reason });
    }
    let config = hub.fetch("config.json")?.path;
    safetensors::check_config(&config)?;
    if has("tokenizer.json") {
        hub.fetch("tokenizer.json")?;
    }
    let weights = if has(safetensors::INDEX) {
        safetensors::indexed_names(&hub.fetch(safetensors::INDEX)?.path)?
    } else {
        let top = |file: &&String| !file.contains('/') && file.to_ascii_lowercase().ends_with(".safetensors");
        match listing.files.iter().filter(top).collect::<Vec<_>>().as_slice() {
            _ if has("model.safetensors") => vec!["model.safetensors".to_owned()],
            [file] => vec![(*file).clone()],
            found => {
                let reason = format!(
                    "the repository holds no .gguf file, and {} *.safetensors without an index; name another repository",
                    found.len()
                );
                return Err(Error::Missing { what: what(), reason });
            }
        }
    };
    for file in &weights {
        hub.fetch(file)?;
    }
    Ok(config.parent().unwrap_or(&config).to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sha2::{Digest, Sha256};

    use super::super::tests::hub_server::{COMMIT, HubServer};
    use super::*;
    use crate::model::gguf;
    use crate::model::testing::Draft;

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

        fn assemble_with(&self, name: &str, offline: bool) -> Result<Assembled, Error> {
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
            assemble(&name, &settings, &(), &Interrupt::default())
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
        case.refused("hf:org/model:q6_k", &["carries `q6_k`", "tiny-Q4_0.gguf, tiny-Q8_0.gguf"]);
        case.refused("hf:org/model/README.md", &["no .gguf file", "hf:org/model"]);
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
