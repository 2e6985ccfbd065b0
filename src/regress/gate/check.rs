//! The gate's verdict from existing records.

use std::path::{Path, PathBuf};

use crate::base::failure::Usage;
use crate::record::write::is_list_beside;
use crate::record::{self, Record};
use crate::regress::Error;

use super::Read;
use super::decide::{Decision, Looks, Verdict};
use super::disturbance::{self, Disturbed};
use super::figures::{self, Margins};
use super::folder::VERDICT;
use super::result::{GateResult, Program, SCHEMA};
use super::run::{about, named};

/// Decides on the records of `baseline` and `candidate`, paired in order, in one look at level `alpha`.
///
/// Each is a record, another tool's file that `read` accepts, or a folder of them ordered by name; a gate's folder
/// provides A as baseline and B as candidate.
///
/// # Errors
/// [`Error`]; two sets that cannot be compared are not an error but a verdict.
pub fn check(
    baseline: &[PathBuf],
    candidate: &[PathBuf],
    margins: &Margins,
    alpha: f64,
    read: &Read<'_>,
) -> Result<GateResult, Error> {
    let (a, mut notes) = records(baseline, 'A', read)?;
    let (b, of_b) = records(candidate, 'B', read)?;
    notes.extend(of_b);
    let program = |given: &[PathBuf], records: &[Record]| Program {
        path: given.first().cloned().unwrap_or_default(),
        command: None,
        blake3: records
            .first()
            .filter(|record| record.imported.is_none())
            .and_then(|record| record.tool.binary_blake3.clone().into_option()),
    };
    let mut result = GateResult {
        schema: SCHEMA,
        created: crate::base::clock::wall().to_string(),
        label: b.first().and_then(named).unwrap_or_else(|| "candidate".to_owned()),
        series_key: a.first().map(|record| record.fingerprint.series_key.clone()),
        about: b.first().map(about),
        verdict: Verdict::Incomparable,
        reason: None,
        decision: None,
        looks: Looks { pairs: vec![a.len().min(b.len())], alpha },
        baseline: program(baseline, &a),
        candidate: program(candidate, &b),
        disturbed: None,
        notes,
        replicates: Vec::new(),
        folder: None,
    };
    if a.iter().chain(&b).any(figures::box_unknown) {
        result.notes.push(
            "the files do not say which machine they are from: any difference may be due to the machine"
                .to_owned(),
        );
    }
    let commands = baseline == candidate && baseline.iter().any(|folder| compares_commands(folder, &a));
    if let (true, Some((first_a, first_b))) = (commands, a.first().zip(b.first())) {
        result.notes.extend(figures::on_commands(first_a, first_b));
    }
    match decided(&a, &b, commands, margins, alpha, &mut result.disturbed) {
        Ok(decision) => {
            result.verdict = decision.verdict;
            result.decision = Some(decision);
        }
        Err(reason) => result.reason = Some(reason),
    }
    Ok(result)
}

/// `commands`: the two sides are two commands of a gate, which may differ in what they measured.
fn decided(
    a: &[Record],
    b: &[Record],
    commands: bool,
    margins: &Margins,
    alpha: f64,
    disturbed: &mut Option<Disturbed>,
) -> Result<Decision, String> {
    if a.len() != b.len() {
        return Err(format!(
            "cannot pair {} records of the baseline with {} of the candidate",
            a.len(),
            b.len()
        ));
    }
    if a.len() < 2 {
        return Err(format!(
            "{} record on each side: a single run has no replicates, and its trials share any disturbance; give at least two on each side, or run bench regress gate",
            a.len()
        ));
    }
    let all = || a.iter().chain(b);
    let pairs: Vec<[&Record; 2]> = a.iter().zip(b).map(|(a, b)| [a, b]).collect();
    let same = if commands { figures::comparable_commands(&pairs) } else { figures::comparable(all()) };
    same.and_then(|()| figures::same_clocks(all()))?;
    for record in all() {
        figures::check_valid(record).map_err(|reason| format!("{}: {reason}", record.id))?;
    }
    *disturbed = match disturbance::of_pairs(&pairs, alpha) {
        Ok(found) => found,
        Err((found, reason)) => {
            *disturbed = Some(found);
            return Err(reason);
        }
    };
    let width = disturbed.as_ref().map_or(0.0, |found| found.width);
    let decision = figures::decision(&pairs, margins, alpha, width);
    match decision.verdict {
        Verdict::Incomparable => Err("no gated metric is present in all records".to_owned()),
        _ => Ok(decision),
    }
}

/// The records named by `given`, without duplicates, and a note about duplicates. `program` selects one side of a gate's
/// folder, in which each record is a replicate.
fn records(given: &[PathBuf], program: char, read: &Read<'_>) -> Result<(Vec<Record>, Vec<String>), Error> {
    let mut found = Vec::new();
    for path in given {
        let files = if path.is_dir() { files(path, program)? } else { vec![path.clone()] };
        for file in files {
            let bytes = std::fs::read(&file).map_err(|source| match source.kind() {
                std::io::ErrorKind::NotFound => Error::Record(record::Error::Missing { path: file.clone() }),
                _ => Error::Io { path: file.clone(), source },
            })?;
            // The reason already names the file.
            let records = read(&file, bytes).map_err(Error::Unread)?;
            found.extend(records.into_iter().map(|record| (file.clone(), record)));
        }
    }
    let in_gate = |path: &Path| path.parent().is_some_and(is_gate);
    if found.iter().any(|(path, _)| in_gate(path)) {
        return Ok((found.into_iter().map(|(_, record)| record).collect(), Vec::new()));
    }
    let several = record::several::once(found);
    Ok((several.records.into_iter().map(|(_, record)| record).collect(), several.notes))
}

/// Rejects records that would be compared with themselves, except a gate's folder, which has both sides.
///
/// # Errors
/// [`Error::Usage`] with the path.
pub fn distinct_inputs(baseline: &[PathBuf], candidate: &[PathBuf]) -> Result<(), Error> {
    let known: Vec<PathBuf> = baseline.iter().filter_map(|path| path.canonicalize().ok()).collect();
    for path in candidate {
        if path.canonicalize().is_ok_and(|found| known.contains(&found) && !is_gate(&found)) {
            let flag = path.display().to_string();
            let reason =
                "it would be compared with itself, and is not a gate's folder; name baseline and candidate"
                    .to_owned();
            return Err(Usage::new(flag, reason).into());
        }
    }
    Ok(())
}

/// Whether this is the folder of a gate, finished or not: it has records of A and of B.
fn is_gate(folder: &Path) -> bool {
    let Ok(names) = json(folder) else { return false };
    folder.join(VERDICT).exists()
        || ['A', 'B'].iter().all(|program| names.iter().any(|path| of_gate(path, *program)))
}

/// Whether a gate's folder, whose records of A are given, is of two commands or servers: the user named what differs.
fn compares_commands(folder: &Path, a: &[Record]) -> bool {
    let verdict = std::fs::read(folder.join(VERDICT)).ok();
    let verdict: Option<serde_json::Value> = verdict.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    match verdict {
        Some(verdict) => verdict.pointer("/baseline/command").is_some_and(serde_json::Value::is_string),
        // An unfinished gate: a program of ours measures by itself.
        None => a.first().is_some_and(|record| record.imported.is_some() || record.serving.is_some()),
    }
}

fn of_gate(path: &Path, program: char) -> bool {
    path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.ends_with(&format!("-{program}")))
}

/// The JSON and JSONL files in a folder, by name.
fn json(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let is_json = path.extension().is_some_and(|extension| extension == "json" || extension == "jsonl");
        if is_json && !is_list_beside(&path) {
            names.push(path);
        }
    }
    names.sort();
    Ok(names)
}

fn files(folder: &Path, program: char) -> Result<Vec<PathBuf>, Error> {
    let mut names = json(folder)?;
    if is_gate(folder) {
        names.retain(|path| of_gate(path, program));
    }
    if names.is_empty() {
        return Err(Error::Unusable {
            path: folder.to_owned(),
            reason: "no record in this folder".to_owned(),
        });
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_gate_is_compared_with_itself() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = |name: &str, files: &[&str]| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).expect("a folder");
            for file in files {
                std::fs::write(path.join(file), "{}").expect("a file");
            }
            [path]
        };
        let plain = folder("plain", &["1.json", "2.json"]);
        let refused = distinct_inputs(&plain, &plain).expect_err("itself");
        assert!(
            matches!(refused, Error::Usage { .. }) && refused.to_string().contains("not a gate's folder")
        );
        let spelt = [parent.path().join("plain/../plain")];
        assert!(distinct_inputs(&plain, &spelt).is_err());
        assert!(distinct_inputs(&[plain[0].join("1.json")], &[plain[0].join("1.json")]).is_err());
        let other = folder("other", &["1.json"]);
        assert!(distinct_inputs(&plain, &other).is_ok());
        let gate = folder("gate-1", &["01-A.json", "01-B.json"]);
        assert!(distinct_inputs(&gate, &gate).is_ok());
        let half = folder("half", &["01-A.json"]);
        assert!(distinct_inputs(&half, &half).is_err());
        // A missing path is reported when it is read.
        let nowhere = [parent.path().join("nowhere")];
        assert!(distinct_inputs(&nowhere, &nowhere).is_ok());
    }
}
