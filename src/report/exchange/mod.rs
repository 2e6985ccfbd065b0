//! Imports other tools' results as records, and exports records in other tools' formats.
//!
//! A file goes through `rows` (streams its rows, skipping log lines between them: `noise`), `detect` (which tool wrote
//! them), a reader for each tool (its content in our units, each figure under its own formula id: `foreign`) and `seal` (a
//! record, marked as imported). Files are untrusted: every number is validated where it is read (`fields`), and memory is
//! bounded by what a record keeps of the file, not by the file.

mod adapters;
mod aiperf;
mod cells;
mod dates;
mod detect;
mod devices;
mod error;
mod exported;
mod fields;
mod foreign;
mod guidellm;
mod inferencex;
mod json;
mod left_out;
mod lines;
mod llama_batched_bench;
mod llama_bench;
mod llama_forms;
mod llama_names;
mod machine;
mod model;
mod noise;
mod not_stated;
mod physical;
mod power;
mod prefix;
mod requests;
mod rows;
mod seal;
mod served;
mod sglang_serving;
mod table;
#[cfg(test)]
mod tests;
mod to_llama_bench;
mod to_vllm;
mod trtllm_bench;
mod unmeasured;
mod vllm_offline;
mod vllm_serve;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rust_decimal::Decimal;

use crate::base::failure::{Class, Classed};
use crate::catalog::Catalog;
use crate::record::Record;

pub use detect::Format;
pub use error::Error;
pub use exported::Exported;
pub use llama_forms::RowForm;
use rows::Rows;
pub use to_llama_bench::llama_bench_rows;
pub use to_vllm::vllm_objects;

/// Largest file that is read: what has no end, such as a device, must have one.
const MOST_BYTES: u64 = 64 << 30;

/// What the command specifies in addition to the file.
#[derive(Debug)]
pub struct Options<'a> {
    /// The format, when it is not to be detected.
    pub format: Option<Format>,
    /// `--model`: a catalog id, or `hf:` and a hub address.
    pub model: Option<&'a str>,
    /// `--gpu`: a catalog id.
    pub gpu: Option<&'a str>,
    /// `--gpus`: how many of them.
    pub gpus: Option<u32>,
    /// `--price-per-hour`: of the whole machine, of one GPU when `gpus` is given.
    pub price_per_hour: Option<Decimal>,
    /// Rows of GPUs, models and prices.
    pub catalog: &'a Catalog,
    /// The day, for the age of prices.
    pub today: jiff::civil::Date,
    /// The time of the import.
    pub now: jiff::Timestamp,
    /// The command line as typed.
    pub argv: &'a [String],
}

/// The file that a record is made from.
struct Source<'a> {
    path: &'a Path,
    format: Format,
    form: &'static str,
    sha256: String,
}

/// Why a file did not become records: its own fault, or a flag's.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file.
    #[error(transparent)]
    File(#[from] Error),
    /// A flag that names no row of the catalog.
    #[error(transparent)]
    Catalog(#[from] crate::catalog::Error),
}

impl Classed for ImportError {
    fn class(&self) -> Class {
        match self {
            Self::File(error) => error.class(),
            Self::Catalog(error) => error.class(),
        }
    }
}

/// Reads another tool's file and creates its records.
///
/// # Errors
/// [`ImportError`]: an error in the file, with line, field and value, or in a flag.
pub fn import(path: &Path, options: &Options<'_>) -> Result<Vec<Record>, ImportError> {
    let file = File::open(path).map_err(|error| lines::io_error(path, error))?;
    if path.is_dir() {
        let reason = "it is a folder; name the files in it: DIR/*.json";
        return Err(Error::Refused { path: path.to_owned(), reason: reason.to_owned() }.into());
    }
    import_from(path, file, options)
}

/// The same for an open file.
///
/// # Errors
/// As [`import`].
pub fn import_from(path: &Path, file: impl Read, options: &Options<'_>) -> Result<Vec<Record>, ImportError> {
    let mut rows = Rows::open(path, file, MOST_BYTES)?;
    let format = match options.format {
        Some(format) => format,
        None => detect::format(path, rows.first())?,
    };
    let found = match format {
        Format::LlamaBench => llama_bench::read(path, &mut rows)?,
        Format::LlamaBatchedBench => llama_batched_bench::read(path, &mut rows)?,
        Format::VllmServe => vllm_serve::read(path, &mut rows)?,
        Format::VllmThroughput => vllm_offline::throughput(path, &mut rows)?,
        Format::VllmLatency => vllm_offline::latency(path, &mut rows)?,
        Format::SglangServing => sglang_serving::read(path, &mut rows)?,
        Format::Guidellm => guidellm::read(path, &mut rows)?,
        Format::Aiperf => aiperf::read(path, &mut rows, "aiperf")?,
        Format::GenaiPerf => aiperf::read(path, &mut rows, "genai-perf")?,
        Format::TrtllmBench => trtllm_bench::read(path, &mut rows)?,
        Format::Inferencex => inferencex::read(path, &mut rows)?,
    };
    let finished = rows.finish()?;
    let source = Source { path, format, form: finished.form, sha256: finished.sha256 };
    let mut records = Vec::with_capacity(found.len());
    for mut foreign in found {
        reject_future_date(path, &foreign, options)?;
        foreign.notes.extend(finished.skipped.notes());
        if foreign.measured.is_none() {
            let day = options.now.to_zoned(jiff::tz::TimeZone::UTC).date();
            foreign.notes.push(format!("the file has no date: the record has that of the import, {day}"));
        }
        let named = model::resolve(options.model, &foreign.model, options.catalog)?;
        let named =
            named.ok_or_else(|| Error::NoModel { path: path.to_owned(), tool: foreign.tool.to_owned() })?;
        records.push(seal::seal(foreign, named, &source, options)?);
    }
    Ok(records)
}

/// Rejects a measurement dated in the future; a time zone may be a day ahead.
fn reject_future_date(path: &Path, foreign: &foreign::Foreign, options: &Options<'_>) -> Result<(), Error> {
    let latest = options.today.saturating_add(jiff::Span::new().days(1));
    let Some(measured) = foreign.measured else { return Ok(()) };
    if measured.to_zoned(jiff::tz::TimeZone::UTC).date() <= latest {
        return Ok(());
    }
    let reason = format!("its date, {measured}, is in the future; correct it");
    Err(Error::Refused { path: path.to_owned(), reason })
}
