//! The history of a store: each series with the places where its level moved, and which of them are known.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::label::is_commit;
use super::store::{Point, Series, Store};
use crate::base::failure::Usage;
use crate::base::stats::{ChangeRules, change_points, points_needed, smallest_step};

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
    /// What was measured on what, for a reader; `null` where no file says it.
    pub about: Option<String>,
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
    /// Fewest points with which a step can be proven, however large it is.
    pub points_needed: usize,
    /// Level of the test.
    pub p: f64,
    /// Smallest step, as a share of the last level, that would be found four times of five halfway through the last
    /// points, 50 at most; `null` when they are too few to prove any.
    pub smallest_step: Option<f64>,
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
    /// Share of the orders of the same values with a split as good.
    pub p: f64,
    /// What is known of it, when it is known.
    pub acknowledged: Option<String>,
}

impl Line {
    /// Changes for the worse that nobody knows of.
    pub fn unknown_slowdowns(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.slowdown > 0.0 && change.acknowledged.is_none())
    }

    /// Whether a step of any size could be proven in it.
    pub fn can_see(&self) -> bool {
        self.n >= self.points_needed
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
    let found = change_points(&values, rules);
    let smallest_step = smallest_step(&values, &found, rules);
    let changes = found.into_iter().map(|found| {
        let to = of(&points[found.at]);
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
        about: series.about.clone(),
        metric: series.metric.clone(),
        more_is_better,
        n: points.len(),
        span: [moment(points.first()), moment(points.last())],
        changes: changes.collect(),
        points_needed: points_needed(rules),
        p: rules.p,
        smallest_step,
    };
    Ok((line, points))
}

/// Whether two labels name one program: they are the same, or one is a commit and the other the same commit with more
/// digits or with words behind it.
fn same_commit(a: &str, b: &str) -> bool {
    // Words stand after a commit: a build's number, what was planted.
    let digits = |label: &'_ str| label.split(' ').next().unwrap_or_default().len();
    let (short, long) = if digits(a) <= digits(b) { (a, b) } else { (b, a) };
    let short = short.split(' ').next().unwrap_or_default();
    a == b || (is_commit(short) && long.starts_with(short))
}

/// Refuses a label at which no change of these begins: a note of it would say nothing, now or later.
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
        [] => "no series that is looked at here has a change".to_owned(),
        _ => format!("no change begins with `{label}`; they begin with {}", all.join(", ")),
    };
    Err(Usage::new("--acknowledge", reason).into())
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
            smallest_step: None,
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
        // Versions are no commits: one of the two is not the beginning of the other.
        assert!(!same_commit("0.1.1", "0.1.10") && same_commit("0.1.1", "0.1.1"));
    }

    #[test]
    fn a_label_without_a_change_is_refused_with_those_that_there_are() {
        let lines = [line(&["3f2a91c0d17e"]), line(&["aaaaaaaaaaaa", "3f2a91c0d17e"])];
        assert!(begins(SHA, &lines).is_ok());
        for wrong in ["", "bbbbbbb"] {
            let said = begins(wrong, &lines).expect_err("none").to_string();
            assert!(said.contains("they begin with 3f2a91c0d17e, aaaaaaaaaaaa"), "{said}");
        }
        assert!(begins(SHA, &[line(&[])]).expect_err("none").to_string().contains("has a change"));
    }
}
