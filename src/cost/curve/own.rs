//! A machine's own measured cost, to be shown next to a price curve.

use jiff::civil::Date;

use crate::base::known::{self, Known};
use crate::catalog::{Catalog, Class};
use crate::record::{Figure, Record, Verdict};

use super::points::blended;
use super::use_case::{Basis, BasisKind};

/// What a million tokens cost on one machine on the day of its run.
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Own {
    /// The record's file.
    pub record: String,
    /// The record's id.
    pub id: String,
    /// The model that ran.
    pub model: String,
    /// Whether it is in the class; `null` when no score is known for it, and its cost is then not for the same quality.
    pub in_class: Known<bool>,
    /// Whether its figures can be believed.
    pub validity: Verdict,
    /// Names of the checks that speak against them.
    pub doubts: Vec<String>,
    /// Day of the run.
    pub date: Date,
    /// What `date` is: the day of the run, or of the import of a file without a date.
    pub date_basis: &'static str,
    /// USD per million tokens, blended as the curve is.
    pub usd_per_million: f64,
    /// Its 95% interval; `null` when one of its parts has none.
    pub usd_per_million_ci95: Known<[f64; 2]>,
    /// USD per million input tokens.
    pub input: Figure,
    /// USD per million output tokens.
    pub output: Figure,
    /// Share of the hour in which the engine is busy.
    pub utilization: f64,
    /// The hour's price and where it is from.
    pub price: String,
}

/// The day of a record whose file has no date.
pub const IMPORTED: &str = "imported; its file has no date";

const NO_INTERVAL: &str = "the record has no interval for it";

impl Own {
    /// The cost in `record`, blended at `ratio` input tokens for each output token, next to the curve of `class`.
    ///
    /// # Errors
    /// One sentence: what the record lacks.
    pub fn of(
        path: &str,
        record: &Record,
        ratio: f64,
        catalog: &Catalog,
        class: &Class,
    ) -> Result<Self, String> {
        let cost = &record.cost;
        let priced = |name: &str, price: &Known<Figure>| {
            price.as_result().copied().map_err(|reason| {
                format!(
                    "{path} has no price of {name} tokens ({reason}); `bench cost {path}` shows what it has"
                )
            })
        };
        let input = priced("input", &cost.usd_per_million_input_tokens)?;
        let output = priced("output", &cost.usd_per_million_output_tokens)?;
        let created = record.created.parse::<jiff::Timestamp>();
        let created = created.map_err(|_| format!("{path}: created = {:?} is not a time", record.created))?;
        let value = blended(input.value, output.value, ratio);
        let side = |end: usize, i: [f64; 2], o: [f64; 2]| {
            (ratio * (i[end] - input.value)).hypot(o[end] - output.value) / (ratio + 1.0)
        };
        let ends = input.ci95.zip(output.ci95);
        // Prices, and so scores, are of models as APIs sell them.
        let row = record.model.catalog_id.as_deref().and_then(|id| catalog.model(id).ok());
        let sold = row.and_then(|row| row.api_model.as_deref()).or(record.model.catalog_id.as_deref());
        let score = sold.and_then(|name| catalog.score(name, &class.benchmark));
        let synthetic = *record.model.synthetic == Some(true);
        let in_class = score.filter(|_| !synthetic).map(|score| score.percent >= class.at_least);
        Ok(Self {
            record: path.to_owned(),
            id: record.id.clone(),
            model: record.model.id.clone(),
            in_class: in_class
                .ok_or_else(|| {
                    let known =
                        if synthetic { "its weights are synthetic" } else { "no score is known for it" };
                    format!("{known}, so it is unknown whether it is in the {}", class.name)
                })
                .into(),
            validity: record.validity.verdict,
            doubts: record.validity.doubts().map(|check| check.name.clone()).collect(),
            date: created.to_zoned(jiff::tz::TimeZone::UTC).date(),
            date_basis: if record.is_undated() { IMPORTED } else { "measured" },
            usd_per_million: value,
            usd_per_million_ci95: ends
                .map(|(i, o)| [value - side(0, i, o), value + side(1, i, o)])
                .ok_or(NO_INTERVAL)
                .into(),
            input,
            output,
            utilization: cost.utilization,
            price: cost.price.as_ref().map_or_else(
                || "the hourly price is not in the record".to_owned(),
                |price| format!("{} USD per hour, {}", price.usd_per_hour.normalize(), price.source),
            ),
        })
    }

    /// The same as a basis for a use case.
    pub(super) fn basis(&self) -> Basis {
        Basis {
            kind: BasisKind::Record,
            name: self.record.clone(),
            input_usd_per_million: self.input.value,
            input_ci95: self.input.ci95.ok_or(NO_INTERVAL).into(),
            cached_input_usd_per_million: Known::unknown("measured without a cache"),
            output_usd_per_million: self.output.value,
            output_ci95: self.output.ci95.ok_or(NO_INTERVAL).into(),
            usd_per_call: None,
            source: format!("measured, {}", self.price),
            observed: self.date.to_string(),
            stale: false,
        }
    }
}
