//! Writes a record once: a temporary file in the same folder, then a link under the final name.
//!
//! The link fails when the name is taken, so nothing is ever overwritten, and a reader never sees half
//! a record. The run's unique id is in the name, so two runs at once do not meet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{Error, Measurement, Record, Samples};
use crate::base::known::Known;

/// Most raw samples of one measurement that stay inside the record.
pub const INLINE_SAMPLES: usize = 512;

/// Hexadecimal digits of its content's hash in the name of a list of samples.
const HASH_DIGITS: usize = 32;

/// Makes sure that records can be written to `folder`, before anything is measured. The folder itself is made when the
/// first record is there, so a command that fails leaves none.
///
/// # Errors
/// [`Error::Write`] when a file cannot be created in it, or in the folder in which it would be made.
pub fn probe_folder(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Write { path: folder.to_owned(), source };
    let there = folder.ancestors().find(|folder| folder.exists());
    let probe = there.unwrap_or(Path::new(".")).join(format!(".infercost-probe-{}", std::process::id()));
    let written = File::create_new(&probe).and_then(|mut file| file.write_all(b"probe"));
    let removed = fs::remove_file(&probe);
    written.and(removed).map_err(failed)
}

/// How many lists of samples of `record` are too long for it and are kept next to it in `samples-<hash>.json`.
pub fn lists_beside(record: &Record) -> usize {
    let of_figures = record.measurements.iter().map(|m| &m.samples);
    let of_sensors = record.energy.traces.iter().flat_map(|trace| [&trace.seconds, &trace.values]);
    let long =
        |samples: &&Samples| samples.values.as_ref().is_some_and(|values| values.len() > INLINE_SAMPLES);
    of_figures.chain(of_sensors).filter(long).count()
}

/// Whether `path` is named like a list of samples that [`write()`] keeps next to a record: a reader of a folder of
/// records passes it over.
pub fn is_list_beside(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let hash = name.and_then(|name| name.strip_prefix("samples-")?.strip_suffix(".json"));
    hash.is_some_and(|hash| hash.len() == HASH_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// Writes `record` and its sidecar files to `folder` and returns the record's path.
///
/// # Errors
/// [`Error::Write`]; no half-written file is left under the record's name.
pub fn write(record: &Record, folder: &Path, stem: &str) -> Result<PathBuf, Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.to_owned(), source })?;
    let light = |found: &Measurement| Ok(found.with_samples(apart(&found.samples, folder)?));
    let measurements = record.measurements.iter().map(light).collect::<Result<_, Error>>()?;
    let mut light = record.with_measurements(measurements);
    for trace in &mut light.energy.traces {
        trace.seconds = apart(&trace.seconds, folder)?;
        trace.values = apart(&trace.values, folder)?;
    }
    let path = folder.join(format!("{stem}.json"));
    let written = write_new(&path, |out| {
        serde_json::to_writer_pretty(&mut *out, &light).map_err(io::Error::other)?;
        out.write_all(b"\n")
    });
    written.map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(path)
}

/// The samples as they stand in the record: in a file of their own when they are many. They may be most of memory, so they are
/// neither copied nor made a text as a whole.
fn apart(samples: &Samples, folder: &Path) -> Result<Samples, Error> {
    let Some(values) = samples.values.as_ref().filter(|values| values.len() > INLINE_SAMPLES) else {
        return Ok(samples.clone());
    };
    let failed = |path: &Path, source| Error::Write { path: path.to_owned(), source };
    let put = |out: &mut dyn io::Write| {
        serde_json::to_writer_pretty(&mut *out, values).map_err(io::Error::other)?;
        out.write_all(b"\n")
    };
    let mut hash = blake3::Hasher::new();
    put(&mut io::BufWriter::with_capacity(1 << 16, &mut hash)).map_err(|source| failed(folder, source))?;
    let name = format!("samples-{}.json", &hash.finalize().to_hex()[..HASH_DIGITS]);
    let path = folder.join(&name);
    // Named by its content: when it is there already, it is the same.
    if !path.exists() {
        write_new(&path, put).or_else(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(failed(&path, source)),
        })?;
    }
    Ok(Samples {
        values: Known::unknown(format!("{} samples, kept in `file`", values.len())),
        file: Some(name),
        unit: samples.unit.clone(),
        warmup: samples.warmup.clone(),
    })
}

/// A record as the text that is stored.
///
/// # Errors
/// When a value has no JSON form; none of the record's types has such a value.
pub fn to_json(value: &impl serde::Serialize) -> io::Result<String> {
    serde_json::to_string_pretty(value).map_err(io::Error::other)
}

fn write_new(path: &Path, put: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        let mut out = io::BufWriter::with_capacity(1 << 16, file);
        put(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(1) => {
                // A file system without links (FAT, some network ones): the name is unique anyway.
                fs::rename(&temporary, path)
            }
            other => other,
        }
    })();
    // After a rename there is nothing to remove, and a failure to tidy up is not the run's failure.
    if temporary.exists() {
        drop(fs::remove_file(&temporary));
    }
    written
}
