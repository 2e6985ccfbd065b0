//! The history of a store: each series with the points where its level shifted, and which of them are acknowledged.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::label::is_commit;
use super::store::{Point, Series, Store};
use crate::base::failure::Usage;
use crate::base::known::{self, Known};
use crate::base::stats::{ChangeRules, change_points, points_needed, smallest_step};
use crate::base::text::count;

/// File of acknowledged changes, in the store's folder.
pub const ACKNOWLEDGED: &str = "acknowledged.toml";

/// An acknowledged change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledged {
    /// Label of the first point of the new level: a commit.
    pub label: String,
    /// Part of the metric's name with its cell; all metrics if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What is known about it.
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
#[derive(Debug, Clone, PartialEq, known::Serialize)]
pub struct Line {
    /// `record`, `gate` or `micro`.
    pub kind: String,
    /// The series' key.
    pub series_key: String,
    /// What was measured on which device, for a reader; `null` if no file states it.
    pub about: Option<String>,
    /// Metric with its cell.
    pub metric: String,
    /// Whether higher is better.
    pub more_is_better: bool,
    /// Number of points.
    pub n: usize,
    /// First and last timestamp.
    pub span: [String; 2],
    /// Where the level shifted, in order.
    pub changes: Vec<Change>,
    /// Minimum number of points to prove a step, however large.
    pub points_needed: usize,
    /// Significance level of the test.
    pub p: f64,
    /// Smallest step, as a fraction of the last level, that would be found four times out of five in the middle of the last
    /// points, at most 50; `null` if there are too few to prove any.
    pub smallest_step: Known<f64>,
}

/// A point where the level shifted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Index of the first point of the new level.
    pub at: usize,
    /// Label and timestamp of the last point before.
    pub from: [String; 2],
    /// Label and timestamp of the first point of the new level.
    pub to: [String; 2],
    /// Median before.
    pub before: f64,
    /// Median after.
    pub after: f64,
    /// Slowdown as a gate counts it: 0.05 is 5% more time.
    pub slowdown: f64,
    /// Share of permutations of the same values with a split as good.
    pub p: f64,
    /// The note on it, if it is acknowledged.
    pub acknowledged: Option<String>,
}

impl Line {
    /// Slowdowns that are not acknowledged.
    pub fn unknown_slowdowns(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.slowdown > 0.0 && change.acknowledged.is_none())
    }

    /// Whether it has enough points to prove a step of any size.
    pub fn can_see(&self) -> bool {
        self.n >= self.points_needed
    }
}

/// Analyses a series.
///
/// # Errors
/// [`Error`] if the index fails.
pub fn line(
    store: &Store,
    series: &Series,
    rules: &ChangeRules,
    known: &[Acknowledged],
) -> Result<(Line, Vec<Point>), Error> {
    let points = store.points(series)?;
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    // A gate's point is a ratio of times, a micro-benchmark's a time.
    let more_is_better = series.kind == "record" && series.metric.contains("_per_second");
    let place = |point: &Point| [point.label.clone(), point.created.clone()];
    let found = change_points(&values, rules);
    let needed = points_needed(rules);
    let n = count(points.len(), "point");
    let smallest_step = if points.len() < needed {
        Err(format!("{n}: no step of any size can be proven at p = {}; {needed} are needed", rules.p))
    } else {
        smallest_step(&values, &found, rules)
            .ok_or_else(|| format!("{n}: the smallest detectable step is unknown"))
    };
    let changes = found.into_iter().map(|found| {
        let to = place(&points[found.at]);
        let ratio = if more_is_better { found.before / found.after } else { found.after / found.before };
        let acknowledged = known
            .iter()
            .find(|known| {
                same_commit(&known.label, &to[0])
                    && known.metric.as_ref().is_none_or(|part| series.metric.contains(part.as_str()))
            })
            .map(|known| known.note.clone().unwrap_or_else(|| "known".to_owned()));
        Change {
            at: found.at,
            from: place(&points[found.at - 1]),
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
        about: series.about.clone(),
        metric: series.metric.clone(),
        more_is_better,
        n: points.len(),
        span: [moment(points.first()), moment(points.last())],
        changes: changes.collect(),
        points_needed: needed,
        p: rules.p,
        smallest_step: smallest_step.into(),
    };
    Ok((line, points))
}

/// Whether two labels name the same program: they are equal, or both are the same commit, one of them with more digits or
/// with words after it.
fn same_commit(a: &str, b: &str) -> bool {
    // Words may follow a commit, such as a build number.
    let digits = |label: &'_ str| label.split(' ').next().unwrap_or_default().len();
    let (short, long) = if digits(a) <= digits(b) { (a, b) } else { (b, a) };
    let short = short.split(' ').next().unwrap_or_default();
    a == b || (is_commit(short) && long.starts_with(short))
}

/// Rejects a label at which none of these changes begins: acknowledging it would have no effect.
///
/// # Errors
/// [`Error::Usage`] with the labels that there are.
pub fn begins<'a>(label: &str, lines: impl IntoIterator<Item = &'a Line>) -> Result<(), Error> {
    let mut all: Vec<&str> =
        lines.into_iter().flat_map(|line| &line.changes).map(|change| change.to[0].as_str()).collect();
    if all.iter().any(|found| same_commit(label, found)) {
        return Ok(());
    }
    all.sort_unstable();
    all.dedup();
    let reason = match &all[..] {
        [] => "none of the selected series has a change".to_owned(),
        _ => format!("no change begins at `{label}`; changes begin at {}", all.join(", ")),
    };
    Err(Usage::new("--acknowledge", reason).into())
}

/// The changes acknowledged in this folder.
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

/// Appends an acknowledged change.
///
/// # Errors
/// [`Error`] if the file cannot be read or written.
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "3f2a91c0d17e5b6a7c8d9e0f1a2b3c4d5e6f7a8b";

    fn line(labels: &[&str]) -> Line {
        let change = |label: &&str| Change {
            at: 3,
            from: ["0".to_owned(), String::new()],
            to: [(*label).to_owned(), String::new()],
            before: 1.0,
            after: 1.1,
            slowdown: 0.1,
            p: 0.001,
            acknowledged: None,
        };
        Line {
            kind: "gate".into(),
            series_key: "s".into(),
            about: None,
            metric: "decode_tokens_per_second tg32".into(),
            more_is_better: false,
            n: 9,
            span: [String::new(), String::new()],
            changes: labels.iter().map(change).collect(),
            points_needed: 14,
            p: 0.001,
            smallest_step: Known::unknown("not looked for"),
        }
    }

    #[test]
    fn a_commit_is_the_same_with_more_digits_or_fewer() {
        for label in [SHA, &SHA[..12], &SHA[..7], "3f2a91c0d17e with 10% planted"] {
            assert!(same_commit(label, &SHA[..12]) && same_commit(&SHA[..12], label), "{label}");
        }
        for label in ["", "3", &SHA[..6], "3f2a91d"] {
            assert!(!same_commit(label, &SHA[..12]), "{label}");
        }
        // Versions are not commits: a shared prefix does not make them equal.
        assert!(!same_commit("0.1.1", "0.1.10") && same_commit("0.1.1", "0.1.1"));
    }

    #[test]
    fn a_label_without_a_change_is_refused_with_those_that_there_are() {
        let lines = [line(&["3f2a91c0d17e"]), line(&["aaaaaaaaaaaa", "3f2a91c0d17e"])];
        assert!(begins(SHA, &lines).is_ok());
        for wrong in ["", "bbbbbbb"] {
            let said = begins(wrong, &lines).expect_err("none").to_string();
            assert!(said.contains("changes begin at 3f2a91c0d17e, aaaaaaaaaaaa"), "{said}");
        }
        assert!(begins(SHA, &[line(&[])]).expect_err("none").to_string().contains("has a change"));
    }
}
