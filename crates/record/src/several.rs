//! Several records at once, named one by one or by their folder: each counts once.
//!
//! A record is written once and has an id of its own, so a second file with the same id and the same content is a
//! copy. Two that differ but have the same id are both used, with a note. Importing a file again makes another
//! record of the same measurement, which counts once as well. What a folder has besides records is named and left
//! out.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::text::printable;

use super::write::is_list_beside;
use super::{Error, Imported, Measurement, Record, Unknown, read};

/// Folders inside folders that are looked into.
const DEEPEST: usize = 8;
/// A larger file in a folder is no record.
const MOST_BYTES: u64 = 64 << 20;

/// Records, each with the file that it was read from.
#[derive(Debug, Default)]
pub struct Several {
    /// In the order in which they were named; those of a folder by name.
    pub records: Vec<(PathBuf, Record)>,
    /// What was named twice, and what of a folder is no record.
    pub notes: Vec<String>,
}

/// Files that are named where a folder has others besides records.
const NAMED: usize = 5;

/// Reads the records that `paths` name: files, and folders for all records in them.
///
/// # Errors
/// As [`read::read`], and [`Error::Unreadable`] for a folder without a record.
pub fn read_all(paths: &[PathBuf]) -> Result<Several, Error> {
    let mut records = Vec::new();
    let mut others = Vec::new();
    for path in paths {
        if !path.is_dir() {
            records.push((path.clone(), read::read(path)?));
            continue;
        }
        let (before, others_before) = (records.len(), others.len());
        for (file, bytes) in files(path)? {
            match of_folder(&file, bytes) {
                Ok(Some(record)) => records.push((file, record)),
                Ok(None) => {}
                Err(reason) => others.push(format!("{}: left out, {reason}", file.display())),
            }
        }
        if records.len() == before {
            let first = others.get(others_before).map_or(String::new(), |first| format!(" ({first})"));
            let reason = format!("the folder contains no record{first}");
            return Err(Error::Unreadable { path: path.clone(), reason });
        }
    }
    let mut found = once(records);
    let more = others.len().saturating_sub(NAMED);
    others.truncate(NAMED);
    found.notes.extend(others);
    found.notes.extend((more > 0).then(|| format!("and {more} more like this")));
    Ok(found)
}

/// A file of a folder as a record; nothing where it is another of this program's files.
fn of_folder(path: &Path, bytes: u64) -> Result<Option<Record>, String> {
    if bytes > MOST_BYTES {
        return Err(format!("it is larger than {} MiB, more than any record", MOST_BYTES >> 20));
    }
    let text = fs::read(path).map_err(|error| error.to_string())?;
    // A file that was cut off may end inside a letter.
    let text = String::from_utf8_lossy(&text);
    match read::parse(&text) {
        Ok(record) => Ok(Some(record)),
        Err(_) if read::is_of_ours(&text) => Ok(None),
        Err(reason) => Err(reason),
    }
}

/// Leaves out what is there a second time.
#[must_use]
pub fn once(records: Vec<(PathBuf, Record)>) -> Several {
    let mut found = Several::default();
    // Where the records of each id are, and the imported ones of each series.
    let mut known: HashMap<String, Vec<usize>> = HashMap::new();
    let mut imported: HashMap<String, Vec<usize>> = HashMap::new();
    for (path, record) in records {
        let same_id = known.entry(record.id.clone()).or_default();
        let of = |index: &usize| found.records.get(*index);
        if let Some((first, _)) = same_id.iter().filter_map(of).find(|(_, other)| *other == record) {
            found.notes.push(format!(
                "{}: the same record as {}, counted once",
                path.display(),
                first.display()
            ));
            continue;
        }
        if let Some((first, _)) = same_id.iter().find_map(of) {
            found.notes.push(format!(
                "{} and {} have the same id {}, but differ; both are used",
                first.display(),
                path.display(),
                record.id
            ));
        }
        let same_series = record
            .imported
            .as_ref()
            .map(|_| imported.entry(record.fingerprint.series_key.clone()).or_default());
        let again = same_series.iter().flat_map(|all| all.iter()).filter_map(of).find(|(first, other)| {
            // Rows of one file that a reader took apart are runs of their own.
            *first != path && Measured::of(other) == Measured::of(&record)
        });
        if let Some((first, other)) = again {
            let same_price = usd_per_hour(other) == usd_per_hour(&record);
            let names = format!("{} and {}", first.display(), path.display());
            let [one, two] = [file_of(other), file_of(&record)];
            let of =
                if one == two { format!("{one} imported twice") } else { format!("from {one} and {two}") };
            if same_price {
                found.notes.push(format!("{names} are one measurement, {of}; counted once"));
                continue;
            }
            found.notes.push(format!("{names} are one measurement, {of}, at two prices; both are used"));
        }
        if let Some(same_series) = same_series {
            same_series.push(found.records.len());
        }
        same_id.push(found.records.len());
        found.records.push((path, record));
    }
    found
}

/// What two imports of one measurement have in common: the file's rows, their figures, and what they were measured on.
#[derive(PartialEq)]
struct Measured<'a> {
    rows: &'a [Unknown],
    measurements: &'a [Measurement],
    series_key: &'a str,
}

impl<'a> Measured<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        let Imported { rows, .. } = record.imported.as_ref()?;
        Some(Self { rows, measurements: &record.measurements, series_key: &record.fingerprint.series_key })
    }
}

fn usd_per_hour(record: &Record) -> Option<rust_decimal::Decimal> {
    record.cost.price.as_ref().map(|price| price.usd_per_hour)
}

fn file_of(record: &Record) -> String {
    record.imported.as_ref().map_or_else(String::new, |of| printable(&of.file))
}

/// The JSON files below a folder by name with their sizes, without the replicates of gates.
fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>, Error> {
    let mut found = Vec::new();
    walk(folder, 0, &mut HashSet::new(), &mut found)?;
    Ok(found)
}

fn walk(
    folder: &Path,
    depth: usize,
    entered: &mut HashSet<PathBuf>,
    found: &mut Vec<(PathBuf, u64)>,
) -> Result<(), Error> {
    if folder.canonicalize().is_ok_and(|folder| !entered.insert(folder)) {
        return Ok(());
    }
    let failed =
        |error: std::io::Error| Error::Unreadable { path: folder.to_owned(), reason: error.to_string() };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    for path in paths {
        let Ok(about) = fs::metadata(&path) else { continue };
        if about.is_dir() {
            let gate = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gate-"));
            if depth < DEEPEST && !gate {
                walk(&path, depth + 1, entered, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "json") && !is_list_beside(&path) {
            found.push((path, about.len()));
        }
    }
    Ok(())
}
