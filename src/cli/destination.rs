//! Where the record of a run goes: a folder, a file or stdout; and what llama-bench's `-o json` prints.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use crate::record::{self, Record};
use crate::report::exchange::RowForm;
use crate::run::seal;

/// Folder for records when none is named.
const RESULTS: &str = "results";
/// Names of formats that are not written here; a folder of that name is hardly ever meant.
const FORMATS: [&str; 6] = ["sql", "markdown", "html", "yaml", "text", "table"];
/// Endings of files that a record is not.
const ENDINGS: [&str; 6] = ["jsonl", "md", "csv", "sql", "html", "txt"];

/// `--output` of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Destination {
    /// This folder, under a name of the record's own.
    Folder(PathBuf),
    /// This file.
    File(PathBuf),
    /// Stdout alone.
    Stdout,
    /// Stdout gets llama-bench's rows; the record is kept in `results/`.
    Rows(RowForm),
}

impl Destination {
    /// Understands what was typed after `--output`.
    ///
    /// # Errors
    /// One sentence: a format that is not written, a file that no record is.
    pub(super) fn parse(typed: OsString) -> Result<Self, String> {
        let path = PathBuf::from(typed);
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if path.is_dir() {
            return Ok(Self::Folder(path));
        }
        let word = path.to_str().unwrap_or_default();
        if let Some(form) = RowForm::named(word) {
            return Ok(Self::Rows(form));
        }
        if FORMATS.contains(&word) {
            return Err(format!(
                "rows are written as json, jsonl, csv or md; a folder called {word} is `./{word}`"
            ));
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if ending == "json" {
            return Ok(Self::File(path));
        }
        if ENDINGS.contains(&ending) {
            return Err("a record's file ends in .json. llama-bench's rows go to stdout: `-o json`, `jsonl`, `csv` or `md`, then `> FILE`".to_owned());
        }
        Ok(Self::Folder(path))
    }

    /// Whether stdout is a machine's.
    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout | Self::Rows(_))
    }

    /// The form of llama-bench's rows, when those were asked for.
    pub(super) fn rows(&self) -> Option<RowForm> {
        if let Self::Rows(form) = self { Some(*form) } else { None }
    }

    /// Makes sure, before anything is measured, that the record can be kept.
    ///
    /// # Errors
    /// [`record::Error::Write`], also where the file is there already.
    pub(super) fn probe(&self) -> Result<(), record::Error> {
        let Some((folder, file)) = self.place() else { return Ok(()) };
        if let Some(path) = file.filter(|path| path.exists()) {
            let there = io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it already exists, and a record is never overwritten",
            );
            return Err(record::Error::WriteTo { flag: "--output", path: path.to_owned(), source: there });
        }
        record::write::probe_folder(folder)
    }

    /// Writes the record and says where; `None` where stdout alone gets it.
    ///
    /// # Errors
    /// [`record::Error::Write`].
    pub(super) fn keep(&self, record: &Record) -> Result<Option<PathBuf>, record::Error> {
        let Some((folder, file)) = self.place() else { return Ok(None) };
        let named = file.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
        record::write::write(record, folder, &named.unwrap_or_else(|| seal::stem(record))).map(Some)
    }

    /// The folder, and the file in it where one is named.
    fn place(&self) -> Option<(&Path, Option<&Path>)> {
        match self {
            Self::Stdout => None,
            Self::Rows(_) => Some((Path::new(RESULTS), None)),
            Self::Folder(folder) => Some((folder, None)),
            Self::File(file) => {
                let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
                Some((folder.unwrap_or(Path::new(".")), Some(file)))
            }
        }
    }
}

/// A folder, where a command writes several files.
///
/// # Errors
/// One sentence where a format or a file is named.
pub(super) fn folder(typed: OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(&typed);
    match Destination::parse(typed)? {
        Destination::Folder(_) | Destination::Stdout => Ok(path),
        Destination::Rows(_) => Err("it reads like a format; name a folder".to_owned()),
        Destination::File(_) => Err("it reads like a file; name a folder".to_owned()),
    }
}

/// Where records go, for a command that writes no rows.
///
/// # Errors
/// One sentence where a format is named.
pub(super) fn of_records(typed: OsString) -> Result<Destination, String> {
    match Destination::parse(typed)? {
        Destination::Rows(_) => {
            Err("it reads like a format, and records are always JSON; name a folder or FILE.json".to_owned())
        }
        destination => Ok(destination),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_format_a_file_or_a_folder() {
        let rows = |word| Destination::Rows(RowForm::named(word).expect("a form"));
        let folder = |path: &str| Destination::Folder(path.into());
        for (typed, expected) in [
            ("-", Destination::Stdout),
            ("json", rows("json")),
            ("jsonl", rows("jsonl")),
            ("csv", rows("csv")),
            ("md", rows("md")),
            ("./json", folder("./json")),
            ("runs", folder("runs")),
            ("a/b.json", Destination::File("a/b.json".into())),
            ("v1.2", folder("v1.2")),
        ] {
            assert_eq!(Destination::parse(typed.into()), Ok(expected), "{typed}");
        }
        for wrong in ["sql", "markdown", "rows.csv", "rows.md"] {
            assert!(Destination::parse(wrong.into()).is_err(), "{wrong}");
        }
        assert!(super::folder("json".into()).is_err() && super::folder("x.json".into()).is_err());
        assert_eq!(super::folder("results".into()), Ok("results".into()));
        assert!(of_records("json".into()).is_err());
        assert_eq!(of_records("x.json".into()), Ok(Destination::File("x.json".into())));
    }

    #[test]
    fn a_file_lies_in_its_folder() {
        let file = Destination::File("x.json".into());
        assert_eq!(file.place(), Some((Path::new("."), Some(Path::new("x.json")))));
    }
}
