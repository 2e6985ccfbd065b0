//! A model hub on 127.0.0.1 that serves real files by real HTTP, and misbehaves on request.
//!
//! It speaks the paths the hub has: `/api/models/REPO/revision/REV` and `/REPO/resolve/REV/FILE` with
//! HEAD, GET, `Range`, `ETag`, `X-Repo-Commit`, `X-Linked-Etag` and `X-Linked-Size`; large files by a
//! redirect to another origin, as the hub sends them. Every request is kept for the test to look at.
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "shared by test executables that each use a part of it"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The commit that `main` points to.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A request as it came, and how many bytes of body went back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
    pub body_bytes: u64,
}

/// What the server does wrong.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Each download in turn is cut after so many bytes of its body.
    pub cut_after: Vec<u64>,
    /// Every answer is this status with this `X-Error-Code`.
    pub refuse: Option<(u16, &'static str)>,
    /// So many answers are 503 before the first real one.
    pub busy: u32,
    /// Added to the length that HEAD announces.
    pub announce_more: i64,
    /// One byte of each body is another.
    pub corrupt: bool,
    /// `Range` is not understood.
    pub no_ranges: bool,
    /// Whole files are sent in small pieces with this pause between them.
    pub pause: Option<Duration>,
    /// An `ETag` that is sent instead of the true one.
    pub etag: Option<String>,
    /// Text that is sent in place of the listing.
    pub listing: Option<String>,
    /// Large files are sent from this origin, after a redirect.
    pub storage: Option<String>,
    /// A token that must be shown.
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, (Vec<u8>, String)>,
    faults: Faults,
    seen: Vec<Seen>,
}

/// The server; it ends with the test's process.
#[derive(Clone)]
pub struct HubServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl HubServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the port taken");
        let server = Self { address, state: Arc::default() };
        let at_work = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = at_work.clone();
                std::thread::spawn(move || server.answer(stream));
            }
        });
        server
    }

    /// What `HF_ENDPOINT` must be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts a file at `org/repo/path` under the `ETag` that the hub would give: SHA-256 in hexadecimal for
    /// large files, which the caller computes, so that the server can't agree with a wrong implementation.
    pub fn put(&self, path: &str, bytes: Vec<u8>, etag: &str) {
        self.state().files.insert(path.to_owned(), (bytes, etag.to_owned()));
    }

    pub fn fault(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.state().faults);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// Body bytes sent for GETs of the file, and the ranges asked for.
    pub fn downloads(&self, file: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.method == "GET" && seen.path.ends_with(file)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    fn answer(&self, stream: TcpStream) {
        let mut lines =
            BufReader::new(stream.try_clone().expect("a second handle")).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let headers: BTreeMap<String, String> = lines
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_owned())))
            .collect();
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let seen = Seen {
            method: method.to_owned(),
            path: path.to_owned(),
            range: headers.get("range").cloned(),
            authorization: headers.get("authorization").cloned(),
            body_bytes: 0,
        };
        let index = {
            let mut state = self.state();
            state.seen.push(seen.clone());
            state.seen.len() - 1
        };
        let reply = self.reply(&seen);
        self.send(stream, &reply, index);
    }

    fn reply(&self, seen: &Seen) -> Reply {
        let mut state = self.state();
        if state.faults.busy > 0 {
            state.faults.busy -= 1;
            return Reply::status(503, "");
        }
        if let Some((status, code)) = state.faults.refuse {
            return Reply::status(status, code);
        }
        if let Some(token) = &state.faults.token
            && seen.authorization.as_deref() != Some(&format!("Bearer {token}"))
        {
            return Reply::status(401, "");
        }
        if let Some(rest) = seen.path.strip_prefix("/api/models/") {
            let Some((repo, _)) = rest.split_once("/revision/") else {
                return Reply::status(404, "RepoNotFound");
            };
            return state.listing(repo);
        }
        if let Some((repo, rest)) = seen.path[1..].split_once("/resolve/")
            && let Some((_, file)) = rest.split_once('/')
        {
            return state.file(&format!("{repo}/{file}"), seen);
        }
        // The storage's own paths, which know nothing of repositories.
        match seen.path.strip_prefix("/storage/") {
            Some(file) => state.file(file, seen),
            None => Reply::status(404, ""),
        }
    }

    fn send(&self, mut stream: TcpStream, reply: &Reply, index: usize) {
        let mut head = vec![format!("HTTP/1.1 {} X", reply.status), "Connection: close".into()];
        head.extend(reply.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        if stream.write_all(format!("{}\r\n\r\n", head.join("\r\n")).as_bytes()).is_err() {
            return;
        }
        for piece in reply.body.chunks(if reply.pause.is_some() { 16 << 10 } else { 64 << 10 }) {
            if stream.write_all(piece).is_err() {
                return;
            }
            self.state().seen[index].body_bytes += piece.len() as u64;
            if let Some(pause) = reply.pause {
                std::thread::park_timeout(pause);
            }
        }
    }
}

struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    pause: Option<Duration>,
}

impl Reply {
    fn status(status: u16, code: &str) -> Self {
        let headers = vec![("X-Error-Code", code.to_owned()), ("Content-Length", "0".to_owned())];
        Self { status, headers, body: Vec::new(), pause: None }
    }
}

impl State {
    fn listing(&self, repo: &str) -> Reply {
        let names: Vec<String> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&format!("{repo}/")))
            .map(|file| format!("{{\"rfilename\":\"{file}\"}}"))
            .collect();
        if names.is_empty() {
            return Reply::status(404, "RepoNotFound");
        }
        let text = format!("{{\"id\":\"{repo}\",\"sha\":\"{COMMIT}\",\"siblings\":[{}]}}", names.join(","));
        let body = self.faults.listing.clone().unwrap_or(text).into_bytes();
        let headers =
            vec![("Content-Type", "application/json".into()), ("Content-Length", body.len().to_string())];
        Reply { status: 200, headers, body, pause: None }
    }

    fn file(&mut self, path: &str, seen: &Seen) -> Reply {
        let Some((bytes, etag)) = self.files.get(path) else { return Reply::status(404, "EntryNotFound") };
        let etag = self.faults.etag.as_ref().unwrap_or(etag);
        let size = bytes.len() as u64;
        let announced = size.saturating_add_signed(self.faults.announce_more);
        let mut headers = vec![
            ("X-Repo-Commit", COMMIT.to_owned()),
            ("X-Linked-Etag", format!("\"{etag}\"")),
            ("X-Linked-Size", announced.to_string()),
        ];
        if let Some(storage) = self.faults.storage.as_ref().filter(|_| !seen.path.starts_with("/storage/")) {
            headers.push(("Location", format!("{storage}/storage/{path}")));
            headers.push(("Content-Length", "0".into()));
            return Reply { status: 302, headers, body: Vec::new(), pause: None };
        }
        headers.push(("ETag", format!("\"{etag}\"")));
        if seen.method == "HEAD" {
            headers.push(("Content-Length", size.to_string()));
            return Reply { status: 200, headers, body: Vec::new(), pause: None };
        }
        let range = seen.range.as_deref().filter(|_| !self.faults.no_ranges).and_then(|range| {
            let (from, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = if last.is_empty() { size.checked_sub(1)? } else { last.parse::<u64>().ok()? };
            Some((from.parse::<u64>().ok()?, last.min(size.saturating_sub(1))))
        });
        let mut status = 200;
        if let Some((from, last)) = range {
            if from >= size {
                return Reply::status(416, "");
            }
            status = 206;
            headers.push(("Content-Range", format!("bytes {from}-{last}/{size}")));
        }
        let index = |at: u64| usize::try_from(at).expect("a test's file fits in memory");
        let (start, end) = range.map_or((0, bytes.len()), |(from, last)| (index(from), index(last) + 1));
        let mut body = bytes[start..end].to_vec();
        headers.push(("Content-Length", body.len().to_string()));
        if self.faults.corrupt {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        if !self.faults.cut_after.is_empty() {
            let cut = usize::try_from(self.faults.cut_after.remove(0)).expect("a test's file fits in memory");
            body.truncate(cut);
        }
        Reply { status, headers, body, pause: self.faults.pause }
    }
}
