//! Imports Criterion's results as one file of the store, so that micro-benchmarks have a history like records and gates.
//!
//! It reads criterion's output under `target/criterion` (`estimates.json` and `benchmark.json` of each benchmark) and keeps
//! the median of each with its interval, which a single disturbed sample does not shift. Absolute times belong to one
//! machine, so the series is named after the processor.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::base::sys;

/// Name and version of the object.
const SCHEMA: &str = "infercost.micro/1";
/// Maximum depth of nested folders: group, function, value.
const DEEPEST: usize = 6;

/// The times of one run of the micro-benchmarks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Micro {
    /// `infercost.micro/1`.
    pub schema: &'static str,
    /// When the last benchmark ended, in UTC (RFC 3339).
    pub created: String,
    /// The program's label: its commit.
    pub label: String,
    /// Key that must be equal for two times to be compared.
    pub series_key: String,
    /// The processor, from which the key is derived.
    pub processor: String,
    /// The benchmarks, by name.
    pub points: Vec<Time>,
}

/// The time of one benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Time {
    /// Criterion's id with its slashes: `kernels/q8_0 avx2/decode`.
    pub name: String,
    /// Median of the samples.
    pub seconds: f64,
    /// Its 95% interval.
    pub interval: [f64; 2],
}

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// Reads criterion's results in `folder`.
///
/// # Errors
/// [`Error::Missing`] without the folder, [`Error::Unusable`] if it has no result or one cannot be read.
pub fn read(folder: &Path, label: &str) -> Result<Micro, Error> {
    if !folder.is_dir() {
        return Err(Error::Missing { flag: "criterion's folder", path: folder.to_owned(), what: "folder" });
    }
    let mut found = Vec::new();
    results(folder, 0, &mut found)?;
    let mut points = Vec::new();
    let mut last = 0;
    for path in found {
        points.push(time(&path)?);
        let modified = fs::metadata(path.join(ESTIMATES)).and_then(|about| about.modified());
        let since = modified.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        last = last.max(since.map_or(0, |since| since.as_secs()));
    }
    points.sort_by(|a: &Time, b| a.name.cmp(&b.name));
    let moment = i64::try_from(last).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
    let (Some(moment), false) = (moment, points.is_empty()) else {
        let reason = "no criterion results here; create them with `cargo bench`".to_owned();
        return Err(Error::Unusable { path: folder.to_owned(), reason });
    };
    let processor = sys::cpu_model().unwrap_or_else(|| "unknown processor".to_owned());
    Ok(Micro {
        schema: SCHEMA,
        created: moment.to_string(),
        label: label.to_owned(),
        series_key: blake3::hash(processor.as_bytes()).to_hex().to_string(),
        processor,
        points,
    })
}

/// Writes the times into `store` under a name derived from their content; `false` if they exist already.
///
/// # Errors
/// [`Error::Io`].
pub fn keep(micro: &Micro, store: &Path) -> Result<(PathBuf, bool), Error> {
    let text = serde_json::to_string_pretty(micro).unwrap_or_default() + "\n";
    let folder = store.join("micro");
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let path = folder.join(format!("micro-{}.json", &blake3::hash(text.as_bytes()).to_hex()[..16]));
    if path.exists() {
        return Ok((path, false));
    }
    super::gate::write_whole(&path, text)?;
    Ok((path, true))
}

const ESTIMATES: &str = "estimates.json";

/// The `new` folders below `folder`: `base` is the previous run.
fn results(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if !path.is_dir() {
            continue;
        }
        if path.file_name().is_some_and(|name| name == "new") && path.join(ESTIMATES).is_file() {
            found.push(path);
        } else if depth < DEEPEST {
            results(&path, depth + 1, found)?;
        }
    }
    Ok(())
}

fn time(folder: &Path) -> Result<Time, Error> {
    fn parsed<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Error> {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Unusable { path: path.to_owned(), reason: error.to_string() })
    }
    let benchmark: Benchmark = parsed(&folder.join("benchmark.json"))?;
    let path = folder.join(ESTIMATES);
    let Estimates { median } = parsed(&path)?;
    let Interval { lower_bound, upper_bound } = median.confidence_interval;
    let [seconds, low, high] =
        [median.point_estimate, lower_bound, upper_bound].map(|nanoseconds| nanoseconds / 1e9);
    if !(seconds.is_finite() && seconds > 0.0) {
        let reason = format!("its median of {} ns is not a time", median.point_estimate);
        return Err(Error::Unusable { path, reason });
    }
    Ok(Time { name: benchmark.full_id, seconds, interval: [low, high] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(root: &Path, id: &str, run: &str, median: f64) {
        let folder = root.join(id.replace(' ', "_")).join(run);
        fs::create_dir_all(&folder).expect("a folder");
        let estimate = serde_json::json!({
            "point_estimate": median, "standard_error": 1.0,
            "confidence_interval": { "confidence_level": 0.95, "lower_bound": median - 2.0, "upper_bound": median + 3.0 },
        });
        let estimates = serde_json::json!({ "mean": estimate, "median": estimate, "slope": null });
        fs::write(folder.join(ESTIMATES), estimates.to_string()).expect("written");
        let benchmark = serde_json::json!({ "group_id": "g", "full_id": id, "throughput": null });
        fs::write(folder.join("benchmark.json"), benchmark.to_string()).expect("written");
    }

    #[test]
    fn the_last_run_of_each_benchmark_is_kept_once() {
        let (folder, store) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        result(folder.path(), "kernels/q8_0 avx2", "new", 1500.0);
        result(folder.path(), "kernels/q8_0 avx2", "base", 900.0);
        result(folder.path(), "clock", "new", 20.0);
        let micro = read(folder.path(), "3f2a91c").expect("results");
        let names: Vec<&str> = micro.points.iter().map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["clock", "kernels/q8_0 avx2"]);
        let point = &micro.points[1];
        assert!((point.seconds - 1.5e-6).abs() < 1e-18 && (point.interval[1] - 1.503e-6).abs() < 1e-18);
        let (path, new) = keep(&micro, store.path()).expect("kept");
        assert!(new && path.starts_with(store.path().join("micro")));
        assert_eq!(keep(&micro, store.path()).expect("kept"), (path, false));
    }

    #[test]
    fn what_is_not_there_or_no_time_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |path: &Path| read(path, "x").expect_err("nothing").to_string();
        assert!(said(&folder.path().join("nowhere")).contains("nowhere"));
        assert!(said(folder.path()).contains("cargo bench"));
        result(folder.path(), "clock", "new", 0.0);
        assert!(said(folder.path()).contains("0 ns is not a time"));
    }
}
