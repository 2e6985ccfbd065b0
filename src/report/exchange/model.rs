//! Finds the catalog row of an imported file's model.

use crate::base::redact;
use crate::base::text::clipped;
use crate::catalog::{self, Catalog, format_in_name};

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
                (address, catalog.model_named(address), None)
            } else {
                let (id, format) = asked.split_once(':').map_or((asked, None), |(id, q)| (id, Some(q)));
                (id, Some(catalog.model(id)?), format)
            }
        }
        (None, Some(name)) => (name, catalog.model_named(name), None),
        (None, None) => return Ok(None),
    };
    let last = id.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(id);
    let from_file_name = || format_in_name(last);
    let format = format.or(said.quantization.as_deref()).or_else(from_file_name);
    Ok(Some(Named {
        id: clean(id),
        name: clean(row.map_or(last, |row| &row.name)),
        quantization: format.map(|format| clean(&format.to_uppercase())),
        catalog_id: row.map(|row| row.id.clone()),
    }))
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
        assert_eq!(format_in_name(scout), Some("Q4_K_M"));
        assert_eq!(found(None, Some(scout)).quantization.as_deref(), Some("Q4_K_M"));
        let parts = found(None, Some("Meta-Llama-3.1-8B-Instruct-Q8_0-00001-of-00003.gguf"));
        assert_eq!(parts.quantization.as_deref(), Some("Q8_0"));
        assert_eq!((format_in_name("model.gguf"), format_in_name("x-one-of-two.gguf")), (None, None));
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
