//! Other tools' results as records, and records in other tools' words.
//!
//! A file goes through `detect` (its rows, and which tool wrote them), a reader for each tool (what it says, in our
//! units, each figure under a formula id of its own: `foreign`) and `seal` (a record, marked as imported). Files
//! come from strangers: every number is checked where it is read (`fields`), and what is read takes memory by a
//! small factor of the file's size (`json`).

mod aiperf;
mod detect;
mod error;
mod fields;
mod foreign;
mod guidellm;
mod inferencex;
mod json;
mod llama_batched_bench;
mod llama_bench;
mod model;
mod seal;
mod served;
mod sglang_serving;
mod table;
#[cfg(test)]
mod tests;
mod to_llama_bench;
mod to_vllm;
mod trtllm_bench;
mod vllm_offline;
mod vllm_serve;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};

use crate::catalog::Catalog;
use crate::record::Record;

pub use detect::Format;
pub use error::Error;
pub use to_llama_bench::llama_bench_rows;
pub use to_vllm::vllm_objects;

/// Largest file that is read.
pub const MOST_BYTES: u64 = 1 << 30;
/// Most records that one file may become.
const MOST_RECORDS: usize = 1000;

/// What the command says beside the file.
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

/// Reads a file of another tool and makes its records.
///
/// # Errors
/// [`ImportError`]: the file's fault, with line, field and value, or a flag's.
pub fn import(path: &Path, options: &Options<'_>) -> Result<Vec<Record>, ImportError> {
    let bytes = read(path)?;
    import_bytes(path, bytes, options)
}

/// The same of bytes already read.
///
/// # Errors
/// As [`import`].
pub fn import_bytes(path: &Path, bytes: Vec<u8>, options: &Options<'_>) -> Result<Vec<Record>, ImportError> {
    let digest =
        Sha256::digest(&bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let text = text(path, bytes)?;
    let document = detect::rows(path, &text)?;
    drop(text);
    let format = match options.format {
        Some(format) => format,
        None => detect::format(path, &document.rows)?,
    };
    let source = Source { path, format, form: document.form, sha256: digest };
    let rows = &document.rows;
    let found = match format {
        Format::LlamaBench => llama_bench::read(path, rows)?,
        Format::LlamaBatchedBench => llama_batched_bench::read(path, rows)?,
        Format::VllmServe => vllm_serve::read(path, rows)?,
        Format::VllmThroughput => vllm_offline::throughput(path, rows)?,
        Format::VllmLatency => vllm_offline::latency(path, rows)?,
        Format::SglangServing => sglang_serving::read(path, rows)?,
        Format::Guidellm => guidellm::read(path, rows)?,
        Format::Aiperf => aiperf::read(path, rows, "aiperf")?,
        Format::GenaiPerf => aiperf::read(path, rows, "genai-perf")?,
        Format::TrtllmBench => trtllm_bench::read(path, rows)?,
        Format::Inferencex => inferencex::read(path, rows)?,
    };
    if found.len() > MOST_RECORDS {
        let reason = format!("it has {} different setups, more than {MOST_RECORDS}; split it", found.len());
        return Err(Error::Refused { path: path.to_owned(), reason }.into());
    }
    let mut records = Vec::with_capacity(found.len());
    for foreign in found {
        to_come(path, &foreign, options)?;
        let named = model::resolve(options.model, &foreign.model, options.catalog)?;
        let named =
            named.ok_or_else(|| Error::NoModel { path: path.to_owned(), tool: foreign.tool.to_owned() })?;
        records.push(seal::seal(foreign, named, &source, options)?);
    }
    Ok(records)
}

/// Refuses a measurement of a day to come; a time zone may be a day ahead.
fn to_come(path: &Path, foreign: &foreign::Foreign, options: &Options<'_>) -> Result<(), Error> {
    let latest = options.today.saturating_add(jiff::Span::new().days(1));
    let Some(measured) = foreign.measured else { return Ok(()) };
    if measured.to_zoned(jiff::tz::TimeZone::UTC).date() <= latest {
        return Ok(());
    }
    let reason = format!("it says that it measured at {measured}, which is still to come; mend its date");
    Err(Error::Refused { path: path.to_owned(), reason })
}

/// The whole file, unless it is too large; the limit is kept for what has no size as well, such as a pipe.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::new();
    if size <= MOST_BYTES {
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    }
    if size.max(bytes.len() as u64) > MOST_BYTES {
        let reason = "it is larger than 1 GiB; import the summary, without each request's text".to_owned();
        return Err(Error::Refused { path: path.to_owned(), reason });
    }
    Ok(bytes)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Error> {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = String::from_utf8_lossy(&error.as_bytes()[..at]).matches('\n').count() + 1;
        let reason = if utf16 {
            "it is UTF-16, as PowerShell's `>` writes; save it as UTF-8".to_owned()
        } else {
            format!("it is not text in UTF-8 (byte {at})")
        };
        Error::Syntax { path: path.to_owned(), line: Some(line), reason }
    })
}

/// A value, or its reason.
fn split<T>(known: Result<T, String>) -> (Option<T>, Option<String>) {
    match known {
        Ok(value) => (Some(value), None),
        Err(reason) => (None, Some(reason)),
    }
}
