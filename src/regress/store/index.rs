//! The index of a folder: updated when it is opened, rebuilt if its format is another version's.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::entry::{self, Found, Point};
use crate::record::write::is_list_beside;
use crate::regress::Error;

/// Version of the index format; an index of another version is rebuilt.
const FORM: i64 = 7;
/// Why a file is excluded: it is one of ours but cannot be read, or a check found it invalid.
const BROKEN: i64 = 1;
const INVALID: i64 = 2;
/// A larger file is not a record.
const MOST_BYTES: u64 = 64 << 20;
/// Maximum depth of nested folders.
const DEEPEST: usize = 8;

/// A folder with its index.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    index: Connection,
}

/// What opening the store did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synced {
    /// Files that were read.
    pub read: usize,
    /// Files that had not changed.
    pub known: usize,
    /// Files that are gone.
    pub gone: usize,
    /// Files that are ours but cannot be read, changed or not, with the reason.
    pub broken: Vec<(PathBuf, String)>,
    /// Records with a failed check, changed or not.
    pub invalid: Vec<PathBuf>,
    /// Files with the same content as another one, and the one that counts.
    pub copies: Vec<(PathBuf, PathBuf)>,
    /// Ids shared by several different records, and how many; each of them counts.
    pub same_id: Vec<(String, usize)>,
    /// Records of imported files without a date, changed or not; they count at the time of their import.
    pub undated: Vec<PathBuf>,
}

/// One line of a history: one metric of one series.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// `record`, `gate` or `micro`.
    pub kind: String,
    /// The series' key.
    pub key: String,
    /// Metric with its cell.
    pub metric: String,
    /// What was measured on which device, for a reader, if the newest file states it.
    pub about: Option<String>,
    /// Number of points.
    pub points: usize,
}

impl Store {
    /// Opens the store of `folder`, with its index under `cache`; `reindex` discards the index first.
    ///
    /// # Errors
    /// [`Error::NoStore`] without the folder, [`Error::Io`] if something cannot be read. An unusable index is rebuilt.
    pub fn open(folder: &Path, cache: &Path, reindex: bool) -> Result<(Self, Synced), Error> {
        let Ok(folder) = folder.canonicalize() else {
            return Err(Error::NoStore { path: folder.to_owned() });
        };
        let name = blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex();
        let file = cache.join("index").join(format!("{}.sqlite", &name[..16]));
        if !folder.is_dir() {
            let reason = "this is a file; a history needs a folder of records and gates".to_owned();
            return Err(Error::Unusable { path: folder, reason });
        }
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
        }
        if reindex {
            remove(&file)?;
        }
        let index = if let Ok(index) = connect(&file) {
            index
        } else {
            // Whatever is wrong with the index, deleting it loses nothing.
            remove(&file)?;
            connect(&file).map_err(|error| unusable(&file, &error))?
        };
        let mut store = Self { folder, index };
        let synced = store.sync().map_err(|error| match error {
            SyncError::Files(error) => error,
            SyncError::Index(error) => unusable(&file, &error),
        })?;
        Ok((store, synced))
    }

    fn sync(&mut self) -> Result<Synced, SyncError> {
        let mut synced = Synced::default();
        let change = self.index.transaction()?;
        {
            let mut known = change.prepare("SELECT id, size, modified FROM files WHERE path = ?1")?;
            let mut add_file =
                change.prepare("INSERT INTO files (path, size, modified) VALUES (?1, ?2, ?3)")?;
            let mut add_series =
                change.prepare("INSERT OR IGNORE INTO series (kind, key, metric) VALUES (?1, ?2, ?3)")?;
            let mut tell =
                change.prepare("UPDATE series SET about = ?2 WHERE id = ?1 AND about IS NOT ?2")?;
            let mut find_series =
                change.prepare("SELECT id FROM series WHERE kind = ?1 AND key = ?2 AND metric = ?3")?;
            let mut add_point = change.prepare(
                "INSERT INTO points (series, file, created, label, value, low, high) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            let mut drop_file = change.prepare("DELETE FROM files WHERE id = ?1")?;
            let mut drop_points = change.prepare("DELETE FROM points WHERE file = ?1")?;
            let mut identify = change.prepare("UPDATE files SET record = ?2, content = ?3 WHERE id = ?1")?;
            let mut mark_undated = change.prepare("UPDATE files SET undated = 1 WHERE id = ?1")?;
            let mut leave_out =
                change.prepare("UPDATE files SET left_out = ?2, reason = ?3 WHERE id = ?1")?;
            let mut seen: HashSet<i64> = HashSet::new();
            let mut entered = HashSet::new();
            walk(&self.folder, 0, &mut entered, &mut |path, size, modified| {
                let relative = path.strip_prefix(&self.folder).unwrap_or(path).to_string_lossy().into_owned();
                let size_now = i64::try_from(size).unwrap_or(i64::MAX);
                let before: Option<(i64, i64, i64)> = known
                    .query_row([&relative], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                    .optional()?;
                if let Some((id, size, at)) = before {
                    if (size, at) == (size_now, modified) {
                        synced.known += 1;
                        seen.insert(id);
                        return Ok(());
                    }
                    drop_points.execute([id])?;
                    drop_file.execute([id])?;
                }
                synced.read += 1;
                add_file.execute(params![relative, size_now, modified])?;
                let file = change.last_insert_rowid();
                seen.insert(file);
                // A truncated file may end within a multi-byte character.
                let bytes = fs::read(path).map_err(|source| SyncError::Files(Error::io(path)(source)))?;
                let text = String::from_utf8_lossy(&bytes);
                let found = entry::read(&text);
                if let (Ok(Found::Entry(_) | Found::Invalid), Some((id, content))) =
                    (&found, entry::identity(&text))
                {
                    identify.execute(params![file, id, content])?;
                }
                let entry = match found {
                    Ok(Found::Entry(entry)) => entry,
                    Ok(Found::Nothing) => return Ok(()),
                    Ok(Found::Invalid) => {
                        leave_out.execute(params![file, INVALID, ""])?;
                        return Ok(());
                    }
                    Err(reason) => {
                        leave_out.execute(params![file, BROKEN, reason])?;
                        return Ok(());
                    }
                };
                if entry.undated {
                    mark_undated.execute([file])?;
                }
                for (metric, point) in entry.points {
                    add_series.execute(params![entry.kind, entry.series, metric])?;
                    let series: i64 =
                        find_series.query_row(params![entry.kind, entry.series, metric], |row| row.get(0))?;
                    if let Some(about) = &entry.about {
                        tell.execute(params![series, about])?;
                    }
                    let [low, high] =
                        point.interval.map_or([None, None], |[low, high]| [Some(low), Some(high)]);
                    add_point.execute(params![
                        series,
                        file,
                        point.created,
                        point.label,
                        point.value,
                        low,
                        high
                    ])?;
                }
                Ok(())
            })?;
            let all: Vec<i64> = change
                .prepare("SELECT id FROM files")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for gone in all.into_iter().filter(|id| !seen.contains(id)) {
                drop_points.execute([gone])?;
                drop_file.execute([gone])?;
                synced.gone += 1;
            }
            // The first by name counts, so the next one takes its place if it is removed.
            change.execute_batch(
                "UPDATE files SET copy_of = CASE WHEN content = '' THEN NULL ELSE
                     (SELECT min(other.path) FROM files other
                      WHERE other.content = files.content AND other.path < files.path) END",
            )?;
            let mut copies =
                change.prepare("SELECT path, copy_of FROM files WHERE copy_of IS NOT NULL ORDER BY path")?;
            let rows =
                copies.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            for row in rows {
                let (path, counted) = row?;
                synced.copies.push((self.folder.join(path), self.folder.join(counted)));
            }
            let mut same_id = change.prepare(
                "SELECT record, count(*) FROM files WHERE record != '' AND copy_of IS NULL
                 GROUP BY record HAVING count(*) > 1 ORDER BY record",
            )?;
            let rows = same_id.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
            for row in rows {
                let (id, count) = row?;
                synced.same_id.push((id, usize::try_from(count).unwrap_or(0)));
            }
            let mut undated = change.prepare(
                "SELECT path FROM files WHERE undated AND left_out = 0 AND copy_of IS NULL ORDER BY path",
            )?;
            let rows = undated.query_map([], |row| row.get::<_, String>(0))?;
            for path in rows {
                synced.undated.push(self.folder.join(path?));
            }
            let mut left_out = change.prepare(
                "SELECT left_out, path, reason FROM files WHERE left_out > 0 AND copy_of IS NULL ORDER BY path",
            )?;
            let rows = left_out.query_map([], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })?;
            for row in rows {
                let (why, path, reason) = row?;
                let path = self.folder.join(path);
                if why == INVALID { synced.invalid.push(path) } else { synced.broken.push((path, reason)) }
            }
        }
        change.commit()?;
        Ok(synced)
    }

    /// Every series with at least one point, gates first, then by key and metric.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the index fails.
    pub fn series(&self) -> Result<Vec<Series>, Error> {
        let list = || {
            let mut query = self.index.prepare(
                "SELECT kind, key, metric, count(*), about FROM series JOIN points ON points.series = series.id
                 JOIN files ON files.id = points.file WHERE copy_of IS NULL
                 GROUP BY series.id ORDER BY kind, key, metric",
            )?;
            let rows = query.query_map([], |row| {
                let points: i64 = row.get(3)?;
                Ok(Series {
                    kind: row.get(0)?,
                    key: row.get(1)?,
                    metric: row.get(2)?,
                    about: row.get(4)?,
                    points: usize::try_from(points).unwrap_or(0),
                })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        list().map_err(|error| unusable(&self.folder, &error))
    }

    /// The points of one series, in chronological order.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the index fails.
    pub fn points(&self, series: &Series) -> Result<Vec<Point>, Error> {
        let list = || {
            let mut query = self.index.prepare(
                "SELECT created, label, value, low, high FROM points JOIN series ON points.series = series.id
                 JOIN files ON files.id = points.file
                 WHERE kind = ?1 AND key = ?2 AND metric = ?3 AND copy_of IS NULL ORDER BY created, points.id",
            )?;
            let rows = query.query_map(params![series.kind, series.key, series.metric], |row| {
                let (low, high): (Option<f64>, Option<f64>) = (row.get(3)?, row.get(4)?);
                let interval = low.zip(high).map(|(low, high)| [low, high]);
                Ok(Point { created: row.get(0)?, label: row.get(1)?, value: row.get(2)?, interval })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        };
        list().map_err(|error| unusable(&self.folder, &error))
    }

    /// The newest verdict files of gates, at most `most`.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the index fails.
    pub fn verdicts(&self, most: usize) -> Result<Vec<PathBuf>, Error> {
        let list = || {
            let mut query = self.index.prepare(
                "SELECT path FROM files WHERE path LIKE '%verdict.json' ORDER BY modified DESC LIMIT ?1",
            )?;
            let rows =
                query.query_map([i64::try_from(most).unwrap_or(i64::MAX)], |row| row.get::<_, String>(0))?;
            rows.map(|path| path.map(|path| self.folder.join(path))).collect::<Result<Vec<_>, _>>()
        };
        list().map_err(|error| unusable(&self.folder, &error))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

enum SyncError {
    Files(Error),
    Index(rusqlite::Error),
}

impl From<rusqlite::Error> for SyncError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error)
    }
}

fn unusable(file: &Path, error: &rusqlite::Error) -> Error {
    Error::Unusable {
        path: file.to_owned(),
        reason: format!("the index cannot be used ({error}); rebuild it with --reindex"),
    }
}

fn remove(file: &Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Io { path: name.into(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn connect(file: &Path) -> Result<Connection, rusqlite::Error> {
    let index = Connection::open(file)?;
    // It can be rebuilt, so it need not survive a power failure; a second reader waits for the first.
    index.execute_batch(
        "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA busy_timeout = 30000;",
    )?;
    let form: i64 = index.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if form != 0 && form != FORM {
        return Err(rusqlite::Error::InvalidQuery);
    }
    index.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL, size INTEGER, modified INTEGER,
             left_out INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', undated INTEGER NOT NULL DEFAULT 0,
             record TEXT NOT NULL DEFAULT '', content TEXT NOT NULL DEFAULT '', copy_of TEXT);
         CREATE INDEX IF NOT EXISTS files_of_content ON files (content, path);
         CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, kind TEXT, key TEXT, metric TEXT, about TEXT,
             UNIQUE (kind, key, metric));
         CREATE TABLE IF NOT EXISTS points (id INTEGER PRIMARY KEY, series INTEGER, file INTEGER, created TEXT, label TEXT,
             value REAL, low REAL, high REAL);
         CREATE INDEX IF NOT EXISTS points_of_series ON points (series, created);
         CREATE INDEX IF NOT EXISTS points_of_file ON points (file);
         PRAGMA user_version = {FORM};"
    ))?;
    Ok(index)
}

type Visit<'a> = dyn FnMut(&Path, u64, i64) -> Result<(), SyncError> + 'a;

/// Every JSON file below `folder`; of a gate's folder only the verdict, which already includes the replicates. A folder
/// reached a second time through a link is not entered again.
fn walk(
    folder: &Path,
    depth: usize,
    entered: &mut HashSet<PathBuf>,
    visit: &mut Visit<'_>,
) -> Result<(), SyncError> {
    if folder.canonicalize().is_ok_and(|folder| !entered.insert(folder)) {
        return Ok(());
    }
    let failed = |source| SyncError::Files(Error::io(folder)(source));
    let verdict = folder.join("verdict.json");
    let is_gate = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gate-"));
    let mut paths = Vec::new();
    if is_gate {
        paths.extend(verdict.exists().then_some(verdict));
    } else {
        for entry in fs::read_dir(folder).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
        paths.sort();
    }
    for path in paths {
        // A dangling link, or a file removed meanwhile.
        let Ok(about) = fs::metadata(&path) else { continue };
        if about.is_dir() {
            if depth < DEEPEST {
                walk(&path, depth + 1, entered, visit)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "json")
            && about.len() <= MOST_BYTES
            && !is_list_beside(&path)
        {
            let modified = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let modified = modified.and_then(|at| i64::try_from(at.as_nanos()).ok()).unwrap_or(0);
            visit(&path, about.len(), modified)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(night: usize, rate: f64) -> String {
        serde_json::json!({
            "schema": "infercost.record/1",
            "created": format!("2026-01-{:02}T03:00:00Z", night + 1),
            "tool": { "version": "0.1.0", "commit": format!("c{night:039}"), "binary_blake3": null },
            "fingerprint": { "series_key": "s" },
            "validity": { "verdict": "valid" },
            "measurements": [
                { "metric": "decode_tokens_per_second", "value": rate, "ci95": [rate - 1.0, rate + 1.0],
                  "cell": { "prompt_tokens": 0, "output_tokens": 32, "batch": 1, "depth": 0, "phase": "decode" } },
                { "metric": "peak_memory_bytes", "value": 1.0, "ci95": null, "cell": null },
            ],
        })
        .to_string()
    }

    #[test]
    fn the_index_follows_the_folder() {
        let (folder, cache) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let path = |name: &str| folder.path().join(name);
        for night in 0..3 {
            fs::write(path(&format!("{night}.json")), record(night, 100.0 + night as f64)).expect("written");
        }
        fs::write(path("notes.json"), "{\"mine\": 1}").expect("written");
        fs::write(path("broken.json"), "{\"schema\": \"infercost.record/1\"}").expect("written");
        let invalid = record(9, 9.0).replace("\"valid\"", "\"invalid\"");
        fs::write(path("invalid.json"), invalid).expect("written");
        fs::write(path("samples-d3897d1ed8142006b2a161eab34a1e55.json"), "[0.25]").expect("written");
        let (store, synced) = Store::open(folder.path(), cache.path(), false).expect("opened");
        assert_eq!((synced.read, synced.known, synced.gone), (6, 0, 0));
        let left_out = |synced: &Synced| {
            let broken: Vec<&str> = synced.broken.iter().map(|(_, reason)| reason.as_str()).collect();
            assert!(broken.len() == 2 && broken[0].contains("created"), "{synced:?}");
            assert!(broken[1].contains("has no `schema`"), "{synced:?}");
            assert_eq!(synced.invalid, [folder.path().canonicalize().expect("there").join("invalid.json")]);
        };
        left_out(&synced);
        let all = store.series().expect("indexed");
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].metric.as_str(), all[0].points), ("decode_tokens_per_second tg32", 3));
        let points = store.points(&all[0]).expect("indexed");
        assert_eq!(points.iter().map(|point| point.value).collect::<Vec<_>>(), [100.0, 101.0, 102.0]);
        assert_eq!(points[1].label, "c00000000000");
        drop(store);

        fs::remove_file(path("0.json")).expect("removed");
        fs::write(path("1.json"), record(1, 90.5)).expect("changed");
        let (store, synced) = Store::open(folder.path(), cache.path(), false).expect("opened");
        assert_eq!((synced.read, synced.known, synced.gone), (1, 4, 1));
        // Said again, though the files are known.
        left_out(&synced);
        let points = store.points(&store.series().expect("indexed")[0]).expect("indexed");
        assert_eq!(points.iter().map(|point| point.value).collect::<Vec<_>>(), [90.5, 102.0]);
        drop(store);
        // An index that is not a database is rebuilt.
        let file = fs::read_dir(cache.path().join("index"))
            .expect("there")
            .next()
            .expect("one")
            .expect("one")
            .path();
        fs::write(&file, "no database, but long enough to look like something that could be one")
            .expect("spoilt");
        let (store, synced) = Store::open(folder.path(), cache.path(), false).expect("opened");
        assert_eq!((synced.read, store.series().expect("indexed")[0].points), (5, 2));
    }

    #[test]
    fn a_record_that_is_there_twice_is_one_point() {
        let (folder, cache) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("old")).expect("a folder");
        fs::write(path("a.json"), record(0, 100.0)).expect("written");
        // A copy under another name and with another layout, one in a folder, a link to it, and a link round.
        let value: serde_json::Value = serde_json::from_str(&record(0, 100.0)).expect("JSON");
        fs::write(path("b.json"), serde_json::to_string_pretty(&value).expect("JSON")).expect("written");
        fs::write(path("old/a.json"), record(0, 100.0)).expect("written");
        fs::write(path("old/c.json"), record(1, 101.0)).expect("written");
        std::os::unix::fs::symlink(path("a.json"), path("link.json")).expect("a link");
        std::os::unix::fs::symlink(folder.path(), path("old/round")).expect("a link");
        let opened = || Store::open(folder.path(), cache.path(), false).expect("opened");
        let values = |store: &Store| -> Vec<f64> {
            let all = store.series().expect("indexed");
            assert_eq!(all.len(), 1);
            let points = store.points(&all[0]).expect("indexed");
            assert_eq!(points.len(), all[0].points);
            points.iter().map(|point| point.value).collect()
        };
        let (store, synced) = opened();
        assert_eq!(values(&store), [100.0, 101.0]);
        let root = folder.path().canonicalize().expect("there");
        let copies: Vec<PathBuf> = synced.copies.iter().map(|(path, _)| path.clone()).collect();
        assert_eq!(copies, ["b.json", "link.json", "old/a.json"].map(|name| root.join(name)));
        assert!(synced.copies.iter().all(|(_, counted)| *counted == root.join("a.json")), "{synced:?}");
        drop(store);
        // Reported again although nothing changed; if the one that counts is removed, another takes its place.
        assert_eq!(opened().1.copies.len(), 3);
        fs::remove_file(path("a.json")).expect("removed");
        let (store, synced) = opened();
        assert_eq!((values(&store), synced.copies.len()), (vec![100.0, 101.0], 1));
    }

    #[test]
    fn different_records_of_one_id_are_named_and_counted() {
        let (folder, cache) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for night in 0..2 {
            let text = record(night, 100.0).replacen('{', "{\"id\": \"same\",", 1);
            fs::write(folder.path().join(format!("{night}.json")), text).expect("written");
        }
        let (store, synced) = Store::open(folder.path(), cache.path(), false).expect("opened");
        assert_eq!(synced.same_id, [("same".to_owned(), 2)]);
        assert_eq!(store.series().expect("indexed")[0].points, 2);
    }

    #[test]
    fn what_is_no_record_is_named_however_it_is_broken() {
        let (folder, cache) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let text =
            "{\"schema\": \"infercost.record/1\", \"created\": \"2026-01-01T00:00:00Z\", \"note\": \"µ\"}";
        let cut = text.find('µ').expect("there") + 1;
        fs::write(folder.path().join("cut.json"), &text.as_bytes()[..cut]).expect("written");
        fs::write(folder.path().join("notes.json"), "{\"mine\": ").expect("written");
        fs::write(folder.path().join("list.json"), "{\"list\": [\"infercost.record/1\"]}").expect("written");
        fs::write(folder.path().join("empty.json"), "{}").expect("written");
        fs::write(folder.path().join("junk.json"), "junk").expect("written");
        let (_, synced) = Store::open(folder.path(), cache.path(), false).expect("opened");
        for name in ["empty.json", "junk.json"] {
            assert!(synced.broken.iter().any(|(path, _)| path.ends_with(name)), "{synced:?}");
        }
        let reason =
            |name: &str| synced.broken.iter().find(|(path, _)| path.ends_with(name)).expect(name).1.as_str();
        assert_eq!(synced.broken.len(), 5, "{synced:?}");
        assert!(reason("cut.json").contains("EOF") && reason("notes.json").contains("EOF"), "{synced:?}");
        assert!(reason("list.json").contains("has no `schema`"), "{synced:?}");
    }

    #[test]
    fn a_gates_replicates_are_not_counted_beside_its_verdict() {
        let (folder, cache) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let gate = folder.path().join("gates/gate-0123");
        fs::create_dir_all(&gate).expect("a folder");
        fs::write(gate.join("01-A.json"), record(0, 100.0)).expect("written");
        let verdict = serde_json::json!({
            "schema": "infercost.gate/1", "created": "2026-01-01T00:00:00Z", "label": "abc", "series_key": "s",
            "decision": { "findings": [{ "metric": "decode_tokens_per_second tg32", "slowdown": 0.02, "interval": [0.01, 0.03] }] },
        });
        fs::write(gate.join("verdict.json"), verdict.to_string()).expect("written");
        let (store, synced) = Store::open(folder.path(), cache.path(), false).expect("opened");
        assert_eq!(synced.read, 1);
        let all = store.series().expect("indexed");
        assert_eq!((all.len(), all[0].kind.as_str()), (1, "gate"));
        let point = &store.points(&all[0]).expect("indexed")[0];
        assert!((point.value - 1.02).abs() < 1e-12 && point.label == "abc");
        assert_eq!(
            store.verdicts(10).expect("indexed"),
            [store.folder().join("gates/gate-0123/verdict.json")]
        );
    }
}
