//! The transfer of one file: resumed, checked, never torn.
//!
//! Bytes grow in `ETAG.incomplete` under an exclusive lock, so two processes that want the same file take
//! turns and the second finds it done. Whatever ends a transfer (Ctrl-C, a kill, a broken line) leaves the
//! part, and the next one asks only for the rest (RFC 9110, range requests). Length and, where the hub
//! tells it, SHA-256 are checked before the file gets its name.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::client::{self, Answer, Client, Failure, GLANCE, Method, Remote, receive, rest};
use super::layout::Layout;
use super::{FetchProgress, HubSettings, cache_error, create_folder};
use crate::Error;
use crate::base::sys::Interrupt;
use crate::base::units::Bytes;

/// Bytes that are taken from a connection at once.
const PIECE: usize = 256 << 10;

/// All that the transfer of one file needs to know.
pub(super) struct Download<'a> {
    pub client: &'a Client,
    pub settings: &'a HubSettings,
    pub progress: &'a dyn FetchProgress,
    pub interrupt: &'a Interrupt,
    /// Turns a failure into words.
    pub refused: &'a dyn Fn(Failure) -> Error,
    pub url: &'a str,
    pub file: &'a str,
    pub remote: &'a Remote,
}

/// Why a transfer stopped.
enum Stop {
    /// The line broke; what follows may come on another.
    Broken(Failure),
    /// The part cannot be continued; it must be begun anew.
    Stale,
    /// No use in trying again.
    Final(Error),
}

impl Download<'_> {
    /// Brings the blob into the cache; at once when it is there already.
    pub(super) fn run(&self, layout: &Layout<'_>) -> Result<(), Error> {
        let blob = layout.blob(&self.remote.etag);
        let lock = layout.lock(&self.remote.etag);
        for path in [&blob, &lock] {
            create_folder(path.parent().unwrap_or(path))?;
        }
        let _held_until_the_end = self.lock(&lock)?;
        if fs::metadata(&blob).is_ok_and(|found| found.len() == self.remote.size) {
            return Ok(());
        }
        let mut part = Part::open(layout.incomplete(&self.remote.etag), self.remote, self.interrupt)?;
        let resumed = part.length > 0;
        self.fill(&mut part)?;
        match self.check(&mut part) {
            // What was left of an earlier transfer may be to blame, so the whole is fetched once more.
            Err(_) if resumed => {
                part.clear()?;
                self.fill(&mut part)?;
                self.check(&mut part)?;
            }
            checked => checked?,
        }
        part.file.sync_all().map_err(|source| cache_error(&part.path, source))?;
        fs::rename(&part.path, &blob).map_err(|source| cache_error(&blob, source))?;
        self.progress.done();
        Ok(())
    }

    /// Waits until no other process is fetching these bytes.
    fn lock(&self, path: &Path) -> Result<File, Error> {
        let open = OpenOptions::new().create(true).append(true).open(path);
        let file = open.map_err(|source| cache_error(path, source))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(cache_error(path, source)),
                Err(TryLockError::WouldBlock) => {}
            }
            if !told {
                self.progress.waiting(self.file);
                told = true;
            }
            rest(GLANCE * 2, self.interrupt).map_err(self.refused)?;
        }
    }

    /// Fetches what the part lacks, over as many connections as that takes.
    fn fill(&self, part: &mut Part) -> Result<(), Error> {
        self.announce(part);
        let mut failures = 0;
        let mut begun_anew = false;
        while part.length < self.remote.size {
            let before = part.length;
            match self.transfer(part) {
                Ok(()) => {}
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Stale) if !begun_anew => {
                    begun_anew = true;
                    part.clear()?;
                    self.announce(part);
                }
                Err(Stop::Stale) => {
                    return Err(self.lie("refuses to send the file from its beginning"));
                }
                Err(Stop::Broken(failure)) => {
                    failures = if part.length > before { 1 } else { failures + 1 };
                    if failures >= self.settings.attempts {
                        return Err(self.broken_off(failure, part));
                    }
                    let pause = self.settings.first_pause * (1 << (failures - 1).min(4));
                    rest(pause, self.interrupt).map_err(self.refused)?;
                }
            }
        }
        Ok(())
    }

    fn announce(&self, part: &Part) {
        self.progress.start(self.file, Bytes::new(self.remote.size), Bytes::new(part.length));
    }

    /// One connection's worth of bytes.
    fn transfer(&self, part: &mut Part) -> Result<(), Stop> {
        let stop = |failure: Failure| match failure {
            Failure::Status { status: 416, .. } => Stop::Stale,
            failure if failure.is_passing() => Stop::Broken(failure),
            failure => Stop::Final((self.refused)(failure)),
        };
        let answer = self.client.get(Method::Get, self.url, client::Part::from(part.length), self.interrupt);
        let answer = answer.map_err(stop)?;
        self.accept(&answer, part).map_err(Stop::Final)?;
        let pieces = answer.pieces(PIECE, 8);
        loop {
            let piece = match receive(&pieces, self.interrupt).map_err(stop)? {
                Some(Ok(piece)) if piece.is_empty() => break,
                None => break,
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Err(Stop::Broken(Failure::Transport(ureq::Error::Io(error)))),
            };
            if part.length + piece.len() as u64 > self.remote.size {
                return Err(Stop::Final(self.lie("sends more bytes than it announced")));
            }
            part.append(&piece).map_err(Stop::Final)?;
            self.progress.advance(Bytes::new(piece.len() as u64));
        }
        if part.length < self.remote.size {
            let early = io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed early");
            return Err(Stop::Broken(Failure::Transport(ureq::Error::Io(early))));
        }
        Ok(())
    }

    /// Looks whether the answer continues where the part ends; a whole file sent instead begins it anew.
    fn accept(&self, answer: &Answer, part: &mut Part) -> Result<(), Error> {
        let size = self.remote.size;
        if answer.0.status().as_u16() == 206 {
            let range = answer.header("content-range").unwrap_or_default();
            let expected = format!("bytes {}-{}/{size}", part.length, size - 1);
            if range != expected {
                let range = range.escape_debug();
                return Err(self.lie(&format!("sends the range `{range}` where `{expected}` was requested")));
            }
        } else if part.length > 0 {
            part.clear()?;
            self.announce(part);
        }
        let announced = answer.header("content-length").and_then(|length| length.parse::<u64>().ok());
        match announced {
            Some(length) if length != size - part.length => {
                Err(self.lie(&format!("announced {} bytes and sends {length}", size - part.length)))
            }
            _ => Ok(()),
        }
    }

    /// Compares the complete part with what the hub said of it.
    fn check(&self, part: &mut Part) -> Result<(), Error> {
        let Some(expected) = self.remote.sha256() else { return Ok(()) };
        let found = part.sha256();
        if found == expected {
            return Ok(());
        }
        // Kept, it would only spoil the next attempt.
        part.clear()?;
        Err(self.lie(&format!(
            "sent bytes whose SHA-256 is {found} where {expected} was announced; something in between alters them"
        )))
    }

    fn lie(&self, what: &str) -> Error {
        Error::unusable(
            self.url,
            format!("the server {what}; try again later, or check HF_ENDPOINT and any proxy"),
        )
    }

    fn broken_off(&self, failure: Failure, part: &Part) -> Error {
        let reason = match failure {
            Failure::Transport(error) => error.to_string(),
            Failure::Status { status, .. } => format!("status {status}"),
            other => return (self.refused)(other),
        };
        Error::Missing {
            what: self.url.to_owned(),
            reason: format!(
                "the download stopped at {} of {} bytes, {} times in a row ({reason}); the partial file is kept, and the same command resumes it",
                part.length, self.remote.size, self.settings.attempts
            ),
        }
    }
}

/// A file that is growing.
struct Part {
    path: PathBuf,
    file: File,
    length: u64,
    hash: Sha256,
}

impl Part {
    /// Opens what an earlier transfer left, and takes its bytes into the hash.
    fn open(path: PathBuf, remote: &Remote, interrupt: &Interrupt) -> Result<Self, Error> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|source| cache_error(&path, source))?;
        let length = file.metadata().map_err(|source| cache_error(&path, source))?.len();
        let mut part = Self { path, file, length, hash: Sha256::new() };
        if part.length > remote.size {
            part.clear()?;
        } else {
            part.take_in(interrupt)?;
        }
        Ok(part)
    }

    fn take_in(&mut self, interrupt: &Interrupt) -> Result<(), Error> {
        let mut buffer = vec![0; 1 << 20];
        let mut left = self.length;
        while left > 0 {
            if interrupt.requested() {
                return Err(Error::Interrupted);
            }
            match self.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    self.hash.update(&buffer[..count]);
                    left = left.saturating_sub(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(cache_error(&self.path, source)),
            }
        }
        Ok(())
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), Error> {
        // What a failed write did bring to the disk is right, and the next transfer counts it from there.
        self.file.write_all(piece).map_err(|source| cache_error(&self.path, source))?;
        self.hash.update(piece);
        self.length += piece.len() as u64;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Error> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map_err(|source| cache_error(&self.path, source))?;
        self.length = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    fn sha256(&self) -> String {
        format!("{:x}", self.hash.clone().finalize())
    }
}
