//! From what was asked for to a model that can be read: look, fetch, read the header.

use std::path::{Path, PathBuf};

use super::hub::assemble::{Assembled, Looked, Way, assemble, look};
use super::hub::{FetchProgress, HubSettings};
use super::request::{DEFAULT_SYNTHETIC_QUANT, HubName};
use super::{Error, Header, Model, Request, Source, Synthetic, gguf, safetensors};
use crate::base::sys::Interrupt;
use crate::catalog::{Catalog, ModelRow};

/// Where models come from. Only `hub` may come from the environment, if the caller wants that.
pub struct Sources<'a> {
    /// Rows by id, for `ID[:QUANT]` and for the shapes of synthetic models.
    pub catalog: &'a Catalog,
    /// The hub: [`HubSettings::from_env`] in the program.
    pub hub: &'a HubSettings,
    /// Seed of synthetic weights.
    pub seed: u64,
    /// Told of downloads.
    pub progress: &'a dyn FetchProgress,
    /// Looked at while downloading.
    pub interrupt: &'a Interrupt,
}

/// How much of a model is brought here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All of it, so that it can be loaded.
    Weights,
    /// Its header, so that it can be planned with: of a file on the hub only the beginning is read. It cannot be loaded
    /// unless it was here before.
    Header,
}

impl Sources<'_> {
    /// Finds what was asked for, brings as much of it here as `reach` says, and reads its header.
    ///
    /// # Errors
    /// [`Error::BadName`] for an id that the catalog does not know, with the nearest ones;
    /// [`Error::Missing`], [`Error::Unusable`] and [`Error::Io`] as reading and fetching meet them;
    /// [`Error::Interrupted`].
    pub fn open(&self, request: &Request, reach: Reach) -> Result<Model, Error> {
        match request {
            Request::Gguf(path) | Request::Safetensors(path) => {
                let origin = path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string();
                let source = match request {
                    Request::Gguf(_) => Source::Gguf(path.clone()),
                    _ => Source::Safetensors(path.clone()),
                };
                Ok(Model { id: request.to_string(), header: read(&source)?, source, origin })
            }
            Request::Hub(name) => {
                let Looked { header, source, name, origin } = self.on_hub(name, reach)?;
                Ok(Model { id: Request::Hub(name).to_string(), header, source, origin })
            }
            Request::Catalog { id, quant } => self.row(self.known(id)?, quant.as_deref(), reach),
            Request::Synthetic { preset, quant } => {
                let row = self.known(preset)?;
                let quant = quant.as_deref().unwrap_or(DEFAULT_SYNTHETIC_QUANT);
                let synthetic = Synthetic::new(row, quant, self.seed)?;
                let header = synthetic.header().clone();
                Ok(Model {
                    id: format!("synthetic:{}:{}", row.id, header.quantization.to_lowercase()),
                    header,
                    origin: synthetic.origin().to_owned(),
                    source: Source::Synthetic(synthetic),
                })
            }
        }
    }

    fn on_hub(&self, name: &HubName, reach: Reach) -> Result<Looked, Error> {
        let way = Way { settings: self.hub, progress: self.progress, interrupt: self.interrupt };
        match reach {
            Reach::Header => look(name, way),
            Reach::Weights => {
                let Assembled { source, name, origin } = assemble(name, way)?;
                Ok(Looked { header: read(&source)?, source, name, origin })
            }
        }
    }

    fn known(&self, id: &str) -> Result<&ModelRow, Error> {
        self.catalog.model(id).map_err(|error| Error::BadName {
            name: id.to_owned(),
            reason: format!(
                "no such id in the catalog{}; `bench catalog models` lists them. A model may also be the path of a .gguf file or a safetensors folder, or hf:org/repo",
                error.nearest()
            ),
        })
    }

    /// The row's weights in `quant`: from its GGUF repository, or unquantized from the original one.
    fn row(&self, row: &ModelRow, quant: Option<&str>, reach: Reach) -> Result<Model, Error> {
        let (name, quant) = place(row, quant)?;
        let Looked { header, source, origin, .. } = self.on_hub(&name, reach)?;
        if let Source::Safetensors(folder) = &source {
            refuse_other_type(row, quant.as_deref(), &header, folder)?;
        }
        let quant = quant.unwrap_or_else(|| header.quantization.to_lowercase());
        Ok(Model { id: format!("{}:{quant}", row.id), header, source, origin })
    }
}

fn read(source: &Source) -> Result<Header, Error> {
    match source {
        Source::Gguf(path) => Ok(gguf::read(path)?.header),
        Source::Safetensors(folder) => safetensors::read(folder),
        Source::Synthetic(synthetic) => Ok(synthetic.header().clone()),
    }
}

/// What a row takes when no quantization is named and it does not list just one.
const USUAL: &str = "q4_k_m";

/// Where the row's weights in `quant` are on the hub, and the quantization that this is.
fn place(row: &ModelRow, quant: Option<&str>) -> Result<(HubName, Option<String>), Error> {
    let at = |repo: &str, file: Option<&str>, quant: Option<&str>| HubName {
        repo: repo.to_owned(),
        file: file.map(str::to_owned),
        quant: quant.map(str::to_owned),
        revision: None,
    };
    let hub = row.hub.as_ref();
    let quant = quant.map(str::to_owned).or_else(|| {
        let files = &hub?.files;
        match files.keys().next() {
            Some(only) if files.len() == 1 => Some(only.clone()),
            Some(_) if !files.contains_key(USUAL) => None,
            _ => Some(USUAL.to_owned()),
        }
    });
    let listed = hub.zip(quant.as_deref()).and_then(|(hub, quant)| Some((hub, hub.files.get(quant)?)));
    if let Some((hub, file)) = listed {
        return Ok((at(&hub.repo, Some(file), None), quant));
    }
    if let (Some("f16" | "bf16" | "f32"), Some(original)) = (quant.as_deref(), &row.original) {
        return Ok((at(original, None, None), quant));
    }
    if let (Some(hub), Some(_)) = (hub, &quant) {
        return Ok((at(&hub.repo, None, quant.as_deref()), quant));
    }
    let listed: Vec<&str> = hub.iter().flat_map(|hub| hub.files.keys()).map(String::as_str).collect();
    let wish = quant.as_deref().unwrap_or(USUAL);
    let ways = format!(
        "give the path of a GGUF file, hf:org/repo:{wish} for a repository that has one, or synthetic:{}:{wish} \
         for random weights of its shape{}",
        row.id,
        row.original
            .as_ref()
            .map_or(String::new(), |repo| format!("; {}:bf16 or :f16 uses the original, {repo}", row.id))
    );
    if listed.is_empty() {
        let reason = format!("the catalog has no repository with GGUF files of {}; {ways}", row.name);
        return Err(Error::Missing { what: format!("{}:{wish}", row.id), reason });
    }
    let reason =
        format!("it is available in several quantizations; add one of :{}; or {ways}", listed.join(", :"));
    Err(Error::BadName { name: row.id.clone(), reason })
}

/// An id that says `f16` must not label weights in `bf16`.
fn refuse_other_type(
    row: &ModelRow,
    quant: Option<&str>,
    header: &Header,
    folder: &Path,
) -> Result<(), Error> {
    match quant {
        Some(quant) if !header.quantization.eq_ignore_ascii_case(quant) => Err(Error::unusable(
            PathBuf::from(folder),
            format!(
                "the weights of {} are stored as {}, but {quant} was requested; use {}:{}",
                row.name,
                header.quantization,
                row.id,
                header.quantization.to_lowercase()
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use sha2::{Digest, Sha256};

    use super::super::hub::tests::hub_server::{COMMIT, HubServer};
    use super::*;
    use crate::catalog::Hub;
    use crate::testing::Draft;

    fn settings(server: &HubServer, cache: &Path) -> HubSettings {
        HubSettings {
            endpoint: server.url(),
            token: None,
            cache: cache.to_owned(),
            offline: false,
            attempts: 2,
            first_pause: Duration::from_millis(1),
            silence: Duration::from_secs(5),
        }
    }

    /// The bundled catalog with one row's places changed.
    fn catalog(hub: Option<(&str, &[(&str, &str)])>, original: Option<&str>) -> Catalog {
        let mut catalog = Catalog::bundled();
        let row = catalog.models.iter_mut().find(|row| row.id == "smollm2-135m").unwrap();
        row.hub = hub.map(|(repo, files)| Hub {
            repo: repo.into(),
            files: files
                .iter()
                .map(|(quant, file)| ((*quant).into(), (*file).into()))
                .collect::<BTreeMap<_, _>>(),
        });
        row.original = original.map(str::to_owned);
        catalog
    }

    fn open(text: &str, catalog: &Catalog, server: &HubServer, cache: &Path) -> Result<Model, Error> {
        let hub = settings(server, cache);
        let interrupt = Interrupt::default();
        Sources { catalog, hub: &hub, seed: 7, progress: &(), interrupt: &interrupt }
            .open(&Request::parse(text)?, Reach::Weights)
    }

    #[test]
    fn a_path_is_opened_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        std::fs::write(&path, Draft::new().file()).unwrap();
        let server = HubServer::start();
        let model = open(path.to_str().unwrap(), &Catalog::bundled(), &server, folder.path()).unwrap();
        assert_eq!((model.header.name.as_str(), model.id.as_str()), ("Tiny", path.to_str().unwrap()));
        assert!(matches!(&model.source, Source::Gguf(found) if *found == path));
        let mut magic = [0; 4];
        model.open_gguf(&Interrupt::default()).unwrap().read_exact(&mut magic).unwrap();
        assert_eq!(&magic, b"GGUF");
        let error =
            open(folder.path().to_str().unwrap(), &Catalog::bundled(), &server, folder.path()).unwrap_err();
        assert!(error.to_string().contains("give the path of one: tiny.gguf"), "{error}");
        assert!(server.seen().is_empty());
    }

    #[test]
    fn a_synthetic_model_is_opened_like_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let server = HubServer::start();
        let model = open("synthetic:SmolLM2-135M", &Catalog::bundled(), &server, folder.path()).unwrap();
        assert_eq!(model.id, "synthetic:smollm2-135m:q4_k_m");
        assert!(model.origin.contains("seed 7"), "{}", model.origin);
        let mut magic = [0; 4];
        model.open_gguf(&Interrupt::default()).unwrap().read_exact(&mut magic).unwrap();
        assert_eq!(&magic, b"GGUF");
        let error =
            open("synthetic:smollm2-135m:q9", &Catalog::bundled(), &server, folder.path()).unwrap_err();
        assert!(matches!(error, Error::BadName { .. }), "{error}");
    }

    #[test]
    fn a_catalog_row_is_fetched_from_its_repository() {
        let cache = tempfile::tempdir().unwrap();
        let server = HubServer::start();
        let tiny = Draft::new().file();
        for file in ["tiny-Q8_0.gguf", "tiny-Q5_0.gguf"] {
            server.put(&format!("org/gguf/{file}"), tiny.clone(), &format!("{:x}", Sha256::digest(&tiny)));
        }
        let check = |catalog: &Catalog, text: &str, id: &str, file: &str| {
            let model = open(text, catalog, &server, cache.path()).unwrap();
            assert_eq!((model.id.as_str(), model.header.name.as_str()), (id, "Tiny"));
            assert_eq!(model.origin, format!("{}/org/gguf/resolve/{COMMIT}/{file}", server.url()));
        };
        let listed: &[(&str, &str)] = &[("q8_0", "tiny-Q8_0.gguf")];
        let one = catalog(Some(("org/gguf", listed)), None);
        check(&one, "smollm2-135m:Q8_0", "smollm2-135m:q8_0", "tiny-Q8_0.gguf");
        check(&one, "smollm2-135m", "smollm2-135m:q8_0", "tiny-Q8_0.gguf");
        assert!(
            server.seen().iter().all(|seen| !seen.path.starts_with("/api/")),
            "a listed file needs no listing"
        );
        check(&one, "smollm2-135m:q5_0", "smollm2-135m:q5_0", "tiny-Q5_0.gguf");
        server.put("org/gguf/tiny-Q4_K_M.gguf", tiny.clone(), &format!("{:x}", Sha256::digest(&tiny)));
        let unlisted = catalog(Some(("org/gguf", &[])), None);
        check(&unlisted, "smollm2-135m-instruct", "smollm2-135m:q4_k_m", "tiny-Q4_K_M.gguf");
        let error = open("smollm2-135m:q2_k", &one, &server, cache.path()).unwrap_err();
        assert!(error.to_string().contains("tiny-Q4_K_M.gguf, tiny-Q5_0.gguf, tiny-Q8_0.gguf"), "{error}");
    }

    #[test]
    fn what_the_catalog_cannot_give_has_a_way_out() {
        let cache = tempfile::tempdir().unwrap();
        let server = HubServer::start();
        let refused = |catalog: &Catalog, text: &str, missing: bool, parts: &[&str]| {
            let error = open(text, catalog, &server, cache.path()).unwrap_err();
            assert_eq!(matches!(error, Error::Missing { .. }), missing, "{error:?}");
            for part in parts {
                assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
            }
        };
        let nowhere = catalog(None, Some("org/original"));
        refused(
            &nowhere,
            "smollm2-135m:q4_k_m",
            true,
            &[
                "no repository with GGUF files",
                "synthetic:smollm2-135m:q4_k_m",
                "smollm2-135m:bf16",
                "org/original",
            ],
        );
        let several: &[(&str, &str)] = &[("q8_0", "a.gguf"), ("q6_k", "b.gguf")];
        refused(&catalog(Some(("o/r", several)), None), "smollm2-135m", false, &[":q6_k, :q8_0"]);
        refused(
            &nowhere,
            "no-such-model",
            false,
            &[
                "`no-such-model` is not a model: no such id in the catalog",
                "bench catalog models",
                "hf:org/repo",
            ],
        );
        refused(
            &nowhere,
            "synthetic:no-such-model",
            false,
            &["`no-such-model` is not a model: no such id in the catalog"],
        );
        refused(&nowhere, "hf:org/nothing", true, &["no such repository"]);
    }

    #[test]
    fn the_original_is_taken_for_an_unquantized_type_and_must_have_it() {
        let cache = tempfile::tempdir().unwrap();
        let server = HubServer::start();
        let config = r#"{"model_type":"llama","hidden_size":2,"intermediate_size":4,"num_hidden_layers":1,
            "num_attention_heads":1,"vocab_size":3,"max_position_embeddings":64,"tie_word_embeddings":true}"#;
        let zeros = [0; 12];
        let view = |shape: &[usize]| {
            let bytes = &zeros[..shape.iter().product::<usize>() * 2];
            ::safetensors::tensor::TensorView::new(::safetensors::Dtype::BF16, shape.to_vec(), bytes).unwrap()
        };
        let tensors = [
            ("model.embed_tokens.weight", view(&[3, 2])),
            ("model.layers.0.mlp.up_proj.weight", view(&[2, 2])),
        ];
        server.put("org/original/config.json", config.into(), "1");
        server.put("org/original/model.safetensors", ::safetensors::serialize(tensors, None).unwrap(), "2");
        let catalog = catalog(None, Some("org/original"));
        let model = open("smollm2-135m:bf16", &catalog, &server, cache.path()).unwrap();
        assert_eq!((model.id.as_str(), model.header.quantization.as_str()), ("smollm2-135m:bf16", "BF16"));
        assert!(matches!(model.source, Source::Safetensors(_)));
        assert!(model.open_gguf(&Interrupt::default()).is_err());
        let error = open("smollm2-135m:f16", &catalog, &server, cache.path()).unwrap_err().to_string();
        assert!(error.contains("stored as BF16") && error.contains("smollm2-135m:bf16"), "{error}");
    }
}
