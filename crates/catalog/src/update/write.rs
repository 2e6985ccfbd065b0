//! Writes accepted rows to separate files, which rank above the bundled rows and below the user's.
//!
//! `prices/imported-api.toml` and `prices/imported-rental.toml` belong to the program: rows of an update replace those with
//! the same identity and leave the others; `prices/imported-history.toml` is append-only. A file is written to a temporary
//! name and renamed, so a reader never sees half of it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Value;

use super::Error;
use super::diff::{Diff, rent_id};
use crate::file::{IMPORTED_API, IMPORTED_HISTORY, IMPORTED_RENTAL};
use crate::{ApiPrice, Catalog, DateKind, PricePoint, Rental, Trust};

/// Writes the rows of `diff` into `folder`; returns the files written.
///
/// # Errors
/// [`Error::Io`] when a file or the folder cannot be written, or [`Error::Unreadable`] when an existing one cannot be read.
pub fn write(diff: &Diff, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let former = Catalog::imported_prices(folder).map_err(|error| Error::Unreadable {
        path: folder.to_owned(),
        line: None,
        reason: error.to_string(),
    })?;
    let mut written = Vec::new();
    if !diff.api_rows.is_empty() {
        let replaced: HashSet<String> = diff.api_rows.iter().map(ApiPrice::id).collect();
        let mut rows: Vec<&ApiPrice> =
            former.api.iter().filter(|row| !replaced.contains(&row.id())).collect();
        rows.extend(&diff.api_rows);
        rows.sort_by_key(|row| row.id());
        let text = rows.iter().fold(HEAD.to_owned(), |text, row| text + "\n" + &api(row));
        written.push(put(folder, IMPORTED_API, &text)?);
    }
    if !diff.history.is_empty() {
        let known: HashSet<String> = former.history.iter().map(PricePoint::id).collect();
        let mut rows: Vec<&PricePoint> = former.history.iter().collect();
        rows.extend(diff.history.iter().filter(|row| !known.contains(&row.id())));
        rows.sort_by_key(|row| row.id());
        rows.dedup_by_key(|row| (row.id(), row.input_usd_per_mtok, row.output_usd_per_mtok));
        let text = rows.iter().fold(HEAD.to_owned(), |text, row| text + "\n" + &point(row));
        written.push(put(folder, IMPORTED_HISTORY, &text)?);
    }
    if !diff.rent_rows.is_empty() {
        let replaced: HashSet<String> = diff.rent_rows.iter().map(rent_id).collect();
        let mut rows: Vec<&Rental> =
            former.rents.iter().filter(|row| !replaced.contains(&rent_id(row))).collect();
        rows.extend(&diff.rent_rows);
        rows.sort_by_key(|row| (rent_id(row), row.usd_per_gpu_hour));
        let text = rows.iter().fold(HEAD.to_owned(), |text, row| text + "\n" + &rent(row));
        written.push(put(folder, IMPORTED_RENTAL, &text)?);
    }
    Ok(written)
}

const HEAD: &str = "# Written by `bench catalog update`; the next update replaces rows in it. Put your own rows into api.toml and\n\
# rental.toml, which take precedence. Delete this file to return to the bundled prices.\n\
schema_version = 1\n";

/// Writes one file atomically.
fn put(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    let path = folder.join(name);
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let failed = |source| Error::Io { path: path.clone(), source };
    fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(failed)?;
    let written = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // Report the write error, not a failed cleanup.
        drop(fs::remove_file(&temporary));
    }
    written.map_err(failed)?;
    Ok(path)
}

/// Builds a TOML table, one line for each field that is set.
struct Table(String);

impl Table {
    fn text(&mut self, name: &str, value: &str) {
        self.raw(name, &Value::String(value.to_owned()).to_string());
    }

    fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn raw(&mut self, name: &str, value: &str) {
        self.0 += &[name, " = ", value, "\n"].concat();
    }
}

fn api(row: &ApiPrice) -> String {
    let mut table = Table("[[price]]\n".to_owned());
    table.text("provider", &row.provider);
    table.text("model", &row.model);
    table.text("source_model_id", &row.source_model_id);
    if let Some(open) = row.open_weights {
        table.raw("open_weights", &open.to_string());
    }
    table.raw("input_usd_per_mtok", &row.input_usd_per_mtok.to_string());
    if let Some(usd) = row.cached_input_usd_per_mtok {
        table.raw("cached_input_usd_per_mtok", &usd.to_string());
    }
    if let Some(usd) = row.cache_write_usd_per_mtok {
        table.raw("cache_write_usd_per_mtok", &usd.to_string());
    }
    table.raw("output_usd_per_mtok", &row.output_usd_per_mtok.to_string());
    if let Some(usd) = row.reasoning_usd_per_mtok {
        table.raw("reasoning_usd_per_mtok", &usd.to_string());
    }
    if let Some(usd) = row.usd_per_request {
        table.raw("usd_per_request", &usd.to_string());
    }
    let tiers: Vec<String> = row
        .long_context_tiers
        .iter()
        .map(|tier| {
            let mut text = format!(
                "{{ above_input_tokens = {}, input = {}, output = {}",
                tier.above_input_tokens, tier.input, tier.output
            );
            for (name, usd) in [("cached_input", tier.cached_input), ("cache_write", tier.cache_write)] {
                if let Some(usd) = usd {
                    _ = write!(text, ", {name} = {usd}");
                }
            }
            if let Some(batch) = &tier.batch {
                _ = write!(text, ", batch = {{ input = {}, output = {} }}", batch.input, batch.output);
            }
            text + " }"
        })
        .collect();
    if !tiers.is_empty() {
        table.raw("long_context_tiers", &format!("[{}]", tiers.join(", ")));
    }
    if let Some(batch) = &row.batch {
        table.raw("batch", &format!("{{ input = {}, output = {} }}", batch.input, batch.output));
    }
    let quoted = |text: &str| Value::String(text.to_owned()).to_string();
    let hours: Vec<String> = row
        .time_of_day
        .iter()
        .map(|time| {
            let (from, to) = (quoted(&time.from_utc), quoted(&time.to_utc));
            format!(
                "{{ from_utc = {from}, to_utc = {to}, input = {}, output = {} }}",
                time.input, time.output
            )
        })
        .collect();
    if !hours.is_empty() {
        table.raw("time_of_day", &format!("[{}]", hours.join(", ")));
    }
    if let Some(change) = &row.scheduled_change {
        let date = quoted(&change.date.to_string());
        table.raw(
            "scheduled_change",
            &format!("{{ date = {date}, input = {}, output = {} }}", change.input, change.output),
        );
    }
    table.maybe("effective_from", row.effective_from.map(|day| day.to_string()).as_deref());
    if row.deprecated {
        table.raw("deprecated", "true");
    }
    table.text("as_of", &row.as_of.to_string());
    table.maybe("upstream", row.upstream.as_deref());
    table.maybe("note", row.note.as_deref());
    table.maybe("cross_check", row.cross_check.as_deref());
    table.text("source", &row.source);
    table.maybe("kept", row.kept.as_deref());
    table.0
}

fn rent(row: &Rental) -> String {
    let mut table = Table("[[rental]]\n".to_owned());
    table.text("provider", &row.provider);
    table.text("gpu", &row.gpu);
    table.text("kind", row.kind.label());
    table.raw("usd_per_gpu_hour", &row.usd_per_gpu_hour.to_string());
    table.maybe("instance", row.instance.as_deref());
    table.maybe("observed", row.observed.map(|day| day.to_string()).as_deref());
    table.maybe("note", row.note.as_deref());
    table.text("source", &row.source);
    table.text(
        "trust",
        match row.trust {
            Trust::Low => "low",
            Trust::Medium => "medium",
            Trust::High => "high",
        },
    );
    table.maybe("kept", row.kept.as_deref());
    table.0
}

fn point(row: &PricePoint) -> String {
    let mut table = Table("[[point]]\n".to_owned());
    table.text("model", &row.model);
    table.text("provider", &row.provider);
    table.text("date", &row.date.to_string());
    table.text(
        "date_kind",
        match row.date_kind {
            DateKind::Exact => "exact",
            DateKind::Month => "month",
            DateKind::OnOrBefore => "on_or_before",
        },
    );
    table.text("date_basis", &row.date_basis);
    table.raw("input_usd_per_mtok", &row.input_usd_per_mtok.to_string());
    table.raw("output_usd_per_mtok", &row.output_usd_per_mtok.to_string());
    if let Some(open) = row.open_weights {
        table.raw("open_weights", &open.to_string());
    }
    table.maybe("note", row.note.as_deref());
    table.text("source", &row.source);
    table.0
}
