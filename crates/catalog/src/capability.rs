//! Published benchmark scores of models, and the thresholds that sort models into capability classes.
//!
//! A class is a minimum score on one benchmark; a model is in it when a published score reaches it. Nothing is inferred: a
//! model without a score is in no class.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::Catalog;
use super::error::Error;
use super::find::{answers, names, plain, unknown};

/// A published score of a model: a row of `configs/scores.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// The model, as price rows call it.
    pub model: String,
    /// Other names of the same weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// `mmlu`.
    pub benchmark: String,
    /// As published.
    #[serde(deserialize_with = "percent")]
    pub percent: f64,
    /// How the benchmark was put to the model.
    pub setting: String,
    /// Whether the score takes hidden reasoning tokens.
    #[serde(default)]
    pub reasoning: bool,
    /// What a reader should know besides.
    #[serde(default)]
    pub note: Option<String>,
    /// What another source says.
    #[serde(default)]
    pub conflict: Option<String>,
    /// Where it was published.
    pub source: String,
}

/// A gate: a row of `configs/classes.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// `gpt-4`.
    pub id: String,
    /// `GPT-4 class`.
    pub name: String,
    /// Other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// As in `scores.toml`.
    pub benchmark: String,
    /// The score that a member has at least.
    #[serde(deserialize_with = "percent")]
    pub at_least: f64,
    /// What a reader should know besides.
    #[serde(default)]
    pub note: Option<String>,
    /// Who drew the gate there.
    pub source: String,
}

impl Class {
    /// The gate in words: `MMLU of at least 83`.
    pub fn gate(&self) -> String {
        format!("{} of at least {}", self.benchmark.to_uppercase(), self.at_least)
    }
}

impl Score {
    /// What a row of a user replaces.
    pub fn id(&self) -> String {
        format!("{}/{}", self.benchmark, plain(&self.model))
    }
}

impl Catalog {
    /// The class with this id or alias.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the nearest names.
    pub fn class(&self, id: &str) -> Result<&Class, Error> {
        let wanted = plain(id);
        self.classes.iter().find(|row| answers(&row.id, &row.aliases, &wanted)).ok_or_else(|| {
            unknown("class", "classes", id, self.classes.iter().flat_map(|row| names(&row.id, &row.aliases)))
        })
    }

    /// The published score of a model on a benchmark.
    pub fn score(&self, model: &str, benchmark: &str) -> Option<&Score> {
        let wanted = plain(model);
        self.scores
            .iter()
            .find(|row| row.benchmark == benchmark && answers(&row.model, &row.aliases, &wanted))
    }
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if number > 0.0 && number <= 100.0 {
        Ok(number)
    } else {
        Err(D::Error::custom(format!("expected a percentage above 0 and at most 100, found {number}")))
    }
}
