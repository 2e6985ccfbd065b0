//! An assumption: a value, and where it came from.

use crate::base::known::{self, Known};
use serde::Serialize;

/// Where the value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The command line.
    Flag,
    /// The record that is priced.
    Record,
    /// A row of the catalog.
    Catalog,
    /// This program's default.
    Default,
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen<T> {
    /// The value.
    pub value: T,
    /// Who chose it.
    pub origin: Origin,
    /// The flag, the catalog row's source, or the reason of a default.
    pub source: String,
    /// The day on which a price was seen.
    pub observed: Option<String>,
}

impl<T> Chosen<T> {
    /// What the flag says, else the default with its reason.
    pub fn flag(given: Option<T>, flag: &str, default: T, why: &str) -> Self {
        match given {
            Some(value) => Self { value, origin: Origin::Flag, source: flag.to_owned(), observed: None },
            None => Self { value: default, origin: Origin::Default, source: why.to_owned(), observed: None },
        }
    }

    /// The assumption it is, as a number.
    pub fn listed(&self, name: &'static str, unit: &'static str, value: f64) -> Assumption {
        Assumption {
            name,
            value,
            unit,
            from: self.origin,
            source: self.source.clone(),
            observed: self
                .observed
                .clone()
                .ok_or_else(|| {
                    match self.origin {
                        Origin::Flag => "given on the command line",
                        Origin::Default => "a default has no date",
                        Origin::Record | Origin::Catalog => "its source has no date",
                    }
                    .to_owned()
                })
                .into(),
        }
    }
}

/// One line of the list of assumptions.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Assumption {
    /// `utilization`, `price_per_hour` …
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Unit of the value: `share`, `USD/h`.
    pub unit: &'static str,
    /// Where the value comes from.
    pub from: Origin,
    /// The flag, the source, or the reason of a default.
    pub source: String,
    /// The day on which a price was seen (YYYY-MM-DD).
    pub observed: Known<String>,
}
