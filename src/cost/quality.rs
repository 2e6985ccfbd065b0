//! A quality figure next to a price: a million tokens of a small model and of a large one do not do the same work.

use crate::base::known::{self, Known};
use crate::catalog::Catalog;

/// What is known of how well a model answers.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct QualityNote {
    /// The model, in the word of the API rows or of the record.
    pub model: String,
    /// Its published score as text; `null` if the catalog has none.
    pub figure: Known<String>,
    /// The score itself, in percent.
    pub percent: Option<f64>,
    /// The benchmark it is of: `mmlu`.
    pub benchmark: Option<String>,
    /// Where it was published.
    pub source: Option<String>,
}

/// The published score of `model` in the catalog, or that there is none.
pub fn quality_note(model: &str, catalog: &Catalog) -> QualityNote {
    // The catalog's own id and the word of the price rows may differ.
    let sold_as = catalog.model(model).ok().and_then(|row| row.api_model.as_deref());
    let score = [Some(model), sold_as].into_iter().flatten().find_map(|name| catalog.score(name, BENCHMARK));
    QualityNote {
        model: model.to_owned(),
        figure: score.map(|score| {
            format!(
                "{model}: {} {} ({}; {}), of the weights as published",
                score.benchmark.to_uppercase(),
                score.percent,
                score.setting,
                score.source
            )
        }).ok_or_else(|| {
            format!(
                "no quality score in the catalog for {model}: only compare models that do your task equally well"
            )
        }).into(),
        percent: score.map(|score| score.percent),
        benchmark: score.map(|score| score.benchmark.clone()),
        source: score.map(|score| score.source.clone()),
    }
}

/// The benchmark that most models of the catalog have a score of.
const BENCHMARK: &str = "mmlu";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_comes_with_its_source_and_its_absence_with_a_warning() {
        let catalog = Catalog::bundled();
        let known = quality_note("gpt-4o-mini", &catalog);
        assert_eq!((known.percent, known.benchmark.as_deref()), (Some(82.0), Some("mmlu")));
        let figure = known.figure.as_ref().expect("a score");
        assert!(
            figure.starts_with("gpt-4o-mini: MMLU 82 (0-shot") && figure.contains("simple-evals"),
            "{figure}"
        );
        let unknown = quality_note("smollm2-135m", &catalog);
        assert!(
            unknown.figure.is_none()
                && unknown.figure.reason().is_some_and(|why| why.contains("smollm2-135m"))
        );
    }
}
