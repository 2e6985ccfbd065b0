//! One replicate: a fresh process that does the whole measurement, its record caught in a file.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::base::units::Seconds;
use crate::base::{clock, sys};
use crate::record::{self, Record};
use crate::regress::Error;

use super::figures;

/// Time a process has to end by itself, clocks put back, before it is killed.
const GRACE: Seconds = Seconds::new(5.0);
const POLL: Duration = Duration::from_millis(10);

/// Why a try gave no replicate.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another try may do better: the process crashed, hung, was disturbed.
    Try(String),
    /// The program does not take its arguments, and would not the second time.
    Usage(String),
    /// Nothing more can be done here.
    Hard(Error),
}

/// Room that a record and the verdict may take; without it nothing that fails is the program's fault.
const ROOM: usize = 256 << 10;

/// Runs `program` once and gives its record, which then stands in `file`.
///
/// # Errors
/// [`Failed::Try`] with what went wrong and the end of what the program said, [`Failed::Hard`] for a folder that cannot be
/// written or a signal.
pub(super) fn run(
    program: &Path,
    arguments: &[String],
    timeout: Seconds,
    file: &Path,
    interrupt: &sys::Interrupt,
) -> Result<Record, Failed> {
    match attempt(program, arguments, timeout, file, interrupt) {
        Err(Failed::Try(reason)) => Err(room(file).map_or(Failed::Try(reason), Failed::Hard)),
        done => done,
    }
}

/// Why nothing more can be written beside `file`, when that is so.
fn room(file: &Path) -> Option<Error> {
    let probe = file.with_extension("room");
    let written = std::fs::write(&probe, vec![1; ROOM]);
    // Whether it was there or not, it is to be gone.
    drop(std::fs::remove_file(&probe));
    let source = written.err()?;
    // The log and half a record would keep the next try from its room.
    drop(std::fs::remove_file(file.with_extension("partial")));
    let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
    Some(if source.kind() == ErrorKind::StorageFull {
        Error::Full { folder, source }
    } else {
        Error::Io { path: folder, source }
    })
}

fn attempt(
    program: &Path,
    arguments: &[String],
    timeout: Seconds,
    file: &Path,
    interrupt: &sys::Interrupt,
) -> Result<Record, Failed> {
    let (partial, log) = (file.with_extension("partial"), file.with_extension("log"));
    let create = |path: &Path| File::create(path).map_err(|source| Failed::Hard(Error::io(path)(source)));
    let mut command = Command::new(program);
    command.arg("run").args(arguments).args(["--json", "--quiet", "--output", "-"]);
    command.stdin(Stdio::null()).stdout(create(&partial)?).stderr(create(&log)?);
    // A gate that is killed leaves no measurement behind that would disturb the next.
    sys::die_with_parent(&mut command);
    let started = command.spawn();
    let mut child =
        started.map_err(|error| Failed::Try(format!("{} cannot be started: {error}", program.display())))?;
    let begin = clock::now();
    let mut asked_to_end = None;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(source) => return Err(Failed::Hard(Error::io(program)(source))),
        }
        let now = clock::now();
        if asked_to_end.is_none() && (interrupt.requested() || now.since(begin) > timeout) {
            sys::ask_to_end(child.id());
            asked_to_end = Some(now);
        }
        if asked_to_end.is_some_and(|at| now.since(at) > GRACE) {
            // It may have ended in this very moment; either way it is waited for.
            drop(child.kill());
        }
        clock::sleep(POLL);
    };
    if interrupt.requested() {
        let (folder, code) =
            (file.parent().unwrap_or(Path::new(".")).to_owned(), interrupt.exit_code().unwrap_or(130));
        return Err(Failed::Hard(Error::Interrupted { folder, code }));
    }
    if asked_to_end.is_some() {
        return Err(Failed::Try(format!("it took longer than {timeout}{}", said(&log))));
    }
    if status.code() == Some(2) {
        return Err(Failed::Usage(format!("it ended with exit code 2{}", said(&log))));
    }
    // A record whose checks failed comes with exit code 12; which check it was is more than the code says.
    if !matches!(status.code(), Some(0 | 12)) {
        return Err(Failed::Try(format!("it ended with {}{}", ended(status), said(&log))));
    }
    let text =
        std::fs::read_to_string(&partial).map_err(|source| Failed::Hard(Error::io(&partial)(source)))?;
    let record = record::read::parse(&text)
        .map_err(|reason| Failed::Try(format!("its record cannot be read: {reason}")))?;
    figures::sound(&record).map_err(Failed::Try)?;
    let keep = || {
        File::open(&partial)?.sync_all()?;
        std::fs::rename(&partial, file)
    };
    keep().map_err(|source| Failed::Hard(Error::io(file)(source)))?;
    Ok(record)
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// What a process wrote to stderr: the last line that begins with `error:`, else the last.
fn said(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = telling(&text).map(|line| line.chars().take(300).collect::<String>());
    line.map_or_else(String::new, |line| format!(": {line} (all of it in {})", log.display()))
}

/// What stands behind an error, such as where to find help, says less than the error.
fn telling(text: &str) -> Option<&str> {
    let error = text.lines().rfind(|line| line.starts_with("error:"));
    error.or_else(|| text.lines().rfind(|line| !line.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_told_and_not_what_stands_behind_it() {
        let usage = "error: unexpected argument '--bogus' found\n\nUsage: bench run\n\nFor more information, try '--help'.\n";
        assert_eq!(telling(usage), Some("error: unexpected argument '--bogus' found"));
        assert_eq!(telling("loading\nout of luck\n\n"), Some("out of luck"));
        assert_eq!(telling("\n"), None);
    }
}
