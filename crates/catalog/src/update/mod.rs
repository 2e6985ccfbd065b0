//! Imports prices from users' own copies of public price files: reads them, compares them with the catalog, and writes
//! them next to it.
//!
//! Owns the formats of LiteLLM, genai-prices, models.dev, OpenRouter, gpuhunt and SkyPilot, recognized by content.
//! Nothing is fetched and nothing is imported unseen: [`read`] makes an [`Offer`], [`diff`] shows what it would change,
//! and `write` puts the accepted rows into separate files that rank above the bundled rows and below the user's. A row
//! with an impossible price is rejected by name and the rest is read; fields without a counterpart here are kept.

mod intake;
pub mod diff;
mod error;
mod genai_prices;
mod ladder;
mod litellm;
mod models_dev;
mod money;
mod names;
mod openrouter;
mod rents;
#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;
pub mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use sha2::{Digest as _, Sha256};

pub use self::error::Error;
use self::intake::Intake;
pub use self::intake::{Filter, Refused};
use crate::base::json::{self, Node, RESULT_FIELDS, get};
use crate::base::text::shown;
use crate::{ApiPrice, Catalog, Rental};

/// Largest file that is read; the largest known one is 30 MiB.
const MOST_BYTES: u64 = 256 << 20;

/// Which project's file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// LiteLLM's `model_prices_and_context_window.json`.
    Litellm,
    /// genai-prices' `data.json`.
    GenaiPrices,
    /// models.dev's `api.json`.
    ModelsDev,
    /// OpenRouter's list of models.
    OpenRouter,
    /// A catalog of gpuhunt.
    Gpuhunt,
    /// A `vms.csv` of SkyPilot.
    Skypilot,
}

impl Format {
    /// The name in messages and sources.
    pub fn name(self) -> &'static str {
        match self {
            Self::Litellm => "litellm",
            Self::GenaiPrices => "genai-prices",
            Self::ModelsDev => "models.dev",
            Self::OpenRouter => "openrouter",
            Self::Gpuhunt => "gpuhunt",
            Self::Skypilot => "skypilot",
        }
    }
}

/// The earliest plausible day of a price file: an earlier modification time comes from an unpacked archive.
const FIRST: Date = jiff::civil::date(2022, 1, 1);

const KNOWN: &str = "supported: LiteLLM's model_prices_and_context_window.json, genai-prices' data.json, models.dev's api.json, OpenRouter's list of models, gpuhunt's and SkyPilot's CSV catalogs";

/// Where the day of a file's prices comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    /// `--observed`.
    Flag,
    /// The file's name, or its folder's.
    Name,
    /// When the file was last written.
    Modified,
}

/// What the command specifies in addition to the file.
#[derive(Debug)]
pub struct Options<'a> {
    /// Which rows to import.
    pub filter: Filter,
    /// The day on which the file's prices were seen, if the user states it.
    pub observed: Option<Date>,
    /// The provider of a CSV file's prices, when neither its name nor its folder says it.
    pub csv_provider: Option<&'a str>,
    /// Today.
    pub today: Date,
    /// The current catalog: GPUs and models by name.
    pub catalog: &'a Catalog,
}

/// What a file offers.
#[derive(Debug)]
pub struct Offer {
    /// The file.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Its hash.
    pub sha256: String,
    /// The day its prices are dated, and where that comes from.
    pub observed: (Date, Dated),
    /// Rows in the file.
    pub rows: usize,
    /// Rows that the flags exclude.
    pub filtered_out: usize,
    /// Prices of APIs.
    pub api: Vec<ApiPrice>,
    /// Rents of GPUs.
    pub rents: Vec<Rental>,
    /// Rows with an impossible value; at most 1,000 of them.
    pub refused: Vec<Refused>,
    /// Number of rejected rows beyond those listed.
    pub refused_more: usize,
    /// Rows that are not a price of text tokens or of a known GPU: the reason and how many.
    pub passed: BTreeMap<String, usize>,
}

/// Reads a file.
///
/// # Errors
/// [`Error`], with the line if a specific line is at fault.
pub fn read(path: &Path, options: &Options<'_>) -> Result<Offer, Error> {
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::Io { path: path.to_owned(), source },
    };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    let modified = about.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
    let modified = modified.map(|time| time.to_zoned(jiff::tz::TimeZone::UTC).date());
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        let reason = "it is larger than 256 MiB, more than any price file".to_owned();
        return Err(Error::Unreadable { path: path.to_owned(), line: None, reason });
    }
    read_bytes(path, bytes, modified, options)
}

/// The same for bytes already read, last modified on the day `modified`.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(
    path: &Path,
    bytes: Vec<u8>,
    modified: Option<Date>,
    options: &Options<'_>,
) -> Result<Offer, Error> {
    let unreadable = |line, reason| Error::Unreadable { path: path.to_owned(), line, reason };
    let sha256 =
        Sha256::digest(&bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    if let Some(kind) = foreign_form(&bytes) {
        return Err(unreadable(None, kind));
    }
    let text = match json::text_of_utf16(&bytes) {
        Some(text) => text,
        None => String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let line = String::from_utf8_lossy(&error.as_bytes()[..at]).matches('\n').count() + 1;
            unreadable(Some(line), format!("it is not UTF-8 or UTF-16 text (byte {at})"))
        })?,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let named = || day_in_name(path).filter(|day| (FIRST..=options.today).contains(day));
    let observed = match (options.observed.map(|day| (day, Dated::Flag)), modified) {
        (Some(said), _) => said,
        (None, _) if named().is_some() => (named().unwrap_or(options.today), Dated::Name),
        // Unpacking an archive sets its own dates, and some systems store none.
        (None, day) if day.is_none_or(|day| day < FIRST) => {
            let day = day.map_or("an unknown day".to_owned(), |day| day.to_string());
            let reason = format!(
                "the file was last modified on {day}, which cannot be the date of its prices ({} or later); give it with --observed DATE",
                FIRST.year()
            );
            return Err(Error::Usage { path: path.to_owned(), reason });
        }
        // A clock that runs ahead, or a copy from such a machine: no price is dated in the future.
        (None, day) => (day.unwrap_or(options.today).min(options.today), Dated::Modified),
    };
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let source = |format: Format| {
        format!("{} {} of {} (sha256 {})", format.name(), shown(&file_name), observed.0, &sha256[..12])
    };
    let (format, mut intake, rents) = if text.trim_start().starts_with(['{', '[']) {
        let root = parse(path, text)?;
        let format = json_format(&root).ok_or_else(|| unreadable(None, unknown(&root)))?;
        let mut intake = Intake::new(text, &options.filter, observed.0, options.today, source(format));
        match format {
            Format::Litellm => litellm::read(&root, &mut intake),
            Format::GenaiPrices => genai_prices::read(&root, &mut intake),
            Format::ModelsDev => models_dev::read(&root, &mut intake),
            // The other two are CSV, and never the answer here.
            Format::OpenRouter | Format::Gpuhunt | Format::Skypilot => openrouter::read(&root, &mut intake),
        }
        (format, intake, Vec::new())
    } else {
        let (format, columns) = csv_format(text).ok_or_else(|| {
            unreadable(
                None,
                match text.lines().find(|line| !line.trim().is_empty()) {
                    None => format!("the file is empty; {KNOWN}"),
                    Some(first) => {
                        format!(
                            "its first line is `{}`, which matches no known price file; {KNOWN}",
                            shown(first)
                        )
                    }
                },
            )
        })?;
        let provider = csv_provider(path, options)?;
        let mut intake = Intake::new(text, &options.filter, observed.0, options.today, source(format));
        let rents = if options.filter.provider(&provider, &provider) {
            let read = rents::read(text, columns, &provider, options.catalog, &mut intake);
            read.map_err(|reason| unreadable(None, format!("it is not valid CSV ({reason})")))?
        } else {
            intake.rows = 1;
            intake.filtered_out = 1;
            intake.providers.insert(provider, 1);
            Vec::new()
        };
        (format, intake, rents)
    };
    let api = with_catalog_names(&mut intake, options.catalog);
    if api.is_empty() && rents.is_empty() {
        return Err(nothing(path, &intake));
    }
    Ok(Offer {
        path: path.to_owned(),
        format,
        sha256,
        observed,
        rows: intake.rows,
        filtered_out: intake.filtered_out,
        api,
        rents,
        refused: intake.refused,
        refused_more: intake.refused_more,
        passed: intake.passed,
    })
}

/// The prices under the catalog's names for provider and model.
fn with_catalog_names(intake: &mut Intake<'_>, catalog: &Catalog) -> Vec<ApiPrice> {
    let found = std::mem::take(&mut intake.api);
    let named: Vec<(&str, &str, &str)> = found
        .iter()
        .map(|api| (api.theirs.as_str(), api.row.provider.as_str(), api.row.source_model_id.as_str()))
        .collect();
    let words = names::Words::of(catalog).assign(&named);
    let mut rows = Vec::with_capacity(found.len());
    for (api, word) in found.into_iter().zip(words) {
        let mut row = api.row;
        if let Some(word) = word {
            row.model = word;
            rows.push(row);
        } else {
            let value = format!("\"{}\"", shown(&row.source_model_id));
            let reason = format!("occurs twice for {}; the first is used", row.provider);
            intake.refuse(
                api.line,
                &row.source_model_id,
                intake::BadField { field: "id".to_owned(), value, reason },
            );
        }
    }
    rows
}

/// The error for a file that yields no price at all.
fn nothing(path: &Path, intake: &Intake<'_>) -> Error {
    let path = path.to_owned();
    if intake.filtered_out > 0 {
        let mut names: Vec<&str> = intake.providers.keys().map(String::as_str).take(12).collect();
        if intake.providers.len() > 12 {
            names.push("…");
        }
        let reason = format!(
            "it has no price that matches --provider and --model; its providers are {}",
            names.join(", ")
        );
        return Error::Usage { path, reason };
    }
    if let Some(first) = intake.refused.first() {
        let first = format!("{}`{}`: {}", at(first.line), first.row, first.sentence());
        return Error::NoneUsable { path, rows: intake.rows, first: format!("the first: {first}") };
    }
    let most = intake.passed.iter().max_by_key(|(_, count)| **count);
    let first =
        most.map_or("it is empty".to_owned(), |(reason, count)| format!("{reason} ({count} of them)"));
    Error::NoneUsable { path, rows: intake.rows, first }
}

/// `line 3, `, or nothing.
fn at(line: Option<usize>) -> String {
    line.map_or(String::new(), |line| format!("line {line}, "))
}

/// The one value of the text.
fn parse(path: &Path, text: &str) -> Result<Node, Error> {
    let unreadable = |line, reason| Error::Unreadable { path: path.to_owned(), line: Some(line), reason };
    let mut values = json::values(text);
    let (_, root) = values
        .next()
        .unwrap_or(Ok((1, Node::Null)))
        .map_err(|broken| unreadable(broken.line, broken.reason))?;
    match values.next() {
        None => Ok(root),
        Some(Ok((line, _))) => Err(unreadable(
            line,
            format!("a second JSON value begins here, and a price file has only one; {KNOWN}"),
        )),
        Some(Err(broken)) => Err(unreadable(broken.line, broken.reason)),
    }
}

/// Recognizes the format by a combination of fields that only one tool writes.
fn json_format(root: &Node) -> Option<Format> {
    let has = |node: &Node, name: &str| node.fields().is_some_and(|fields| get(fields, name).is_some());
    let of_list = |list: &Node| match list {
        Node::List(items) if items.iter().any(|item| has(item, "id") && has(item, "pricing")) => {
            Some(Format::OpenRouter)
        }
        Node::List(items) if items.iter().any(|item| has(item, "id") && has(item, "models")) => {
            Some(Format::GenaiPrices)
        }
        _ => None,
    };
    let Some(fields) = root.fields() else { return of_list(root) };
    // A result may have a part with `models` in it, as models.dev's providers do.
    if is_result(fields) {
        return None;
    }
    if let Some(format) = get(fields, "data").and_then(of_list).filter(|format| *format == Format::OpenRouter)
    {
        return Some(format);
    }
    if let (Some(providers), Some(_)) = (get(fields, "providers"), get(fields, "units")) {
        return of_list(providers).filter(|format| *format == Format::GenaiPrices);
    }
    let priced = |node: &Node| has(node, "litellm_provider") || has(node, "input_cost_per_token");
    if get(fields, "sample_spec").is_some() || fields.iter().any(|(_, node)| priced(node)) {
        return Some(Format::Litellm);
    }
    let sells = |node: &Node| {
        node.fields().and_then(|fields| get(fields, "models")).is_some_and(|node| node.fields().is_some())
    };
    fields.iter().any(|(_, node)| sells(node)).then_some(Format::ModelsDev)
}

/// Whether an object is a price file, or a row of one.
pub fn is_of_prices(fields: &[(Box<str>, Node)]) -> bool {
    let has = |name: &str| get(fields, name).is_some();
    has("id") && (has("pricing") || has("models")) || json_format(&Node::Object(fields.into())).is_some()
}

/// The CSV price format with this header.
pub fn csv_of(header: &str) -> Option<Format> {
    csv_format(header).map(|(format, _)| format)
}

/// Why a JSON file is not a known price file.
fn unknown(root: &Node) -> String {
    let seen = match root {
        Node::Object(fields) if fields.is_empty() => "its object is empty".to_owned(),
        Node::Object(fields) if is_result(fields) => {
            return "it is a benchmark result, not a price file; import results with `bench import FILE`"
                .to_owned();
        }
        Node::List(rows) if rows.iter().filter_map(Node::fields).any(is_result) => {
            return "it is a benchmark result, not a price file; import results with `bench import FILE`"
                .to_owned();
        }
        Node::Object(fields) => {
            let names: Vec<String> =
                fields.iter().take(6).map(|(name, _)| format!("`{}`", shown(name))).collect();
            format!("its object has {}, which matches no known price file", names.join(", "))
        }
        _ => "it is a list that matches no known price file".to_owned(),
    };
    format!("{seen}; {KNOWN}")
}

/// The date in a file's name, or in the name of its folder: `prices-2026-11-20.json`, `20261120/aws.csv`.
fn day_in_name(path: &Path) -> Option<Date> {
    let day = |name: &std::ffi::OsStr| -> Option<Date> {
        let name = name.to_string_lossy().into_owned();
        let bytes = name.as_bytes();
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        (0..bytes.len()).find_map(|at| {
            if !digit(at) || (at > 0 && digit(at - 1)) {
                return None;
            }
            let length = if bytes.get(at + 4) == Some(&b'-') { 10 } else { 8 };
            let text = name.get(at..at + length).filter(|_| !digit(at + length))?;
            let form = if length == 10 { "%Y-%m-%d" } else { "%Y%m%d" };
            Date::strptime(form, text).ok()
        })
    };
    let folder = || path.parent().and_then(Path::file_name).and_then(day);
    path.file_name().and_then(day).or_else(folder)
}

/// Why a file is not text: it is compressed, or belongs to another program.
fn foreign_form(bytes: &[u8]) -> Option<String> {
    crate::base::text::compression(bytes)
        .map(|(kind, how)| format!("it is compressed ({kind}); unpack it first: {how}"))
}

/// Whether an object has fields of a benchmark result or of a record.
fn is_result(fields: &[(Box<str>, Node)]) -> bool {
    RESULT_FIELDS.iter().chain(&["measurements"]).any(|name| get(fields, name).is_some())
}

fn csv_format(text: &str) -> Option<(Format, &'static rents::Columns)> {
    let header = text.lines().next()?;
    let columns: Vec<&str> = header.split(',').map(|name| name.trim().trim_matches('"')).collect();
    let has = |names: &[&str]| names.iter().all(|name| columns.contains(name));
    if has(&["InstanceType", "AcceleratorName", "AcceleratorCount", "Price"]) {
        return Some((Format::Skypilot, &rents::SKYPILOT));
    }
    has(&["instance_name", "price", "gpu_count", "gpu_name", "spot"])
        .then_some((Format::Gpuhunt, &rents::GPUHUNT))
}

/// The provider of a CSV file's prices: gpuhunt names the file after it, SkyPilot the folder.
fn csv_provider(path: &Path, options: &Options<'_>) -> Result<String, Error> {
    if let Some(name) = options.csv_provider {
        return Ok(names::provider(name));
    }
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let name = if stem.eq_ignore_ascii_case("vms") { folder } else { Some(stem) };
    if let Some(name) = name.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("catalog")) {
        return Ok(names::provider(&shown(&name)));
    }
    let reason = "neither this file nor its name or folder says which provider's prices it has; give it with --csv-provider NAME";
    Err(Error::Usage { path: path.to_owned(), reason: reason.to_owned() })
}
