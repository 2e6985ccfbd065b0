//! One replicate: a fresh process that does the whole measurement and whose record is captured in a file.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::base::units::Seconds;
use crate::base::{clock, redact, sys};
use crate::hardware::telemetry::host::{self, HostWindow};
use crate::record::{self, Check, Record, Verdict};
use crate::regress::Error;
use crate::run::validity;

use super::{Read, disturbance, figures};

/// Time a process has to exit by itself, having restored clocks, before it is killed.
const GRACE: Seconds = Seconds::new(5.0);
const POLL: Duration = Duration::from_millis(10);

/// The system counts steal in hundredths of a second, which is too coarse for a shorter run.
const COUNTED: Seconds = Seconds::new(2.0);

/// Why an attempt produced no replicate.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another attempt may succeed: the process crashed, hung or was disturbed.
    Try(String),
    /// The program rejects its arguments, and would again.
    Usage(String),
    /// Retrying is pointless.
    Hard(Error),
}

/// Disk space that a record and the verdict may need; without it, a failure is not the program's fault.
const ROOM: usize = 256 << 10;

/// The process to start for a replicate.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The program's file.
    pub(super) program: PathBuf,
    /// All its arguments.
    pub(super) arguments: Vec<String>,
    /// For another program: how its output becomes a record. Our own program prints one.
    pub(super) foreign: Option<Foreign>,
}

/// Another program's command.
#[derive(Debug, Clone)]
pub(super) struct Foreign {
    /// The file that it writes; its stdout if absent.
    pub(super) result: Option<PathBuf>,
}

/// Runs the program once and returns its record, which is also written to `file`.
///
/// # Errors
/// [`Failed::Try`] with what went wrong and the end of the program's output, [`Failed::Hard`] for an unwritable folder or
/// a signal.
pub(super) fn run(
    launch: &Launch,
    timeout: Seconds,
    file: &Path,
    read: &Read<'_>,
    interrupt: &sys::Interrupt,
) -> Result<Record, Failed> {
    match attempt(launch, timeout, file, read, interrupt) {
        Err(Failed::Try(reason)) => Err(room(file).map_or(Failed::Try(reason), Failed::Hard)),
        done => done,
    }
}

/// Why nothing more can be written next to `file`, if so.
fn room(file: &Path) -> Option<Error> {
    let probe = file.with_extension("room");
    let written = std::fs::write(&probe, vec![1; ROOM]);
    // Remove it, whether it exists or not.
    drop(std::fs::remove_file(&probe));
    let source = written.err()?;
    // The log and a partial record would take up the space of the next attempt.
    drop(std::fs::remove_file(file.with_extension("partial")));
    let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
    Some(if source.kind() == ErrorKind::StorageFull {
        Error::Full { folder, source }
    } else {
        Error::Io { path: folder, source }
    })
}

fn attempt(
    launch: &Launch,
    timeout: Seconds,
    file: &Path,
    read: &Read<'_>,
    interrupt: &sys::Interrupt,
) -> Result<Record, Failed> {
    let (partial, log) = (file.with_extension("partial"), file.with_extension("log"));
    let create = |path: &Path| File::create(path).map_err(|source| Failed::Hard(Error::io(path)(source)));
    let program = &launch.program;
    let mut command = Command::new(program);
    command.args(&launch.arguments);
    command.stdin(Stdio::null()).stdout(create(&partial)?).stderr(create(&log)?);
    // A gate that is killed must not leave a measurement running that would disturb the next.
    sys::die_with_parent(&mut command);
    let result = launch.foreign.as_ref().and_then(|foreign| foreign.result.as_deref());
    let before = result.map(stamp);
    let (host, begin) = (host::read(), clock::now());
    let started = command.spawn();
    let mut child =
        started.map_err(|error| Failed::Try(format!("{} cannot be started: {error}", program.display())))?;
    let (status, asked_to_end) =
        wait(&mut child, timeout, interrupt).map_err(|source| Failed::Hard(Error::io(program)(source)))?;
    let took = clock::now().since(begin);
    let host = Some(host::between(&host, &host::read())).filter(|_| took >= COUNTED);
    if interrupt.requested() {
        let (folder, code) =
            (file.parent().unwrap_or(Path::new(".")).to_owned(), interrupt.exit_code().unwrap_or(130));
        return Err(Failed::Hard(Error::Interrupted { folder, code }));
    }
    if asked_to_end {
        return Err(Failed::Try(format!("it ran longer than {timeout}{}", last_error(&log))));
    }
    let own = launch.foreign.is_none();
    if own && status.code() == Some(2) {
        return Err(Failed::Usage(format!("it exited with code 2{}", last_error(&log))));
    }
    // A record with failed checks comes with exit code 12, but its checks say more than the code.
    if !(status.success() || (own && status.code() == Some(12))) {
        return Err(Failed::Try(format!("it ended with {}{}", ended(status), last_error(&log))));
    }
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| Failed::Hard(Error::Io { path, source })
    };
    let record = if own {
        let text = std::fs::read_to_string(&partial).map_err(unreadable(&partial))?;
        record::read::parse(&text)
            .map_err(|reason| Failed::Try(format!("its record cannot be read: {reason}")))?
    } else {
        if let Some(result) = result
            && before == Some(stamp(result))
        {
            return Err(Failed::Usage(format!(
                "it succeeded but did not write {}, the file named by --result{}",
                result.display(),
                last_error(&log)
            )));
        }
        let output = result.unwrap_or(&partial);
        let bytes = std::fs::read(output).map_err(unreadable(output))?;
        let mut record = only(read(output, bytes), result)?;
        if let Some(host) = host {
            watched(&mut record, host);
        }
        std::fs::write(&partial, serde_json::to_string_pretty(&record).unwrap_or_default())
            .map_err(unreadable(&partial))?;
        record
    };
    figures::check_valid(&record).map_err(Failed::Try)?;
    let keep = || {
        File::open(&partial)?.sync_all()?;
        std::fs::rename(&partial, file)
    };
    keep().map_err(|source| Failed::Hard(Error::io(file)(source)))?;
    Ok(record)
}

/// Waits until the child and everything it started have ended; asks it to end when its time is over or the user interrupts.
/// Returns its status, and whether it was asked.
fn wait(
    child: &mut Child,
    timeout: Seconds,
    interrupt: &sys::Interrupt,
) -> std::io::Result<(ExitStatus, bool)> {
    let begin = clock::now();
    let mut asked_to_end = None;
    while !sys::has_ended(child.id())? {
        let now = clock::now();
        if asked_to_end.is_none() && (interrupt.requested() || now.since(begin) > timeout) {
            sys::ask_to_end(child.id());
            asked_to_end = Some(now);
        }
        if asked_to_end.is_some_and(|at| now.since(at) > GRACE) {
            sys::end_group(child.id());
        }
        clock::sleep(POLL);
    }
    // Processes that it left running would disturb the next replicate.
    sys::end_group(child.id());
    Ok((child.wait()?, asked_to_end.is_some()))
}

/// Identifies one version of a file.
fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::metadata(path).ok()?;
    Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

/// The only record of an output; too many or too few would be the same next time.
fn only(found: Result<Vec<Record>, String>, result: Option<&Path>) -> Result<Record, Failed> {
    let place = result.map_or_else(|| "its stdout".to_owned(), |path| path.display().to_string());
    let mut records = found
        .map_err(|reason| Failed::Usage(format!("{place} has no readable result: {}", reason.trim_end())))?;
    match (records.pop(), records.len()) {
        (Some(record), 0) => Ok(record),
        (None, _) => Err(Failed::Usage(format!("{place} has no result"))),
        (Some(_), more) => Err(Failed::Usage(format!(
            "{place} has the results of {} setups, but a gate compares one with one; remove the others from the command",
            more + 1
        ))),
    }
}

/// Records what the hypervisor and a quota took, which another tool's file does not state. Other processes do not count
/// against a command: the server that it queries is one.
fn watched(record: &mut Record, host: HostWindow) {
    const CHECK: &str = "foreign_load";
    if record.validity.checks.iter().any(|check| check.name == CHECK && check.was_made()) {
        return;
    }
    record.validity.checks.retain(|check| check.name != CHECK);
    let wrong = validity::disturbances(HostWindow { foreign_share: None, ..host });
    let lost = host.stolen_share.unwrap_or(0.0) + host.quota_share.unwrap_or(0.0);
    record.unknown.insert(disturbance::KEPT.to_owned(), lost.into());
    let (verdict, evidence) = if wrong.is_empty() {
        (
            Verdict::Valid,
            format!("{:.1}% of the processors' time was lost to others on the host", lost * 100.0),
        )
    } else {
        (Verdict::Suspect, wrong.join("; "))
    };
    record.validity.checks.push(Check { name: CHECK.to_owned(), verdict, evidence });
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// A process's error message: the last line of stderr that begins with `error:`, else the last line.
fn last_error(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let line = error_line(&text).map(|line| line.chars().take(300).collect::<String>());
    line.map_or_else(String::new, |line| format!(": {} (full log in {})", redact::text(&line), log.display()))
}

/// Prefers the error to what follows it, such as where to find help.
fn error_line(text: &str) -> Option<&str> {
    let error = text.lines().rfind(|line| line.starts_with("error:"));
    error.or_else(|| text.lines().rfind(|line| !line.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_reported_and_not_what_follows_it() {
        let usage = "error: unexpected argument '--bogus' found\n\nUsage: bench run\n\nFor more information, try '--help'.\n";
        assert_eq!(error_line(usage), Some("error: unexpected argument '--bogus' found"));
        assert_eq!(error_line("loading\nout of luck\n\n"), Some("out of luck"));
        assert_eq!(error_line("\n"), None);
    }
}
