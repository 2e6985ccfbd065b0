//! Why a row is no benchmark cell, and the rows that were skipped for it.

use crate::base::{redact, text};

use super::Error;
use super::fields::At;
use super::json::not_finite;

/// A run without results.
pub(super) const DEAD: &str = "of dead runs";
/// Why a row has no figures.
#[derive(Debug)]
pub(super) enum NoCell {
    /// It is not a benchmark cell: its kind (`with an error`), and the reason.
    LeftOut(&'static str, Error),
    /// It has an impossible value.
    Broken(Error),
}

impl From<Error> for NoCell {
    fn from(error: Error) -> Self {
        Self::Broken(error)
    }
}

impl At<'_> {
    /// The error that this row is not a cell, according to `field`.
    pub(super) fn no_cell(&self, kind: &'static str, field: &str, reason: impl Into<String>) -> NoCell {
        NoCell::LeftOut(kind, self.error(field, reason))
    }

    /// A figure required for a cell: if it is missing, `null`, not finite or 0, the row is a dead run.
    pub(super) fn needed(&self, field: &str) -> Result<f64, NoCell> {
        let missing = || self.required::<f64>(field, None);
        let Some(node) = self.get(field) else {
            return missing().map_err(|error| NoCell::LeftOut(DEAD, error));
        };
        match self.positive(field) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => missing().map_err(|error| NoCell::LeftOut(DEAD, error)),
            Err(error) if self.number(node) == Some(0.0) || not_finite(node).is_some() => {
                Err(NoCell::LeftOut(DEAD, error))
            }
            Err(error) => Err(NoCell::Broken(error)),
        }
    }
}

/// The rows of a file that were skipped.
#[derive(Debug, Clone, Default)]
pub(super) struct LeftOut {
    /// Count by kind.
    kinds: Vec<(&'static str, usize)>,
    /// The first ones: place, field and reason.
    rows: Vec<String>,
}

impl LeftOut {
    /// Number of rows to list.
    const KEPT: usize = 20;

    pub(super) fn add(&mut self, kind: &'static str, row: &str) {
        match self.kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.kinds.push((kind, 1)),
        }
        if self.rows.len() < Self::KEPT {
            // An error message may contain a secret.
            self.rows.push(redact::text(row).into_owned());
        }
    }

    pub(super) fn count(&self) -> usize {
        self.kinds.iter().map(|(_, count)| count).sum()
    }

    /// Lists the first rows, and how many more there are.
    pub(super) fn named(&self, most: usize) -> Vec<String> {
        let named = self.rows.iter().take(most).cloned();
        let more = self.count().saturating_sub(most.min(self.rows.len()));
        named.chain((more > 0).then(|| format!("and {more} more"))).collect()
    }

    /// All listed rows.
    pub(super) fn all(&self) -> Vec<String> {
        self.named(Self::KEPT)
    }

    /// `left out: 1 row of dead runs, 2 rows with an error`.
    pub(super) fn summary(&self) -> Option<String> {
        let kinds = self.kinds.iter().map(|(kind, count)| format!("{} {kind}", text::count(*count, "row")));
        (self.count() > 0).then(|| format!("left out: {}", kinds.collect::<Vec<_>>().join(", ")))
    }
}
