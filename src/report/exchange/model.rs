//! Finds the catalog row of an imported file's model.

use crate::base::redact;
use crate::base::text::clipped;
use crate::catalog::{self, Catalog};

use super::foreign::ForeignModel;

/// A model as named in the record.
#[derive(Debug, PartialEq)]
pub(super) struct Named {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) quantization: Option<String>,
    pub(super) catalog_id: Option<String>,
}

/// The model named by `--model`, else by the file; `None` if neither names it.
///
/// # Errors
/// [`catalog::Error::Unknown`] if `--model` is neither in the catalog nor an `hf:` address.
pub(super) fn resolve(
    asked: Option<&str>,
    said: &ForeignModel,
    catalog: &Catalog,
) -> Result<Option<Named>, catalog::Error> {
    let (id, row, format) = match (asked, said.name.as_deref()) {
        (Some(asked), _) => {
            if let Some(address) = asked.strip_prefix("hf:") {
                (address, by_name(address, catalog), None)
            } else {
                let (id, format) = asked.split_once(':').map_or((asked, None), |(id, q)| (id, Some(q)));
                (id, Some(catalog.model(id)?), format)
            }
        }
        (None, Some(name)) => (name, by_name(name, catalog), None),
        (None, None) => return Ok(None),
    };
    let last = id.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(id);
    let from_file_name = || file_format(last);
    let format = format.or(said.quantization.as_deref()).or_else(from_file_name);
    Ok(Some(Named {
        id: clean(id),
        name: clean(row.map_or(last, |row| &row.name)),
        quantization: format.map(|format| clean(&format.to_uppercase())),
        catalog_id: row.map(|row| row.id.clone()),
    }))
}

/// The row with this name: an id, a hub repository, or a file of one.
fn by_name<'a>(name: &str, catalog: &'a Catalog) -> Option<&'a catalog::ModelRow> {
    let last = name.rsplit(['/', '\\']).find(|part| !part.is_empty())?;
    let stem = last.strip_suffix(".gguf").map_or(last, whole);
    let bare = split_format(stem).map(|(bare, _)| bare);
    let same = |known: Option<&str>| known.is_some_and(|known| known.eq_ignore_ascii_case(name));
    let of_repository = catalog.models.iter().find(|row| {
        same(row.original.as_deref())
            || row.hub.as_ref().is_some_and(|hub| {
                same(Some(&hub.repo)) || hub.files.values().any(|file| file.eq_ignore_ascii_case(last))
            })
    });
    let tail = |row: &&catalog::ModelRow| {
        let original = row.original.as_deref().and_then(|name| name.rsplit('/').next());
        original.is_some_and(|original| {
            [Some(stem), bare].into_iter().flatten().any(|s| s.eq_ignore_ascii_case(original))
        })
    };
    of_repository
        .or_else(|| {
            [Some(name), Some(stem), bare].into_iter().flatten().find_map(|name| catalog.model(name).ok())
        })
        .or_else(|| catalog.models.iter().find(tail))
}

/// The format that a GGUF file's name ends with.
pub(super) fn file_format(path: &str) -> Option<&str> {
    let last = path.rsplit(['/', '\\']).find(|part| !part.is_empty())?;
    split_format(whole(last.strip_suffix(".gguf")?)).map(|(_, format)| format)
}

/// The name of a multi-part file without its part number: `-00001-of-00002`.
fn whole(stem: &str) -> &str {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match stem.rsplit_once("-of-").map(|(head, all)| (head.rsplit_once('-'), all)) {
        Some((Some((name, part)), all)) if digits(part) && digits(all) => name,
        _ => stem,
    }
}

/// `SmolLM2-135M-Instruct.Q4_1` and `Llama-3.2-1B-Q4_K_M` end with the format of their weights.
fn split_format(stem: &str) -> Option<(&str, &str)> {
    let (bare, format) = stem.rsplit_once(['.', '-'])?;
    let digits = |text: &str| text.chars().next().is_some_and(|c| c.is_ascii_digit());
    let upper = format.to_ascii_uppercase();
    let is_format = matches!(upper.as_str(), "F16" | "BF16" | "F32" | "MXFP4" | "NVFP4")
        || ["Q", "IQ", "TQ"].iter().any(|start| upper.strip_prefix(start).is_some_and(digits));
    is_format.then_some((bare, format))
}

/// Text of outside origin for the record: short, without secrets or terminal control characters.
pub(super) fn clean(text: &str) -> String {
    clipped(&redact::text(text), 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(asked: Option<&str>, name: Option<&str>) -> Named {
        let catalog = Catalog::load(None).expect("the bundled catalog");
        let said = ForeignModel { name: name.map(str::to_owned), ..ForeignModel::default() };
        resolve(asked, &said, &catalog).expect("known").expect("named")
    }

    #[test]
    fn a_file_name_and_a_hub_address_lead_to_the_row() {
        let smol = found(None, Some("/home/me/SmolLM2-135M-Instruct.Q4_1.gguf"));
        assert_eq!(smol.catalog_id.as_deref(), Some("smollm2-135m"));
        assert_eq!(smol.quantization.as_deref(), Some("Q4_1"));
        let llama = found(None, Some("meta-llama/Llama-3.1-8B-Instruct"));
        assert_eq!(llama.catalog_id.as_deref(), Some("llama-3.1-8b"));
        let given = found(Some("llama-3.1-8b:q4_k_m"), Some("served-model"));
        assert_eq!(
            (given.catalog_id.as_deref(), given.quantization.as_deref()),
            (Some("llama-3.1-8b"), Some("Q4_K_M"))
        );
    }

    #[test]
    fn a_file_in_parts_has_its_format_before_the_number_of_the_part() {
        let scout = "models/Llama-4-Scout-17B-16E-Instruct-Q4_K_M-00001-of-00002.gguf";
        assert_eq!(file_format(scout), Some("Q4_K_M"));
        assert_eq!(found(None, Some(scout)).quantization.as_deref(), Some("Q4_K_M"));
        let parts = found(None, Some("Meta-Llama-3.1-8B-Instruct-Q8_0-00001-of-00003.gguf"));
        assert_eq!(parts.quantization.as_deref(), Some("Q8_0"));
        assert_eq!((file_format("model.gguf"), file_format("x-one-of-two.gguf")), (None, None));
    }

    #[test]
    fn a_name_that_is_not_in_the_catalog_stays_a_name() {
        let other = found(None, Some("acme/very-new-3T"));
        assert_eq!((other.name.as_str(), other.catalog_id), ("very-new-3T", None));
        assert_eq!(found(Some("hf:acme/x"), None).id, "acme/x");
        let catalog = Catalog::load(None).expect("the bundled catalog");
        assert!(resolve(Some("lama-3.1-8b"), &ForeignModel::default(), &catalog).is_err());
        assert_eq!(resolve(None, &ForeignModel::default(), &catalog).ok(), Some(None));
    }
}
