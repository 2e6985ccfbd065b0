//! Several records at once, named one by one or by their folder: each is taken once.
//!
//! A record is written once and has an id of its own, so a second file with the same id and the same content is a copy. Two
//! that differ and claim one id are both taken, and said to be so.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::{Error, Record, SCHEMA, read};

/// Folders inside folders that are looked into.
const DEEPEST: usize = 8;
/// A larger file in a folder is no record.
const MOST_BYTES: u64 = 64 << 20;

/// Records, each with the file that it was read from.
#[derive(Debug, Default)]
pub struct Several {
    /// In the order in which they were named; those of a folder by name.
    pub records: Vec<(PathBuf, Record)>,
    /// What was named twice.
    pub notes: Vec<String>,
}

/// Reads the records that `paths` name: files, and folders for all records in them.
///
/// # Errors
/// As [`read::read`], and [`Error::Unreadable`] for a folder without a record.
pub fn read_all(paths: &[PathBuf]) -> Result<Several, Error> {
    let mut found = Several::default();
    for path in paths {
        if !path.is_dir() {
            found.records.push((path.clone(), read::read(path)?));
            continue;
        }
        let before = found.records.len();
        for file in files(path)? {
            found.records.push((file.clone(), read::read(&file)?));
        }
        if found.records.len() == before {
            let reason = "it is a folder, and there is no record in it".to_owned();
            return Err(Error::Unreadable { path: path.clone(), reason });
        }
    }
    Ok(once(found.records))
}

/// Leaves out what is there a second time.
#[must_use]
pub fn once(records: Vec<(PathBuf, Record)>) -> Several {
    let mut found = Several::default();
    // Where the records of each id are.
    let mut known: HashMap<String, Vec<usize>> = HashMap::new();
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
                "{} and {} both say that they are {}, and differ; both are taken",
                first.display(),
                path.display(),
                record.id
            ));
        }
        same_id.push(found.records.len());
        found.records.push((path, record));
    }
    found
}

/// The records below a folder by name, without other files and the replicates of gates.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    walk(folder, 0, &mut HashSet::new(), &mut found)?;
    Ok(found)
}

fn walk(
    folder: &Path,
    depth: usize,
    entered: &mut HashSet<PathBuf>,
    found: &mut Vec<PathBuf>,
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
        } else if path.extension().is_some_and(|extension| extension == "json")
            && about.len() <= MOST_BYTES
            && says_record(&path)
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a file begins as a record does; the schema is the first field of each.
fn says_record(path: &Path) -> bool {
    const BEGIN: usize = 256;
    let Ok(bytes) = fs::read(path) else { return false };
    let begin = String::from_utf8_lossy(bytes.get(..BEGIN).unwrap_or(&bytes)).into_owned();
    begin.contains(&format!("\"{SCHEMA}\""))
        || serde_json::from_slice::<serde_json::Value>(&bytes)
            .is_ok_and(|value| value.get("schema").and_then(serde_json::Value::as_str) == Some(SCHEMA))
}
