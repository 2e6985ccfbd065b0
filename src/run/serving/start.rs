//! A server that is started for the run, and ended with it: `--serve 'llama-server …'`.
//!
//! Its cold start is timed on the way: from the start of the command until it listens, until it says that it is
//! healthy, and until the first token of the first request. It runs in its own process group, which ends when
//! [`Started`] is dropped and when a signal ends this process; on Linux the command is also told to end when this
//! process dies.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::base::event::Tick;
use crate::base::sys::{self, Interrupt};
use crate::base::undo::Undo;
use crate::base::units::Seconds;
use crate::base::{clock, env, redact, text};
use crate::endpoint::{self, Patience, Target};

use super::{Error, Server};

/// How often a server that starts is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How long it may take to say whether it is healthy.
const ASK: Duration = Duration::from_secs(2);
/// The longest that it may take; a large model comes over a network.
const LONGEST: Seconds = Seconds::new(1800.0);
/// How long it may take to end before it is killed.
const GRACE: Seconds = Seconds::new(10.0);
/// Lines of what it said that an error repeats.
const LINES: usize = 5;
/// Ports of servers that are started without one.
const PORTS: [(&str, u16); 5] = [
    ("llama-server", 8080),
    ("vllm", 8000),
    ("sglang", 30_000),
    ("sglang.launch_server", 30_000),
    ("trtllm-serve", 8000),
];

/// A server of ours.
#[derive(Debug)]
pub struct Started {
    command: String,
    child: Child,
    /// Kills its group, also when a signal ends this process at once.
    undo: Option<Undo>,
    log: PathBuf,
    begin: Tick,
    listening: Tick,
    healthy: Tick,
}

/// How long a server took to start, each from the start of its command.
#[derive(Debug, Clone, PartialEq)]
pub struct ColdStart {
    /// The command, without secrets.
    pub command: String,
    /// Until it accepted connections.
    pub listening: Seconds,
    /// Until it said that it is healthy.
    pub healthy: Seconds,
    /// Until the first token of the first request, which was sent as soon as it was healthy; `None` when that failed.
    pub first_token: Option<Seconds>,
}

/// The address of the server that `command` starts, by its `--port` or by what it listens on without.
pub fn address_of(command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().map(|word| word.trim_matches(['\'', '"'])).collect();
    let said = words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("--port=") {
        Some(port) => Some(port),
        None => (*word == "--port").then(|| words.get(at + 1).copied()).flatten(),
    });
    let usual = || {
        let program = |word: &&str| word.rsplit('/').next().unwrap_or_default().to_owned();
        words
            .iter()
            .map(program)
            .find_map(|name| PORTS.iter().find(|(known, _)| *known == name).map(|(_, port)| *port))
    };
    let port: u16 = said.map_or_else(usual, |port| port.trim_matches(['\'', '"']).parse().ok())?;
    Some(format!("http://127.0.0.1:{port}"))
}

/// Starts `command` in a shell and waits until the server at `target` is healthy.
///
/// # Errors
/// [`Error::Started`] if something already listens there, if the command ends, or when it is not healthy in half an
/// hour; [`Error::Interrupted`].
pub fn start(command: &str, target: &Target, interrupt: &Interrupt) -> Result<Started, Error> {
    let addresses = target.url.resolve().map_err(endpoint::Error::Failed)?;
    let failed = |reason: String| Error::Started { command: shown(command), reason };
    if let Some(address) = addresses.iter().find(|address| accepts(address)) {
        return Err(failed(format!(
            "something already listens at {address}; stop it, or start this server with another --port"
        )));
    }
    let folder = env::cache_folder();
    let log = folder.join(format!("serve-{}.log", std::process::id()));
    let file = fs::create_dir_all(&folder).and_then(|()| File::create(&log));
    let file = file.map_err(|error| failed(format!("{} cannot be written ({error})", text::path(&log))))?;
    let both = file.try_clone().map_err(|error| failed(error.to_string()))?;
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(file).stderr(both);
    sys::die_with_parent(&mut shell);
    let begin = clock::now();
    let child = shell.spawn().map_err(|error| failed(format!("no shell can be started ({error})")))?;
    let id = child.id();
    let undo = Undo::after(|| Ok::<(), Error>(()), move || sys::end_group(id))?;
    let mut started = Started {
        command: command.to_owned(),
        child,
        undo: Some(undo),
        log,
        begin,
        listening: begin,
        healthy: begin,
    };
    started.listening = started.wait_for(interrupt, || addresses.iter().any(accepts))?;
    // One that does not answer is asked again, with a look at the interrupt between.
    let short = Patience { connect: ASK, stall: ASK, request: ASK, ..target.patience };
    let asked = Target { patience: short, ..target.clone() };
    started.healthy = started.wait_for(interrupt, || endpoint::is_healthy(&asked))?;
    Ok(started)
}

impl Started {
    /// Waits until `is_so`, and gives the moment.
    fn wait_for(&mut self, interrupt: &Interrupt, is_so: impl Fn() -> bool) -> Result<Tick, Error> {
        let failed = |reason| Error::Started { command: shown(&self.command), reason };
        loop {
            if interrupt.requested() {
                return Err(Error::Interrupted);
            }
            if is_so() {
                return Ok(clock::now());
            }
            if sys::has_ended(self.child.id()).unwrap_or(true) {
                return Err(failed(format!("it ended before it was healthy{}", last_lines(&self.log))));
            }
            if clock::now().since(self.begin) > LONGEST {
                return Err(failed(format!("it was not healthy after {LONGEST}{}", last_lines(&self.log))));
            }
            clock::sleep(LOOK);
        }
    }

    /// How long it took to start; `server` is what was found of it when it was asked first.
    pub fn cold_start(&self, server: &Server) -> ColdStart {
        let since = |at: Tick| at.since(self.begin);
        ColdStart {
            command: shown(&self.command),
            listening: since(self.listening),
            healthy: since(self.healthy),
            first_token: server.first_token.map(since),
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let id = self.child.id();
        sys::ask_to_end(id);
        let asked = clock::now();
        while !sys::has_ended(id).unwrap_or(true) && clock::now().since(asked) < GRACE {
            clock::sleep(LOOK);
        }
        // Also what it started and did not end; before it is waited for, since its number is its own until then.
        drop(self.undo.take());
        drop(self.child.wait());
        drop(fs::remove_file(&self.log));
    }
}

fn accepts(address: &SocketAddr) -> bool {
    TcpStream::connect_timeout(address, Duration::from_millis(200)).is_ok()
}

/// A command without secrets and in one line.
fn shown(command: &str) -> String {
    text::clipped(&redact::text(command), 300)
}

/// The end of what it said, for an error.
fn last_lines(log: &Path) -> String {
    let said = fs::read(log).map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return ", and it printed nothing".to_owned();
    }
    let last = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    format!("; its last output: {}", text::clipped(&redact::text(&last), 600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_server_is_read_from_its_command() {
        for (command, address) in [
            ("llama-server -m x.gguf --port 9001 -np 4", Some("http://127.0.0.1:9001")),
            ("/opt/llama-server --port='77'", Some("http://127.0.0.1:77")),
            ("llama-server -m x.gguf", Some("http://127.0.0.1:8080")),
            ("CUDA_VISIBLE_DEVICES=0 /venv/bin/vllm serve org/model", Some("http://127.0.0.1:8000")),
            ("python3 -m sglang.launch_server --model-path x", Some("http://127.0.0.1:30000")),
            ("./my-server", None),
            ("./my-server --port", None),
        ] {
            assert_eq!(address_of(command).as_deref(), address, "{command}");
        }
    }
}
