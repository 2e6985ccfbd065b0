//! Writes a record once: a temporary file in the same folder, then a link under the final name.
//!
//! The link fails when the name is taken, so nothing is ever overwritten, and a reader never sees half
//! a record. The run's unique id is in the name, so two runs at once do not meet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{Error, Record};

/// Most raw samples of one measurement that stay inside the record.
pub const INLINE_SAMPLES: usize = 512;

/// Makes sure that records can be written to `folder`, before anything is measured.
///
/// # Errors
/// [`Error::Write`] when the folder cannot be made or a file in it cannot be created.
pub fn probe_folder(folder: &Path) -> Result<(), Error> {
    let failed = |source| Error::Write { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let probe = folder.join(format!(".infercost-probe-{}", std::process::id()));
    let written = File::create_new(&probe).and_then(|mut file| file.write_all(b"probe"));
    let removed = fs::remove_file(&probe);
    written.and(removed).map_err(failed)
}

/// Writes `record` and its sidecar files to `folder` and returns the record's path.
///
/// # Errors
/// [`Error::Write`]; no half-written file is left under the record's name.
pub fn write(record: &Record, folder: &Path, stem: &str) -> Result<PathBuf, Error> {
    let mut record = record.clone();
    let traces = record.energy.traces.iter_mut().flat_map(|trace| [&mut trace.seconds, &mut trace.values]);
    for samples in record.measurements.iter_mut().map(|m| &mut m.samples).chain(traces) {
        let Some(values) = samples.values.take_if(|values| values.len() > INLINE_SAMPLES) else { continue };
        let mut text = to_json(&values).map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        text.push('\n');
        let name = format!("samples-{}.json", &blake3::hash(text.as_bytes()).to_hex()[..32]);
        let path = folder.join(&name);
        // Named by its content: when it is there already, it is the same.
        if !path.exists() {
            write_new(&path, text.as_bytes()).or_else(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(Error::Write { path, source }),
            })?;
        }
        samples.values_reason = Some(format!("{} samples, kept in `file`", values.len()));
        samples.file = Some(name);
    }
    let path = folder.join(format!("{stem}.json"));
    let mut text = to_json(&record).map_err(|source| Error::Write { path: path.clone(), source })?;
    text.push('\n');
    write_new(&path, text.as_bytes()).map_err(|source| Error::Write { path: path.clone(), source })?;
    Ok(path)
}

/// A record as the text that is stored.
///
/// # Errors
/// When a value has no JSON form; none of the record's types has such a value.
pub fn to_json(value: &impl serde::Serialize) -> io::Result<String> {
    serde_json::to_string_pretty(value).map_err(io::Error::other)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
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
