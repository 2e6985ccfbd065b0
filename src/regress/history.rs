//! The history of a store: each series with the places where its level moved, and which of them are known.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::store::{Point, Series, Store};
use crate::base::stats::{ChangeRules, change_points};

/// Changes that somebody knows of, in the store's folder.
pub const ACKNOWLEDGED: &str = "acknowledged.toml";

/// A change somebody knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Label of the first point of the new level: a commit.
    pub label: String,
    /// Part of the metric's name with its cell; every metric when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    change: Vec<Acknowledged>,
}

/// One series and its changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// `record`, `gate` or `micro`.
    pub kind: String,
    /// The series' key.
    pub series_key: String,
    /// Metric with its cell.
    pub metric: String,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Number of points.
    pub n: usize,
    /// First and last moment.
    pub span: [String; 2],
    /// Where the level moved, in order.
    pub changes: Vec<Change>,
}

/// A place where the level moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Index of the first point of the new level.
    pub at: usize,
    /// Label and moment of the last point before.
    pub from: [String; 2],
    /// Label and moment of the first point of the new level.
    pub to: [String; 2],
    /// Median before.
    pub before: f64,
    /// Median behind.
    pub after: f64,
    /// Change for the worse as a share, as a gate counts it: 0.05 is 5% more time.
    pub slowdown: f64,
    /// Share of the random orders with a split as good.
    pub p: f64,
    /// What is known of it, when it is known.
    pub acknowledged: Option<String>,
}

impl Line {
    /// Changes for the worse that nobody knows of.
    pub fn unknown_slowdowns(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.slowdown > 0.0 && change.acknowledged.is_none())
    }
}

/// Looks a series over.
///
/// # Errors
/// [`Error`] when the index fails.
pub fn line(
    store: &Store,
    series: &Series,
    rules: &ChangeRules,
    known: &[Acknowledged],
) -> Result<(Line, Vec<Point>), Error> {
    let points = store.points(series)?;
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    // A gate's point is how many times the baseline's time was taken, a micro-benchmark's is a time.
    let more_is_better = series.kind == "record" && series.metric.contains("_per_second");
    let of = |point: &Point| [point.label.clone(), point.created.clone()];
    let changes = change_points(&values, rules).into_iter().map(|found| {
        let to = of(&points[found.at]);
        let ratio = if more_is_better { found.before / found.after } else { found.after / found.before };
        let acknowledged = known
            .iter()
            .find(|known| {
                known.label == to[0]
                    && known.metric.as_ref().is_none_or(|part| series.metric.contains(part.as_str()))
            })
            .map(|known| known.note.clone().unwrap_or_else(|| "known".to_owned()));
        Change {
            at: found.at,
            from: of(&points[found.at - 1]),
            to,
            before: found.before,
            after: found.after,
            slowdown: ratio - 1.0,
            p: found.p,
            acknowledged,
        }
    });
    let moment = |point: Option<&Point>| point.map_or_else(String::new, |point| point.created.clone());
    let line = Line {
        kind: series.kind.clone(),
        series_key: series.key.clone(),
        metric: series.metric.clone(),
        more_is_better,
        n: points.len(),
        span: [moment(points.first()), moment(points.last())],
        changes: changes.collect(),
    };
    Ok((line, points))
}

/// The changes that are known in this folder.
///
/// # Errors
/// [`Error::Unusable`] with the line that is wrong, [`Error::Io`].
pub fn acknowledged(folder: &Path) -> Result<Vec<Acknowledged>, Error> {
    let path = folder.join(ACKNOWLEDGED);
    match fs::read_to_string(&path) {
        Ok(text) => match toml::from_str::<File>(&text) {
            Ok(file) => Ok(file.change),
            Err(error) => {
                Err(Error::Unusable { path, reason: error.to_string().trim_end().replace('\n', " ") })
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// Notes that a change is known, behind what is noted already.
///
/// # Errors
/// [`Error`] when the file cannot be read or written.
pub fn acknowledge(folder: &Path, change: Acknowledged) -> Result<PathBuf, Error> {
    let path = folder.join(ACKNOWLEDGED);
    let mut all = acknowledged(folder)?;
    if !all.contains(&change) {
        all.push(change);
    }
    let text = toml::to_string(&File { change: all })
        .map_err(|error| Error::Unusable { path: path.clone(), reason: error.to_string() })?;
    super::gate::write_whole(&path, &text)?;
    Ok(path)
}
