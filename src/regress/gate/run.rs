//! The loop of a gate: replicates in their order until a look decides.

use std::path::{Path, PathBuf};

use crate::base::sys;
use crate::base::units::Seconds;
use crate::record::Record;
use crate::regress::Error;

use super::decide::{Decision, Looks, Verdict};
use super::figures::{self, Margins};
use super::folder::{Folder, Lock};
use super::replicate::{self, Failed};
use super::result::{GateResult, Program, Replicate, SCHEMA};

/// What a gate compares, and how.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The baseline, A.
    pub baseline: PathBuf,
    /// The candidate, B.
    pub candidate: PathBuf,
    /// Arguments of `run` for both.
    pub arguments: Vec<String>,
    /// When it looks.
    pub looks: Looks,
    /// What is let pass.
    pub margins: Margins,
    /// Longest time of one replicate.
    pub timeout: Seconds,
    /// Folder for gates.
    pub output: PathBuf,
    /// The candidate in a word; its commit when absent.
    pub label: Option<String>,
    /// Folder of the lock.
    pub cache: PathBuf,
}

/// Is told where the gate is.
pub trait Observer {
    /// A replicate begins: pair from 1, of at most so many, `A` or `B`.
    fn replicate(&mut self, pair: usize, pairs: usize, program: char);
    /// A try gave no replicate.
    fn failed(&mut self, pair: usize, program: char, reason: &str);
    /// A look was taken.
    fn looked(&mut self, decision: &Decision);
}

/// Runs the gate, or goes on with the one that was begun.
///
/// # Errors
/// [`Error`]; that two programs cannot be compared is no error but a verdict.
pub fn run(
    gate: &Gate,
    observer: &mut dyn Observer,
    interrupt: &sys::Interrupt,
) -> Result<GateResult, Error> {
    let (baseline, a) = program("--baseline", &gate.baseline)?;
    let (candidate, b) = program("--candidate", &gate.candidate)?;
    let hashes = [a, b];
    let created = crate::base::clock::wall();
    let _lock = Lock::take(&gate.cache)?;
    let folder = Folder::open(&gate.output, &identity(gate, &hashes))?;
    let mut state =
        State { gate, programs: [baseline, candidate], folder, pairs: Vec::new(), replicates: Vec::new() };
    let mut notes = Vec::new();
    if hashes[0] == hashes[1] {
        notes.push("both are the same program: what is found is the noise of this box".to_owned());
    }
    let outcome = state.all(observer, interrupt)?;
    let (verdict, reason, decision) = match outcome {
        Ok(decision) => (decision.verdict, None, Some(decision)),
        Err(reason) => (Verdict::Incomparable, Some(reason), None),
    };
    let [a, b] = hashes;
    let tool = state.pairs.first().map(|[_, b]| &b.tool);
    let short = |text: &String| text.chars().take(12).collect::<String>();
    let named = tool.and_then(|tool| tool.commit.as_ref().map(short));
    let result = GateResult {
        schema: SCHEMA,
        created: created.to_string(),
        label: gate.label.clone().or(named).unwrap_or_else(|| short(&b)),
        series_key: state.pairs.first().map(|[a, _]| a.fingerprint.series_key.clone()),
        verdict,
        reason,
        decision,
        looks: gate.looks.clone(),
        baseline: Program { path: gate.baseline.clone(), blake3: Some(a) },
        candidate: Program { path: gate.candidate.clone(), blake3: Some(b) },
        notes,
        replicates: state.replicates,
        folder: Some(state.folder.path().to_owned()),
    };
    let text = serde_json::to_string_pretty(&result).unwrap_or_default() + "\n";
    state.folder.finish(&text)?;
    Ok(result)
}

/// What must be the same for a gate to go on where it stopped: programs, arguments, looks, and the box since its start.
fn identity(gate: &Gate, hashes: &[String; 2]) -> String {
    let parts = [
        hashes.join(" "),
        gate.arguments.join("\u{1f}"),
        format!("{:?} {:?}", gate.looks, gate.margins),
        sys::boot_id().unwrap_or_default(),
    ];
    blake3::hash(parts.join("\n").as_bytes()).to_hex().to_string()
}

/// The file that `flag` names, where the system finds it, and its hash. A name without a folder is a file here: the system
/// would start the program of that name in `PATH`.
fn program(flag: &'static str, path: &Path) -> Result<(PathBuf, String), Error> {
    let unusable = |reason: String| Error::Unusable { path: path.to_owned(), reason };
    let found = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { flag, path: path.to_owned(), what: "program" },
        _ => unusable(format!("{flag}: it cannot be read ({error})")),
    })?;
    if found.is_dir() {
        return Err(unusable(format!("this is a folder; {flag} names the program itself")));
    }
    let bytes =
        std::fs::read(&found).map_err(|error| unusable(format!("{flag}: it cannot be read ({error})")))?;
    Ok((found, blake3::hash(&bytes).to_hex().to_string()))
}

struct State<'a> {
    gate: &'a Gate,
    /// The files that are started.
    programs: [PathBuf; 2],
    folder: Folder,
    pairs: Vec<[Record; 2]>,
    replicates: Vec<Replicate>,
}

impl State<'_> {
    /// The inner `Err` is why the two cannot be compared.
    fn all(
        &mut self,
        observer: &mut dyn Observer,
        interrupt: &sys::Interrupt,
    ) -> Result<Result<Decision, String>, Error> {
        let most = self.gate.looks.pairs.last().copied().unwrap_or(0);
        let mut last = None;
        for look in self.gate.looks.pairs.clone() {
            while self.pairs.len() < look {
                match self.pair(most, observer, interrupt)? {
                    Ok(pair) => self.pairs.push(pair),
                    Err(reason) => return Ok(Err(reason)),
                }
            }
            let all = || self.pairs.iter().flatten();
            if let Err(reason) = figures::comparable(all()).and_then(|()| figures::same_clocks(all())) {
                return Ok(Err(reason));
            }
            let pairs: Vec<[&Record; 2]> = self.pairs.iter().map(|[a, b]| [a, b]).collect();
            let decision = figures::decision(&pairs, &self.gate.margins, self.gate.looks.alpha);
            if decision.verdict == Verdict::Incomparable {
                return Ok(Err("no figure that is gated is in all replicates".to_owned()));
            }
            observer.looked(&decision);
            let over = decision.verdict != Verdict::Inconclusive;
            last = Some(decision);
            if over {
                break;
            }
        }
        Ok(last.ok_or_else(|| "no pair was asked for".to_owned()))
    }

    /// The next pair, in the order A B, B A, A B …
    fn pair(
        &mut self,
        most: usize,
        observer: &mut dyn Observer,
        interrupt: &sys::Interrupt,
    ) -> Result<Result<[Record; 2], String>, Error> {
        let pair = self.pairs.len();
        let order = if pair.is_multiple_of(2) { ['A', 'B'] } else { ['B', 'A'] };
        let mut found = Vec::new();
        for program in order {
            observer.replicate(pair + 1, most, program);
            match self.replicate(pair, program, observer, interrupt)? {
                Ok(record) => found.push(record),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        if order[0] == 'B' {
            found.reverse();
        }
        let both: Result<[Record; 2], _> = found.try_into();
        Ok(both.map_err(|_| "a pair has two replicates".to_owned()))
    }

    /// One replicate: the one that is kept, else a new one, tried twice.
    fn replicate(
        &mut self,
        pair: usize,
        program: char,
        observer: &mut dyn Observer,
        interrupt: &sys::Interrupt,
    ) -> Result<Result<Record, String>, Error> {
        let file = self.folder.replicate(pair, program);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut kept =
            Replicate { pair: pair + 1, program, file: name, resumed: false, retried_because: None };
        if let Some(record) = self.folder.read(pair, program)? {
            kept.resumed = true;
            self.replicates.push(kept);
            return Ok(Ok(record));
        }
        let path = &self.programs[usize::from(program == 'B')];
        for _ in 0..2 {
            match replicate::run(path, &self.gate.arguments, self.gate.timeout, &file, interrupt) {
                Ok(record) => {
                    self.replicates.push(kept);
                    return Ok(Ok(record));
                }
                Err(Failed::Hard(error)) => return Err(error),
                Err(Failed::Usage(reason)) => {
                    let flag = format!("what stands behind `--` for {program}");
                    return Err(Error::Usage { flag, reason });
                }
                Err(Failed::Try(reason)) => {
                    observer.failed(pair + 1, program, &reason);
                    kept.retried_because = Some(reason);
                }
            }
        }
        let reason = kept.retried_because.unwrap_or_default();
        Ok(Err(format!("replicate {} of {program} failed twice; the second time: {reason}", pair + 1)))
    }
}
