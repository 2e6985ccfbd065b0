//! The gate's main loop: measures replicates in order until a look decides.

use std::path::{Path, PathBuf};

use crate::base::failure::Usage;
use crate::base::units::Seconds;
use crate::base::{clock, env, redact, sys};
use crate::record::Record;
use crate::regress::{Error, label};

use super::Read;
use super::decide::{Decision, Looks, Verdict};
use super::disturbance::{self, Disturbed};
use super::figures::{self, Margins};
use super::folder::{Folder, Lock};
use super::patience::Patience;
use super::replicate::{self, Failed, Foreign, Launch};
use super::result::{GateResult, Program, Replicate, SCHEMA};
use super::words::words;

/// What a gate compares, and how.
#[derive(Debug, Clone)]
pub struct Gate {
    /// The baseline, A.
    pub baseline: Side,
    /// The candidate, B.
    pub candidate: Side,
    /// Total time that the gate may spend waiting for a quiet machine and repeating replicates.
    pub patience: Seconds,
    /// When it looks.
    pub looks: Looks,
    /// The tolerated slowdowns.
    pub margins: Margins,
    /// Longest time of one replicate.
    pub timeout: Seconds,
    /// Folder for gates.
    pub output: PathBuf,
    /// The candidate's label; its commit if absent.
    pub label: Option<String>,
    /// Folder of the lock.
    pub cache: PathBuf,
}

/// What one of the two sides runs.
#[derive(Debug, Clone)]
pub enum Side {
    /// Our own program, with arguments of its `run`.
    Bench {
        /// Its file.
        program: PathBuf,
        /// Arguments of `bench run`.
        arguments: Vec<String>,
    },
    /// Any command whose output is supported.
    Command {
        /// As it was typed.
        text: String,
        /// The file that it writes; its stdout if absent.
        result: Option<PathBuf>,
    },
}

impl Side {
    /// The process to start, the hash of the program's file, and its description for a reader.
    fn prepare(&self, program_flag: &'static str, command_flag: &'static str) -> Result<Prepared, Error> {
        match self {
            Self::Bench { program: path, arguments } => {
                let (program, hash) = program(program_flag, path)?;
                let mut all = vec!["run".to_owned()];
                all.extend(arguments.iter().cloned());
                all.extend(["--json", "--quiet", "--output", "-"].map(str::to_owned));
                let launch = Launch { program, arguments: all, foreign: None };
                Ok(Prepared { launch, hash, shown: path.clone(), command: None })
            }
            Self::Command { text, result } => {
                let refused = |reason: String| Usage::new(command_flag, reason);
                let mut words = words(text).map_err(refused)?;
                let command = Some(shown(&words));
                let name = PathBuf::from(words.remove(0));
                let (program, hash) = program(command_flag, &in_path(&name))?;
                let foreign = Some(Foreign { result: result.clone() });
                let launch = Launch { program, arguments: words, foreign };
                Ok(Prepared { launch, hash, shown: name, command })
            }
        }
    }
}

/// A command as it is recorded: its words, quoted if necessary, without secrets.
fn shown(words: &[String]) -> String {
    let plain = |word: &str| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '\'');
    let quoted = redact::words(words)
        .into_iter()
        .map(|word| if plain(&word) { word } else { format!("'{}'", word.replace('\'', "'\\''")) });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Resolves a program as a shell does: a name without a folder is looked up in `PATH`.
fn in_path(name: &Path) -> PathBuf {
    if name.components().count() > 1 || name.is_absolute() {
        return name.to_owned();
    }
    let there = env::path().into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    there.unwrap_or_else(|| name.to_owned())
}

struct Prepared {
    launch: Launch,
    hash: String,
    shown: PathBuf,
    command: Option<String>,
}

/// Receives the gate's progress.
pub trait Observer {
    /// A replicate starts: pair from 1, of at most `pairs`, `A` or `B`.
    fn replicate(&mut self, pair: usize, pairs: usize, program: char);
    /// An attempt produced no replicate.
    fn failed(&mut self, pair: usize, program: char, reason: &str);
    /// A replicate was disturbed, and the gate waits for a quiet machine.
    fn disturbed(&mut self, pair: usize, program: char, reason: &str);
    /// A look was taken.
    fn looked(&mut self, decision: &Decision);
}

/// Runs the gate, or resumes an unfinished one.
///
/// # Errors
/// [`Error`]; two programs that cannot be compared are not an error but a verdict.
pub fn run(
    gate: &Gate,
    read: &Read<'_>,
    observer: &mut dyn Observer,
    interrupt: &sys::Interrupt,
) -> Result<GateResult, Error> {
    let a = gate.baseline.prepare("--baseline", "--baseline-command")?;
    let b = gate.candidate.prepare("--candidate", "--candidate-command")?;
    let created = crate::base::clock::wall();
    let _lock = Lock::take(&gate.cache)?;
    let folder = Folder::open(&gate.output, &identity(gate, [&a, &b]))?;
    let most = gate.looks.pairs.last().copied().unwrap_or(0);
    let mut state = State {
        gate,
        read,
        launches: [&a.launch, &b.launch],
        folder,
        patience: Patience::new(gate.patience, 2 * most),
        pairs: Vec::new(),
        replicates: Vec::new(),
        disturbed: None,
    };
    let mut notes = Vec::new();
    if a.hash == b.hash && a.launch.arguments == b.launch.arguments {
        let what = if a.command.is_some() { "command" } else { "program" };
        notes.push(format!("both are the same {what}: this measures the noise of this machine"));
    }
    let outcome = state.all(observer, interrupt)?;
    let (verdict, reason, decision) = match outcome {
        Ok(decision) => (decision.verdict, None, Some(decision)),
        Err(reason) => (Verdict::Incomparable, Some(reason), None),
    };
    if let (Some([a, b]), true) = (state.pairs.first(), b.command.is_some()) {
        notes.extend(figures::on_commands(a, b));
    }
    let named = state.pairs.first().and_then(|[_, b]| named(b));
    let result = GateResult {
        schema: SCHEMA,
        created: created.to_string(),
        label: gate.label.clone().or(named).unwrap_or_else(|| label::short(&b.hash)),
        series_key: state.pairs.first().map(|[a, _]| a.fingerprint.series_key.clone()),
        about: state.pairs.first().map(|[_, b]| about(b)),
        verdict,
        reason,
        decision,
        looks: gate.looks.clone(),
        baseline: Program { path: a.shown, command: a.command, blake3: Some(a.hash) },
        candidate: Program { path: b.shown, command: b.command, blake3: Some(b.hash) },
        disturbed: state.disturbed,
        notes,
        replicates: state.replicates,
        folder: Some(state.folder.path().to_owned()),
    };
    let text = serde_json::to_string_pretty(&result).unwrap_or_default() + "\n";
    state.folder.finish(&text)?;
    Ok(result)
}

/// What a record measured on which device, for a reader.
pub(super) fn about(record: &Record) -> String {
    let model = &record.model;
    label::about(&model.name, model.quantization.as_deref(), &record.fingerprint.series_fields)
}

/// A label of the program that made a record, if the record states it.
pub(super) fn named(record: &Record) -> Option<String> {
    match &record.imported {
        Some(of) => Some(label::imported(of.tool_version.as_deref(), &of.fields, &of.file))
            .filter(|label| *label != of.file),
        None => record.tool.commit.as_deref().map(label::short),
    }
}

/// What must be unchanged for a gate to resume: programs, arguments, looks, and the machine since boot.
fn identity(gate: &Gate, sides: [&Prepared; 2]) -> String {
    let hashes = sides.map(|side| side.hash.as_str());
    let arguments = sides.map(|side| side.launch.arguments.join("\u{1f}"));
    // Identical arguments are listed once, for compatibility with gates from before commands were supported.
    let arguments =
        if arguments[0] == arguments[1] { arguments[0].clone() } else { arguments.join("\u{1e}") };
    let parts = [
        hashes.join(" "),
        arguments,
        format!("{:?} {:?}", gate.looks, gate.margins),
        sys::boot_id().unwrap_or_default(),
    ];
    blake3::hash(parts.join("\n").as_bytes()).to_hex().to_string()
}

/// The file named by `flag`, as an explicit path, and its hash. A name without a folder means a file in the current folder,
/// while the system would start the program of that name in `PATH`.
fn program(flag: &'static str, path: &Path) -> Result<(PathBuf, String), Error> {
    let unusable = |reason: String| Error::Unusable { path: path.to_owned(), reason };
    let found = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::Missing { flag, path: path.to_owned(), what: "program" },
        _ => unusable(format!("{flag}: cannot be read ({error})")),
    })?;
    if found.is_dir() {
        return Err(unusable(format!("this is a folder; {flag} takes the program itself")));
    }
    let bytes =
        std::fs::read(&found).map_err(|error| unusable(format!("{flag}: cannot be read ({error})")))?;
    Ok((found, blake3::hash(&bytes).to_hex().to_string()))
}

struct State<'a> {
    gate: &'a Gate,
    read: &'a Read<'a>,
    launches: [&'a Launch; 2],
    folder: Folder,
    patience: Patience,
    pairs: Vec<[Record; 2]>,
    replicates: Vec<Replicate>,
    disturbed: Option<Disturbed>,
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
            let pairs: Vec<[&Record; 2]> = self.pairs.iter().map(|[a, b]| [a, b]).collect();
            let same = if self.launches[0].foreign.is_some() {
                figures::comparable_commands(&pairs)
            } else {
                figures::comparable(all())
            };
            let same = same.and_then(|()| figures::distinct(&pairs));
            if let Err(reason) = same.and_then(|()| figures::same_clocks(all())) {
                return Ok(Err(reason));
            }
            let alpha = self.gate.looks.alpha;
            let disturbed = disturbance::of_pairs(&pairs, alpha);
            let width = match disturbed {
                Ok(found) => {
                    self.disturbed = found;
                    self.disturbed.as_ref().map_or(0.0, |found| found.width)
                }
                Err((found, reason)) => {
                    self.disturbed = Some(found);
                    return Ok(Err(reason));
                }
            };
            let decision = figures::decision(&pairs, &self.gate.margins, alpha, width);
            if decision.verdict == Verdict::Incomparable {
                return Ok(Err("no gated metric is present in all replicates".to_owned()));
            }
            observer.looked(&decision);
            let over = decision.verdict != Verdict::Inconclusive;
            last = Some(decision);
            if over {
                break;
            }
        }
        Ok(last.ok_or_else(|| "no pairs were requested".to_owned()))
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

    /// One replicate: an existing one, else a new one. A failed one is retried once; a disturbed one is repeated when the
    /// machine is quiet again, within the gate's patience.
    fn replicate(
        &mut self,
        pair: usize,
        program: char,
        observer: &mut dyn Observer,
        interrupt: &sys::Interrupt,
    ) -> Result<Result<Record, String>, Error> {
        let file = self.folder.replicate(pair, program);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut kept = Replicate {
            pair: pair + 1,
            program,
            file: name,
            resumed: false,
            retried_because: None,
            disturbed_by: None,
        };
        let record = if let Some(record) = self.folder.read(pair, program)? {
            kept.resumed = true;
            record
        } else {
            match self.measure(&file, &mut kept, observer, interrupt)? {
                Ok(record) => record,
                Err(reason) => return Ok(Err(reason)),
            }
        };
        kept.disturbed_by = disturbance::reason(&record);
        self.replicates.push(kept);
        Ok(Ok(record))
    }

    /// A new replicate, with retries.
    fn measure(
        &mut self,
        file: &Path,
        kept: &mut Replicate,
        observer: &mut dyn Observer,
        interrupt: &sys::Interrupt,
    ) -> Result<Result<Record, String>, Error> {
        let (pair, program) = (kept.pair, kept.program);
        let launch = self.launches[usize::from(program == 'B')];
        let number = self.replicates.len();
        // The last complete one, kept if a later attempt fails.
        let mut whole: Option<Record> = None;
        let mut failed = 0;
        loop {
            let begin = clock::now();
            let tried = replicate::run(launch, self.gate.timeout, file, self.read, interrupt);
            if whole.is_some() {
                self.patience.spend(clock::now().since(begin));
            }
            match tried {
                Ok(record) => {
                    let Some(reason) = disturbance::reason(&record) else {
                        return Ok(Ok(record));
                    };
                    observer.disturbed(pair, program, &reason);
                    if !self.patience.quiet(number, interrupt) {
                        return Ok(Ok(record));
                    }
                    whole = Some(record);
                    kept.retried_because = Some(reason);
                }
                Err(Failed::Hard(error)) => return Err(error),
                Err(Failed::Usage(reason)) => {
                    let flag = match (&launch.foreign, program) {
                        (None, _) => format!("the arguments after `--` for {program}"),
                        (Some(_), 'A') => "--baseline-command".to_owned(),
                        (Some(_), _) => "--candidate-command".to_owned(),
                    };
                    return Err(Usage::new(flag, reason).into());
                }
                Err(Failed::Try(reason)) => {
                    observer.failed(pair, program, &reason);
                    if let Some(record) = whole {
                        return Ok(Ok(record));
                    }
                    failed += 1;
                    if failed == 2 {
                        return Ok(Err(format!(
                            "replicate {pair} of {program} failed twice; the second time: {reason}"
                        )));
                    }
                    kept.retried_because = Some(reason);
                }
            }
        }
    }
}
