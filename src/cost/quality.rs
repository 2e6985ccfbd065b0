//! A quality figure beside a price: a million tokens of a small model and of a large one do not do the same work.

use serde::Serialize;

use crate::catalog::Catalog;

/// What is known of how well a model answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualityNote {
    /// The model, in the word of the API rows or of the record.
    pub model: String,
    /// The figure in words; `null` when the catalog has none.
    pub figure: Option<String>,
    /// Why it is `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure_reason: Option<String>,
}

/// The catalog's quality figure for `model`, or that it has none.
pub fn quality_note(model: &str, _catalog: &Catalog) -> QualityNote {
    QualityNote {
        model: model.to_owned(),
        figure: None,
        figure_reason: Some(format!(
            "no quality figure in the catalog for {model}: compare only what does your task equally well"
        )),
    }
}
